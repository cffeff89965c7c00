//! The share of the line that its own measuring has: all of it, since it waits until nothing else is on it.

use std::sync::Arc;

use nightjar_core::lease::LeaseId;
use nightjar_core::network::{DataUse, Rates, Traffic};
use tokio::sync::watch;

use crate::line_check::LinePaces;

/// In the month's count, where everything else is a lease. No lease has such a name.
const LINE: &str = "the market's measuring of the line";

pub(super) struct LineShare {
    paces: Arc<LinePaces>,
}

impl LineShare {
    pub fn new(paces: Arc<LinePaces>) -> Self {
        Self { paces }
    }

    /// Whether it is measured now.
    pub fn active(&self) -> watch::Receiver<bool> {
        self.paces.down.active()
    }

    /// The counter begins at nothing with this program.
    pub fn begin(&self, used: &mut DataUse) {
        used.forget(&LeaseId(LINE.to_owned()));
    }

    pub fn count(&self, used: &mut DataUse) {
        let total =
            Traffic { up_bytes: self.paces.up.taken_bytes(), down_bytes: self.paces.down.taken_bytes() };
        if total.sum() > 0 {
            used.take(&LeaseId(LINE.to_owned()), total);
        }
    }

    pub fn set(&self, rates: Rates) {
        self.paces.down.set_limit(Some(rates.down_kbit));
        self.paces.up.set_limit(Some(rates.up_kbit));
    }
}

pub(super) fn is_line(lease: &LeaseId) -> bool {
    lease.0 == LINE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_count_and_a_restart_counts_nothing_twice() {
        let (paces, mut used) = (Arc::new(LinePaces::default()), DataUse::default());
        let share = LineShare::new(paces.clone());
        share.count(&mut used);
        paces.down.note(700);
        paces.up.note(300);
        share.count(&mut used);
        share.count(&mut used);
        assert_eq!(used.used(), Traffic { up_bytes: 300, down_bytes: 700 });
        let share = LineShare::new(Arc::default());
        share.begin(&mut used);
        share.count(&mut used);
        assert_eq!(used.used().sum(), 1_000);
        share.set(Rates { up_kbit: 1, down_kbit: 2 });
        assert_eq!((share.paces.up.limit(), share.paces.down.limit()), (Some(1), Some(2)));
    }
}
