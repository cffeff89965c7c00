//! A lease that the owner interrupts: what its renter is told, and how it goes on.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use nightjar_core::host::Report;
use nightjar_core::lease::{EndReason, Epoch, LeaseState, LeaseTerms};
use nightjar_core::market::{AfterInterruption, CardOffer, Requirements};
use nightjar_core::meter::{UsageRecord, UsageRefusal};
use nightjar_core::parting::Cause;
use nightjar_core::policy::BlockReason;
use nightjar_protocol::error::ErrorCode;
use nightjar_protocol::host_session::ToCoordinator;
use nightjar_protocol::market_api::{Lease, Leases, RentRequest};
use rig::{Host, Renter, Rig, card, code, record, rent_request};

fn ended(reason: EndReason) -> LeaseState {
    LeaseState::Ended { reason }
}

async fn rent(rig: &Rig, renter: &Renter, after_interruption: AfterInterruption) -> (Lease, RentRequest) {
    let request = RentRequest { after_interruption, ..rent_request() };
    (renter.post(rig, "/v1/leases", &request).await.unwrap(), request)
}

/// The owner takes the card for a game; nothing is on offer then.
async fn evict(host: &mut Host, terms: &LeaseTerms) {
    host.offer(vec![]).await;
    host.tell_why(terms, LeaseState::Ending { reason: EndReason::OwnerReturned }, Cause::Game).await;
    host.tell_why(terms, ended(EndReason::OwnerReturned), Cause::Game).await;
    host.settle().await;
}

#[tokio::test]
async fn a_renter_is_told_why_and_since_when() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 600_000).await;
    let lease = alice.rent(&rig).await.lease;
    let terms = host.run().await;
    let running = alice.sees_state(&rig, &lease, LeaseState::Running).await;
    assert_eq!(running.interruption, None);
    host.tell_why(&terms, LeaseState::Yielded, Cause::OwnerBack).await;
    let frozen = alice.sees_state(&rig, &lease, LeaseState::Yielded).await;
    let why = frozen.interruption.unwrap();
    assert_eq!((why.cause, why.since), (Cause::OwnerBack, frozen.state_since));
    // It stays frozen for another reason.
    host.tell_why(&terms, LeaseState::Yielded, Cause::TooHot).await;
    alice.sees(&rig, &lease, |lease| lease.interruption.is_some_and(|why| why.cause == Cause::TooHot)).await;
    host.tell(&terms, LeaseState::Running).await;
    assert_eq!(alice.sees_state(&rig, &lease, LeaseState::Running).await.interruption, None);
    // A host cannot speak for the renter here either.
    let ending = LeaseState::Ending { reason: EndReason::OwnerReturned };
    host.tell_why(&terms, ending.clone(), Cause::RenterStopped).await;
    let told = alice.sees_state(&rig, &lease, ending).await;
    assert_eq!(told.interruption.unwrap().cause, Cause::Trouble);
    host.tell_why(&terms, ended(EndReason::OwnerReturned), Cause::Game).await;
    let over = alice.sees_state(&rig, &lease, ended(EndReason::OwnerReturned)).await;
    let why = over.interruption.unwrap();
    assert_eq!((why.cause, why.since), (Cause::Game, told.interruption.unwrap().since));
    assert_eq!((over.waits, over.continued_by), (None, None), "nobody asked for more");
}

#[tokio::test]
async fn an_interrupted_lease_goes_on_where_it_was_and_before_everybody_else() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 600_000).await;
    let (lease, asked) = rent(&rig, &alice, AfterInterruption::SameHostFirst).await;
    let lease = lease.lease;
    let terms = host.run().await;
    evict(&mut host, &terms).await;
    let over = alice.sees(&rig, &lease, |lease| lease.waits.is_some()).await;
    let waits = over.waits.unwrap();
    assert!(waits.any_host_from.is_some_and(|from| from < waits.until), "{waits:?}");

    // Another host is there, and cheaper; the one that it was on comes first.
    let mut other = rig.host("other", 300_000).await;
    let bob = rig.renter("bob", "20.00").await;
    let _bobs = bob.rent(&rig).await;
    other.hears_offer().await;
    // Dearer than before it is not taken.
    host.offer(vec![card("a", 600_001)]).await;
    assert!(alice.lease(&rig, &lease).await.waits.is_some());
    host.offer(vec![]).await;
    host.say(ToCoordinator::Report(Report::Offers {
        region: "home".into(),
        offers: vec![card("a", 500_000)],
    }))
    .await;
    let again = host.run().await;
    assert_eq!((&again.image, &again.renter_key), (&terms.image, &terms.renter_key));
    assert_eq!(
        (again.ssh_public_key.as_str(), again.price_per_hour.micros),
        (asked.ssh_public_key.as_str(), 500_000)
    );
    assert_ne!(again.lease, lease);
    let successor = alice.sees_state(&rig, &again.lease, LeaseState::Running).await;
    assert_eq!((&successor.continues, successor.epoch), (&Some(lease.clone()), Epoch(1)));
    let before = alice.lease(&rig, &lease).await;
    assert_eq!((before.continued_by, before.waits), (Some(again.lease.clone()), None));
    // Nobody else got the card in between.
    assert_eq!(code(bob.post::<Lease>(&rig, "/v1/leases", &rent_request()).await), ErrorCode::NoMatch);

    // The successor is interruptible as its predecessor was, and its price is the new bound.
    evict(&mut host, &again).await;
    alice.sees(&rig, &again.lease, |lease| lease.waits.is_some()).await;
    host.offer(vec![card("a", 600_000)]).await;
    assert!(alice.lease(&rig, &again.lease).await.waits.is_some(), "it went on dearer");
    // Who wants no more says so.
    assert_eq!(alice.stop(&rig, &again.lease).await.waits, None);
    host.offer(vec![card("a", 500_000)]).await;
    host.hears_nothing_for(std::time::Duration::from_millis(1_200)).await;
    rig.ledger_is_right().await;
}

#[tokio::test]
async fn a_host_that_says_no_is_asked_again_later_and_not_at_once() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 600_000).await;
    let (lease, _) = rent(&rig, &alice, AfterInterruption::SameHostOnly).await;
    let terms = host.run().await;
    evict(&mut host, &terms).await;
    let waits = alice.sees(&rig, &lease.lease, |lease| lease.waits.is_some()).await.waits.unwrap();
    assert_eq!(waits.any_host_from, None);
    let mut other = rig.host("other", 300_000).await;
    host.say(ToCoordinator::Report(Report::Offers {
        region: "home".into(),
        offers: vec![card("a", 600_000)],
    }))
    .await;
    let again = host.hears_offer().await;
    host.decline(&again).await;
    alice.sees_state(&rig, &again.lease, ended(EndReason::Declined)).await;
    let waiting = alice.sees(&rig, &lease.lease, |lease| lease.waits.is_some()).await;
    assert_eq!((waiting.waits, waiting.continued_by), (Some(waits), None));
    let a_while = std::time::Duration::from_millis(1_200);
    tokio::join!(host.hears_nothing_for(a_while), other.hears_nothing_for(a_while));
    // It survives the coordinator.
    let rig = rig.restart().await;
    assert_eq!(alice.lease(&rig, &lease.lease).await.waits, Some(waits));
}

/// It stands frozen, and what could end it is away.
#[tokio::test]
async fn what_its_host_cannot_end_goes_on_elsewhere_and_nothing_is_paid_twice() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 3_600_000).await;
    let (lease, _) = rent(&rig, &alice, AfterInterruption::SameHostFirst).await;
    let lease = lease.lease;
    let terms = host.run().await;
    host.use_up(&record(&terms, 1, 5_000)).await;
    host.hears_stored(&record(&terms, 1, 5_000)).await;
    host.tell_why(&terms, LeaseState::Yielded, Cause::OwnerBack).await;
    let ending = LeaseState::Ending { reason: EndReason::FrozenTooLong };
    host.tell_why(&terms, ending.clone(), Cause::OwnerBack).await;
    alice.sees_state(&rig, &lease, ending.clone()).await;
    host.offer(vec![card("a-too", 3_600_000)]).await;
    let mut other = rig.host("other", 3_600_000).await;
    rig.ended_earlier(&lease, 660_000).await;

    let again = other.run().await;
    let (before, successor) = (alice.lease(&rig, &lease).await, alice.lease(&rig, &again.lease).await);
    assert_eq!((&before.state, &before.continued_by), (&ending, &Some(again.lease.clone())));
    assert_eq!((&successor.continues, successor.epoch), (&Some(lease.clone()), Epoch(1)));
    host.hears_nothing_for(std::time::Duration::from_millis(600)).await;

    // The host of before comes back to it: what it counts since is not paid, and its end ends no more than that.
    let late = record(&terms, 2, 5_000);
    let ten_minutes = 600_000;
    let since =
        UsageRecord { to: late.from.plus_ms(ten_minutes), running_ms_total: 5_000 + ten_minutes, ..late };
    host.use_up(&since).await;
    host.hears_refused(&since, UsageRefusal::LeaseOver).await;
    other.use_up(&record(&again, 1, 5_000)).await;
    other.hears_stored(&record(&again, 1, 5_000)).await;
    host.tell(&terms, ended(EndReason::FrozenTooLong)).await;
    host.settle().await;
    let a_while = std::time::Duration::from_millis(1_200);
    tokio::join!(host.hears_nothing_for(a_while), other.hears_nothing_for(a_while));
    let over = alice.sees_state(&rig, &lease, ended(EndReason::FrozenTooLong)).await;
    assert_eq!((over.waits, over.continued_by), (None, Some(again.lease.clone())));
    assert_eq!(alice.sees_state(&rig, &again.lease, LeaseState::Running).await.charged.micros, 5_000);
    assert_eq!(alice.get::<Leases>(&rig, "/v1/leases").await.unwrap().leases.len(), 2);
    assert_eq!(rig.earned_micros().await, 2 * 4_750);
    rig.ledger_is_right().await;
}

#[tokio::test]
async fn what_the_owner_did_not_end_does_not_go_on() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 600_000).await;
    let (stopped, _) = rent(&rig, &alice, AfterInterruption::SameHostFirst).await;
    let terms = host.run().await;
    alice.stop(&rig, &stopped.lease).await;
    host.hear().await;
    host.tell(&terms, ended(EndReason::RenterStopped)).await;
    host.settle().await;
    host.offer(vec![card("a", 600_000)]).await;
    let (never_ran, _) = rent(&rig, &alice, AfterInterruption::SameHostFirst).await;
    let terms = host.hears_offer().await;
    host.tell(&terms, LeaseState::Accepted).await;
    host.tell(&terms, ended(EndReason::OwnerReturned)).await;
    alice.sees_state(&rig, &never_ran.lease, ended(EndReason::OwnerReturned)).await;
    for lease in [&stopped.lease, &never_ran.lease] {
        assert_eq!(alice.lease(&rig, lease).await.waits, None);
    }
}

/// The owner's gVisor came into use, which the market has not read yet.
async fn refuse_sandbox(host: &mut Host, terms: &LeaseTerms) {
    let (lease, epoch, reasons) = (terms.lease.clone(), terms.epoch, vec![BlockReason::SandboxUnwanted]);
    host.say(ToCoordinator::Report(Report::Declined { lease, epoch, reasons, no_room: None })).await;
}

#[tokio::test]
async fn who_wants_no_sandbox_has_it_in_the_terms_of_every_card_that_the_lease_comes_to() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut first = rig.host("first", 600_000).await;
    let mut second = rig.host("second", 700_000).await;
    let requirements = Requirements { no_sandbox: true, ..Default::default() };
    let request = RentRequest { requirements, ..rent_request() };
    let lease = alice.post::<Lease>(&rig, "/v1/leases", &request).await.unwrap().lease;
    let terms = first.hears_offer().await;
    assert!(terms.no_sandbox);
    // The card is on offer as before, and is not asked again.
    refuse_sandbox(&mut first, &terms).await;
    let again = second.hears_offer().await;
    assert_eq!((&again.lease, again.epoch, again.no_sandbox), (&lease, Epoch(2), true));
    first.hears_nothing_for(std::time::Duration::from_millis(300)).await;
    // The market begins anew, and the offer is lost with it.
    first.disconnect().await;
    second.disconnect().await;
    let rig = rig.restart().await;
    let mut third = rig.host("third", 800_000).await;
    second.connect(&rig).await;
    second.list(vec![]).await;
    let anew = third.hears_offer().await;
    assert_eq!((&anew.lease, anew.epoch, anew.no_sandbox), (&lease, Epoch(3), true));
    refuse_sandbox(&mut third, &anew).await;
    alice.sees_state(&rig, &lease, ended(EndReason::Declined)).await;
    // Who asks for nothing of the kind is promised nothing.
    let _bobs = rig.renter("bob", "20.00").await.rent(&rig).await;
    assert!(!third.hears_offer().await.no_sandbox);
}

#[tokio::test]
async fn a_lease_that_goes_on_is_promised_again_that_it_runs_in_no_sandbox() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 600_000).await;
    let request = RentRequest {
        requirements: Requirements { no_sandbox: true, ..Default::default() },
        after_interruption: AfterInterruption::SameHostOnly,
        ..rent_request()
    };
    let lease = alice.post::<Lease>(&rig, "/v1/leases", &request).await.unwrap().lease;
    let terms = host.run().await;
    evict(&mut host, &terms).await;
    alice.sees(&rig, &lease, |lease| lease.waits.is_some()).await;
    host.offer(vec![CardOffer { sandbox: true, ..card("a", 600_000) }]).await;
    assert!(alice.lease(&rig, &lease).await.waits.is_some(), "it went on in gVisor");
    let offers = vec![card("a", 600_000)];
    host.say(ToCoordinator::Report(Report::Offers { region: "home".into(), offers })).await;
    let again = host.hears_offer().await;
    assert!(again.no_sandbox && again.lease != lease);
    // It is not asked again at once.
    refuse_sandbox(&mut host, &again).await;
    alice.sees_state(&rig, &again.lease, ended(EndReason::Declined)).await;
    host.hears_nothing_for(std::time::Duration::from_millis(1_200)).await;
}
