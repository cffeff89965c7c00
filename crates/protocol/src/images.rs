//! Images from a registry: what is here, what is on its way, and what the owner asks for.

use nightjar_core::images::{ImageTrouble, MOST_CORRUPT, MOST_CUTS};
use nightjar_core::policy::BlockReason;
use nightjar_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::network::traffic_gb;
use crate::text::Texts;

/// An image that was pulled and lies on this PC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PulledImage {
    /// E.g. `pytorch-cuda:full`.
    pub name: String,
    /// Registry, repository and digest.
    pub reference: String,
    /// In the Engine, unpacked.
    #[ts(type = "number")]
    pub size_bytes: u64,
    /// `None`: by no job since it was pulled.
    pub last_used_at: Option<Timestamp>,
    /// A container is made of it, so it cannot go now.
    pub in_use: bool,
    /// Every job needs it, so it never goes.
    #[serde(default)]
    pub is_needed: bool,
}

/// What lies here, and how much may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PulledImages {
    pub images: Vec<PulledImage>,
    #[ts(type = "number")]
    pub used_bytes: u64,
    #[ts(type = "number")]
    pub quota_bytes: u64,
}

/// An image on its way here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullNow {
    pub name: String,
    pub state: PullState,
    pub done_bytes: u64,
    /// `None` until the registry was asked.
    pub total_bytes: Option<u64>,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PullState {
    /// Another one comes first.
    Queued,
    Fetching,
    /// The owner is there, say.
    Held {
        reason: BlockReason,
    },
    /// The connection broke; it is tried again by itself.
    Retrying {
        detail: String,
    },
    /// Everything is here; the Engine unpacks it.
    Loading,
    /// It is tried again later where that may help, else when the owner asks for it or at the next start.
    Failed {
        why: ImageTrouble,
    },
}

/// The same with its sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PullLine {
    pub name: String,
    pub state: PullState,
    #[ts(type = "number")]
    pub done_bytes: u64,
    #[ts(type = "number | null")]
    pub total_bytes: Option<u64>,
    pub sentence: String,
}

impl PullLine {
    pub(crate) fn new(pull: &PullNow, texts: &Texts, clock: &dyn Fn(Timestamp) -> String) -> Self {
        let gb = |bytes: u64| traffic_gb(bytes >> 20);
        let mut values = vec![("name", pull.name.clone()), ("done", gb(pull.done_bytes))];
        let key = match (&pull.state, pull.total_bytes) {
            (PullState::Queued, _) => "pull-queued",
            (PullState::Fetching, None) => "pull-asking",
            (PullState::Fetching, Some(_)) => "pull-fetching",
            (PullState::Held { reason }, _) => {
                values.push(("reason", texts.reason(reason, clock)));
                "pull-held"
            }
            (PullState::Retrying { detail }, _) => {
                values.push(("detail", detail.clone()));
                "pull-retrying"
            }
            (PullState::Loading, _) => "pull-loading",
            (PullState::Failed { why }, _) => {
                values.push(("why", texts.image_trouble(why)));
                "pull-failed"
            }
        };
        values.extend(pull.total_bytes.map(|total| ("total", gb(total))));
        Self {
            name: pull.name.clone(),
            state: pull.state.clone(),
            done_bytes: pull.done_bytes,
            total_bytes: pull.total_bytes,
            sentence: texts.with(key, &values),
        }
    }
}

impl Texts {
    /// Why an image is not fetched or not removed, as a sentence.
    #[must_use]
    pub fn image_trouble(&self, trouble: &ImageTrouble) -> String {
        use ImageTrouble as T;
        let of = |key: &str, name: &str, value: &str| self.with(key, &[(name, value.to_owned())]);
        match trouble {
            T::Unknown { name } => of("image-trouble-unknown", "name", name),
            T::NoRegistry { name } => of("image-trouble-no-registry", "name", name),
            T::NotPulled { name } => of("image-trouble-not-pulled", "name", name),
            T::Needed { name, size_mib: None } => of("image-trouble-needed-absent", "name", name),
            T::Needed { name, size_mib: Some(size_mib) } => {
                let values = [("name", name.clone()), ("size", size_mib.to_string())];
                self.with("image-trouble-needed", &values)
            }
            T::InUse { name } => of("image-trouble-in-use", "name", name),
            T::Corrupt { digest } => {
                let values = [("digest", digest.clone()), ("times", MOST_CORRUPT.to_string())];
                self.with("image-trouble-corrupt", &values)
            }
            T::Unreachable { detail } => {
                let values = [("detail", detail.clone()), ("times", MOST_CUTS.to_string())];
                self.with("image-trouble-unreachable", &values)
            }
            T::Refused { detail } => of("image-trouble-refused", "detail", detail),
            T::OverQuota { needed_mib, quota_mib, used_mib } => {
                let values = [("needed", needed_mib), ("quota", quota_mib), ("used", used_mib)];
                self.with("image-trouble-over-quota", &values.map(|(name, mib)| (name, mib.to_string())))
            }
            T::Engine { why } => of("image-trouble-engine", "detail", &self.engine_trouble(why)),
            T::Disk { folder, detail } => {
                let values = [("folder", folder.clone()), ("detail", detail.clone())];
                self.with("image-trouble-disk", &values)
            }
            T::NoFolder => self.plain("image-trouble-no-folder"),
            T::HostEnding => self.plain("image-trouble-host-ending"),
        }
    }
}

#[cfg(test)]
mod tests {
    use nightjar_core::settings::Language;

    use super::*;

    #[test]
    fn each_state_is_told_with_what_it_knows() {
        let line = |state, total_bytes| {
            let pull = PullNow { name: "a:b".into(), state, done_bytes: 1_500_000_000, total_bytes };
            PullLine::new(&pull, Texts::of(Language::English), &|_| String::new()).sentence
        };
        assert_eq!(line(PullState::Fetching, Some(4_000_000_000)), "a:b: 1.5 of 4.0 GB fetched.");
        assert!(line(PullState::Fetching, None).contains("registry"));
        let reason = BlockReason::GameRunning { name: "Doom".into() };
        assert!(line(PullState::Held { reason }, None).contains("Doom"));
        let why = ImageTrouble::Refused { detail: "no such image".into() };
        assert!(line(PullState::Failed { why }, None).ends_with("no such image"));
    }
}
