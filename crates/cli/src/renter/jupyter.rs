//! A lease's JupyterLab on a port of this PC, for as long as the lease lives.

use std::net::Ipv4Addr;

use nightjar_core::lease::LeaseState;
use nightjar_protocol::market_api::Lease;
use reqwest::Url;
use serde_json::json;
use tokio::net::TcpListener;

use crate::arguments::Jupyter;
use crate::failure::{Exit, Failure};
use crate::output::{Output, note};

use super::market::Market;
use super::ssh::reachable;
use super::state::RenterState;
use super::{choice, rent, show, tunnel};

/// Prints the address and forwards until Ctrl-C or the end of the lease, both of which are no error.
///
/// # Errors
/// When the port is taken, or the lease cannot be reached.
pub async fn jupyter(state: &RenterState, arguments: &Jupyter, output: Output) -> Result<(), Failure> {
    let market = Market::of(&state.membership()?)?;
    let lease = choice::find(&market, arguments.lease.lease.as_deref()).await?;
    let token = reachable(&lease)?.jupyter_token.clone();
    // Before the tunnel: a port that is taken need not cost a connection.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).await.map_err(|error| {
        Failure::failed(format!("port {} of this PC cannot be used: {error}", arguments.port))
            .advise("--port 0 takes any that is free")
    })?;
    let port = listener.local_addr().map_err(anyhow::Error::from)?.port();
    let url = lab_url(port, &token)?;
    let link = tunnel::dial(state, &market, &lease).await?;

    output.print(&json!({ "lease": lease.lease, "url": url, "port": port, "token": token }), &url)?;
    if !arguments.print_url {
        note(
            "Open this address in a browser; it holds the token, so keep it to yourself. Ctrl-C ends the tunnel.",
        );
    }
    let name = lease.lease.0.clone();
    let ended = tokio::select! {
        ended = link.forward_port(listener, &name, tunnel::JUPYTER) => {
            // The end of the lease is no error.
            match ended {
                Ok(()) => Ok(()),
                Err(error) => tunnel::over(&market, &lease, error).await.map(|words| note(&words)),
            }
        }
        followed = watch(&market, lease.clone(), arguments.print_url) => followed,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    link.close().await;
    ended
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
            note(&show::state(&now, show::texts()));
        }
        if matches!(now.state, LeaseState::Ending { .. } | LeaseState::Ended { .. }) {
            return Ok(());
        }
        lease = now;
    }
}

fn lab_url(port: u16, token: &str) -> Result<String, Failure> {
    let mut url = Url::parse(&format!("http://127.0.0.1:{port}/lab")).map_err(anyhow::Error::from)?;
    url.query_pairs_mut().append_pair("token", token);
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_cannot_change_the_address() {
        assert_eq!(lab_url(8888, "ab12").unwrap(), "http://127.0.0.1:8888/lab?token=ab12");
        assert_eq!(lab_url(1, "a&b#c").unwrap(), "http://127.0.0.1:1/lab?token=a%26b%23c");
    }
}
