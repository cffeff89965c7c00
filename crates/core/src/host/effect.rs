//! Every consequence that the host can ask for.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::conduct::Breach;
use crate::economics::Account;
use crate::energy::Energy;
use crate::gpu::GpuUuid;
use crate::lease::{EndReason, Epoch, LeaseId, LeaseState, LeaseTerms, WorkerAccess};
use crate::market::{CardOffer, WaitReason};
use crate::meter::UsageRecord;
use crate::money::Money;
use crate::parting::{Cause, Parting};
use crate::policy::{BlockReason, Verdict};
use crate::proof::{Nonce, Proof};
use crate::settings::{GiveBack, Settings, Sharing};
use crate::sweep::{Curve, WorkKind};
use crate::time::Timestamp;
use crate::volume::{Footing, NoRoom};

use super::bill::Bill;

/// See the module's text. Performed in the order in which they are returned.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Pause the container now. Waits for nothing else.
    Freeze {
        lease: LeaseId,
        parting: Parting,
    },
    /// End every process of the worker and remove its containers; `Gone` reports back.
    Stop {
        lease: LeaseId,
        how: StopHow,
        parting: Parting,
    },
    Thaw {
        lease: LeaseId,
    },
    /// Tell the tenant that it is ended at the deadline unless it goes back within its bounds.
    Warn {
        lease: LeaseId,
        parting: Parting,
    },
    /// It has.
    Unwarn {
        lease: LeaseId,
    },
    /// The tenant goes on within these bounds; `None` takes them away again.
    Restrain {
        lease: LeaseId,
        gpu: GpuUuid,
        sharing: Option<Sharing>,
    },
    /// For the tenant, until `RestorePowerLimit` or the end of this program.
    SetPowerLimit {
        gpu: GpuUuid,
        watts: u32,
    },
    /// Back to what was found.
    RestorePowerLimit {
        gpu: GpuUuid,
    },
    /// Put a steady load on a card, in a container of our own without a network.
    StartLoad {
        gpu: GpuUuid,
        kind: WorkKind,
        image: String,
    },
    /// Run our own check on a card, in such a container; `Checked` and then `Gone` report back.
    StartCheck {
        gpu: GpuUuid,
        nonce: Nonce,
        image: String,
    },
    /// Take either off now; `Gone` reports back.
    StopLoad {
        gpu: GpuUuid,
    },
    /// Have the market measure the line; `LineChecked` reports back.
    CheckLine {
        ticket: String,
    },
    /// Take that off the line now. Nothing reports back.
    StopLineCheck,
    /// Start gateway and worker and run the self-check.
    Prepare {
        terms: LeaseTerms,
        /// The Engine's name for the gVisor that the tenant runs in, if it does.
        sandbox: Option<String>,
    },
    /// Take up the line to a worker that survived the agent.
    Adopt {
        terms: LeaseTerms,
    },
    /// Let the renter's key through the tunnel to this worker.
    OpenGate {
        lease: LeaseId,
        renter_key: String,
    },
    CloseGate {
        lease: LeaseId,
    },
    /// Remove containers of ours that belong to none of these leases.
    Sweep {
        keep: Vec<LeaseId>,
    },
    Journal(JournalEntry),
    Tell(Report),
    Notify(Notice),
    SaveSettings(Box<Settings>),
}

/// How a worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StopHow {
    Kill,
    /// SIGTERM, then SIGKILL after the grace.
    Graceful {
        grace_ms: u64,
    },
}

impl StopHow {
    /// What the tenant has left.
    #[must_use]
    pub fn grace_ms(self) -> u64 {
        match self {
            Self::Kill => 0,
            Self::Graceful { grace_ms } => grace_ms,
        }
    }

    /// With no more than this left.
    #[must_use]
    pub fn within(self, most_ms: u64) -> Self {
        match self {
            Self::Kill => Self::Kill,
            Self::Graceful { grace_ms } => Self::Graceful { grace_ms: grace_ms.min(most_ms) },
        }
    }
}

/// A lease as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredLease {
    pub terms: LeaseTerms,
    pub state: LeaseState,
    /// Of the last usage record that was stored.
    pub last_sequence: u64,
    pub running_ms_total: u64,
    #[serde(default)]
    pub bill: Bill,
}

/// What is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum JournalEntry {
    Lease {
        terms: LeaseTerms,
        state: LeaseState,
        at: Timestamp,
    },
    /// What the renter's volume stands on, as it was brought up for a lease.
    Volume {
        lease: LeaseId,
        epoch: Epoch,
        footing: Footing,
    },
    /// Stored first, then sent until the coordinator has it.
    Usage {
        record: UsageRecord,
    },
    /// What a lease brought and cost so far; replaces what was there of it.
    Account {
        lease: LeaseId,
        epoch: Epoch,
        at: Timestamp,
        account: Account,
        bill: Bill,
    },
    Verdict {
        gpu: GpuUuid,
        at: Timestamp,
        verdict: Verdict,
    },
    /// From the decision to the frozen container, in microseconds, and from the owner's input, where that was the cause.
    GiveBack {
        lease: LeaseId,
        at: Timestamp,
        took_us: u64,
        input_ms: Option<u64>,
    },
    /// The tenant's memory is back, as the driver says: so long after the decision to end it.
    VramFree {
        lease: LeaseId,
        at: Timestamp,
        took_ms: u64,
        mode: GiveBack,
    },
    /// What the market says of a card that waits has changed.
    Waiting {
        gpu: GpuUuid,
        at: Timestamp,
        why: Option<WaitReason>,
    },
    /// A card proves itself to its market, from here on or until here.
    Proving {
        gpu: GpuUuid,
        at: Timestamp,
        on: bool,
    },
    /// What electricity that took.
    CheckCost {
        gpu: GpuUuid,
        at: Timestamp,
        energy: Energy,
        overhead_millijoules: u64,
        electricity: Money,
    },
    /// What a sweep has measured; replaces what was known of this card at this kind of work.
    Curve {
        gpu: GpuUuid,
        kind: WorkKind,
        curve: Curve,
    },
}

/// What the coordinator is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// All cards that would take a job now. Replaces what was told before.
    Offers {
        region: String,
        offers: Vec<CardOffer>,
    },
    /// After a reconnect: every lease that this host holds.
    Leases {
        leases: Vec<(LeaseId, Epoch, LeaseState)>,
    },
    Lease {
        lease: LeaseId,
        epoch: Epoch,
        state: LeaseState,
        /// The class of what the owner needs the card for, while it is frozen or ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    },
    Ready {
        lease: LeaseId,
        epoch: Epoch,
        access: WorkerAccess,
    },
    Declined {
        lease: LeaseId,
        epoch: Epoch,
        reasons: Vec<BlockReason>,
        /// This renter would keep more here than the owner gives.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        no_room: Option<NoRoom>,
    },
    /// The owner says that a card which failed the market's check, or every one, is put right.
    CheckWanted {
        gpu: Option<GpuUuid>,
    },
    /// What came of the market's question to a card that waits for a job.
    Checked {
        gpu: GpuUuid,
        answer: CheckAnswer,
    },
}

/// See [`Report::Checked`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "data", rename_all = "snake_case")]
pub enum CheckAnswer {
    Proof(Proof),
    /// The card did not pass the host's own check.
    Failed {
        cause: String,
    },
    /// The owner is there, or something else stands against work on the card: it proves nothing now.
    NotNow,
}

impl Report {
    /// What was measured of a card, where it tells of that.
    #[must_use]
    pub fn proof(&self) -> Option<&Proof> {
        match self {
            Self::Ready { access, .. } => access.proof.as_ref(),
            Self::Checked { answer: CheckAnswer::Proof(proof), .. } => Some(proof),
            Self::Checked { .. }
            | Self::Offers { .. }
            | Self::Leases { .. }
            | Self::Lease { .. }
            | Self::Declined { .. }
            | Self::CheckWanted { .. } => None,
        }
    }
}

/// What the owner is told by a desktop notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice {
    JobArrived {
        image: String,
        renter: String,
    },
    JobFrozen {
        image: String,
        cause: Cause,
    },
    /// Four fifths of what may be carried in a month are used up.
    DataCapNear {
        used_mib: u64,
        cap_mib: u64,
    },
    /// All of it is. No job begins before the next month.
    DataCapReached {
        cap_mib: u64,
        stops: bool,
    },
    JobResumed {
        image: String,
    },
    /// A tenant goes past what it is held to; whether it is ended for it.
    Conduct {
        image: String,
        renter: String,
        breach: Breach,
        stops: bool,
    },
    JobEnded {
        image: String,
        reason: EndReason,
        earned: Money,
        electricity: Money,
        net: Money,
    },
    /// What the owner chose just now cannot be written to the settings file.
    SettingsUnsaved {
        detail: String,
    },
    /// The week that ended with Sunday.
    WeekOver {
        net: Money,
        #[ts(type = "number")]
        running_ms: u64,
        jobs: u32,
        /// When the next week is over.
        old_at: Timestamp,
    },
}

/// Collects effects; what takes a tenant off the card goes to the front.
#[derive(Default)]
pub(super) struct Outbox {
    urgent: Vec<Effect>,
    rest: Vec<Effect>,
}

impl Outbox {
    pub(super) fn push(&mut self, effect: Effect) {
        match effect {
            // A worker that is to be taken up again must be, before it can be frozen.
            Effect::Freeze { .. } | Effect::Stop { .. } | Effect::StopLoad { .. } | Effect::Adopt { .. } => {
                self.urgent.push(effect);
            }
            _ => self.rest.push(effect),
        }
    }

    pub(super) fn into_effects(self) -> Vec<Effect> {
        let mut effects = self.urgent;
        effects.extend(self.rest);
        effects
    }
}
