//! Every cause that can move the host.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::conduct::MiningSign;
use crate::demand::DemandFigures;
use crate::gpu::{DriverInfo, GpuReading, GpuTrouble, GpuUuid};
use crate::images::TaskKind;
use crate::lease::{EndReason, Epoch, LeaseId, LeaseTerms, WorkerAccess};
use crate::line_check::LineFigures;
use crate::market::{HostAccount, MarketTerms, WaitReason};
use crate::money::Currency;
use crate::policy::{DiskSpace, GatewayFailure, Presence, Runtime};
use crate::power::HelperStanding;
use crate::preset::Preset;
use crate::proof::Nonce;
use crate::settings::{Settings, Sharing};
use crate::settings_fault::SettingsFault;
use crate::signal::Sign;
use crate::sweep::Curves;
use crate::time::Timestamp;

use super::effect::{CheckAnswer, StoredLease};
use super::sweeping::SweepWish;

/// A closed list: a new sensor is a new variant, and the compiler names every place that must know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "input", content = "data", rename_all = "snake_case")]
pub enum Input {
    /// A moment named by `next_deadline` has come.
    Deadline,
    Presence(Presence),
    Sign(Sign),
    /// A newer version waits to be installed.
    UpdateWaiting {
        is_waiting: bool,
    },
    /// Whether the wall shows another time than the moments that come with inputs, and goes on to.
    ClockOff {
        is_off: bool,
    },
    /// Whether power limits can be set here.
    Helper(HelperStanding),
    Gpus(GpuReport),
    /// At the start: whether the system tells that a card sleeps without anybody asking the card.
    PowerStates {
        are_told: bool,
    },
    Runtime(Runtime),
    /// At the start: what each image of the catalogue is good for. One that is not listed is offered in any case.
    TaskKinds(Vec<(String, Vec<TaskKind>)>),
    /// How fetching the gateway's image failed; `None`: it is here, on its way, or not wished for.
    GatewayPull(Option<GatewayFailure>),
    /// Whether an image for renters was wished for and comes as soon as nothing holds it up.
    ImageComing {
        is_coming: bool,
    },
    /// What is free wherever images, containers and volumes lie, and where we write ourselves.
    Disks(Vec<DiskSpace>),
    /// What renters keep here, each with the size that it was promised.
    Volumes(Vec<(String, u64)>),
    /// What Nightjar carried in this calendar month, and when the next one begins.
    DataUsed {
        bytes: u64,
        resets_at: Timestamp,
    },
    /// The settings file is there and cannot be read: nothing is lent, the file stays.
    SettingsUnreadable {
        detail: String,
    },
    /// The owner's last word is in the settings file, or why it could not be written.
    SettingsSaved {
        trouble: Option<String>,
    },
    Market(MarketInput),
    Worker {
        lease: LeaseId,
        epoch: Epoch,
        event: WorkerEvent,
    },
    User(UserCommand),
    /// What a load of our own says.
    Load {
        gpu: GpuUuid,
        event: LoadEvent,
    },
    /// The measuring of the line is over, whatever came of it.
    LineChecked,
    /// At the start: what earlier sweeps have measured.
    Curves(Vec<(GpuUuid, Curves)>),
    /// The program ends: jobs end first, and no other is taken.
    Closing,
    /// At the start: the leases that the journal holds open, with what is left of their workers.
    Recovered(Vec<Survivor>),
}

/// What the driver answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum GpuReport {
    Readings {
        driver: DriverInfo,
        cards: Vec<GpuReading>,
    },
    Trouble {
        trouble: GpuTrouble,
    },
    /// It has been asked and does not answer, as one that hangs.
    Silent,
}

/// What the coordinator says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum MarketInput {
    /// Said before [`Self::Connected`].
    Terms(MarketTerms),
    Connected,
    Unreachable {
        detail: String,
    },
    NotEnrolled,
    Offer(Box<LeaseTerms>),
    Start {
        lease: LeaseId,
        epoch: Epoch,
    },
    End {
        lease: LeaseId,
        epoch: Epoch,
        reason: EndReason,
    },
    /// The host's money at the market; replaces what was said before.
    Account(HostAccount),
    /// Why no job comes to the cards on offer; replaces what was said before.
    Waiting {
        cards: Vec<(GpuUuid, WaitReason)>,
    },
    /// How much such cards as this host's are wanted; replaces what was said before.
    Demand {
        cards: Vec<(GpuUuid, DemandFigures)>,
    },
    /// The line is to be measured.
    CheckLine {
        ticket: String,
    },
    /// What the market measured of it; replaces what was said before.
    Line(LineFigures),
    /// A card that waits for a job is to prove itself.
    Check {
        gpu: GpuUuid,
        nonce: Nonce,
        within_ms: u64,
    },
}

/// What the hands report of a worker. Commands for one lease are carried out in order, so reports come in order too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkerEvent {
    /// Up, and the self-check passed.
    Ready {
        access: WorkerAccess,
    },
    SelfCheckFailed {
        cause: String,
    },
    PreparationFailed {
        cause: String,
    },
    Frozen {
        took_us: u64,
    },
    FreezeFailed {
        cause: String,
    },
    Thawed,
    ThawFailed {
        cause: String,
    },
    /// It failed, and is being removed, which may take as long as somebody is away.
    Failed {
        cause: String,
    },
    /// It is kept to these bounds of sharing; `None`: to none any more.
    Restrained {
        sharing: Option<Sharing>,
    },
    /// It is not, for what was asked.
    RestrainFailed {
        sharing: Option<Sharing>,
        cause: String,
    },
    /// What its container has written outside of its volume and its memory.
    DiskUsed {
        mib: u64,
    },
    /// What its container has read, written, sent and received since its start; told each minute.
    Moved {
        bytes: u64,
    },
    /// It mines, as far as can be seen.
    Mining {
        sign: MiningSign,
    },
    /// A sign of this kind is not there any more.
    MiningOver {
        sign: MiningSign,
    },
    /// No process of it is left.
    Gone {
        cause: String,
    },
}

/// What becomes of a load of our own: a sweep's, which is steady, or a check's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LoadEvent {
    /// So much work since its start, in a unit of its own.
    Work { done: u64 },
    /// What the check has found.
    Checked { answer: CheckAnswer },
    /// Nothing of it is left.
    Gone { cause: String },
}

/// What the owner says, through any front end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum UserCommand {
    SetEarning {
        on: bool,
    },
    Snooze {
        #[ts(type = "number")]
        for_ms: u64,
    },
    /// Until the game that runs now has ended.
    SnoozeForGame,
    /// Earn although the owner is there, the clock says otherwise or earning is turned off.
    EarnNow {
        #[ts(type = "number")]
        for_ms: u64,
        /// Also until the owner comes back after having left.
        until_back: bool,
    },
    /// Finish the job that runs, then take no other for this long.
    LastJob {
        #[ts(type = "number")]
        for_ms: u64,
    },
    /// Only the snooze; a last job stays the last.
    EndSnooze,
    EndOverrides,
    StopJob {
        lease: LeaseId,
    },
    /// What one card, or every one, may draw while it is rented; `None` leaves the limit as it is.
    SetPowerLimit {
        gpu: Option<GpuUuid>,
        limit: Option<PowerWish>,
    },
    /// Measure what each power limit yields, once the card is free.
    Sweep(SweepWish),
    /// Of one card, or of every one.
    StopSweep {
        gpu: Option<GpuUuid>,
    },
    /// Ask the market to take a card, or every one, that failed its check, and look again.
    RetryCheck {
        gpu: Option<GpuUuid>,
    },
    /// Write a preset's values into the settings.
    ApplyPreset {
        preset: Preset,
    },
    /// Price and tariff in another currency, their figures as they are.
    ReckonIn {
        currency: Currency,
    },
    /// What was changed from `base`, the settings as the front end had them, to `settings`; what others changed meanwhile
    /// stays. Without `base` all of it, also in place of a file that cannot be read.
    Save {
        settings: Box<Settings>,
        #[serde(default)]
        base: Option<Box<Settings>>,
    },
}

/// A power limit as the owner says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "unit", rename_all = "snake_case")]
pub enum PowerWish {
    Watts {
        watts: u32,
    },
    /// Of the card's default limit.
    Percent {
        percent: u32,
    },
}

/// Why a command was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CommandError {
    #[error("the settings file cannot be read, so nothing is changed in it; repair or remove it first")]
    SettingsUnreadable,
    #[error("a duration between 1 ms and {most_ms} ms is wanted")]
    Duration {
        #[ts(type = "number")]
        most_ms: u64,
    },
    #[error("no game is seen now that the snooze could end with; snooze for a time instead")]
    NoGame,
    #[error("there is no job {lease} on this host; `nightjar status` lists those that run")]
    NoSuchJob { lease: LeaseId },
    #[error("there is no card {gpu} in this PC; `nightjar status` lists those that are")]
    NoSuchCard { gpu: GpuUuid },
    #[error(
        "the driver does not manage the power limit of this card; it is rented with the limit that it has"
    )]
    NoPowerLimit,
    #[error("limits cannot be tried without the helper; `nightjar power status` says how to get it")]
    NoHelper,
    #[error("a sweep of this card is under way; `nightjar power sweep --stop` ends it")]
    SweepRuns,
    #[error("this card takes a power limit between {least} and {most} W")]
    PowerLimit { least: u32, most: u32 },
    #[error("somebody else changed the same setting at this moment; look at it again")]
    Overtaken,
    #[error("these settings are not taken: {detail}")]
    Settings {
        /// In English, as a terminal has it.
        detail: String,
        fault: SettingsFault,
    },
}

/// A stored lease and what was found of its worker at the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Survivor {
    pub stored: StoredLease,
    pub fate: WorkerFate,
}

/// What a restarted agent finds of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerFate {
    Running,
    /// It stands frozen, for all that is known: it is ended, and has its card until it is gone.
    Frozen,
    Gone,
}
