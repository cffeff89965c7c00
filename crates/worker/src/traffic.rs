//! What has passed each gateway that stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use nightjar_core::lease::LeaseId;
use nightjar_core::network::{DataUse, Rates, Traffic};
use tokio::sync::watch;
use tokio::time::Instant;

/// By lease.
pub type Gateways = BTreeMap<LeaseId, GatewayTraffic>;

/// One gateway's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayTraffic {
    pub total: Traffic,
    /// Between the last two readings.
    pub rates: Rates,
    /// By the gateway's own clock.
    at_ms: u64,
    /// A gateway says nothing while nothing passes it. `None`: its counters are not known yet, and are nothing only where it
    /// is new; one that was taken up again may have carried much.
    pub heard: Option<Instant>,
}

impl GatewayTraffic {
    /// Adds to the month what passed. Counters that are not known yet change nothing: taken for nothing, they would have all
    /// that was counted before counted again with the gateway's next word.
    pub fn count(&self, lease: &LeaseId, used: &mut DataUse) {
        if self.heard.is_some() {
            used.take(lease, self.total);
        }
    }
}

#[derive(Debug)]
pub(crate) struct TrafficTable(watch::Sender<Gateways>);

impl Default for TrafficTable {
    fn default() -> Self {
        Self(watch::channel(Gateways::new()).0)
    }
}

/// A gateway's place in the table, given up when it is dropped.
pub(crate) struct Listed {
    table: Arc<TrafficTable>,
    lease: LeaseId,
}

impl TrafficTable {
    pub fn subscribe(&self) -> watch::Receiver<Gateways> {
        self.0.subscribe()
    }

    pub fn list(self: &Arc<Self>, lease: &LeaseId) -> Listed {
        let nothing =
            GatewayTraffic { total: Traffic::default(), rates: Rates::default(), at_ms: 0, heard: None };
        self.0.send_modify(|table| {
            table.insert(lease.clone(), nothing);
        });
        Listed { table: self.clone(), lease: lease.clone() }
    }

    pub fn note(&self, lease: &LeaseId, total: Traffic, at_ms: u64) {
        self.0.send_modify(|table| {
            let Some(known) = table.get_mut(lease) else { return };
            let (added, passed_ms) = (total.since(known.total), at_ms.saturating_sub(known.at_ms).max(1));
            // Bits in a millisecond are kilobits in a second.
            let kbit = |bytes: u64| u32::try_from(bytes.saturating_mul(8) / passed_ms).unwrap_or(u32::MAX);
            let rates = Rates { up_kbit: kbit(added.up_bytes), down_kbit: kbit(added.down_bytes) };
            *known = GatewayTraffic { total, rates, at_ms, heard: Some(Instant::now()) };
        });
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.table.0.send_modify(|table| {
            table.remove(&self.lease);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_rate_follows_from_the_gateways_own_clock() {
        let (table, lease) = (Arc::<TrafficTable>::default(), LeaseId("a".into()));
        let seen = table.subscribe();
        table.note(&lease, Traffic { up_bytes: 9, down_bytes: 9 }, 5);
        assert!(seen.borrow().is_empty(), "it does not stand yet");
        let listed = table.list(&lease);
        table.note(&lease, Traffic { up_bytes: 1_000, down_bytes: 0 }, 1_000);
        table.note(&lease, Traffic { up_bytes: 26_000, down_bytes: 50_000 }, 1_200);
        assert_eq!(seen.borrow()[&lease].rates, Rates { up_kbit: 1_000, down_kbit: 2_000 });
        drop(listed);
        assert!(seen.borrow().is_empty());
    }

    #[tokio::test]
    async fn one_that_is_taken_up_again_counts_only_what_came_since() {
        let (table, lease) = (Arc::<TrafficTable>::default(), LeaseId("a".into()));
        let total = |down_bytes| Traffic { up_bytes: 0, down_bytes };
        let mut used = DataUse::default();
        used.take(&lease, total(500));
        let seen = table.subscribe();
        let _listed = table.list(&lease);
        seen.borrow()[&lease].count(&lease, &mut used);
        table.note(&lease, total(600), 9_000);
        seen.borrow()[&lease].count(&lease, &mut used);
        assert_eq!(used.used(), total(600));
        table.note(&lease, total(700), 9_200);
        seen.borrow()[&lease].count(&lease, &mut used);
        assert_eq!(used.used(), total(700));
    }
}
