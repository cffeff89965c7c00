//! What earlier runs have left and no task looks after: it is removed, however many tries that takes, and its card is lent to
//! nobody before.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use nightjar_core::gpu::GpuUuid;
use nightjar_core::lease::{Epoch, LeaseId};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Workers;
use crate::engine::{Engine, EngineError, Ours, Standing};
use crate::removal::{epoch_of, is_gateway, lease_of, remove_all};
use crate::spec::{LABEL_HOST, LABEL_LEASE};

/// Between two tries; grows from the first to the second.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);

/// Cards on which something that is left over may run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Which sweep says so: the newest knows best.
    turn: u64,
    /// `None` while nobody knows.
    cards: Option<BTreeSet<GpuUuid>>,
}

impl Held {
    /// Before the first sweep nothing is known to be left.
    pub fn nothing() -> Self {
        Self { turn: 0, cards: Some(BTreeSet::new()) }
    }

    pub fn is_free(&self, card: &GpuUuid) -> bool {
        self.cards.as_ref().is_some_and(|cards| !cards.contains(card))
    }
}

/// One sweep's word on the cards, as long as there is no newer one.
struct Turn<'a> {
    number: u64,
    held: &'a watch::Sender<Held>,
}

impl<'a> Turn<'a> {
    fn begin(held: &'a watch::Sender<Held>) -> Self {
        let mut number = 0;
        held.send_modify(|held| {
            number = held.turn + 1;
            *held = Held { turn: number, cards: None };
        });
        Self { number, held }
    }

    fn tell(&self, cards: Option<BTreeSet<GpuUuid>>) {
        self.held.send_if_modified(|held| {
            let is_news = held.turn == self.number && held.cards != cards;
            if is_news {
                held.cards = cards;
            }
            is_news
        });
    }

    /// Comes back early, with `false`, where a newer sweep has begun.
    async fn rest(&self, pause: Duration) -> bool {
        let mut held = self.held.subscribe();
        timeout(pause, held.wait_for(|held| held.turn != self.number)).await.is_err()
    }
}

impl Workers {
    /// Removes what is left of this host's leases that are neither in `keep` nor being looked after. Returns once nothing of it
    /// is left, or another call goes on with it.
    pub async fn sweep(&self, keep: &[LeaseId]) {
        let turn = Turn::begin(&self.inner.held);
        let (mut found, mut pause) = (None, AGAIN);
        loop {
            match self.try_sweep(keep, &mut found, &turn).await {
                Ok(()) => return turn.tell(Some(BTreeSet::new())),
                Err(error) if pause == AGAIN => {
                    tracing::warn!("what earlier workers left cannot be removed now: {error}");
                }
                Err(error) => tracing::debug!("nor now what earlier workers left: {error}"),
            }
            if !turn.rest(pause).await {
                return;
            }
            pause = (pause * 2).min(AGAIN_AT_MOST);
        }
    }

    /// `found`: the containers that the first look of this sweep found. What is made later is no left-over.
    async fn try_sweep(
        &self,
        keep: &[LeaseId],
        found: &mut Option<BTreeSet<String>>,
        turn: &Turn<'_>,
    ) -> Result<(), EngineError> {
        let (engine, host) = (&self.inner.engine, &self.inner.config.host);
        let labels = [format!("{LABEL_HOST}={host}"), LABEL_LEASE.to_owned()];
        let unwanted = |lease: Option<&LeaseId>| {
            lease.is_some_and(|lease| !keep.contains(lease) && !self.inner.tasks().contains_key(lease))
        };
        let mut containers = engine.containers(&labels).await?;
        match found {
            Some(found) => containers.retain(|container| found.contains(&container.id)),
            None => {
                containers.retain(|container| unwanted(lease_of(container).as_ref()));
                for container in &containers {
                    tracing::info!(lease = ?lease_of(container), "a container of an earlier run is removed");
                }
                *found = Some(containers.iter().map(|container| container.id.clone()).collect());
            }
        }
        turn.tell(cards_of(engine, &containers).await);
        self.inner.kernel.sweep(engine, host).await;
        let mut placements: HashMap<(Option<LeaseId>, Option<Epoch>), Vec<Ours>> = HashMap::new();
        for container in containers {
            placements.entry((lease_of(&container), epoch_of(&container))).or_default().push(container);
        }
        // What cannot be removed now holds up nothing else.
        let mut removed = Ok(());
        for containers in placements.values() {
            let done = remove_all(engine, self.inner.road.as_ref(), containers).await;
            removed = removed.and(done);
        }
        removed?;
        for (network, labels) in engine.networks(&labels).await? {
            if unwanted(labels.get(LABEL_LEASE).cloned().map(LeaseId).as_ref()) {
                engine.remove_network(&network).await?;
            }
        }
        Ok(())
    }
}

/// Those that something of it may run on; `None` where the Engine does not say.
async fn cards_of(engine: &Engine, containers: &[Ours]) -> Option<BTreeSet<GpuUuid>> {
    let mut cards = BTreeSet::new();
    let may_hold = |container: &&Ours| container.standing != Standing::Ended && !is_gateway(container);
    for container in containers.iter().filter(may_hold) {
        let Some(found) = engine.inspect(&container.id).await.ok()? else { continue };
        let requests = found.host_config?.device_requests.unwrap_or_default();
        cards.extend(requests.into_iter().filter_map(|request| request.device_ids).flatten().map(GpuUuid));
    }
    Some(cards)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::sync::{Arc, Mutex};

    use nightjar_core::lease::LeaseTerms;
    use nightjar_core::settings::Settings;
    use tokio::sync::mpsc;
    use tokio::time::sleep;

    use super::*;
    use crate::config::WorkersConfig;
    use crate::engine::fake::FakeEngine;
    use crate::spec::tests::terms;
    use crate::spec::{LABEL_EPOCH, LABEL_ROLE, ROLE_WORKER};

    const SOON: Duration = Duration::from_secs(20);

    fn listed(lease: &str) -> String {
        format!(
            r#"{{"Id":"{lease}","State":"running",
                "Labels":{{"{LABEL_LEASE}":"{lease}","{LABEL_EPOCH}":"1","{LABEL_ROLE}":"{ROLE_WORKER}"}}}}"#
        )
    }

    fn runs_on(card: &str) -> String {
        format!(r#"{{"HostConfig":{{"DeviceRequests":[{{"DeviceIDs":["{card}"]}}]}}}}"#)
    }

    #[tokio::test]
    async fn a_card_is_lent_when_what_was_left_on_it_is_gone_however_many_tries_that_takes() {
        let (heard, holds): (Arc<Mutex<Vec<String>>>, _) = (Arc::default(), Arc::new(AtomicBool::new(true)));
        let (hearing, held) = (heard.clone(), holds.clone());
        let fake = FakeEngine::start(move |call| {
            hearing.lock().unwrap().push(call.to_owned());
            match call {
                "GET /containers/json" if held.load(SeqCst) => format!("[{},{}]", listed("a"), listed("b")),
                "GET /containers/a/json" => runs_on("GPU-1"),
                "GET /containers/b/json" => runs_on("GPU-3"),
                "POST /containers/a/kill" => "!it stands frozen".into(),
                call if call.starts_with("GET ") => "[]".into(),
                _ => "{}".into(),
            }
        });
        let config = WorkersConfig::shipped(fake.address()).unwrap();
        let workers = Workers::new(config, None, mpsc::unbounded_channel().0).unwrap();
        let said = |wanted: &'static str| heard.lock().unwrap().iter().filter(|call| *call == wanted).count();
        let until = async |wanted: &'static str, times: usize| {
            let heard = async {
                while said(wanted) < times {
                    sleep(Duration::from_millis(10)).await
                }
            };
            timeout(SOON, heard).await.unwrap_or_else(|_| panic!("not asked: {wanted}"));
        };
        let sweeping = workers.clone();
        let sweep = tokio::spawn(async move { sweeping.sweep(&[]).await });
        until("DELETE /containers/b", 1).await;
        let rent = |lease: &str, card: &str| {
            let (lease, gpu) = (LeaseId(lease.into()), GpuUuid(card.into()));
            workers.prepare(LeaseTerms { lease, gpu, ..terms() }, None, &Settings::default());
        };
        rent("first", "GPU-1");
        until("POST /containers/a/kill", 2).await;
        assert_eq!(said("GET /info"), 0, "its card is held");
        rent("second", "GPU-2");
        until("GET /info", 1).await;
        // Somebody has ended it.
        holds.store(false, SeqCst);
        until("GET /info", 2).await;
        timeout(SOON, sweep).await.expect("it goes on without end").unwrap();
    }

    #[tokio::test]
    async fn a_newer_sweep_takes_the_place_of_one_that_fails() {
        let fake = FakeEngine::start(|_| "?".into());
        let config = WorkersConfig::shipped(fake.address()).unwrap();
        let workers = Workers::new(config, None, mpsc::unbounded_channel().0).unwrap();
        let sweep = || {
            let workers = workers.clone();
            tokio::spawn(async move { workers.sweep(&[]).await })
        };
        let mut held = workers.inner.held.subscribe();
        let first = sweep();
        held.wait_for(|held| held.turn == 1).await.unwrap();
        let second = sweep();
        timeout(SOON, first).await.expect("both try").unwrap();
        assert!(!second.is_finished());
        assert!(!held.borrow().is_free(&GpuUuid("GPU-1".into())), "nobody knows what is left");
        second.abort();
    }
}
