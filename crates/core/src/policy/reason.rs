//! Why a card does not earn, and what that means for a job.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{DiskSpace, EngineTrouble, KernelHome, KernelPart, UnsafeVersion};
use crate::gpu::GpuTrouble;
use crate::images::ImageTrouble;
use crate::money::{Currency, Money};
use crate::parting::Cause;
use crate::settings::GiveBack;
use crate::thermal::Doubt;
use crate::time::Timestamp;

/// Files that a file system must still be able to make: a few large games' worth.
const FILES_RESERVE: u64 = 50_000;

/// Why a card does not earn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BlockReason {
    TurnedOff,
    Snoozed {
        until: Timestamp,
    },
    SettingsUnreadable {
        detail: String,
    },
    OutsideSchedule {
        opens_at: Option<Timestamp>,
    },
    UserHere {
        #[ts(type = "number")]
        idle_ms: u64,
        #[ts(type = "number")]
        needed_ms: u64,
    },
    /// It cannot be seen whether somebody is there.
    PresenceUnknown {
        detail: String,
    },
    GameRunning {
        name: String,
    },
    FullScreen {
        name: String,
    },
    IdleInhibited {
        by: String,
    },
    RemoteSession {
        name: String,
    },
    /// Somebody sits at this PC in another session than the one whose input is heard.
    OtherAccount {
        name: String,
    },
    ControllerInUse {
        name: String,
    },
    GpuBusy {
        process: String,
    },
    CpuBusy {
        percent: u32,
    },
    OnBattery,
    MeteredNetwork,
    TooHot {
        celsius: u32,
        ceiling_celsius: u32,
    },
    /// It was at the ceiling and is not cool enough yet.
    CoolingDown {
        celsius: u32,
        resume_celsius: u32,
    },
    /// Its thermometer cannot be believed.
    TemperatureUnknown {
        doubt: Doubt,
    },
    /// At the ceiling too often in an hour: until then, or until the owner says otherwise.
    TooHotForGood {
        trips: u32,
        until: Timestamp,
    },
    DiskLow {
        #[ts(type = "number")]
        free_mib: u64,
        #[ts(type = "number")]
        needed_mib: u64,
        /// Where. Empty in what was written down before it was known.
        #[serde(default)]
        folder: String,
    },
    /// The file system runs out of files that it can make, whatever room it has.
    FilesLow {
        #[ts(type = "number")]
        free: u64,
        #[ts(type = "number")]
        needed: u64,
        folder: String,
    },
    /// What may be carried in a month is used up, until the next one begins.
    DataCapReached {
        #[ts(type = "number")]
        cap_mib: u64,
        /// A job that runs ends, as the owner chose.
        stops: bool,
        until: Timestamp,
    },
    NoDocker {
        detail: String,
        /// `None` where nobody has looked yet, and in what was written down before it was known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<EngineTrouble>,
    },
    /// The image that every job runs behind is being fetched.
    GatewayComing,
    /// It could not be fetched.
    GatewayFailed {
        why: ImageTrouble,
        again_at: Timestamp,
    },
    /// It is not here, and lies in no registry.
    NoGateway {
        reference: String,
    },
    /// Whether the kernel under the Engine has what a gateway is made of is being found out.
    KernelAsked,
    /// It has not: every job would end before it began.
    KernelLacks {
        parts: Vec<KernelPart>,
        home: KernelHome,
    },
    UnsafeVersion {
        version: UnsafeVersion,
    },
    DriverTooOld {
        found: String,
        needed: u32,
    },
    NoGpu {
        trouble: GpuTrouble,
    },
    /// The card sleeps and is left alone while nothing else is known of it.
    CoordinatorUnreachable {
        since: Timestamp,
        detail: String,
    },
    NotEnrolled,
    NotVerified,
    /// The owner's prices are in another currency than the market's books.
    OtherCurrency {
        market: Currency,
        own: Currency,
    },
    BelowMinimumPrice {
        minimum: Money,
    },
    UpdateWaiting,
    /// The PC is about to sleep.
    Suspending,
    /// The owner does not lend this card.
    CardNotLent,
    /// The owner does not lend the card to the image that a lease wants.
    ImageNotLent,
    /// A lease wants no gVisor, and here it would run in it.
    SandboxUnwanted,
    /// No image that could be lent is on this PC.
    NoImage,
    /// The same, while one is being fetched.
    ImageComing,
    /// There are some, and the owner lends the card to none of them.
    NoImageLent,
    /// The owner is back, and the tenant's memory leaves the desktop too little.
    VramScarce {
        #[ts(type = "number")]
        free_mib: u64,
        #[ts(type = "number")]
        needed_mib: u64,
    },
    /// The owner asked to stop after the last job.
    AfterLastJob {
        until: Timestamp,
    },
}

/// What a reason means for a job that is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Impact {
    /// No new job; one that runs goes on (its usage is kept until it can be told).
    HoldNew,
    /// The tenant goes on within the bounds that the owner set for sharing.
    Restrain,
    /// The tenant is frozen at once and free of charge until the reason is gone.
    Freeze,
    /// The card is needed, or cannot be lent at all: the job ends.
    Evict,
}

impl BlockReason {
    #[must_use]
    pub fn disk_low(disk: &DiskSpace, needed_mib: u64) -> Self {
        Self::DiskLow { free_mib: disk.free_mib, needed_mib, folder: disk.folder.clone() }
    }

    /// Where a renter could leave the PC too few files to make, though it has room.
    #[must_use]
    pub fn files_low(disk: &DiskSpace) -> Option<Self> {
        let free = disk.free_files.filter(|free| *free < FILES_RESERVE)?;
        Some(Self::FilesLow { free, needed: FILES_RESERVE, folder: disk.folder.clone() })
    }

    #[must_use]
    pub fn no_docker(why: &EngineTrouble) -> Self {
        Self::NoDocker { detail: why.to_string(), why: Some(why.clone()) }
    }

    /// The same for the market, to which it is nothing which game, program, session or folder it was.
    #[must_use]
    pub fn unnamed(self) -> Self {
        let none = String::new;
        match self {
            Self::SettingsUnreadable { .. } => Self::SettingsUnreadable { detail: none() },
            Self::PresenceUnknown { .. } => Self::PresenceUnknown { detail: none() },
            Self::GameRunning { .. } => Self::GameRunning { name: none() },
            Self::FullScreen { .. } => Self::FullScreen { name: none() },
            Self::IdleInhibited { .. } => Self::IdleInhibited { by: none() },
            Self::RemoteSession { .. } => Self::RemoteSession { name: none() },
            Self::ControllerInUse { .. } => Self::ControllerInUse { name: none() },
            Self::GpuBusy { .. } => Self::GpuBusy { process: none() },
            Self::DiskLow { free_mib, needed_mib, .. } => {
                Self::DiskLow { free_mib, needed_mib, folder: none() }
            }
            Self::NoDocker { .. } => Self::NoDocker { detail: none(), why: None },
            Self::FilesLow { .. } => Self::DiskLow { free_mib: 0, needed_mib: 0, folder: none() },
            // Kinds that a market of an earlier version does not know, some with details of this PC.
            Self::GatewayFailed { .. } => Self::GatewayComing,
            Self::KernelAsked | Self::KernelLacks { .. } => Self::NoDocker { detail: none(), why: None },
            Self::ImageNotLent | Self::NoImage | Self::ImageComing | Self::NoImageLent => Self::CardNotLent,
            Self::OtherAccount { .. } => Self::UserHere { idle_ms: 0, needed_ms: 0 },
            other => other,
        }
    }

    /// What it means where the owner gives back in this way.
    #[must_use]
    pub fn impact(&self, give_back: GiveBack) -> Impact {
        match self {
            Self::UserHere { .. } if give_back == GiveBack::Share => Impact::Restrain,
            // Half of what the owner keeps is gone: whoever writes must stop, and a frozen tenant frees nothing.
            Self::DiskLow { free_mib, needed_mib, .. } if free_mib * 2 < *needed_mib => Impact::Evict,
            Self::FilesLow { free, needed, .. } if free * 2 < *needed => Impact::Evict,
            Self::CoordinatorUnreachable { .. }
            | Self::NotEnrolled
            | Self::NotVerified
            | Self::OtherCurrency { .. }
            | Self::BelowMinimumPrice { .. }
            | Self::UpdateWaiting
            | Self::ImageNotLent
            | Self::SandboxUnwanted
            | Self::NoImage
            | Self::ImageComing
            | Self::NoImageLent
            | Self::AfterLastJob { .. }
            | Self::DiskLow { .. }
            | Self::FilesLow { .. }
            | Self::DataCapReached { stops: false, .. }
            | Self::GatewayComing
            | Self::GatewayFailed { .. }
            | Self::NoGateway { .. }
            | Self::KernelAsked
            | Self::KernelLacks { .. }
            | Self::UnsafeVersion { .. } => Impact::HoldNew,
            Self::UserHere { .. }
            | Self::PresenceUnknown { .. }
            | Self::IdleInhibited { .. }
            | Self::RemoteSession { .. }
            | Self::OtherAccount { .. }
            | Self::ControllerInUse { .. }
            | Self::CpuBusy { .. }
            | Self::OnBattery
            | Self::MeteredNetwork
            | Self::CoolingDown { .. }
            | Self::TemperatureUnknown { .. }
            | Self::TooHot { .. } => Impact::Freeze,
            Self::TurnedOff
            | Self::DataCapReached { stops: true, .. }
            | Self::Suspending
            | Self::CardNotLent
            | Self::VramScarce { .. }
            | Self::Snoozed { .. }
            | Self::SettingsUnreadable { .. }
            | Self::OutsideSchedule { .. }
            | Self::GameRunning { .. }
            | Self::FullScreen { .. }
            | Self::GpuBusy { .. }
            | Self::NoDocker { .. }
            | Self::DriverTooOld { .. }
            | Self::TooHotForGood { .. }
            | Self::NoGpu { .. } => Impact::Evict,
        }
    }
}

/// The answer for one card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    Earn,
    Blocked {
        /// Never empty; the most useful first.
        reasons: Vec<BlockReason>,
        /// When the answer may change by time alone.
        next_change: Option<Timestamp>,
    },
}

impl Verdict {
    /// Empty when nothing blocks.
    #[must_use]
    pub fn reasons(&self) -> &[BlockReason] {
        match self {
            Self::Earn => &[],
            Self::Blocked { reasons, .. } => reasons,
        }
    }

    /// The gravest of its reasons; `None` when nothing blocks.
    #[must_use]
    pub fn impact(&self, give_back: GiveBack) -> Option<Impact> {
        match self {
            Self::Earn => None,
            Self::Blocked { reasons, .. } => reasons.iter().map(|reason| reason.impact(give_back)).max(),
        }
    }

    /// The class of the first of its gravest reasons: for this a job is frozen or ends.
    #[must_use]
    pub fn cause(&self, give_back: GiveBack) -> Cause {
        self.gravest(give_back).map_or(Cause::OwnerBack, Cause::of_block)
    }

    /// The first of its gravest reasons; `None` when nothing blocks.
    #[must_use]
    pub fn gravest(&self, give_back: GiveBack) -> Option<&BlockReason> {
        let gravest = self.impact(give_back);
        self.reasons().iter().find(|reason| Some(reason.impact(give_back)) == gravest)
    }

    /// Somebody uses this PC, and does not share the card meanwhile.
    #[must_use]
    pub fn is_for_the_owner(&self, give_back: GiveBack) -> bool {
        let counts = |reason: &BlockReason| {
            let is_use = matches!(Cause::of_block(reason), Cause::OwnerBack | Cause::Game);
            is_use && reason.impact(give_back) >= Impact::Freeze
        };
        self.reasons().iter().any(counts)
    }

    /// A job that runs may go on.
    #[must_use]
    pub fn allows_running(&self, give_back: GiveBack) -> bool {
        self.impact(give_back).is_none_or(|impact| impact <= Impact::Restrain)
    }
}
