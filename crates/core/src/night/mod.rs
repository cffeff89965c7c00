//! The log of the night: what a span of time went into, for one card and for the PC, from what the journal holds.
//!
//! Each instant of a span belongs to exactly one [`Spent`], so an account adds up to its span to the millisecond,
//! whatever the clocks on the wall did meanwhile. Where several things were true at once, the order of [`Spent`]'s
//! variants decides, for a card and among the cards of a PC.

mod facts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::gpu::GpuUuid;
use crate::market::WaitReason;
use crate::policy::BlockReason;
use crate::time::Timestamp;

use facts::Standing;
pub use facts::{Fact, Happening};

/// What time goes into. For a PC with several cards the earliest variant that any of them is in counts: a PC earns
/// while one of its cards does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(tag = "spent", rename_all = "snake_case")]
pub enum Spent {
    /// A job ran; the only time that is paid.
    Earned,
    /// A job was on the card, frozen for the owner.
    Frozen,
    /// A job was being prepared.
    Preparing,
    /// A job was ending.
    Ending,
    /// It proved itself to its market, while no job was there.
    Proving,
    /// Nothing stood against a job, and none came.
    Waiting {
        why: Option<WaitReason>,
    },
    Blocked {
        by: Block,
    },
    /// The program ran and saw no card.
    NoCard,
    NotRunning {
        why: Absence,
    },
}

/// Why the program was not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// The PC slept while the program ran.
    Asleep,
    /// The program was ended, or was never started.
    Off,
    /// The program or the PC went down without an end.
    Crashed,
}

/// A [`BlockReason`] without what changes from minute to minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    UserHere,
    GameRunning,
    FullScreen,
    IdleInhibited,
    RemoteSession,
    OtherAccount,
    ControllerInUse,
    GpuBusy,
    CpuBusy,
    VramScarce,
    TooHot,
    TemperatureUnknown,
    Suspending,
    OnBattery,
    MeteredNetwork,
    OutsideSchedule,
    Snoozed,
    TurnedOff,
    CardNotLent,
    AfterLastJob,
    UpdateWaiting,
    Price,
    Unreachable,
    NotEnrolled,
    NotVerified,
    DiskLow,
    DataCap,
    NoDocker,
    NoGateway,
    NoImage,
    Kernel,
    UnsafeVersion,
    DriverTooOld,
    NoGpu,
    PresenceUnknown,
    SettingsUnreadable,
}

impl From<&BlockReason> for Block {
    fn from(reason: &BlockReason) -> Self {
        use BlockReason as R;
        match reason {
            R::TurnedOff => Self::TurnedOff,
            R::Snoozed { .. } => Self::Snoozed,
            R::SettingsUnreadable { .. } => Self::SettingsUnreadable,
            R::OutsideSchedule { .. } => Self::OutsideSchedule,
            R::UserHere { .. } => Self::UserHere,
            R::PresenceUnknown { .. } => Self::PresenceUnknown,
            R::GameRunning { .. } => Self::GameRunning,
            R::FullScreen { .. } => Self::FullScreen,
            R::IdleInhibited { .. } => Self::IdleInhibited,
            R::RemoteSession { .. } => Self::RemoteSession,
            R::OtherAccount { .. } => Self::OtherAccount,
            R::ControllerInUse { .. } => Self::ControllerInUse,
            R::GpuBusy { .. } => Self::GpuBusy,
            R::CpuBusy { .. } => Self::CpuBusy,
            R::OnBattery => Self::OnBattery,
            R::MeteredNetwork => Self::MeteredNetwork,
            R::TooHot { .. } | R::CoolingDown { .. } | R::TooHotForGood { .. } => Self::TooHot,
            R::TemperatureUnknown { .. } => Self::TemperatureUnknown,
            R::DiskLow { .. } | R::FilesLow { .. } => Self::DiskLow,
            R::DataCapReached { .. } => Self::DataCap,
            R::NoDocker { .. } => Self::NoDocker,
            R::GatewayComing | R::GatewayFailed { .. } | R::NoGateway { .. } => Self::NoGateway,
            R::KernelAsked | R::KernelLacks { .. } => Self::Kernel,
            R::UnsafeVersion { .. } => Self::UnsafeVersion,
            R::DriverTooOld { .. } => Self::DriverTooOld,
            R::NoGpu { .. } => Self::NoGpu,
            R::CoordinatorUnreachable { .. } => Self::Unreachable,
            R::NotEnrolled => Self::NotEnrolled,
            R::NotVerified => Self::NotVerified,
            R::BelowMinimumPrice { .. } | R::OtherCurrency { .. } => Self::Price,
            R::UpdateWaiting => Self::UpdateWaiting,
            R::Suspending => Self::Suspending,
            // An answer to one lease; of a card nothing like it is ever written down.
            R::CardNotLent | R::ImageNotLent | R::SandboxUnwanted => Self::CardNotLent,
            R::NoImage | R::ImageComing | R::NoImageLent => Self::NoImage,
            R::VramScarce { .. } => Self::VramScarce,
            R::AfterLastJob { .. } => Self::AfterLastJob,
        }
    }
}

/// So much time went into one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Part {
    pub spent: Spent,
    #[ts(type = "number")]
    pub ms: u64,
}

/// An unbroken stretch of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Stretch {
    pub from: Timestamp,
    pub to: Timestamp,
    pub spent: Spent,
}

/// Where the time of one card went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CardAccount {
    pub gpu: GpuUuid,
    pub parts: Vec<Part>,
    /// Without gaps from the beginning of the span to its end.
    pub stretches: Vec<Stretch>,
}

/// Where the time of a PC went. All parts, and all stretches, add up to `until - since`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Account {
    pub since: Timestamp,
    pub until: Timestamp,
    pub parts: Vec<Part>,
    pub stretches: Vec<Stretch>,
    pub cards: Vec<CardAccount>,
}

/// The account of `[since, until)`. `facts` are in any order; what happened before `since` is needed only as far as it
/// still held then. A span that is the wrong way round is empty.
#[must_use]
pub fn account(facts: &[Fact], since: Timestamp, until: Timestamp) -> Account {
    let until = until.max(since);
    let mut ordered: Vec<&Fact> = facts.iter().filter(|fact| fact.at < until).collect();
    ordered.sort_by_key(|fact| (fact.at, fact.order));
    let mut standing = Standing::default();
    let mut whole = Strip::default();
    let mut cards: BTreeMap<GpuUuid, Strip> =
        ordered.iter().filter_map(|fact| fact.gpu()).map(|gpu| (gpu.clone(), Strip::default())).collect();
    let mut here = since;
    let mut next = ordered.into_iter().peekable();
    while here < until {
        while let Some(fact) = next.next_if(|fact| fact.at <= here) {
            standing.take(fact);
        }
        let there = next.peek().map_or(until, |fact| fact.at);
        let stretch = |spent| Stretch { from: here, to: there, spent };
        whole.push(stretch(standing.of_pc()));
        for (gpu, strip) in &mut cards {
            strip.push(stretch(standing.of_card(gpu)));
        }
        here = there;
    }
    let cards = cards.into_iter().filter(|(_, strip)| strip.was_seen());
    let cards = cards.map(|(gpu, strip)| CardAccount { gpu, parts: strip.parts(), stretches: strip.0 });
    Account { since, until, parts: whole.parts(), cards: cards.collect(), stretches: whole.0 }
}

#[derive(Default)]
struct Strip(Vec<Stretch>);

impl Strip {
    fn push(&mut self, fresh: Stretch) {
        match self.0.last_mut() {
            Some(last) if last.spent == fresh.spent => last.to = fresh.to,
            _ => self.0.push(fresh),
        }
    }

    fn parts(&self) -> Vec<Part> {
        let mut sums: BTreeMap<Spent, u64> = BTreeMap::new();
        for stretch in &self.0 {
            *sums.entry(stretch.spent).or_default() += stretch.to.since_ms(stretch.from);
        }
        sums.into_iter().map(|(spent, ms)| Part { spent, ms }).collect()
    }

    /// A card that was taken out before this span is not part of its account.
    fn was_seen(&self) -> bool {
        self.0.iter().any(|stretch| !matches!(stretch.spent, Spent::NoCard | Spent::NotRunning { .. }))
    }
}
