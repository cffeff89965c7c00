//! A renter's volume on its way to the worker, and what of volumes is here.
//!
//! For each volume one at a time: while a lease brings it up, another lease of the same renter waits and then shares it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nightjar_core::volume::Footing;
use nightjar_protocol::guest::{GuestEvent, PLAIN_FOLDER};
use tokio::sync::OwnedMutexGuard;
use tokio::time::sleep;

use crate::engine::{Engine, EngineError, Standing};
use crate::preparation::{Preparation, Unready};
use crate::removal::is_worker;
use crate::spec::{LABEL_HOST, LABEL_ROLE, ROLE_VOLUME, VolumeNames, VolumeSpec, WorkerSpec};

/// From its last word on. While it makes, mends or grows a file system it says so each second, and ending it in the middle
/// would leave a damaged one.
const DISK_WITHIN: Duration = Duration::from_secs(60);
const HOLDER_WITHIN: Duration = Duration::from_secs(20);
/// Of an earlier lease that is being removed right now.
const FREE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// One lock a volume, for as long as somebody waits for it.
#[derive(Default)]
pub(crate) struct Locks(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    async fn take(&self, volume: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(volume.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// A volume that stays mounted while this is held.
pub(crate) struct Held {
    pub footing: Footing,
    /// No lease has had it yet.
    pub is_new: bool,
    _lines: Vec<crate::line::Line>,
    _lock: OwnedMutexGuard<()>,
}

impl Preparation<'_> {
    pub(crate) async fn hold_volume(&self, spec: &WorkerSpec) -> Result<Held, Unready> {
        let names = &spec.volume.names;
        let _lock = self.volumes.take(&names.store).await;
        let held = |footing, is_new, _lines| Held { footing, is_new, _lines, _lock };
        if is_running_on(self.engine, &names.home).await? {
            let device = self.engine.volume_device(&names.home).await?;
            return Ok(held(on_disk(&device), false, Vec::new()));
        }
        forget_mounts(self.engine, names).await?;
        let (mut disk, _) =
            self.bring_up(&spec.names.disk, spec.volume.disk.clone(), &spec.volume.disk_boot).await?;
        let device = |event: &GuestEvent| match event {
            GuestEvent::DiskReady { device, was_mended, is_new } => {
                Some(Ok((device.clone(), *was_mended, *is_new)))
            }
            GuestEvent::NoDisk { why } => Some(Err(why.clone())),
            _ => None,
        };
        let (device, was_mended, is_new) =
            match self.hear(&mut disk, &spec.names.disk, "the disk", DISK_WITHIN, device).await? {
                Ok(found) => found,
                Err(why) => {
                    tracing::warn!(lease = %self.terms.lease, "the renter's volume has no quota here: {why}");
                    return Ok(held(Footing::FOLDER, false, vec![disk]));
                }
            };
        let labels = || spec.volume.mount_labels.clone();
        self.engine.create_volume(&names.disk, VolumeSpec::disk_options(&device), labels()).await?;
        let (mut holder, _) =
            self.bring_up(&spec.names.holder, spec.volume.holder.clone(), &spec.volume.holder_boot).await?;
        let ready = |event: &GuestEvent| match event {
            GuestEvent::VolumeReady { folder, encrypted } => Some((folder.clone(), *encrypted)),
            _ => None,
        };
        let (folder, encrypted) =
            self.hear(&mut holder, &spec.names.holder, "the volume", HOLDER_WITHIN, ready).await?;
        tracing::info!(lease = %self.terms.lease, device, encrypted, "the renter's volume is mounted");
        let path = self.engine.volume_path(&names.disk).await?;
        self.engine.create_volume(&names.home, VolumeSpec::home_options(&path, &folder), labels()).await?;
        let footing = Footing { has_quota: true, is_encrypted: encrypted, was_mended };
        Ok(held(footing, is_new, vec![disk, holder]))
    }

    /// The worker has the volume: nothing else need hold it.
    pub(crate) fn let_go_of_volume(&self, spec: &WorkerSpec) {
        for name in [&spec.names.holder, &spec.names.disk] {
            let (engine, name, lease) = (self.engine.clone(), name.clone(), self.terms.lease.clone());
            self.making.spawn(async move {
                if let Err(error) = async {
                    engine.kill(&name).await?;
                    engine.remove(&name).await
                }
                .await
                {
                    tracing::debug!(%lease, "{name} goes with the lease: {error}");
                }
            });
        }
    }
}

/// The folder's name is its key's, where it has one.
fn on_disk(folder: &str) -> Footing {
    let is_plain = folder.rsplit('/').next().is_none_or(|name| name.is_empty() || name == PLAIN_FOLDER);
    Footing { has_quota: true, is_encrypted: !is_plain, was_mended: false }
}

async fn is_running_on(engine: &Engine, home: &str) -> Result<bool, EngineError> {
    let users = engine.users_of_volume(home).await?;
    Ok(users.iter().any(|user| is_worker(user) && user.standing != Standing::Ended))
}

/// A device has another number each time, and the Engine takes no other options for what it knows.
async fn forget_mounts(engine: &Engine, names: &VolumeNames) -> Result<(), Unready> {
    let began = tokio::time::Instant::now();
    for name in [&names.home, &names.disk] {
        while !engine.remove_volume(name).await? {
            if began.elapsed() > FREE_WITHIN {
                return Err(Unready::Guest(format!(
                    "the renter's volume is still held by an earlier lease ({name}); it is free when that is removed"
                )));
            }
            sleep(LOOK_AGAIN).await;
        }
    }
    Ok(())
}

/// Names of the volumes that renters keep with this host.
pub(crate) async fn kept(engine: &Engine, host: &str) -> Result<Vec<String>, EngineError> {
    engine.volumes(&[format!("{LABEL_HOST}={host}"), format!("{LABEL_ROLE}={ROLE_VOLUME}")]).await
}

/// Deletes a volume with all that is on it; `false` while something uses it.
pub(crate) async fn wipe(engine: &Engine, locks: &Locks, name: &str) -> Result<bool, EngineError> {
    let _lock = locks.take(name).await;
    let names = VolumeNames::of(name);
    for part in [&names.home, &names.disk, &names.store] {
        if !engine.remove_volume(part).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_another_lease_has_up_tells_by_its_folder_whether_it_is_encrypted() {
        let is_encrypted = |folder: &str| on_disk(folder).is_encrypted;
        assert!(is_encrypted(
            "/var/lib/docker/volumes/nightjar-ab-disk/_data/69b2f6edeee720cce0577937eb8a6751"
        ));
        for plain in ["/var/lib/docker/volumes/nightjar-ab-disk/_data/plain", "", "/"] {
            assert!(!is_encrypted(plain), "{plain}");
        }
    }
}
