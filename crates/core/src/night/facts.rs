//! What the journal holds, and what follows from it at one instant.

use std::collections::BTreeMap;

use crate::gpu::GpuUuid;
use crate::lease::{Epoch, LeaseId, LeaseState};
use crate::market::WaitReason;
use crate::policy::Verdict;
use crate::time::Timestamp;

use super::{Absence, Block, Spent};

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub at: Timestamp,
    /// Which came first of two at one moment.
    pub order: u64,
    pub what: Happening,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// The program began: nothing that it said of a card before holds any more.
    Started,
    /// Its end, or the last moment at which it is known to have run.
    Ended {
        crashed: bool,
    },
    /// The PC was found to have slept from here on, until `Woke`.
    Slept,
    Woke,
    Verdict {
        gpu: GpuUuid,
        verdict: Verdict,
    },
    Lease {
        lease: LeaseId,
        epoch: Epoch,
        gpu: GpuUuid,
        state: LeaseState,
    },
    Market {
        gpu: GpuUuid,
        why: Option<WaitReason>,
    },
    /// The card proves itself to its market, from here on or until here.
    Proving {
        gpu: GpuUuid,
        on: bool,
    },
}

impl Fact {
    pub(super) fn gpu(&self) -> Option<&GpuUuid> {
        match &self.what {
            Happening::Verdict { gpu, .. }
            | Happening::Lease { gpu, .. }
            | Happening::Market { gpu, .. }
            | Happening::Proving { gpu, .. } => Some(gpu),
            _ => None,
        }
    }
}

/// One card at one instant.
#[derive(Debug, Default)]
struct Card {
    /// `None` until the program has decided; `Some(None)` is a card that may earn.
    verdict: Option<Option<Block>>,
    why: Option<WaitReason>,
    proving: bool,
    leases: BTreeMap<(LeaseId, Epoch), Spent>,
}

impl Card {
    /// What a job does on the card comes before what stands against the next one.
    fn spent(&self) -> Spent {
        if let Some(spent) = self.leases.values().min() {
            return *spent;
        }
        if self.proving {
            return Spent::Proving;
        }
        match self.verdict {
            None => Spent::NoCard,
            Some(None) => Spent::Waiting { why: self.why },
            Some(Some(by)) => Spent::Blocked { by },
        }
    }
}

/// Everything at one instant.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Runs that are under way: two at once where the wall clock was put back between them.
    runs: u32,
    naps: u32,
    crashed: bool,
    cards: BTreeMap<GpuUuid, Card>,
}

impl Standing {
    pub(super) fn take(&mut self, fact: &Fact) {
        match &fact.what {
            Happening::Started => {
                self.runs += 1;
                for card in self.cards.values_mut() {
                    card.verdict = None;
                    card.why = None;
                    card.proving = false;
                }
            }
            Happening::Ended { crashed } => {
                self.runs = self.runs.saturating_sub(1);
                self.crashed = *crashed;
            }
            Happening::Slept => self.naps += 1,
            Happening::Woke => self.naps = self.naps.saturating_sub(1),
            Happening::Verdict { gpu, verdict } => {
                let by = match verdict {
                    Verdict::Earn => None,
                    Verdict::Blocked { reasons, .. } => reasons.first().map(Block::from),
                };
                self.card(gpu).verdict = Some(by);
            }
            Happening::Market { gpu, why } => self.card(gpu).why = *why,
            Happening::Proving { gpu, on } => self.card(gpu).proving = *on,
            Happening::Lease { lease, epoch, gpu, state } => {
                let leases = &mut self.card(gpu).leases;
                let name = (lease.clone(), *epoch);
                match on_the_card(state) {
                    Some(spent) => leases.insert(name, spent),
                    None => leases.remove(&name),
                };
            }
        }
    }

    fn card(&mut self, gpu: &GpuUuid) -> &mut Card {
        self.cards.entry(gpu.clone()).or_default()
    }

    /// Where nothing ran, nothing was earned, whatever a lease's last entry says.
    fn absence(&self) -> Option<Spent> {
        let why = if self.naps > 0 {
            Absence::Asleep
        } else if self.runs > 0 {
            return None;
        } else if self.crashed {
            Absence::Crashed
        } else {
            Absence::Off
        };
        Some(Spent::NotRunning { why })
    }

    pub(super) fn of_card(&self, gpu: &GpuUuid) -> Spent {
        self.absence().unwrap_or_else(|| self.cards.get(gpu).map_or(Spent::NoCard, Card::spent))
    }

    pub(super) fn of_pc(&self) -> Spent {
        self.absence().unwrap_or_else(|| self.cards.values().map(Card::spent).min().unwrap_or(Spent::NoCard))
    }
}

/// What a lease in this state does with its card's time; `None` when it is not there.
fn on_the_card(state: &LeaseState) -> Option<Spent> {
    match state {
        LeaseState::Offered | LeaseState::Ended { .. } => None,
        LeaseState::Accepted | LeaseState::Preparing | LeaseState::Ready => Some(Spent::Preparing),
        LeaseState::Running => Some(Spent::Earned),
        LeaseState::Yielded => Some(Spent::Frozen),
        LeaseState::Ending { .. } => Some(Spent::Ending),
    }
}
