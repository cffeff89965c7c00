//! The share of the line that images from a registry have.

use std::sync::Arc;
use std::time::Duration;

use nightjar_core::lease::LeaseId;
use nightjar_core::network::{DataUse, Rates, Traffic};
use nightjar_worker::pull::Pace;
use tokio::sync::watch;
use tokio::time::Instant;

/// In the month's count, where everything else is a lease. No lease has such a name.
const PULLS: &str = "images from a registry";

/// A rate is measured over so long at least: pieces come at once, and between two answers of a probe there is one or none.
const LOOK_AT_LEAST: Duration = Duration::from_millis(200);

pub(super) struct PullShare {
    pace: Arc<Pace>,
    active: watch::Receiver<bool>,
    /// What was taken when it was last measured, and when that was.
    seen: (u64, Instant),
    carried_kbit: u32,
}

impl PullShare {
    pub fn new(pace: Arc<Pace>) -> Self {
        let (active, seen) = (pace.active(), (pace.taken_bytes(), Instant::now()));
        Self { pace, active, seen, carried_kbit: 0 }
    }

    pub fn active(&self) -> watch::Receiver<bool> {
        self.active.clone()
    }

    pub fn is_active(&self) -> bool {
        *self.active.borrow()
    }

    /// The counter begins at nothing with this program.
    pub fn begin(&self, used: &mut DataUse) {
        used.forget(&LeaseId(PULLS.to_owned()));
    }

    pub fn count(&self, used: &mut DataUse) {
        let total = Traffic { up_bytes: 0, down_bytes: self.pace.taken_bytes() };
        if total.down_bytes > 0 {
            used.take(&LeaseId(PULLS.to_owned()), total);
        }
    }

    /// Measures what is carried, if it is time for it: others may ask at any moment.
    pub fn look(&mut self, at: Instant) {
        let passed = at.saturating_duration_since(self.seen.1);
        if passed < LOOK_AT_LEAST {
            return;
        }
        let (bytes, passed_ms) =
            (self.pace.taken_bytes(), u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
        // Bits in a millisecond are kilobits in a second.
        let kbit = (bytes - self.seen.0).saturating_mul(8) / passed_ms;
        self.carried_kbit = u32::try_from(kbit).unwrap_or(u32::MAX);
        self.seen = (bytes, at);
    }

    pub fn carried(&self) -> Rates {
        Rates { up_kbit: 0, down_kbit: if self.is_active() { self.carried_kbit } else { 0 } }
    }

    pub fn set(&self, down_kbit: Option<u32>) {
        self.pace.set_limit(down_kbit);
    }
}

pub(super) fn is_pulls(lease: &LeaseId) -> bool {
    lease.0 == PULLS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_counts_nothing_twice_and_nothing_too_little() {
        let (share, mut used) = (PullShare::new(Arc::default()), DataUse::default());
        let name = LeaseId(PULLS.to_owned());
        used.take(&name, Traffic { up_bytes: 0, down_bytes: 500 });
        share.begin(&mut used);
        share.count(&mut used);
        assert_eq!(used.used().down_bytes, 500);
        used.take(&name, Traffic { up_bytes: 0, down_bytes: 700 });
        assert_eq!(used.used().down_bytes, 1_200);
    }

    /// Forty looks a second, as answers of probes make them.
    #[test]
    fn a_rate_is_steady_however_often_it_is_looked_at() {
        let (pace, began) = (Arc::<Pace>::default(), Instant::now());
        let mut share = PullShare::new(pace.clone());
        pace.set_active(true);
        let mut rates = Vec::new();
        for step in 1..=500_u32 {
            // 20 Mbit/s in pieces of 32 KiB, each 13 ms or so.
            let due_bytes = u64::from(step) * 25_000;
            while pace.taken_bytes() + 32 * 1_024 <= due_bytes {
                pace.note(32 * 1_024);
            }
            share.look(began + Duration::from_millis(10) * step);
            rates.push(share.carried().down_kbit);
        }
        // The first fifth of a second has measured nothing.
        let (least, most) = (rates[25..].iter().min().unwrap(), rates[25..].iter().max().unwrap());
        assert!(*least >= 18_000 && *most <= 22_000, "{least} to {most} kbit/s");
        assert!(rates.windows(2).filter(|pair| pair[0] != pair[1]).count() <= 25, "{rates:?}");
    }
}
