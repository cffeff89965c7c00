//! What renters keep on this PC, and its end: a volume whose time is over is wiped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nightjar_core::host::Input;
use nightjar_core::time::Timestamp;
use nightjar_core::volume::{self, Footing, Volume, VolumeTrouble};
use nightjar_worker::{EngineError, Workers};
use tokio::sync::{Notify, mpsc};

use crate::clock::Clock;
use crate::journal::Journal;
use crate::owner::Message;

/// An Engine that was away, or a volume that was still in use, is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
const LOOK_AGAIN_SOON: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(crate) struct Volumes {
    workers: Workers,
    journal: Journal,
    clock: Clock,
    /// Since when those are known that the journal does not know.
    seen: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    owner: mpsc::UnboundedSender<Message>,
}

impl Volumes {
    pub(crate) fn new(
        workers: Workers,
        journal: Journal,
        clock: Clock,
        owner: mpsc::UnboundedSender<Message>,
    ) -> Self {
        Self { workers, journal, clock, seen: Arc::default(), owner }
    }

    /// The next to be wiped first. The host hears of it too: it gives out no more than there is room for.
    pub(crate) async fn list(&self) -> Result<Vec<Volume>, VolumeTrouble> {
        let names = self.workers.volumes().await.map_err(engine)?;
        let uses = self.journal.volume_uses().await;
        let uses = uses.map_err(|error| VolumeTrouble::Journal { detail: format!("{error:#}") })?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = volume::volumes(&names, &uses, &mut seen, self.clock.now());
        let promised = found.iter().map(|volume| (volume.name.clone(), volume.quota_mib)).collect();
        let _ = self.owner.send(Message::Input(Input::Volumes(promised)));
        Ok(found)
    }

    /// What volumes stand on here, as far as a lease has shown it.
    pub(crate) async fn footing(&self) -> anyhow::Result<Option<Footing>> {
        let uses = self.journal.volume_uses().await?;
        Ok(volume::footing_here(&uses))
    }

    /// At the owner's word.
    pub(crate) async fn wipe(&self, name: &str) -> Result<(), VolumeTrouble> {
        let found = self.list().await?.into_iter().find(|volume| volume.name == name);
        let found = found.ok_or_else(|| VolumeTrouble::Unknown { name: name.to_owned() })?;
        if found.in_use || !self.workers.wipe_volume(name).await.map_err(engine)? {
            return Err(VolumeTrouble::InUse { name: name.to_owned() });
        }
        tracing::info!(name, "a renter's volume was wiped, as its host's owner said");
        self.list().await?;
        Ok(())
    }

    /// Wipes what is over, at its time. `leases_changed` tells that a lease began or ended.
    pub(crate) async fn run(self, leases_changed: Arc<Notify>) {
        loop {
            let wait = self.wipe_expired().await.unwrap_or_else(|error| {
                tracing::debug!("renters' volumes are not looked after now: {error:#}");
                LOOK_AGAIN
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = leases_changed.notified() => {}
            }
        }
    }

    /// Gives how long nothing more is to be done.
    async fn wipe_expired(&self) -> anyhow::Result<Duration> {
        let (volumes, now) = (self.list().await?, self.clock.now());
        let count = volumes.len();
        let (over, kept): (Vec<Volume>, Vec<Volume>) =
            volumes.into_iter().partition(|volume| volume::is_expired(volume, now));
        let mut wait = LOOK_AGAIN;
        for volume in over {
            // The containers of its last lease may be on their way out.
            if self.workers.wipe_volume(&volume.name).await? {
                tracing::info!(name = volume.name, "a renter's volume was wiped: its time was over");
            } else {
                wait = LOOK_AGAIN_SOON;
            }
        }
        if kept.len() < count {
            self.list().await?;
        }
        let next = volume::next_expiry(&kept).map(|at| Duration::from_millis(at.since_ms(now)));
        Ok(next.map_or(wait, |next| next.min(wait)))
    }
}

fn engine(error: EngineError) -> VolumeTrouble {
    VolumeTrouble::Engine { why: error.trouble() }
}
