//! The removal of what a lease leaves, which is tried until nothing of it is there.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::LeaseTask;
use crate::engine::{EngineError, Standing};
use crate::removal::{Cell, is_worker, labels_of, remove_placement};
use crate::second_road::{Ice, LeftFrozen};

/// Between two tries to remove what is left; grows from the first to the second.
const REMOVE_AGAIN: Duration = Duration::from_millis(250);
const REMOVE_AGAIN_AT_MOST: Duration = Duration::from_secs(10);
/// Between two looks at what is left while a removal takes long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LOOK_WITHIN: Duration = Duration::from_secs(2);

impl LeaseTask {
    /// Tries until nothing is left. Returns only then.
    pub(super) async fn remove(&self, mut cell: Option<Cell>, mut frozen: Option<LeftFrozen>) {
        let mut stop = self.stop.clone();
        let mut pause = REMOVE_AGAIN;
        loop {
            let ended = match &frozen {
                // Its helper may be away for good, and somebody else have ended it.
                Some(frozen) => match frozen.end().await {
                    Err(_) if self.has_worker_ended().await => Ok(()),
                    ended => ended,
                },
                None => Ok(()),
            };
            let removed = match ended {
                Ok(()) => {
                    frozen = None;
                    let (host, road) = (&self.config.host, self.road.as_ref());
                    let gone = remove_placement(&self.engine, road, host, &self.lease, self.epoch, cell);
                    gone.await.map_err(|error| error.to_string())
                }
                Err(error) => Err(error),
            };
            match removed {
                Ok(()) => return,
                Err(error) if pause == REMOVE_AGAIN => {
                    tracing::warn!(lease = %self.lease, "its containers are not removed yet: {error}");
                }
                Err(error) => tracing::debug!(lease = %self.lease, "nor now: {error}"),
            }
            // A sandbox of which that was not known may stand frozen all the same: the next try asks the helper too.
            cell = None;
            stop.borrow_and_update();
            // Being told again is a reason to try again at once.
            let _ = timeout(pause, stop.changed()).await;
            pause = (pause * 2).min(REMOVE_AGAIN_AT_MOST);
        }
    }

    async fn has_worker_ended(&self) -> bool {
        let labels = labels_of(&self.config.host, &self.lease, Some(self.epoch));
        let left = self.engine.containers(&labels).await;
        left.is_ok_and(|left| left.iter().all(|one| !is_worker(one) || one.standing == Standing::Ended))
    }

    /// For a removal that takes long: comes back when no process of the lease can be left, and says what is.
    pub(super) async fn nothing_runs(&self, not_before: Instant, ice: &mut Ice) -> String {
        let labels = labels_of(&self.config.host, &self.lease, Some(self.epoch));
        sleep_until(not_before).await;
        loop {
            let looked = timeout(LOOK_WITHIN, self.engine.containers(&labels)).await;
            match looked.unwrap_or(Err(EngineError::Slow {
                doing: "listing containers",
                secs: LOOK_WITHIN.as_secs(),
            })) {
                Ok(left) if left.iter().all(|container| container.standing == Standing::Ended) => {
                    return "Docker has not yet removed what it left on the disk".to_owned();
                }
                Ok(_) => sleep(LOOK_AGAIN).await,
                Err(error) => {
                    if ice.end(true).await {
                        return "the helper ended it, while the Docker Engine does not answer".to_owned();
                    }
                    // Nobody else has the card while it may be held.
                    if ice.may_stand_frozen() {
                        tracing::debug!(lease = %self.lease, "what may be frozen of it is not ended yet: {error}");
                        sleep(LOOK_AGAIN).await;
                        continue;
                    }
                    tracing::warn!(lease = %self.lease, "it is over without the Engine's word: {error}");
                    return "its line is cut and it ended itself, while the Docker Engine does not answer"
                        .to_owned();
                }
            }
        }
    }
}
