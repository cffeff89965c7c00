//! A host hears how much such cards as its own are wanted, from what really happened, and nothing of a few hosts.

mod rig;

use nightjar_core::demand::DemandFigures;
use nightjar_core::lease::LeaseState;
use nightjar_core::market::Requirements;
use nightjar_core::money::{Currency, Money};
use nightjar_protocol::error::ErrorCode;
use nightjar_protocol::market_api::{Lease, RentRequest};
use rig::{Rig, card, code, rent_request};

#[tokio::test]
async fn demand_is_told_in_sums_over_enough_hosts() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "100.00").await;
    let most = Some(Money::new(10_000, Currency::CNY));
    let requirements = Requirements { max_price_per_hour: most, ..Default::default() };
    let poor = RentRequest { requirements, ..rent_request() };
    assert_eq!(code(alice.post::<Lease>(&rig, "/v1/leases", &poor).await), ErrorCode::NoMatch);

    let mut first = rig.host("a", 1_000_000).await;
    let alone = DemandFigures {
        requests_last_hour: Some(1),
        unserved_last_hour: Some(1),
        ..DemandFigures::default()
    };
    assert_eq!(first.hears_demand().await, alone, "nothing is told of a market of one host");
    let mut hosts = vec![("a", 1_000_000, first)];
    for (name, price) in [("b", 2_000_000), ("c", 3_000_000), ("d", 4_000_000), ("e", 5_000_000)] {
        hosts.push((name, price, rig.host(name, price).await));
    }
    let quiet = DemandFigures {
        leases_last_day: Some(0),
        leases_last_week: Some(0),
        rented_percent: Some(0),
        ..alone
    };
    assert_eq!(hosts[4].2.hears_demand().await, quiet);

    // One after the other, since a host that says nothing for long is taken for gone.
    for (_, _, host) in &mut hosts {
        host.disconnect().await;
    }
    for (name, price, host) in &mut hosts {
        host.connect(&rig).await;
        host.offer(vec![card(name, *price)]).await;
        let lease = alice.rent(&rig).await;
        let terms = host.run().await;
        alice.sees_state(&rig, &lease.lease, LeaseState::Running).await;
        assert_eq!(lease.lease, terms.lease);
    }
    let mut sixth = rig.host("f", 6_000_000).await;
    let wanted = DemandFigures {
        requests_last_hour: Some(6),
        unserved_last_hour: Some(1),
        leases_last_day: Some(5),
        leases_last_week: Some(5),
        rented_percent: Some(83),
        median_price_per_hour: Some(Money::new(3_000_000, Currency::CNY)),
    };
    assert_eq!(sixth.hears_demand().await, wanted);
    rig.running.shutdown().await;
}
