//! The relay inside the coordinator is there for this market's hosts and for renters who hold a lease.

mod rig;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nightjar_coordinator::{Config, Coordinator};
use nightjar_link::{HostLink, LinkError, LinkOptions, Refusal};
use rig::Rig;

async fn joins(rig: &Rig, key: &iroh_base::SecretKey) -> Result<(), LinkError> {
    let gate = |_: &[u8; 32], _: &str, _: &str| -> Result<SocketAddr, Refusal> { Err(Refusal::NotYours) };
    let options = LinkOptions { bind: vec![(Ipv4Addr::LOCALHOST, 0).into()], ask_router: false };
    let relay = rig.running.relay_info().expect("a relay runs");
    let link = HostLink::start(&key.to_bytes(), relay, Arc::new(gate), &options).await?;
    let online = link.online(Duration::from_secs(10)).await;
    link.shutdown().await;
    online
}

#[tokio::test]
async fn strangers_are_not_forwarded_for() {
    let mut rig = Rig::start().await;
    let relayed = Config::local(rig.folder.path().join("relayed"));
    rig.operator = nightjar_coordinator::operator::Operator::open(&relayed.data_dir, None).await.unwrap();
    rig.running = Coordinator::start(relayed).await.unwrap();
    let host = rig.host("a", 600_000).await;
    joins(&rig, &host.key).await.unwrap();
    let stranger = joins(&rig, &iroh_base::SecretKey::generate()).await;
    assert!(matches!(stranger, Err(LinkError::RelayDenied { .. })), "{stranger:?}");
}
