//! The coordinator's HTTP interface, `/v1`. Bodies are JSON; a renter's requests carry `Authorization: Bearer TOKEN`.
//!
//! | request | body → answer |
//! | --- | --- |
//! | `GET /v1/about` | → [`About`] |
//! | `POST /v1/hosts/enrol` | [`Enrol`] → [`Enrolled`] |
//! | `GET /v1/hosts/session` | WebSocket, see [`crate::host_session`] |
//! | `GET /v1/hosts/line` | WebSocket, see [`crate::line_session`] |
//! | `GET /v1/account` | → [`Account`] |
//! | `GET /v1/offers` (query: fields of [`OfferQuery`]) | → [`Offers`] |
//! | `GET /v1/volumes` | → [`RenterVolumes`] |
//! | `POST /v1/leases` | [`RentRequest`] → [`Lease`] |
//! | `GET /v1/leases` | → [`Leases`] |
//! | `GET /v1/leases/{id}` (query `wait_ms`, and `state` known so far: long poll) | → [`Lease`] |
//! | `POST /v1/leases/{id}/stop` (also: wait no more to go on) | → [`Lease`] |
//! | `GET /v1/leases/{id}/statement` | → [`Statement`] |
//!
//! Every answer that is not a success is an [`crate::error::ErrorBody`].

use nightjar_core::gpu::GpuUuid;
use nightjar_core::lease::{Epoch, LeaseId, LeaseState, WorkerAccess};
use nightjar_core::ledger::Leg;
use nightjar_core::line_check::LineFigures;
use nightjar_core::market::{AfterInterruption, CardOffer, Requirements};
use nightjar_core::money::{Currency, Money};
use nightjar_core::parting::Cause;
use nightjar_core::time::Timestamp;
use nightjar_core::volume::{Footing, VolumeTerms};
use serde::{Deserialize, Serialize};

use crate::relay::RelayInfo;

/// Longest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Longest `wait_ms` of a long poll.
pub const MAX_WAIT_MS: u64 = 30_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub name: String,
    pub version: String,
    pub currency: Currency,
    /// The market's part of what renters pay, in hundredths of a percent.
    pub fee_basis_points: u32,
    pub relay: Option<RelayInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrol {
    /// From the operator; works once.
    pub pairing_code: String,
    /// ed25519 public key, 64 hexadecimal digits.
    pub host_key: String,
    /// Over [`crate::host_session::enrol_signing_bytes`], 128 hexadecimal digits.
    pub signature: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    pub host_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The pseudonym that hosts see.
    pub renter: String,
    pub balance: Money,
}

/// [`Requirements`] as query parameters; amounts are in micro-units of the market's currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_vram_mib: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price_per_hour_micros: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub root_inside: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_sandbox: bool,
}

impl OfferQuery {
    #[must_use]
    pub fn requirements(&self, currency: Currency) -> Requirements {
        Requirements {
            model: self.model.clone(),
            min_vram_mib: self.min_vram_mib,
            region: self.region.clone(),
            max_price_per_hour: self.max_price_per_hour_micros.map(|micros| Money::new(micros, currency)),
            image: self.image.clone(),
            root_inside: self.root_inside,
            no_sandbox: self.no_sandbox,
            serve_model: None,
        }
    }
}

/// Cards that would take a job now, the best for the asker first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offers {
    pub offers: Vec<OfferedCard>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedCard {
    pub host_id: String,
    pub region: String,
    pub card: CardOffer,
    /// Of the host's line, as the market measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<LineFigures>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RentRequest {
    #[serde(default)]
    pub requirements: Requirements,
    /// Name and flavour in the catalogue, e.g. `pytorch-cuda:lite`.
    pub image: String,
    /// The renter's link identity: ed25519 public key, 64 hexadecimal digits.
    pub renter_key: String,
    /// One line in OpenSSH's format, at most 4 KiB.
    pub ssh_public_key: String,
    #[serde(default)]
    pub after_interruption: AfterInterruption,
    /// From which the market makes, for each host, the key of what the renter keeps there: 128 hexadecimal digits, the
    /// same each time. Without it that is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_secret: Option<VolumeSecret>,
}

/// See [`RentRequest::volume_secret`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VolumeSecret(pub String);

impl std::fmt::Debug for VolumeSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VolumeSecret")
    }
}

/// What a renter keeps on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenterVolume {
    pub host_id: String,
    pub region: String,
    /// The last lease that used it.
    pub lease: LeaseId,
    pub root_inside: bool,
    pub in_use: bool,
    pub used_at: Timestamp,
    /// `None` while a lease uses it.
    pub expires_at: Option<Timestamp>,
    pub quota_mib: u64,
    /// What it stands on there, as the host said; `None` where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footing: Option<Footing>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenterVolumes {
    pub volumes: Vec<RenterVolume>,
}

/// Why a lease is frozen, is ending or has ended. Nothing of the host's owner is in it beyond the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interruption {
    pub cause: Cause,
    pub since: Timestamp,
}

/// An interrupted lease that goes on as soon as there is a card for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    pub since: Timestamp,
    /// Then it is given up.
    pub until: Timestamp,
    /// From then on another host will do; `None`: never.
    pub any_host_from: Option<Timestamp>,
}

/// A lease as its renter sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub lease: LeaseId,
    pub epoch: Epoch,
    pub state: LeaseState,
    pub state_since: Timestamp,
    pub created_at: Timestamp,
    pub image: String,
    /// The language model that the worker serves from its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve_model: Option<String>,
    pub model: String,
    pub gpu: GpuUuid,
    pub host_id: String,
    /// The host's link identity, 64 hexadecimal digits.
    pub host_key: String,
    pub region: String,
    pub price_per_hour: Money,
    pub running_ms: u64,
    pub charged: Money,
    #[serde(default)]
    pub interruption: Option<Interruption>,
    #[serde(default)]
    pub after_interruption: AfterInterruption,
    /// The interrupted lease that this one goes on for.
    #[serde(default)]
    pub continues: Option<LeaseId>,
    /// The lease as which this one went on.
    #[serde(default)]
    pub continued_by: Option<LeaseId>,
    #[serde(default)]
    pub waits: Option<Waits>,
    /// What may be kept on this host, and how long.
    #[serde(default)]
    pub volume: VolumeTerms,
    /// What that stands on, once the host has brought it up; `None` where the host does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footing: Option<Footing>,
    /// Of the host's line, as the market measured it while the host waited for a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<LineFigures>,
    /// Once the worker is ready.
    pub access: Option<WorkerAccess>,
    pub relay: Option<RelayInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases {
    pub leases: Vec<Lease>,
}

/// All bookings of one lease, for whoever wants to add them up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    pub lease: LeaseId,
    pub currency: Currency,
    pub bookings: Vec<Booking>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    pub at: Timestamp,
    pub sequence: u64,
    pub running_ms: u64,
    pub legs: Vec<Leg>,
}
