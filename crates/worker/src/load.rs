//! A load of our own on an idle card, in a container without a tenant or a network: a steady one, or the check that a
//! card's market asks for. It ends with its line, and at once when it is told to.

use std::sync::Arc;
use std::time::Duration;

use nightjar_core::gpu::GpuUuid;
use nightjar_core::host::{CheckAnswer, LoadEvent};
use nightjar_core::proof::Nonce;
use nightjar_core::sweep::WorkKind;
use nightjar_protocol::guest::{GuestEvent, LoadBoot};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::catalogue::Image;
use crate::config::WorkersConfig;
use crate::engine::{Engine, EngineError, how_it_ended};
use crate::line::{Line, SURELY_OVER};
use crate::preparation::SELF_CHECK_WITHIN;
use crate::pull::Shelf;
use crate::second_road::{RoadError, SecondRoad};
use crate::self_check::{self, LONGEST_CAUSE};
use crate::spec;

/// An Engine that has not ended it by then is not waited for: the helper ends it.
const ENGINE_WITHIN: Duration = Duration::from_millis(250);
const REMOVE_AGAIN: Duration = Duration::from_secs(2);
/// What is left then is found by the next start's sweep.
const REMOVE_TRIES: usize = 30;

/// What is done there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Steady(WorkKind),
    /// The check, once, of this question.
    Check(Nonce),
}

/// Which load, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadWish {
    /// By which it is stopped again, too.
    pub card: GpuUuid,
    pub work: Work,
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
    /// Told once the card is free again.
    pub off: watch::Sender<bool>,
}

impl LoadTask {
    /// Runs until it is told to stop or fails; nothing of it is left then. Gives the reason.
    pub async fn run(self, stopped: oneshot::Receiver<()>, told: &(impl Fn(LoadEvent) + Sync)) -> String {
        let name = format!("nightjar-load-{}-{}", self.config.host, self.number);
        let cause = self.run_as(&name, stopped, told).await;
        self.off.send_replace(true);
        cause
    }

    async fn run_as(
        &self,
        name: &str,
        stopped: oneshot::Receiver<()>,
        told: &(impl Fn(LoadEvent) + Sync),
    ) -> String {
        // Not broken off: a container that appears after its removal would stay, and nothing runs in it yet.
        let id = match self.create(name).await {
            Ok(id) => id,
            Err(cause) => return cause,
        };
        let cause = tokio::select! {
            biased;
            _ = stopped => "it was ended as it was told".to_owned(),
            cause = self.work(name, &id, told) => cause,
        };
        self.end(name, &id).await;
        cause
    }

    fn image(&self) -> Result<&Image, String> {
        let name = &self.wish.image;
        self.config.catalogue.find(name).ok_or_else(|| format!("the catalogue has no image {name}"))
    }

    async fn create(&self, name: &str) -> Result<String, String> {
        let image = self.image()?;
        let mut body = spec::load(name, &self.config.host, &self.wish.card, image, &self.config.seccomp);
        body.image = Some(self.shelf.reference_of(&image.source()));
        self.engine.create(name, body).await.map_err(|error| error.to_string())
    }

    /// Until it fails; why it does.
    async fn work(&self, name: &str, id: &str, told: &(impl Fn(LoadEvent) + Sync)) -> String {
        let line = match self.begin(name, id).await {
            Ok(line) => line,
            Err(error) => return error.to_string(),
        };
        match &self.wish.work {
            Work::Steady(_) => self.listen(name, line, told).await,
            Work::Check(nonce) => tokio::select! {
                cause = self.listen(name, line, told) => cause,
                checked = self.check(name, nonce) => match checked {
                    Ok(answer) => {
                        told(LoadEvent::Checked { answer });
                        "the check is over".to_owned()
                    }
                    Err(cause) => cause,
                },
            },
        }
    }

    /// What the market is told. An Engine that fails is no word on the card.
    async fn check(&self, name: &str, nonce: &Nonce) -> Result<CheckAnswer, String> {
        let command = self_check::command(self.image()?, &self.wish.card, nonce);
        let found = match self.engine.exec(name, &command, SELF_CHECK_WITHIN).await {
            Ok(output) => self_check::judge(&output, "the self-check"),
            Err(error @ EngineError::Slow { .. }) => Err(error.to_string()),
            Err(error) => return Err(error.to_string()),
        };
        Ok(match found {
            Ok((_, Some(proof))) => CheckAnswer::Proof(proof),
            Ok((name, None)) => {
                CheckAnswer::Failed { cause: format!("the self-check measured nothing of {name}") }
            }
            Err(cause) => {
                // Ended from outside in the middle of it.
                if let Some(how) = self.ended(name).await {
                    return Err(how);
                }
                tracing::warn!(card = self.wish.card.0, "the check that the market asked for: {cause}");
                CheckAnswer::Failed { cause: cause.chars().take(LONGEST_CAUSE).collect() }
            }
        })
    }

    async fn begin(&self, name: &str, id: &str) -> anyhow::Result<Line> {
        let ends = self.engine.attach(name).await?;
        let line = match self.wish.work {
            Work::Steady(work) => Line::open(ends, &LoadBoot { work })?,
            // Process 1 waits for its configuration, which never comes: it is there to end all else with its line.
            Work::Check(_) => Line::take_up(ends),
        };
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
                None => {
                    let how = self.ended(name).await;
                    return how.unwrap_or_else(|| "the line to the load was cut".to_owned());
                }
            }
        }
    }

    /// How it did; `None` while it runs.
    async fn ended(&self, name: &str) -> Option<String> {
        let found = self.engine.inspect(name).await.ok().flatten();
        found.as_ref().and_then(how_it_ended)
    }

    /// First off the card, then off the disk.
    async fn end(&self, name: &str, id: &str) {
        let killed = timeout(ENGINE_WITHIN, self.engine.kill(name)).await;
        if !matches!(killed, Ok(Ok(()))) {
            tracing::warn!(name, ?killed, "the Docker Engine does not end a load at once");
            let by_helper = match &self.road {
                Some(road) => road.end(id).await,
                None => Err(RoadError::Refused("there is none".to_owned())),
            };
            if let Err(why) = by_helper {
                tracing::warn!(
                    name,
                    "nor does the helper: {why}; its line is cut, it ends within {SURELY_OVER:?}"
                );
                sleep(SURELY_OVER).await;
            }
        }
        self.off.send_replace(true);
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
