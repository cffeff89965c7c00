//! Ending containers so that nothing of them is left. Everything is found by label, so that what an earlier run left
//! behind is ended the same way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nightjar_core::lease::{Epoch, LeaseId};
use tokio::time::timeout;

use crate::engine::{Engine, EngineError, Ours, Standing};
use crate::second_road::{SecondRoad, no_answer, stands_frozen};
use crate::spec::{
    LABEL_EPOCH, LABEL_HOST, LABEL_LEASE, LABEL_ROLE, LABEL_SANDBOX, Names, ROLE_GATEWAY, ROLE_WORKER,
};

/// Nobody waits long for the word of a helper that hangs.
const ENDED_WITHIN: Duration = Duration::from_secs(2);

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

/// Who ends what the Engine cannot, where there is somebody.
type Road<'a> = Option<&'a Arc<dyn SecondRoad>>;

/// Ends one placement of a lease. Returns once no container of it is there any more. `cell` where it is known without the
/// Engine, and is the Engine's to end.
pub(crate) async fn remove_placement(
    engine: &Engine,
    road: Road<'_>,
    host: &str,
    lease: &LeaseId,
    epoch: Epoch,
    cell: Option<Cell>,
) -> Result<(), EngineError> {
    // Known by name: the card is free before anything is looked up.
    let worker = Names::new(lease, epoch).worker;
    match cell {
        Some(Cell::Plain) => engine.kill(&worker).await?,
        Some(Cell::Sandbox) => engine.kill_sandboxed(&worker).await?,
        None => {}
    }
    let labels = labels_of(host, lease, Some(epoch));
    let containers = engine.containers(&labels).await?;
    remove_all(engine, road, &containers).await?;
    for (network, _) in engine.networks(&labels).await? {
        // An empty network holds nobody up, and the next start's sweep finds it.
        if let Err(error) = engine.remove_network(&network).await {
            tracing::warn!(%lease, "its network stays for now: {error}");
        }
    }
    Ok(())
}

/// Workers first: a tenant never runs without its fence.
pub(crate) async fn remove_all(
    engine: &Engine,
    road: Road<'_>,
    containers: &[Ours],
) -> Result<(), EngineError> {
    let (workers, others): (Vec<&Ours>, Vec<&Ours>) =
        containers.iter().partition(|container| is_worker(container));
    for container in workers.into_iter().chain(others) {
        kill(engine, road, container).await?;
        engine.remove(&container.id).await?;
    }
    Ok(())
}

async fn kill(engine: &Engine, road: Road<'_>, container: &Ours) -> Result<(), EngineError> {
    if Cell::of(&container.labels) == Cell::Plain {
        return engine.kill(&container.id).await;
    }
    if let Some(road) = road.filter(|_| container.standing != Standing::Ended) {
        // One that stands frozen from outside answers no Engine, which does not know that it does.
        road.guard(&container.id);
        let ended = timeout(ENDED_WITHIN, road.end(&container.id)).await;
        if let Err(error) = ended.unwrap_or_else(|_| Err(no_answer())) {
            let process = engine.first_process(&container.id).await;
            if stands_frozen(process, &container.id) == Some(true) {
                return Err(EngineError::Frozen { detail: error.to_string() });
            }
            tracing::debug!("a sandbox that may stand frozen is left to the Docker Engine: {error}");
        }
    }
    let killed = engine.kill_sandboxed(&container.id).await;
    if let (Some(road), true) = (road, killed.is_ok()) {
        road.release(&container.id);
    }
    killed
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::engine::fake::FakeEngine;
    use crate::second_road::Done;

    /// Writes down what it is asked, where the Engine's calls are written too.
    struct Road(Arc<Mutex<Vec<String>>>);

    impl Road {
        fn take(&self, what: &str, container: &str) -> Done {
            self.0.lock().unwrap().push(format!("road {what} {container}"));
            Box::pin(std::future::ready(Ok(())))
        }
    }

    impl SecondRoad for Road {
        fn guard(&self, container: &str) {
            drop(self.take("guard", container));
        }
        fn release(&self, container: &str) {
            drop(self.take("release", container));
        }
        fn freeze(&self, container: &str) -> Done {
            self.take("freeze", container)
        }
        fn thaw(&self, container: &str) -> Done {
            self.take("thaw", container)
        }
        fn end(&self, container: &str) -> Done {
            self.take("end", container)
        }
    }

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
                    r#"[{{"Id":"g","State":"running","Labels":{{"{LABEL_ROLE}":"{ROLE_GATEWAY}"}}}},
                        {{"Id":"w","State":"running","Labels":{{"{LABEL_ROLE}":"{ROLE_WORKER}"{label}}}}}]"#
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
        remove_placement(&Engine::new(fake.address()), None, "h", &lease, Epoch(1), cell).await.unwrap();
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

    /// What an earlier run has left may stand frozen from outside, and the Engine has it as running.
    #[tokio::test]
    async fn what_is_left_of_a_sandbox_is_ended_from_outside_where_there_is_a_road() {
        let (fake, heard) = engine(true, |_| {});
        let road: Arc<dyn SecondRoad> = Arc::new(Road(heard.clone()));
        let (engine, lease) = (Engine::new(fake.address()), LeaseId("a".into()));
        remove_placement(&engine, Some(&road), "h", &lease, Epoch(1), None).await.unwrap();
        let heard = heard.lock().unwrap().clone();
        assert_eq!(
            heard[1..7],
            [
                "road guard w",
                "road end w",
                "POST /containers/w/unpause",
                "POST /containers/w/kill",
                "road release w",
                "DELETE /containers/w"
            ]
        );
        assert!(!heard.iter().any(|call| call == "road guard g"), "{heard:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_signal_that_a_late_pause_swallowed_is_sent_again() {
        let (calls, lost) = (AtomicUsize::new(0), AtomicBool::new(true));
        let (fake, heard) = engine(true, move |call| {
            calls.fetch_add(1, Ordering::SeqCst);
            if call.ends_with("/kill") && lost.swap(false, Ordering::SeqCst) {
                // No answer before it is given up, which is seen by the call after it.
                let until = Instant::now() + Duration::from_secs(20);
                tokio::task::block_in_place(|| {
                    while calls.load(Ordering::SeqCst) < 3 && Instant::now() < until {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                });
            }
        });
        Engine::new(fake.address()).kill_sandboxed("w").await.unwrap();
        let heard = heard.lock().unwrap().clone();
        let (thawed, killed) = ("POST /containers/w/unpause", "POST /containers/w/kill");
        assert_eq!(heard, [thawed, killed, thawed, killed]);
    }
}
