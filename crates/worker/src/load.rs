//! A steady load on an idle card, in a container of its own. It ends with its line, and at once when it is told to.

use std::sync::Arc;
use std::time::Duration;

use nightjar_core::host::LoadEvent;
use nightjar_core::sweep::WorkKind;
use nightjar_protocol::guest::{GuestEvent, LoadBoot};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::config::WorkersConfig;
use crate::engine::{Engine, how_it_ended};
use crate::line::{Line, SURELY_OVER};
use crate::pull::Shelf;
use crate::second_road::SecondRoad;
use crate::spec;

/// An Engine that has not ended it by then is not waited for: the helper ends it.
const ENGINE_WITHIN: Duration = Duration::from_millis(250);
const REMOVE_AGAIN: Duration = Duration::from_secs(2);
/// What is left then is found by the next start's sweep.
const REMOVE_TRIES: usize = 30;

/// Which load, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadWish {
    /// By which it is stopped again.
    pub card: String,
    pub gpu_index: u32,
    pub kind: WorkKind,
    /// One of the catalogue's, e.g. `pytorch-cuda:lite`.
    pub image: String,
}

pub(crate) struct LoadTask {
    pub engine: Engine,
    pub config: Arc<WorkersConfig>,
    pub road: Option<Arc<dyn SecondRoad>>,
    pub shelf: Arc<Shelf>,
    pub wish: LoadWish,
    /// Makes the container's name its own.
    pub number: u64,
}

impl LoadTask {
    /// Runs until it is told to stop or fails; nothing of it is left then. Gives the reason.
    pub async fn run(self, stopped: oneshot::Receiver<()>, told: &(impl Fn(LoadEvent) + Sync)) -> String {
        let name = format!("nightjar-load-{}-{}", self.config.host, self.number);
        // Not broken off: a container that appears after its removal would stay, and nothing runs in it yet.
        let id = match self.create(&name).await {
            Ok(id) => id,
            Err(cause) => return cause,
        };
        let cause = tokio::select! {
            biased;
            _ = stopped => "it was ended as it was told".to_owned(),
            cause = self.work(&name, &id, told) => cause,
        };
        self.end(&name, &id).await;
        cause
    }

    async fn create(&self, name: &str) -> Result<String, String> {
        let wanted = &self.wish;
        let image = self.config.catalogue.find(&wanted.image);
        let image = image.ok_or_else(|| format!("the catalogue has no image {}", wanted.image))?;
        let mut body = spec::load(name, &self.config.host, wanted.gpu_index, image, &self.config.seccomp);
        body.image = Some(self.shelf.reference_of(image));
        self.engine.create(name, body).await.map_err(|error| error.to_string())
    }

    /// Until it fails; why it does.
    async fn work(&self, name: &str, id: &str, told: &(impl Fn(LoadEvent) + Sync)) -> String {
        match self.begin(name, id).await {
            Ok(line) => self.listen(name, line, told).await,
            Err(error) => error.to_string(),
        }
    }

    async fn begin(&self, name: &str, id: &str) -> anyhow::Result<Line> {
        let ends = self.engine.attach(name).await?;
        let line = Line::open(ends, &LoadBoot { work: self.wish.kind })?;
        self.engine.start(name).await?;
        if let Some(road) = &self.road {
            road.guard(id);
        }
        Ok(line)
    }

    async fn listen(&self, name: &str, mut line: Line, told: &(impl Fn(LoadEvent) + Sync)) -> String {
        loop {
            match line.next().await {
                Some(GuestEvent::Work { done }) => told(LoadEvent::Work { done }),
                Some(GuestEvent::Failed { what, why }) => return format!("{what}: {why}"),
                Some(_) => {}
                None => return self.how_it_ended(name).await,
            }
        }
    }

    async fn how_it_ended(&self, name: &str) -> String {
        let found = self.engine.inspect(name).await.ok().flatten();
        let how = found.as_ref().and_then(how_it_ended);
        how.unwrap_or_else(|| "the line to the load was cut".to_owned())
    }

    /// First off the card, then off the disk.
    async fn end(&self, name: &str, id: &str) {
        let killed = timeout(ENGINE_WITHIN, self.engine.kill(name)).await;
        if !matches!(killed, Ok(Ok(()))) {
            tracing::warn!(name, ?killed, "the Docker Engine does not end a load at once");
            if let Some(road) = &self.road
                && let Err(why) = road.end(id).await
            {
                tracing::warn!(
                    name,
                    "nor does the helper: {why}; its line is cut, it ends within {SURELY_OVER:?}"
                );
            }
        }
        for _ in 0..REMOVE_TRIES {
            match self.engine.remove(name).await {
                Ok(()) => break,
                Err(error) => tracing::debug!(name, "a load is not removed yet: {error}"),
            }
            sleep(REMOVE_AGAIN).await;
        }
        if let Some(road) = &self.road {
            road.release(id);
        }
    }
}
