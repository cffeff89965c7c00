//! How fast a pull may be: its share of the line, and the count of what it took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until};

/// What may come at once after a rest. Short, so that a line's queue is not filled by it.
const BURST: Duration = Duration::from_millis(50);

/// All pulls of a host share one; the measuring of the line has one each way. Cheap to read from other tasks.
#[derive(Debug)]
pub struct Pace {
    /// In kbit/s; `None` is as fast as the line is.
    limit: watch::Sender<Option<u32>>,
    /// When the line is free again for what was taken so far.
    free_at: Mutex<Instant>,
    taken_bytes: AtomicU64,
    /// Something is being fetched now.
    is_active: watch::Sender<bool>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            limit: watch::Sender::new(None),
            free_at: Mutex::new(Instant::now()),
            taken_bytes: AtomicU64::new(0),
            is_active: watch::Sender::new(false),
        }
    }
}

impl Pace {
    /// From now on; what waits for its turn hears of it at once.
    pub fn set_limit(&self, kbit: Option<u32>) {
        self.limit.send_if_modified(|known| std::mem::replace(known, kbit) != kbit);
    }

    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        *self.limit.borrow()
    }

    /// Everything that was taken since the start.
    #[must_use]
    pub fn taken_bytes(&self) -> u64 {
        self.taken_bytes.load(Ordering::Relaxed)
    }

    /// Whether something is being fetched.
    #[must_use]
    pub fn active(&self) -> watch::Receiver<bool> {
        self.is_active.subscribe()
    }

    pub fn set_active(&self, is_active: bool) {
        self.is_active.send_if_modified(|known| std::mem::replace(known, is_active) != is_active);
    }

    /// So many bytes have arrived.
    pub fn note(&self, bytes: usize) {
        self.taken_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What a rest has saved up is given away: what comes next keeps to the limit from its first byte on.
    pub async fn forget_rest(&self) {
        let mut free_at = self.free_at.lock().await;
        *free_at = (*free_at).max(Instant::now());
    }

    /// Waits until so many bytes that have arrived fit the limit.
    pub async fn fit(&self, bytes: usize) {
        let mut limit = self.limit.subscribe();
        let Some(kbit) = *limit.borrow_and_update() else { return };
        let mut free_at = self.free_at.lock().await;
        // Bits by kilobits a second are milliseconds.
        let cost = Duration::from_secs_f64(bytes as f64 * 8.0 / (f64::from(kbit.max(1)) * 1_000.0));
        let began = Instant::now();
        *free_at = (*free_at).max(began.checked_sub(BURST).unwrap_or(began)) + cost;
        let until = *free_at;
        drop(free_at);
        tokio::select! {
            () = sleep_until(until) => {}
            // Other limits hold from now on; this piece is paid for.
            _ = limit.changed() => {}
        }
    }
}

/// Whether something is being fetched, which is over with this at the latest.
#[derive(Debug)]
pub(super) struct Fetching(Arc<Pace>);

impl Fetching {
    pub fn begin(pace: Arc<Pace>) -> Self {
        Self(pace)
    }

    pub fn set(&self, is_active: bool) {
        self.0.set_active(is_active);
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.0.set_active(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_a_rest_that_was_forgotten_the_first_bytes_are_no_faster_than_the_limit() {
        let pace = Pace::default();
        pace.set_limit(Some(8_000));
        tokio::time::advance(Duration::from_secs(60)).await;
        for bytes in [10_000, 40_000] {
            pace.forget_rest().await;
            let began = Instant::now();
            pace.fit(bytes).await;
            assert!(began.elapsed() >= Duration::from_micros(bytes as u64), "{:?}", began.elapsed());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_keeps_to_the_limit_and_a_rest_saves_up_next_to_nothing() {
        let pace = Pace::default();
        pace.set_limit(Some(8_000));
        tokio::time::advance(Duration::from_secs(60)).await;
        let began = Instant::now();
        for _ in 0..100 {
            pace.note(10_000);
            pace.fit(10_000).await;
        }
        // A megabyte at a megabyte a second.
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(940) && took <= Duration::from_millis(1_010), "{took:?}");
        assert_eq!(pace.taken_bytes(), 1_000_000);
        pace.set_limit(None);
        let began = Instant::now();
        pace.fit(1_000_000_000).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
