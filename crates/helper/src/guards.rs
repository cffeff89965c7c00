//! Which containers end with which connection.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nightjar_protocol::helper::{ContainerId, GUARD_GRACE_MS, HelperErrorCode, HelperRefusal};

use crate::cgroup::Cgroups;
use crate::limits::Connection;

/// More workers than any host has.
const MOST_GUARDED: usize = 256;

/// See the module's text. Cheap to clone.
#[derive(Clone)]
pub struct Guards {
    cgroups: Cgroups,
    /// `/proc` on a real system.
    proc: PathBuf,
    owners: Arc<Mutex<BTreeMap<ContainerId, Connection>>>,
}

impl Guards {
    #[must_use]
    pub fn new(cgroups: Cgroups, proc: &Path) -> Self {
        Self { cgroups, proc: proc.to_owned(), owners: Arc::default() }
    }

    fn owners(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Connection>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it ends with this connection, and with no earlier one.
    ///
    /// # Errors
    /// When there is no such container of Docker's, it is none of Nightjar's, or too many are guarded.
    pub fn guard(&self, id: ContainerId, by: Connection) -> Result<(), HelperRefusal> {
        if !self.cgroups.exists(&id) {
            let text = format!("there is no running container {id} among Docker's control groups");
            return Err(HelperRefusal::new(HelperErrorCode::NoSuchContainer, text));
        }
        if !self.cgroups.is_ours(&id, &self.proc) {
            let text = format!(
                "the container {id} is none of Nightjar's: its first program is another one's; nothing was done to it"
            );
            return Err(HelperRefusal::new(HelperErrorCode::NotYours, text));
        }
        let mut owners = self.owners();
        if owners.len() >= MOST_GUARDED && !owners.contains_key(&id) {
            return Err(HelperRefusal::new(HelperErrorCode::Busy, "too many containers are guarded already"));
        }
        owners.insert(id, by);
        Ok(())
    }

    pub fn release(&self, id: &ContainerId, by: Connection) {
        let mut owners = self.owners();
        if owners.get(id) == Some(&by) {
            owners.remove(id);
        }
    }

    #[must_use]
    pub fn of(&self, by: Connection) -> Vec<ContainerId> {
        self.owners().iter().filter(|(_, owner)| **owner == by).map(|(id, _)| id.clone()).collect()
    }

    /// The groups of a container that this connection has named as its own.
    ///
    /// # Errors
    /// When it has not.
    pub fn own(&self, id: &ContainerId, by: Connection) -> Result<&Cgroups, HelperRefusal> {
        if self.owners().get(id) == Some(&by) {
            return Ok(&self.cgroups);
        }
        Err(HelperRefusal::new(
            HelperErrorCode::NotYours,
            format!("nothing was done to the container {id}: it was not named by `Guard` on this connection"),
        ))
    }

    /// The host is gone. What is frozen can never end by itself, so it is ended now; what runs ends itself in five
    /// seconds, unless a new host takes it up by then.
    pub fn lose(&self, by: Connection) {
        for id in self.of(by) {
            if self.cgroups.is_frozen(&id) {
                self.end(&id, by);
            }
        }
        if self.of(by).is_empty() {
            return;
        }
        let guards = self.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(GUARD_GRACE_MS));
            for id in guards.of(by) {
                guards.end(&id, by);
            }
        });
    }

    fn end(&self, id: &ContainerId, by: Connection) {
        // Taken out first: a connection that guards it from now on is refused, for it is gone.
        self.release(id, by);
        if !self.cgroups.exists(id) {
            return;
        }
        match self.cgroups.end(id) {
            Ok(()) => tracing::warn!(%id, "its host is gone, the container was ended"),
            Err(error) => tracing::error!(%id, "its host is gone, and the container is not ended: {error}"),
        }
    }
}
