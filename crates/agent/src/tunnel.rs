//! Keeps the tunnel's end of this host open, and moves it when the market names another relay.

use std::net::IpAddr;
use std::sync::Arc;

use iroh_base::SecretKey;
use nightjar_core::network::Teller;
use nightjar_link::{HostLink, LinkOptions};
use nightjar_protocol::relay::RelayInfo;
use nightjar_worker::Workers;
use tokio::sync::{mpsc, watch};

use crate::gate::Gate;
use crate::owner::LinkOrder;

pub(crate) async fn run(
    key: SecretKey,
    gate: Gate,
    mut orders: mpsc::UnboundedReceiver<LinkOrder>,
    workers: Workers,
) {
    let mut link: Option<HostLink> = None;
    let mut addresses = None;
    loop {
        let order = tokio::select! {
            order = orders.recv() => match order {
                Some(order) => order,
                None => break,
            },
            found = found(&mut addresses) => {
                found.into_iter().for_each(|address| workers.hear_own_address(Teller::Link, address));
                continue;
            }
        };
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
                addresses = link.as_ref().map(HostLink::addresses);
            }
        }
    }
    if let Some(link) = link {
        link.shutdown().await;
    }
}

/// What others see of this PC, of the link that is open: home and provider may give it another address at any time.
async fn found(addresses: &mut Option<watch::Receiver<Vec<IpAddr>>>) -> Vec<IpAddr> {
    if let Some(addresses) = addresses
        && addresses.changed().await.is_ok()
    {
        return addresses.borrow_and_update().clone();
    }
    std::future::pending().await
}

async fn open(key: &SecretKey, relay: &RelayInfo, gate: &Gate) -> Option<HostLink> {
    let opened =
        HostLink::start(&key.to_bytes(), relay, Arc::new(gate.clone()), &LinkOptions::default()).await;
    opened.inspect_err(|error| tracing::error!("the tunnel cannot be opened: {error}")).ok()
}
