//! Two roads to a frozen worker. The Engine's pause is the first. Where the Engine has not answered in time, because it is
//! busy or hangs, whoever holds the second road freezes the container's control group without it.
//!
//! For a sandbox, which the Engine would have to ask, it is the other way round: the control group first.
//!
//! Whichever road froze the worker thaws it. A pause that the Engine carries out late is followed up: it is undone where
//! the worker is to run by then.
//!
//! A worker in gVisor has two freezes that know nothing of each other: the Engine's stops the tenant's programs inside, the
//! road's stops all that gVisor is made of, so that it answers no Engine until it is thawed. And no signal of the Engine's
//! reaches one that the Engine froze.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use nightjar_core::host::WorkerEvent;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};

use crate::engine::{Engine, EngineError};
use crate::removal::Cell;

mod outside;

use outside::{Kernel, Look};

/// The Engine needs some ten milliseconds; one that takes this long is not waited for.
const ENGINE_ALONE: Duration = Duration::from_millis(250);
/// The kernel needs a few; the Engine has to have some of [`FREEZE_WITHIN`] left.
const ROAD_ALONE: Duration = Duration::from_millis(800);
/// The owner waits for the card: what is not frozen by now is killed.
const FREEZE_WITHIN: Duration = Duration::from_secs(2);
/// What the kernel was told to freeze and has not by then is not taken for frozen.
const STILL_WITHIN: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// The answer of an Engine that hangs is waited for beside everything else, so that a late pause is not missed.
const LATE_ANSWER_WITHIN: Duration = Duration::from_secs(3_600);
const END_WITHIN: Duration = Duration::from_secs(8);
/// Who can be ended by the Engine too waits no longer for a helper that hangs.
const END_SOON: Duration = Duration::from_secs(2);
/// Between two tries to thaw what the helper alone can thaw, while it is away.
const THAW_AGAIN: Duration = Duration::from_millis(250);

/// What the second road answers.
pub type Done = BoxFuture<'static, Result<(), RoadError>>;

/// Why something may not have been done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoadError {
    /// It was not done.
    #[error("{0}")]
    Refused(String),
    /// It was asked for, and whether it was or will be done is not known.
    #[error("{0}")]
    Unanswered(String),
}

impl RoadError {
    fn is_open(&self) -> bool {
        matches!(self, Self::Unanswered(_))
    }
}

/// Who can stop a container's processes without the Engine, and ends them should this program be gone. Containers are
/// named by their full id.
pub trait SecondRoad: Send + Sync {
    /// This container is ours, and must not outlive this program. Returns at once.
    fn guard(&self, container: &str);
    /// It is over. Returns at once.
    fn release(&self, container: &str);
    fn freeze(&self, container: &str) -> Done;
    fn thaw(&self, container: &str) -> Done;
    /// Ends every process of it, frozen or not.
    fn end(&self, container: &str) -> Done;
}

/// One worker's freezing and thawing.
pub(crate) struct Ice {
    engine: Engine,
    name: String,
    road: Option<Arc<dyn SecondRoad>>,
    /// Known before the worker runs, so that no freeze has to ask.
    cell: Option<Cell>,
    /// Its full id, once it is up.
    container: Option<String>,
    /// Its first process, as the Engine numbers it.
    process: Option<i64>,
    kernel: Kernel,
    /// An earlier run has left it, and nobody has looked at it yet.
    is_unseen: bool,
    frozen: bool,
    /// The road may hold it; [`Ice::is_held_outside`] asks the kernel.
    road_holds: bool,
    /// A freeze was asked of the road whose answer is not known: it may be carried out late.
    is_asked_of_road: bool,
    engine_holds: bool,
    /// It is to go on, and the helper is away, as during an update: when it is asked again.
    thaws_at: Option<tokio::time::Instant>,
    /// A thaw was asked for whose answer is not known: what the road holds may run.
    may_run: bool,
    /// A pause that the Engine has not answered yet.
    asked: Option<JoinHandle<Result<(), EngineError>>>,
    /// [`ENGINE_ALONE`], but in tests of an Engine that answers.
    engine_alone: Duration,
}

/// Whether a container stands frozen, whoever froze it. `process` is its first one, by the Engine; `None` where that is no
/// process of this system's.
pub(crate) fn stands_frozen(process: Option<i64>, container: &str) -> Option<bool> {
    Kernel::here().has_frozen(process?, container)
}

impl Ice {
    pub fn new(engine: Engine, name: String, road: Option<Arc<dyn SecondRoad>>) -> Self {
        Self {
            engine,
            name,
            road,
            cell: None,
            container: None,
            process: None,
            kernel: Kernel::here(),
            is_unseen: false,
            frozen: false,
            road_holds: false,
            is_asked_of_road: false,
            engine_holds: false,
            thaws_at: None,
            may_run: false,
            asked: None,
            engine_alone: ENGINE_ALONE,
        }
    }

    /// One that an earlier run has left; [`Ice::take_up`] follows where it is to go on.
    pub fn find(&mut self) {
        self.is_unseen = true;
    }

    /// What the worker runs in.
    pub fn know(&mut self, cell: Cell) {
        self.cell = Some(cell);
    }

    pub fn cell(&self) -> Option<Cell> {
        self.cell
    }

    fn is_sandboxed(&self) -> bool {
        self.cell == Some(Cell::Sandbox)
    }

    /// By whom the kernel is asked for it, where that is a process of this system's.
    pub fn runs_as(&mut self, process: Option<i64>, container: &str) {
        self.process = process.filter(|process| self.kernel.has_frozen(*process, container).is_some());
    }

    fn look(&self) -> Option<Look> {
        Some(self.kernel.look(self.process?, self.container.as_deref()?))
    }

    fn is_seen_unfrozen(&self) -> bool {
        matches!(self.look(), Some(Look::Runs | Look::Over))
    }

    /// The road holds it, for all that is known: one that did not answer may never have frozen it.
    fn is_held_outside(&self) -> bool {
        self.road_holds && !self.is_seen_unfrozen()
    }

    /// What runc holds has one freeze only, and the Engine undoes its own.
    fn needs_road(&self) -> bool {
        self.road_holds && (self.is_sandboxed() || !self.engine_holds)
    }

    /// The worker is up.
    pub fn guard(&mut self, container: String) {
        if let Some(road) = &self.road {
            road.guard(&container);
        }
        self.container = Some(container);
    }

    /// One that an earlier run has left: the Engine does not know whether it was frozen without it. Says nothing as
    /// long as it may stand frozen: it would be taken for one that runs, and paid for. [`Ice::settle`] goes on.
    /// `seen` is the kernel's word, see [`stands_frozen`], and `is_paused` the Engine's.
    pub async fn take_up(
        &mut self,
        container: String,
        seen: Option<bool>,
        is_paused: bool,
    ) -> Option<WorkerEvent> {
        self.guard(container);
        self.is_unseen = false;
        let may_be_frozen = self.road.is_some() && seen.unwrap_or_else(|| self.is_sandboxed());
        // What runc holds has one freeze, and the Engine knows of it.
        let by_road = may_be_frozen && (self.is_sandboxed() || !is_paused);
        if !by_road && !is_paused {
            return Some(WorkerEvent::Thawed);
        }
        (self.frozen, self.road_holds, self.engine_holds) = (true, by_road, is_paused);
        self.may_run = by_road && seen.is_none();
        self.thaw().await
    }

    /// It may be frozen.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    fn road(&self) -> Option<(&Arc<dyn SecondRoad>, &str)> {
        Some((self.road.as_ref()?, self.container.as_deref()?))
    }

    /// The freeze goes to the Engine with nothing before it.
    pub async fn freeze(&mut self, called: Instant) -> WorkerEvent {
        self.frozen = true;
        let was_to_go_on = self.thaws_at.take().is_some();
        if was_to_go_on && self.is_held_outside() && !self.may_run {
            // It never went on.
            return frozen(called);
        }
        // What runc holds has one freeze for both roads: a thaw whose answer is not known would undo the Engine's, and an older
        // pause's answer is none to this one. The road takes its orders one after the other.
        let is_unsettled = self.may_run || self.asked.is_some();
        if (self.is_sandboxed() || (is_unsettled && self.road.is_some())) && self.freeze_around().await {
            return frozen(called);
        }
        if self.may_run && !self.is_sandboxed() {
            let cause = "a thaw is under way, and the helper does not answer".to_owned();
            return WorkerEvent::FreezeFailed { cause };
        }
        let asked = self.asked.get_or_insert_with(|| {
            let (engine, name) = (self.engine.clone(), self.name.clone());
            tokio::spawn(async move { engine.pause(&name, LATE_ANSWER_WITHIN).await })
        });
        let within =
            if self.road.is_some() && self.container.is_some() { self.engine_alone } else { FREEZE_WITHIN };
        let first = match timeout(within, asked).await {
            Ok(answer) => {
                self.asked = None;
                answer.unwrap_or_else(|_| Err(slow(within)))
            }
            Err(_) => Err(slow(within)),
        };
        let Err(first) = first else {
            self.engine_holds = true;
            return frozen(called);
        };
        match self.freeze_beside_the_engine(called).await {
            Ok(()) => frozen(called),
            Err(None) => WorkerEvent::FreezeFailed { cause: first.to_string() },
            Err(Some(second)) => WorkerEvent::FreezeFailed { cause: format!("{first}; {second}") },
        }
    }

    /// A sandbox is stopped from outside where that can be: all of it at once, whatever its tenant does, where the Engine would
    /// ask the sandbox to stop its tenant, and it would go on computing a little.
    async fn freeze_around(&mut self) -> bool {
        let Some((road, container)) = self.road() else { return false };
        let by_road = road.freeze(container);
        let was_open = self.asks_the_road();
        let answer = timeout(ROAD_ALONE, by_road).await.unwrap_or_else(|_| Err(no_answer()));
        self.road_answered(&answer, was_open);
        let Err(error) = answer else { return true };
        if error.is_open() && self.stands_still().await {
            tracing::warn!("the helper froze the worker, and did not say so: {error}");
            return true;
        }
        tracing::warn!("the helper did not freeze the worker, the Docker Engine is asked: {error}");
        false
    }

    /// From here on the road may freeze it: a stop that interrupts this must know. Says whether it might before.
    fn asks_the_road(&mut self) -> bool {
        self.road_holds = true;
        std::mem::replace(&mut self.is_asked_of_road, true)
    }

    /// By the kernel's word, which a freeze that was ordered has after some milliseconds.
    async fn stands_still(&self) -> bool {
        let (Some(process), Some(container)) = (self.process, self.container.as_deref()) else {
            return false;
        };
        let until = Instant::now() + STILL_WITHIN;
        while self.look() == Some(Look::Frozen) {
            if self.kernel.stands_still(process, container) {
                return true;
            }
            if Instant::now() > until {
                break;
            }
            sleep(LOOK_AGAIN).await;
        }
        false
    }

    /// To a freeze. A refusal says nothing of one whose answer `was_open`: another helper may have given it.
    fn road_answered(&mut self, answer: &Result<(), RoadError>, was_open: bool) {
        self.is_asked_of_road = answer.as_ref().is_err_and(|error| was_open || error.is_open());
        if answer.is_ok() {
            self.may_run = false;
        } else {
            // Unless it was frozen before, or is now, for all that is known.
            self.road_holds = self.may_run || self.is_asked_of_road;
        }
    }

    /// Takes the second road, and the Engine's answer where that comes first after all.
    async fn freeze_beside_the_engine(&mut self, called: Instant) -> Result<(), Option<String>> {
        let Some((road, container)) = self.road() else { return Err(None) };
        let mut by_road = road.freeze(container);
        let was_open = self.asks_the_road();
        let deadline = tokio::time::Instant::from_std(called + FREEZE_WITHIN);
        let mut refusal = None;
        loop {
            tokio::select! {
                done = &mut by_road, if refusal.is_none() => {
                    self.road_answered(&done, was_open);
                    let Err(error) = done else {
                        tracing::warn!("the Docker Engine did not freeze the worker in time, the helper did");
                        return Ok(());
                    };
                    refusal = Some(error.to_string());
                }
                answer = answered(&mut self.asked), if self.asked.is_some() => {
                    self.asked = None;
                    if answer.is_ok() {
                        self.engine_holds = true;
                        return Ok(());
                    }
                }
                () = sleep_until(deadline) => return Err(refusal),
            }
            if refusal.is_some() && self.asked.is_none() {
                return Err(refusal);
            }
        }
    }

    /// `None` where the road is away that alone can do it: it stays frozen, and [`Ice::settle`] goes on.
    pub async fn thaw(&mut self) -> Option<WorkerEvent> {
        let needs_engine = self.engine_holds || !self.road_holds;
        // First what the sandbox itself needs to hear the Engine: also a freeze that was told as failed, which the kernel may
        // have brought to its end after that.
        let needs_road = self.needs_road();
        let goes_first = needs_road || (self.is_sandboxed() && self.engine_holds);
        if goes_first {
            match self.thaw_around().await {
                Ok(()) => self.road_holds = false,
                Err(error) if needs_road && self.is_held_outside() => return self.thaw_later(&error),
                Err(error) => tracing::debug!("the helper has nothing to thaw: {error}"),
            }
        }
        if needs_engine && let Err(error) = self.engine.unpause(&self.name).await {
            self.thaws_at = None;
            return Some(WorkerEvent::ThawFailed { cause: error.to_string() });
        }
        self.engine_holds = false;
        // The road's order may still wait for its turn, and would freeze what the Engine has thawed: what undoes it waits behind it.
        if self.is_asked_of_road
            && !goes_first
            && let Err(error) = self.thaw_around().await
            && self.look() == Some(Look::Frozen)
        {
            return self.thaw_later(&error);
        }
        (self.frozen, self.road_holds, self.engine_holds, self.thaws_at) = (false, false, false, None);
        Some(WorkerEvent::Thawed)
    }

    /// It stays frozen until the road answers.
    fn thaw_later(&mut self, error: &RoadError) -> Option<WorkerEvent> {
        if self.thaws_at.is_none() {
            tracing::warn!("what is frozen goes on when the helper is back: {error}");
        }
        self.thaws_at = Some(tokio::time::Instant::now() + THAW_AGAIN);
        None
    }

    async fn thaw_around(&mut self) -> Result<(), RoadError> {
        let Some((road, container)) = self.road() else {
            return Err(RoadError::Refused("there is no helper".to_owned()));
        };
        if self.thaws_at.is_some() {
            // A helper that was updated may know nothing of it yet.
            road.guard(container);
        }
        let thawing = timeout(ROAD_ALONE, road.thaw(container));
        let was_sure = !std::mem::replace(&mut self.may_run, true);
        let answer = thawing.await;
        let answer = answer.unwrap_or_else(|_| Err(no_answer()));
        // A refusal changes nothing; one that is late may still be followed.
        let is_open = answer.as_ref().is_err_and(RoadError::is_open);
        self.may_run = answer.is_err() && (!was_sure || is_open);
        // The road has answered what was asked of it before, too.
        self.is_asked_of_road &= is_open;
        answer
    }

    /// Comes back when the Engine has answered a pause that was not waited for, or what waited for its road was asked for
    /// again; never, where neither is open. One that is broken off goes on where it was.
    pub async fn settle(&mut self) -> Option<WorkerEvent> {
        if let Some(at) = self.thaws_at {
            sleep_until(at).await;
            return self.thaw().await;
        }
        if !self.is_frozen_late() {
            if self.asked.is_none() {
                return std::future::pending().await;
            }
            let answer = answered(&mut self.asked).await;
            self.asked = None;
            if answer.is_err() {
                return None;
            }
            self.engine_holds = true;
            if self.frozen {
                return None;
            }
            tracing::info!("the Docker Engine froze the worker late, it is thawed again");
        }
        if let Err(error) = self.engine.unpause(&self.name).await {
            tracing::warn!("a late freeze is not undone: {error}");
        }
        self.engine_holds = false;
        None
    }

    /// A sandbox that stands frozen from outside, for all that is known.
    pub fn left_frozen(&self) -> Option<LeftFrozen> {
        let (road, container) = self.road().filter(|_| self.is_sandboxed() && self.is_held_outside())?;
        let (road, container) = (road.clone(), container.to_owned());
        Some(LeftFrozen { road, container, process: self.process, kernel: self.kernel.clone() })
    }

    /// Its process 1 may not have heard that its line is cut.
    pub fn may_stand_frozen(&self) -> bool {
        let is_held = self.frozen || self.road_holds || self.engine_holds || self.asked.is_some();
        let is_over = match self.look() {
            Some(Look::Over) => true,
            // The Engine's pause of a sandbox is none of the kernel's.
            Some(Look::Runs) => !self.is_sandboxed(),
            Some(Look::Frozen) | None => false,
        };
        self.is_unseen || (is_held && !is_over)
    }

    fn is_frozen_late(&self) -> bool {
        self.engine_holds && !self.frozen
    }

    /// Before the Engine is asked to remove it: what was frozen without the Engine cannot be ended by it, and what was
    /// frozen by an Engine that is silent now neither; nor is a sandbox that is frozen, or about to be, ended by it at once.
    /// Says whether nothing of it runs any more.
    pub async fn end(&mut self, engine_is_silent: bool) -> bool {
        let may_be_frozen = self.frozen || self.engine_holds || self.asked.is_some();
        let wanted =
            self.needs_road() || (engine_is_silent && self.frozen) || (self.is_sandboxed() && may_be_frozen);
        let Some((road, container)) = self.road().filter(|_| wanted) else { return false };
        let within = if engine_is_silent || self.is_held_outside() { END_WITHIN } else { END_SOON };
        match timeout(within, road.end(container)).await.unwrap_or_else(|_| Err(no_answer())) {
            Ok(()) => {
                (self.frozen, self.road_holds, self.engine_holds) = (false, false, false);
                true
            }
            Err(error) => {
                tracing::warn!("the helper did not end the worker: {error}");
                false
            }
        }
    }

    /// Nothing of it is left.
    pub fn release(&self) {
        if let Some((road, container)) = self.road() {
            road.release(container);
        }
    }
}

/// Nobody but the road can end it: an Engine that is asked to waits for it, and answers nothing about it any more.
pub(crate) struct LeftFrozen {
    road: Arc<dyn SecondRoad>,
    container: String,
    process: Option<i64>,
    kernel: Kernel,
}

impl LeftFrozen {
    /// Returns without an error, too, where it is the Engine's to end after all.
    pub async fn end(&self) -> Result<(), String> {
        let look = self.process.map(|process| self.kernel.look(process, &self.container));
        if matches!(look, Some(Look::Runs | Look::Over)) {
            return Ok(());
        }
        self.road.guard(&self.container);
        let ended = timeout(END_WITHIN, self.road.end(&self.container)).await;
        ended
            .unwrap_or_else(|_| Err(no_answer()))
            .map_err(|error| format!("it stands frozen, and the helper alone can end it: {error}"))
    }
}

impl Drop for Ice {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            asked.abort();
        }
    }
}

async fn answered(asked: &mut Option<JoinHandle<Result<(), EngineError>>>) -> Result<(), EngineError> {
    match asked {
        Some(call) => call.await.unwrap_or_else(|_| Err(slow(FREEZE_WITHIN))),
        None => {
            sleep(FREEZE_WITHIN).await;
            Err(slow(FREEZE_WITHIN))
        }
    }
}

pub(crate) fn no_answer() -> RoadError {
    RoadError::Unanswered("it does not answer".to_owned())
}

fn slow(within: Duration) -> EngineError {
    EngineError::Late { doing: "freezing", ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX) }
}

fn frozen(called: Instant) -> WorkerEvent {
    WorkerEvent::Frozen { took_us: u64::try_from(called.elapsed().as_micros()).unwrap_or(u64::MAX) }
}

#[cfg(test)]
mod tests;
