//! A card that does not prove itself is not rented, its owner learns why, and the lease goes to another.

mod rig;

use nightjar_core::gpu::GpuUuid;
use nightjar_core::host::{CheckAnswer, Report};
use nightjar_core::lease::{EndReason, Epoch, LeaseState, LeaseTerms};
use nightjar_core::market::WaitReason;
use nightjar_core::proof::{Nonce, Proof, ProofFault};
use nightjar_core::standing::CheckKind;
use nightjar_protocol::error::ErrorCode;
use nightjar_protocol::host_session::{SignedReport, ToCoordinator, ToHost};
use nightjar_protocol::market_api::{Lease, Offers};
use rig::{Host, Renter, Rig, code, proof, proof_of, ready_report, rent_request};

/// A lease that is offered to this host and about to be ready there.
async fn preparing(rig: &Rig, alice: &Renter, host: &mut Host) -> (Lease, LeaseTerms) {
    let lease = alice.rent(rig).await;
    let terms = host.hears_offer().await;
    host.tell(&terms, LeaseState::Accepted).await;
    host.tell(&terms, LeaseState::Preparing).await;
    (lease, terms)
}

fn refused(terms: &LeaseTerms, why: ProofFault) -> ToHost {
    let reason = EndReason::ProofRefused { why };
    ToHost::End { lease: terms.lease.clone(), epoch: terms.epoch, reason }
}

type Said = Box<dyn Fn(&LeaseTerms, &Host) -> ToCoordinator>;

fn signed(spoil: fn(Proof) -> Proof) -> Said {
    Box::new(move |terms, host| {
        let proof = spoil(proof(terms));
        let signature = hex::encode(host.key.sign(&proof.signing_bytes()).to_bytes());
        ToCoordinator::Proven(SignedReport { report: ready_report(terms, Some(proof)), signature })
    })
}

#[tokio::test]
async fn peers_19_a_card_that_does_not_prove_itself_is_not_rented_and_its_owner_told_why() {
    let memory = ProofFault::Vram { checked_mib: 4_096, offered_mib: 12_288 };
    let of_another = |terms: &LeaseTerms, host: &Host| {
        let other = Proof { gflops: 1, ..proof(terms) };
        let signature = hex::encode(host.key.sign(&other.signing_bytes()).to_bytes());
        ToCoordinator::Proven(SignedReport { report: ready_report(terms, Some(proof(terms))), signature })
    };
    let unsigned =
        |terms: &LeaseTerms, _: &Host| ToCoordinator::Report(ready_report(terms, Some(proof(terms))));
    let none = |terms: &LeaseTerms, _: &Host| ToCoordinator::Report(ready_report(terms, None));
    let wrong: Vec<(ProofFault, Said)> = vec![
        (ProofFault::Missing, Box::new(none)),
        (ProofFault::Unsigned, Box::new(unsigned)),
        (ProofFault::Unsigned, Box::new(of_another)),
        (ProofFault::OtherQuestion, signed(|proof| Proof { nonce: Nonce::of([7; 16]), ..proof })),
        (ProofFault::OtherCard, signed(|proof| Proof { gpu: GpuUuid("GPU-other".into()), ..proof })),
        (
            ProofFault::OtherModel,
            signed(|proof| Proof { device_name: "NVIDIA GeForce GTX 1050".into(), ..proof }),
        ),
        (memory, signed(|proof| Proof { vram_checked_mib: 4_096, ..proof })),
        (ProofFault::Answer, signed(|proof| Proof { answer: "0123456789abcdef".into(), ..proof })),
    ];
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    for (index, (why, said)) in wrong.into_iter().enumerate() {
        let mut host = rig.host(&index.to_string(), 3_600_000).await;
        let (lease, terms) = preparing(&rig, &alice, &mut host).await;
        let message = said(&terms, &host);
        host.say(message).await;
        assert_eq!(host.hear().await, Some(refused(&terms, why)));
        let ended = LeaseState::Ended { reason: EndReason::ProofRefused { why } };
        host.tell(&terms, ended.clone()).await;
        // A host has no word in it: what it repeats is no cause of its own.
        let over = alice.sees_state(&rig, &lease.lease, ended).await;
        assert_eq!(over.charged.micros, 0);
        let gpu = GpuUuid(format!("GPU-{index}"));
        assert_eq!(host.hears_waiting_for(&WaitReason::CheckFailed { why }).await, [gpu]);
        // On offer as far as the host goes, and to nobody.
        assert_eq!(alice.get::<Offers>(&rig, "/v1/offers").await.unwrap().offers, []);
        assert_eq!(code(alice.post::<Lease>(&rig, "/v1/leases", &rent_request()).await), ErrorCode::NoMatch);
        host.disconnect().await;
    }
}

#[tokio::test]
async fn a_lease_goes_on_to_the_next_card_and_the_first_comes_back_on_its_owners_word() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut cheap = rig.host("cheap", 600_000).await;
    let mut dear = rig.host("dear", 900_000).await;
    let (lease, terms) = preparing(&rig, &alice, &mut cheap).await;
    cheap.ready_with(&terms, Proof { answer: "0".repeat(16), ..proof(&terms) }).await;
    assert_eq!(cheap.hear().await, Some(refused(&terms, ProofFault::Answer)));
    // The same lease, and another question.
    let again = dear.hears_offer().await;
    assert_eq!((&again.lease, again.epoch), (&lease.lease, Epoch(2)));
    assert!(again.nonce.is_whole() && again.nonce != terms.nonce);
    dear.tell(&again, LeaseState::Accepted).await;
    dear.tell(&again, LeaseState::Preparing).await;
    // Its own check fails: nobody else is left.
    let reason = EndReason::SelfCheckFailed { cause: "cuInit: no device".into() };
    dear.tell(&again, LeaseState::Ended { reason: reason.clone() }).await;
    alice.sees_state(&rig, &lease.lease, LeaseState::Ended { reason }).await;
    cheap.hears_waiting_for(&WaitReason::CheckFailed { why: ProofFault::Answer }).await;
    dear.hears_waiting_for(&WaitReason::CheckFailed { why: ProofFault::OwnCheck }).await;

    // Asked at once, it changes nothing; later it does.
    cheap.say(ToCoordinator::Report(Report::CheckWanted { gpu: None })).await;
    cheap.settle().await;
    assert_eq!(code(alice.post::<Lease>(&rig, "/v1/leases", &rent_request()).await), ErrorCode::NoMatch);
    rig.failed_earlier(60_000).await;
    cheap.say(ToCoordinator::Report(Report::CheckWanted { gpu: Some(terms.gpu.clone()) })).await;
    // It is looked at before any renter gets it.
    let (gpu, nonce) = cheap.hears_check().await;
    assert_eq!(gpu, terms.gpu);
    assert!(nonce.is_whole() && nonce != terms.nonce);
    cheap.answers(&gpu, CheckAnswer::Proof(proof_of(&gpu, &nonce))).await;
    let hosts = rig.operator.hosts().await.unwrap();
    let [card] = &hosts.iter().find(|host| host.host == cheap.id).unwrap().cards[..] else {
        panic!("{hosts:?}")
    };
    let last = card.last_check.unwrap();
    assert_eq!((&card.gpu, last.kind, last.passed), (&gpu, CheckKind::Waiting, true));
    assert_eq!(card.left_out_for, None);
    let lease = alice.rent(&rig).await;
    assert_eq!(lease.host_id, cheap.id);
    let terms = cheap.run().await;
    alice.sees_state(&rig, &terms.lease, LeaseState::Running).await;
    // What it did is remembered: a third of it is another card.
    alice.stop(&rig, &terms.lease).await;
    cheap.hear().await;
    cheap.tell(&terms, LeaseState::Ended { reason: EndReason::RenterStopped }).await;
    let (_, terms) = preparing(&rig, &alice, &mut cheap).await;
    cheap.ready_with(&terms, Proof { gflops: 3_000, ..proof(&terms) }).await;
    let why = ProofFault::Slower { found: 3_000, before: 12_000 };
    assert_eq!(cheap.hear().await, Some(refused(&terms, why)));
}
