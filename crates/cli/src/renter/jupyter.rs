//! A lease's JupyterLab on a port of this PC, for as long as the lease lives.

use std::net::Ipv4Addr;
use std::time::Duration;

use nightjar_core::lease::LeaseState;
use nightjar_protocol::market_api::Lease;
use reqwest::Url;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::arguments::Jupyter;
use crate::failure::Failure;
use crate::output::{Output, note, texts};

use super::market::Market;
use super::ssh::reachable;
use super::state::RenterState;
use super::{choice, port, show, tunnel};

/// A minute is what process 1 gives it, and one that is still coming is no reason to keep the address back.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Prints the address once JupyterLab answers (at once where the lease is frozen), and forwards until Ctrl-C or the end of the lease, both of which are no error.
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

    let quiet = arguments.print_url;
    let said = async {
        let ask = async |known: &Lease| market.lease(&known.lease).await.ok();
        if let Some(why) = silence(lease.clone(), async || answers(port).await, ask).await {
            note(&why);
        }
        output.print(&json!({ "lease": lease.lease, "url": url, "port": port, "token": token }), &url)?;
        if !quiet {
            note(
                "Open this address in a browser; it holds the token, so keep it to yourself. Ctrl-C ends the tunnel.",
            );
        }
        std::future::pending::<Result<(), Failure>>().await
    };
    let ended = tokio::select! {
        ended = port::forward(&link, listener, tunnel::JUPYTER, &market, &lease, quiet) => ended,
        failed = said => failed,
    };
    link.close().await;
    ended
}

/// Why nothing comes back, once that is so. A frozen tenant answers nobody, and that says nothing of what it keeps.
async fn silence(
    mut known: Lease,
    mut answers: impl AsyncFnMut() -> bool,
    ask: impl AsyncFn(&Lease) -> Option<Lease>,
) -> Option<String> {
    loop {
        if known.state == LeaseState::Yielded {
            return Some(format!("{}; JupyterLab answers when it goes on", show::state(&known, texts())));
        }
        if answers().await {
            return None;
        }
        match ask(&known).await {
            // It may have been frozen for a part of that time.
            Some(now) if now.state_since != known.state_since => known = now,
            _ => return Some(texts().without_jupyter()),
        }
    }
}

/// Whether something comes back through the tunnel: JupyterLab comes up some seconds after SSH.
async fn answers(port: u16) -> bool {
    let until = Instant::now() + ANSWERS_WITHIN;
    while Instant::now() < until {
        if matches!(timeout(ANSWER_WITHIN, asked(port)).await, Ok(Ok(1..))) {
            return true;
        }
        sleep(ASK_EVERY).await;
    }
    false
}

/// Gives how many bytes came.
async fn asked(port: u16) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"GET /api HTTP/1.0\r\n\r\n").await?;
    stream.read(&mut [0; 64]).await
}

fn lab_url(port: u16, token: &str) -> Result<String, Failure> {
    let mut url = Url::parse(&format!("http://127.0.0.1:{port}/lab")).map_err(anyhow::Error::from)?;
    url.query_pairs_mut().append_pair("token", token);
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use nightjar_core::time::Timestamp;

    use super::*;
    use crate::renter::sample;

    fn lease(state: LeaseState, since: i64) -> Lease {
        Lease { state_since: Timestamp(since), ..sample::lease("3f2a", state) }
    }

    /// What is said, and how often JupyterLab was asked, which answers the question of this number.
    async fn said(at_first: Lease, later: Option<Lease>, answers_at: u32) -> (Option<String>, u32) {
        let mut asked = 0;
        let answers = async || {
            asked += 1;
            asked == answers_at
        };
        let why = silence(at_first, answers, async |_: &Lease| later.clone()).await;
        (why, asked)
    }

    #[tokio::test]
    async fn a_frozen_lease_is_said_to_be_frozen_and_only_a_silent_one_is_blamed() {
        let (frozen, running) = (LeaseState::Yielded, LeaseState::Running);
        let is_frozen = |why: &Option<String>| {
            why.as_ref().is_some_and(|why| why.ends_with("when it goes on") && !why.contains("/workspace"))
        };
        let (why, asked) = said(lease(frozen.clone(), 0), None, 0).await;
        assert!(is_frozen(&why) && asked == 0, "{why:?}, asked {asked} times");
        // Its owner came while it was asked.
        let (why, asked) = said(lease(running.clone(), 0), Some(lease(frozen, 5)), 0).await;
        assert!(is_frozen(&why) && asked == 1, "{why:?}, asked {asked} times");
        // Its owner came and went: it has its minute once more.
        let (why, asked) = said(lease(running.clone(), 0), Some(lease(running.clone(), 9)), 2).await;
        assert_eq!((why, asked), (None, 2));
        let blamed = Some(texts().without_jupyter());
        for (later, times) in
            [(None, 1), (Some(lease(running.clone(), 0)), 1), (Some(lease(running.clone(), 9)), 2)]
        {
            assert_eq!(said(lease(running.clone(), 0), later, 0).await, (blamed.clone(), times));
        }
        assert_eq!(said(lease(running, 0), None, 1).await, (None, 1));
    }

    #[test]
    fn a_token_cannot_change_the_address() {
        assert_eq!(lab_url(8888, "ab12").unwrap(), "http://127.0.0.1:8888/lab?token=ab12");
        assert_eq!(lab_url(1, "a&b#c").unwrap(), "http://127.0.0.1:1/lab?token=a%26b%23c");
    }
}
