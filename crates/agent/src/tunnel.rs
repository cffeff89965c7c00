//! Keeps the tunnel's end of this host open, and moves it when the market names another relay.

use std::sync::Arc;

use iroh_base::SecretKey;
use nightjar_link::{HostLink, LinkOptions};
use nightjar_protocol::relay::RelayInfo;
use tokio::sync::mpsc;

use crate::gate::Gate;
use crate::owner::LinkOrder;

pub(crate) async fn run(key: SecretKey, gate: Gate, mut orders: mpsc::UnboundedReceiver<LinkOrder>) {
    let mut link: Option<HostLink> = None;
    while let Some(order) = orders.recv().await {
        match (order, &link) {
            (LinkOrder::CloseLease(lease), Some(open)) => {
                open.close_lease(&lease.0);
            }
            (LinkOrder::CloseLease(_), None) => {}
            (LinkOrder::Relay(None), _) => {
                tracing::warn!("the market names no relay: renters can reach this host only once it does");
            }
            (LinkOrder::Relay(Some(relay)), current) => {
                if let Some(current) = current
                    && matches!(current.move_to_relay(&relay).await, Ok(true))
                {
                    continue;
                }
                if let Some(old) = link.take() {
                    old.shutdown().await;
                }
                link = open(&key, &relay, &gate).await;
            }
        }
    }
    if let Some(link) = link {
        link.shutdown().await;
    }
}

async fn open(key: &SecretKey, relay: &RelayInfo, gate: &Gate) -> Option<HostLink> {
    let opened =
        HostLink::start(&key.to_bytes(), relay, Arc::new(gate.clone()), &LinkOptions::default()).await;
    opened.inspect_err(|error| tracing::error!("the tunnel cannot be opened: {error}")).ok()
}
