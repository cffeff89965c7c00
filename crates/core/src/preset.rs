//! Three ways to be careful, each a set of values: what is chosen is written into the settings and can be changed there.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::settings::{GiveBack, Settings};
use crate::signal::SignalRule;

/// How soon a card is lent, and how soon it is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Lent late, given back at the least sign.
    Careful,
    Balanced,
    /// Lent soon, shared while the desktop is used lightly.
    Eager,
}

impl Preset {
    pub const ALL: [Self; 3] = [Self::Careful, Self::Balanced, Self::Eager];

    /// Writes this preset's values; everything else stays as it was chosen.
    pub fn apply(self, settings: &mut Settings) {
        let standard = Settings::default();
        let (idle_minutes, resume_seconds, frozen_minutes, locked_seconds) = match self {
            Self::Careful => (20, 600, 5, 60),
            Self::Balanced => (10, 180, 15, 15),
            Self::Eager => (3, 60, 30, 5),
        };
        settings.idle_after_ms = idle_minutes * 60_000;
        settings.resume_after_ms = resume_seconds * 1_000;
        settings.frozen_at_most_ms = frozen_minutes * 60_000;
        settings.locked_idle_after_ms = locked_seconds * 1_000;
        settings.give_back = if self == Self::Eager { GiveBack::Share } else { GiveBack::Instant };
        settings.signals = standard.signals;
        settings.cpu_busy_percent = standard.cpu_busy_percent;
        match self {
            Self::Careful => {
                settings.cpu_busy_percent = 30;
                settings.signals.game.linger_ms = 300_000;
                settings.signals.idle_inhibitor = SignalRule::new(true, 0, 30_000);
            }
            Self::Balanced => {}
            Self::Eager => {
                settings.cpu_busy_percent = 75;
                settings.signals.idle_inhibitor.grace_ms = 15_000;
            }
        }
    }

    /// The preset whose values these are; `None` where the owner has chosen otherwise.
    #[must_use]
    pub fn of(settings: &Settings) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| {
            let mut with = settings.clone();
            preset.apply(&mut with);
            with == *settings
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_recognised_within_bounds_and_leaves_other_choices_alone() {
        assert_eq!(Preset::of(&Settings::default()), Some(Preset::Balanced));
        for preset in Preset::ALL {
            let mut settings = Settings { region: "de".into(), ..Settings::default() };
            preset.apply(&mut settings);
            assert_eq!((Preset::of(&settings), settings.region.as_str()), (Some(preset), "de"));
            settings.check().unwrap();
            settings.idle_after_ms += 1;
            assert_eq!(Preset::of(&settings), None);
        }
    }
}
