//! The power limit for renting: what the owner chose, in watts for a card; and whether there is a helper that may set it.
//!
//! The limit while playing is nobody's business here: it is left as it was found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::gpu::{GpuUuid, PowerLimits};
use crate::settings::{OutOfBounds, SettingsError};

/// What a card may draw while it is rented. Nothing chosen leaves the limit as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct PowerSettings {
    /// Of the card's default limit, for every card that has no watts of its own.
    pub limit_percent: Option<u32>,
    /// For single cards, by UUID.
    pub limit_watts: BTreeMap<GpuUuid, u32>,
}

/// Bounds on [`PowerSettings`]; a card's own are narrower, and a wish beyond them is taken to the nearest.
pub const PERCENT: (u32, u32) = (10, 150);
pub const WATTS: (u32, u32) = (1, 2_000);

impl PowerSettings {
    /// # Errors
    /// The first value that is out of its bounds.
    pub fn check(&self) -> Result<(), SettingsError> {
        let percent = self.limit_percent.map(|percent| ("power.limit_percent", percent, PERCENT));
        let watts = self.limit_watts.values().map(|watts| ("power.limit_watts", *watts, WATTS));
        for (field, given, (least, most)) in percent.into_iter().chain(watts) {
            if given < least || given > most {
                let [given, least, most] = [given, least, most].map(u64::from);
                return Err(OutOfBounds { field, given, least, most }.into());
            }
        }
        let is_uuid = |uuid: &GpuUuid| uuid.0.len() <= 96 && uuid.0.is_ascii();
        if self.limit_watts.len() > 64 || !self.limit_watts.keys().all(is_uuid) {
            return Err(SettingsError::Names { field: "power.limit_watts" });
        }
        Ok(())
    }

    /// The limit while a tenant works on this card; `None` leaves what is there.
    #[must_use]
    pub fn renting(&self, gpu: &GpuUuid, limits: &PowerLimits) -> Option<u32> {
        let watts = self.limit_watts.get(gpu).map(|watts| f64::from(*watts));
        let wish = watts.or_else(|| Some(percent(limits, self.limit_percent?)))?;
        Some(within(limits, wish))
    }
}

/// The least that the card takes: a tenant that is on its way out.
#[must_use]
pub fn least(limits: &PowerLimits) -> u32 {
    within(limits, 0.0)
}

/// The most that it takes.
#[must_use]
pub fn most(limits: &PowerLimits) -> u32 {
    within(limits, f64::INFINITY)
}

/// A tenant that the owner shares the card with, never above the limit for renting.
#[must_use]
pub fn shared(limits: &PowerLimits, of_default: u32, renting: Option<u32>) -> u32 {
    let share = within(limits, percent(limits, of_default));
    renting.map_or(share, |renting| renting.min(share))
}

fn percent(limits: &PowerLimits, percent: u32) -> f64 {
    limits.default_watts * f64::from(percent) / 100.0
}

/// Whole watts that the card takes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded to a few thousand watts, and never below zero"
)]
fn within(limits: &PowerLimits, watts: f64) -> u32 {
    let most = limits.max_watts.floor().clamp(0.0, f64::from(WATTS.1));
    let least = limits.min_watts.ceil().clamp(0.0, most);
    watts.clamp(least, most).round() as u32
}

/// Whether the privileged helper is there. Without it everything works but the power limit, and the freeze where Docker
/// hangs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HelperStanding {
    /// It was not asked yet.
    #[default]
    Unknown,
    Available {
        version: String,
    },
    NotInstalled,
    /// It is there and does not serve this account.
    NotAllowed,
    NotAnswering {
        detail: String,
    },
    /// Not on this system.
    Unsupported,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: PowerLimits =
        PowerLimits { enforced_watts: 450.0, default_watts: 450.0, min_watts: 150.5, max_watts: 600.0 };

    #[test]
    fn a_cards_own_watts_come_before_the_percentage_for_all() {
        let gpu = GpuUuid("GPU-1".into());
        let mut settings = PowerSettings::default();
        assert_eq!(settings.renting(&gpu, &LIMITS), None);
        settings.limit_percent = Some(60);
        assert_eq!(settings.renting(&gpu, &LIMITS), Some(270));
        settings.limit_watts.insert(gpu.clone(), 320);
        assert_eq!(settings.renting(&gpu, &LIMITS), Some(320));
        assert_eq!((least(&LIMITS), shared(&LIMITS, 50, Some(200))), (151, 200));
        assert_eq!(shared(&LIMITS, 50, None), 225);
    }

    proptest! {
        #[test]
        fn no_wish_leaves_the_cards_bounds(
            watts in 0_u32..5_000, percent in 0_u32..500, min in 1.0_f64..400.0, span in 1.0_f64..500.0,
        ) {
            let limits = PowerLimits { min_watts: min, max_watts: min + span, default_watts: min + span / 2.0, ..LIMITS };
            let gpu = GpuUuid("GPU-1".into());
            let own = PowerSettings { limit_watts: [(gpu.clone(), watts)].into(), ..PowerSettings::default() };
            let all = PowerSettings { limit_percent: Some(percent), ..PowerSettings::default() };
            for chosen in [own.renting(&gpu, &limits), all.renting(&gpu, &limits), Some(least(&limits))] {
                let chosen = f64::from(chosen.unwrap());
                prop_assert!(chosen <= limits.max_watts && (chosen >= limits.min_watts || limits.max_watts.floor() < limits.min_watts));
            }
        }
    }
}
