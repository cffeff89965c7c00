//! Images that the owner wished for, one after the other, while nothing holds them up.

use std::sync::Arc;
use std::time::Duration;

use nightjar_core::host::Input;
use nightjar_core::images::{Held, ImageSettings, ImageTrouble, again_after_ms};
use nightjar_core::policy::{BlockReason, GatewayFailure};
use nightjar_core::time::Timestamp;
use nightjar_protocol::images::{PullNow, PullState, PulledImage, PulledImages};
use nightjar_worker::catalogue::GATEWAY;
use nightjar_worker::pull::{Progress, PullError, PullStep, Puller, Wanted};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::owner::Message;

/// What the owner asks for, through any front end.
#[derive(Debug)]
pub(crate) enum ImagesOrder {
    List,
    /// Fetch an image of the catalogue while the owner is away; goes on after a restart.
    Pull {
        name: String,
    },
    /// Remove it from this PC, or stop fetching it.
    Free {
        name: String,
    },
}

/// What a front end or the owner's loop asks for.
pub(crate) enum PullOrder {
    Ask {
        order: ImagesOrder,
        answer: oneshot::Sender<Result<PulledImages, ImageTrouble>>,
    },
    /// The Engine has come, or has other images than before.
    Look,
    /// A lease begins with this image.
    Used {
        name: String,
        at: Timestamp,
    },
}

pub(crate) struct Pulls {
    pub puller: Puller,
    pub clock: Clock,
    /// What nothing is fetched for, while there is such a thing.
    pub hold: watch::Receiver<Option<BlockReason>>,
    pub chosen: watch::Receiver<ImageSettings>,
    pub owner: mpsc::UnboundedSender<Message>,
}

/// One that failed, and when it is tried again.
struct Failed {
    name: String,
    why: ImageTrouble,
    again_at: Option<Instant>,
}

/// What changes while it runs.
struct State {
    orders: mpsc::UnboundedReceiver<PullOrder>,
    hold: watch::Receiver<Option<BlockReason>>,
    chosen: watch::Receiver<ImageSettings>,
    /// For the puller: whether there is a reason to hold it.
    is_held: watch::Sender<bool>,
    failed: Vec<Failed>,
    /// Of the gateway's image, in a row, and the last one as the owner's loop was told of it.
    gateway_failures: u32,
    gateway_failure: Option<GatewayFailure>,
    board: Board,
}

/// Nobody can order any more.
struct Ended;

impl Pulls {
    /// Runs until nobody can order any more.
    pub(crate) async fn run(self, orders: mpsc::UnboundedReceiver<PullOrder>) {
        let mut state = State {
            orders,
            hold: self.hold.clone(),
            chosen: self.chosen.clone(),
            is_held: watch::Sender::new(true),
            failed: Vec::new(),
            gateway_failures: 0,
            gateway_failure: None,
            board: Board { owner: self.owner.clone(), shown: None },
        };
        loop {
            state.take_hold();
            let is_lent = state.chosen.borrow_and_update().lends();
            self.puller.want_gateway(is_lent).await;
            if let Err(error) = self.puller.drop_superseded().await {
                tracing::debug!("images that were superseded stay for now: {error}");
            }
            let wishes = self.puller.wishes();
            if !wishes.iter().any(|wish| wish == GATEWAY) {
                state.gateway_failures = 0;
                state.tell_gateway(None);
            }
            let now = Instant::now();
            state.failed.retain(|one| wishes.contains(&one.name) && one.again_at.is_none_or(|at| at > now));
            let is_failed = |wish: &&String| state.failed.iter().any(|one| one.name == **wish);
            let ended = match wishes.iter().find(|wish| !is_failed(wish)) {
                Some(name) => self.pull(name, &mut state).await,
                None => self.rest(&wishes, &mut state).await,
            };
            if ended.is_err() {
                return;
            }
        }
    }

    /// Nothing is to be fetched: waits for something that may change that.
    async fn rest(&self, wishes: &[String], state: &mut State) -> Result<(), Ended> {
        state.show(wishes, None);
        self.puller.tidy().await;
        let again_at = state.failed.iter().filter_map(|one| one.again_at).min();
        tokio::select! {
            order = state.orders.recv() => self.obey(order.ok_or(Ended)?, &mut state.failed).await,
            changed = state.chosen.changed() => changed.map_err(|_| Ended)?,
            () = tokio::time::sleep_until(again_at.unwrap_or_else(Instant::now)), if again_at.is_some() => {}
        }
        Ok(())
    }

    /// Until it is here, has failed, or is no longer wished for.
    async fn pull(&self, name: &str, state: &mut State) -> Result<(), Ended> {
        let quota_bytes = self.chosen.borrow().quota_bytes();
        let wanted = Wanted { name, quota_bytes, now: self.clock.now() };
        let (steps, mut step) = watch::channel(None);
        let mut told = move |progress: Progress| drop(steps.send_replace(Some(progress)));
        let pull = self.puller.pull(&wanted, state.is_held.subscribe(), &mut told);
        tokio::pin!(pull);
        loop {
            tokio::select! {
                biased;
                changed = state.hold.changed() => {
                    changed.map_err(|_| Ended)?;
                    state.take_hold();
                }
                order = state.orders.recv() => {
                    self.obey(order.ok_or(Ended)?, &mut state.failed).await;
                    if !self.puller.wishes().iter().any(|wish| wish == name) {
                        return Ok(());
                    }
                }
                ended = &mut pull => {
                    if let Err(error) = ended {
                        tracing::warn!(image = name, "not pulled: {error}");
                        state.take_failure(name, &error, self.clock.now(), &self.puller.wishes());
                    }
                    return Ok(());
                }
                Ok(()) = step.changed() => {}
            }
            let progress = step.borrow_and_update().clone();
            // The registry has answered, so what it failed for the last time is over.
            if name == GATEWAY && progress.as_ref().is_some_and(|progress| progress.total_bytes.is_some()) {
                state.tell_gateway(None);
            }
            state.show(&self.puller.wishes(), progress.map(|progress| (name, progress)));
        }
    }

    async fn obey(&self, order: PullOrder, failed: &mut Vec<Failed>) {
        match order {
            // What failed for want of an Engine need not wait any longer.
            PullOrder::Look => failed.retain(|one| !matches!(one.why, ImageTrouble::Engine { .. })),
            PullOrder::Used { name, at } => self.puller.note_use(&name, at),
            PullOrder::Ask { order, answer } => {
                let _ = answer.send(self.answer(order, failed).await.map_err(|error| error.trouble()));
            }
        }
    }

    async fn answer(&self, order: ImagesOrder, failed: &mut Vec<Failed>) -> Result<PulledImages, PullError> {
        match order {
            ImagesOrder::List => {}
            ImagesOrder::Pull { name } => {
                self.puller.wish(&name)?;
                failed.retain(|one| one.name != name);
            }
            ImagesOrder::Free { name } => self.puller.free(&name).await?,
        }
        let quota_bytes = self.chosen.borrow().quota_bytes();
        let images: Vec<PulledImage> = self
            .puller
            .list()
            .await?
            .into_iter()
            .map(|found| {
                let Held { name, size_bytes, last_used_at, in_use, is_needed, .. } = found.held;
                let reference = found.reference;
                PulledImage { name, reference, size_bytes, last_used_at, in_use, is_needed }
            })
            .collect();
        let used_bytes = images.iter().fold(0_u64, |sum, image| sum.saturating_add(image.size_bytes));
        Ok(PulledImages { images, used_bytes, quota_bytes })
    }
}

impl State {
    fn take_hold(&mut self) {
        let is_held = self.hold.borrow_and_update().is_some();
        self.is_held.send_if_modified(|known| std::mem::replace(known, is_held) != is_held);
    }

    fn take_failure(&mut self, name: &str, error: &PullError, now: Timestamp, wishes: &[String]) {
        let why = error.trouble();
        let is_gateway = name == GATEWAY;
        self.gateway_failures = self.gateway_failures.saturating_add(u32::from(is_gateway));
        let again_ms = again_after_ms(&why, is_gateway.then_some(self.gateway_failures));
        let failure = again_ms
            .filter(|_| is_gateway)
            .map(|again_ms| GatewayFailure { why: why.clone(), again_at: now.plus_ms(again_ms) });
        let again_at = again_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        self.failed.push(Failed { name: name.to_owned(), why, again_at });
        // First of all: whoever reads that it failed finds it so in the list.
        self.show(wishes, None);
        if failure.is_some() {
            self.tell_gateway(failure);
        }
    }

    fn tell_gateway(&mut self, failure: Option<GatewayFailure>) {
        if self.gateway_failure != failure {
            self.gateway_failure.clone_from(&failure);
            let _ = self.board.owner.send(Message::Input(Input::GatewayPull(failure)));
        }
    }

    fn show(&mut self, wishes: &[String], now: Option<(&str, Progress)>) {
        let reason = self.hold.borrow().clone();
        self.board.show(wishes, &self.failed, now, reason.as_ref());
    }
}

/// Tells the owner's loop what is on its way.
struct Board {
    owner: mpsc::UnboundedSender<Message>,
    shown: Option<Arc<Vec<PullNow>>>,
}

impl Board {
    fn show(
        &mut self,
        wishes: &[String],
        failed: &[Failed],
        now: Option<(&str, Progress)>,
        reason: Option<&BlockReason>,
    ) {
        let line = |name: &String| {
            let mut pull =
                PullNow { name: name.clone(), state: PullState::Queued, done_bytes: 0, total_bytes: None };
            if let Some(failed) = failed.iter().find(|one| one.name == *name) {
                pull.state = PullState::Failed { why: failed.why.clone() };
            } else if let Some((_, progress)) = now.as_ref().filter(|(which, _)| which == name) {
                (pull.done_bytes, pull.total_bytes) = (progress.done_bytes, progress.total_bytes);
                pull.state = match (&progress.step, reason) {
                    (_, Some(reason)) => PullState::Held { reason: reason.clone() },
                    (PullStep::Loading, None) => PullState::Loading,
                    (PullStep::Retrying { detail }, None) => PullState::Retrying { detail: detail.clone() },
                    (PullStep::Fetching | PullStep::Held, None) => PullState::Fetching,
                };
            }
            pull
        };
        let fresh = Arc::new(wishes.iter().map(line).collect::<Vec<_>>());
        if self.shown.as_ref().is_none_or(|shown| *shown != fresh) {
            self.shown = Some(fresh.clone());
            let _ = self.owner.send(Message::Pulls(fresh));
        }
    }
}
