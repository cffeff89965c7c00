//! What renters keep on this PC, and its end: a volume whose time is over is wiped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nightjar_core::host::Input;
use nightjar_core::time::Timestamp;
use nightjar_core::volume::{self, Footing, Volume, VolumeTerms, VolumeTrouble};
use nightjar_worker::{EngineError, Workers};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};

use crate::clock::Clock;
use crate::journal::Journal;
use crate::owner::Message;
use crate::settings_file::write_atomically;

/// Where nothing is to be done before, volumes are looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// One that was still in use is soon free, and an Engine that was away or busy soon there.
const LOOK_AGAIN_SOON: Duration = Duration::from_secs(2);
/// Beside the journal.
const SEEN_FILE: &str = "volumes.json";
/// So exactly it is kept when they were last looked at.
const NOTED_EACH_MS: u64 = 6 * 3_600_000;

/// Since when volumes are known that the journal does not know. Kept over restarts: their time would never be over on a PC
/// that is turned off each night.
struct Seen {
    path: PathBuf,
    known: Known,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    since: BTreeMap<String, Timestamp>,
    /// About when they were last looked at.
    looked_at: Option<Timestamp>,
}

impl Known {
    /// A clock that was set (from a dead battery's year, say) must not make their time be over at once: after a leap of as
    /// long as they are kept, or back, it begins anew.
    fn look(&mut self, now: Timestamp) {
        let Some(last) = self.looked_at else { return self.looked_at = Some(now) };
        let keep_ms = VolumeTerms::default().keep_ms;
        if now.plus_ms(NOTED_EACH_MS) < last || now.since_ms(last) >= keep_ms {
            self.since.values_mut().for_each(|since| *since = now);
            self.looked_at = Some(now);
        } else if now.since_ms(last) >= NOTED_EACH_MS {
            self.looked_at = Some(now);
        }
    }
}

impl Seen {
    /// What cannot be read counts as seen from now on.
    fn open(data_dir: &Path) -> Self {
        let path = data_dir.join(SEEN_FILE);
        let known = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, known: known.unwrap_or_default() }
    }

    fn look<T>(&mut self, now: Timestamp, look: impl FnOnce(&mut BTreeMap<String, Timestamp>) -> T) -> T {
        let before = self.known.clone();
        self.known.look(now);
        let found = look(&mut self.known.since);
        // It changes with a volume that comes or goes, and is as small as their number.
        if self.known != before
            && let Ok(bytes) = serde_json::to_vec(&self.known)
            && let Err(error) = write_atomically(&self.path, &bytes)
        {
            tracing::warn!("{} cannot be written: {error}", self.path.display());
        }
        found
    }
}

/// How long an Engine that cannot be asked is left alone: longer each time.
struct Patience(Duration);

impl Patience {
    fn new() -> Self {
        Self(LOOK_AGAIN_SOON)
    }

    /// Until the next look, after one that went so.
    fn wait(&mut self, looked: anyhow::Result<Duration>) -> Duration {
        match looked {
            Ok(wait) => {
                *self = Self::new();
                wait
            }
            Err(error) => {
                let wait = self.0;
                tracing::debug!(?wait, "renters' volumes are not looked after now: {error:#}");
                self.0 = (wait * 2).min(LOOK_AGAIN);
                wait
            }
        }
    }
}

#[derive(Clone)]
pub(crate) struct Volumes {
    workers: Workers,
    journal: Journal,
    clock: Clock,
    seen: Arc<Mutex<Seen>>,
    owner: mpsc::UnboundedSender<Message>,
}

impl Volumes {
    pub(crate) fn new(
        workers: Workers,
        journal: Journal,
        clock: Clock,
        owner: mpsc::UnboundedSender<Message>,
        data_dir: &Path,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Seen::open(data_dir)));
        Self { workers, journal, clock, seen, owner }
    }

    /// The next to be wiped first. The host hears of it too: it gives out no more than there is room for.
    pub(crate) async fn list(&self) -> Result<Vec<Volume>, VolumeTrouble> {
        let names = self.workers.volumes().await.map_err(engine)?;
        let uses = self.journal.volume_uses().await;
        let uses = uses.map_err(|error| VolumeTrouble::Journal { detail: format!("{error:#}") })?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let found = seen.look(now, |since| volume::volumes(&names, &uses, since, now));
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
        let mut patience = Patience::new();
        loop {
            let wait = patience.wait(self.wipe_expired().await);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_no_journal_knows_has_its_time_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let expires_at = |names: &[&str], now| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut seen = Seen::open(folder.path());
            seen.look(Timestamp(now), |since| volume::volumes(&names, &[], since, Timestamp(now)))
                .first()
                .map(|found| found.expires_at)
        };
        let first = expires_at(&["nightjar-x"], 1_000);
        assert!(first.is_some());
        assert_eq!(expires_at(&["nightjar-x"], 9_000), first, "each start begins it anew");
        assert_eq!(expires_at(&[], 10_000), None);
        assert_ne!(expires_at(&["nightjar-x"], 20_000), first, "another one of the same name");
        std::fs::write(folder.path().join(SEEN_FILE), "{").unwrap();
        assert!(expires_at(&["nightjar-x"], 30_000) > Some(first.unwrap()));
    }

    #[test]
    fn an_engine_that_failed_once_is_asked_again_within_seconds_and_one_that_stays_away_ever_less() {
        let mut patience = Patience::new();
        let mut failed_s = || patience.wait(Err(anyhow::anyhow!("the Engine is busy"))).as_secs();
        let waits: Vec<u64> = (0..11).map(|_| failed_s()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        let due = Duration::from_secs(77);
        assert_eq!(patience.wait(Ok(due)), due);
        assert_eq!(patience.wait(Err(anyhow::anyhow!("it is busy anew"))), LOOK_AGAIN_SOON);
    }

    #[test]
    fn a_clock_that_is_set_ends_the_time_of_no_volume() {
        const DAY: i64 = 86_400_000;
        let folder = tempfile::tempdir().unwrap();
        let is_over = |day: i64| {
            let (names, now) = (["nightjar-x".to_owned()], Timestamp(day * DAY));
            let mut seen = Seen::open(folder.path());
            let found = seen.look(now, |since| volume::volumes(&names, &[], since, now));
            volume::is_expired(&found[0], now)
        };
        assert!(!is_over(14_300), "a dead battery's year");
        assert!(!is_over(20_000), "the network's time");
        assert!((1..14).all(|day| !is_over(20_000 + day)));
        assert!(is_over(20_014), "its time is over");
        assert!(!is_over(14_300), "back again");
    }
}
