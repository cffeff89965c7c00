//! Workers that are there when the agent starts: their lines are taken up at once, because process 1 waits for five seconds,
//! and a driver or an Engine that is slow may keep the agent longer from deciding what is to become of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use nightjar_core::host::WorkerFate;
use nightjar_core::lease::{Epoch, LeaseId};
use tokio::time::sleep;

use super::{Inner, Workers, lock};
use crate::engine::{Engine, EngineError, Standing};
use crate::line::Line;
use crate::preparation::Lines;
use crate::removal::{epoch_of, is_gateway, is_worker, lease_of};
use crate::spec::{LABEL_HOST, LABEL_LEASE, Names};

/// Longer than a start takes; what nobody has decided on by then ends by itself.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// Lines of workers that nothing was decided on.
#[derive(Default)]
pub(super) struct Kept(Mutex<HashMap<(LeaseId, Epoch), Lines>>);

impl Kept {
    /// The lines of that placement; those of another of the same lease are cut.
    pub fn take(&self, lease: &LeaseId, epoch: Epoch) -> Option<Lines> {
        let mut kept = lock(&self.0);
        let lines = kept.remove(&(lease.clone(), epoch));
        kept.retain(|(other, _), _| other != lease);
        lines
    }

    fn keep(&self, placement: (LeaseId, Epoch), lines: Lines) {
        lock(&self.0).insert(placement, lines);
    }

    fn cut(&self) {
        lock(&self.0).clear();
    }
}

impl Workers {
    /// Every placement of this host that containers are left of, and how its worker stands. A worker without a running
    /// gateway counts as frozen: it would have ended with it. Those that can be adopted live on until that is decided, for
    /// half a minute at most.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn survivors(&self) -> Result<Vec<(LeaseId, Epoch, WorkerFate)>, EngineError> {
        let labels = [format!("{LABEL_HOST}={}", self.inner.config.host), LABEL_LEASE.to_owned()];
        let containers = self.inner.engine.containers(&labels).await?;
        let mut placements: HashMap<(LeaseId, Epoch), (Option<Standing>, Option<Standing>)> = HashMap::new();
        for container in &containers {
            let (Some(lease), Some(epoch)) = (lease_of(container), epoch_of(container)) else { continue };
            let (worker, gateway) = placements.entry((lease, epoch)).or_default();
            if is_worker(container) {
                *worker = Some(container.standing);
            } else if is_gateway(container) {
                *gateway = Some(container.standing);
            }
        }
        let has_ended = |part: Option<Standing>| !matches!(part, Some(Standing::Running | Standing::Paused));
        let alive =
            placements.iter().filter(|(_, (worker, gateway))| !has_ended(*worker) && !has_ended(*gateway));
        keep_alive(&self.inner, alive.map(|(placement, _)| placement)).await;
        let mut survivors: Vec<_> = placements
            .into_iter()
            .map(|((lease, epoch), (worker, gateway))| (lease, epoch, fate(worker, gateway)))
            .collect();
        survivors.sort_by(|one, two| (&one.0, one.1).cmp(&(&two.0, two.1)));
        lock(&self.inner.seen).extend(survivors.iter().map(|(lease, epoch, _)| (lease.clone(), *epoch)));
        Ok(survivors)
    }
}

/// Both lines of a worker that is running.
pub(crate) async fn take_up(engine: &Engine, names: &Names) -> Result<Lines, EngineError> {
    let line = async |name: &str| engine.attach(name).await.map(Line::take_up);
    let (worker, gateway) = tokio::try_join!(line(&names.worker), line(&names.gateway))?;
    Ok(Lines { gateway, worker })
}

async fn keep_alive(inner: &Arc<Inner>, placements: impl Iterator<Item = &(LeaseId, Epoch)>) {
    let taken = join_all(placements.map(async |placement| {
        let (lease, epoch) = placement;
        match take_up(&inner.engine, &Names::new(lease, *epoch)).await {
            Ok(lines) => inner.kept.keep(placement.clone(), lines),
            // It is tried again when it is adopted.
            Err(error) => {
                tracing::debug!(%lease, "the lines of an earlier run's worker are not taken up: {error}")
            }
        }
    }));
    if taken.await.is_empty() {
        return;
    }
    let inner = Arc::downgrade(inner);
    tokio::spawn(async move {
        sleep(KEPT_FOR).await;
        if let Some(inner) = inner.upgrade() {
            inner.kept.cut();
        }
    });
}

fn fate(worker: Option<Standing>, gateway: Option<Standing>) -> WorkerFate {
    match (worker, gateway) {
        (Some(Standing::Running), Some(Standing::Running)) => WorkerFate::Running,
        // What stands frozen from outside runs for the Engine, and its process 1 does not hear that its line is cut.
        (Some(Standing::Running | Standing::Paused), _) => WorkerFate::Frozen,
        _ => WorkerFate::Gone,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nightjar_core::host::WorkerEvent;
    use nightjar_core::lease::LeaseTerms;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;
    use crate::config::WorkersConfig;
    use crate::engine::fake::FakeEngine;
    use crate::spec::tests::terms;
    use crate::spec::{LABEL_EPOCH, LABEL_ROLE, ROLE_GATEWAY, ROLE_WORKER};

    const SOON: Duration = Duration::from_secs(20);

    fn listed(lease: &str, role: &str, state: &str) -> String {
        format!(
            r#"{{"Id":"{lease}-{role}","State":"{state}",
                "Labels":{{"{LABEL_LEASE}":"{lease}","{LABEL_EPOCH}":"1","{LABEL_ROLE}":"{role}"}}}}"#
        )
    }

    /// Before anybody has decided on it, and once.
    #[tokio::test]
    async fn what_may_be_adopted_hears_at_once_that_the_agent_is_back() {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hearing = heard.clone();
        let containers = [
            listed("a", ROLE_WORKER, "running"),
            listed("a", ROLE_GATEWAY, "running"),
            listed("b", ROLE_WORKER, "running"),
            listed("b", ROLE_GATEWAY, "exited"),
        ];
        let containers = format!("[{}]", containers.join(","));
        let fake = FakeEngine::start(move |call| {
            lock(&hearing).push(call.to_owned());
            match call {
                "GET /containers/json" => containers.clone(),
                call if call.starts_with("GET /containers/") => {
                    r#"{"Id":"a","State":{"Running":true}}"#.to_owned()
                }
                _ => "{}".to_owned(),
            }
        });
        let config = WorkersConfig::shipped(fake.address()).unwrap();
        let (reports, mut events) = mpsc::unbounded_channel();
        let workers = Workers::new(config, None, reports).unwrap();
        let found = workers.survivors().await.unwrap();
        let fates: Vec<_> = found.iter().map(|(lease, _, fate)| (lease.0.as_str(), *fate)).collect();
        assert_eq!(fates, [("a", WorkerFate::Running), ("b", WorkerFate::Frozen)]);
        let mut attached = fake.attached();
        let beats = attached.wait_for(|said| said.matches('\n').count() >= 2);
        timeout(SOON, beats).await.expect("process 1 hears nothing").unwrap();

        workers.adopt(LeaseTerms { lease: LeaseId("a".into()), epoch: Epoch(1), ..terms() });
        let report = timeout(SOON, events.recv()).await.expect("it is not adopted").unwrap();
        assert_eq!((report.lease.0.as_str(), report.event), ("a", WorkerEvent::Thawed));
        let attached = lock(&heard).iter().filter(|call| call.ends_with("/attach")).count();
        assert_eq!(attached, 2, "each line once: {heard:?}");
    }

    #[tokio::test]
    async fn a_lease_that_goes_another_way_has_no_line_kept() {
        let fake = FakeEngine::start(|_| "{}".to_owned());
        let kept = Kept::default();
        let placement = |lease: &str, epoch| (LeaseId(lease.into()), Epoch(epoch));
        let engine = Engine::new(fake.address());
        for (lease, epoch) in [("a", 1), ("a", 2), ("b", 1)] {
            let placement = placement(lease, epoch);
            kept.keep(
                placement.clone(),
                take_up(&engine, &Names::new(&placement.0, placement.1)).await.unwrap(),
            );
        }
        assert!(kept.take(&LeaseId("a".into()), Epoch(2)).is_some());
        assert_eq!(lock(&kept.0).keys().cloned().collect::<Vec<_>>(), [placement("b", 1)]);
        kept.cut();
        assert!(kept.take(&LeaseId("b".into()), Epoch(1)).is_none());
    }

    #[test]
    fn a_worker_whose_gateway_has_ended_is_not_gone() {
        let (running, paused, ended) = (Standing::Running, Standing::Paused, Standing::Ended);
        for (worker, gateway, becomes) in [
            (Some(running), Some(running), WorkerFate::Running),
            (Some(running), Some(paused), WorkerFate::Frozen),
            (Some(running), Some(ended), WorkerFate::Frozen),
            (Some(running), None, WorkerFate::Frozen),
            (Some(paused), Some(running), WorkerFate::Frozen),
            (Some(paused), None, WorkerFate::Frozen),
            (Some(ended), Some(running), WorkerFate::Gone),
            (None, Some(running), WorkerFate::Gone),
        ] {
            assert_eq!(fate(worker, gateway), becomes, "{worker:?} {gateway:?}");
        }
    }
}
