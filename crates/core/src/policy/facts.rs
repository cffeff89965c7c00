//! What is known of the PC, as far as it bears on lending.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{BlockReason, Gvisor, KernelFacts};
use crate::gpu::{DriverInfo, GpuTrouble};
use crate::images::ImageTrouble;
use crate::money::Currency;
use crate::schedule::ScheduleStanding;
use crate::settings::Settings;
use crate::signal::Signs;
use crate::time::Timestamp;

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
        why: EngineTrouble,
    },
    Ready {
        /// Components older than the version that is known to be safe.
        unsafe_versions: Vec<UnsafeVersion>,
        /// Images that are present, e.g. `pytorch-cuda:lite`.
        images: Vec<String>,
        #[serde(default)]
        engine: EngineFacts,
    },
}

/// Why nothing can be asked of an Engine, or it does not do what it is asked to. A closed set, so that each has its sentence
/// in every language; a detail is the system's word, or Docker's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "trouble", rename_all = "snake_case")]
pub enum EngineTrouble {
    /// Nothing is there, or it does not listen.
    Silent {
        address: String,
        detail: String,
    },
    NotAllowed {
        address: String,
    },
    Slow {
        #[ts(type = "number")]
        within_ms: u64,
    },
    DiskFull {
        detail: String,
    },
    Refused {
        detail: String,
    },
}

impl std::fmt::Display for EngineTrouble {
    /// For a log, and for who is not asked for a language.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silent { address, detail } => write!(f, "it does not answer at {address} ({detail})"),
            Self::NotAllowed { address } => write!(f, "this account may not use it at {address}"),
            Self::Slow { within_ms } => write!(f, "it did not answer within {within_ms} ms"),
            Self::DiskFull { detail } => write!(f, "its disk is full ({detail})"),
            Self::Refused { detail } => f.write_str(detail),
        }
    }
}

/// What of an Engine is worth a word, and stands in nobody's way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default)]
pub struct EngineFacts {
    /// Who reaches a port of this PC commands the Engine, which is as much as being root here.
    pub is_open_to_network: bool,
    /// Root in a container is nobody on this PC.
    pub maps_users: bool,
    /// One more wall around tenants; whether it is used says [`Snapshot::sandboxing`].
    pub gvisor: Gvisor,
    /// Its settings take the system-call filter off every container that brings none.
    pub is_unfiltered: bool,
    /// Its settings start every container by something else than runc, e.g. NVIDIA's runtime, which hands out cards that
    /// nobody asked for.
    pub has_other_runtime: bool,
    /// What hands a card to a container.
    pub toolkit: Toolkit,
    /// Its own version, and that of the kernel which containers run on; empty where it does not say.
    pub version: String,
    pub kernel_version: String,
    pub gateway: GatewayImage,
    /// What its kernel has of what a gateway is made of.
    pub kernel: KernelFacts,
    /// Whom this PC asks for names, where these answer nobody else and it knows no others.
    pub own_name_servers: Vec<String>,
}

/// The image that every job runs behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum GatewayImage {
    /// It is in the Engine, or nobody looked.
    #[default]
    Present,
    /// It is not, and is fetched from a registry.
    Coming,
    /// It is not, and lies in no registry: it has to be made under this name.
    Missing { reference: String },
}

/// NVIDIA's container toolkit: without it the Engine refuses to start whatever asks for a card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Toolkit {
    /// The Engine is elsewhere, or nobody looked.
    #[default]
    Unknown,
    Present,
    Missing,
}

/// A running container that bears our label and is not as we make them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OddContainer {
    /// It may do what root may do on this PC.
    Privileged { name: String },
    /// Its image is none of the catalogue's.
    UnknownImage { name: String, image: String },
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

/// Why the gateway's image is not here yet, and when it is asked for again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayFailure {
    pub why: ImageTrouble,
    pub again_at: Timestamp,
}

/// What is free in the file system of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpace {
    pub folder: String,
    pub free_mib: u64,
    /// How many files it can still make; `None` where it has no such number, or it was not told.
    #[serde(default)]
    pub free_files: Option<u64>,
}

/// Whether there is anything that a renter could ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImagesLent {
    /// There is, or nobody looked yet.
    #[default]
    Some,
    NoneHere,
    /// None is here, and one is on its way.
    Coming,
    /// The owner lends the card to none of those that are here.
    NoneAgreed,
}

/// All that is known of the PC. Facts of one card come beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub presence: Presence,
    pub signs: Signs,
    /// A newer version waits to be installed.
    pub update_waiting: bool,
    pub runtime: Runtime,
    /// How fetching the gateway's image failed the last time, until it does not.
    pub gateway_failure: Option<GatewayFailure>,
    /// What the owner's choices leave of the images here; the host keeps it up to date.
    pub images_lent: ImagesLent,
    pub market: Market,
    /// What the market pays in, where it has said so.
    pub market_currency: Option<Currency>,
    pub driver: Option<DriverInfo>,
    pub gpu_trouble: Option<GpuTrouble>,
    /// Whether the system tells that a card sleeps; `None` until somebody looked.
    pub power_states_told: Option<bool>,
    /// The file system of those that we write to which has the least room left.
    pub disk: Option<DiskSpace>,
    /// The one that can make the fewest files more.
    pub files: Option<DiskSpace>,
    /// Bytes of this calendar month, and when the next one begins.
    pub data_used: Option<(u64, Timestamp)>,
    /// Why the settings cannot be read, where they cannot.
    pub settings_trouble: Option<String>,
    /// Why the owner's last word is not in the settings file, where it is not.
    pub settings_unsaved: Option<String>,
    /// What the owner's schedule says now; the host keeps it up to date.
    pub schedule: ScheduleStanding,
}

impl Snapshot {
    /// What the market pays in, where that is not what the owner reckons in.
    #[must_use]
    pub fn other_currency(&self, settings: &Settings) -> Option<Currency> {
        self.market_currency.filter(|currency| *currency != settings.price_per_hour.currency)
    }

    /// What the gateway's image is to blame for; `None` where it is here or nothing is known.
    #[must_use]
    pub fn gateway_reason(&self) -> Option<BlockReason> {
        let Runtime::Ready { engine, .. } = &self.runtime else { return None };
        match (&engine.gateway, self.gateway_failure.clone()) {
            (GatewayImage::Present, _) => None,
            (GatewayImage::Coming, None) => Some(BlockReason::GatewayComing),
            (GatewayImage::Coming, Some(GatewayFailure { why, again_at })) => {
                Some(BlockReason::GatewayFailed { why, again_at })
            }
            (GatewayImage::Missing { reference }, _) => {
                Some(BlockReason::NoGateway { reference: reference.clone() })
            }
        }
    }

    /// Why no renter could ask for anything; `None` where one could or nothing is known.
    #[must_use]
    pub const fn image_reason(&self) -> Option<BlockReason> {
        match self.images_lent {
            ImagesLent::Some => None,
            ImagesLent::NoneHere => Some(BlockReason::NoImage),
            ImagesLent::Coming => Some(BlockReason::ImageComing),
            ImagesLent::NoneAgreed => Some(BlockReason::NoImageLent),
        }
    }

    /// What the kernel under the Engine is to blame for; `None` where it has all that a gateway needs or nothing is known.
    #[must_use]
    pub fn kernel_reason(&self) -> Option<BlockReason> {
        let Runtime::Ready { engine, .. } = &self.runtime else { return None };
        let home = match &engine.kernel {
            KernelFacts::Unasked => return None,
            KernelFacts::Asking => return Some(BlockReason::KernelAsked),
            KernelFacts::Told { home, .. } => *home,
        };
        let parts = engine.kernel.in_the_way();
        (!parts.is_empty()).then_some(BlockReason::KernelLacks { parts, home })
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            presence: Presence::Unknown { detail: String::new() },
            signs: Signs::default(),
            update_waiting: false,
            runtime: Runtime::Unknown,
            gateway_failure: None,
            images_lent: ImagesLent::default(),
            market: Market::NotEnrolled,
            market_currency: None,
            driver: None,
            gpu_trouble: None,
            power_states_told: None,
            disk: None,
            files: None,
            data_used: None,
            settings_trouble: None,
            settings_unsaved: None,
            schedule: ScheduleStanding::default(),
        }
    }
}
