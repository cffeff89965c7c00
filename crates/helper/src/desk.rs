//! The cards in one hand: the book of limits, the file, the driver.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nightjar_core::gpu::GpuUuid;
use nightjar_gpu::{GpuError, MilliwattLimits, Nvml};
use nightjar_protocol::helper::{HeldLimit, HelperAnswer, HelperErrorCode, HelperRefusal};

use crate::limits::{Book, Connection, Remembered, Undo};
use crate::memory::Memory;

/// What the driver is asked.
pub trait Cards: Send {
    /// # Errors
    /// When there is no such card or the driver fails.
    fn limits(&self, card: &GpuUuid) -> Result<Option<MilliwattLimits>, GpuError>;

    /// # Errors
    /// When the driver does not take it.
    fn set(&self, card: &GpuUuid, milliwatts: u32) -> Result<(), GpuError>;
}

/// NVIDIA's driver; opened for each question, so that a card may sleep between two.
#[derive(Clone, Copy, Debug, Default)]
pub struct Driver;

impl Cards for Driver {
    fn limits(&self, card: &GpuUuid) -> Result<Option<MilliwattLimits>, GpuError> {
        Nvml::open_without_cards()?.power_limits(card)
    }

    fn set(&self, card: &GpuUuid, milliwatts: u32) -> Result<(), GpuError> {
        Nvml::open_without_cards()?.set_power_limit(card, milliwatts)
    }
}

struct Held {
    book: Book,
    cards: Box<dyn Cards>,
    memory: Memory,
    /// What the file holds.
    saved: Remembered,
    over: bool,
}

impl Held {
    /// Nothing is written that is there already: a disk need not wake for it.
    fn save(&mut self) -> anyhow::Result<()> {
        let wanted = self.book.remember();
        if wanted != self.saved {
            self.memory.save(&wanted)?;
            self.saved = wanted;
        }
        Ok(())
    }
}

/// See the module's text.
pub struct Desk {
    held: Mutex<Held>,
    changed: Condvar,
    started: Instant,
}

impl Desk {
    /// Puts back what an earlier helper has left on the cards.
    #[must_use]
    pub fn open(cards: Box<dyn Cards>, memory: Memory) -> Self {
        let saved = memory.load();
        let book = Book::recall(saved.clone());
        let desk = Self {
            held: Mutex::new(Held { book, cards, memory, saved, over: false }),
            changed: Condvar::new(),
            started: Instant::now(),
        };
        desk.tend(&mut desk.lock());
        desk
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // A book is whole after each of its calls.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// # Errors
    /// Why the card does not have this limit now.
    pub fn set(&self, card: &GpuUuid, watts: u32, owner: Connection) -> Result<HelperAnswer, HelperRefusal> {
        let mut held = self.lock();
        let limits = held.cards.limits(card).map_err(refused)?.ok_or_else(|| {
            HelperRefusal::new(
                HelperErrorCode::NotSupported,
                "the driver does not manage the power limit of this card, so it stays as it is; renting works all the same",
            )
        })?;
        let before = held.book.clone();
        let wish = held.book.propose(card, watts, limits, owner, self.now_ms())?;
        if let Err(error) = held.save() {
            // Without a note of what was found, nothing is changed.
            held.book = before;
            return Err(HelperRefusal::new(
                HelperErrorCode::State,
                format!(
                    "the limit is not set: the helper cannot note what it found ({error:#}); free some disk space"
                ),
            ));
        }
        let set = held.cards.set(card, wish.milliwatts);
        held.book.written(card, set.is_ok());
        self.note(&mut held);
        self.changed.notify_all();
        set.map_err(refused)?;
        Ok(HelperAnswer::PowerSet {
            gpu_uuid: card.clone(),
            watts,
            confirm_within_ms: wish.confirm_within_ms,
        })
    }

    /// # Errors
    /// When nothing waits for it.
    pub fn confirm(&self, card: &GpuUuid, owner: Connection) -> Result<(), HelperRefusal> {
        let mut held = self.lock();
        held.book.confirm(card, owner, self.now_ms())?;
        self.note(&mut held);
        Ok(())
    }

    /// One card, or all.
    pub fn restore(&self, card: Option<&GpuUuid>) {
        let mut held = self.lock();
        match card {
            Some(card) => held.book.give_up(card),
            None => held.book.give_up_all(),
        }
        self.tend(&mut held);
    }

    /// The connection is gone.
    pub fn lose(&self, owner: Connection) {
        let mut held = self.lock();
        held.book.lose(owner);
        self.tend(&mut held);
    }

    #[must_use]
    pub fn list(&self) -> Vec<HeldLimit> {
        let held = self.lock();
        let mut list = held.book.list();
        for card in &mut list {
            let limits = held.cards.limits(&card.gpu_uuid).ok().flatten();
            card.current_watts = limits.map(|limits| f64::from(limits.current) / 1_000.0);
        }
        list
    }

    /// Takes back what is not confirmed in time, and tries again what could not be put back. Returns at the end.
    pub fn keep(&self) {
        let mut held = self.lock();
        while !held.over {
            self.tend(&mut held);
            let wait = held.book.next_deadline_ms().map(|at| at.saturating_sub(self.now_ms()).max(1));
            held = match wait {
                Some(ms) => {
                    let waited = self.changed.wait_timeout(held, Duration::from_millis(ms));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(held).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Puts everything back and ends [`Desk::keep`].
    pub fn close(&self) {
        let mut held = self.lock();
        held.over = true;
        held.book.give_up_all();
        self.tend(&mut held);
        self.changed.notify_all();
    }

    fn tend(&self, held: &mut Held) {
        let due = held.book.due(self.now_ms());
        for card in &due {
            let Err(error) = self.undo(held, card) else {
                held.book.undone(card);
                continue;
            };
            let is_gone = is_unknown(&error);
            let is_first = held.book.postpone(card, self.now_ms(), is_gone);
            if is_first && is_gone {
                tracing::warn!(%card, "the driver knows no such card; its limit is put back when it does, tried ever more seldom: {error}");
            } else if !is_gone {
                tracing::warn!(%card, "the limit is not put back yet: {error}");
            }
        }
        if !due.is_empty() {
            self.note(held);
            self.changed.notify_all();
        }
    }

    /// Nothing is left to do, unless it fails.
    fn undo(&self, held: &Held, card: &GpuUuid) -> Result<(), GpuError> {
        // Without limits there is nothing that could be put back.
        let Some(limits) = held.cards.limits(card)? else { return Ok(()) };
        match held.book.undo(card, limits.current) {
            Undo::Leave => Ok(()),
            Undo::Write { milliwatts } => {
                tracing::info!(%card, milliwatts, "the limit is put back");
                held.cards.set(card, milliwatts)
            }
        }
    }

    fn note(&self, held: &mut Held) {
        if let Err(error) = held.save() {
            tracing::error!("what is held cannot be noted: {error:#}");
        }
    }
}

/// What NVML says of a name that it does not know.
fn is_unknown(error: &GpuError) -> bool {
    matches!(error, GpuError::Other { code: 2 | 6, .. })
}

fn refused(error: GpuError) -> HelperRefusal {
    let code = match &error {
        error if is_unknown(error) => HelperErrorCode::NoSuchCard,
        GpuError::Other { code: 3, .. } => HelperErrorCode::NotSupported,
        _ => HelperErrorCode::Driver,
    };
    HelperRefusal::new(code, error.to_string())
}
