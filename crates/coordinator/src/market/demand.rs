//! Tells hosts how much cards such as theirs are wanted.

use std::collections::{HashMap, HashSet};

use nightjar_core::demand::{CardNow, DemandFigures, Kept, PastLease, Request, figures};
use nightjar_core::gpu::GpuUuid;
use nightjar_core::market::CardOffer;
use nightjar_core::time::Timestamp;
use nightjar_protocol::host_session::ToHost;
use sqlx::sqlite::SqliteConnection;

use super::{Failure, Market};
use crate::registry::Listing;
use crate::store::leases::LeaseRecord;
use crate::store::{demand, requests};

/// What is on the market at one moment. What was read of a kind of card is read once for all hosts that have such cards.
pub(super) struct Look<'a> {
    pub(super) open: &'a [LeaseRecord],
    pub(super) requests: &'a [Request],
    listings: Vec<Listing>,
    busy: HashSet<(&'a str, &'a GpuUuid)>,
    kinds: HashMap<(String, String), Kind>,
    pub(super) now: Timestamp,
}

/// The cards of one model in one region.
struct Kind {
    cards: Vec<CardNow>,
    leases: Vec<PastLease>,
    leases_since: Timestamp,
}

impl<'a> Look<'a> {
    pub(super) fn new(
        listings: Vec<Listing>,
        open: &'a [LeaseRecord],
        requests: &'a [Request],
        now: Timestamp,
    ) -> Self {
        let busy = open.iter().map(|lease| (lease.placement.host_id.as_str(), &lease.placement.card.gpu));
        Self { open, requests, listings, busy: busy.collect(), kinds: HashMap::new(), now }
    }

    /// Promised to a lease.
    pub(super) fn is_busy(&self, listing: &Listing) -> bool {
        self.busy.contains(&(listing.host_id.as_str(), &listing.card.gpu))
    }

    fn cards_of_kind(&self, model: &str, region: &str) -> Vec<CardNow> {
        let is_meant = |card: &CardOffer, at: &str| card.model == model && at.eq_ignore_ascii_case(region);
        let free = self
            .listings
            .iter()
            .filter(|listing| is_meant(&listing.card, &listing.region) && !self.is_busy(listing))
            .map(|listing| CardNow { host_id: listing.host_id.clone(), is_rented: false });
        let rented = self
            .open
            .iter()
            .map(|lease| &lease.placement)
            .filter(|placement| is_meant(&placement.card, &placement.region))
            .map(|placement| CardNow { host_id: placement.host_id.clone(), is_rented: true });
        free.chain(rented).collect()
    }
}

impl Market {
    /// Of each card of this host that is on the market, free or rented; what was said before is not said again.
    pub(super) async fn tell_demand(
        &self,
        host_id: &str,
        look: &mut Look<'_>,
        db: &mut SqliteConnection,
    ) -> Result<(), Failure> {
        let offered = self.registry.listings_of(host_id).into_iter().map(|own| (own.region, own.card));
        let rented = look.open.iter().map(|lease| &lease.placement).filter(|own| own.host_id == host_id);
        let rented = rented.map(|own| (own.region.clone(), own.card.clone()));
        let mut words: Vec<(GpuUuid, DemandFigures)> = Vec::new();
        for (region, card) in offered.chain(rented) {
            let key = (card.model.clone(), region.to_ascii_lowercase());
            if !look.kinds.contains_key(&key) {
                let of = (card.model.as_str(), region.as_str());
                let (leases, leases_since) =
                    demand::past_leases(db, of, self.currency, demand::MOST_LEASES, look.now).await?;
                let cards = look.cards_of_kind(&card.model, &region);
                look.kinds.insert(key.clone(), Kind { cards, leases, leases_since });
            }
            let Some(kind) = look.kinds.get(&key) else { continue };
            let kept = Kept {
                requests: look.requests,
                requests_since: requests::whole_since(look.requests, look.now),
                cards: &kind.cards,
                leases: &kind.leases,
                leases_since: kind.leases_since,
            };
            let told = figures(&card, &region, kept, look.now);
            if !told.is_silent() && words.iter().all(|(gpu, _)| *gpu != card.gpu) {
                words.push((card.gpu, told));
            }
        }
        if self.registry.is_new_demand(host_id, &words) {
            self.registry.send(host_id, ToHost::Demand { cards: words });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nightjar_core::demand::WEEK_MS;
    use nightjar_core::lease::{LeaseId, LeaseState};

    use super::*;
    use crate::market::sweep::tests::{START, lease_in, market};
    use crate::store::renters::{self, Renter};
    use crate::store::{hosts, leases};

    #[tokio::test]
    async fn leases_of_the_model_and_region_are_found_and_a_list_that_was_cut_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let market = market(folder.path()).await;
        let mut tx = market.store.write().await.unwrap();
        let host_id = hosts::enter(tx.connection(), "h", "k", START).await.unwrap();
        let renter = Renter { id: "r".into(), name: "r".into(), created_at: START };
        renters::add(tx.connection(), &renter, "t").await.unwrap();
        let mut add = async |name: &str, model: &str, region: &str, started: bool, at: Timestamp| {
            let mut lease = lease_in(LeaseState::Running, &host_id);
            (lease.id, lease.created_at) = (LeaseId(name.into()), at);
            lease.placement.card.gpu = GpuUuid(name.into());
            (lease.placement.card.model, lease.placement.region) = (model.into(), region.into());
            lease.placement.started_at = started.then_some(at);
            leases::add(tx.connection(), &lease).await.unwrap();
            leases::save(tx.connection(), &lease).await.unwrap();
        };
        add("1", "m", "home", true, START).await;
        add("2", "m", "HOME", true, START.plus_ms(1)).await;
        add("3", "m", "away", true, START.plus_ms(2)).await;
        add("4", "other", "home", true, START.plus_ms(3)).await;
        add("5", "m", "home", false, START.plus_ms(4)).await;
        tx.commit().await.unwrap();

        let mut db = market.store.reader().acquire().await.unwrap();
        let mut past = async |at_most: usize, now: Timestamp| {
            let found = demand::past_leases(&mut db, ("m", "home"), market.currency, at_most, now);
            let (leases, since) = found.await.unwrap();
            (leases.iter().map(|lease| lease.at).collect::<Vec<_>>(), since)
        };
        let now = START.plus_ms(5);
        let week_ago = Timestamp(now.0 - i64::try_from(WEEK_MS).unwrap());
        assert_eq!(past(10, now).await, (vec![START.plus_ms(1), START], week_ago));
        assert_eq!(past(2, now).await, (vec![START.plus_ms(1)], START.plus_ms(1)));
        let later = START.plus_ms(WEEK_MS);
        assert_eq!(past(10, later).await, (vec![START.plus_ms(1)], START));
    }
}
