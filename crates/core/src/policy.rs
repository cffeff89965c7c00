//! May this card earn now? [`decide`] lists every reason against it, the most useful first.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::gpu::{DriverInfo, GpuReading, GpuTrouble};
use crate::money::Money;
use crate::settings::Settings;
use crate::time::Timestamp;

/// Oldest driver branch that serves CUDA 12.
pub const MIN_DRIVER_MAJOR: u32 = 525;

/// Is somebody using this PC?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Presence {
    /// Nothing has been heard of the sensor yet, or it cannot be had on this desktop.
    Unknown {
        detail: String,
    },
    /// Input was seen and has not ceased.
    Active {
        since: Timestamp,
    },
    Idle {
        since: Timestamp,
    },
}

/// Can containers run here?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Runtime {
    Unknown,
    Missing {
        detail: String,
    },
    Ready {
        /// Components older than the version that is known to be safe.
        unsafe_versions: Vec<UnsafeVersion>,
        /// Images that are present, e.g. `pytorch-cuda:lite`.
        images: Vec<String>,
    },
}

/// A component below its floor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct UnsafeVersion {
    pub component: String,
    pub found: String,
    pub floor: String,
    /// What the floor closes, e.g. `CVE-2024-21626`.
    pub advisory: String,
}

impl UnsafeVersion {
    /// How the owner names this version when accepting it.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{} {}", self.component, self.found)
    }
}

/// Where the market stands with this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Market {
    /// This host belongs to no market yet.
    NotEnrolled,
    Unreachable {
        since: Timestamp,
        detail: String,
    },
    Connected,
}

/// Signs of use beside input. Each is `None` or empty where its sensor sees nothing or is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Signals {
    pub game: Option<String>,
    pub full_screen: Option<String>,
    pub idle_inhibitor: Option<String>,
    pub remote_session: Option<String>,
    pub controller: Option<String>,
    pub foreign_cpu_percent: Option<u32>,
    pub on_battery: bool,
    pub metered_network: bool,
    pub update_waiting: bool,
}

/// All that is known of the PC. Facts of one card come beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Snapshot {
    pub presence: Presence,
    pub signals: Signals,
    pub runtime: Runtime,
    pub market: Market,
    pub driver: Option<DriverInfo>,
    pub gpu_trouble: Option<GpuTrouble>,
    #[ts(type = "number | null")]
    pub disk_free_mib: Option<u64>,
    /// Why the settings cannot be read, where they cannot.
    pub settings_trouble: Option<String>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            presence: Presence::Unknown { detail: String::new() },
            signals: Signals::default(),
            runtime: Runtime::Unknown,
            market: Market::NotEnrolled,
            driver: None,
            gpu_trouble: None,
            disk_free_mib: None,
            settings_trouble: None,
        }
    }
}

/// Choices that pass by themselves. None of them turns idle mode off for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Overrides {
    pub snoozed_until: Option<Timestamp>,
    /// No new job until then.
    pub last_job_until: Option<Timestamp>,
}

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
    DiskLow {
        #[ts(type = "number")]
        free_mib: u64,
        #[ts(type = "number")]
        needed_mib: u64,
    },
    NoDocker {
        detail: String,
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
    BelowMinimumPrice {
        minimum: Money,
    },
    UpdateWaiting,
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
    /// The tenant is frozen at once and free of charge until the reason is gone.
    Freeze,
    /// The card is needed, or cannot be lent at all: the job ends.
    Evict,
}

impl BlockReason {
    #[must_use]
    pub fn impact(&self) -> Impact {
        match self {
            Self::CoordinatorUnreachable { .. }
            | Self::NotEnrolled
            | Self::NotVerified
            | Self::BelowMinimumPrice { .. }
            | Self::UpdateWaiting
            | Self::AfterLastJob { .. }
            | Self::DiskLow { .. }
            | Self::UnsafeVersion { .. } => Impact::HoldNew,
            Self::UserHere { .. }
            | Self::PresenceUnknown { .. }
            | Self::IdleInhibited { .. }
            | Self::RemoteSession { .. }
            | Self::ControllerInUse { .. }
            | Self::CpuBusy { .. }
            | Self::OnBattery
            | Self::MeteredNetwork
            | Self::TooHot { .. } => Impact::Freeze,
            Self::TurnedOff
            | Self::Snoozed { .. }
            | Self::SettingsUnreadable { .. }
            | Self::OutsideSchedule { .. }
            | Self::GameRunning { .. }
            | Self::FullScreen { .. }
            | Self::GpuBusy { .. }
            | Self::NoDocker { .. }
            | Self::DriverTooOld { .. }
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
    /// The gravest of its reasons; `None` when nothing blocks.
    #[must_use]
    pub fn impact(&self) -> Option<Impact> {
        match self {
            Self::Earn => None,
            Self::Blocked { reasons, .. } => reasons.iter().map(BlockReason::impact).max(),
        }
    }

    /// A job that runs may go on.
    #[must_use]
    pub fn allows_running(&self) -> bool {
        self.impact().is_none_or(|impact| impact == Impact::HoldNew)
    }
}

/// Whether a job is on the card: a frozen one goes on sooner than a new one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    None,
    Held,
}

/// Decides for one card. `card` is `None` when no card can be read at all.
#[must_use]
pub fn decide(
    snapshot: &Snapshot,
    settings: &Settings,
    overrides: &Overrides,
    card: Option<&GpuReading>,
    job: Job,
    now: Timestamp,
) -> Verdict {
    let mut found = Findings::default();
    owner_choice(snapshot, settings, overrides, now, &mut found);
    use_of_the_pc(snapshot, settings, job, now, &mut found);
    fitness(snapshot, settings, card, &mut found);
    market(snapshot, &mut found);
    if found.reasons.is_empty() {
        Verdict::Earn
    } else {
        Verdict::Blocked { reasons: found.reasons, next_change: found.next_change }
    }
}

#[derive(Default)]
struct Findings {
    reasons: Vec<BlockReason>,
    next_change: Option<Timestamp>,
}

impl Findings {
    fn add(&mut self, reason: BlockReason) {
        self.reasons.push(reason);
    }

    fn add_until(&mut self, reason: BlockReason, until: Timestamp) {
        self.reasons.push(reason);
        self.next_change = Some(self.next_change.map_or(until, |sooner| sooner.min(until)));
    }
}

fn owner_choice(
    snapshot: &Snapshot,
    settings: &Settings,
    overrides: &Overrides,
    now: Timestamp,
    found: &mut Findings,
) {
    if let Some(detail) = &snapshot.settings_trouble {
        found.add(BlockReason::SettingsUnreadable { detail: detail.clone() });
    }
    if !settings.earn_while_idle {
        found.add(BlockReason::TurnedOff);
    }
    if let Some(until) = overrides.snoozed_until.filter(|until| *until > now) {
        found.add_until(BlockReason::Snoozed { until }, until);
    }
    if let Some(until) = overrides.last_job_until.filter(|until| *until > now) {
        found.add_until(BlockReason::AfterLastJob { until }, until);
    }
}

fn use_of_the_pc(snapshot: &Snapshot, settings: &Settings, job: Job, now: Timestamp, found: &mut Findings) {
    let needed_ms = match job {
        Job::None => settings.idle_after_ms,
        Job::Held => settings.resume_after_ms.min(settings.idle_after_ms),
    };
    let signals = &snapshot.signals;
    if let Some(name) = &signals.game {
        found.add(BlockReason::GameRunning { name: name.clone() });
    }
    if let Some(name) = &signals.full_screen {
        found.add(BlockReason::FullScreen { name: name.clone() });
    }
    match &snapshot.presence {
        Presence::Active { .. } => found.add(BlockReason::UserHere { idle_ms: 0, needed_ms }),
        Presence::Idle { since } => {
            let until = since.plus_ms(needed_ms);
            if now < until {
                found.add_until(BlockReason::UserHere { idle_ms: now.since_ms(*since), needed_ms }, until);
            }
        }
        Presence::Unknown { detail } if !settings.without_presence => {
            found.add(BlockReason::PresenceUnknown { detail: detail.clone() });
        }
        Presence::Unknown { .. } => {}
    }
    if let Some(by) = &signals.idle_inhibitor {
        found.add(BlockReason::IdleInhibited { by: by.clone() });
    }
    if let Some(name) = &signals.remote_session {
        found.add(BlockReason::RemoteSession { name: name.clone() });
    }
    if let Some(name) = &signals.controller {
        found.add(BlockReason::ControllerInUse { name: name.clone() });
    }
    if let Some(percent) = signals.foreign_cpu_percent {
        found.add(BlockReason::CpuBusy { percent });
    }
    if signals.on_battery {
        found.add(BlockReason::OnBattery);
    }
    if signals.metered_network {
        found.add(BlockReason::MeteredNetwork);
    }
}

fn fitness(snapshot: &Snapshot, settings: &Settings, card: Option<&GpuReading>, found: &mut Findings) {
    match (&snapshot.gpu_trouble, card) {
        (Some(trouble), _) => found.add(BlockReason::NoGpu { trouble: trouble.clone() }),
        (None, None) => found.add(BlockReason::NoGpu { trouble: GpuTrouble::NoCard }),
        (None, Some(card)) => {
            let ceiling_celsius = settings.temperature_ceiling_celsius;
            if let Some(celsius) = card.temperature_celsius.filter(|c| *c > f64::from(ceiling_celsius)) {
                found.add(BlockReason::TooHot { celsius: whole_degrees(celsius), ceiling_celsius });
            }
        }
    }
    if let Some(driver) = &snapshot.driver
        && driver.major().is_none_or(|major| major < MIN_DRIVER_MAJOR)
    {
        found.add(BlockReason::DriverTooOld { found: driver.version.clone(), needed: MIN_DRIVER_MAJOR });
    }
    match &snapshot.runtime {
        Runtime::Unknown => found.add(BlockReason::NoDocker { detail: String::new() }),
        Runtime::Missing { detail } => found.add(BlockReason::NoDocker { detail: detail.clone() }),
        Runtime::Ready { unsafe_versions, .. } => {
            for version in unsafe_versions.iter().filter(|v| !settings.accepted_versions.contains(&v.key())) {
                found.add(BlockReason::UnsafeVersion { version: version.clone() });
            }
        }
    }
    if let Some(free_mib) = snapshot.disk_free_mib.filter(|free| *free < settings.disk_reserve_mib) {
        found.add(BlockReason::DiskLow { free_mib, needed_mib: settings.disk_reserve_mib });
    }
    if snapshot.signals.update_waiting {
        found.add(BlockReason::UpdateWaiting);
    }
}

fn market(snapshot: &Snapshot, found: &mut Findings) {
    match &snapshot.market {
        Market::Connected => {}
        Market::NotEnrolled => found.add(BlockReason::NotEnrolled),
        Market::Unreachable { since, detail } => {
            found.add(BlockReason::CoordinatorUnreachable { since: *since, detail: detail.clone() });
        }
    }
}

/// Rounded up, since it is shown as "above the ceiling". Readings are far from either bound of the type.
fn whole_degrees(celsius: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped right before")]
    let degrees = celsius.ceil().clamp(0.0, 1_000.0) as u32;
    degrees
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn idle_pc() -> (Snapshot, GpuReading) {
        let card = crate::host::sample::card("GPU-0");
        let snapshot = Snapshot {
            presence: Presence::Idle { since: Timestamp(0) },
            runtime: Runtime::Ready { unsafe_versions: vec![], images: vec![] },
            market: Market::Connected,
            driver: Some(DriverInfo { version: "550.54.14".into(), cuda: None }),
            ..Snapshot::default()
        };
        (snapshot, card)
    }

    fn verdict(snapshot: &Snapshot, card: Option<&GpuReading>) -> Verdict {
        decide(snapshot, &Settings::default(), &Overrides::default(), card, Job::None, NOW)
    }

    #[test]
    fn an_idle_pc_earns_and_all_reasons_are_told_at_once() {
        let (mut snapshot, mut card) = idle_pc();
        assert_eq!(verdict(&snapshot, Some(&card)), Verdict::Earn);
        snapshot.presence = Presence::Idle { since: Timestamp(NOW.0 - 120_000) };
        snapshot.signals.game = Some("Factorio".into());
        snapshot.driver = Some(DriverInfo { version: "470.82".into(), cuda: None });
        card.temperature_celsius = Some(91.2);
        let Verdict::Blocked { reasons, next_change } = verdict(&snapshot, Some(&card)) else {
            panic!("must be blocked")
        };
        assert_eq!(
            reasons,
            [
                BlockReason::GameRunning { name: "Factorio".into() },
                BlockReason::UserHere { idle_ms: 120_000, needed_ms: 600_000 },
                BlockReason::TooHot { celsius: 92, ceiling_celsius: 83 },
                BlockReason::DriverTooOld { found: "470.82".into(), needed: 525 },
            ]
        );
        assert_eq!(next_change, Some(Timestamp(NOW.0 + 480_000)));
    }

    #[test]
    fn an_accepted_version_no_longer_blocks() {
        let (mut snapshot, card) = idle_pc();
        let version = UnsafeVersion {
            component: "runc".into(),
            found: "1.1.5".into(),
            floor: "1.3.6".into(),
            advisory: "CVE-2026-41579".into(),
        };
        snapshot.runtime = Runtime::Ready { unsafe_versions: vec![version], images: vec![] };
        assert_eq!(verdict(&snapshot, Some(&card)).impact(), Some(Impact::HoldNew));
        let settings = Settings { accepted_versions: vec!["runc 1.1.5".into()], ..Settings::default() };
        let with = decide(&snapshot, &settings, &Overrides::default(), Some(&card), Job::None, NOW);
        assert_eq!(with, Verdict::Earn);
    }

    #[test]
    fn without_a_presence_sensor_nothing_is_lent_unless_the_owner_says_so() {
        let (mut snapshot, card) = idle_pc();
        snapshot.presence = Presence::Unknown { detail: "no display".into() };
        assert_eq!(verdict(&snapshot, Some(&card)).impact(), Some(Impact::Freeze));
        let settings = Settings { without_presence: true, ..Settings::default() };
        let with = decide(&snapshot, &settings, &Overrides::default(), Some(&card), Job::None, NOW);
        assert_eq!(with, Verdict::Earn);
    }
}
