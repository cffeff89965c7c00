//! Images from a registry: which kinds of work the owner agreed to, what may lie on the disk, and how one is fetched.

mod hold;
mod pull;
mod quota;
mod trouble;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

pub use hold::holds_pulls;
pub use pull::{GiveUp, MOST_AT_ONCE, MOST_CORRUPT, MOST_CUTS, Next, Part, Pull};
pub use quota::{Held, OverQuota, evictions};
pub use trouble::{ImageTrouble, again_after_ms};

/// Bounds of the quota, in GiB.
pub const QUOTA_GIB: std::ops::RangeInclusive<u64> = 1..=16_384;

/// What an image is good for. The owner agrees to each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Somebody works on the card by SSH or in JupyterLab.
    Interactive,
    Training,
    FineTuning,
    /// A server that answers with what a model says.
    Inference,
    Preprocessing,
}

impl TaskKind {
    pub const ALL: [Self; 5] =
        [Self::Interactive, Self::Training, Self::FineTuning, Self::Inference, Self::Preprocessing];
}

/// What the owner has chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct ImageSettings {
    /// What images from a registry may take of the disk; the one that was used longest ago goes first.
    #[ts(type = "number")]
    pub quota_gib: u64,
    /// An image is offered when it is good for one of these. Who turns earning on lends the card to somebody who works on
    /// it; everything else is asked for.
    pub consents: BTreeSet<TaskKind>,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self { quota_gib: 60, consents: BTreeSet::from([TaskKind::Interactive]) }
    }
}

impl ImageSettings {
    #[must_use]
    pub fn quota_bytes(&self) -> u64 {
        self.quota_gib.saturating_mul(1 << 30)
    }

    /// Whether any work at all is agreed to.
    #[must_use]
    pub fn lends(&self) -> bool {
        !self.consents.is_empty()
    }

    /// Whether an image that is good for these kinds of work may be offered.
    #[must_use]
    pub fn allows(&self, kinds: &[TaskKind]) -> bool {
        kinds.iter().any(|kind| self.consents.contains(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_interactive_work_is_agreed_to_by_itself() {
        let settings = ImageSettings::default();
        for kind in TaskKind::ALL {
            assert_eq!(settings.allows(&[kind]), kind == TaskKind::Interactive, "{kind:?}");
        }
        assert!(settings.allows(&[TaskKind::Training, TaskKind::Interactive]));
        assert!(!settings.allows(&[]));
    }
}
