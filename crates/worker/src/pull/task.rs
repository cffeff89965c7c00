//! One image on its way: several blobs come at once, and the Engine unpacks the lower layers meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use nightjar_core::images::{GiveUp, Next, Part, Pull};
use nightjar_core::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::archive::{LayerFile, archive};
use super::blobs::Blobs;
use super::fetch::{End, Fetch, News, changes};
use super::hold::{passed_free, while_free};
use super::pace::Fetching;
use super::registry::{Description, Registry, Trouble, digest_of};
use super::{Progress, PullError, PullStep, Pulled, Puller, Wanted, layers};
use crate::catalogue::Source;
use crate::engine::{EngineError, LOAD_WITHIN, QUICK};
use crate::steady::Steady;

/// How often is told how far it is.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// News that wait to be read; whoever has more waits too.
const MOST_NEWS: usize = 64;

type Channel<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

/// Why a pull's task ends without the image.
pub(super) enum Stop {
    Pull(PullError),
    Disk(std::io::Error),
}

impl<E: Into<PullError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Pull(error.into())
    }
}

pub(super) struct Task<'a> {
    puller: &'a Puller,
    image: Source,
    registry: Arc<Registry>,
    blobs: Blobs,
    pull: Pull,
    hold: watch::Receiver<bool>,
    told: &'a mut (dyn FnMut(Progress) + Send),
    told_at: Option<Instant>,
    clock: Steady,
    described: Option<Described>,
    /// Blobs; they end with this.
    fetches: JoinSet<()>,
    news: Channel<(String, News)>,
    /// Ends with this too, and after those that fetch: who has the image freed drops this in the middle.
    fetching: Fetching,
    /// Gives up to which layer the Engine has them; one at a time, and ends with this.
    unpacking: JoinSet<Result<usize, EngineError>>,
}

/// What the image consists of, and what of it the Engine has.
struct Described {
    description: Description,
    /// So many layers, from the lowest on, need not be given to it.
    given: usize,
    /// Layers can be given to it before all are here.
    is_ahead: bool,
    is_room_made: bool,
}

/// What room was made for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Free,
    /// Layers that the Engine had went with what made room: they are to be fetched first.
    AtACost,
}

impl<'a> Task<'a> {
    pub fn new(
        puller: &'a Puller,
        image: Source,
        registry: Registry,
        blobs: Blobs,
        hold: watch::Receiver<bool>,
        told: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Self {
        Self {
            puller,
            image,
            registry: Arc::new(registry),
            blobs,
            pull: Pull::new(),
            hold,
            told,
            told_at: None,
            clock: Steady::begin(),
            described: None,
            fetches: JoinSet::new(),
            news: mpsc::channel(MOST_NEWS),
            fetching: Fetching::begin(puller.pace.clone()),
            unpacking: JoinSet::new(),
        }
    }

    pub async fn run(&mut self, wanted: &Wanted<'_>) -> Result<(), Stop> {
        self.puller.make_room(&self.image, wanted.quota_bytes, true).await?;
        loop {
            let is_held = *self.hold.borrow_and_update();
            self.pull.hold(is_held);
            let next = self.pull.next(self.clock.now());
            let is_active = matches!(next, Next::Describe | Next::Fetch { .. }) || self.pull.is_fetching();
            self.fetching.set(is_active);
            if !is_held {
                self.unpack_ahead(wanted).await?;
            }
            match next {
                Next::Done => return Ok(()),
                Next::GiveUp(why) => return Err(PullError::from(why).into()),
                Next::Hold => {
                    self.tell(PullStep::Held);
                    self.wait(None).await?;
                }
                Next::Wait { until } => self.wait(until).await?,
                Next::Describe => self.describe().await?,
                Next::Fetch { digest, size_bytes, .. } => self.begin(digest, size_bytes),
                Next::Load if !self.unpacking.is_empty() => self.wait(None).await?,
                Next::Load => self.load(wanted).await?,
            }
        }
    }

    fn tell(&mut self, step: PullStep) {
        let (done_bytes, total_bytes) = self.pull.progress().unzip();
        self.told_at = Some(Instant::now());
        (self.told)(Progress { step, done_bytes: done_bytes.unwrap_or(0), total_bytes });
    }

    /// Until something that is under way says something, the owner comes or goes, or it is time for something new.
    async fn wait(&mut self, until: Option<Timestamp>) -> Result<(), Stop> {
        let wait = until.map(|until| Duration::from_millis(until.since_ms(self.clock.now())));
        tokio::select! {
            biased;
            () = changes(&mut self.hold) => {}
            Some((digest, news)) = self.news.1.recv() => self.take(&digest, news)?,
            Some(unpacked) = self.unpacking.join_next() => self.take_unpacked(unpacked).await?,
            Some(Err(broken)) = self.fetches.join_next() => {
                return Err(Stop::Disk(std::io::Error::other(broken)));
            }
            () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
        Ok(())
    }

    fn begin(&mut self, digest: String, size_bytes: u64) {
        self.pull.began(&digest);
        let fetch = Fetch {
            registry: self.registry.clone(),
            blobs: self.blobs.clone(),
            pace: self.puller.pace.clone(),
            hold: self.hold.clone(),
            news: self.news.0.clone(),
            digest,
            size_bytes,
        };
        self.fetches.spawn(fetch.run());
    }

    fn take(&mut self, digest: &str, news: News) -> Result<(), Stop> {
        match news {
            News::Got(bytes) => {
                self.pull.got(digest, bytes as u64);
                if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                    self.tell(PullStep::Fetching);
                }
            }
            News::Anew => self.pull.anew(digest),
            News::Ended(End::Whole) => self.pull.whole(digest),
            News::Ended(End::Held) => self.pull.paused(digest),
            News::Ended(End::Trouble(trouble)) => self.take_trouble(Some(digest), trouble),
            News::Ended(End::Disk(error)) => return Err(Stop::Disk(error)),
        }
        Ok(())
    }

    fn take_trouble(&mut self, asked: Option<&str>, trouble: Trouble) {
        let now = self.clock.now();
        match trouble {
            Trouble::Cut(detail) => {
                tracing::debug!(image = self.image.key, "a pull was cut: {detail}");
                self.pull.cut(asked, &detail, now);
                self.tell(PullStep::Retrying { detail });
            }
            Trouble::Corrupt { digest } => {
                tracing::warn!(
                    image = self.image.key,
                    digest,
                    "arrived with another content; asked for anew"
                );
                self.pull.corrupt(&digest, now);
            }
            Trouble::Refused(detail) => self.pull.refused(detail),
        }
    }

    async fn describe(&mut self) -> Result<(), Stop> {
        self.tell(PullStep::Fetching);
        let asked = tokio::select! {
            biased;
            () = changes(&mut self.hold) => return Ok(()),
            asked = self.registry.describe() => asked,
        };
        let description = match asked {
            Ok(description) => description,
            Err(trouble) => {
                self.take_trouble(None, trouble);
                return Ok(());
            }
        };
        let engine = &self.puller.engine;
        let is_ahead = layers::takes_layers_apart(&engine.info(QUICK).await?);
        let given = if is_ahead { layers::in_engine(&description, &engine.images().await?) } else { 0 };
        let parts = parts(&self.blobs, &description, given).await.map_err(Stop::Disk)?;
        self.described = Some(Described { description, given, is_ahead, is_room_made: false });
        self.pull.described(parts);
        self.tell(PullStep::Fetching);
        Ok(())
    }

    /// Lets the Engine unpack the lowest layers that it lacks, if these are here and others are not.
    async fn unpack_ahead(&mut self, wanted: &Wanted<'_>) -> Result<(), Stop> {
        let Some(described) = self.described.as_ref().filter(|described| described.is_ahead) else {
            return Ok(());
        };
        if !self.unpacking.is_empty() {
            return Ok(());
        }
        let Some(upto) =
            layers::ahead(&described.description, described.given, |digest| self.pull.is_whole(digest))
        else {
            return Ok(());
        };
        if self.make_room(wanted).await? == Room::AtACost {
            return Ok(());
        }
        let Some(Described { description, given, .. }) = &self.described else { return Ok(()) };
        let given = *given;
        let config = layers::lower_config(description, upto).map_err(refused)?;
        let tag = format!("{}{upto}", layers::coming_prefix(&self.image));
        let files = self.files(description, given, upto);
        let stream = archive(&digest_of(&config), config, &files, &tag).map_err(refused)?;
        let (stream, too_long) = self.given_while_free(stream);
        let engine = self.puller.engine.clone();
        self.unpacking.spawn(async move { engine.load_image(stream, too_long).await.map(|()| upto) });
        Ok(())
    }

    /// Unpacking takes disk and processor as nothing else here: the Engine gets nothing while the owner is there, and has its
    /// whole time for it when they are not.
    fn given_while_free<S: Stream<Item: Send> + Send + 'static>(
        &self,
        archive: S,
    ) -> (impl Stream<Item = S::Item> + Send + use<S>, impl Future<Output = ()> + Send + use<S>) {
        (while_free(archive, self.hold.clone()), passed_free(LOAD_WITHIN, self.hold.clone()))
    }

    async fn take_unpacked(
        &mut self,
        unpacked: Result<Result<usize, EngineError>, tokio::task::JoinError>,
    ) -> Result<(), Stop> {
        let Some(described) = &mut self.described else { return Ok(()) };
        let upto = match unpacked
            .map_err(|broken| broken.to_string())
            .and_then(|said| said.map_err(|e| e.to_string()))
        {
            Ok(upto) => upto,
            Err(detail) => {
                // All of it together may still work; if not, that says why.
                tracing::warn!(image = self.image.key, "its layers are not taken one by one: {detail}");
                described.is_ahead = false;
                return Ok(());
            }
        };
        let before = std::mem::replace(&mut described.given, upto);
        let prefix = layers::coming_prefix(&self.image);
        self.puller.engine.remove_image(&format!("{prefix}{before}")).await?;
        let layers = &described.description.layers;
        for layer in layers.iter().take(upto).skip(before) {
            // The same layer again, further up, is still to be given.
            if layers.iter().skip(upto).all(|other| other.digest != layer.digest) {
                self.blobs.remove(&layer.digest).await.map_err(Stop::Disk)?;
            }
        }
        Ok(())
    }

    /// Layers of an image up to one of them, with the files of those that the Engine lacks.
    fn files(&self, description: &Description, given: usize, upto: usize) -> Vec<LayerFile> {
        let file = |digest: &str, size: u64| -> (PathBuf, u64) { (self.blobs.whole(digest), size) };
        let layers = description.layers.iter().take(upto).enumerate();
        layers
            .map(|(index, layer)| LayerFile {
                digest: layer.digest.clone(),
                file: (index >= given).then(|| file(&layer.digest, layer.size_bytes)),
            })
            .collect()
    }

    /// Before the Engine is given the first of it.
    async fn make_room(&mut self, wanted: &Wanted<'_>) -> Result<Room, Stop> {
        let Some(described) = self.described.as_mut().filter(|described| !described.is_room_made) else {
            return Ok(Room::Free);
        };
        described.is_room_made = true;
        self.puller.make_room(&self.image, wanted.quota_bytes, false).await?;
        // An image that made room may have been the one that had the layers below this one's.
        let has = layers::in_engine(&described.description, &self.puller.engine.images().await?);
        if has >= described.given {
            return Ok(Room::Free);
        }
        described.given = has;
        let parts = parts(&self.blobs, &described.description, has).await.map_err(Stop::Disk)?;
        self.pull.also(parts);
        Ok(Room::AtACost)
    }

    async fn load(&mut self, wanted: &Wanted<'_>) -> Result<(), Stop> {
        self.tell(PullStep::Loading);
        if self.make_room(wanted).await? == Room::AtACost {
            return Ok(());
        }
        let Some(Described { description, given, .. }) = self.described.take() else { return Ok(()) };
        let files = self.files(&description, given, description.layers.len());
        let tag = layers::local_tag(&self.image);
        let engine = &self.puller.engine;
        let stream =
            archive(&description.config_digest, description.config.clone(), &files, &tag).map_err(refused)?;
        let (stream, too_long) = self.given_while_free(stream);
        engine.load_image(stream, too_long).await?;
        let facts = engine.image(&tag).await?.filter(|facts| layers::is_it(facts, &description));
        let Some(facts) = facts else {
            engine.remove_image(&tag).await?;
            return Err(refused("the Engine made another image of it than its digest names"));
        };
        self.puller.shelf.put(Pulled {
            name: self.image.key.clone(),
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
        Ok(self.puller.forget_coming(&layers::coming_prefix(&self.image)).await?)
    }
}

/// What is to come, and what of it is here already.
async fn parts(blobs: &Blobs, description: &Description, given: usize) -> std::io::Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    for layer in description.layers.iter().skip(given) {
        // An image may have the same layer twice, an empty one most likely.
        if parts.iter().all(|part| part.digest != layer.digest) {
            parts.push(Part {
                digest: layer.digest.clone(),
                size_bytes: layer.size_bytes,
                have_bytes: blobs.have_bytes(&layer.digest),
                is_whole: blobs.check(&layer.digest).await?,
            });
        }
    }
    Ok(parts)
}

fn refused(why: impl std::fmt::Display) -> Stop {
    PullError::GiveUp(GiveUp::Refused { detail: why.to_string() }).into()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::catalogue::Catalogue;
    use crate::engine::Engine;
    use crate::engine::fake::FakeEngine;
    use crate::pull::Shelf;
    use crate::pull::registry::Layer;

    const MIB: u64 = 1 << 20;
    const OLD: &str =
        r#"{"Id":"sha256:old","Size":9437184,"RootFS":{"Type":"layers","Layers":["base","upper"]}}"#;
    const LISTED: &str = r#"[{"Id":"sha256:old","ParentId":"","RepoTags":[],"RepoDigests":[],"Created":0,"Size":0,
        "SharedSize":0,"Labels":{},"Containers":0}]"#;

    fn image(registry: &str) -> Source {
        Source {
            key: "new".into(),
            reference: format!("{registry}/new:1"),
            digest: Some(format!("sha256:{}", "a".repeat(64))),
            size_mib: 8,
        }
    }

    /// Its owner freed it in the middle: the line is nobody's then.
    #[tokio::test]
    async fn a_pull_that_is_dropped_fetches_nothing_any_more() {
        let fake = FakeEngine::start(|_| "[]".into());
        let folder = tempfile::tempdir().unwrap();
        let (catalogue, shelf) = (Arc::new(Catalogue::shipped().unwrap()), Arc::new(Shelf::open(None)));
        let puller = Puller::new(Engine::new(fake.address()), catalogue, shelf, Some(folder.path().into()));
        // It takes connections and says nothing.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let image = image(&silent.local_addr().unwrap().to_string());
        let registry = Registry::of(&image).map_err(|trouble| format!("{trouble:?}")).unwrap();
        let (blobs, told) = (Blobs::open(folder.path().into()).unwrap(), &mut |_: Progress| {});
        let (_hold, is_held) = watch::channel(false);
        let mut active = puller.pace().active();
        let mut task = Task::new(&puller, image, registry, blobs, is_held, told);
        let wanted = Wanted { name: "new", quota_bytes: 10 * MIB, now: Timestamp(2) };
        tokio::select! {
            _ = task.run(&wanted) => panic!("nobody answers"),
            begun = active.wait_for(|is_active| *is_active) => drop(begun.unwrap()),
        }
        drop(task);
        assert!(!*active.borrow());
    }

    /// An image that is nearly here, on a base that another has, which was used longest ago and has to make room.
    #[tokio::test]
    async fn a_base_that_went_with_what_made_room_is_fetched_after_all() {
        let is_there = Arc::new(Mutex::new(true));
        let there = is_there.clone();
        let fake = FakeEngine::start(move |call| {
            let mut there = there.lock().unwrap();
            match call.split_once(" /").unwrap_or_default() {
                ("DELETE", _) => {
                    *there = false;
                    "[]".into()
                }
                (_, "images/json") if *there => LISTED.into(),
                (_, "images/json" | "containers/json") => "[]".into(),
                _ if *there => OLD.into(),
                _ => String::new(),
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let shelf = Arc::new(Shelf::open(None));
        shelf.put(Pulled {
            name: "old".into(),
            reference: "r".into(),
            digest: "sha256:1".into(),
            image_id: "sha256:old".into(),
            tag: "old".into(),
            size_bytes: 9 * MIB,
            pulled_at: Timestamp(1),
            last_used_at: None,
        });
        let catalogue = Arc::new(Catalogue::shipped().unwrap());
        let puller = Puller::new(Engine::new(fake.address()), catalogue, shelf, Some(folder.path().into()));
        let image = image("registry.example");
        let layer = |name: &str, digit: &str| Layer {
            digest: format!("sha256:{}", digit.repeat(64)),
            size_bytes: MIB,
            diff_id: name.into(),
        };
        let description = Description {
            config_digest: "id".into(),
            config: b"{}".to_vec(),
            layers: vec![layer("base", "b"), layer("mine", "c")],
        };
        let registry = Registry::of(&image).map_err(|trouble| format!("{trouble:?}")).unwrap();
        let (blobs, told) = (Blobs::open(folder.path().into()).unwrap(), &mut |_: Progress| {});
        let mut task = Task::new(&puller, image, registry, blobs, watch::channel(false).1, told);
        let mine = description.layers[1].digest.clone();
        let part = Part { digest: mine, size_bytes: MIB, have_bytes: MIB, is_whole: true };
        task.pull.described(vec![part]);
        task.described = Some(Described { description, given: 1, is_ahead: true, is_room_made: false });
        assert_eq!(task.pull.next(task.clock.now()), Next::Load);
        let wanted = Wanted { name: "new", quota_bytes: 10 * MIB, now: Timestamp(2) };
        assert!(task.load(&wanted).await.is_ok());
        assert!(!*is_there.lock().unwrap(), "nothing made room");
        let Next::Fetch { digest, .. } = task.pull.next(task.clock.now()) else { panic!("{:?}", task.pull) };
        assert_eq!(digest, layer("base", "b").digest);
        assert_eq!(task.described.as_ref().map(|described| described.given), Some(0));
    }
}
