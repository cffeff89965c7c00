//! How fast the line of a host that waits for a job is: asked soon after it first came, and then once a day.

use nightjar_core::line_check::LineFigures;
use nightjar_core::time::Timestamp;
use nightjar_protocol::host_session::ToHost;

use super::{Failure, Market};
use crate::store::{StoreError, leases, lines};

/// A host with a job is looked at again after this.
const BUSY_AGAIN_MS: u64 = 60_000;

impl Market {
    /// Draws when each host is asked, and asks one whose time has come. A host with a job is left alone: the line is the
    /// tenant's.
    pub(super) async fn check_lines(&self, now: Timestamp) -> Result<(), Failure> {
        let undrawn = self.registry.undrawn_lines();
        if !undrawn.is_empty() {
            let mut db = self.store.reader().acquire().await?;
            for host_id in undrawn {
                let standing = lines::of_host(&mut db, &host_id).await?;
                self.registry.draw_line(&host_id, standing.check_at(now, rand::random()));
            }
        }
        let Some(host_id) = self.registry.due_line(now) else { return Ok(()) };
        let mut tx = self.store.write().await?;
        if leases::busy_cards(tx.connection()).await?.iter().any(|(busy, _)| *busy == host_id) {
            self.registry.draw_line(&host_id, now.plus_ms(BUSY_AGAIN_MS));
            return Ok(());
        }
        let mut standing = lines::of_host(tx.connection(), &host_id).await?;
        standing.ask(now);
        lines::save(tx.connection(), &host_id, &standing).await?;
        tx.commit().await?;
        tracing::info!(host_id, "a host that waits is asked to have its line measured");
        self.registry.ask_line(&host_id, hex::encode(rand::random::<[u8; 16]>()), now);
        Ok(())
    }

    /// Both sides know it from now on, and renters.
    pub(crate) async fn keep_line(&self, host_id: &str, figures: LineFigures) -> Result<(), Failure> {
        let mut tx = self.store.write().await?;
        let mut standing = lines::of_host(tx.connection(), host_id).await?;
        standing.measured(figures);
        lines::save(tx.connection(), host_id, &standing).await?;
        tx.commit().await?;
        let at = standing.check_at(self.clock.now(), rand::random());
        self.registry.draw_line(host_id, at);
        self.registry.set_line(host_id, figures);
        self.registry.send(host_id, ToHost::Line(figures));
        Ok(())
    }

    /// A host that has just come is told what is known of its line, and so are renters from now on.
    pub(crate) async fn tell_line(&self, host_id: &str) -> Result<(), StoreError> {
        let mut db = self.store.reader().acquire().await?;
        if let Some(figures) = lines::of_host(&mut db, host_id).await?.shown(self.clock.now()) {
            self.registry.set_line(host_id, figures);
            self.registry.send(host_id, ToHost::Line(figures));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nightjar_core::lease::LeaseState;
    use nightjar_core::line_check::COMES_WITHIN_MS;
    use nightjar_core::network::Rates;

    use super::*;
    use crate::market::sweep::tests::{lease_in, market};
    use crate::registry::Seat;
    use crate::store::hosts;
    use crate::store::renters::{self, Renter};

    const HOUR_MS: u64 = 3_600_000;

    /// On offer, as if it had another card than the one that a lease may have.
    async fn host(market: &Market, name: &str) -> (String, Seat) {
        let mut tx = market.store.write().await.unwrap();
        let id = hosts::enter(tx.connection(), name, name, market.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        let seat = market.registry.enter(&id, &market.closing);
        let card = lease_in(LeaseState::Offered, &id).placement.card;
        market.registry.set_offers(&id, seat.id, "home".into(), vec![card]);
        (id, seat)
    }

    /// Looks often enough for everybody to have their turn, and gives the hosts that were asked, with their tickets.
    async fn looked(market: &Market, hosts: &mut [(String, Seat)], now: Timestamp) -> Vec<(String, String)> {
        for _ in 0..5 {
            market.check_lines(now).await.unwrap();
        }
        let mut asked = Vec::new();
        for (id, seat) in hosts {
            while let Ok(order) = seat.orders.try_recv() {
                if let ToHost::CheckLine { ticket } = order {
                    asked.push((id.clone(), ticket));
                }
            }
        }
        asked
    }

    #[tokio::test]
    async fn one_host_at_a_time_is_asked_none_that_has_a_job_and_each_once_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let market = market(folder.path()).await;
        let mut hosts =
            vec![host(&market, "one").await, host(&market, "two").await, host(&market, "busy").await];
        let (start, busy) = (market.clock.now(), hosts[2].0.clone());
        let mut tx = market.store.write().await.unwrap();
        let renter = Renter { id: "r".into(), name: "r".into(), created_at: start };
        renters::add(tx.connection(), &renter, "t").await.unwrap();
        leases::add(tx.connection(), &lease_in(LeaseState::Running, &busy)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(looked(&market, &mut hosts, start).await, [], "not in the first seconds");

        let now = start.plus_ms(20_000);
        let first = looked(&market, &mut hosts, now).await;
        let [(measured, ticket)] = &first[..] else { panic!("{first:?}") };
        assert_ne!(*measured, busy);
        let registry = &market.registry;
        assert_eq!(registry.take_line_ticket("7a", now), None);
        assert_eq!(registry.take_line_ticket(ticket, now).as_ref(), Some(measured));
        assert_eq!(registry.take_line_ticket(ticket, now), None, "it was used");
        let later = now.plus_ms(COMES_WITHIN_MS);
        assert_eq!(looked(&market, &mut hosts, later).await, [], "somebody is being measured");
        let limits = Rates { up_kbit: 1, down_kbit: 1 };
        let figures = LineFigures { at: market.clock.now(), down_kbit: 9, up_kbit: 8, rtt_us: 7, limits };
        market.keep_line(measured, figures).await.unwrap();
        registry.end_line(ticket);
        assert_eq!(registry.line_of(measured, now), Some(figures));

        let second = looked(&market, &mut hosts, later).await;
        let [(other, unused)] = &second[..] else { panic!("{second:?}") };
        assert!(other != measured && *other != busy);
        // One that does not come holds nobody up, and is asked again only later.
        let gone = later.plus_ms(COMES_WITHIN_MS);
        assert_eq!(registry.take_line_ticket(unused, gone), None);
        assert_eq!(looked(&market, &mut hosts, gone).await, []);
        let again = looked(&market, &mut hosts, start.plus_ms(HOUR_MS)).await;
        assert_eq!(again.iter().map(|(id, _)| id).collect::<Vec<_>>(), [other]);
        // Drawn anew a day later, the first has its turn once more.
        let day = start.plus_ms(31 * HOUR_MS);
        let turns =
            [looked(&market, &mut hosts, day).await, looked(&market, &mut hosts, day.plus_ms(60_000)).await];
        assert!(turns.concat().iter().any(|(id, _)| id == measured), "{turns:?}");
    }
}
