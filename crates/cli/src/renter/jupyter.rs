//! A lease's JupyterLab on a port of this PC, for as long as the lease lives.

use reqwest::Url;
use serde_json::json;

use super::arguments::Jupyter;
use crate::failure::Failure;
use crate::output::{Output, note};

use super::market::Market;
use super::ssh::reachable;
use super::state::RenterState;
use super::{choice, port, tunnel};

/// Prints the address and forwards until Ctrl-C or the end of the lease, both of which are no error.
///
/// # Errors
/// When the port is taken, or the lease cannot be reached.
pub async fn jupyter(state: &RenterState, arguments: &Jupyter, output: Output) -> Result<(), Failure> {
    let market = Market::of(&state.membership()?)?;
    let lease = choice::find(&market, arguments.lease.lease.as_deref()).await?;
    let token = reachable(&lease)?.jupyter_token.clone();
    // Before the tunnel: a port that is taken need not cost a connection.
    let (listener, port) = port::open(arguments.port).await?;
    let url = lab_url(port, &token)?;
    let link = tunnel::dial(state, &market, &lease).await?;

    output.print(&json!({ "lease": lease.lease, "url": url, "port": port, "token": token }), &url)?;
    if !arguments.print_url {
        note(
            "Open this address in a browser; it holds the token, so keep it to yourself. Ctrl-C ends the tunnel.",
        );
    }
    let quiet = arguments.print_url;
    let ended = port::forward(&link, listener, tunnel::JUPYTER, &market, &lease, quiet).await;
    link.close().await;
    ended
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
