//! A tenant that stands frozen: whether its work on the card has stopped, and whether it is let go.

use super::{Job, Worker};
use crate::host::effect::{Outbox, StopHow};
use crate::lease::{EndReason, LeaseState};
use crate::parting::Cause;
use crate::time::Timestamp;

/// What was on its way to the card when its tenant froze has ended by then, and the driver's figures are of the time after.
const RESIDUE_AFTER_MS: u64 = 3_000;
/// So many looks in a row, a second apart.
const RESIDUE_LOOKS: u32 = 3;
/// What anybody but the helper can end has mostly ended by then.
const ENDS_WITHIN_MS: u64 = 5_000;

impl Job {
    /// A look at the card: whether what it was given before goes on although the tenant is frozen.
    pub(in crate::host) fn watch_residue(
        &mut self,
        is_busy: bool,
        energy: Option<u64>,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let Worker::Frozen { since } = self.worker else { return };
        let is_left = is_busy && now.since_ms(since) >= RESIDUE_AFTER_MS;
        self.residue_looks = if is_left { self.residue_looks.saturating_add(1) } else { 0 };
        if self.residue_looks >= RESIDUE_LOOKS {
            let cause = self.cause.unwrap_or(Cause::OwnerBack);
            self.end_for(cause, EndReason::OwnerReturned, StopHow::Kill, energy, now, out);
        }
    }

    /// It was to go on or to end, stands frozen, and does not.
    pub(in crate::host) fn hangs_frozen(&self, now: Timestamp) -> bool {
        match (&self.state, self.worker) {
            (LeaseState::Yielded, Worker::Thawing) => true,
            (LeaseState::Ending { .. }, _) => {
                self.ends_frozen && now.since_ms(self.state_since) >= ENDS_WITHIN_MS
            }
            _ => false,
        }
    }

    /// Whether it runs in gVisor; `None` where an earlier run began it.
    pub(in crate::host) fn is_in_sandbox(&self) -> Option<bool> {
        self.in_sandbox
    }
}
