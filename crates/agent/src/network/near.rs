//! Addresses that show how long packets wait at this line: the first hop's, and the market's.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use nightjar_core::bandwidth::Vantage;
use nightjar_core::network::{default_route, default_route6, is_on_link, is_on_link6};

/// A name that takes longer to look up is asked for again in a moment.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(3);
/// Of IPv4 and of IPv6 each; a name may have any number of addresses.
const MOST_OF_A_KIND: usize = 4;

/// One host by its addresses, the best first, and where it is seen from. One of them is enough: which of them can be reached
/// shows when it is asked.
pub(super) type Host = Vec<(SocketAddr, Vantage)>;

/// The first hop sees a full wireless network, the market's address what waits in front of the provider's line, unless the
/// market is in this network itself.
pub(super) async fn hosts(coordinator: Option<&str>) -> Vec<Host> {
    let routes = Routes::read();
    let first: Host = routes.first_hop().into_iter().map(|by| (by, Vantage::Near)).collect();
    let market = match coordinator {
        Some(url) => market(url).await,
        None => Vec::new(),
    };
    let market: Host = market
        .into_iter()
        .filter(|market| first.iter().all(|(by, _)| by.ip() != *market))
        .map(|market| (SocketAddr::new(market, 0), routes.vantage(market)))
        .collect();
    [first, market].into_iter().filter(|host| !host.is_empty()).collect()
}

/// All its addresses. On a line without IPv4 a name may have such an address all the same.
async fn market(url: &str) -> Vec<IpAddr> {
    let Ok(url) = reqwest::Url::parse(url) else { return Vec::new() };
    let Some(host) = url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned()) else {
        return Vec::new();
    };
    let looked_up = tokio::net::lookup_host((host, url.port_or_known_default().unwrap_or(443)));
    let Ok(Ok(found)) = tokio::time::timeout(LOOK_UP_WITHIN, looked_up).await else { return Vec::new() };
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) =
        found.map(|address| address.ip()).partition(|address| address.is_ipv4());
    v4.into_iter().take(MOST_OF_A_KIND).chain(v6.into_iter().take(MOST_OF_A_KIND)).collect()
}

/// The kernel's tables of routes; elsewhere there are none of the kind.
#[derive(Default)]
struct Routes {
    v4: String,
    v6: String,
}

impl Routes {
    fn read() -> Self {
        if !cfg!(target_os = "linux") {
            return Self::default();
        }
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self { v4: read("/proc/net/route"), v6: read("/proc/net/ipv6_route") }
    }

    /// A modem's line has none: everything is a neighbour there.
    fn first_hop(&self) -> Vec<SocketAddr> {
        let v4 = default_route(&self.v4).filter(|route| !route.by.is_unspecified());
        let v6 = default_route6(&self.v6).and_then(|route| {
            let scope = if route.by.is_unicast_link_local() { index_of(&route.device)? } else { 0 };
            Some(SocketAddr::V6(SocketAddrV6::new(route.by, 0, 0, scope)))
        });
        v4.map(|route| SocketAddr::new(route.by.into(), 0)).into_iter().chain(v6).collect()
    }

    fn vantage(&self, market: IpAddr) -> Vantage {
        let is_near = match market {
            IpAddr::V4(address) => {
                address.is_loopback() || address.is_link_local() || is_on_link(&self.v4, address)
            }
            IpAddr::V6(address) => {
                address.is_loopback()
                    || address.is_unicast_link_local()
                    || address.is_unique_local()
                    || is_on_link6(&self.v6, address)
            }
        };
        if is_near { Vantage::Near } else { Vantage::Beyond }
    }
}

/// Under which number the kernel has a device.
fn index_of(device: &str) -> Option<u32> {
    std::fs::read_to_string(format!("/sys/class/net/{device}/ifindex")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_markets_address_is_that_of_its_url() {
        let local = IpAddr::from([127, 0, 0, 1]);
        // On this PC itself, it says nothing of the line.
        let there = vec![(SocketAddr::new(local, 0), Vantage::Near)];
        assert!(hosts(Some("http://127.0.0.1:8420")).await.contains(&there));
        assert_eq!(market("https://[::1]:1").await, [IpAddr::from(std::net::Ipv6Addr::LOCALHOST)]);
        assert_eq!(market("no address").await, Vec::<IpAddr>::new());
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_market_in_this_network_is_not_behind_the_line() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t0100C90A\t0003\t0\t0\t0\t00000000\n\
                     eth0\t0000C90A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        let zero = "0".repeat(32);
        let v6 = format!(
            "20010db8000000aa{:0<16} 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001 eth0\n\
             {zero} 00 {zero} 00 20010db8000000aa{:0>16} 00000400 00000001 00000000 00000003 eth0\n",
            "", "1"
        );
        let routes = Routes { v4: v4.into(), v6 };
        assert_eq!(
            routes.first_hop(),
            ["10.201.0.1:0", "[2001:db8:0:aa::1]:0"].map(|address| address.parse::<SocketAddr>().unwrap())
        );
        for (address, seen) in [
            ("10.201.0.9", Vantage::Near),
            ("10.201.1.9", Vantage::Beyond),
            ("1.1.1.1", Vantage::Beyond),
            ("169.254.1.1", Vantage::Near),
            ("fd00::1", Vantage::Near),
            ("2001:db8:0:aa::9", Vantage::Near),
            ("2606:4700::1", Vantage::Beyond),
        ] {
            assert_eq!(routes.vantage(address.parse().unwrap()), seen, "{address}");
        }
    }

    /// A modem's line has no router's address: nobody is asked in its place, least of all this PC.
    #[test]
    fn a_line_without_a_router_has_no_first_hop() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                  ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\n";
        assert!(Routes { v4: v4.into(), v6: String::new() }.first_hop().is_empty());
        assert!(Routes::default().first_hop().is_empty());
    }
}
