//! A lease in words, for who rents it.

use nightjar_core::lease::{EndReason, LeaseState};
use nightjar_core::time::Timestamp;
use nightjar_core::volume::Footing;

use super::Texts;
use crate::market_api::Lease;

/// So much of a lease's name is enough to name it again.
const SHORT_NAME: usize = 8;

fn short(name: &str) -> String {
    name.get(..SHORT_NAME).unwrap_or(name).to_owned()
}

impl Texts {
    /// What its state means for the renter, and why it is so.
    #[must_use]
    pub fn rented(&self, lease: &Lease) -> String {
        let reason =
            |key: &str, reason: &EndReason| self.with(key, &[("reason", self.why_over(lease, reason))]);
        match &lease.state {
            LeaseState::Offered => self.plain("rented-offered"),
            LeaseState::Accepted => self.plain("rented-accepted"),
            LeaseState::Preparing => self.plain("rented-preparing"),
            LeaseState::Ready => self.plain("rented-ready"),
            LeaseState::Running => self.plain("rented-running"),
            LeaseState::Yielded => match lease.interruption {
                Some(interruption) => {
                    self.with("rented-frozen-why", &[("cause", self.cause(interruption.cause))])
                }
                None => self.plain("rented-frozen"),
            },
            LeaseState::Ending { reason: why } => reason("rented-ending", why),
            LeaseState::Ended { reason: why } => reason("rented-over", why),
        }
    }

    /// The class of cause says more than that the owner took the card; all other ends say more by themselves.
    fn why_over(&self, lease: &Lease, reason: &EndReason) -> String {
        match (reason, lease.interruption) {
            (EndReason::OwnerReturned | EndReason::OwnerStopped, Some(interruption)) => {
                self.cause(interruption.cause)
            }
            _ => self.end_reason(reason),
        }
    }

    /// What a lease may keep on its host in `/workspace`, and for how many days after its end.
    #[must_use]
    pub fn kept(&self, size: &str, days: u64, footing: Option<Footing>) -> String {
        let key = match footing {
            None => "rented-kept",
            Some(Footing { is_encrypted: true, .. }) => "rented-kept-encrypted",
            Some(Footing { has_quota: true, .. }) => "rented-kept-readable",
            Some(_) => "rented-kept-in-a-folder",
        };
        let kept = self.with(key, &[("size", size.to_owned()), ("days", days.to_string())]);
        match footing {
            Some(Footing { was_mended: true, .. }) => format!("{kept} {}", self.plain("rented-kept-mended")),
            _ => kept,
        }
    }

    /// Of a lease whose JupyterLab does not answer.
    #[must_use]
    pub fn without_jupyter(&self) -> String {
        self.plain("rented-without-jupyter")
    }

    /// How an interrupted lease goes on, and what a lease goes on for; none for most.
    #[must_use]
    pub fn succession(&self, lease: &Lease, clock: &dyn Fn(Timestamp) -> String) -> Vec<String> {
        let mut sentences = Vec::new();
        let named = |key: &str, name: &str| self.with(key, &[("lease", short(name))]);
        if let Some(before) = &lease.continues {
            sentences.push(named("rented-continues", &before.0));
        }
        if let Some(after) = &lease.continued_by {
            sentences.push(named("rented-goes-on-as", &after.0));
        }
        if let Some(waits) = lease.waits {
            let until = ("until", clock(waits.until));
            sentences.push(match waits.any_host_from {
                Some(from) => self.with("rented-waits", &[("from", clock(from)), until]),
                None => self.with("rented-waits-for-host", &[until]),
            });
        }
        sentences
    }
}
