//! Who may open a session, and how both sides' lists come together after it broke.

mod rig;

use std::time::Duration;

use iroh_base::SecretKey;
use nightjar_core::lease::{EndReason, Epoch, LeaseId, LeaseState};
use nightjar_protocol::error::ErrorCode;
use nightjar_protocol::host_session::{MAX_FRAME_BYTES, ToCoordinator, ToHost};
use nightjar_protocol::market_api::Offers;
use rig::{Rig, card, code, enrolment, greet, hello};

fn refusal(first: ToHost) -> ErrorCode {
    match first {
        ToHost::Refused { code, .. } => code,
        other => panic!("refused was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn a_pairing_code_lets_one_host_in_once() {
    let rig = Rig::start().await;
    let (one, two) = (SecretKey::generate(), SecretKey::generate());
    let pairing = rig.operator.pairing_code().await.unwrap().code;
    // A wrong signature does not use the code up.
    let mut stolen = enrolment(&one, &pairing);
    stolen.host_key = hex::encode(two.public().as_bytes());
    assert_eq!(code(rig.enrol(&stolen).await), ErrorCode::Signature);
    rig.enrol(&enrolment(&one, &pairing.to_lowercase())).await.unwrap();
    assert_eq!(code(rig.enrol(&enrolment(&two, &pairing)).await), ErrorCode::PairingCode);
    assert_eq!(code(rig.enrol(&enrolment(&one, &pairing)).await), ErrorCode::PairingCode);
    assert_eq!(code(rig.enrol(&enrolment(&two, "AAAA-AAAA-AAAA-AAAA")).await), ErrorCode::PairingCode);
    assert_eq!(code(rig.enrol(&enrolment(&two, &"A".repeat(9_000))).await), ErrorCode::BadRequest);
    let mut bad = enrolment(&two, &pairing);
    bad.host_key = "no key".into();
    assert_eq!(code(rig.enrol(&bad).await), ErrorCode::BadRequest);
    // The second was refused each time and is not in.
    let (_socket, first) = greet(&rig, |nonce| hello(&two, &nonce)).await;
    assert_eq!(refusal(first), ErrorCode::Unauthorized);
}

#[tokio::test]
async fn a_host_that_enrols_again_stays_the_same() {
    let rig = Rig::start().await;
    let host = rig.host("a", 600_000).await;
    let pairing = rig.operator.pairing_code().await.unwrap().code;
    assert_eq!(rig.enrol(&enrolment(&host.key, &pairing)).await.unwrap().host_id, host.id);
}

#[tokio::test]
async fn only_a_fresh_signature_of_a_known_host_opens_a_session() {
    let rig = Rig::start().await;
    let host = rig.host("a", 600_000).await;
    let old = hello(&host.key, &"0".repeat(64));
    let (_socket, first) = greet(&rig, |_| old).await;
    assert_eq!(refusal(first), ErrorCode::Signature);
    let (_socket, first) = greet(&rig, |_| ToCoordinator::Heartbeat).await;
    assert_eq!(refusal(first), ErrorCode::BadRequest);
    let (_socket, first) = greet(&rig, |nonce| match hello(&host.key, &nonce) {
        ToCoordinator::Hello { app_version, host_key, signature, .. } => {
            ToCoordinator::Hello { session_version: 99, app_version, host_key, signature }
        }
        other => other,
    })
    .await;
    assert_eq!(refusal(first), ErrorCode::Version);
}

#[tokio::test]
async fn a_newer_session_takes_the_place_of_the_older() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut old = rig.host("a", 600_000).await;
    let mut new = rig::Host::of(old.key.clone(), old.id.clone());
    new.connect(&rig).await;
    assert_eq!(old.hear().await, None);
    // The old one's offers went with it.
    assert_eq!(alice.get::<Offers>(&rig, "/v1/offers").await.unwrap().offers, []);
    new.offer(vec![card("a", 600_000)]).await;
    assert_eq!(alice.get::<Offers>(&rig, "/v1/offers").await.unwrap().offers.len(), 1);
}

#[tokio::test]
async fn what_is_too_long_or_no_message_ends_the_session() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    for text in ["x".repeat(MAX_FRAME_BYTES + 1), "{\"type\":\"nonsense\"}".to_owned()] {
        let mut host = rig.host("a", 600_000).await;
        host.say_raw(text).await;
        assert_eq!(host.hear().await, None);
        assert_eq!(alice.get::<Offers>(&rig, "/v1/offers").await.unwrap().offers, []);
    }
}

#[tokio::test]
async fn offers_out_of_bounds_are_not_listed() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 600_000).await;
    let mut foreign = card("a", 1);
    foreign.price_per_hour.currency = nightjar_core::money::Currency::new("EUR").unwrap();
    let mut loud = card("a", 1);
    loud.model = "RTX\u{7}".into();
    for wrong in [vec![card("a", -1)], vec![foreign], vec![loud], vec![card("a", 1), card("a", 2)]] {
        host.offer(wrong).await;
        assert_eq!(alice.get::<Offers>(&rig, "/v1/offers").await.unwrap().offers, []);
    }
    host.offer(vec![card("a", 1)]).await;
    assert_eq!(alice.get::<Offers>(&rig, "/v1/offers").await.unwrap().offers.len(), 1);
}

#[tokio::test]
async fn lists_come_together_after_a_reconnect() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "100.00").await;
    let mut host = rig.host("0", 600_000).await;
    host.offer((0..3).map(|n| card(&n.to_string(), 600_000 + n)).collect()).await;
    let mut terms = Vec::new();
    // One that runs, one that is ready, one that is running and will be stopped.
    for _ in 0..3 {
        alice.rent(&rig).await;
        terms.push(host.run().await);
    }
    host.settle().await;
    host.disconnect().await;
    alice.stop(&rig, &terms[2].lease).await;

    host.connect(&rig).await;
    let unknown = LeaseId("11111111-0000-4000-8000-000000000000".into());
    let listed = |n: usize, state| (terms[n].lease.clone(), terms[n].epoch, state);
    host.list(vec![
        listed(1, LeaseState::Running),
        listed(2, LeaseState::Running),
        (terms[0].lease.clone(), Epoch(7), LeaseState::Running),
        (unknown.clone(), Epoch(1), LeaseState::Running),
    ])
    .await;
    let end = |lease: &LeaseId, epoch, reason| Some(ToHost::End { lease: lease.clone(), epoch, reason });
    assert_eq!(host.hear().await, end(&terms[2].lease, Epoch(1), EndReason::RenterStopped));
    assert_eq!(host.hear().await, end(&terms[0].lease, Epoch(7), EndReason::Superseded));
    assert_eq!(host.hear().await, end(&unknown, Epoch(1), EndReason::Superseded));
    // The one that runs at the market and that the host does not list in this epoch is over.
    let reason = EndReason::HostRestarted;
    alice.sees_state(&rig, &terms[0].lease, LeaseState::Ended { reason }).await;
    alice.sees_state(&rig, &terms[1].lease, LeaseState::Running).await;
}

#[tokio::test]
async fn a_lease_that_was_ready_is_started_again_after_a_reconnect() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "100.00").await;
    let mut host = rig.host("a", 600_000).await;
    let lease = alice.rent(&rig).await.lease;
    let terms = host.hears_offer().await;
    host.ready(&terms).await;
    let start = Some(ToHost::Start { lease: lease.clone(), epoch: Epoch(1) });
    assert_eq!(host.hear().await, start);
    host.disconnect().await;
    let rig = rig.restart().await;
    host.connect(&rig).await;
    host.list(vec![(lease.clone(), Epoch(1), LeaseState::Ready)]).await;
    assert_eq!(host.hear().await, start);
    host.hears_nothing_for(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn an_offer_that_was_lost_with_the_session_goes_elsewhere() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "100.00").await;
    let mut host = rig.host("a", 600_000).await;
    let mut other = rig.host("b", 700_000).await;
    let lease = alice.rent(&rig).await.lease;
    host.disconnect().await;
    host.connect(&rig).await;
    host.list(vec![]).await;
    let again = other.hears_offer().await;
    assert_eq!((again.lease, again.epoch), (lease, Epoch(2)));
}
