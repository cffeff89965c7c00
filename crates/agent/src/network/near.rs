//! Addresses that show how long packets wait at this line: the first hop, and the market's.

use std::net::IpAddr;
use std::time::Duration;

/// A name that takes longer to look up is asked for again with the next job.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(3);

/// The first hop sees a full wireless network, the market's address what waits in front of the provider's line.
pub(super) async fn addresses(coordinator: Option<&str>) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = first_hop().into_iter().collect();
    found.extend(match coordinator {
        Some(url) => market(url).await,
        None => None,
    });
    found.dedup();
    found
}

async fn market(url: &str) -> Option<IpAddr> {
    let url = reqwest::Url::parse(url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let looked_up = tokio::net::lookup_host((host, url.port_or_known_default().unwrap_or(443)));
    let found = tokio::time::timeout(LOOK_UP_WITHIN, looked_up).await.ok()?.ok()?;
    let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
}

#[cfg(target_os = "linux")]
fn first_hop() -> Option<IpAddr> {
    let table = std::fs::read_to_string("/proc/net/route").ok()?;
    nightjar_core::network::default_route(&table).map(|route| route.by.into())
}

#[cfg(not(target_os = "linux"))]
fn first_hop() -> Option<IpAddr> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_markets_address_is_that_of_its_url() {
        let local = IpAddr::from([127, 0, 0, 1]);
        assert!(addresses(Some("http://127.0.0.1:8420")).await.contains(&local));
        assert_eq!(market("https://[::1]:1").await, Some(IpAddr::from(std::net::Ipv6Addr::LOCALHOST)));
        assert_eq!(market("no address").await, None);
    }
}
