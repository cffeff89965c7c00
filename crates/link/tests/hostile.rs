//! Peers that do not keep to the protocol, spoken to the host with iroh itself.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[expect(dead_code, reason = "each test program uses its own part of it")]
mod common;

use std::time::Duration;

use common::{HOST_KEY, LEASE, RENTER_KEY, STRANGER_KEY, Scene, echoes, v4};
use iroh::endpoint::{Connection, presets};
use iroh::{Endpoint, EndpointAddr, RelayMap, RelayMode, SecretKey};
use iroh_relay::tls::CaTlsConfig;
use nightjar_link::{ALPN, Refusal};

async fn connect(scene: &Scene, key: [u8; 32]) -> (Endpoint, Connection) {
    let info = scene.relay.info();
    let authority = hex::decode(info.ca_der.as_ref().unwrap()).unwrap();
    let url: iroh::RelayUrl = info.url.parse().unwrap();
    let endpoint = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(&key))
        .relay_mode(RelayMode::Custom(RelayMap::from(url.clone())))
        .ca_tls_config(CaTlsConfig::custom_roots([authority.into()]))
        .portmapper_config(iroh::endpoint::PortmapperConfig::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap()
        .bind()
        .await
        .unwrap();
    let host = EndpointAddr::new(SecretKey::from_bytes(&HOST_KEY).public()).with_relay_url(url);
    let connection = endpoint.connect(host, ALPN).await.unwrap();
    (endpoint, connection)
}

async fn answer_to(connection: &Connection, bytes: &[u8]) -> u8 {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    // The host may stop reading before everything is written.
    let _ = send.write_all(bytes).await;
    let mut answer = [0];
    tokio::time::timeout(Duration::from_secs(8), recv.read_exact(&mut answer)).await.unwrap().unwrap();
    answer[0]
}

fn framed(json: &str) -> Vec<u8> {
    [&u16::try_from(json.len()).unwrap().to_be_bytes()[..], json.as_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_out_of_bounds_are_refused() {
    let scene = Scene::new(&v4()).await;
    let (_endpoint, connection) = connect(&scene, RENTER_KEY).await;
    let bad = Refusal::BadHeader.wire();
    let oversize = format!(r#"{{"lease_id":"{}","service":"ssh"}}"#, "x".repeat(60_000));
    let long_name = format!(r#"{{"lease_id":"{}","service":"ssh"}}"#, "x".repeat(200));
    assert_eq!(answer_to(&connection, &framed(&oversize)).await, bad);
    assert_eq!(answer_to(&connection, &framed(&long_name)).await, bad);
    assert_eq!(answer_to(&connection, &framed(r#"{"lease_id":"a b","service":"ssh"}"#)).await, bad);
    assert_eq!(answer_to(&connection, &framed("no json")).await, bad);
    assert_eq!(answer_to(&connection, &framed("")).await, bad);
    let good = format!(r#"{{"lease_id":"{LEASE}","service":"smtp"}}"#);
    assert_eq!(answer_to(&connection, &framed(&good)).await, Refusal::UnknownService.wire());
    let key = hex::encode(nightjar_link::public_key(&RENTER_KEY));
    let forged = format!(r#"{{"lease_id":"{LEASE}","service":"ssh","acts_for":"{key}{}"}}"#, "00".repeat(64));
    assert_eq!(answer_to(&connection, &framed(&forged)).await, bad);
    assert_eq!(scene.worker.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_does_not_come_is_not_waited_for() {
    let scene = Scene::new(&v4()).await;
    let (_endpoint, connection) = connect(&scene, RENTER_KEY).await;
    assert_eq!(answer_to(&connection, &[0]).await, Refusal::BadHeader.wire());
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_sent_away_and_do_not_shut_a_renter_out() {
    let scene = Scene::new(&v4()).await;
    let (endpoint, first) = connect(&scene, STRANGER_KEY).await;
    let host = EndpointAddr::new(SecretKey::from_bytes(&HOST_KEY).public())
        .with_relay_url(scene.relay.info().url.parse().unwrap());
    let mut held = Vec::new();
    while let Ok(Ok(connection)) =
        tokio::time::timeout(Duration::from_secs(2), endpoint.connect(host.clone(), ALPN)).await
    {
        held.push(connection);
        assert!(held.len() <= 40, "the host takes any number of strangers");
    }
    println!("{} connections of a stranger were taken", held.len() + 1);
    tokio::time::timeout(Duration::from_secs(15), first.closed())
        .await
        .expect("a stranger may stay for ever");
    let renter = scene.renter(&v4()).await;
    echoes(&mut renter.open(LEASE, "ssh").await.unwrap(), b"in").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renter_may_stay_with_an_idle_stream() {
    let scene = Scene::new(&v4()).await;
    let renter = scene.renter(&v4()).await;
    let mut stream = renter.open(LEASE, "ssh").await.unwrap();
    tokio::time::sleep(Duration::from_secs(12)).await;
    echoes(&mut stream, b"awake").await.unwrap();
}
