//! How far the energy of a lease is off the truth of the stand-in's physics, in the ways in which a counter lets down.

use std::time::Duration;

use nightjar_core::energy::{Energy, EnergySample, between};
use nightjar_core::time::Timestamp;
use nightjar_sim::model::CardModel;
use nightjar_sim::physics::{Body, Load, LoadSource};

/// The lease that is measured.
const SECONDS: u64 = 3_600;

/// One way in which energy is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// A counter of 32 bits that goes over its end.
    Wrap,
    /// The driver is loaded anew three times: the counter begins at nothing.
    Reload,
    /// The PC is started anew: what came after the last record is not known.
    Reboot,
    /// The card has no counter: power is sampled each second.
    NoCounter,
}

impl Trouble {
    pub const ALL: [Self; 5] = [Self::None, Self::Wrap, Self::Reload, Self::Reboot, Self::NoCounter];
}

/// What was measured, and how far it is off.
#[derive(Clone, Copy, Debug)]
pub struct EnergyError {
    pub trouble: Trouble,
    pub percent: f64,
    /// The error that goes with the measured energy, in percent of it.
    pub stated_percent: f64,
}

/// The worst of all: the bench's `energy_error_percent`.
pub fn worst_energy_error_percent(model: &'static CardModel) -> f64 {
    energy_errors(model).into_iter().map(|error| error.percent).fold(0.0, f64::max)
}

/// An hour's lease with a load that changes, measured in every way.
pub fn energy_errors(model: &'static CardModel) -> Vec<EnergyError> {
    Trouble::ALL.into_iter().map(|trouble| measure(model, trouble)).collect()
}

fn measure(model: &'static CardModel, trouble: Trouble) -> EnergyError {
    let mut body = Body::new(model, 22.0, Duration::ZERO);
    // The counter has run for long; in 32 bits it is near its end.
    let mut offset: i128 = if trouble == Trouble::Wrap { i128::from(u32::MAX) - 60_000 } else { 900_000_000 };
    let mut sum = Energy::default();
    let mut last: Option<EnergySample> = None;
    for second in 0..=SECONDS {
        let now = Duration::from_secs(second);
        body.advance(now);
        // Work that comes and goes, as a training run that waits for its data does.
        let duty = if second % 97 < 61 { 1.0 } else { 0.2 + (second % 7) as f64 / 10.0 };
        let memory_share = if second < SECONDS / 2 { 0.0 } else { 0.8 };
        body.set_load(LoadSource::Session(1), Load { duty, memory_share, until: None });
        let truth = millijoules(&body);
        if trouble == Trouble::Reload && [601, 1_802, 3_003].contains(&second) {
            // Half a second's energy was counted before, the rest since.
            let since =
                last.map_or(0, |last| truth - (i128::from(last.counter_millijoules.unwrap_or(0)) - offset));
            offset = since / 2 - truth;
        }
        let counter = match trouble {
            Trouble::Wrap => (truth + offset).rem_euclid(1 << 32),
            _ => truth + offset,
        };
        let sample = EnergySample {
            at: Timestamp(i64::try_from(second).unwrap_or(0) * 1_000),
            counter_millijoules: (trouble != Trouble::NoCounter).then(|| u64::try_from(counter).unwrap_or(0)),
            watts: Some(body.draw().watts),
        };
        // The agent is away for the ten seconds before the PC goes down, its last record being from before.
        let lost = trouble == Trouble::Reboot && second > SECONDS - 10;
        if let Some(last) = last.replace(sample).filter(|_| !lost) {
            sum = sum.plus(between(&last, &sample));
        }
    }
    let truth = millijoules(&body) as f64;
    EnergyError {
        trouble,
        percent: (sum.millijoules as f64 - truth).abs() * 100.0 / truth,
        stated_percent: sum.uncertain_millijoules as f64 * 100.0 / truth,
    }
}

fn millijoules(body: &Body) -> i128 {
    #[expect(clippy::cast_possible_truncation, reason = "an hour's energy is far from either end")]
    let whole = (body.energy_joules() * 1_000.0).round() as i128;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_s_energy_is_off_by_a_percent_at_most() {
        for model in ["rtx3060", "rtx4090"].iter().filter_map(|key| CardModel::find(key).ok()) {
            let errors = energy_errors(model);
            assert_eq!(errors.len(), Trouble::ALL.len());
            for error in errors {
                assert!(error.percent <= 1.0, "{error:?}");
                assert!(error.percent <= error.stated_percent.max(0.5), "{error:?}");
            }
        }
    }
}
