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
    /// Images that are not offered whatever they are good for, as the catalogue names them. An image that a later catalogue
    /// brings is not among them and is not offered by itself either: only what lies on this PC is, and nothing that can be
    /// rented is fetched without the owner's word.
    pub refused: BTreeSet<String>,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self { quota_gib: 60, consents: BTreeSet::from([TaskKind::Interactive]), refused: BTreeSet::new() }
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

    /// Whether this image may be offered; `None` where nothing is known of what it is good for.
    #[must_use]
    pub fn allows_image(&self, name: &str, kinds: Option<&[TaskKind]>) -> bool {
        !self.refused.contains(name) && kinds.is_none_or(|kinds| self.allows(kinds))
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

    #[test]
    fn one_image_is_refused_and_the_others_of_its_kind_are_not() {
        let refused = BTreeSet::from(["a:full".to_owned()]);
        let settings = ImageSettings { refused, ..ImageSettings::default() };
        let interactive = [TaskKind::Interactive];
        assert!(!settings.allows_image("a:full", Some(&interactive)));
        assert!(!settings.allows_image("a:full", None));
        assert!(settings.allows_image("a:lite", Some(&interactive)));
        assert!(!settings.allows_image("a:lite", Some(&[TaskKind::Training])), "that kind is not agreed to");
        assert!(settings.lends(), "other images are lent");
    }
}
