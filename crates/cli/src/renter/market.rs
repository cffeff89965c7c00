//! The market's HTTP interface as a renter uses it. Every wait and every answer is bounded.

use std::net::IpAddr;
use std::time::Duration;

use nightjar_core::lease::LeaseId;
use nightjar_protocol::error::ErrorBody;
use nightjar_protocol::market_api::{
    About, Account, Lease, Leases, MAX_WAIT_MS, OfferQuery, Offers, RentRequest, RenterVolumes, Statement,
};
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::{Exit, Failure};
use crate::output::printable;

use super::state::Membership;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A silent market is told of within ten seconds; the rest is for a PC with much else to do.
const ANSWER_WITHIN: Duration = Duration::from_secs(7);
/// How long the market may hold a long poll.
pub const LONG_POLL_MS: u64 = 20_000;
/// The longest answer that is read: a market with ten thousand cards fits.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
const _: () = assert!(LONG_POLL_MS <= MAX_WAIT_MS);

/// A market as one renter sees it.
#[derive(Clone)]
pub struct Market {
    http: reqwest::Client,
    base: Url,
    token: String,
}

/// An address that a token may be sent to.
///
/// # Errors
/// What is wrong with it, and what one looks like.
pub fn market_url(text: &str, allow_plain_http: bool) -> Result<Url, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!("\"{}\" is not a market's address: {why}", printable(text)))
            .advise("it looks like https://market.example")
    };
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it must begin with https://"));
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(wrong("it may hold a host, a port and a path, and nothing else"));
    }
    if url.scheme() == "http" && !is_this_pc(&url) && !allow_plain_http {
        return Err(wrong("over http:// whoever is on the way could read your token")
            .advise("use https://, or add --allow-plain-http if the network is yours"));
    }
    Ok(url)
}

fn is_this_pc(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl Market {
    /// # Errors
    /// When the address is none that a token may be sent to.
    pub fn of(membership: &Membership) -> Result<Self, Failure> {
        let base = market_url(&membership.coordinator, membership.allow_plain_http)?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("nightjar/", env!("CARGO_PKG_VERSION")));
        if is_this_pc(&base) {
            // A proxy elsewhere cannot know this PC's own ports.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(anyhow::Error::from)?;
        Ok(Self { http, base, token: membership.token.clone() })
    }

    /// No router is between this PC and the market, nor between this PC and a host that uses it.
    #[must_use]
    pub fn is_on_this_pc(&self) -> bool {
        is_this_pc(&self.base)
    }

    pub async fn about(&self) -> Result<About, Failure> {
        self.get(&["about"]).await
    }

    pub async fn account(&self) -> Result<Account, Failure> {
        self.get(&["account"]).await
    }

    pub async fn offers(&self, query: &OfferQuery) -> Result<Offers, Failure> {
        let fields = serde_json::to_value(query).map_err(anyhow::Error::from)?;
        let mut url = self.url(&["offers"])?;
        for (name, value) in fields.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            url.query_pairs_mut().append_pair(name, &text);
        }
        self.ask(Method::GET, url, None::<&()>, ANSWER_WITHIN).await
    }

    pub async fn rent(&self, request: &RentRequest) -> Result<Lease, Failure> {
        self.ask(Method::POST, self.url(&["leases"])?, Some(request), ANSWER_WITHIN).await
    }

    pub async fn leases(&self) -> Result<Leases, Failure> {
        self.get(&["leases"]).await
    }

    pub async fn volumes(&self) -> Result<RenterVolumes, Failure> {
        self.get(&["volumes"]).await
    }

    pub async fn lease(&self, lease: &LeaseId) -> Result<Lease, Failure> {
        self.get(&["leases", &lease.0]).await
    }

    /// The lease as soon as it is in another state than in `known`, or as it is after a while.
    pub async fn lease_after(&self, known: &Lease) -> Result<Lease, Failure> {
        let mut url = self.url(&["leases", &known.lease.0])?;
        let state = serde_json::to_value(&known.state).map_err(anyhow::Error::from)?;
        let state = state["state"].as_str().unwrap_or_default();
        url.query_pairs_mut().append_pair("wait_ms", &LONG_POLL_MS.to_string()).append_pair("state", state);
        let within = ANSWER_WITHIN + Duration::from_millis(LONG_POLL_MS);
        self.ask(Method::GET, url, None::<&()>, within).await
    }

    pub async fn stop(&self, lease: &LeaseId) -> Result<Lease, Failure> {
        self.ask(Method::POST, self.url(&["leases", &lease.0, "stop"])?, None::<&()>, ANSWER_WITHIN).await
    }

    pub async fn statement(&self, lease: &LeaseId) -> Result<Statement, Failure> {
        self.get(&["leases", &lease.0, "statement"]).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Failure> {
        self.ask(Method::GET, self.url(path)?, None::<&()>, ANSWER_WITHIN).await
    }

    fn url(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::usage("the market's address cannot have a path"))?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        Ok(url)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<&impl Serialize>,
        within: Duration,
    ) -> Result<T, Failure> {
        let mut request = self.http.request(method, url).timeout(within).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let mut text = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if text.len() + part.len() > MAX_ANSWER_BYTES {
                return Err(Failure::failed(format!(
                    "the market answers with more than {MAX_ANSWER_BYTES} bytes"
                )));
            }
            text.extend_from_slice(&part);
        }
        if !status.is_success() {
            return Err(match serde_json::from_slice::<ErrorBody>(&text) {
                Ok(body) => Failure::from(ErrorBody { detail: printable(&body.detail), ..body }),
                Err(_) => {
                    Failure::failed(format!("{} answers with status {status} and no reason", self.base))
                        .advise("check that this is a Nightjar market's address")
                }
            });
        }
        serde_json::from_slice(&text).map_err(|error| {
            Failure::failed(format!("the answer of {} cannot be read: {error}", self.base))
                .advise("check that the market speaks the same version as `nightjar --version`")
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let why = if error.is_timeout() {
            String::from("it does not answer in time")
        } else {
            // The innermost cause says it ("Connection refused"); those around it repeat the address.
            let mut cause: &dyn std::error::Error = error;
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            cause.to_string()
        };
        Failure::new(Exit::Unreachable, format!("the market {} cannot be reached: {why}", self.base))
            .advise("check the network and the address; what runs on your lease goes on without you")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_only_where_nobody_else_reads_it() {
        for fine in [
            "https://market.example",
            "https://market.example:8443/sub/",
            "http://127.0.0.1:7440",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert!(market_url(fine, false).is_ok(), "{fine}");
        }
        for wrong in [
            "",
            "market.example",
            "ftp://market.example",
            "http://market.example",
            "http://10.0.0.1",
            "https://u:p@market.example",
            "https://market.example/?x=1",
            "http://localhost.market.example",
        ] {
            assert_eq!(market_url(wrong, false).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
        assert!(market_url("http://10.0.0.1", true).is_ok());
    }

    #[test]
    fn paths_are_put_behind_the_address_and_escaped() {
        let membership =
            |url: &str| Membership { coordinator: url.into(), token: "t".into(), allow_plain_http: false };
        let market = Market::of(&membership("https://market.example/sub/")).unwrap();
        let url = market.url(&["leases", "a/../b", "stop"]).unwrap();
        assert_eq!(url.as_str(), "https://market.example/sub/v1/leases/a%2F..%2Fb/stop");
    }

    #[tokio::test]
    async fn a_market_that_is_not_there_is_told_at_once() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let membership = Membership {
            coordinator: format!("http://{address}"),
            token: "t".into(),
            allow_plain_http: false,
        };
        let failure = Market::of(&membership).unwrap().account().await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.what.contains("refused"), "{failure}");
    }

    #[tokio::test]
    async fn a_market_that_says_nothing_is_given_up_within_ten_seconds() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let membership = Membership {
            coordinator: format!("http://{}", silent.local_addr().unwrap()),
            token: "t".into(),
            allow_plain_http: false,
        };
        let started = std::time::Instant::now();
        let failure = Market::of(&membership).unwrap().account().await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
