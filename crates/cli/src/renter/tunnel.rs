//! The way to a worker: the renter's end of the link.

use std::time::Duration;

use nightjar_link::{LinkError, LinkOptions, RenterLink};
use nightjar_protocol::market_api::Lease;

use super::arguments::Proxy;
use crate::failure::{Exit, Failure};
use crate::output::texts;

use super::market::Market;
use super::ssh::reachable;
use super::state::RenterState;
use super::{choice, rent, show};

/// How long the market's word on a cut lease is waited for.
const WORD_WITHIN: Duration = Duration::from_secs(3);
/// Name of the worker's SSH port in the tunnel.
const SSH: &str = "ssh";
/// Name of its JupyterLab.
pub const JUPYTER: &str = "jupyter";
/// Name of its language model.
pub const API: &str = "api";

/// Joins standard input and output to a lease's SSH port.
///
/// # Errors
/// When the lease or its host cannot be reached, or the host ends the stream.
pub async fn proxy(state: &RenterState, arguments: &Proxy) -> Result<(), Failure> {
    let market = Market::of(&state.membership()?)?;
    let lease = choice::find(&market, arguments.lease.lease.as_deref()).await?;
    let link = dial(state, &market, &lease).await?;
    let carried = link.forward_stdio(&lease.lease.0, SSH).await;
    link.close().await;
    match carried {
        Ok(()) => Ok(()),
        Err(error) => {
            let words = over(&market, &lease, error).await?;
            Err(Failure::new(Exit::NothingMatched, words).advise("`nightjar rent` gets another"))
        }
    }
}

/// After the tunnel was cut: what the market says of a lease that is over. The host cuts first and reports then, so the
/// word is waited for a moment.
///
/// # Errors
/// The tunnel's own reason, when the lease is not over.
pub async fn over(market: &Market, lease: &Lease, error: LinkError) -> Result<String, Failure> {
    let word = async {
        let mut now = market.lease(&lease.lease).await?;
        while now.state.is_reachable() {
            now = rent::next(market, &now).await?;
        }
        Ok::<_, Failure>(now)
    };
    match tokio::time::timeout(WORD_WITHIN, word).await {
        Ok(Ok(now)) => Ok(format!("lease {} is {}", show::short(&now.lease.0), show::state(&now, texts()))),
        _ => Err(failure(error)),
    }
}

/// Connects to the host of a lease.
///
/// # Errors
/// Within ten seconds, when the host or the relay does not answer.
pub async fn dial(state: &RenterState, market: &Market, lease: &Lease) -> Result<RenterLink, Failure> {
    reachable(lease)?;
    let relay = lease.relay.as_ref().ok_or_else(|| {
        Failure::failed("the market names no relay, so there is no way to the host")
            .advise("tell the market's operator: its relay is off")
    })?;
    let mut host_key = [0_u8; 32];
    hex::decode_to_slice(&lease.host_key, &mut host_key)
        .map_err(|_| Failure::failed("the market sent a host key that is not 64 hexadecimal digits"))?;
    let secret_key = state.link_key()?.to_bytes();
    let options = LinkOptions { ask_router: !market.is_on_this_pc(), ..LinkOptions::default() };
    RenterLink::dial(&secret_key, &host_key, relay, &options).await.map_err(failure)
}

/// The tunnel's reason with this program's exit code.
pub fn failure(error: LinkError) -> Failure {
    let exit = match &error {
        LinkError::PeerOffline { .. } => Exit::NotRunning,
        LinkError::Refused(_) | LinkError::RelayDenied { .. } => Exit::Refused,
        LinkError::RelayUnreachable { .. } => Exit::Unreachable,
        LinkError::Protocol(_) | LinkError::Broken(_) | LinkError::Local { .. } => Exit::Failed,
    };
    Failure::new(exit, crate::output::printable(&error.to_string()))
}
