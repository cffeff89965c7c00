//! A lease from the offer to the books.

mod rig;

use std::time::Duration;

use nightjar_core::lease::{EndReason, Epoch, LeaseId, LeaseState, WorkerAccess};
use nightjar_core::ledger::Account;
use nightjar_core::volume::NoRoom;
use nightjar_protocol::error::ErrorCode;
use nightjar_protocol::host_session::ToHost;
use nightjar_protocol::market_api::{
    Lease, Leases, Offers, RentRequest, RenterVolumes, Statement, VolumeSecret,
};
use rig::{IMAGE, Rig, card, code, record, rent_request};

fn ended(reason: EndReason) -> LeaseState {
    LeaseState::Ended { reason }
}

#[tokio::test]
async fn a_night_from_offer_to_books() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 3_600_000).await;
    let offers: Offers = alice.get(&rig, "/v1/offers?model=3060&min_vram_mib=8000").await.unwrap();
    assert_eq!((offers.offers.len(), &offers.offers[0].host_id), (1, &host.id));

    let lease = alice.rent(&rig).await;
    assert_eq!((&lease.state, lease.epoch, &lease.access), (&LeaseState::Offered, Epoch(1), &None));
    let terms = host.run().await;
    assert_eq!((&terms.lease, terms.image.as_str()), (&lease.lease, IMAGE));
    assert!(terms.renter.starts_with("renter-") && terms.renter != "alice");
    let running = alice.sees_state(&rig, &lease.lease, LeaseState::Running).await;
    assert_eq!(running.footing, rig::access().volume);
    assert_eq!(running.access.unwrap(), WorkerAccess { proof: Some(rig::proof(&terms)), ..rig::access() });
    // The card is taken: nobody is offered it.
    let offers: Offers = alice.get(&rig, "/v1/offers").await.unwrap();
    assert_eq!(offers.offers, []);
    assert_eq!(code(alice.post::<Lease>(&rig, "/v1/leases", &rent_request()).await), ErrorCode::NoMatch);

    host.use_up(&record(&terms, 1, 5_000)).await;
    host.hears_stored(&record(&terms, 1, 5_000)).await;
    host.tell(&terms, LeaseState::Yielded).await;
    alice.sees_state(&rig, &lease.lease, LeaseState::Yielded).await;
    host.tell(&terms, LeaseState::Running).await;
    host.use_up(&record(&terms, 2, 5_000)).await;
    host.hears_stored(&record(&terms, 2, 5_000)).await;

    let stopping = alice.stop(&rig, &lease.lease).await;
    assert_eq!(stopping.state, LeaseState::Ending { reason: EndReason::RenterStopped });
    let (lease, epoch) = (terms.lease.clone(), terms.epoch);
    let end = ToHost::End { lease: lease.clone(), epoch, reason: EndReason::RenterStopped };
    assert_eq!(host.hear().await, Some(end));
    host.tell(&terms, LeaseState::Ending { reason: EndReason::RenterStopped }).await;
    host.tell(&terms, ended(EndReason::RenterStopped)).await;
    let over = alice.sees_state(&rig, &lease, ended(EndReason::RenterStopped)).await;
    // 10 s at 3.60 an hour, and nothing more.
    assert_eq!((over.running_ms, over.charged.micros, over.access), (10_000, 10_000, None));
    // What opened the worker is forgotten; what its renter's files lie on is not.
    assert_eq!(over.footing, rig::access().volume);
    let kept: RenterVolumes = alice.get(&rig, "/v1/volumes").await.unwrap();
    assert_eq!(kept.volumes[0].footing, rig::access().volume);
    assert_eq!(alice.balance_micros(&rig).await, 20_000_000 - 10_000);

    let statement: Statement = alice.get(&rig, &format!("/v1/leases/{lease}/statement")).await.unwrap();
    assert_eq!(statement.bookings.len(), 2);
    for booking in &statement.bookings {
        assert_eq!(booking.running_ms, 5_000);
        assert_eq!(booking.legs.iter().map(|leg| leg.micros).sum::<i64>(), 0);
        assert_eq!(booking.legs[1].account, Account::Host { id: host.id.clone() });
        assert_eq!(booking.legs[1].micros, 4_750);
    }
    rig.ledger_is_right().await;
    assert_eq!(rig.earned_micros().await, 9_500);
    // Stopped again: nothing changes, nothing is wrong.
    assert_eq!(alice.stop(&rig, &lease).await.state, ended(EndReason::RenterStopped));
    rig.running.shutdown().await;
}

#[tokio::test]
async fn a_long_poll_answers_when_the_state_changes() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 600_000).await;
    let lease = alice.rent(&rig).await.lease;
    let terms = host.hears_offer().await;
    let path = format!("/v1/leases/{lease}?wait_ms=20000&state=offered");
    let began = std::time::Instant::now();
    let (seen, ()) = tokio::join!(alice.get::<Lease>(&rig, &path), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        host.tell(&terms, LeaseState::Accepted).await;
    });
    assert_eq!(seen.unwrap().state, LeaseState::Accepted);
    let waited = began.elapsed();
    assert!((300..5_000).contains(&waited.as_millis()), "{waited:?}");
    // Already another: at once. And a wait that ends tells what is.
    let seen: Lease = alice.get(&rig, &path).await.unwrap();
    assert_eq!(seen.state, LeaseState::Accepted);
    let path = format!("/v1/leases/{lease}?wait_ms=200&state=accepted");
    assert_eq!(alice.get::<Lease>(&rig, &path).await.unwrap().state, LeaseState::Accepted);
}

#[tokio::test]
async fn a_declined_offer_goes_to_the_next_best_card() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut cheap = rig.host("cheap", 600_000).await;
    let mut dear = rig.host("dear", 900_000).await;
    let lease = alice.rent(&rig).await.lease;
    let terms = cheap.hears_offer().await;
    cheap.decline(&terms).await;
    let again = dear.hears_offer().await;
    assert_eq!((&again.lease, again.epoch), (&lease, Epoch(2)));
    assert_eq!(again.price_per_hour.micros, 900_000);
    // The first takes it after all: too late.
    cheap.tell(&terms, LeaseState::Accepted).await;
    let superseded = ToHost::End { lease: lease.clone(), epoch: Epoch(1), reason: EndReason::Superseded };
    assert_eq!(cheap.hear().await, Some(superseded));
    dear.decline(&again).await;
    let over = alice.sees_state(&rig, &lease, ended(EndReason::Declined)).await;
    assert_eq!((over.charged.micros, over.epoch), (0, Epoch(2)));
}

#[tokio::test]
async fn who_is_refused_for_want_of_room_reads_so_unless_another_host_has_some() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut full = rig.host("full", 600_000).await;
    let no_room = NoRoom { promised_mib: 204_800, most_mib: 204_800, asked_mib: 51_200 };
    let lease = alice.rent(&rig).await.lease;
    let terms = full.hears_offer().await;
    full.decline_for_room(&terms, no_room).await;
    let reason = EndReason::PreparationFailed { cause: no_room.to_string() };
    let over = alice.sees_state(&rig, &lease, ended(reason)).await;
    assert_eq!(over.charged.micros, 0);

    let mut roomy = rig.host("roomy", 900_000).await;
    let lease = alice.rent(&rig).await.lease;
    let terms = full.hears_offer().await;
    full.decline_for_room(&terms, no_room).await;
    assert_eq!(roomy.hears_offer().await.lease, lease);
}

#[tokio::test]
async fn an_offer_that_nobody_answers_runs_out() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut mute = rig.host("mute", 600_000).await;
    let mut other = rig.host("other", 900_000).await;
    let lease = alice.rent(&rig).await.lease;
    let first = mute.hears_offer().await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let second = other.hears_offer().await;
    assert_eq!(second.epoch, Epoch(2));
    let superseded = ToHost::End { lease: lease.clone(), epoch: first.epoch, reason: EndReason::Superseded };
    assert_eq!(mute.hear().await, Some(superseded));
    tokio::time::sleep(Duration::from_secs(8)).await;
    alice.sees_state(&rig, &lease, ended(EndReason::OfferExpired)).await;
}

#[tokio::test]
async fn who_cannot_pay_any_more_is_ended_before_the_balance_is_below_zero() {
    let rig = Rig::start().await;
    // 3,600 an hour is one a second.
    let mut host = rig.host("a", 3_600_000_000).await;
    let poor = rig.renter("poor", "59.00").await;
    assert_eq!(code(poor.post::<Lease>(&rig, "/v1/leases", &rent_request()).await), ErrorCode::Balance);
    let alice = rig.renter("alice", "60.00").await;
    let lease = alice.rent(&rig).await.lease;
    let terms = host.run().await;
    host.use_up(&record(&terms, 1, 10_000)).await;
    host.hears_stored(&record(&terms, 1, 10_000)).await;
    rig.started_earlier(&lease, 60_000).await;
    for sequence in 2..=4 {
        host.use_up(&record(&terms, sequence, 10_000)).await;
        host.hears_stored(&record(&terms, sequence, 10_000)).await;
    }
    assert_eq!(alice.lease(&rig, &lease).await.state, LeaseState::Running);
    host.use_up(&record(&terms, 5, 10_000)).await;
    let end = ToHost::End { lease: lease.clone(), epoch: Epoch(1), reason: EndReason::BalanceExhausted };
    assert_eq!(host.hear().await, Some(end));
    host.hears_stored(&record(&terms, 5, 10_000)).await;
    host.tell(&terms, ended(EndReason::BalanceExhausted)).await;
    alice.sees_state(&rig, &lease, ended(EndReason::BalanceExhausted)).await;
    assert_eq!(alice.balance_micros(&rig).await, 10_000_000);
    rig.ledger_is_right().await;
}

#[tokio::test]
async fn a_worker_that_fails_its_check_costs_nothing() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 600_000).await;
    let lease = alice.rent(&rig).await.lease;
    let terms = host.hears_offer().await;
    host.tell(&terms, LeaseState::Accepted).await;
    // Usage and a claim to run without having been told to start: neither counts.
    host.tell(&terms, LeaseState::Running).await;
    host.use_up(&record(&terms, 1, 5_000)).await;
    host.settle().await;
    assert_eq!(alice.lease(&rig, &lease).await.state, LeaseState::Accepted);
    let reason = EndReason::SelfCheckFailed { cause: "CUDA\u{1b}[31m has no device".into() };
    host.tell(&terms, ended(reason)).await;
    let tame = EndReason::SelfCheckFailed { cause: "CUDA [31m has no device".into() };
    let over = alice.sees_state(&rig, &lease, ended(tame)).await;
    assert_eq!(over.charged.micros, 0);
}

#[tokio::test]
async fn a_renter_holds_eight_leases_at_most_and_sees_only_its_own() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "100.00").await;
    let mut host = rig.host("0", 600_000).await;
    let cards = (0..9).map(|n| card(&n.to_string(), 600_000 + n)).collect();
    host.offer(cards).await;
    let mut ids: Vec<LeaseId> = Vec::new();
    for _ in 0..8 {
        ids.push(alice.rent(&rig).await.lease);
        host.hears_offer().await;
    }
    assert_eq!(code(alice.post::<Lease>(&rig, "/v1/leases", &rent_request()).await), ErrorCode::TooMany);
    let bob = rig.renter("bob", "100.00").await;
    assert_eq!(bob.get::<Leases>(&rig, "/v1/leases").await.unwrap().leases, []);
    let path = format!("/v1/leases/{}", ids[0]);
    assert_eq!(code(bob.get::<Lease>(&rig, &path).await), ErrorCode::NotFound);
    assert_eq!(code(bob.post::<Lease>(&rig, &format!("{path}/stop"), &()).await), ErrorCode::NotFound);
    assert_eq!(code(bob.get::<Statement>(&rig, &format!("{path}/statement")).await), ErrorCode::NotFound);
    // An offer that is stopped is over at once, and the card is free again.
    assert_eq!(alice.stop(&rig, &ids[0]).await.state, ended(EndReason::RenterStopped));
    bob.rent(&rig).await;
}

#[tokio::test]
async fn what_is_kept_has_a_key_a_host_and_an_end() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 3_600_000).await;
    let secret = VolumeSecret("5e".repeat(64));
    let request = RentRequest { volume_secret: Some(secret), ..rent_request() };
    let wrong = RentRequest { volume_secret: Some(VolumeSecret("5e".into())), ..rent_request() };
    assert_eq!(code(alice.post::<Lease>(&rig, "/v1/leases", &wrong).await), ErrorCode::BadRequest);
    let first: Lease = alice.post(&rig, "/v1/leases", &request).await.unwrap();
    let terms = host.run().await;
    let key = terms.volume_key.clone().expect("the offer has no key");
    assert!(!format!("{terms:?}").contains(key.as_str()), "the key is shown");
    let kept: RenterVolumes = alice.get(&rig, "/v1/volumes").await.unwrap();
    assert_eq!((kept.volumes.len(), kept.volumes[0].expires_at), (1, None));
    alice.stop(&rig, &first.lease).await;
    host.hear().await;
    host.tell(&terms, ended(EndReason::RenterStopped)).await;
    alice.sees_state(&rig, &first.lease, ended(EndReason::RenterStopped)).await;
    let kept: RenterVolumes = alice.get(&rig, "/v1/volumes").await.unwrap();
    let volume = &kept.volumes[0];
    assert_eq!((&volume.host_id, volume.in_use), (&host.id, false));
    assert_eq!(volume.expires_at, Some(terms.volume.expires_at(volume.used_at)));
    // The same renter on the same host: the same key.
    let _: Lease = alice.post(&rig, "/v1/leases", &request).await.unwrap();
    assert_eq!(host.hears_offer().await.volume_key, Some(key));
}
