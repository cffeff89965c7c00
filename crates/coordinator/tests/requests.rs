//! Requests that are refused, each with its code.

mod rig;

use nightjar_core::market::{CardOffer, Requirements};
use nightjar_core::money::{Currency, Money};
use nightjar_protocol::error::{ErrorBody, ErrorCode};
use nightjar_protocol::market_api::{About, Account, Lease, Leases, Offers, RentRequest};
use rig::{Rig, SSH_KEY, answer, card, code, rent_request};

#[tokio::test]
async fn without_a_known_token_nothing_is_told() {
    let rig = Rig::start().await;
    let about: About = answer(rig.http.get(rig.url("/v1/about"))).await.unwrap();
    assert_eq!((about.currency, about.fee_basis_points), (Currency::CNY, 500));
    for path in ["/v1/account", "/v1/offers", "/v1/leases", "/v1/leases/x/statement"] {
        let plain = answer::<Account>(rig.http.get(rig.url(path))).await;
        assert_eq!(code(plain), ErrorCode::Unauthorized, "{path}");
        let wrong = answer::<Account>(rig.http.get(rig.url(path)).bearer_auth("nightjar_renter_x")).await;
        assert_eq!(code(wrong), ErrorCode::Unauthorized, "{path}");
        let basic = answer::<Account>(rig.http.get(rig.url(path)).basic_auth("a", Some("b"))).await;
        assert_eq!(code(basic), ErrorCode::Unauthorized, "{path}");
    }
}

#[tokio::test]
async fn each_wrong_value_is_named() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let _host = rig.host("a", 600_000).await;
    let wanted = |requirements| RentRequest { requirements, ..rent_request() };
    let euros = Money::new(1, Currency::new("EUR").unwrap());
    let requests = [
        (RentRequest { renter_key: "xyz".into(), ..rent_request() }, "renter_key"),
        (RentRequest { renter_key: "f".repeat(65), ..rent_request() }, "renter_key"),
        (RentRequest { ssh_public_key: format!("{SSH_KEY}\nx"), ..rent_request() }, "ssh_public_key"),
        (RentRequest { ssh_public_key: format!("no-pty {SSH_KEY}"), ..rent_request() }, "ssh_public_key"),
        (RentRequest { image: String::new(), ..rent_request() }, "image"),
        (wanted(Requirements { model: Some("a".repeat(500)), ..Default::default() }), "model"),
        (
            wanted(Requirements { max_price_per_hour: Some(euros), ..Default::default() }),
            "max_price_per_hour",
        ),
        (wanted(Requirements { image: Some("other".into()), ..Default::default() }), "image"),
    ];
    for (request, named) in requests {
        let refused: ErrorBody = alice.post::<Lease>(&rig, "/v1/leases", &request).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadRequest);
        assert!(refused.detail.contains(named), "{}", refused.detail);
    }
    assert_eq!(alice.get::<Leases>(&rig, "/v1/leases").await.unwrap().leases, []);
}

#[tokio::test]
async fn what_nobody_offers_is_told_by_requirement() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let none = alice.post::<Lease>(&rig, "/v1/leases", &rent_request()).await.unwrap_err();
    assert_eq!(none.code, ErrorCode::NoMatch);
    let _host = rig.host("a", 600_000).await;
    let requests = [
        (Requirements { min_vram_mib: Some(24_000), ..Default::default() }, "1 by vram"),
        (Requirements { model: Some("4090".into()), ..Default::default() }, "1 by model"),
        (Requirements { region: Some("moon".into()), ..Default::default() }, "1 by region"),
        (
            Requirements { max_price_per_hour: Some(Money::new(1, Currency::CNY)), ..Default::default() },
            "1 by price",
        ),
    ];
    for (requirements, why) in requests {
        let request = RentRequest { requirements, ..rent_request() };
        let refused = alice.post::<Lease>(&rig, "/v1/leases", &request).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::NoMatch);
        assert!(refused.detail.contains(why), "{}", refused.detail);
    }
    let image = RentRequest { image: "other:1".into(), ..rent_request() };
    let refused = alice.post::<Lease>(&rig, "/v1/leases", &image).await.unwrap_err();
    assert!(refused.detail.contains("1 by image"), "{}", refused.detail);
}

#[tokio::test]
async fn who_wants_no_sandbox_gets_a_dearer_card_without_one_or_none() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut host = rig.host("a", 600_000).await;
    host.offer(vec![CardOffer { sandbox: true, ..card("a", 600_000) }]).await;
    let all = alice.get::<Offers>(&rig, "/v1/offers").await.unwrap().offers;
    assert!(matches!(&all[..], [only] if only.card.sandbox), "{all:?}");
    let bare = alice.get::<Offers>(&rig, "/v1/offers?no_sandbox=true").await.unwrap().offers;
    assert_eq!(bare, []);
    let requirements = Requirements { no_sandbox: true, ..Default::default() };
    let request = RentRequest { requirements, ..rent_request() };
    let refused = alice.post::<Lease>(&rig, "/v1/leases", &request).await.unwrap_err();
    assert!(refused.code == ErrorCode::NoMatch && refused.detail.contains("1 by no sandbox"), "{refused:?}");
    let _other = rig.host("b", 900_000).await;
    let lease = alice.post::<Lease>(&rig, "/v1/leases", &request).await.unwrap();
    assert_eq!(lease.price_per_hour, Money::new(900_000, Currency::CNY));
}

#[tokio::test]
async fn whatever_is_asked_the_answer_has_a_code() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let ask = |request: reqwest::RequestBuilder| answer::<Lease>(request.bearer_auth(&alice.token));
    let leases = rig.url("/v1/leases");
    assert_eq!(code(ask(rig.http.get(rig.url("/nowhere"))).await), ErrorCode::NotFound);
    assert_eq!(code(ask(rig.http.delete(&leases)).await), ErrorCode::BadRequest);
    assert_eq!(code(ask(rig.http.post(&leases).body("{")).await), ErrorCode::BadRequest);
    assert_eq!(code(ask(rig.http.post(&leases).body("x".repeat(70_000))).await), ErrorCode::BadRequest);
    assert_eq!(code(ask(rig.http.get(format!("{leases}/nonsense"))).await), ErrorCode::NotFound);
    let unknown = format!("{leases}/00000000-0000-4000-8000-000000000000");
    assert_eq!(code(ask(rig.http.get(&unknown)).await), ErrorCode::NotFound);
    assert_eq!(code(ask(rig.http.get(format!("{unknown}?wait_ms=99999"))).await), ErrorCode::BadRequest);
    assert_eq!(code(ask(rig.http.get(format!("{unknown}?wait_ms=no"))).await), ErrorCode::BadRequest);
    assert_eq!(code(ask(rig.http.get(rig.url("/v1/hosts/session"))).await), ErrorCode::BadRequest);
    let offers = alice.get::<Offers>(&rig, "/v1/offers?min_vram_mib=lots").await;
    assert_eq!(code(offers), ErrorCode::BadRequest);
}
