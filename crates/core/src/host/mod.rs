//! The host as one state machine: every cause comes in as an [`Input`], every consequence goes out as an [`Effect`].
//!
//! The agent owns one [`Host`] in one task, performs the effects and reports back with further inputs. Effects that take
//! a tenant off the card come first in the list: nothing else may delay them.

mod bill;
mod bounds;
mod card;
mod checking;
mod command;
mod data;
mod effect;
mod eviction;
mod heat;
mod helper;
mod hours;
mod input;
mod job;
mod limit;
mod line_check;
mod memory;
#[cfg(test)]
mod money_tests;
mod offers;
mod price;
mod residue;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
pub(crate) mod sample;
mod sweeping;
#[cfg(test)]
mod tests;
mod view;
mod waiting;
mod warning;

use std::collections::BTreeMap;

pub use bill::Bill;
pub use command::MAX_OVERRIDE_MS;
pub use effect::{CheckAnswer, Effect, JournalEntry, Notice, Report, StopHow, StoredLease};
pub use helper::HelperWait;
pub use input::{
    CommandError, GpuReport, Input, LoadEvent, MarketInput, PowerWish, Survivor, UserCommand, WorkerEvent,
    WorkerFate,
};
pub use sweeping::{SweepEnd, SweepPhase, SweepView, SweepWish, SweetSpot};
pub use view::{CardView, HostState, HostView, JobView, NetworkView, Versions};

use crate::energy::EnergySample;
use crate::gpu::{GpuReading, GpuUuid};
use crate::images::{TaskKind, holds_pulls};
use crate::lease::{EndReason, Epoch, LeaseId, LeaseState};
use crate::line_check::LineFigures;
use crate::market::{CardOffer, HostAccount};
use crate::network::CapLevel;
use crate::parting::Cause;
use crate::policy::{
    self, GatewayImage, ImagesLent, Job as JobPresence, Market, Overrides, Runtime, Snapshot, Verdict, decide,
};
use crate::power::HelperStanding;
use crate::settings::{GiveBack, Settings};
use crate::signal::SignalKind;
use crate::sweep::Curves;
use crate::thermal::Hold;
use crate::time::Timestamp;
use crate::volume::Promises;
use card::Card;
use effect::Outbox;
use helper::Awaited;
use hours::Hours;
use job::{CLOSING_GRACE_MS, Job};
use memory::Reclaim;
use sweeping::Sweeping;

/// So many ends are kept for a market that is away; a lease that is not listed is over in any case.
const MOST_UNTOLD: usize = 64;
/// A card with a job that is left out of so many lists in a row is gone.
const LOST_AFTER_LOOKS: u32 = 2;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Host {
    settings: Settings,
    snapshot: Snapshot,
    overrides: Overrides,
    cards: BTreeMap<GpuUuid, Card>,
    /// What renters may keep here, beside the jobs that are held.
    promises: Promises,
    told_offers: Option<Vec<CardOffer>>,
    /// Leases that ended while the market was away: their true ends are told with the next list.
    untold: Vec<(LeaseId, Epoch, LeaseState)>,
    /// The journal's open leases are known; before that no container may be taken for a left-over.
    recovered: bool,
    closing: bool,
    /// The moments that it is told are not those of the wall.
    clock_off: bool,
    /// The driver was asked about the cards and hangs.
    is_driver_silent: bool,
    hours: Hours,
    helper: HelperStanding,
    helper_awaited: Awaited,
    /// How far the month's cap is used up, as last told.
    cap_level: CapLevel,
    /// The market's part, as the market or the last offer told it.
    fee_basis_points: u32,
    /// What sweeps have measured.
    curves: BTreeMap<GpuUuid, Curves>,
    image_coming: bool,
    /// What each image is good for.
    task_kinds: BTreeMap<String, Vec<TaskKind>>,
    /// What the market last told of the owner's money there.
    account: Option<HostAccount>,
    /// The market measures the line now.
    is_line_checked: bool,
    /// What it last told of it.
    line: Option<LineFigures>,
}

impl Host {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            snapshot: Snapshot::default(),
            overrides: Overrides::default(),
            cards: BTreeMap::new(),
            promises: Promises::default(),
            told_offers: None,
            untold: Vec::new(),
            recovered: false,
            closing: false,
            clock_off: false,
            is_driver_silent: false,
            hours: Hours::default(),
            helper: HelperStanding::default(),
            helper_awaited: Awaited::default(),
            cap_level: CapLevel::Free,
            fee_basis_points: price::ASSUMED_FEE_BASIS_POINTS,
            curves: BTreeMap::new(),
            image_coming: false,
            task_kinds: BTreeMap::new(),
            account: None,
            is_line_checked: false,
            line: None,
        }
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// This PC's time zone, in which schedule and tariff are meant. Until it is told, UTC.
    pub fn set_zone(&mut self, zone: jiff::tz::TimeZone) {
        self.hours.set_zone(zone);
    }

    #[must_use]
    pub fn zone(&self) -> &jiff::tz::TimeZone {
        self.hours.zone()
    }

    /// Takes one cause at one moment and returns what is to be done, the most urgent first.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        let mut out = Outbox::default();
        self.snapshot.schedule = self.hours.schedule_at(&self.settings, now);
        self.settle_helper(now);
        match input {
            Input::Deadline => {}
            Input::Presence(presence) => self.snapshot.presence = presence,
            Input::Sign(sign) => self.snapshot.signs.take(sign),
            Input::UpdateWaiting { is_waiting } => self.snapshot.update_waiting = is_waiting,
            Input::ClockOff { is_off } => self.clock_off = is_off,
            Input::Gpus(report) => {
                let is_read = matches!(report, GpuReport::Readings { .. });
                self.take_readings(report, now);
                if is_read {
                    self.confirm_memory(now, &mut out);
                    self.take_residue(now, &mut out);
                    self.take_heat(now);
                    self.take_sweep_readings(now, &mut out);
                    self.take_check_readings(now, &mut out);
                }
            }
            Input::PowerStates { are_told } => self.snapshot.power_states_told = Some(are_told),
            Input::Runtime(runtime) => self.take_runtime(runtime, &mut out),
            Input::TaskKinds(kinds) => self.task_kinds = kinds.into_iter().collect(),
            Input::GatewayPull(failure) => self.snapshot.gateway_failure = failure,
            Input::ImageComing { is_coming } => self.image_coming = is_coming,
            Input::Disks(spaces) => {
                let fewest = spaces
                    .iter()
                    .filter(|space| space.free_files.is_some())
                    .min_by_key(|space| space.free_files);
                if !spaces.is_empty() {
                    self.snapshot.files = fewest.cloned();
                }
                let least = spaces.into_iter().min_by_key(|space| space.free_mib);
                self.snapshot.disk = least.or_else(|| self.snapshot.disk.take());
            }
            Input::Volumes(kept) => self.promises = Promises::new(kept),
            Input::DataUsed { bytes, resets_at } => self.take_data(bytes, resets_at, &mut out),
            Input::SettingsUnreadable { detail } => self.snapshot.settings_trouble = Some(detail),
            Input::SettingsSaved { trouble } => self.take_saved(trouble, &mut out),
            Input::Market(market) => self.take_market(market, now, &mut out),
            Input::Worker { lease, epoch, event } => self.take_worker(&lease, epoch, event, now, &mut out),
            Input::User(command) => self.take_command(command, now, &mut out),
            Input::Closing => self.closing = true,
            Input::Helper(standing) => self.take_helper(standing, now),
            Input::Load { gpu, event } => {
                if !self.take_check(&gpu, &event, now, &mut out) {
                    self.take_load(&gpu, event, now, &mut out);
                }
            }
            Input::LineChecked => self.is_line_checked = false,
            Input::Curves(curves) => self.curves = curves.into_iter().collect(),
            Input::Recovered(survivors) => self.take_survivors(survivors, now, &mut out),
        }
        self.snapshot.images_lent = self.images_lent();
        // Other settings have other hours.
        self.snapshot.schedule = self.hours.schedule_at(&self.settings, now);
        self.reconcile(now, &mut out);
        out.into_effects()
    }

    /// The next moment at which something changes by time alone, and what it is.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(Timestamp, &'static str)> {
        let verdicts = self.cards.values().filter_map(|card| match &card.verdict {
            Verdict::Blocked { next_change: Some(at), .. } => Some((*at, "verdict may change")),
            _ => None,
        });
        let heat = self.cards.values().filter_map(|card| card.thermal.next_deadline());
        let jobs = self
            .cards
            .values()
            .filter_map(|card| card.job.as_ref())
            .filter_map(|job| job.next_deadline(&self.settings));
        let signs =
            self.snapshot.signs.next_change(&self.settings.signals).map(|at| (at, "a sign may count"));
        let chosen = self.overrides.next_change(&self.snapshot.presence).map(|at| (at, "a choice runs out"));
        let hours = self.snapshot.schedule.changes_at.map(|at| (at, "the schedule changes"));
        let price = self.hours.price_until().map(|at| (at, "electricity has another price"));
        let sweeps = self.cards.values().filter_map(|card| card.sweep.as_ref()?.next_deadline());
        let checks = self.cards.values().filter_map(|card| card.check.as_ref()?.next_deadline());
        let helper = self.helper_deadline().map(|at| (at, "the helper is waited for no longer"));
        let by_time = verdicts
            .chain(checks)
            .chain(helper)
            .chain(heat)
            .chain(sweeps)
            .chain(jobs)
            .chain(signs)
            .chain(chosen)
            .chain(hours)
            .chain(price);
        by_time.min_by_key(|(at, _)| *at)
    }

    /// Some card was busy in one look, which is not enough to say that somebody uses it, or has just been checked: it is
    /// worth another one soon.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.has_unsettled_checks()
            || self.cards.values().any(|card| card.present && card.strangers.is_in_doubt())
    }

    /// Some lease is not over yet, or a load of our own is on a card.
    #[must_use]
    pub fn has_jobs(&self) -> bool {
        self.cards.values().any(|card| card.job.is_some() || card.is_swept() || card.is_checked())
    }

    /// Why nothing is fetched from a registry now; `None` while it may be.
    #[must_use]
    pub fn pull_hold(&self, now: Timestamp) -> Option<policy::BlockReason> {
        let verdict =
            decide(&self.snapshot, &self.settings, &self.overrides, None, None, JobPresence::None, now);
        match verdict {
            Verdict::Earn => None,
            Verdict::Blocked { reasons, .. } => reasons.into_iter().find(holds_pulls),
        }
    }

    /// Whether the owner agreed to some of what an image is good for, and has not refused that image.
    fn may_offer(&self, image: &str) -> bool {
        self.settings.images.allows_image(image, self.task_kinds.get(image).map(Vec::as_slice))
    }

    fn images_lent(&self) -> ImagesLent {
        match &self.snapshot.runtime {
            // Which images are here nobody tells before the gateway's is, and that has reasons of its own.
            Runtime::Ready { engine, .. } if engine.gateway != GatewayImage::Present => ImagesLent::Some,
            Runtime::Ready { images, .. } if images.is_empty() && self.image_coming => ImagesLent::Coming,
            Runtime::Ready { images, .. } if images.is_empty() => ImagesLent::NoneHere,
            Runtime::Ready { .. } if self.lent_images().is_empty() => ImagesLent::NoneAgreed,
            _ => ImagesLent::Some,
        }
    }

    /// The images that are here and may be offered.
    fn lent_images(&self) -> Vec<String> {
        let Runtime::Ready { images, .. } = &self.snapshot.runtime else { return Vec::new() };
        images.iter().filter(|image| self.may_offer(image)).cloned().collect()
    }

    /// The game that counts now.
    fn game(&self) -> Option<&str> {
        self.snapshot.signs.counted(SignalKind::Game).map(|(name, _)| name)
    }

    fn job(&self, lease: &LeaseId) -> Option<&Job> {
        self.cards.values().filter_map(|card| card.job.as_ref()).find(|job| job.terms().lease == *lease)
    }

    fn job_mut(&mut self, lease: &LeaseId, epoch: Epoch) -> Option<(&mut Job, &GpuReading, &Settings)> {
        self.cards.values_mut().find_map(|card| {
            let job = card.job.as_mut()?;
            (job.terms().lease == *lease && job.terms().epoch == epoch).then_some((
                job,
                &card.reading,
                &self.settings,
            ))
        })
    }

    fn take_readings(&mut self, report: GpuReport, now: Timestamp) {
        match report {
            GpuReport::Trouble { trouble } => {
                self.is_driver_silent = false;
                self.snapshot.gpu_trouble = Some(trouble);
            }
            GpuReport::Silent => self.is_driver_silent = true,
            GpuReport::Readings { driver, cards } => {
                (self.snapshot.gpu_trouble, self.is_driver_silent) = (None, false);
                self.snapshot.driver = Some(driver);
                for card in self.cards.values_mut() {
                    card.missed_looks = card.missed_looks.saturating_add(1);
                    // One question that fails is not yet the end of a job.
                    card.present &= card.job.is_some() && card.missed_looks < LOST_AFTER_LOOKS;
                }
                for reading in cards {
                    let card = self
                        .cards
                        .entry(reading.uuid.clone())
                        .or_insert_with(|| Card::new(reading.clone(), true));
                    card.strangers.look(&reading, &self.settings, now);
                    let peak = reading.power_watts.into_iter().chain(card.peak_watts).reduce(f64::max);
                    card.peak_watts = peak;
                    if let Some(job) = &mut card.job {
                        job.take_sample(
                            EnergySample::of(&reading, now),
                            &self.settings.tariff,
                            self.hours.zone(),
                        );
                    }
                    card.reading = reading;
                    (card.present, card.missed_looks) = (true, 0);
                }
            }
        }
    }

    fn take_runtime(&mut self, runtime: Runtime, out: &mut Outbox) {
        let came_back = matches!(runtime, Runtime::Ready { .. })
            && !matches!(self.snapshot.runtime, Runtime::Ready { .. });
        self.snapshot.runtime = runtime;
        if came_back && self.recovered {
            self.sweep(out);
        }
    }

    /// Whatever an Engine holds of ours that no lease here knows is a left-over of a crash.
    fn sweep(&self, out: &mut Outbox) {
        let keep = self.cards.values().filter_map(|card| card.job.as_ref());
        out.push(Effect::Sweep { keep: keep.map(|job| job.terms().lease.clone()).collect() });
    }

    fn verdict_for(&self, card: &Card, job: JobPresence, now: Timestamp) -> Verdict {
        let (reading, stranger) = (Some(&card.reading), card.strangers.counted());
        decide(&self.snapshot, &self.settings, &self.overrides, reading, stranger, job, now)
    }

    fn take_worker(
        &mut self,
        lease: &LeaseId,
        epoch: Epoch,
        event: WorkerEvent,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let input_at = match self.snapshot.presence {
            policy::Presence::Active { since } => Some(since),
            _ => None,
        };
        if let Some((job, reading, settings)) = self.job_mut(lease, epoch) {
            let how = job.gentle(settings);
            job.note_input(input_at);
            job.conduct.take(&event, now);
            job.take(event, how, reading.energy_millijoules, now, out);
        }
    }

    fn take_survivors(&mut self, survivors: Vec<Survivor>, now: Timestamp, out: &mut Outbox) {
        let bounds = Some(self.settings.sharing).filter(|_| self.settings.give_back == GiveBack::Share);
        for survivor in survivors {
            let gpu = survivor.stored.terms.gpu.clone();
            let job = Job::recover(survivor, now, out).map(|job| job.left_within(bounds, now));
            if let Some(job) = job {
                // The driver may not have listed it yet.
                let unseen = || Card::new(GpuReading::unread(gpu.clone()), false);
                self.cards.entry(gpu.clone()).or_insert_with(unseen).job = Some(job);
            }
        }
        self.recovered = true;
        if matches!(self.snapshot.runtime, Runtime::Ready { .. }) {
            self.sweep(out);
        }
    }

    /// Brings every card in line with what is known now.
    fn reconcile(&mut self, now: Timestamp, out: &mut Outbox) {
        self.snapshot.signs.settle(&self.settings.signals, self.settings.cpu_busy_percent, now);
        let game_runs = self.game().is_some();
        self.overrides.settle(&self.snapshot.presence, game_runs, now);
        let broke: Vec<GpuUuid> = self
            .cards
            .iter()
            .filter(|(_, card)| self.is_out_of_pocket(card, now))
            .map(|(gpu, _)| gpu.clone())
            .collect();
        for card in self.cards.values_mut() {
            let presence = if card.job.is_some() { JobPresence::Held } else { JobPresence::None };
            let seen = card.present.then_some(&card.reading);
            card.thermal.tick(now);
            let (settings, stranger) = (&self.settings, seen.and(card.strangers.counted()));
            let verdict = decide(&self.snapshot, settings, &self.overrides, seen, stranger, presence, now);
            let hold = card.heat_hold(self.is_driver_silent, now);
            let verdict = heat::with_heat(verdict, hold, &card.reading, &self.settings);
            if let Some(job) = &mut card.job {
                if self.closing || broke.contains(&card.reading.uuid) {
                    let gentle = job.gentle(&self.settings);
                    let (cause, how) = match self.closing {
                        true => (Cause::HostClosing, gentle.within(CLOSING_GRACE_MS)),
                        false => (Cause::OwnerStopped, gentle),
                    };
                    let energy = card.reading.energy_millijoules;
                    job.end_for(cause, EndReason::OwnerStopped, how, energy, now, out);
                }
                job.reconcile(&verdict, &self.settings, card.reading.energy_millijoules, now, out);
                job.watch_conduct(&card.reading, &self.settings, now, out);
                let is_over = job.state().is_over();
                Reclaim::begin(card, self.settings.give_back, now);
                if let Some(job) = card.job.as_ref().filter(|_| is_over) {
                    if self.snapshot.market != Market::Connected && self.untold.len() < MOST_UNTOLD {
                        self.untold.push((job.terms().lease.clone(), job.terms().epoch, job.state().clone()));
                    }
                    card.job = None;
                }
            }
            if !same_reasons(&verdict, &card.verdict) {
                let gpu = card.reading.uuid.clone();
                out.push(Effect::Journal(JournalEntry::Verdict { gpu, at: now, verdict: verdict.clone() }));
            }
            card.verdict = verdict;
        }
        self.reconcile_checks(now, out);
        self.reconcile_sweeps(now, out);
        self.reconcile_line_check(out);
        self.tell_limits(out);
        self.drop_absent(now, out);
        self.tell_offers(out);
    }

    /// Forgets cards that the driver does not list any more; the journal says why nothing more is heard of them.
    fn drop_absent(&mut self, now: Timestamp, out: &mut Outbox) {
        self.cards.retain(|gpu, card| {
            // A stop for heat outlasts a card that is away for a moment.
            let is_stopped = matches!(card.thermal.hold(), Some(Hold::Stopped { .. }));
            let stays = card.present || card.job.is_some() || card.is_swept() || card.is_checked();
            let stays = stays || is_stopped;
            if !stays {
                let trouble = crate::gpu::GpuTrouble::NoCard;
                let reasons = vec![policy::BlockReason::NoGpu { trouble }];
                let verdict = Verdict::Blocked { reasons, next_change: None };
                out.push(Effect::Journal(JournalEntry::Verdict { gpu: gpu.clone(), at: now, verdict }));
            }
            stays
        });
    }
}

/// Two verdicts that differ only by numbers that count up (idle time, degrees) are one entry in the journal.
fn same_reasons(a: &Verdict, b: &Verdict) -> bool {
    match (a, b) {
        (Verdict::Earn, Verdict::Earn) => true,
        (Verdict::Blocked { reasons: a, .. }, Verdict::Blocked { reasons: b, .. }) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| std::mem::discriminant(a) == std::mem::discriminant(b))
        }
        _ => false,
    }
}
