//! A host whose card waits is told why, from what renters really asked for.

mod rig;

use nightjar_core::gpu::GpuUuid;
use nightjar_core::lease::LeaseState;
use nightjar_core::market::{Requirements, WaitReason};
use nightjar_core::money::{Currency, Money};
use nightjar_protocol::error::ErrorCode;
use nightjar_protocol::market_api::{Lease, RentRequest};
use rig::{Rig, code, rent_request};

#[tokio::test]
async fn peers_13_waiting_says_why() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    // Nobody has asked for anything yet.
    let mut first = rig.host("a", 3_000_000).await;
    let no_demand = WaitReason::NoDemand { vram_gib: 12 };
    assert_eq!(first.hears_waiting().await, [(GpuUuid("GPU-a".into()), no_demand)]);

    // Who pays less than any card costs leaves a trace, though nothing came of it.
    let most = Some(Money::new(10_000, Currency::CNY));
    let requirements = Requirements { max_price_per_hour: most, ..Default::default() };
    let poor = RentRequest { requirements, ..rent_request() };
    assert_eq!(code(alice.post::<Lease>(&rig, "/v1/leases", &poor).await), ErrorCode::NoMatch);
    let mut second = rig.host("b", 600_000).await;
    let dear = WaitReason::PriceAboveMarket;
    assert_eq!(second.hears_waiting().await, [(GpuUuid("GPU-b".into()), dear)]);
    second.disconnect().await;

    // A job that the card at the same price got is no reason to lower one's own.
    let lease = alice.rent(&rig).await;
    let terms = first.run().await;
    alice.sees_state(&rig, &lease.lease, LeaseState::Running).await;
    let lease = alice.lease(&rig, &terms.lease).await;
    assert_eq!(lease.host_id, first.id);
    for _ in 0..2 {
        // More of these than of those who pay too little.
        let far = Requirements { region: Some("mars".into()), ..Default::default() };
        let far = RentRequest { requirements: far, ..rent_request() };
        assert_eq!(code(alice.post::<Lease>(&rig, "/v1/leases", &far).await), ErrorCode::NoMatch);
    }
    let mut third = rig.host("c", 3_000_000).await;
    assert_eq!(third.hears_waiting().await, [(GpuUuid("GPU-c".into()), WaitReason::Region)]);
    // What was known before a restart is known after it.
    let rig = rig.restart().await;
    third.connect(&rig).await;
    third.offer(vec![rig::card("c", 3_000_000)]).await;
    assert_eq!(third.hears_waiting().await, [(GpuUuid("GPU-c".into()), WaitReason::Region)]);
    rig.running.shutdown().await;
}
