//! A service of a lease on a port of this PC, for as long as the lease lives.

use std::net::Ipv4Addr;

use nightjar_core::lease::LeaseState;
use nightjar_link::RenterLink;
use nightjar_protocol::market_api::Lease;
use tokio::net::TcpListener;

use crate::failure::{Exit, Failure};
use crate::output::{note, texts};

use super::market::Market;
use super::{rent, show, tunnel};

/// Of the loopback, with its number: 0 takes any that is free.
///
/// # Errors
/// When it is taken.
pub async fn open(port: u16) -> Result<(TcpListener, u16), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        Failure::failed(format!("port {port} of this PC cannot be used: {error}"))
            .advise("--port 0 takes any that is free")
    })?;
    let number = listener.local_addr().map_err(anyhow::Error::from)?.port();
    Ok((listener, number))
}

/// Forwards until Ctrl-C or the end of the lease, both of which are no error. `quiet` leaves out what is no more than
/// news.
///
/// # Errors
/// When the lease cannot be reached any more.
pub async fn forward(
    link: &RenterLink,
    listener: TcpListener,
    service: &str,
    market: &Market,
    lease: &Lease,
    quiet: bool,
) -> Result<(), Failure> {
    tokio::select! {
        ended = link.forward_port(listener, &lease.lease.0, service) => match ended {
            Ok(()) => Ok(()),
            Err(error) => tunnel::over(market, lease, error).await.map(|words| note(&words)),
        },
        followed = watch(market, lease.clone(), quiet) => followed,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Says what becomes of the lease, until it is over. A market that is away does not touch the tunnel.
async fn watch(market: &Market, mut lease: Lease, quiet: bool) -> Result<(), Failure> {
    loop {
        let now = match rent::next(market, &lease).await {
            Ok(now) => now,
            Err(failure) if failure.exit == Exit::Unreachable => continue,
            Err(failure) => return Err(failure),
        };
        if now.state != lease.state && !(quiet && now.state.is_reachable()) {
            note(&show::state(&now, texts()));
        }
        if matches!(now.state, LeaseState::Ending { .. } | LeaseState::Ended { .. }) {
            return Ok(());
        }
        lease = now;
    }
}
