//! Every record is booked once, or not at all.

mod rig;

use nightjar_core::lease::{EndReason, Epoch, LeaseState};
use nightjar_core::meter::{UsageRecord, UsageRefusal};
use nightjar_protocol::host_session::{SignedUsage, ToCoordinator, ToHost};
use rig::{Rig, record};

#[tokio::test]
async fn what_is_sent_twice_is_acknowledged_twice_and_booked_once() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 3_600_000).await;
    let lease = alice.rent(&rig).await.lease;
    let terms = host.run().await;
    for _ in 0..3 {
        host.use_up(&record(&terms, 1, 5_000)).await;
        host.hears_stored(&record(&terms, 1, 5_000)).await;
    }
    host.use_up(&record(&terms, 2, 5_000)).await;
    host.hears_stored(&record(&terms, 2, 5_000)).await;
    host.use_up(&record(&terms, 1, 5_000)).await;
    host.hears_stored(&record(&terms, 1, 5_000)).await;
    let seen = alice.lease(&rig, &lease).await;
    assert_eq!((seen.running_ms, seen.charged.micros), (10_000, 10_000));
    rig.ledger_is_right().await;
    assert_eq!(rig.earned_micros().await, 9_500);
}

#[tokio::test]
async fn what_is_not_right_is_not_booked() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 3_600_000).await;
    let mut thief = rig.host("b", 9_000_000).await;
    alice.rent(&rig).await;
    let terms = host.run().await;

    let good = record(&terms, 1, 5_000);
    let other_key = hex::encode(thief.key.sign(&good.signing_bytes()).to_bytes());
    let forged = SignedUsage { record: good.clone(), signature: other_key };
    host.say(ToCoordinator::Usage(forged)).await;
    let changed = SignedUsage {
        signature: hex::encode(host.key.sign(&good.signing_bytes()).to_bytes()),
        record: UsageRecord { running_ms_total: 5_001, ..good.clone() },
    };
    host.say(ToCoordinator::Usage(changed)).await;
    for epoch in [Epoch(0), Epoch(2)] {
        let elsewhere = UsageRecord { epoch, ..good.clone() };
        host.use_up(&elsewhere).await;
        host.hears_refused(&elsewhere, UsageRefusal::LeaseOver).await;
    }
    // The one before it may come, and time passes: neither is refused for good.
    host.use_up(&record(&terms, 2, 5_000)).await;
    host.use_up(&record(&terms, 1, 60_000)).await;
    // Somebody else's lease, signed by the one who claims it.
    thief.use_up(&good).await;
    thief.hears_refused(&good, UsageRefusal::UnknownLease).await;
    thief.settle().await;
    host.settle().await;
    assert_eq!(rig.earned_micros().await, 0);
    assert_eq!(alice.balance_micros(&rig).await, 20_000_000);

    host.use_up(&good).await;
    host.hears_stored(&good).await;
    assert_eq!(rig.earned_micros().await, 4_750);
    rig.ledger_is_right().await;
}

#[tokio::test]
async fn the_books_go_on_after_a_restart_in_the_middle_of_a_lease() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 3_600_000).await;
    let lease = alice.rent(&rig).await.lease;
    let terms = host.run().await;
    alice.sees_state(&rig, &lease, LeaseState::Running).await;
    host.use_up(&record(&terms, 1, 3_000)).await;
    host.hears_stored(&record(&terms, 1, 3_000)).await;

    let rig = rig.restart().await;
    assert_eq!(host.hear().await, None);
    assert_eq!(alice.lease(&rig, &lease).await.state, LeaseState::Running);
    host.connect(&rig).await;
    host.list(vec![(lease.clone(), terms.epoch, LeaseState::Yielded)]).await;
    // The acknowledgement of the first may have been lost, so it comes again.
    host.use_up(&record(&terms, 1, 3_000)).await;
    host.hears_stored(&record(&terms, 1, 3_000)).await;
    host.use_up(&record(&terms, 2, 3_000)).await;
    host.hears_stored(&record(&terms, 2, 3_000)).await;
    assert_eq!(alice.lease(&rig, &lease).await.state, LeaseState::Yielded);

    let rig = rig.crash().await;
    host.connect(&rig).await;
    host.list(vec![(lease.clone(), terms.epoch, LeaseState::Running)]).await;
    host.use_up(&record(&terms, 2, 3_000)).await;
    host.hears_stored(&record(&terms, 2, 3_000)).await;
    host.use_up(&record(&terms, 3, 3_000)).await;
    host.hears_stored(&record(&terms, 3, 3_000)).await;

    // Stopped while the host is away: it is told on its return, and what it sends of the time before is booked.
    host.disconnect().await;
    let stopping = LeaseState::Ending { reason: EndReason::RenterStopped };
    assert_eq!(alice.stop(&rig, &lease).await.state, stopping);
    let rig = rig.restart().await;
    host.connect(&rig).await;
    host.list(vec![(lease.clone(), terms.epoch, LeaseState::Running)]).await;
    let end = ToHost::End { lease: lease.clone(), epoch: terms.epoch, reason: EndReason::RenterStopped };
    assert_eq!(host.hear().await, Some(end));
    host.use_up(&record(&terms, 4, 3_000)).await;
    host.hears_stored(&record(&terms, 4, 3_000)).await;
    host.tell(&terms, LeaseState::Ended { reason: EndReason::RenterStopped }).await;
    let reason = EndReason::RenterStopped;
    let over = alice.sees_state(&rig, &lease, LeaseState::Ended { reason }).await;
    assert_eq!((over.running_ms, over.charged.micros), (12_000, 12_000));
    rig.ledger_is_right().await;
    assert_eq!(rig.earned_micros().await, 11_400);
    rig.running.shutdown().await;
}

/// A host that was cut off goes on counting after the market has ended the lease. What of it is never booked it is told,
/// each record by itself: it would send it for ever.
#[tokio::test]
async fn what_ran_after_the_end_is_refused_for_good() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 3_600_000).await;
    let lease = alice.rent(&rig).await.lease;
    let terms = host.run().await;
    alice.sees_state(&rig, &lease, LeaseState::Running).await;
    host.disconnect().await;
    alice.stop(&rig, &lease).await;
    host.connect(&rig).await;
    host.list(vec![(lease.clone(), terms.epoch, LeaseState::Running)]).await;
    let end = ToHost::End { lease: lease.clone(), epoch: terms.epoch, reason: EndReason::RenterStopped };
    assert_eq!(host.hear().await, Some(end));
    host.use_up(&record(&terms, 1, 3_000)).await;
    host.hears_stored(&record(&terms, 1, 3_000)).await;
    // Ten minutes in one record cannot have passed before the end, and nothing follows what is missing.
    let long = UsageRecord {
        to: terms.offered_at.plus_ms(603_000),
        running_ms_total: 603_000,
        ..record(&terms, 2, 3_000)
    };
    let after = UsageRecord {
        from: long.to,
        to: long.to.plus_ms(3_000),
        running_ms_total: 606_000,
        ..record(&terms, 3, 3_000)
    };
    for _ in 0..2 {
        host.use_up(&long).await;
        host.hears_refused(&long, UsageRefusal::LeaseOver).await;
        host.use_up(&after).await;
        host.hears_refused(&after, UsageRefusal::Other).await;
    }
    assert_eq!(alice.lease(&rig, &lease).await.charged.micros, 3_000);
    assert_eq!(rig.earned_micros().await, 2_850);
    rig.ledger_is_right().await;
}

#[tokio::test]
async fn the_last_record_may_come_after_the_end() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 3_600_000).await;
    let lease = alice.rent(&rig).await.lease;
    let terms = host.run().await;
    host.tell(&terms, LeaseState::Ended { reason: EndReason::OwnerReturned }).await;
    host.use_up(&record(&terms, 1, 3_000)).await;
    host.hears_stored(&record(&terms, 1, 3_000)).await;
    let seen = alice.lease(&rig, &lease).await;
    assert_eq!((seen.state.is_over(), seen.charged.micros), (true, 3_000));
    rig.ledger_is_right().await;
}
