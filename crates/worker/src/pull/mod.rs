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
mod door;
mod fetch;
mod hold;
mod layers;
mod manifest;
mod pace;
mod registry;
mod shelf;
mod task;

use std::path::PathBuf;
use std::sync::Arc;

use nightjar_core::images::{GiveUp, Held, ImageTrouble, evictions};
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
    #[error("{name} is made on the PC itself and lies in no registry")]
    NoRegistry { name: String },
    #[error("{name} is needed by every job, so it stays")]
    Needed {
        name: String,
        /// `None`: it is not here.
        size_mib: Option<u64>,
    },
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

impl PullError {
    /// What the owner is told.
    #[must_use]
    pub fn trouble(&self) -> ImageTrouble {
        match self {
            Self::Unknown { name } => ImageTrouble::Unknown { name: name.clone() },
            Self::NotPulled { name } => ImageTrouble::NotPulled { name: name.clone() },
            Self::NoRegistry { name } => ImageTrouble::NoRegistry { name: name.clone() },
            Self::Needed { name, size_mib } => {
                ImageTrouble::Needed { name: name.clone(), size_mib: *size_mib }
            }
            Self::InUse { name } => ImageTrouble::InUse { name: name.clone() },
            Self::GiveUp(why) => why.into(),
            Self::OverQuota(over) => over.into(),
            Self::Engine(error) => ImageTrouble::Engine { why: error.trouble() },
            Self::Disk { folder, detail } => {
                ImageTrouble::Disk { folder: folder.display().to_string(), detail: detail.clone() }
            }
            Self::NoFolder => ImageTrouble::NoFolder,
        }
    }
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
        let source = self.source(name)?;
        if source.digest.is_none() {
            return Err(PullError::NoRegistry { name: name.to_owned() });
        }
        Registry::of(&source).map_err(|trouble| given_up(trouble, name))?;
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
            let reference = self.shelf.reference_of(&self.catalogue.gateway().source);
            let size_mib = self.engine.image(&reference).await?.map(|facts| facts.size_bytes >> 20);
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

    /// Takes away images in whose place another of the same name has come, once nothing is made of them any more.
    ///
    /// # Errors
    /// When the Engine does not answer; they stay known then.
    pub async fn drop_superseded(&self) -> Result<(), EngineError> {
        let superseded = self.shelf.superseded();
        if superseded.is_empty() {
            return Ok(());
        }
        let used = self.engine.images_in_use().await?;
        for old in superseded.iter().filter(|old| !used.contains(&old.image_id)) {
            self.engine.remove_image(&old.tag).await?;
            self.shelf.forget(&old.tag);
            tracing::info!(image = old.name, "the one in whose place another has come is removed");
        }
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
        drop(task);
        done.map_err(|error| match error {
            Stop::Pull(error) => error,
            Stop::Disk(error) => unusable(error),
        })?;
        if let Err(error) = self.drop_superseded().await {
            tracing::debug!(image = wanted.name, "an earlier one stays for now: {error}");
        }
        self.tidy().await;
        Ok(())
    }

    /// Makes room, if it can be made.
    async fn make_room(&self, image: &Source, quota_bytes: u64, is_trial: bool) -> Result<(), PullError> {
        self.drop_superseded().await?;
        let mut held: Vec<Held> = self.list().await?.into_iter().map(|found| found.held).collect();
        // Those that a job still uses take their room until it ends.
        held.extend(self.shelf.superseded().into_iter().map(|old| Held {
            name: old.tag,
            size_bytes: old.size_bytes,
            last_used_at: old.last_used_at,
            pulled_at: old.pulled_at,
            in_use: true,
            is_needed: false,
        }));
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

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::engine::fake::FakeEngine;

    fn puller(fake: &FakeEngine) -> Puller {
        let catalogue = Arc::new(Catalogue::shipped().unwrap());
        Puller::new(Engine::new(fake.address()), catalogue, Arc::new(Shelf::open(None)), None)
    }

    fn pulled(tag: &str) -> Pulled {
        Pulled {
            name: GATEWAY.into(),
            reference: "r".into(),
            digest: format!("sha256:{tag}"),
            image_id: format!("sha256:of-{tag}"),
            tag: tag.into(),
            size_bytes: 1,
            pulled_at: Timestamp(1),
            last_used_at: None,
        }
    }

    #[tokio::test]
    async fn an_image_in_whose_place_another_has_come_goes_when_nothing_is_made_of_it() {
        let used = Arc::new(Mutex::new(r#"[{"Id":"c","ImageID":"sha256:of-old"}]"#));
        let removed = Arc::new(Mutex::new(Vec::new()));
        let (now_used, gone) = (used.clone(), removed.clone());
        let fake = FakeEngine::start(move |call| match call.split_once("/images/") {
            Some(("DELETE ", image)) => {
                gone.lock().unwrap().push(image.to_owned());
                "[]".into()
            }
            _ => (*now_used.lock().unwrap()).into(),
        });
        let puller = puller(&fake);
        puller.shelf.put(pulled("old"));
        puller.shelf.put(pulled("new"));
        puller.drop_superseded().await.unwrap();
        assert!(removed.lock().unwrap().is_empty(), "a job is made of it");
        *used.lock().unwrap() = "[]";
        puller.drop_superseded().await.unwrap();
        puller.drop_superseded().await.unwrap();
        assert_eq!(*removed.lock().unwrap(), ["old"]);
        assert_eq!(puller.shelf.pulled(), [pulled("new")]);
    }

    #[tokio::test]
    async fn what_every_job_needs_stays_with_the_size_that_it_has_if_it_is_there() {
        let there = Arc::new(Mutex::new(""));
        let said = there.clone();
        let fake = FakeEngine::start(move |_| (*said.lock().unwrap()).into());
        let puller = puller(&fake);
        let trouble = async || puller.free(GATEWAY).await.unwrap_err().trouble();
        let needed = |size_mib| ImageTrouble::Needed { name: GATEWAY.into(), size_mib };
        assert_eq!(trouble().await, needed(None));
        *there.lock().unwrap() = r#"{"Id":"sha256:1","Size":5242881}"#;
        assert_eq!(trouble().await, needed(Some(5)));
    }
}
