//! What a tenant, and whoever rents, is told when a card is taken back: a class and a moment. Which game it was, which
//! program or which device is the owner's business alone.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::lease::EndReason;
use crate::policy::BlockReason;
use crate::time::Timestamp;

/// Why a card is taken back. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The owner uses the PC.
    OwnerBack,
    /// The owner needs the whole card.
    Game,
    /// The owner's hours are over.
    ScheduleClosed,
    TooHot,
    /// By the owner's hand, or its settings.
    OwnerStopped,
    /// The PC goes to sleep, or Nightjar ends on it.
    HostClosing,
    RenterStopped,
    BalanceExhausted,
    /// The tenant holds memory of the card that the owner keeps for the desktop.
    VramReserve,
    /// Its container's own files are more than the owner allows.
    DiskLimit,
    /// It mines, which the owner does not allow.
    Mining,
    /// Something on the PC, or on its way to the market, is not as it must be.
    Trouble,
}

impl Cause {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OwnerBack => "owner_back",
            Self::Game => "game",
            Self::ScheduleClosed => "schedule_closed",
            Self::TooHot => "too_hot",
            Self::OwnerStopped => "owner_stopped",
            Self::HostClosing => "host_closing",
            Self::RenterStopped => "renter_stopped",
            Self::BalanceExhausted => "balance_exhausted",
            Self::VramReserve => "vram_reserve",
            Self::DiskLimit => "disk_limit",
            Self::Mining => "mining",
            Self::Trouble => "trouble",
        }
    }

    /// The class of what blocks a card.
    #[must_use]
    pub fn of_block(reason: &BlockReason) -> Self {
        use BlockReason as R;
        match reason {
            R::UserHere { .. }
            | R::IdleInhibited { .. }
            | R::RemoteSession { .. }
            | R::OtherAccount { .. }
            | R::ControllerInUse { .. }
            | R::CpuBusy { .. }
            | R::VramScarce { .. } => Self::OwnerBack,
            R::GameRunning { .. } | R::FullScreen { .. } | R::GpuBusy { .. } => Self::Game,
            R::OutsideSchedule { .. } => Self::ScheduleClosed,
            R::TooHot { .. }
            | R::CoolingDown { .. }
            | R::TemperatureUnknown { .. }
            | R::TooHotForGood { .. } => Self::TooHot,
            R::TurnedOff
            | R::Snoozed { .. }
            | R::CardNotLent
            | R::ImageNotLent
            | R::SandboxUnwanted
            | R::NoImageLent
            | R::AfterLastJob { .. }
            | R::DataCapReached { .. } => Self::OwnerStopped,
            R::Suspending => Self::HostClosing,
            R::SettingsUnreadable { .. }
            | R::PresenceUnknown { .. }
            | R::OnBattery
            | R::MeteredNetwork
            | R::DiskLow { .. }
            | R::FilesLow { .. }
            | R::NoDocker { .. }
            | R::GatewayComing
            | R::GatewayFailed { .. }
            | R::NoGateway { .. }
            | R::KernelAsked
            | R::KernelLacks { .. }
            | R::UnsafeVersion { .. }
            | R::DriverTooOld { .. }
            | R::NoGpu { .. }
            | R::CoordinatorUnreachable { .. }
            | R::NoImage
            | R::ImageComing
            | R::NotEnrolled
            | R::NotVerified
            | R::OtherCurrency { .. }
            | R::BelowMinimumPrice { .. }
            | R::UpdateWaiting => Self::Trouble,
        }
    }

    /// The class of an end of which nothing more is known.
    #[must_use]
    pub fn of_end(reason: &EndReason) -> Self {
        match reason {
            EndReason::OwnerReturned | EndReason::FrozenTooLong => Self::OwnerBack,
            EndReason::OwnerStopped => Self::OwnerStopped,
            EndReason::RenterStopped => Self::RenterStopped,
            EndReason::BalanceExhausted => Self::BalanceExhausted,
            EndReason::HostRestarted => Self::HostClosing,
            EndReason::Declined
            | EndReason::OfferExpired
            | EndReason::SelfCheckFailed { .. }
            | EndReason::PreparationFailed { .. }
            | EndReason::ProofRefused { .. }
            | EndReason::WorkerDied { .. }
            | EndReason::HostLost
            | EndReason::Superseded => Self::Trouble,
        }
    }
}

/// What a tenant has to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Frozen until the cause is gone, and ended at the deadline if it is not.
    Freeze,
    /// Ended at the deadline.
    End,
}

/// A tenant is asked off the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parting {
    pub step: Step,
    pub cause: Cause,
    pub at: Timestamp,
    /// When it is ended at the latest.
    pub deadline: Timestamp,
}
