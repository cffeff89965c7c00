//! The log of the night in words: what `nightjar why` and the window say of a span of time.

use nightjar_core::gpu::GpuUuid;
use nightjar_core::lease::LeaseId;
use nightjar_core::market::WaitReason;
use nightjar_core::night::{Absence, Account, Block, Part, Spent};
use nightjar_core::settings::{GiveBack, Language};
use nightjar_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::text::Texts;

/// Most stretches of the timeline in one answer, the latest.
const MOST_STRETCHES: usize = 400;

/// What went into how much time, with its words: "20 min too hot".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SpentPart {
    #[serde(flatten)]
    pub part: Part,
    pub text: String,
}

/// A day, or another span, in one sentence and in parts that add up to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Summary {
    pub since: Timestamp,
    pub until: Timestamp,
    pub sentence: String,
    pub parts: Vec<SpentPart>,
}

/// One card's time, where there are several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CardSummary {
    pub gpu: GpuUuid,
    pub sentence: String,
    pub parts: Vec<SpentPart>,
}

/// A line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct TimelineEntry {
    pub from: Timestamp,
    pub to: Timestamp,
    #[serde(flatten)]
    pub spent: Spent,
    pub text: String,
}

/// A card that was given back, with what was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GivenBack {
    pub lease: LeaseId,
    pub at: Timestamp,
    /// From the decision to the frozen container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(type = "number | null")]
    pub frozen_us: Option<u64>,
    /// From the owner's input to the frozen container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(type = "number | null")]
    pub input_ms: Option<u64>,
    /// From the decision to end the tenant to its memory being free, as the driver says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(type = "number | null")]
    pub vram_free_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<GiveBack>,
}

/// The answer to "why?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Night {
    pub summary: Summary,
    /// Left empty where there is one card: it is the summary.
    pub cards: Vec<CardSummary>,
    /// Without gaps; the latest where there are very many.
    pub timeline: Vec<TimelineEntry>,
    pub timeline_is_cut: bool,
    pub give_backs: Vec<GivenBack>,
}

impl Summary {
    #[must_use]
    pub fn of(account: &Account, language: Language) -> Self {
        let texts = Texts::of(language);
        let parts = worded(&account.parts, texts);
        let sentence = sentence(&parts, texts);
        Self { since: account.since, until: account.until, sentence, parts }
    }
}

impl Night {
    #[must_use]
    pub fn of(account: &Account, give_backs: Vec<GivenBack>, language: Language) -> Self {
        let texts = Texts::of(language);
        let cards = if account.cards.len() > 1 { account.cards.as_slice() } else { &[] };
        let cards = cards.iter().map(|card| {
            let parts = worded(&card.parts, texts);
            CardSummary { gpu: card.gpu.clone(), sentence: sentence(&parts, texts), parts }
        });
        let left_out = account.stretches.len().saturating_sub(MOST_STRETCHES);
        let timeline = account.stretches.iter().skip(left_out).map(|stretch| TimelineEntry {
            from: stretch.from,
            to: stretch.to,
            spent: stretch.spent,
            text: texts.spent(stretch.spent),
        });
        Self {
            summary: Summary::of(account, language),
            cards: cards.collect(),
            timeline: timeline.collect(),
            timeline_is_cut: left_out > 0,
            give_backs,
        }
    }
}

/// What was earned first, then the longest first.
fn worded(parts: &[Part], texts: &Texts) -> Vec<SpentPart> {
    let mut parts = parts.to_vec();
    parts.sort_by_key(|part| (part.spent != Spent::Earned, std::cmp::Reverse(part.ms), part.spent));
    parts.into_iter().map(|part| SpentPart { part, text: texts.spent_for(part) }).collect()
}

/// A moment of "0 s" tells nobody anything; it stays in the parts, which add up.
fn sentence(parts: &[SpentPart], texts: &Texts) -> String {
    let is_said = |part: &&SpentPart| part.part.ms >= 1_000;
    let texts_of: Vec<&str> = parts.iter().filter(is_said).map(|part| part.text.as_str()).collect();
    texts_of.join(&texts.plain("night-comma"))
}

impl Texts {
    /// `5 h 12 min`, `20 min`, `40 s`.
    #[must_use]
    pub fn duration(&self, ms: u64) -> String {
        let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        let values = |a: u64, b: u64| [("a", a.to_string()), ("b", b.to_string())];
        match (hours, minutes) {
            (0, 0) => self.with("night-seconds", &[("a", seconds.to_string())]),
            (0, minutes) => self.with("night-minutes", &[("a", minutes.to_string())]),
            (hours, 0) => self.with("night-hours", &[("a", hours.to_string())]),
            (hours, minutes) => self.with("night-hours-minutes", &values(hours, minutes)),
        }
    }

    /// So much time, and what it went into: "waited 1 h for a job (no demand for 12 GB cards)".
    #[must_use]
    pub fn spent_for(&self, part: Part) -> String {
        let time = || ("time", self.duration(part.ms));
        match part.spent {
            Spent::Earned => self.with("night-earned-for", &[time()]),
            Spent::Waiting { why: None } => self.with("night-waited-for", &[time()]),
            Spent::Waiting { why: Some(why) } => {
                self.with("night-waited-for-why", &[time(), ("why", self.wait_reason(why))])
            }
            other => self.with("night-part", &[time(), ("what", self.spent(other))]),
        }
    }

    /// What time went into: "waited for a job (no demand for 12 GB cards)".
    #[must_use]
    pub fn spent(&self, spent: Spent) -> String {
        match spent {
            Spent::Earned => self.plain("night-earned"),
            Spent::Frozen => self.plain("night-frozen"),
            Spent::Preparing => self.plain("night-preparing"),
            Spent::Ending => self.plain("night-ending"),
            Spent::Proving => self.plain("night-proving"),
            Spent::Waiting { why: None } => self.plain("night-waiting"),
            Spent::Waiting { why: Some(why) } => {
                self.with("night-waiting-why", &[("why", self.wait_reason(why))])
            }
            Spent::Blocked { by } => self.plain(block_key(by)),
            Spent::NoCard => self.plain("night-no-card"),
            Spent::NotRunning { why: Absence::Asleep } => self.plain("night-asleep"),
            Spent::NotRunning { why: Absence::Off } => self.plain("night-off"),
            Spent::NotRunning { why: Absence::Crashed } => self.plain("night-crashed"),
        }
    }

    /// Why no job comes, as the market says.
    #[must_use]
    pub fn wait_reason(&self, why: WaitReason) -> String {
        match why {
            WaitReason::NoDemand { vram_gib } => {
                self.with("wait-no-demand", &[("vram", vram_gib.to_string())])
            }
            WaitReason::PriceAboveMarket => self.plain("wait-price"),
            WaitReason::Region => self.plain("wait-region"),
            WaitReason::NotItsTurn => self.plain("wait-not-its-turn"),
            WaitReason::CheckFailed { why } => {
                self.with("wait-check-failed", &[("why", self.proof_fault(why))])
            }
        }
    }
}

fn block_key(by: Block) -> &'static str {
    match by {
        Block::UserHere => "night-user-here",
        Block::GameRunning => "night-game",
        Block::FullScreen => "night-full-screen",
        Block::IdleInhibited => "night-inhibited",
        Block::RemoteSession => "night-remote",
        Block::OtherAccount => "night-other-account",
        Block::ControllerInUse => "night-controller",
        Block::GpuBusy => "night-gpu-busy",
        Block::CpuBusy => "night-cpu-busy",
        Block::TooHot => "night-too-hot",
        Block::TemperatureUnknown => "night-temperature-unknown",
        Block::VramScarce => "night-vram-scarce",
        Block::Suspending => "night-suspending",
        Block::CardNotLent => "night-card-not-lent",
        Block::OnBattery => "night-battery",
        Block::MeteredNetwork => "night-metered",
        Block::OutsideSchedule => "night-schedule",
        Block::Snoozed => "night-snoozed",
        Block::TurnedOff => "night-turned-off",
        Block::AfterLastJob => "night-last-job",
        Block::UpdateWaiting => "night-update",
        Block::Price => "night-price",
        Block::Unreachable => "night-unreachable",
        Block::NotEnrolled => "night-not-enrolled",
        Block::NotVerified => "night-not-verified",
        Block::DiskLow => "night-disk-low",
        Block::DataCap => "night-data-cap",
        Block::NoDocker => "night-no-docker",
        Block::NoGateway => "night-no-gateway",
        Block::NoImage => "night-no-image",
        Block::Kernel => "night-kernel",
        Block::UnsafeVersion => "night-unsafe-version",
        Block::DriverTooOld => "night-driver-old",
        Block::NoGpu => "night-no-gpu",
        Block::PresenceUnknown => "night-presence-unknown",
        Block::SettingsUnreadable => "night-settings-unreadable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightjar_core::night::Stretch;
    use nightjar_core::proof::ProofFault;

    fn part(spent: Spent, minutes: u64) -> Part {
        Part { spent, ms: minutes * 60_000 }
    }

    fn account() -> Account {
        let parts = vec![
            part(Spent::Earned, 312),
            part(Spent::Waiting { why: Some(WaitReason::NoDemand { vram_gib: 12 }) }, 60),
            part(Spent::Blocked { by: Block::UserHere }, 40),
            part(Spent::Blocked { by: Block::TooHot }, 20),
        ];
        let stretch = Stretch { from: Timestamp(0), to: Timestamp(60_000), spent: Spent::Earned };
        Account {
            since: Timestamp(0),
            until: Timestamp(432 * 60_000),
            parts,
            stretches: vec![stretch; MOST_STRETCHES + 3],
            cards: Vec::new(),
        }
    }

    #[test]
    fn a_night_is_one_sentence() {
        let sentence = Summary::of(&account(), Language::English).sentence;
        assert_eq!(
            sentence,
            "earned 5 h 12 min, waited 1 h for a job (no demand for 12 GB cards), 40 min you were here, 20 min too hot"
        );
        let sentence = Summary::of(&account(), Language::SimplifiedChinese).sentence;
        assert_eq!(
            sentence,
            "赚钱 5 小时 12 分，等任务 1 小时（12 GB 显卡没有需求），你在用电脑 40 分，温度过高 20 分"
        );
    }

    #[test]
    fn a_timeline_is_bounded_and_says_so() {
        let night = Night::of(&account(), Vec::new(), Language::English);
        assert_eq!((night.timeline.len(), night.timeline_is_cut), (MOST_STRETCHES, true));
    }

    #[test]
    fn everything_that_time_goes_into_has_words_of_its_own() {
        let blocks = [
            Block::UserHere,
            Block::GameRunning,
            Block::FullScreen,
            Block::IdleInhibited,
            Block::RemoteSession,
            Block::OtherAccount,
            Block::ControllerInUse,
            Block::GpuBusy,
            Block::CpuBusy,
            Block::TooHot,
            Block::OnBattery,
            Block::TemperatureUnknown,
            Block::VramScarce,
            Block::Suspending,
            Block::CardNotLent,
            Block::MeteredNetwork,
            Block::OutsideSchedule,
            Block::Snoozed,
            Block::TurnedOff,
            Block::AfterLastJob,
            Block::UpdateWaiting,
            Block::Price,
            Block::Unreachable,
            Block::NotEnrolled,
            Block::NotVerified,
            Block::DiskLow,
            Block::DataCap,
            Block::NoDocker,
            Block::NoGateway,
            Block::NoImage,
            Block::Kernel,
            Block::UnsafeVersion,
            Block::DriverTooOld,
            Block::NoGpu,
            Block::PresenceUnknown,
            Block::SettingsUnreadable,
        ];
        let waits = [
            None,
            Some(WaitReason::NoDemand { vram_gib: 12 }),
            Some(WaitReason::PriceAboveMarket),
            Some(WaitReason::Region),
            Some(WaitReason::NotItsTurn),
            Some(WaitReason::CheckFailed { why: ProofFault::OwnCheck }),
        ];
        let others = [
            Spent::Earned,
            Spent::Frozen,
            Spent::Preparing,
            Spent::Ending,
            Spent::Proving,
            Spent::NoCard,
            Spent::NotRunning { why: Absence::Asleep },
            Spent::NotRunning { why: Absence::Off },
            Spent::NotRunning { why: Absence::Crashed },
        ];
        let all = blocks.map(|by| Spent::Blocked { by }).into_iter();
        let all: Vec<Spent> = all.chain(waits.map(|why| Spent::Waiting { why })).chain(others).collect();
        for language in [Language::English, Language::SimplifiedChinese] {
            let texts = Texts::of(language);
            let said: std::collections::BTreeSet<String> = all.iter().map(|s| texts.spent(*s)).collect();
            assert_eq!(said.len(), all.len());
            assert!(
                said.iter().all(|text| !text.contains('$')
                    && !text.starts_with("night-")
                    && !text.contains("wait-"))
            );
        }
    }
}
