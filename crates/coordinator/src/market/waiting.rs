//! Tells hosts why no job comes to the cards that they offer.

use nightjar_core::demand::{Request, wait_reason};
use nightjar_core::market::WaitReason;
use nightjar_core::proof::ProofFault;
use nightjar_core::time::Timestamp;
use nightjar_protocol::host_session::ToHost;

use super::demand::Look;
use super::{Failure, Market};
use crate::store::{leases, requests, standings};

impl Market {
    /// Looks at each host that offers cards once a minute, the first time at once, and tells it what has changed.
    pub(super) async fn tell_waiting(&self, now: Timestamp) -> Result<(), Failure> {
        let due = self.registry.due_for_a_word(now);
        if due.is_empty() {
            return Ok(());
        }
        let mut db = self.store.reader().acquire().await?;
        // After it was written down that these hosts were looked at: whoever asks for another look by then gets one.
        let open = leases::open(&mut db).await?;
        let requests: Vec<Request> = requests::recent(&mut db, now).await?;
        let out = standings::out(&mut db, now).await?;
        let listings = self.registry.listings();
        let twice = self.claimed_by_others(&mut db, &listings).await?;
        let mut look = Look::new(listings, &open, &requests, now);
        for host_id in due {
            let listings = self.registry.listings_of(&host_id);
            let free = listings.iter().filter(|listing| !look.is_busy(listing));
            let words = free.filter_map(|listing| {
                let key = (listing.host_id.clone(), listing.card.gpu.clone());
                let same = twice.contains(&key).then_some(ProofFault::SameCard);
                let failed = out.get(&key).and_then(|standing| standing.out_for(now)).or(same);
                let by_demand =
                    || wait_reason(&listing.card, &listing.host_id, &listing.region, &requests, now);
                let why = failed.map(|why| WaitReason::CheckFailed { why }).or_else(by_demand)?;
                Some((key.1, why))
            });
            let cards = words.collect();
            if self.registry.is_news(&host_id, &cards) {
                self.registry.send(&host_id, ToHost::Waiting { cards });
            }
            self.tell_demand(&host_id, &mut look, &mut db).await?;
        }
        Ok(())
    }
}
