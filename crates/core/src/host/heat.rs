//! Heat of each card: its readings go to its controller, and what that holds is a reason against running.

use jiff::tz::TimeZone;

use super::Host;
use super::card::Card;
use super::job::Job;
use crate::gpu::GpuReading;
use crate::lease::LeaseState;
use crate::policy::{BlockReason, Verdict};
use crate::power::HelperStanding;
use crate::settings::Settings;
use crate::thermal::{Aim, Doubt, Hold, STEP_WATTS, Sample, Thermal, WattRange, Work};
use crate::time::Timestamp;

impl Host {
    /// A card that sleeps was not asked for its temperature, so it says nothing about its thermometer.
    pub(super) fn take_heat(&mut self, now: Timestamp) {
        let quiet =
            minute_of_day(now, self.hours.zone()).and_then(|minute| self.settings.heat.quiet_percent(minute));
        let has_helper = matches!(self.helper, HelperStanding::Available { .. });
        for card in self.cards.values_mut().filter(|card| card.present && !card.reading.asleep) {
            let limits = card.reading.power_limits;
            if card.told_watts.is_none() {
                card.found_watts = limits.map(|limits| limits.enforced_watts);
            }
            let range = limits.filter(|_| has_helper).and_then(|limits| {
                let renting = self.settings.power.renting(&card.reading.uuid, &limits).map(f64::from);
                let allowed = renting.or(card.found_watts).unwrap_or(limits.default_watts);
                let quiet = quiet.map(|percent| limits.default_watts * f64::from(percent) / 100.0);
                let cap = quiet.map_or(allowed, |quiet| quiet.min(allowed));
                WattRange::new(limits.min_watts, limits.default_watts, cap)
            });
            let aim = Aim::new(&self.settings.heat, self.settings.temperature_ceiling_celsius, range);
            let sample = Sample {
                celsius: card.reading.temperature_celsius,
                watts: card.reading.power_watts,
                work: match &card.sweep {
                    Some(sweep) if sweep.works() => Work::Runs,
                    _ => work(card.job.as_ref()),
                },
            };
            // The state is what counts here: reasons are derived from it.
            card.thermal.handle(&aim, &sample, now);
        }
    }

    /// The owner wants it to go on in spite of all: a card that was stopped for heat may try again.
    pub(super) fn allow_heat(&mut self) {
        self.cards.values_mut().for_each(|card| card.thermal.allow_again());
    }
}

/// What a tenant may draw: what heat and quiet hours leave of what it might otherwise. `None` leaves what was found.
pub(super) fn lowered(thermal: &Thermal, allowed: Option<u32>, found_watts: Option<f64>) -> Option<u32> {
    let Some(watts) = thermal.limit_watts() else { return allowed };
    let otherwise = allowed.map(f64::from).or(found_watts);
    // Within a step of it nothing was lowered: the step is only the rounding.
    let is_lower = otherwise.is_none_or(|otherwise| f64::from(watts + STEP_WATTS) <= otherwise);
    if is_lower { Some(watts) } else { allowed }
}

fn minute_of_day(now: Timestamp, zone: &TimeZone) -> Option<u16> {
    let local = zone.to_datetime(jiff::Timestamp::from_millisecond(now.0).ok()?);
    u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).ok()
}

/// While its tenant is frozen for any reason, a card gets hot by somebody else's work.
fn work(job: Option<&Job>) -> Work {
    match job.map(Job::state) {
        None | Some(LeaseState::Ended { .. }) => Work::None,
        Some(LeaseState::Yielded) => Work::Held,
        Some(_) => Work::Runs,
    }
}

impl Card {
    /// Why nothing may run on it. While the driver hangs nobody sees how hot it is.
    pub(super) fn heat_hold(&self, is_driver_silent: bool, now: Timestamp) -> Option<Hold> {
        let unseen = Hold::Blind { since: now, doubt: Doubt::Silent };
        self.thermal.hold().or(is_driver_silent.then_some(unseen))
    }
}

/// The verdict with what the heat adds to it.
pub(super) fn with_heat(
    verdict: Verdict,
    hold: Option<Hold>,
    reading: &GpuReading,
    settings: &Settings,
) -> Verdict {
    let Some(hold) = hold else { return verdict };
    let (mut reasons, mut next_change) = match verdict {
        Verdict::Earn => (Vec::new(), None),
        Verdict::Blocked { reasons, next_change } => (reasons, next_change),
    };
    let is_told = reasons.iter().any(|reason| matches!(reason, BlockReason::TooHot { .. }));
    let ceiling = settings.temperature_ceiling_celsius;
    match hold {
        Hold::Cooling { .. } if is_told => {}
        Hold::Cooling { .. } => reasons.push(BlockReason::CoolingDown {
            celsius: crate::policy::whole_degrees(reading.temperature_celsius.unwrap_or(f64::from(ceiling))),
            resume_celsius: ceiling.saturating_sub(settings.heat.resume_below_kelvin),
        }),
        Hold::Blind { doubt, .. } => reasons.push(BlockReason::TemperatureUnknown { doubt }),
        Hold::Stopped { trips, until } => {
            let trips = u32::try_from(trips).unwrap_or(u32::MAX);
            reasons.insert(0, BlockReason::TooHotForGood { trips, until });
            next_change = Some(next_change.map_or(until, |sooner| sooner.min(until)));
        }
    }
    Verdict::Blocked { reasons, next_change }
}
