//! Ending containers so that nothing of them is left. Everything is found by label, so that what an earlier run left
//! behind is ended the same way.

use std::collections::HashMap;

use nightjar_core::lease::{Epoch, LeaseId};

use crate::engine::{Engine, EngineError, Ours};
use crate::spec::{
    LABEL_EPOCH, LABEL_HOST, LABEL_LEASE, LABEL_ROLE, LABEL_SANDBOX, Names, ROLE_GATEWAY, ROLE_WORKER,
};

/// Labels that containers and networks of one lease bear.
pub(crate) fn labels_of(host: &str, lease: &LeaseId, epoch: Option<Epoch>) -> Vec<String> {
    let mut labels = vec![format!("{LABEL_HOST}={host}"), format!("{LABEL_LEASE}={lease}")];
    labels.extend(epoch.map(|epoch| format!("{LABEL_EPOCH}={}", epoch.0)));
    labels
}

pub(crate) fn lease_of(container: &Ours) -> Option<LeaseId> {
    container.labels.get(LABEL_LEASE).cloned().map(LeaseId)
}

pub(crate) fn epoch_of(container: &Ours) -> Option<Epoch> {
    container.labels.get(LABEL_EPOCH)?.parse().ok().map(Epoch)
}

pub(crate) fn is_worker(container: &Ours) -> bool {
    container.labels.get(LABEL_ROLE).is_some_and(|role| role == ROLE_WORKER)
}

pub(crate) fn is_gateway(container: &Ours) -> bool {
    container.labels.get(LABEL_ROLE).is_some_and(|role| role == ROLE_GATEWAY)
}

/// Whether a worker runs in a sandbox of its own, which is ended in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Plain,
    Sandbox,
}

impl Cell {
    pub fn of(labels: &HashMap<String, String>) -> Self {
        if labels.contains_key(LABEL_SANDBOX) { Self::Sandbox } else { Self::Plain }
    }
}

/// Ends one placement of a lease. Returns once no container of it is there any more. `cell` where it is known without the
/// Engine.
pub(crate) async fn remove_placement(
    engine: &Engine,
    host: &str,
    lease: &LeaseId,
    epoch: Epoch,
    cell: Option<Cell>,
) -> Result<(), EngineError> {
    if let Some(cell) = cell {
        // Known by name: the card is free before anything is looked up.
        kill(engine, &Names::new(lease, epoch).worker, cell).await?;
    }
    let labels = labels_of(host, lease, Some(epoch));
    let containers = engine.containers(&labels).await?;
    remove_all(engine, &containers).await?;
    for (network, _) in engine.networks(&labels).await? {
        // An empty network holds nobody up, and the next start's sweep finds it.
        if let Err(error) = engine.remove_network(&network).await {
            tracing::warn!(%lease, "its network stays for now: {error}");
        }
    }
    Ok(())
}

/// Workers first: a tenant never runs without its fence.
pub(crate) async fn remove_all(engine: &Engine, containers: &[Ours]) -> Result<(), EngineError> {
    let (workers, others): (Vec<&Ours>, Vec<&Ours>) =
        containers.iter().partition(|container| is_worker(container));
    for container in workers.into_iter().chain(others) {
        kill(engine, &container.id, Cell::of(&container.labels)).await?;
        engine.remove(&container.id).await?;
    }
    Ok(())
}

async fn kill(engine: &Engine, name: &str, cell: Cell) -> Result<(), EngineError> {
    match cell {
        Cell::Plain => engine.kill(name).await,
        Cell::Sandbox => engine.kill_sandboxed(name).await,
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;
    use crate::engine::fake::FakeEngine;

    /// An Engine with a lease's two containers, and what it was asked in order.
    fn engine(
        sandboxed: bool,
        answer: impl Fn(&str) + Send + Sync + 'static,
    ) -> (FakeEngine, Arc<Mutex<Vec<String>>>) {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hearing = heard.clone();
        let label = if sandboxed { format!(r#","{LABEL_SANDBOX}":"gvisor""#) } else { String::new() };
        let fake = FakeEngine::start(move |call| {
            hearing.lock().unwrap().push(call.to_owned());
            answer(call);
            match call {
                "GET /containers/json" => format!(
                    r#"[{{"Id":"g","Labels":{{"{LABEL_ROLE}":"{ROLE_GATEWAY}"}}}},
                        {{"Id":"w","Labels":{{"{LABEL_ROLE}":"{ROLE_WORKER}"{label}}}}}]"#
                ),
                call if call.starts_with("GET ") => "[]".to_owned(),
                _ => "{}".to_owned(),
            }
        });
        (fake, heard)
    }

    async fn removed(sandboxed: bool, cell: Option<Cell>) -> Vec<String> {
        let (fake, heard) = engine(sandboxed, |_| {});
        let lease = LeaseId("a".into());
        remove_placement(&Engine::new(fake.address()), "h", &lease, Epoch(1), cell).await.unwrap();
        let heard = heard.lock().unwrap().clone();
        heard
            .iter()
            .map(|call| call.replace("POST /containers/", "").replace("DELETE /containers/", "-"))
            .collect()
    }

    #[tokio::test]
    async fn a_sandbox_is_thawed_before_it_is_killed_and_anything_else_the_other_way_round() {
        let worker = Names::new(&LeaseId("a".into()), Epoch(1)).worker;
        let plain = removed(false, Some(Cell::Plain)).await;
        assert_eq!(
            plain[..3],
            [format!("{worker}/kill"), format!("{worker}/unpause"), "GET /containers/json".into()]
        );
        assert_eq!(plain[3..9], ["w/kill", "w/unpause", "-w", "g/kill", "g/unpause", "-g"]);
        let sandboxed = removed(true, Some(Cell::Sandbox)).await;
        assert_eq!(sandboxed[..2], [format!("{worker}/unpause"), format!("{worker}/kill")]);
        assert_eq!(sandboxed[3..9], ["w/unpause", "w/kill", "-w", "g/kill", "g/unpause", "-g"]);
    }

    #[tokio::test]
    async fn what_an_earlier_run_left_is_known_by_its_label() {
        let left = removed(true, None).await;
        assert_eq!(left[..4], ["GET /containers/json", "w/unpause", "w/kill", "-w"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_signal_that_a_late_pause_swallowed_is_sent_again() {
        let lost = Mutex::new(true);
        let (fake, heard) = engine(true, move |call| {
            if call.ends_with("/kill") && std::mem::take(&mut *lost.lock().unwrap()) {
                tokio::task::block_in_place(|| std::thread::sleep(Duration::from_secs(3)));
            }
        });
        kill(&Engine::new(fake.address()), "w", Cell::Sandbox).await.unwrap();
        let heard = heard.lock().unwrap().clone();
        let (thawed, killed) = ("POST /containers/w/unpause", "POST /containers/w/kill");
        assert_eq!(heard, [thawed, killed, thawed, killed]);
    }
}
