//! "Find my sweet spot" as it runs on a card of this host: it waits until nobody needs the card, gives it a steady load,
//! walks through the limits, and is over at once when the owner comes back or anything else stands against it.

mod pulse;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::energy::{Energy, EnergySample, between};
use crate::gpu::{GpuReading, GpuUuid, PowerLimits};
use crate::policy::{BlockReason, Runtime, Verdict};
use crate::power::HelperStanding;
use crate::sweep::{
    Counters, Curve, Economics, Judgement, MEASURE_MS, Plan, Point, SETTLE_MS, Sweep, SweepAction, WorkKind,
    judge,
};
use crate::time::Timestamp;

use super::effect::{Effect, JournalEntry, Outbox};
use super::input::{CommandError, LoadEvent};
use super::{Card, Host};
use pulse::{Heard, Pulse};

/// So long a sweep waits for the card to be free.
const WAIT_AT_MOST_MS: u64 = 86_400_000;
/// The load's container is up and its first work done by then, or it is given up.
const START_WITHIN_MS: u64 = 120_000;
/// A load that says nothing for so long has ended or hangs.
const SILENT_AT_MOST_MS: u64 = 5_000;
/// Bounds on how long each limit is measured.
const MEASURE_BOUNDS_MS: (u64, u64) = (1_000, 120_000);
/// The driver rounds what it is told.
const SAME_WATTS: f64 = 1.5;

/// What the owner asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SweepWish {
    /// `None`: every card whose limit can be set.
    pub gpu: Option<GpuUuid>,
    pub kind: WorkKind,
    /// How many limits are tried; `None` for a good number.
    #[serde(default)]
    pub limits: Option<u32>,
    /// How long each is measured; `None` for long enough.
    #[serde(default)]
    #[ts(type = "number | null")]
    pub measure_ms: Option<u64>,
}

/// How a sweep ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SweepEnd {
    Done,
    /// The owner came back, or something else stands against work on the card.
    Interrupted {
        reason: Option<BlockReason>,
    },
    /// By the owner's word.
    Cancelled,
    /// The card was not free for a day.
    NeverFree,
    Failed {
        cause: String,
    },
}

/// Where a sweep is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SweepPhase {
    /// For the card to be free.
    Waiting {
        since: Timestamp,
    },
    /// The load comes up.
    Starting {
        since: Timestamp,
    },
    Measuring {
        limit_watts: Option<u32>,
    },
    /// The load goes.
    Ending {
        end: SweepEnd,
    },
    Over {
        end: SweepEnd,
        at: Timestamp,
    },
}

/// A sweep as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct SweepView {
    pub work: WorkKind,
    pub phase: SweepPhase,
    /// All that are tried, and of which so many have been measured.
    pub limits: Vec<u32>,
    pub points: Vec<Point>,
    /// From the load's start to the last limit.
    #[ts(type = "number")]
    pub takes_ms: u64,
}

/// What to offer for one kind of work. There is none for a card as such: the kinds have different answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct SweetSpot {
    pub work: WorkKind,
    pub measured_at: Timestamp,
    pub judgement: Judgement,
}

/// What the readings have shown since a limit was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// Nothing yet that counts.
    Nothing,
    /// While it was measured, another one, once. It may have been read before the change, or the change is late.
    Another,
    /// That limit.
    Wanted,
}

/// One card's sweep.
#[derive(Clone, Debug)]
pub(super) struct Sweeping {
    kind: WorkKind,
    plan: Plan,
    sweep: Sweep,
    phase: SweepPhase,
    /// Sum of what the card took since the load began, and the reading that it goes up to.
    energy: Energy,
    last: Option<EnergySample>,
    heard_at: Timestamp,
    pulse: Pulse,
    shown: Shown,
}

impl Sweeping {
    fn new(wish: &SweepWish, plan: Plan, now: Timestamp) -> Self {
        Self {
            kind: wish.kind,
            sweep: Sweep::new(plan.clone()),
            plan,
            phase: SweepPhase::Waiting { since: now },
            energy: Energy::default(),
            last: None,
            heard_at: now,
            pulse: Pulse::default(),
            shown: Shown::Nothing,
        }
    }

    /// It is on the card, or on its way there or off it.
    pub(super) fn is_on_the_card(&self) -> bool {
        !matches!(self.phase, SweepPhase::Waiting { .. } | SweepPhase::Over { .. })
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, SweepPhase::Over { .. })
    }

    /// The load does its work.
    pub(super) fn works(&self) -> bool {
        matches!(self.phase, SweepPhase::Starting { .. } | SweepPhase::Measuring { .. })
    }

    /// The limit that it wants now; `None` leaves what was found.
    pub(super) fn limit_watts(&self) -> Option<u32> {
        match self.phase {
            SweepPhase::Measuring { limit_watts } => limit_watts,
            _ => None,
        }
    }

    pub(super) fn view(&self) -> SweepView {
        SweepView {
            work: self.kind,
            phase: self.phase.clone(),
            limits: self.plan.limits().to_vec(),
            points: self.sweep.points().to_vec(),
            takes_ms: self.plan.takes_ms(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<(Timestamp, &'static str)> {
        match self.phase {
            SweepPhase::Waiting { since } => {
                Some((since.plus_ms(WAIT_AT_MOST_MS), "a sweep waits no longer"))
            }
            SweepPhase::Starting { since } => {
                Some((since.plus_ms(START_WITHIN_MS), "a load should have come"))
            }
            SweepPhase::Measuring { .. } => {
                Some((self.heard_at.plus_ms(SILENT_AT_MOST_MS), "a load should have said something"))
            }
            SweepPhase::Ending { .. } | SweepPhase::Over { .. } => None,
        }
    }

    /// Takes the load off the card, or is over at once where there is none.
    fn end(&mut self, gpu: &GpuUuid, end: SweepEnd, now: Timestamp, out: &mut Outbox) {
        match self.phase {
            SweepPhase::Waiting { .. } => self.phase = SweepPhase::Over { end, at: now },
            SweepPhase::Starting { .. } | SweepPhase::Measuring { .. } => {
                out.push(Effect::StopLoad { gpu: gpu.clone() });
                self.phase = SweepPhase::Ending { end };
            }
            SweepPhase::Ending { .. } | SweepPhase::Over { .. } => {}
        }
    }

    fn take_energy(&mut self, sample: EnergySample) {
        if let Some(last) = self.last.replace(sample)
            && self.works()
        {
            self.energy = self.energy.plus(between(&last, &sample));
        }
    }

    /// Up to now: what was counted, and what the card has drawn since at its steady power.
    fn joules(&self, now: Timestamp) -> f64 {
        let since = self.last.as_ref().map_or(0.0, |last| {
            let seconds = now.since_ms(last.at).min(SILENT_AT_MOST_MS) as f64 / 1_000.0;
            last.watts.filter(|watts| watts.is_finite()).unwrap_or(0.0) * seconds
        });
        self.energy.millijoules as f64 / 1_000.0 + since
    }

    /// Whether another program has set the limit while it was measured. Readings come in the order in which they were
    /// taken: one of another limit is old at most until one has shown what was set.
    fn take_limit(&mut self, reading: &GpuReading, now: Timestamp) -> Option<SweepEnd> {
        let wanted = self.limit_watts()?;
        let Some(limits) = reading.power_limits else {
            // A card that tells its limit no more is not waited for.
            self.shown = if self.shown == Shown::Another { Shown::Nothing } else { self.shown };
            return None;
        };
        let found = limits.enforced_watts;
        if (found - f64::from(wanted)).abs() <= SAME_WATTS {
            if std::mem::replace(&mut self.shown, Shown::Wanted) == Shown::Another {
                self.sweep.begin_again(now);
            }
            return None;
        }
        if self.shown != Shown::Another {
            if !self.sweep.is_measuring() {
                return None;
            }
            if self.shown == Shown::Nothing {
                self.shown = Shown::Another;
                return None;
            }
        }
        Some(SweepEnd::Failed {
            cause: format!(
                "the card's limit is {found:.0} W where {wanted} W was set: another program sets it, or the card does not take it"
            ),
        })
    }

    /// The load has done so much by now; `Some` when that ends the sweep.
    fn take_work(&mut self, done: u64, now: Timestamp) -> Option<SweepEnd> {
        self.heard_at = now;
        match self.pulse.hear(now) {
            Heard::InTime => {}
            // Nobody knows yet when it was made: no window begins or ends with it.
            Heard::Late => return None,
            Heard::Stood { for_ms } => {
                if !self.sweep.take_stall(for_ms, now) {
                    let cause = "this PC is too busy to measure with: the load stood still again and again";
                    return Some(SweepEnd::Failed { cause: cause.to_owned() });
                }
            }
        }
        if self.shown == Shown::Another {
            return None;
        }
        let counters = Counters { work: done as f64, joules: self.joules(now) };
        match self.sweep.handle(counters, now) {
            SweepAction::SetLimit { watts } => {
                self.phase = SweepPhase::Measuring { limit_watts: Some(watts) };
                self.shown = Shown::Nothing;
                None
            }
            SweepAction::Wait { .. } => None,
            SweepAction::Done => Some(SweepEnd::Done),
        }
    }
}

impl Host {
    /// The cards that a wish is about.
    fn swept(&self, wish: &SweepWish) -> Result<Vec<(GpuUuid, Plan)>, CommandError> {
        if let Some(gpu) = wish.gpu.as_ref().filter(|gpu| !self.cards.contains_key(gpu)) {
            return Err(CommandError::NoSuchCard { gpu: gpu.clone() });
        }
        let measure = wish.measure_ms.unwrap_or(MEASURE_MS).clamp(MEASURE_BOUNDS_MS.0, MEASURE_BOUNDS_MS.1);
        let wanted = |uuid: &GpuUuid| wish.gpu.as_ref().is_none_or(|gpu| gpu == uuid);
        let plans: Vec<(GpuUuid, Plan)> = self
            .cards
            .iter()
            .filter(|(uuid, card)| wanted(uuid) && card.present)
            .filter_map(|(uuid, card)| {
                let limits = self.swept_range(uuid, &card.reading.power_limits?);
                let plan = Plan::new(&limits, wish.limits.unwrap_or(Plan::USUAL_LIMITS))?;
                Some((uuid.clone(), plan.lasting(SETTLE_MS, measure)))
            })
            .collect();
        if plans.is_empty() { Err(CommandError::NoPowerLimit) } else { Ok(plans) }
    }

    /// Nothing beyond what the card comes with is tried, unless the owner has chosen more.
    fn swept_range(&self, gpu: &GpuUuid, limits: &PowerLimits) -> PowerLimits {
        let chosen = self.settings.power.renting(gpu, limits).map_or(0.0, f64::from);
        PowerLimits { max_watts: limits.max_watts.min(limits.default_watts.max(chosen)), ..*limits }
    }

    pub(super) fn check_sweep(&self, wish: &SweepWish) -> Result<(), CommandError> {
        if !matches!(self.helper, HelperStanding::Available { .. }) {
            return Err(CommandError::NoHelper);
        }
        let plans = self.swept(wish)?;
        let busy = |gpu: &GpuUuid| self.cards[gpu].sweep.as_ref().is_some_and(|sweep| !sweep.is_over());
        if plans.iter().any(|(gpu, _)| busy(gpu)) { Err(CommandError::SweepRuns) } else { Ok(()) }
    }

    pub(super) fn begin_sweep(&mut self, wish: &SweepWish, now: Timestamp) {
        for (gpu, plan) in self.swept(wish).unwrap_or_default() {
            if let Some(card) = self.cards.get_mut(&gpu) {
                card.sweep = Some(Sweeping::new(wish, plan, now));
            }
        }
    }

    pub(super) fn cancel_sweep(&mut self, gpu: Option<&GpuUuid>, now: Timestamp, out: &mut Outbox) {
        for (uuid, card) in self.cards.iter_mut().filter(|(uuid, _)| gpu.is_none_or(|gpu| gpu == *uuid)) {
            if let Some(sweep) = &mut card.sweep {
                sweep.end(uuid, SweepEnd::Cancelled, now, out);
            }
        }
    }

    /// A reading of every card was taken.
    pub(super) fn take_sweep_readings(&mut self, now: Timestamp, out: &mut Outbox) {
        for (gpu, card) in &mut self.cards {
            let Some(sweep) = &mut card.sweep else { continue };
            sweep.take_energy(EnergySample::of(&card.reading, now));
            if let Some(end) = sweep.take_limit(&card.reading, now) {
                sweep.end(gpu, end, now, out);
            }
        }
    }

    pub(super) fn take_load(&mut self, gpu: &GpuUuid, event: LoadEvent, now: Timestamp, out: &mut Outbox) {
        let Some(card) = self.cards.get_mut(gpu) else { return };
        let Some(sweep) = &mut card.sweep else { return };
        match (event, &sweep.phase) {
            (LoadEvent::Work { done }, SweepPhase::Starting { .. } | SweepPhase::Measuring { .. }) => {
                let Some(end) = sweep.take_work(done, now) else { return };
                let curve = (end == SweepEnd::Done)
                    .then(|| Curve { measured_at: now, points: sweep.sweep.points().to_vec() });
                let kind = sweep.kind;
                sweep.end(gpu, end, now, out);
                if let Some(curve) = curve {
                    out.push(Effect::Journal(JournalEntry::Curve {
                        gpu: gpu.clone(),
                        kind,
                        curve: curve.clone(),
                    }));
                    self.curves.entry(gpu.clone()).or_default().0.insert(kind, curve);
                }
            }
            (LoadEvent::Work { .. } | LoadEvent::Checked { .. }, _) => {}
            (LoadEvent::Gone { .. }, SweepPhase::Ending { end }) => {
                sweep.phase = SweepPhase::Over { end: end.clone(), at: now };
            }
            (LoadEvent::Gone { cause }, SweepPhase::Starting { .. } | SweepPhase::Measuring { .. }) => {
                sweep.phase = SweepPhase::Over { end: SweepEnd::Failed { cause }, at: now };
            }
            (LoadEvent::Gone { .. }, SweepPhase::Waiting { .. } | SweepPhase::Over { .. }) => {}
        }
    }

    /// Begins where the card is free, and ends where it is not any more.
    pub(super) fn reconcile_sweeps(&mut self, now: Timestamp, out: &mut Outbox) {
        let has_helper = matches!(self.helper, HelperStanding::Available { .. });
        let image = match &self.snapshot.runtime {
            Runtime::Ready { images, .. } => images.first().cloned(),
            _ => None,
        };
        for (gpu, card) in &mut self.cards {
            let against = against(card, self.closing);
            let is_free = card.job.is_none() && !card.is_checked();
            let Some(sweep) = &mut card.sweep else { continue };
            match &sweep.phase {
                SweepPhase::Waiting { since } if now.since_ms(*since) >= WAIT_AT_MOST_MS => {
                    sweep.end(gpu, SweepEnd::NeverFree, now, out);
                }
                SweepPhase::Waiting { .. } if self.closing => sweep.end(gpu, SweepEnd::Cancelled, now, out),
                SweepPhase::Waiting { .. } => {
                    if let (None, true, true, Some(image)) = (&against, is_free, has_helper, &image) {
                        sweep.phase = SweepPhase::Starting { since: now };
                        out.push(Effect::StartLoad {
                            gpu: gpu.clone(),
                            kind: sweep.kind,
                            image: image.clone(),
                        });
                    }
                }
                SweepPhase::Starting { .. } | SweepPhase::Measuring { .. } => {
                    let silent = sweep.next_deadline().is_some_and(|(at, _)| now >= at);
                    let failed = |cause: &str| Some(SweepEnd::Failed { cause: cause.to_owned() });
                    let end = match against {
                        Some(end) => Some(end),
                        None if !has_helper => {
                            failed("the helper is gone, and with it the limit that was set")
                        }
                        None if silent => failed("the load does not work: it has said nothing for too long"),
                        None => None,
                    };
                    if let Some(end) = end {
                        sweep.end(gpu, end, now, out);
                    }
                }
                SweepPhase::Ending { .. } | SweepPhase::Over { .. } => {}
            }
        }
    }

    /// What is known of `card`, judged at this hour's price of electricity.
    pub(super) fn sweet_spots(&self, gpu: &GpuUuid, card: &Card) -> Vec<SweetSpot> {
        let Some(curves) = self.curves.get(gpu) else { return Vec::new() };
        let price = self.least_price(card, self.fee_basis_points).micros as f64;
        let economics = Economics {
            income_per_hour_micros: price * (1.0 - f64::from(self.fee_basis_points.min(10_000)) / 10_000.0),
            electricity_per_kwh_micros: self.hours.per_kwh_micros() as f64,
            overhead_watts: f64::from(self.settings.tariff.overhead_watts),
        };
        let spot = |(kind, curve): (&WorkKind, &Curve)| {
            let judgement = judge(&curve.points, &economics)?;
            Some(SweetSpot { work: *kind, measured_at: curve.measured_at, judgement })
        };
        curves.0.iter().filter_map(spot).collect()
    }
}

/// What stands against work on a card; a market that is away does not, nor what only renters would miss.
fn against(card: &Card, closing: bool) -> Option<SweepEnd> {
    if closing {
        return Some(SweepEnd::Cancelled);
    }
    let is_of_the_market = |reason: &BlockReason| {
        matches!(
            reason,
            BlockReason::CoordinatorUnreachable { .. }
                | BlockReason::NotEnrolled
                | BlockReason::OtherCurrency { .. }
                | BlockReason::NoImageLent
        )
    };
    match &card.verdict {
        Verdict::Earn => None,
        Verdict::Blocked { reasons, .. } => {
            let reason = reasons.iter().find(|reason| !is_of_the_market(reason));
            // A card that was not looked at yet is blocked without a reason.
            let is_open = reason.is_none() && !reasons.is_empty();
            (!is_open).then(|| SweepEnd::Interrupted { reason: reason.cloned() })
        }
    }
}

#[cfg(test)]
mod tests;
