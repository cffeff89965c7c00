//! Why an image is not fetched or not removed, and when what failed is tried again.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{GiveUp, OverQuota};
use crate::policy::EngineTrouble;

/// What lies outside of the image is tried again after this.
const AGAIN_MS: u64 = 900_000;
/// What every job needs is tried again after this at first.
const AGAIN_SOON_MS: u64 = 60_000;

/// A closed set, so that each has its sentence in every language. A detail is the word of a registry, of Docker or of the
/// system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ImageTrouble {
    /// The catalogue has it not.
    Unknown {
        name: String,
    },
    /// It is made on the PC itself.
    NoRegistry {
        name: String,
    },
    NotPulled {
        name: String,
    },
    /// Every job needs it, so it stays.
    Needed {
        name: String,
        /// `None`: it is not here.
        #[ts(type = "number | null")]
        size_mib: Option<u64>,
    },
    InUse {
        name: String,
    },
    /// It arrives with another content than it should have, again and again.
    Corrupt {
        digest: String,
    },
    /// Nothing arrived, again and again.
    Unreachable {
        detail: String,
    },
    Refused {
        detail: String,
    },
    OverQuota {
        #[ts(type = "number")]
        needed_mib: u64,
        #[ts(type = "number")]
        quota_mib: u64,
        #[ts(type = "number")]
        used_mib: u64,
    },
    Engine {
        why: EngineTrouble,
    },
    /// What is fetched cannot be kept.
    Disk {
        folder: String,
        detail: String,
    },
    NoFolder,
    HostEnding,
}

impl From<&GiveUp> for ImageTrouble {
    fn from(why: &GiveUp) -> Self {
        match why.clone() {
            GiveUp::Corrupt { digest } => Self::Corrupt { digest },
            GiveUp::Unreachable { detail } => Self::Unreachable { detail },
            GiveUp::Refused { detail } => Self::Refused { detail },
        }
    }
}

impl From<&OverQuota> for ImageTrouble {
    fn from(over: &OverQuota) -> Self {
        let OverQuota { needed_mib, quota_mib, used_mib } = *over;
        Self::OverQuota { needed_mib, quota_mib, used_mib }
    }
}

/// When a pull that failed is tried again by itself; `None`: when the owner says so, or after the next start. What every job
/// needs is tried for ever, whatever it failed for (a hotel's network refuses everything until somebody has logged in):
/// `failures_of_needed` are its failures in a row.
#[must_use]
pub fn again_after_ms(why: &ImageTrouble, failures_of_needed: Option<u32>) -> Option<u64> {
    match (failures_of_needed, why) {
        (Some(failures), _) => Some((AGAIN_SOON_MS << failures.saturating_sub(1).min(16)).min(AGAIN_MS)),
        (None, ImageTrouble::Engine { .. } | ImageTrouble::Unreachable { .. }) => Some(AGAIN_MS),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_job_needs_is_tried_for_ever_and_others_where_another_try_may_help() {
        let refused = ImageTrouble::Refused { detail: "403".into() };
        let waits: Vec<u64> = (1..8)
            .filter_map(|failures| again_after_ms(&refused, Some(failures)))
            .map(|ms| ms / 60_000)
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 15, 15, 15]);
        assert_eq!(again_after_ms(&refused, Some(u32::MAX)), Some(AGAIN_MS));
        assert_eq!(again_after_ms(&ImageTrouble::NoFolder, Some(1)), Some(AGAIN_SOON_MS));
        assert_eq!(again_after_ms(&refused, None), None);
        let away = ImageTrouble::Unreachable { detail: String::new() };
        assert_eq!(again_after_ms(&away, None), Some(AGAIN_MS));
    }
}
