//! Images from a registry into the Engine: fetched blob by blob into a folder of ours, so that a restart goes on where it
//! was, each checked by its digest, and given to the Engine as archives of what it lacks, the lower layers while the upper
//! ones are still coming.
//!
//! What is to be done next is [`nightjar_core::images::Pull`]'s decision; this carries it out.
//!
//! | module | holds |
//! | --- | --- |
//! | `task` | one image on its way, from the question what it is to its place on the shelf |
//! | `fetch` | one blob on its way |
//! | `registry` | what the registry says, and blobs as they come |
//! | `blobs` | blobs on the disk, whole ones and beginnings |
//! | `layers` | which layers the Engine has, and an image of some of them |
//! | `archive` | the archive that the Engine reads |
//! | `hold` | and when it gets nothing of it |
//! | [`Pace`] | how fast it may be, and what it took |
//! | `shelf` | what was pulled, what is wished for |

mod archive;
mod blobs;
mod fetch;
mod hold;
mod layers;
mod pace;
mod registry;
mod shelf;
mod task;

use std::path::PathBuf;
use std::sync::Arc;

use nightjar_core::images::{GiveUp, Held, evictions};
use nightjar_core::time::Timestamp;
use tokio::sync::watch;

use crate::catalogue::{Catalogue, GATEWAY, Source};
use crate::engine::{Engine, EngineError};
use blobs::Blobs;
pub(crate) use layers::takes_layers_apart;
pub use pace::Pace;
use registry::{Registry, Trouble};
pub(crate) use shelf::{Pulled, Shelf};
use task::{Stop, Task};

/// How far a pull is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub step: PullStep,
    pub done_bytes: u64,
    /// `None` until the registry was asked.
    pub total_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullStep {
    Fetching,
    Held,
    Retrying { detail: String },
    Loading,
}

/// Why an image was not pulled, or not removed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("the catalogue has no image {name}; `nightjar images list` shows those that it has")]
    Unknown { name: String },
    #[error("{name} was not pulled from a registry, so there is nothing to remove")]
    NotPulled { name: String },
    #[error("{name} is needed by every job, so it stays; it takes {size_mib} MiB")]
    Needed { name: String, size_mib: u64 },
    #[error("{name} is in use by a container; it can be removed when the job is over")]
    InUse { name: String },
    #[error(transparent)]
    GiveUp(#[from] GiveUp),
    #[error(transparent)]
    OverQuota(#[from] nightjar_core::images::OverQuota),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("its blobs cannot be kept in {folder}: {detail}; free some space there")]
    Disk { folder: PathBuf, detail: String },
    #[error("this program was given no folder for images")]
    NoFolder,
}

/// What is to be pulled, under which conditions.
pub struct Wanted<'a> {
    /// E.g. `pytorch-cuda:full`.
    pub name: &'a str,
    pub quota_bytes: u64,
    /// For the shelf.
    pub now: Timestamp,
}

/// An image on the shelf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnShelf {
    pub held: Held,
    pub reference: String,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Puller {
    engine: Engine,
    catalogue: Arc<Catalogue>,
    shelf: Arc<Shelf>,
    pace: Arc<Pace>,
    /// `None`: nothing is pulled.
    folder: Option<PathBuf>,
}

impl Puller {
    pub(crate) fn new(
        engine: Engine,
        catalogue: Arc<Catalogue>,
        shelf: Arc<Shelf>,
        folder: Option<PathBuf>,
    ) -> Self {
        Self { engine, catalogue, shelf, pace: Arc::default(), folder }
    }

    #[must_use]
    pub fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }

    /// Names that are wished for and not here, the next one first.
    #[must_use]
    pub fn wishes(&self) -> Vec<String> {
        self.shelf.wishes()
    }

    /// Wishes for an image; it is remembered until it is here or freed.
    ///
    /// # Errors
    /// When the catalogue has it not, or it lies in no registry.
    pub fn wish(&self, name: &str) -> Result<(), PullError> {
        Registry::of(&self.source(name)?).map_err(|trouble| given_up(trouble, name))?;
        self.shelf.wish(name);
        Ok(())
    }

    /// A lease begins with it.
    pub fn note_use(&self, name: &str, at: Timestamp) {
        self.shelf.note_use(name, at);
    }

    /// Wishes for the gateway's image before any other where it lies in a registry and the Engine lacks it: without it
    /// no job can run, so `is_lent`, the owner's agreement to any work at all, is agreement to it. An Engine that does not
    /// answer changes nothing.
    pub async fn want_gateway(&self, is_lent: bool) {
        let gateway = &self.catalogue.gateway().source;
        if gateway.digest.is_none() || !is_lent {
            return self.shelf.drop_wish(GATEWAY);
        }
        match self.engine.image(&self.shelf.reference_of(gateway)).await {
            Ok(Some(_)) => self.shelf.drop_wish(GATEWAY),
            Ok(None) => self.shelf.wish_first(GATEWAY),
            Err(error) => tracing::debug!("whether the gateway's image is there is not known: {error}"),
        }
    }

    fn source(&self, name: &str) -> Result<Source, PullError> {
        self.catalogue.source(name).ok_or_else(|| PullError::Unknown { name: name.to_owned() })
    }

    /// What was pulled and is in the Engine.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn list(&self) -> Result<Vec<OnShelf>, EngineError> {
        let used = self.engine.images_in_use().await?;
        let mut list = Vec::new();
        for known in self.shelf.pulled() {
            let Some(facts) = self.engine.image(&known.image_id).await? else { continue };
            list.push(OnShelf {
                held: Held {
                    in_use: used.contains(&known.image_id),
                    is_needed: known.name == GATEWAY,
                    name: known.name,
                    size_bytes: facts.size_bytes,
                    last_used_at: known.last_used_at,
                    pulled_at: known.pulled_at,
                },
                reference: known.reference,
            });
        }
        Ok(list)
    }

    /// Removes an image that was pulled, with what was fetched of it so far.
    ///
    /// # Errors
    /// When it is in use, every job needs it, it was not pulled, or the Engine does not answer.
    pub async fn free(&self, name: &str) -> Result<(), PullError> {
        if name == GATEWAY {
            let size_mib = self.catalogue.gateway().source.size_mib;
            return Err(PullError::Needed { name: name.to_owned(), size_mib });
        }
        let was_wished = self.wishes().iter().any(|wish| wish == name);
        self.shelf.drop_wish(name);
        let Some(known) = self.shelf.pulled().into_iter().find(|known| known.name == name) else {
            let name = name.to_owned();
            return if was_wished { Ok(()) } else { Err(PullError::NotPulled { name }) };
        };
        if self.engine.images_in_use().await?.contains(&known.image_id) {
            return Err(PullError::InUse { name: name.to_owned() });
        }
        self.engine.remove_image(&known.tag).await?;
        self.shelf.take(name);
        Ok(())
    }

    /// Takes away what was fetched of images that nobody waits for any more, while nothing at all is waited for.
    pub async fn tidy(&self) {
        let Some(folder) = self.folder.clone().filter(|_| self.wishes().is_empty()) else { return };
        if let Err(error) = Blobs::open(folder.join("blobs")).and_then(|blobs| blobs.clear()) {
            tracing::warn!("blobs that are no longer needed stay: {error}");
        }
        if let Err(error) = self.forget_coming(layers::COMING).await {
            tracing::debug!("layers that are no longer needed stay in the Engine: {error}");
        }
    }

    /// Takes away the names under which the Engine keeps layers of an image that is still coming.
    async fn forget_coming(&self, prefix: &str) -> Result<(), EngineError> {
        for name in self.engine.image_tags(prefix).await? {
            self.engine.remove_image(&name).await?;
        }
        Ok(())
    }

    /// Pulls one image to its end, however long the owner holds it up meanwhile: `hold` says when nothing may be fetched.
    /// May be dropped at any moment, and begun again.
    ///
    /// # Errors
    /// Why it is not tried any more.
    pub async fn pull(
        &self,
        wanted: &Wanted<'_>,
        hold: watch::Receiver<bool>,
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), PullError> {
        let image = self.source(wanted.name)?;
        let folder = self.folder.clone().ok_or(PullError::NoFolder)?;
        let unusable = |error: std::io::Error| PullError::Disk {
            folder: folder.join("blobs"),
            detail: error.to_string(),
        };
        let blobs = Blobs::open(folder.join("blobs")).map_err(unusable)?;
        let registry = Registry::of(&image).map_err(|trouble| given_up(trouble, wanted.name))?;
        let mut task = Task::new(self, image, registry, blobs, hold, told);
        let done = task.run(wanted).await;
        self.pace.set_active(false);
        done.map_err(|error| match error {
            Stop::Pull(error) => error,
            Stop::Disk(error) => unusable(error),
        })?;
        self.tidy().await;
        Ok(())
    }

    /// Makes room, if it can be made.
    async fn make_room(&self, image: &Source, quota_bytes: u64, is_trial: bool) -> Result<(), PullError> {
        let held: Vec<Held> = self.list().await?.into_iter().map(|found| found.held).collect();
        let needed_bytes = image.size_mib.saturating_mul(1 << 20);
        let gone = evictions(&held, &image.key, needed_bytes, quota_bytes)?;
        for name in gone.iter().filter(|_| !is_trial) {
            tracing::info!(image = name, "an image that was used longest ago makes room for another");
            self.free(name).await?;
        }
        Ok(())
    }
}

fn given_up(trouble: Trouble, name: &str) -> PullError {
    let detail = match trouble {
        Trouble::Refused(detail) | Trouble::Cut(detail) => detail,
        Trouble::Corrupt { digest } => format!("{name}: {digest} is wrong"),
    };
    PullError::GiveUp(GiveUp::Refused { detail })
}
