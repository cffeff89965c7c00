//! The life of one lease. Host and coordinator move a lease only by [`LeaseState::after`], so that neither can be in a
//! state that the other does not know.
//!
//! `Offered → Accepted → Preparing → Ready → Running ⇄ Yielded → Ending → Ended(reason)`; before `Running` also back to
//! `Offered`, on another card.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::gpu::GpuUuid;
use crate::money::Money;
use crate::proof::{Nonce, Proof, ProofFault};
use crate::time::Timestamp;
use crate::volume::{Footing, VolumeKey, VolumeTerms};

/// A lease's name, made by the coordinator: a UUID in its hyphenated form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(transparent)]
pub struct LeaseId(pub String);

impl std::fmt::Display for LeaseId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Fence of one placement of a lease. A message with another epoch than the one in force is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(transparent)]
pub struct Epoch(#[ts(type = "number")] pub u64);

const LONGEST_MODEL_BYTES: usize = 200;

/// A model's name on the hub (`Qwen/Qwen3-8B`) or a file in the worker; at most 200 bytes.
///
/// # Errors
/// What is wrong with it: it becomes an argument of the model's server.
pub fn check_model(name: &str) -> Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@+".contains(&byte);
    if name.is_empty() || name.len() > LONGEST_MODEL_BYTES {
        Err("the model's name is empty or longer than 200 bytes")
    } else if name.starts_with('-') || !name.bytes().all(plain) {
        Err("the model's name begins with a hyphen, or holds other than letters, digits and - _ . / : @ +")
    } else {
        Ok(())
    }
}

/// What host and renter agreed on. Written once, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct LeaseTerms {
    pub lease: LeaseId,
    pub epoch: Epoch,
    pub gpu: GpuUuid,
    /// Name and flavour in the catalogue, e.g. `pytorch-cuda:lite`.
    pub image: String,
    /// What the host is told of who rents: a pseudonym.
    pub renter: String,
    /// The renter's link identity: an ed25519 public key, 64 hexadecimal digits.
    pub renter_key: String,
    /// One line in OpenSSH's format.
    pub ssh_public_key: String,
    /// The renter asked to be root inside the container.
    #[serde(default)]
    pub root_inside: bool,
    /// The renter asked for Linux itself instead of gVisor. An owner whose tenants run in it does not take such a lease.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_sandbox: bool,
    /// A language model that the worker serves over OpenAI's API from its start: see [`check_model`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve_model: Option<String>,
    /// What the renter may keep on this host, and how long.
    #[serde(default)]
    pub volume: VolumeTerms,
    /// What that is encrypted with. The host takes it out before it writes the terms down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(skip)]
    pub volume_key: Option<VolumeKey>,
    /// What the renter pays for each hour of `Running`.
    pub price_per_hour: Money,
    /// The market's part of that, in hundredths of a percent.
    pub fee_basis_points: u32,
    pub offered_at: Timestamp,
    /// What the card is asked before this placement may be used.
    #[serde(default)]
    pub nonce: Nonce,
}

/// Why a lease is over. The first cause counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EndReason {
    /// The host did not take the offer.
    Declined,
    /// Nobody answered the offer in time.
    OfferExpired,
    RenterStopped,
    /// The host's owner ended this job by hand, turned earning off or snoozed it.
    OwnerStopped,
    /// The owner wants the card back (a game, a full-screen app).
    OwnerReturned,
    /// The owner stayed longer than a frozen tenant is kept.
    FrozenTooLong,
    BalanceExhausted,
    /// The worker did not pass its self-check; nothing was charged.
    SelfCheckFailed {
        cause: String,
    },
    PreparationFailed {
        cause: String,
    },
    /// The market did not take what the host sent as a proof of the card; nothing was charged.
    ProofRefused {
        why: ProofFault,
    },
    /// The worker ended by itself.
    WorkerDied {
        cause: String,
    },
    /// The host's agent was restarted and the worker was no longer there.
    HostRestarted,
    /// The coordinator has not heard of the host for too long.
    HostLost,
    /// A newer placement of the same lease is in force.
    Superseded,
}

/// Where a lease stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LeaseState {
    Offered,
    Accepted,
    Preparing,
    /// Worker up and self-check passed; not metered until the coordinator starts it.
    Ready,
    /// The only state that is metered.
    Running,
    /// Frozen for the owner; free for the renter.
    Yielded,
    Ending {
        reason: EndReason,
    },
    Ended {
        reason: EndReason,
    },
}

/// What happens to a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LeaseEvent {
    Accept,
    Prepare,
    BecomeReady,
    Start,
    Yield,
    Resume,
    /// The coordinator looks for another card: nothing of this placement has run.
    PlaceAgain,
    End {
        reason: EndReason,
    },
    /// Nothing of it is left on the host.
    Gone,
}

/// A step that the state machine does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lease that is {from:?} cannot take {event:?}")]
pub struct IllegalStep {
    pub from: LeaseState,
    pub event: LeaseEvent,
}

impl LeaseState {
    /// The state after `event`.
    ///
    /// # Errors
    /// When there is no such step; the lease stays as it was.
    pub fn after(&self, event: LeaseEvent) -> Result<Self, IllegalStep> {
        use LeaseEvent as E;
        match (self, event) {
            (Self::Offered, E::Accept) => Ok(Self::Accepted),
            (Self::Accepted, E::Prepare) => Ok(Self::Preparing),
            (Self::Preparing, E::BecomeReady) => Ok(Self::Ready),
            (Self::Ready, E::Start) | (Self::Yielded, E::Resume) => Ok(Self::Running),
            (Self::Running, E::Yield) => Ok(Self::Yielded),
            (Self::Accepted | Self::Preparing | Self::Ready, E::PlaceAgain) => Ok(Self::Offered),
            (Self::Offered, E::End { reason }) => Ok(Self::Ended { reason }),
            // The first cause counts, and an end that is under way is not begun again.
            (Self::Ending { reason }, E::End { .. }) => Ok(Self::Ending { reason: reason.clone() }),
            (Self::Ending { reason }, E::Gone) => Ok(Self::Ended { reason: reason.clone() }),
            (from, E::End { reason }) if !from.is_over() => Ok(Self::Ending { reason }),
            (from, event) => Err(IllegalStep { from: from.clone(), event }),
        }
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }

    /// The renter may reach the worker.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        matches!(self, Self::Ready | Self::Running | Self::Yielded)
    }
}

/// What a renter needs to reach a worker that is ready. Nothing here is secret to the renter of the lease; the Jupyter
/// token is a secret towards everybody else and is left out of logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct WorkerAccess {
    /// The worker's SSH host key, one line in OpenSSH's format.
    pub ssh_host_key: String,
    pub jupyter_token: String,
    /// The card's name as the self-check read it inside the worker.
    pub device_name: String,
    /// What the card was seen to do.
    #[serde(default)]
    pub proof: Option<Proof>,
    /// What the renter's volume stands on; `None` from a host that does not say.
    #[serde(default)]
    pub volume: Option<Footing>,
}

impl std::fmt::Debug for WorkerAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerAccess").field("device_name", &self.device_name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_event() -> impl Strategy<Value = LeaseEvent> {
        prop_oneof![
            Just(LeaseEvent::Accept),
            Just(LeaseEvent::Prepare),
            Just(LeaseEvent::BecomeReady),
            Just(LeaseEvent::Start),
            Just(LeaseEvent::Yield),
            Just(LeaseEvent::Resume),
            Just(LeaseEvent::PlaceAgain),
            Just(LeaseEvent::End { reason: EndReason::RenterStopped }),
            Just(LeaseEvent::End { reason: EndReason::OwnerReturned }),
            Just(LeaseEvent::Gone),
        ]
    }

    #[test]
    fn terms_of_before_gvisor_are_read_as_before_and_those_without_a_wish_are_written_so() {
        let terms = crate::host::sample::terms("lease", 1, "GPU-0");
        let written = serde_json::to_value(&terms).unwrap();
        assert_eq!(written.get("no_sandbox"), None);
        assert_eq!(serde_json::from_value::<LeaseTerms>(written).unwrap(), terms);
        let terms = LeaseTerms { no_sandbox: true, ..terms };
        let written = serde_json::to_string(&terms).unwrap();
        assert_eq!(serde_json::from_str::<LeaseTerms>(&written).unwrap(), terms);
    }

    proptest! {
        #[test]
        fn over_is_final_and_the_first_cause_counts(events in proptest::collection::vec(any_event(), 0..40)) {
            let mut state = LeaseState::Offered;
            let mut cause = None;
            for event in events {
                let Ok(next) = state.after(event.clone()) else { continue };
                prop_assert!(!state.is_over());
                if let (None, LeaseEvent::End { reason }) = (&cause, &event) {
                    cause = Some(reason.clone());
                }
                if let LeaseState::Ending { reason } | LeaseState::Ended { reason } = &next {
                    prop_assert_eq!(Some(reason), cause.as_ref());
                }
                state = next;
            }
        }

        #[test]
        fn running_is_reached_only_through_ready(events in proptest::collection::vec(any_event(), 0..40)) {
            let mut state = LeaseState::Offered;
            let mut was_ready = false;
            for event in events {
                if let Ok(next) = state.after(event) { state = next }
                was_ready = (was_ready && state != LeaseState::Offered) || state == LeaseState::Ready;
                prop_assert!(state != LeaseState::Running || was_ready);
            }
        }
    }
}
