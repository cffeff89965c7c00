//! Which hosts are connected to this process, and what they offer while they are.

mod checks;
mod lines;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nightjar_core::demand::DemandFigures;
use nightjar_core::gpu::GpuUuid;
use nightjar_core::line_check::LineFigures;
use nightjar_core::market::{CardOffer, WaitReason};
use nightjar_core::time::Timestamp;
use nightjar_protocol::host_session::ToHost;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A host that has not read this many orders does not read at all.
const MOST_WAITING_ORDERS: usize = 256;
/// How often a host may be told why no job comes to it, in milliseconds.
const WORD_EVERY_MS: u64 = 60_000;

#[derive(Debug, Default)]
pub(crate) struct Registry {
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    last_id: u64,
    by_host: HashMap<String, Entry>,
    line_turn: Option<lines::Turn>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    orders: mpsc::Sender<ToHost>,
    /// Ends the session's task.
    end: CancellationToken,
    region: String,
    offers: Vec<CardOffer>,
    /// When it was last looked why no job comes to these cards, and what was told of it.
    looked_at: Option<Timestamp>,
    told: Vec<(GpuUuid, WaitReason)>,
    /// What was told of the demand for its cards.
    demand: Vec<(GpuUuid, DemandFigures)>,
    /// Of the cards on offer.
    checks: HashMap<GpuUuid, checks::CardCheck>,
    /// When its line is measured next; `None` until that is drawn.
    line_at: Option<Timestamp>,
    /// What was measured of it.
    line: Option<LineFigures>,
}

/// A session's own end of its entry.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) id: u64,
    pub(crate) orders: mpsc::Receiver<ToHost>,
    pub(crate) end: CancellationToken,
}

/// One card that a connected host offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) host_id: String,
    pub(crate) region: String,
    pub(crate) card: CardOffer,
}

impl Registry {
    /// Enters a session. An older one of the same host ends: the host has given it up, whether the network says so yet
    /// or not.
    pub(crate) fn enter(&self, host_id: &str, parent: &CancellationToken) -> Seat {
        let (sender, orders) = mpsc::channel(MOST_WAITING_ORDERS);
        let end = parent.child_token();
        let mut sessions = self.lock();
        sessions.last_id += 1;
        let id = sessions.last_id;
        let entry = Entry {
            id,
            orders: sender,
            end: end.clone(),
            region: String::new(),
            offers: Vec::new(),
            looked_at: None,
            told: Vec::new(),
            demand: Vec::new(),
            checks: HashMap::new(),
            line_at: None,
            line: None,
        };
        if let Some(older) = sessions.by_host.insert(host_id.to_owned(), entry) {
            older.end.cancel();
        }
        Seat { id, orders, end }
    }

    /// Removes a session unless a newer one took its place.
    pub(crate) fn leave(&self, host_id: &str, id: u64) {
        let mut sessions = self.lock();
        if sessions.by_host.get(host_id).is_some_and(|entry| entry.id == id) {
            sessions.by_host.remove(host_id);
        }
    }

    /// Replaces what a session offers.
    pub(crate) fn set_offers(&self, host_id: &str, id: u64, region: String, offers: Vec<CardOffer>) {
        if let Some(entry) = self.lock().by_host.get_mut(host_id).filter(|entry| entry.id == id) {
            entry.region = region;
            entry.offers = offers;
            entry.keep_checks();
        }
    }

    /// Hands an order to a host. One that is away or does not read learns of it when it connects again.
    pub(crate) fn send(&self, host_id: &str, order: ToHost) {
        let mut sessions = self.lock();
        let Some(entry) = sessions.by_host.get_mut(host_id) else { return };
        if let ToHost::Offer(terms) = &order {
            entry.call_off_check(&terms.gpu);
        }
        if entry.orders.try_send(order).is_err() {
            tracing::warn!(host_id, "the host does not read its orders; its session is ended");
            entry.end.cancel();
        }
    }

    pub(crate) fn is_connected(&self, host_id: &str) -> bool {
        self.lock().by_host.contains_key(host_id)
    }

    /// Hosts with cards on offer, or with a word on the demand for them that grows old, that were not looked at within the
    /// minute; they count as looked at from now on.
    pub(crate) fn due_for_a_word(&self, now: Timestamp) -> Vec<String> {
        let mut sessions = self.lock();
        let is_due = |entry: &Entry| {
            (!entry.offers.is_empty() || !entry.demand.is_empty())
                && entry.looked_at.is_none_or(|looked| now.since_ms(looked) >= WORD_EVERY_MS)
        };
        let due = sessions.by_host.iter_mut().filter(|(_, entry)| is_due(entry));
        due.map(|(host_id, entry)| {
            entry.looked_at = Some(now);
            host_id.clone()
        })
        .collect()
    }

    /// A host is told anew why no job comes, at the next look.
    pub(crate) fn look_soon(&self, host_id: &str) {
        if let Some(entry) = self.lock().by_host.get_mut(host_id) {
            entry.looked_at = None;
        }
    }

    /// Whether these words differ from the last ones; they are the last ones from now on.
    pub(crate) fn is_news(&self, host_id: &str, words: &Vec<(GpuUuid, WaitReason)>) -> bool {
        self.lock().by_host.get_mut(host_id).is_some_and(|entry| {
            let is_news = entry.told != *words;
            entry.told.clone_from(words);
            is_news
        })
    }

    /// The same of the demand for cards such as its own.
    pub(crate) fn is_new_demand(&self, host_id: &str, words: &Vec<(GpuUuid, DemandFigures)>) -> bool {
        self.lock().by_host.get_mut(host_id).is_some_and(|entry| {
            let is_news = entry.demand != *words;
            entry.demand.clone_from(words);
            is_news
        })
    }

    /// What one host offers.
    pub(crate) fn listings_of(&self, host_id: &str) -> Vec<Listing> {
        let sessions = self.lock();
        sessions.by_host.get_key_value(host_id).map(of_host).unwrap_or_default()
    }

    /// Everything on offer, in no order.
    pub(crate) fn listings(&self) -> Vec<Listing> {
        let sessions = self.lock();
        sessions.by_host.iter().flat_map(of_host).collect()
    }

    /// A panic elsewhere cannot leave the map half changed: every change is one call.
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of_host((host_id, entry): (&String, &Entry)) -> Vec<Listing> {
    let listing = |card: &CardOffer| Listing {
        host_id: host_id.clone(),
        region: entry.region.clone(),
        card: card.clone(),
    };
    entry.offers.iter().map(listing).collect()
}
