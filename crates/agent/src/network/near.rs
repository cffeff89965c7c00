//! Addresses that show how long packets wait at this line: the first hop, and the market's.

use std::net::IpAddr;
use std::time::Duration;

use nightjar_core::bandwidth::Vantage;
use nightjar_core::network::{default_route, is_on_link};

/// A name that takes longer to look up is asked for again with the next job.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(3);

/// The first hop sees a full wireless network, the market's address what waits in front of the provider's line, unless the
/// market is in this network itself.
pub(super) async fn addresses(coordinator: Option<&str>) -> Vec<(IpAddr, Vantage)> {
    let table = routes();
    let first = default_route(&table).map(|route| IpAddr::from(route.by));
    let mut found: Vec<(IpAddr, Vantage)> = first.map(|by| (by, Vantage::Near)).into_iter().collect();
    let market = match coordinator {
        Some(url) => market(url).await,
        None => None,
    };
    found.extend(
        market.filter(|market| first != Some(*market)).map(|market| (market, vantage(market, &table))),
    );
    found
}

fn vantage(market: IpAddr, table: &str) -> Vantage {
    let is_near = match market {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local() || is_on_link(table, address),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unicast_link_local() || address.is_unique_local()
        }
    };
    if is_near { Vantage::Near } else { Vantage::Beyond }
}

async fn market(url: &str) -> Option<IpAddr> {
    let url = reqwest::Url::parse(url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let looked_up = tokio::net::lookup_host((host, url.port_or_known_default().unwrap_or(443)));
    let found = tokio::time::timeout(LOOK_UP_WITHIN, looked_up).await.ok()?.ok()?;
    let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
}

/// The kernel's table of routes; elsewhere there is none of the kind.
fn routes() -> String {
    if cfg!(target_os = "linux") {
        std::fs::read_to_string("/proc/net/route").unwrap_or_default()
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_markets_address_is_that_of_its_url() {
        let local = IpAddr::from([127, 0, 0, 1]);
        // On this PC itself, it says nothing of the line.
        assert!(addresses(Some("http://127.0.0.1:8420")).await.contains(&(local, Vantage::Near)));
        assert_eq!(market("https://[::1]:1").await, Some(IpAddr::from(std::net::Ipv6Addr::LOCALHOST)));
        assert_eq!(market("no address").await, None);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_market_in_this_network_is_not_behind_the_line() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t0100C90A\t0003\t0\t0\t0\t00000000\n\
                     eth0\t0000C90A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        for (address, seen) in [
            ("10.201.0.9", Vantage::Near),
            ("10.201.1.9", Vantage::Beyond),
            ("1.1.1.1", Vantage::Beyond),
            ("169.254.1.1", Vantage::Near),
            ("fd00::1", Vantage::Near),
            ("2606:4700::1", Vantage::Beyond),
        ] {
            assert_eq!(vantage(address.parse().unwrap(), table), seen, "{address}");
        }
    }
}
