//! What the owner of a host has chosen. Bounds are part of the type's contract: [`Settings::check`] names the field, the
//! bounds and what was given.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use std::collections::BTreeMap;

use crate::conduct::MinerRule;
use crate::gpu::GpuUuid;
use crate::images::{ImageSettings, QUOTA_GIB};
use crate::money::{Currency, Money};
use crate::network::{LEAST_KBIT, MOST_KBIT, NetworkError, NetworkSettings};
use crate::notify::NoticeRules;
use crate::power::PowerSettings;
use crate::schedule::{HoursError, Schedule};
use crate::signal::SignalRules;
use crate::tariff::Tariff;
use crate::thermal::HeatSettings;
use crate::volume::VolumeTerms;

/// Version of the settings file that this program writes.
pub const SETTINGS_VERSION: u32 = 1;
/// Longest grace or linger of a sign: an hour.
const LONGEST_WAIT_MS: u64 = 3_600_000;

/// What a tenant's traffic may reach. A home's address is never sold as an exit without the owner's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum EgressMode {
    /// Nothing but the tunnel.
    Off,
    /// Package indexes, model hubs, code hosts and object stores by name, through a proxy.
    #[default]
    Curated,
    /// The public internet, less private networks and mail.
    Open,
}

/// The window's and notifications' language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
pub enum Language {
    #[serde(rename = "en")]
    English,
    #[serde(rename = "zh-CN")]
    SimplifiedChinese,
}

/// How the card is given back to a game.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum GiveBack {
    /// The tenant is killed at once.
    #[default]
    Instant,
    /// The tenant is asked to end and killed after `friendly_grace_ms`.
    Friendly,
    /// While the desktop is used lightly the tenant goes on within [`Sharing`]; a game ends it at once.
    Share,
}

/// How the window looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// As the desktop is.
    #[default]
    System,
    Dark,
    Light,
}

/// How much the app writes into its log. `NIGHTJAR_LOG` comes before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Warn,
    #[default]
    Info,
    Debug,
}

/// How many screens the first run has.
pub const INTRODUCTION_SCREENS: u32 = 3;

/// What a tenant may use while it shares the PC with its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct Sharing {
    /// Of the cores that a worker may use.
    pub cpu_percent: u32,
    /// Of the card's default power limit; needs the helper.
    pub power_limit_percent: u32,
}

impl Sharing {
    /// What the tenant keeps of what it rented, and pays for: the least of what it is left.
    #[must_use]
    pub fn share_percent(&self) -> u32 {
        self.cpu_percent.min(self.power_limit_percent).min(100)
    }
}

impl Default for Sharing {
    fn default() -> Self {
        Self { cpu_percent: 25, power_limit_percent: 60 }
    }
}

/// What the owner chose for one card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct CardRule {
    pub lend: bool,
    /// It may earn while the owner uses the PC, as long as no screen hangs on it and nothing of the desktop uses it.
    pub while_here: bool,
}

impl Default for CardRule {
    fn default() -> Self {
        Self { lend: true, while_here: false }
    }
}

/// What one worker may use of the PC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default)]
pub struct WorkerLimits {
    pub cpu_cores: u32,
    #[ts(type = "number")]
    pub memory_mib: u64,
    #[ts(type = "number")]
    pub shm_mib: u64,
    pub pids: u32,
    /// Files of the container's own, beside the renter's volume. Only who is root inside can write any.
    #[ts(type = "number")]
    pub disk_mib: u64,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self { cpu_cores: 2, memory_mib: 8_192, shm_mib: 1_024, pids: 2_048, disk_mib: 20_480 }
    }
}

/// All of it. Unknown fields are refused, so that a typing error is told and not passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub version: u32,
    /// `None` follows the system.
    pub language: Option<Language>,
    pub theme: Theme,
    pub log_level: LogLevel,
    /// Which notifications are shown.
    pub notices: NoticeRules,
    /// Screens of the first run that the owner has passed; it is not shown again after the last.
    pub introduced: u32,
    pub earn_while_idle: bool,
    /// No input for this long before a job may start.
    #[ts(type = "number")]
    pub idle_after_ms: u64,
    /// No input for this long before a frozen job goes on.
    #[ts(type = "number")]
    pub resume_after_ms: u64,
    /// A job that is frozen for longer ends.
    #[ts(type = "number")]
    pub frozen_at_most_ms: u64,
    pub give_back: GiveBack,
    #[ts(type = "number")]
    pub friendly_grace_ms: u64,
    pub sharing: Sharing,
    pub power: PowerSettings,
    /// Memory of a card with a desktop on it that a tenant leaves to that: over it a tenant that runs is warned, and one
    /// that is held while the owner is back ends.
    #[ts(type = "number")]
    pub vram_reserve_mib: u64,
    /// No input for this long is enough once the screen is locked.
    #[ts(type = "number")]
    pub locked_idle_after_ms: u64,
    pub signals: SignalRules,
    pub cpu_busy_percent: u32,
    /// Programs that count as games, beside those that are found by themselves.
    pub games: Vec<String>,
    /// Controllers that are left out, by their names.
    pub ignored_controllers: Vec<String>,
    /// A login by SSH is use of this PC, as a remote desktop is.
    pub ssh_counts: bool,
    /// Choices for single cards, by UUID; the others are lent as the rest of the settings say.
    pub cards: BTreeMap<GpuUuid, CardRule>,
    /// This PC has no desktop: earn without seeing whether somebody is there.
    pub without_presence: bool,
    pub price_per_hour: Money,
    pub temperature_ceiling_celsius: u32,
    /// A program that computes with so much of a card's memory, and is not ours, uses that card.
    #[ts(type = "number")]
    pub gpu_busy_vram_mib: u64,
    /// So does any program that is not ours and keeps so much of the card busy.
    pub gpu_busy_percent: u32,
    pub heat: HeatSettings,
    /// OpenMetrics on this port of this PC's own address, 127.0.0.1; `None` is off.
    pub metrics_port: Option<u16>,
    #[ts(type = "number")]
    pub disk_reserve_mib: u64,
    pub egress: EgressMode,
    /// Renters who ask for it are root inside their container, with the few rights that packages and services need.
    pub root_inside: bool,
    /// Tenants run in gVisor where the Engine has it and it knows the driver.
    pub gvisor: bool,
    /// What all of Nightjar's traffic may use of the line.
    pub network: NetworkSettings,
    /// Images from a registry, and which kinds of work are agreed to.
    pub images: ImageSettings,
    pub limits: WorkerLimits,
    /// What becomes of a tenant that mines.
    pub miners: MinerRule,
    /// How long a tenant that goes past its bounds has to go back, before it is ended.
    #[ts(type = "number")]
    pub warning_ms: u64,
    /// What a renter may keep on this PC between leases, and how long.
    pub volume: VolumeTerms,
    /// What all renters together may keep; never less than one may.
    #[ts(type = "number")]
    pub volumes_most_mib: u64,
    /// Components whose unsafe version the owner knowingly accepts, e.g. `runc 1.1.5`.
    pub accepted_versions: Vec<String>,
    pub region: String,
    /// When to earn.
    pub schedule: Schedule,
    /// What electricity costs.
    pub tariff: Tariff,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: SETTINGS_VERSION,
            language: None,
            theme: Theme::System,
            log_level: LogLevel::Info,
            notices: NoticeRules::default(),
            introduced: 0,
            earn_while_idle: true,
            idle_after_ms: 600_000,
            resume_after_ms: 180_000,
            frozen_at_most_ms: 900_000,
            give_back: GiveBack::Instant,
            friendly_grace_ms: 10_000,
            sharing: Sharing::default(),
            power: PowerSettings::default(),
            vram_reserve_mib: 512,
            locked_idle_after_ms: 15_000,
            signals: SignalRules::default(),
            cpu_busy_percent: 50,
            games: Vec::new(),
            ignored_controllers: Vec::new(),
            ssh_counts: false,
            cards: BTreeMap::new(),
            without_presence: false,
            price_per_hour: Money::new(1_500_000, Currency::CNY),
            temperature_ceiling_celsius: 83,
            gpu_busy_vram_mib: 512,
            gpu_busy_percent: 20,
            heat: HeatSettings::default(),
            metrics_port: None,
            disk_reserve_mib: 10_240,
            egress: EgressMode::Curated,
            root_inside: false,
            gvisor: true,
            network: NetworkSettings::default(),
            images: ImageSettings::default(),
            limits: WorkerLimits::default(),
            miners: MinerRule::default(),
            warning_ms: 60_000,
            volume: VolumeTerms::default(),
            volumes_most_mib: 204_800,
            accepted_versions: Vec::new(),
            region: String::from("unknown"),
            schedule: Schedule::default(),
            tariff: Tariff::default(),
        }
    }
}

/// A value out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {given}; it must be between {least} and {most}")]
pub struct OutOfBounds {
    pub field: &'static str,
    pub given: u64,
    pub least: u64,
    pub most: u64,
}

/// Why settings are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error(transparent)]
    Bounds(#[from] OutOfBounds),
    #[error(
        "the settings are of version {found}; this program knows up to {SETTINGS_VERSION}: install a newer one"
    )]
    Newer { found: u32 },
    #[error("{field} is too long or holds characters other than letters, digits, '.', '-', '_' and space")]
    Text { field: &'static str },
    #[error(
        "{field} holds too many names, or one that is empty, longer than 120 bytes or has control characters"
    )]
    Names { field: &'static str },
    /// What leaves by the proxy is told from the rest by its user, which root can become.
    #[error(
        "root_inside is on and egress is \"curated\": a renter who is root could pass for the proxy, so choose egress \
         \"open\" or \"off\", or turn root_inside off"
    )]
    RootPastTheProxy,
    #[error(transparent)]
    Hours(#[from] HoursError),
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl Settings {
    /// The owner's choice for one card.
    #[must_use]
    pub fn card(&self, uuid: &GpuUuid) -> CardRule {
        self.cards.get(uuid).copied().unwrap_or_default()
    }

    /// Every number that has fixed bounds: its name, its value, the least and the most.
    #[must_use]
    pub fn numbers(&self) -> Vec<(&'static str, u64, u64, u64)> {
        let price = u64::try_from(self.price_per_hour.micros).unwrap_or(u64::MAX);
        let limits = &self.limits;
        let mut numbers = vec![
            ("idle_after_ms", self.idle_after_ms, 1_000, 86_400_000),
            ("resume_after_ms", self.resume_after_ms, 1_000, 86_400_000),
            ("frozen_at_most_ms", self.frozen_at_most_ms, 1_000, 86_400_000),
            ("friendly_grace_ms", self.friendly_grace_ms, 100, 120_000),
            ("sharing.cpu_percent", u64::from(self.sharing.cpu_percent), 1, 100),
            ("sharing.power_limit_percent", u64::from(self.sharing.power_limit_percent), 1, 100),
            ("vram_reserve_mib", self.vram_reserve_mib, 0, 1_048_576),
            ("locked_idle_after_ms", self.locked_idle_after_ms, 1_000, 86_400_000),
            ("cpu_busy_percent", u64::from(self.cpu_busy_percent), 5, 100),
            ("price_per_hour", price, 0, 1_000_000_000_000),
            ("temperature_ceiling_celsius", u64::from(self.temperature_ceiling_celsius), 50, 95),
            ("gpu_busy_vram_mib", self.gpu_busy_vram_mib, 1, 1_048_576),
            ("gpu_busy_percent", u64::from(self.gpu_busy_percent), 1, 100),
            ("metrics_port", u64::from(self.metrics_port.unwrap_or(1_024)), 1_024, 65_535),
            ("disk_reserve_mib", self.disk_reserve_mib, 0, 10_485_760),
            ("limits.cpu_cores", u64::from(limits.cpu_cores), 1, 1_024),
            ("limits.memory_mib", limits.memory_mib, 256, 16_777_216),
            ("limits.shm_mib", limits.shm_mib, 16, 1_048_576),
            ("limits.pids", u64::from(limits.pids), 64, 65_536),
            ("images.quota_gib", self.images.quota_gib, *QUOTA_GIB.start(), *QUOTA_GIB.end()),
            ("limits.disk_mib", limits.disk_mib, 64, 16_777_216),
            ("warning_ms", self.warning_ms, 1_000, 3_600_000),
            ("volume.quota_mib", self.volume.quota_mib, 64, 16_777_216),
            ("volume.keep_ms", self.volume.keep_ms, 1_000, 31_536_000_000),
            ("volumes_most_mib", self.volumes_most_mib, 64, 268_435_456),
            ("introduced", u64::from(self.introduced), 0, u64::from(INTRODUCTION_SCREENS)),
        ];
        numbers.extend(
            self.network
                .numbers()
                .map(|(field, kbit)| (field, u64::from(kbit), u64::from(LEAST_KBIT), u64::from(MOST_KBIT))),
        );
        numbers.extend(self.heat.numbers());
        for (field, rule) in self.signals.named() {
            numbers.extend([rule.grace_ms, rule.linger_ms].map(|given| (field, given, 0, LONGEST_WAIT_MS)));
        }
        numbers
    }

    /// What all renters together may keep here, at the most.
    #[must_use]
    pub fn volumes_at_most_mib(&self) -> u64 {
        self.volumes_most_mib.max(self.volume.quota_mib)
    }

    /// Takes over another currency, for every price there is. The figures stay: their owner looks at them.
    pub fn reckon_in(&mut self, currency: Currency) {
        self.price_per_hour.currency = currency;
        self.tariff.currency = currency;
    }

    /// # Errors
    /// The first field that is out of its bounds.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.version > SETTINGS_VERSION {
            return Err(SettingsError::Newer { found: self.version });
        }
        for (field, given, least, most) in self.numbers() {
            if given < least || given > most {
                return Err(OutOfBounds { field, given, least, most }.into());
            }
        }
        if self.root_inside && self.egress == EgressMode::Curated {
            return Err(SettingsError::RootPastTheProxy);
        }
        self.power.check()?;
        self.network.check()?;
        let names = |list: &[String]| {
            list.len() <= 256
                && list
                    .iter()
                    .all(|name| (1..=120).contains(&name.len()) && !name.chars().any(char::is_control))
        };
        let refused: Vec<String> = self.images.refused.iter().cloned().collect();
        for (field, list) in [
            ("games", &self.games),
            ("ignored_controllers", &self.ignored_controllers),
            ("images.refused", &refused),
        ] {
            if !names(list) {
                return Err(SettingsError::Names { field });
            }
        }
        if self.cards.len() > 64 || self.cards.keys().any(|uuid| uuid.0.len() > 96 || !uuid.0.is_ascii()) {
            return Err(SettingsError::Names { field: "cards" });
        }
        let plain = |text: &str| {
            text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_ ".contains(c))
        };
        if !plain(&self.region) {
            return Err(SettingsError::Text { field: "region" });
        }
        if self.accepted_versions.len() > 64 || !self.accepted_versions.iter().all(|text| plain(text)) {
            return Err(SettingsError::Text { field: "accepted_versions" });
        }
        self.tariff.check(self.price_per_hour.currency)?;
        self.schedule.check(&self.tariff)?;
        Ok(())
    }
}
