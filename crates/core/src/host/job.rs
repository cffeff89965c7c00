//! One lease on one card: its state, its worker, its meter.

mod frozen;

use jiff::tz::TimeZone;

use crate::economics::{Account, account};
use crate::energy::EnergySample;
use crate::lease::{EndReason, LeaseEvent, LeaseState, LeaseTerms, WorkerAccess};
use crate::meter::{Meter, UsageRecord, owed};
use crate::parting::{Cause, Parting, Step};
use crate::policy::{Impact, Sandbox, Verdict};
use crate::settings::{Settings, Sharing};
use crate::tariff::Tariff;
use crate::time::Timestamp;

use super::bill::Bill;
use super::bounds::Bounds;
use super::effect::{Effect, JournalEntry, Notice, Outbox, Report, StopHow};
use super::eviction::eviction;
use super::input::{Survivor, WorkerEvent, WorkerFate};
use super::warning::Conduct;

/// Image present, a worker starts in seconds; the self-check of a large framework takes a minute or two.
const PREPARE_AT_MOST_MS: u64 = 300_000;
/// From `Ready` to the coordinator's `Start`.
const START_AT_MOST_MS: u64 = 60_000;
/// A worker that was told to end is told again, harder, after its grace and this much more.
const STOP_AGAIN_AFTER_MS: u64 = 15_000;

/// What a tenant has left when the PC sleeps or shuts down: systems wait for a few seconds, then they do not.
pub(super) const CLOSING_GRACE_MS: u64 = 3_000;

/// Longer than any decision takes: the owner's task waits for nothing.
const INPUT_TO_DECISION_AT_MOST_MS: u64 = 2_000;

/// What the worker is doing, as far as reports tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worker {
    Starting,
    Up,
    Freezing,
    Frozen { since: Timestamp },
    Thawing,
    Stopping { again_at: Timestamp },
}

/// Whose wish the card's power limit follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draw {
    /// The owner's, for all that is not renting: what was found.
    AsFound,
    Renting,
    Shared,
    /// The owner is back, and the tenant takes its leave.
    Least,
}

#[derive(Clone, Debug)]
pub(super) struct Job {
    terms: LeaseTerms,
    state: LeaseState,
    state_since: Timestamp,
    /// When it came, as far as this host remembers.
    since: Timestamp,
    worker: Worker,
    /// It runs in gVisor; `None` of one that an earlier run began.
    in_sandbox: Option<bool>,
    meter: Meter,
    access: Option<WorkerAccess>,
    bill: Bill,
    /// While it shares the PC with its owner. Where they were refused it is frozen instead.
    bounds: Bounds,
    /// Its end was asked for with a grace.
    grace: bool,
    /// Something that the owner does, and does not share the card with, stood against it when last looked at.
    owner_is_there: bool,
    /// The same when its grace was given.
    grace_is_owners: bool,
    /// Looks in a row in which its work went on although it is frozen.
    residue_looks: u32,
    leaves_softly: bool,
    /// When its end was asked for it stood frozen, as far as is known.
    ends_frozen: bool,
    /// When the owner's hand was seen, while it is.
    input_at: Option<Timestamp>,
    /// Why it is frozen or ends.
    cause: Option<Cause>,
    pub(super) conduct: Conduct,
}

impl Job {
    /// Takes an offer: accepted and preparing at once, for nothing stands between the two.
    pub(super) fn accept(
        offered: LeaseTerms,
        sandbox: Option<&Sandbox>,
        now: Timestamp,
        out: &mut Outbox,
    ) -> Self {
        // The volume's key goes to the hands and nowhere else: what this job holds is written down and shown.
        let terms = LeaseTerms { volume_key: None, ..offered.clone() };
        let mut job = Self {
            meter: Meter::new(&terms),
            state: LeaseState::Offered,
            state_since: now,
            since: now,
            worker: Worker::Starting,
            in_sandbox: Some(sandbox.is_some()),
            ends_frozen: false,
            access: None,
            bill: Bill::default(),
            bounds: match sandbox {
                Some(sandbox) if !sandbox.changes_limits => Bounds::impossible(),
                _ => Bounds::default(),
            },
            grace: false,
            owner_is_there: false,
            grace_is_owners: false,
            residue_looks: 0,
            leaves_softly: false,
            input_at: None,
            cause: None,
            conduct: Conduct::default(),
            terms,
        };
        job.step(LeaseEvent::Accept, now, out);
        job.step(LeaseEvent::Prepare, now, out);
        let sandbox = sandbox.map(|sandbox| sandbox.runtime.clone());
        out.push(Effect::Prepare { terms: offered, sandbox });
        out.push(Effect::Notify(Notice::JobArrived {
            image: job.terms.image.clone(),
            renter: job.terms.renter.clone(),
        }));
        job
    }

    /// A lease from the journal. Only one that was being used, and whose worker runs, goes on; a frozen worker lost its
    /// guard with the agent and is ended.
    pub(super) fn recover(survivor: Survivor, now: Timestamp, out: &mut Outbox) -> Option<Self> {
        let Survivor { stored, fate } = survivor;
        if stored.state.is_over() {
            return None;
        }
        let mut job = Self {
            meter: Meter::resume(&stored.terms, stored.last_sequence, stored.running_ms_total),
            state: stored.state,
            state_since: now,
            // By the market's clock, which is the one that wrote it down.
            since: stored.terms.offered_at.min(now),
            // It may stand frozen: who takes it up says when it runs.
            worker: Worker::Thawing,
            in_sandbox: None,
            ends_frozen: false,
            access: None,
            bill: stored.bill,
            bounds: Bounds::default(),
            grace: false,
            owner_is_there: false,
            grace_is_owners: false,
            residue_looks: 0,
            leaves_softly: false,
            input_at: None,
            cause: None,
            conduct: Conduct::default(),
            terms: stored.terms,
        };
        let was_used = matches!(job.state, LeaseState::Running | LeaseState::Yielded);
        if was_used && fate == WorkerFate::Running {
            job.cause = Some(Cause::HostClosing);
            if job.state == LeaseState::Running {
                job.step(LeaseEvent::Yield, now, out);
            }
            out.push(Effect::Adopt { terms: job.terms.clone() });
            // It may have been left within the bounds of sharing.
            out.push(Effect::Restrain {
                lease: job.terms.lease.clone(),
                gpu: job.terms.gpu.clone(),
                sharing: None,
            });
            out.push(Effect::OpenGate {
                lease: job.terms.lease.clone(),
                renter_key: job.terms.renter_key.clone(),
            });
            return Some(job);
        }
        job.end(EndReason::HostRestarted, StopHow::Kill, None, now, out);
        if fate == WorkerFate::Gone {
            job.step(LeaseEvent::Gone, now, out);
            return None;
        }
        Some(job)
    }

    pub(super) fn terms(&self) -> &LeaseTerms {
        &self.terms
    }

    pub(super) fn state(&self) -> &LeaseState {
        &self.state
    }

    pub(super) fn state_since(&self) -> Timestamp {
        self.state_since
    }

    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    pub(super) fn running_ms(&self, now: Timestamp) -> u64 {
        self.meter.running_ms(now)
    }

    /// A reading of its card: what was drawn since the last one is the tenant's, unless it was frozen or is ending.
    pub(super) fn take_sample(&mut self, sample: EnergySample, tariff: &Tariff, zone: &TimeZone) {
        let on_the_card = matches!(
            self.state,
            LeaseState::Accepted | LeaseState::Preparing | LeaseState::Ready | LeaseState::Running
        );
        self.bill.take(sample, on_the_card, tariff, zone);
    }

    /// What it brought and cost up to now.
    pub(super) fn account(&self, now: Timestamp) -> Account {
        let split = owed(self.terms.price_per_hour, self.terms.fee_basis_points, self.running_ms(now));
        account(split, &self.bill.consumption)
    }

    pub(super) fn device_name(&self) -> Option<&str> {
        self.access.as_ref().map(|access| access.device_name.as_str())
    }

    /// What the card may draw now.
    pub(super) fn draw(&self) -> Draw {
        match (&self.state, self.worker) {
            (_, Worker::Stopping { .. }) if self.leaves_softly => Draw::Least,
            (_, Worker::Stopping { .. }) => Draw::AsFound,
            (LeaseState::Running, _) if self.is_restrained() => Draw::Shared,
            (LeaseState::Accepted | LeaseState::Preparing | LeaseState::Ready | LeaseState::Running, _) => {
                Draw::Renting
            }
            _ => Draw::AsFound,
        }
    }

    /// The tenant was let onto the card once.
    pub(super) fn has_run(&self) -> bool {
        self.access.is_some() || self.meter.running_ms(self.state_since) > 0
    }

    pub(super) fn is_restrained(&self) -> bool {
        self.state == LeaseState::Running && self.bounds.are_wanted()
    }

    #[cfg(test)]
    pub(super) fn is_metered(&self) -> bool {
        self.meter.is_counting()
    }

    /// The report that tells the coordinator where this lease stands.
    pub(super) fn report(&self) -> Effect {
        let (lease, epoch) = (self.terms.lease.clone(), self.terms.epoch);
        Effect::Tell(match (&self.state, &self.access) {
            (LeaseState::Ready, Some(access)) => Report::Ready { lease, epoch, access: access.clone() },
            _ => Report::Lease { lease, epoch, state: self.state.clone(), cause: self.cause },
        })
    }

    /// How a worker ends when the owner does not wait for the card.
    pub(super) fn gentle(&self, settings: &Settings) -> StopHow {
        match self.worker {
            // A frozen process cannot take a SIGTERM.
            Worker::Freezing | Worker::Frozen { .. } | Worker::Starting => StopHow::Kill,
            _ => StopHow::Graceful { grace_ms: settings.friendly_grace_ms },
        }
    }

    pub(super) fn next_deadline(&self, settings: &Settings) -> Option<(Timestamp, &'static str)> {
        let metering = self.meter.deadline().map(|at| (at, "metering interval"));
        let waiting = match (&self.state, self.worker) {
            (_, Worker::Stopping { again_at }) => Some((again_at, "stop the worker again")),
            (LeaseState::Preparing, _) => {
                Some((self.state_since.plus_ms(PREPARE_AT_MOST_MS), "preparation takes too long"))
            }
            (LeaseState::Ready, _) => Some((self.state_since.plus_ms(START_AT_MOST_MS), "no start was told")),
            (LeaseState::Yielded, _) => {
                Some((self.state_since.plus_ms(settings.frozen_at_most_ms), "frozen for too long"))
            }
            _ => None,
        };
        let warned = self.conduct.deadline().map(|at| (at, "a warned tenant's time is over"));
        let bounded = self.bounds.deadline().filter(|_| self.state == LeaseState::Running);
        let bounded = bounded.map(|at| (at, "give the tenant the whole again"));
        [metering, waiting, warned, bounded].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    pub(super) fn note_input(&mut self, at: Option<Timestamp>) {
        self.input_at = at;
    }

    pub(super) fn start(&mut self, energy: Option<u64>, now: Timestamp, out: &mut Outbox) {
        if self.state == LeaseState::Ready {
            self.step(LeaseEvent::Start, now, out);
            self.meter.start(now, self.counter(energy));
        }
    }

    /// Begins the end; the first cause counts.
    pub(super) fn end(
        &mut self,
        reason: EndReason,
        how: StopHow,
        energy: Option<u64>,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        // Who was frozen for too long was frozen for something.
        let known = self.cause.filter(|_| reason == EndReason::FrozenTooLong);
        self.end_for(known.unwrap_or_else(|| Cause::of_end(&reason)), reason, how, energy, now, out);
    }

    /// As [`Job::end`], where more is known than the reason says.
    pub(super) fn end_for(
        &mut self,
        cause: Cause,
        reason: EndReason,
        how: StopHow,
        energy: Option<u64>,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        if matches!(self.worker, Worker::Stopping { .. }) || self.state.is_over() {
            return;
        }
        self.leaves_softly = reason == EndReason::OwnerReturned && matches!(how, StopHow::Graceful { .. });
        (self.grace, self.grace_is_owners) = (how != StopHow::Kill, self.owner_is_there);
        self.ends_frozen = matches!(self.worker, Worker::Freezing | Worker::Frozen { .. } | Worker::Thawing);
        self.cause = Some(cause);
        self.stop(how, now, out);
        out.push(Effect::CloseGate { lease: self.terms.lease.clone() });
        self.meter_stop(energy, now, out);
        let grace_ms = how.grace_ms();
        self.worker = Worker::Stopping { again_at: now.plus_ms(grace_ms + STOP_AGAIN_AFTER_MS) };
        self.step(LeaseEvent::End { reason }, now, out);
    }

    fn stop(&self, how: StopHow, now: Timestamp, out: &mut Outbox) {
        let parting = self.parting(Step::End, now, now.plus_ms(how.grace_ms()));
        out.push(Effect::Stop { lease: self.terms.lease.clone(), how, parting });
    }

    fn parting(&self, step: Step, at: Timestamp, deadline: Timestamp) -> Parting {
        Parting { step, cause: self.cause.unwrap_or(Cause::OwnerBack), at, deadline }
    }

    pub(super) fn take(
        &mut self,
        event: WorkerEvent,
        how: StopHow,
        energy: Option<u64>,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        match (event, self.worker) {
            (WorkerEvent::Ready { access }, Worker::Starting) => {
                self.worker = Worker::Up;
                if let Some(footing) = access.volume {
                    let (lease, epoch) = (self.terms.lease.clone(), self.terms.epoch);
                    out.push(Effect::Journal(JournalEntry::Volume { lease, epoch, footing }));
                }
                self.access = Some(access);
                out.push(Effect::OpenGate {
                    lease: self.terms.lease.clone(),
                    renter_key: self.terms.renter_key.clone(),
                });
                self.step(LeaseEvent::BecomeReady, now, out);
            }
            (WorkerEvent::SelfCheckFailed { cause }, Worker::Starting) => {
                self.end(EndReason::SelfCheckFailed { cause }, StopHow::Kill, energy, now, out);
            }
            (WorkerEvent::PreparationFailed { cause }, Worker::Starting) => {
                self.end(EndReason::PreparationFailed { cause }, StopHow::Kill, energy, now, out);
            }
            (WorkerEvent::Frozen { took_us }, Worker::Freezing) => {
                (self.worker, self.residue_looks) = (Worker::Frozen { since: now }, 0);
                let lease = self.terms.lease.clone();
                // A hand that came long before this freeze was not its cause.
                let taking_ms = took_us / 1_000 + INPUT_TO_DECISION_AT_MOST_MS;
                let input_ms = self.input_at.map(|at| now.since_ms(at)).filter(|ms| *ms <= taking_ms);
                out.push(Effect::Journal(JournalEntry::GiveBack { lease, at: now, took_us, input_ms }));
            }
            (WorkerEvent::FreezeFailed { .. }, Worker::Freezing) => {
                self.end(EndReason::OwnerReturned, StopHow::Kill, energy, now, out);
            }
            // Whether it may go on is decided in `reconcile`, with what is known by then.
            (WorkerEvent::Thawed, Worker::Thawing) => self.worker = Worker::Up,
            // Nobody pays for what is not there any more.
            (WorkerEvent::Failed { cause }, _) | (WorkerEvent::ThawFailed { cause }, Worker::Thawing) => {
                self.end(EndReason::WorkerDied { cause }, StopHow::Kill, energy, now, out);
            }
            // What follows from either is decided in `reconcile`.
            (WorkerEvent::Restrained { sharing }, _) => self.bounds.given(sharing),
            (WorkerEvent::RestrainFailed { sharing, .. }, _) => self.bounds.refuse(sharing, now),
            (WorkerEvent::Gone { cause }, _) => {
                self.end(EndReason::WorkerDied { cause }, how, energy, now, out);
                self.step(LeaseEvent::Gone, now, out);
            }
            // A report that a later command has overtaken.
            _ => {}
        }
    }

    /// Brings the job in line with the verdict on its card.
    pub(super) fn reconcile(
        &mut self,
        verdict: &Verdict,
        settings: &Settings,
        energy: Option<u64>,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let owner_is_there = verdict.is_for_the_owner(settings.give_back);
        if let Worker::Stopping { again_at } = self.worker {
            // A grace that was given while nobody was there ends when the owner comes back.
            let is_owners = matches!(
                self.state,
                LeaseState::Ending { reason: EndReason::OwnerReturned | EndReason::OwnerStopped }
            );
            let is_back = match is_owners {
                true => owner_is_there && !self.grace_is_owners,
                false => !verdict.allows_running(settings.give_back),
            };
            let hurry = self.grace && is_back;
            if hurry {
                self.grace = false;
            }
            if (hurry || now >= again_at) && !self.state.is_over() {
                self.stop(StopHow::Kill, now, out);
                self.worker = Worker::Stopping { again_at: now.plus_ms(STOP_AGAIN_AFTER_MS) };
            }
            return;
        }
        self.owner_is_there = owner_is_there;
        let restrain = verdict.impact(settings.give_back) == Some(Impact::Restrain);
        if let Some(reason) = self.overdue(settings, now) {
            self.end(reason, StopHow::Kill, energy, now, out);
        } else if verdict.impact(settings.give_back) == Some(Impact::Evict) {
            let (reason, how) = eviction(verdict, settings, self.gentle(settings));
            self.end_for(verdict.cause(settings.give_back), reason, how, energy, now, out);
        } else if verdict.allows_running(settings.give_back) && !(restrain && self.bounds.were_refused()) {
            self.go_on(energy, now, out);
            self.restrain(restrain.then_some(settings.sharing), energy, now, out);
        } else {
            let cause = verdict.cause(settings.give_back);
            self.hold(cause, settings.frozen_at_most_ms, energy, now, out);
        }
    }

    fn go_on(&mut self, energy: Option<u64>, now: Timestamp, out: &mut Outbox) {
        match (&self.state, self.worker) {
            (LeaseState::Running, _) => {
                let record = self.meter.tick(now, self.counter(energy));
                self.store(record, now, out);
            }
            (LeaseState::Yielded, Worker::Up) => {
                self.cause = None;
                self.step(LeaseEvent::Resume, now, out);
                self.meter.start(now, self.counter(energy));
                out.push(Effect::Notify(Notice::JobResumed { image: self.terms.image.clone() }));
            }
            (LeaseState::Yielded, Worker::Frozen { .. }) => {
                self.worker = Worker::Thawing;
                out.push(Effect::Thaw { lease: self.terms.lease.clone() });
            }
            _ => {}
        }
    }

    /// Narrows what a running tenant may use, or gives it back.
    fn restrain(&mut self, sharing: Option<Sharing>, energy: Option<u64>, now: Timestamp, out: &mut Outbox) {
        if self.state != LeaseState::Running {
            return;
        }
        if self.bounds.want(sharing, now) {
            let (lease, gpu) = (self.terms.lease.clone(), self.terms.gpu.clone());
            out.push(Effect::Restrain { lease, gpu, sharing });
        }
        if self.bounds.share_percent() != self.meter.share_percent() {
            let record = self.meter.set_share(self.bounds.share_percent(), now, self.counter(energy));
            self.store(record, now, out);
        }
    }

    /// An earlier run may have left it so; [`Job::recover`] has asked for the whole.
    pub(super) fn left_within(mut self, bounds: Option<Sharing>, now: Timestamp) -> Self {
        self.bounds = Bounds::left(bounds);
        // It counts nothing yet.
        let _ = self.meter.set_share(self.bounds.share_percent(), now, None);
        self
    }

    fn hold(&mut self, cause: Cause, at_most_ms: u64, energy: Option<u64>, now: Timestamp, out: &mut Outbox) {
        if self.state == LeaseState::Yielded && self.cause != Some(cause) {
            self.cause = Some(cause);
            out.push(self.report());
        }
        match (&self.state, self.worker) {
            (LeaseState::Running, _) => {
                self.cause = Some(cause);
                self.freeze(now.plus_ms(at_most_ms), now, out);
                self.meter_stop(energy, now, out);
                self.step(LeaseEvent::Yield, now, out);
                out.push(Effect::Notify(Notice::JobFrozen { image: self.terms.image.clone(), cause }));
            }
            (LeaseState::Yielded, Worker::Up | Worker::Thawing) => {
                self.freeze(self.state_since.plus_ms(at_most_ms), now, out);
            }
            (LeaseState::Accepted | LeaseState::Preparing | LeaseState::Ready, _) => {
                self.end_for(cause, EndReason::OwnerReturned, StopHow::Kill, energy, now, out);
            }
            _ => {}
        }
    }

    fn freeze(&mut self, deadline: Timestamp, now: Timestamp, out: &mut Outbox) {
        self.worker = Worker::Freezing;
        let parting = self.parting(Step::Freeze, now, deadline);
        out.push(Effect::Freeze { lease: self.terms.lease.clone(), parting });
    }

    fn overdue(&self, settings: &Settings, now: Timestamp) -> Option<EndReason> {
        let (at, _) = self.next_deadline(settings).filter(|(at, _)| *at <= now)?;
        let late = |cause: &str| Some(EndReason::PreparationFailed { cause: cause.to_owned() });
        match self.state {
            LeaseState::Preparing => late("the worker was not ready in time"),
            LeaseState::Ready => late("the coordinator did not start the lease in time"),
            LeaseState::Yielded if at >= self.state_since.plus_ms(settings.frozen_at_most_ms) => {
                Some(EndReason::FrozenTooLong)
            }
            _ => None,
        }
    }

    /// The card's counter, or one that is made of its power.
    fn counter(&self, counter: Option<u64>) -> Option<u64> {
        counter.or(Some(self.bill.consumption.energy.millijoules))
    }

    fn meter_stop(&mut self, energy: Option<u64>, now: Timestamp, out: &mut Outbox) {
        let record = self.meter.stop(now, self.counter(energy));
        self.store(record, now, out);
    }

    /// A record, and the account as it stands with it.
    fn store(&self, record: Option<UsageRecord>, now: Timestamp, out: &mut Outbox) {
        if let Some(record) = record {
            out.push(Effect::Journal(JournalEntry::Usage { record }));
            self.write_account(now, out);
        }
    }

    fn write_account(&self, now: Timestamp, out: &mut Outbox) {
        out.push(Effect::Journal(JournalEntry::Account {
            lease: self.terms.lease.clone(),
            epoch: self.terms.epoch,
            at: now,
            account: self.account(now),
            bill: self.bill,
        }));
    }

    /// One step of the lease, written down and told. A step that the machine does not have changes nothing.
    fn step(&mut self, event: LeaseEvent, now: Timestamp, out: &mut Outbox) {
        let Ok(next) = self.state.after(event) else { return };
        if next == self.state {
            return;
        }
        self.state = next;
        self.state_since = now;
        let (terms, state) = (self.terms.clone(), self.state.clone());
        out.push(Effect::Journal(JournalEntry::Lease { terms, state, at: now }));
        out.push(self.report());
        if let LeaseState::Ended { reason } = &self.state {
            let account = self.account(now);
            out.push(Effect::Notify(Notice::JobEnded {
                image: self.terms.image.clone(),
                reason: reason.clone(),
                earned: account.host(),
                electricity: account.electricity,
                net: account.net,
            }));
            self.write_account(now, out);
        }
    }
}
