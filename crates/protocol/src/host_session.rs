//! The WebSocket between a host and the coordinator: JSON text frames of at most [`MAX_FRAME_BYTES`].
//!
//! The coordinator opens with a [`ToHost::Challenge`]; the host answers with [`ToCoordinator::Hello`], signed by its
//! ed25519 key over [`hello_signing_bytes`]. Anything else, or an unknown key, ends the session with
//! [`ToHost::Refused`].

use std::net::IpAddr;

use nightjar_core::demand::DemandFigures;
use nightjar_core::gpu::GpuUuid;
use nightjar_core::host::Report;
use nightjar_core::lease::{EndReason, Epoch, LeaseId, LeaseTerms};
use nightjar_core::line_check::LineFigures;
use nightjar_core::market::{HostAccount, MarketTerms, WaitReason};
use nightjar_core::meter::{UsageRecord, UsageRefusal};
use nightjar_core::proof::Nonce;
use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::relay::RelayInfo;

/// Version of this session. A coordinator speaks with hosts of the same version only, and says so otherwise.
pub const HOST_SESSION_VERSION: u32 = 7;

/// A frame longer than this ends the session.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;

/// How often each side sends something, in milliseconds; a session that is silent for three times as long is over.
pub const HEARTBEAT_MS: u64 = 5_000;

/// From the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum ToCoordinator {
    Hello {
        session_version: u32,
        app_version: String,
        /// ed25519 public key, 64 hexadecimal digits: the host's identity, in the tunnel too.
        host_key: String,
        /// 128 hexadecimal digits.
        signature: String,
    },
    /// One with a [`Report::proof`] is a [`ToCoordinator::Proven`].
    Report(Report),
    Proven(SignedReport),
    Usage(SignedUsage),
    Heartbeat,
}

/// To the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum ToHost {
    Challenge {
        /// 64 hexadecimal digits, never used twice.
        nonce: String,
    },
    Welcome {
        host_id: String,
        relay: Option<RelayInfo>,
        /// What it pays in, and its part; `None` where the coordinator is of a version that does not say.
        #[serde(default)]
        terms: Option<MarketTerms>,
        /// Where this session comes from, as the market sees it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen_from: Option<IpAddr>,
    },
    Refused {
        code: ErrorCode,
        detail: String,
    },
    Offer(LeaseTerms),
    Start {
        lease: LeaseId,
        epoch: Epoch,
    },
    End {
        lease: LeaseId,
        epoch: Epoch,
        reason: EndReason,
    },
    /// The host need not send the record with this number again: it is in the ledger, or `refused` says why it never will
    /// be. A host of before that word only reads the first half.
    UsageStored {
        lease: LeaseId,
        epoch: Epoch,
        sequence: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<UsageRefusal>,
    },
    /// The host's money at this market; replaces what was said before.
    Account(HostAccount),
    /// Why no job comes to the cards that this host offers; replaces what was said before.
    Waiting {
        cards: Vec<(GpuUuid, WaitReason)>,
    },
    /// How much cards such as this host's are wanted; replaces what was said before.
    Demand {
        cards: Vec<(GpuUuid, DemandFigures)>,
    },
    /// The line is to be measured, over a connection of its own: see [`crate::line_session`]. Who cannot now does nothing.
    CheckLine {
        ticket: String,
    },
    /// What was last measured of the line; replaces what was said before.
    Line(LineFigures),
    /// A card on offer is to prove itself while no job is there: a [`Report::Checked`] is expected in this time. An offer
    /// of a lease on the same card, which brings a question of its own, takes this one back, and so does the end of the
    /// session.
    Check {
        gpu: GpuUuid,
        nonce: Nonce,
        within_ms: u64,
    },
    Heartbeat,
}

/// A usage record with the host's signature over [`UsageRecord::signing_bytes`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedUsage {
    pub record: UsageRecord,
    /// 128 hexadecimal digits.
    pub signature: String,
}

/// A report that holds a proof, with the host's signature over the proof's
/// [`signing_bytes`](nightjar_core::proof::Proof::signing_bytes).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignedReport {
    pub report: Report,
    /// 128 hexadecimal digits.
    pub signature: String,
}

/// What a host signs to open a session.
#[must_use]
pub fn hello_signing_bytes(nonce: &str, host_key: &str) -> Vec<u8> {
    format!("nightjar-host-session/{HOST_SESSION_VERSION}\n{nonce}\n{host_key}\n").into_bytes()
}

/// What a host signs to enrol.
#[must_use]
pub fn enrol_signing_bytes(pairing_code: &str, host_key: &str) -> Vec<u8> {
    format!("nightjar-enrol/1\n{pairing_code}\n{host_key}\n").into_bytes()
}
