//! Images from a registry into the Engine: fetched blob by blob into a folder of ours, so that a restart goes on where it
//! was, each checked by its digest, and given to the Engine as an archive of what it lacks.
//!
//! What is to be done next is [`nightjar_core::images::Pull`]'s decision; this carries it out.
//!
//! | module | holds |
//! | --- | --- |
//! | `registry` | what the registry says, and blobs as they come |
//! | `blobs` | blobs on the disk, whole ones and beginnings |
//! | `archive` | the archive that the Engine reads |
//! | [`Pace`] | how fast it may be, and what it took |
//! | `shelf` | what was pulled, what is wished for |

mod archive;
mod blobs;
mod pace;
mod registry;
mod shelf;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use nightjar_core::images::{GiveUp, Held, Next, Part, Pull, evictions};
use nightjar_core::time::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::catalogue::{Catalogue, Image};
use crate::engine::{Engine, EngineError, ImageFacts};
use archive::{LayerFile, archive};
use blobs::{Blobs, Growing};
pub use pace::Pace;
use registry::{Description, Registry, Trouble, innermost};
pub(crate) use shelf::{Pulled, Shelf};

/// How often is told how far it is.
const TELL_EVERY: Duration = Duration::from_millis(250);

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
        Registry::of(self.image(name)?).map_err(|trouble| given_up(trouble, name))?;
        self.shelf.wish(name);
        Ok(())
    }

    /// A lease begins with it.
    pub fn note_use(&self, name: &str, at: Timestamp) {
        self.shelf.note_use(name, at);
    }

    fn image(&self, name: &str) -> Result<&Image, PullError> {
        self.catalogue.find(name).ok_or_else(|| PullError::Unknown { name: name.to_owned() })
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
    /// When it is in use, was not pulled, or the Engine does not answer.
    pub async fn free(&self, name: &str) -> Result<(), PullError> {
        let was_wished = self.wishes().iter().any(|wish| wish == name);
        self.shelf.drop_wish(name);
        let Some(known) = self.shelf.pulled().into_iter().find(|known| known.name == name) else {
            self.tidy().await;
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

    /// Blobs of what nobody waits for any more.
    async fn tidy(&self) {
        if let (Some(folder), true) = (self.folder.clone(), self.wishes().is_empty()) {
            let cleared = Blobs::open(folder.join("blobs")).and_then(|blobs| blobs.clear());
            if let Err(error) = cleared {
                tracing::warn!("blobs that are no longer needed stay: {error}");
            }
        }
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
        let image = self.image(wanted.name)?.clone();
        let folder = self.folder.clone().ok_or(PullError::NoFolder)?;
        let unusable = |error: std::io::Error| PullError::Disk {
            folder: folder.join("blobs"),
            detail: error.to_string(),
        };
        let blobs = Blobs::open(folder.join("blobs")).map_err(unusable)?;
        let registry = Registry::of(&image).map_err(|trouble| given_up(trouble, wanted.name))?;
        let mut task = Task {
            puller: self,
            image,
            registry,
            blobs,
            pull: Pull::new(),
            hold,
            told,
            told_at: None,
            began: Instant::now(),
            description: None,
        };
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
    async fn make_room(&self, image: &Image, quota_bytes: u64, is_trial: bool) -> Result<(), PullError> {
        let held: Vec<Held> = self.list().await?.into_iter().map(|found| found.held).collect();
        let needed_bytes = image.size_mib.saturating_mul(1 << 20);
        let gone = evictions(&held, &image.key(), needed_bytes, quota_bytes)?;
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

/// Why a pull's task ends without the image.
enum Stop {
    Pull(PullError),
    Disk(std::io::Error),
}

impl<E: Into<PullError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Pull(error.into())
    }
}

/// One image on its way.
struct Task<'a> {
    puller: &'a Puller,
    image: Image,
    registry: Registry,
    blobs: Blobs,
    pull: Pull,
    hold: watch::Receiver<bool>,
    told: &'a mut (dyn FnMut(Progress) + Send),
    told_at: Option<Instant>,
    began: Instant,
    description: Option<Described>,
}

/// What the image consists of, and which of its layers the Engine has.
struct Described {
    description: Description,
    /// In the layers' order.
    is_in_engine: Vec<bool>,
}

impl Task<'_> {
    async fn run(&mut self, wanted: &Wanted<'_>) -> Result<(), Stop> {
        self.puller.make_room(&self.image, wanted.quota_bytes, true).await?;
        loop {
            let is_held = *self.hold.borrow_and_update();
            self.pull.hold(is_held);
            let next = self.pull.next(self.now());
            self.puller.pace.set_active(matches!(next, Next::Describe | Next::Fetch { .. }));
            match next {
                Next::Done => return Ok(()),
                Next::GiveUp(why) => return Err(PullError::from(why).into()),
                Next::Hold => {
                    self.tell(PullStep::Held);
                    changes(&mut self.hold).await;
                }
                Next::Wait { until } => {
                    let wait = Duration::from_millis(until.since_ms(self.now()));
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = changes(&mut self.hold) => {}
                    }
                }
                Next::Describe => self.describe().await?,
                Next::Fetch { digest, size_bytes, .. } => self.fetch(&digest, size_bytes).await?,
                Next::Load => self.load(wanted).await?,
            }
        }
    }

    /// Only differences count, so any beginning will do.
    fn now(&self) -> Timestamp {
        Timestamp(0).plus_ms(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn tell(&mut self, step: PullStep) {
        let (done_bytes, total_bytes) = self.pull.progress().unzip();
        self.told_at = Some(Instant::now());
        (self.told)(Progress { step, done_bytes: done_bytes.unwrap_or(0), total_bytes });
    }

    fn take(&mut self, trouble: Trouble) {
        let now = self.now();
        match trouble {
            Trouble::Cut(detail) => {
                tracing::debug!(image = self.image.key(), "a pull was cut: {detail}");
                self.pull.cut(&detail, now);
                self.tell(PullStep::Retrying { detail });
            }
            Trouble::Corrupt { digest } => {
                tracing::warn!(
                    image = self.image.key(),
                    digest,
                    "arrived with another content; asked for anew"
                );
                self.pull.corrupt(&digest, now);
            }
            Trouble::Refused(detail) => self.pull.refused(detail),
        }
    }

    async fn describe(&mut self) -> Result<(), Stop> {
        if let Some(described) = &self.description {
            let parts = self.parts(described);
            self.pull.described(parts);
            return Ok(());
        }
        self.tell(PullStep::Fetching);
        match self.registry.describe().await {
            Ok(description) => {
                let images = self.puller.engine.images().await?;
                let is_in_engine = layers_in_engine(&description, &images);
                let described = Described { description, is_in_engine };
                let parts = self.parts(&described);
                self.description = Some(described);
                self.pull.described(parts);
                self.tell(PullStep::Fetching);
            }
            Err(trouble) => self.take(trouble),
        }
        Ok(())
    }

    fn parts(&self, described: &Described) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for (layer, is_in_engine) in described.description.layers.iter().zip(&described.is_in_engine) {
            if *is_in_engine || parts.iter().any(|part| part.digest == layer.digest) {
                continue;
            }
            let is_whole = self.blobs.has(&layer.digest, layer.size_bytes);
            let have_bytes = self.blobs.have_bytes(&layer.digest);
            parts.push(Part {
                digest: layer.digest.clone(),
                size_bytes: layer.size_bytes,
                have_bytes,
                is_whole,
            });
        }
        parts
    }

    async fn fetch(&mut self, digest: &str, size_bytes: u64) -> Result<(), Stop> {
        let mut growing = self.blobs.go_on(digest).await.map_err(Stop::Disk)?;
        if growing.have_bytes() < size_bytes {
            let asked = tokio::select! {
                biased;
                () = changes(&mut self.hold) => return Ok(()),
                asked = self.registry.blob(digest, growing.have_bytes()) => asked,
            };
            let blob = match asked {
                Ok(blob) => blob,
                Err(trouble) => {
                    self.take(trouble);
                    return Ok(());
                }
            };
            if !blob.is_from_there {
                // This registry knows no ranges: what there is, is of no use.
                drop(growing);
                self.blobs.throw_away(digest).await.map_err(Stop::Disk)?;
                self.pull.anew(digest);
                growing = self.blobs.go_on(digest).await.map_err(Stop::Disk)?;
            }
            if !self.grow(&mut growing, digest, size_bytes, blob.bytes).await? {
                return growing.pause().await.map_err(Stop::Disk);
            }
        }
        // Longer than it says is another content, too.
        let is_right = growing.have_bytes() == size_bytes;
        if growing.finish(digest).await.map_err(Stop::Disk)? && is_right {
            self.pull.whole(digest);
        } else {
            self.take(Trouble::Corrupt { digest: digest.to_owned() });
        }
        Ok(())
    }

    /// Gives whether it came to its end.
    async fn grow(
        &mut self,
        growing: &mut Growing,
        digest: &str,
        size_bytes: u64,
        mut bytes: futures_util::stream::BoxStream<'static, std::io::Result<tokio_util::bytes::Bytes>>,
    ) -> Result<bool, Stop> {
        while growing.have_bytes() < size_bytes {
            let piece = tokio::select! {
                biased;
                // The owner comes first; the connection ends with this.
                () = changes(&mut self.hold) => return Ok(false),
                piece = bytes.next() => piece,
            };
            let trouble = match piece {
                Some(Ok(piece)) => {
                    self.puller.pace.note(piece.len());
                    growing.add(&piece).await.map_err(Stop::Disk)?;
                    self.pull.got(digest, piece.len() as u64);
                    if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                        self.tell(PullStep::Fetching);
                    }
                    let pace = Arc::clone(&self.puller.pace);
                    tokio::select! {
                        biased;
                        () = changes(&mut self.hold) => return Ok(false),
                        () = pace.fit(piece.len()) => {}
                    }
                    continue;
                }
                Some(Err(error)) => Trouble::Cut(innermost(&error)),
                None => Trouble::Cut("the registry ended in the middle of it".to_owned()),
            };
            self.take(trouble);
            return Ok(false);
        }
        Ok(true)
    }

    async fn load(&mut self, wanted: &Wanted<'_>) -> Result<(), Stop> {
        let Some(described) = self.description.take() else { return Ok(()) };
        self.tell(PullStep::Loading);
        self.puller.make_room(&self.image, wanted.quota_bytes, false).await?;
        let Described { description, is_in_engine } = described;
        let layers: Vec<LayerFile> = description
            .layers
            .iter()
            .zip(&is_in_engine)
            .map(|(layer, is_in_engine)| LayerFile {
                digest: layer.digest.clone(),
                file: (!is_in_engine).then(|| (self.blobs.whole(&layer.digest), layer.size_bytes)),
            })
            .collect();
        let tag = local_tag(&self.image);
        let engine = &self.puller.engine;
        let stream = archive(&description.config_digest, description.config.clone(), &layers, &tag)
            .map_err(|error| PullError::GiveUp(GiveUp::Refused { detail: error.to_string() }))?;
        engine.load_image(stream).await?;
        let facts = engine.image(&tag).await?.filter(|facts| is_it(facts, &description));
        let Some(facts) = facts else {
            engine.remove_image(&tag).await?;
            let detail = "the Engine made another image of it than its digest names".to_owned();
            return Err(PullError::GiveUp(GiveUp::Refused { detail }).into());
        };
        self.puller.shelf.put(Pulled {
            name: self.image.key(),
            reference: self.image.pinned_reference(),
            digest: self.image.digest.clone().unwrap_or_default(),
            image_id: facts.id,
            tag,
            size_bytes: facts.size_bytes,
            pulled_at: wanted.now,
            last_used_at: None,
        });
        self.pull.loaded();
        for layer in &description.layers {
            self.blobs.remove(&layer.digest).await.map_err(Stop::Disk)?;
        }
        Ok(())
    }
}

async fn changes(hold: &mut watch::Receiver<bool>) {
    if hold.changed().await.is_err() {
        // Whoever could let it go on is gone; so is this, soon.
        std::future::pending::<()>().await;
    }
}

/// Its name in the Engine, which nobody else gives.
fn local_tag(image: &Image) -> String {
    let digest = image.digest.as_deref().unwrap_or_default().trim_start_matches("sha256:");
    format!("nightjar.local/{}:{}-{}", image.name, image.flavour, digest.chars().take(16).collect::<String>())
}

/// The classic store's id is the configuration's digest. One that counts otherwise has the same layers in it.
fn is_it(facts: &ImageFacts, description: &Description) -> bool {
    facts.id == description.config_digest
        || facts.diff_ids.iter().eq(description.layers.iter().map(|layer| &layer.diff_id))
}

/// A layer can be left out where some image has the same one on the same ones below it.
fn layers_in_engine(description: &Description, images: &[ImageFacts]) -> Vec<bool> {
    let wanted: Vec<&String> = description.layers.iter().map(|layer| &layer.diff_id).collect();
    let shared = images
        .iter()
        .map(|image| image.diff_ids.iter().zip(&wanted).take_while(|(has, wanted)| has == *wanted).count());
    let shared = shared.max().unwrap_or(0);
    (0..wanted.len()).map(|index| index < shared).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::Layer;

    #[test]
    fn layers_are_left_out_only_on_top_of_the_same_ones() {
        let layer = |diff_id: &str| Layer { digest: String::new(), size_bytes: 1, diff_id: diff_id.into() };
        let description = Description {
            config_digest: "c".into(),
            config: Vec::new(),
            layers: vec![layer("a"), layer("b"), layer("c")],
        };
        let image = |ids: &[&str]| ImageFacts {
            id: String::new(),
            diff_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            size_bytes: 0,
        };
        let has = |images: &[ImageFacts]| layers_in_engine(&description, images);
        assert_eq!(has(&[image(&["b", "c"]), image(&["a", "x", "c"])]), [true, false, false]);
        assert_eq!(has(&[image(&["a"]), image(&["a", "b", "x"])]), [true, true, false]);
        assert_eq!(has(&[image(&["a", "b", "c", "d"])]), [true, true, true]);
        assert_eq!(has(&[]), [false, false, false]);
        assert!(is_it(&image(&["a", "b", "c"]), &description));
        assert!(!is_it(&image(&["a", "b"]), &description));
    }
}
