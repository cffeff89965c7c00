//! Whose power limit is set on which card, and what comes back. Pure: time and the driver's answers are arguments.
//!
//! What is to be written is remembered before it is written, so that a crash at any moment leaves enough to undo it. A
//! limit that another tool has set meanwhile is never touched.

use std::collections::{BTreeMap, BTreeSet};

use nightjar_core::gpu::GpuUuid;
use nightjar_gpu::MilliwattLimits;
use nightjar_protocol::helper::{CONFIRM_WITHIN_MS, HeldLimit, HelperErrorCode, HelperRefusal};
use serde::{Deserialize, Serialize};

/// More cards than any PC has; a bound on what a file or a caller can make this hold.
const MOST_CARDS: usize = 64;
/// Values that are remembered as good, for one card.
const MOST_KNOWN: usize = 256;
/// Between two tries to put back a limit while the driver does not answer.
pub const RETRY_MS: u64 = 5_000;
/// The most between two looks for a card that is not there: it may have been sold, or be plugged in again.
pub const RETRY_SELDOM_MS: u64 = 3_600_000;

/// One connection to the helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection(pub u64);

/// A value that must be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    until_ms: u64,
    /// What the card had before and surely works.
    before: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    found: u32,
    set: u32,
    /// Every value that may be on the card by our hand: more than one while a write is under way.
    ours: BTreeSet<u32>,
    /// `None`: nobody wants it any more, and it is to be put back.
    owner: Option<Connection>,
    pending: Option<Pending>,
    retry_at_ms: u64,
    /// How long was waited for that; 0 before the first time.
    pause_ms: u64,
}

impl Held {
    fn give_up(&mut self) {
        (self.owner, self.pending) = (None, None);
        self.try_at_once();
    }

    fn try_at_once(&mut self) {
        (self.retry_at_ms, self.pause_ms) = (0, 0);
    }

    /// When something is to be undone; `None` while it is wanted as it is.
    fn due_at_ms(&self) -> Option<u64> {
        match self.pending {
            Some(pending) => Some(pending.until_ms.max(self.retry_at_ms)),
            None => self.owner.is_none().then_some(self.retry_at_ms),
        }
    }
}

/// What survives a crash, in milliwatts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remembered {
    pub held: BTreeMap<GpuUuid, RememberedCard>,
    /// Values that a card has worked with.
    pub known: BTreeMap<GpuUuid, BTreeSet<u32>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedCard {
    pub found: u32,
    pub ours: BTreeSet<u32>,
}

/// All cards whose limit is ours.
#[derive(Clone, Debug, Default)]
pub struct Book {
    held: BTreeMap<GpuUuid, Held>,
    known: BTreeMap<GpuUuid, BTreeSet<u32>>,
}

/// What is to be written to a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub milliwatts: u32,
    pub confirm_within_ms: Option<u64>,
}

/// What is to be done with a limit that is no longer wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    Write {
        milliwatts: u32,
    },
    /// Another tool has set the limit since, or it is what was found.
    Leave,
}

impl Book {
    /// After a start: everything that an earlier helper held is to be put back.
    #[must_use]
    pub fn recall(remembered: Remembered) -> Self {
        let held = remembered.held.into_iter().take(MOST_CARDS).map(|(card, was)| {
            let set = was.ours.last().copied().unwrap_or(was.found);
            let (found, ours) = (was.found, was.ours);
            let held = Held { found, set, ours, owner: None, pending: None, retry_at_ms: 0, pause_ms: 0 };
            (card, held)
        });
        Self { held: held.collect(), known: remembered.known }
    }

    #[must_use]
    pub fn remember(&self) -> Remembered {
        let held = self.held.iter().map(|(card, held)| {
            (card.clone(), RememberedCard { found: held.found, ours: held.ours.clone() })
        });
        Remembered { held: held.collect(), known: self.known.clone() }
    }

    /// Takes a wish. The caller saves [`Book::remember`], writes, and tells [`Book::written`].
    ///
    /// # Errors
    /// When the card cannot have this limit.
    pub fn propose(
        &mut self,
        card: &GpuUuid,
        watts: u32,
        limits: MilliwattLimits,
        owner: Connection,
        now_ms: u64,
    ) -> Result<Proposal, HelperRefusal> {
        let milliwatts = watts.saturating_mul(1_000);
        if milliwatts < limits.min || milliwatts > limits.max {
            let range = (limits.min.div_ceil(1_000), limits.max / 1_000);
            return Err(HelperRefusal::new(
                HelperErrorCode::OutOfRange,
                format!(
                    "{watts} W is not set: this card takes {} to {} W; choose a limit between",
                    range.0, range.1
                ),
            ));
        }
        if !self.held.contains_key(card) && self.held.len() >= MOST_CARDS {
            return Err(HelperRefusal::new(HelperErrorCode::Busy, "too many cards are held already"));
        }
        let fresh = || Held {
            found: limits.current,
            set: limits.current,
            ours: BTreeSet::new(),
            owner: Some(owner),
            pending: None,
            retry_at_ms: 0,
            pause_ms: 0,
        };
        let held = self.held.entry(card.clone()).or_insert_with(fresh);
        if !held.ours.is_empty() && !held.ours.contains(&limits.current) {
            // Another tool owns the limit now, so what it has set is what comes back.
            *held = fresh();
        }
        let before = held.pending.map_or(held.set, |pending| pending.before);
        let is_known = [held.found, limits.default, before].contains(&milliwatts)
            || self.known.get(card).is_some_and(|known| known.contains(&milliwatts));
        held.owner = Some(owner);
        held.ours.insert(milliwatts);
        held.ours.insert(limits.current);
        held.set = milliwatts;
        held.try_at_once();
        let until_ms = now_ms.saturating_add(CONFIRM_WITHIN_MS);
        held.pending = (!is_known).then_some(Pending { until_ms, before });
        Ok(Proposal { milliwatts, confirm_within_ms: (!is_known).then_some(CONFIRM_WITHIN_MS) })
    }

    /// The driver took the value, or did not.
    pub fn written(&mut self, card: &GpuUuid, was_taken: bool) {
        let Some(held) = self.held.get_mut(card) else { return };
        if was_taken {
            held.ours = BTreeSet::from([held.set]);
        } else {
            // Which of the values is on the card is not known; all of them are ours, and what was found comes back.
            held.pending = None;
            held.owner = None;
        }
    }

    /// # Errors
    /// When this connection has set nothing there that waits.
    pub fn confirm(&mut self, card: &GpuUuid, owner: Connection, now_ms: u64) -> Result<(), HelperRefusal> {
        let nothing = || {
            HelperRefusal::new(
                HelperErrorCode::NothingToConfirm,
                "no limit of this card waits for a confirmation: it was confirmed before, or taken back after its time; \
                 set it again",
            )
        };
        let held = self.held.get_mut(card).filter(|held| held.owner == Some(owner)).ok_or_else(nothing)?;
        held.pending.filter(|pending| now_ms < pending.until_ms).ok_or_else(nothing)?;
        held.pending = None;
        let known = self.known.entry(card.clone()).or_default();
        if known.len() < MOST_KNOWN {
            known.insert(held.set);
        }
        Ok(())
    }

    /// Nobody wants this card's limit any more; [`Book::due`] names it from now on.
    pub fn give_up(&mut self, card: &GpuUuid) {
        if let Some(held) = self.held.get_mut(card) {
            held.give_up();
        }
    }

    /// Every card, at the end of the helper.
    pub fn give_up_all(&mut self) {
        self.held.values_mut().for_each(Held::give_up);
    }

    /// The connection is gone, and with it what it wanted.
    pub fn lose(&mut self, owner: Connection) {
        for held in self.held.values_mut().filter(|held| held.owner == Some(owner)) {
            held.give_up();
        }
    }

    /// Cards on which something must be undone now.
    #[must_use]
    pub fn due(&self, now_ms: u64) -> Vec<GpuUuid> {
        let is_due = |held: &Held| held.due_at_ms().is_some_and(|at| at <= now_ms);
        self.held.iter().filter(|(_, held)| is_due(held)).map(|(card, _)| card.clone()).collect()
    }

    /// When [`Book::due`] will name the next card.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.held.values().filter_map(Held::due_at_ms).min()
    }

    /// How a card that is due is undone, with the limit that the driver names now.
    #[must_use]
    pub fn undo(&self, card: &GpuUuid, current: u32) -> Undo {
        let Some(held) = self.held.get(card) else { return Undo::Leave };
        let back = held.pending.map_or(held.found, |pending| pending.before);
        if held.ours.contains(&current) && current != back {
            Undo::Write { milliwatts: back }
        } else {
            Undo::Leave
        }
    }

    /// It was undone, or is not ours to undo.
    pub fn undone(&mut self, card: &GpuUuid) {
        let Some(held) = self.held.get_mut(card) else { return };
        match held.pending.take() {
            // Back to a value of ours that is known to work, which is still wanted.
            Some(pending) if pending.before != held.found && held.owner.is_some() => {
                held.set = pending.before;
                held.ours = BTreeSet::from([pending.before]);
            }
            _ => drop(self.held.remove(card)),
        }
    }

    /// The driver did not answer: try again. A card that `is_gone` is looked for ever more seldom. Returns whether this is
    /// the first time since somebody cared.
    pub fn postpone(&mut self, card: &GpuUuid, now_ms: u64, is_gone: bool) -> bool {
        let Some(held) = self.held.get_mut(card) else { return false };
        let is_first = held.pause_ms == 0;
        let longer = held.pause_ms.saturating_mul(2).clamp(RETRY_MS, RETRY_SELDOM_MS);
        held.pause_ms = if is_gone { longer } else { RETRY_MS };
        held.retry_at_ms = now_ms.saturating_add(held.pause_ms);
        is_first
    }

    /// For a report, with no word of the driver in it yet.
    #[must_use]
    pub fn list(&self) -> Vec<HeldLimit> {
        let watts = |milliwatts: u32| f64::from(milliwatts) / 1_000.0;
        let listed = self.held.iter().map(|(card, held)| HeldLimit {
            gpu_uuid: card.clone(),
            found_watts: watts(held.found),
            set_watts: watts(held.set),
            current_watts: None,
            awaits_confirmation: held.pending.is_some(),
        });
        listed.collect()
    }
}

#[cfg(test)]
mod tests;
