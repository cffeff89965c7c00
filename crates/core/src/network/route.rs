//! The way packets leave by, from the kernel's tables.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Of `/proc/net/ipv6_route`: a router is on the way; what is sent there is refused.
const VIA_ROUTER: u32 = 0x2;
const REFUSED: u32 = 0x200;
/// Networks of neighbours have no shorter prefix: a route to a quarter of everything is a tunnel's.
const SHORTEST_SITE: u8 = 48;

/// Where packets leave that have no other way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    pub device: String,
    /// The first hop.
    pub by: Ipv4Addr,
}

/// The default route in the text of Linux' `/proc/net/route`.
#[must_use]
pub fn default_route(table: &str) -> Option<DefaultRoute> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [device, "00000000", by, ..] = fields[..] else { return None };
        // The kernel prints the address's bytes as a number of this machine's order.
        let by = u32::from_str_radix(by, 16).ok()?;
        Some(DefaultRoute { device: device.to_owned(), by: Ipv4Addr::from(by.to_ne_bytes()) })
    })
}

/// Whether packets for an address go to it without a router, by the same table.
#[must_use]
pub fn is_on_link(table: &str, address: Ipv4Addr) -> bool {
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, destination, "00000000", _, _, _, _, mask, ..] = fields[..] else { return false };
        let (Some(destination), Some(mask)) = (number(destination), number(mask)) else { return false };
        // A route for everything is none to a neighbour: a modem's line has such a one.
        mask != 0 && u32::from_ne_bytes(address.octets()) & mask == destination
    })
}

/// Where IPv6 packets leave that have no other way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRoute6 {
    pub device: String,
    /// The first hop. Mostly an address that means something only together with the device.
    pub by: Ipv6Addr,
}

/// One line of Linux' `/proc/net/ipv6_route`.
struct Route6<'a> {
    destination: Ipv6Addr,
    prefix: u8,
    by: Ipv6Addr,
    metric: u32,
    flags: u32,
    device: &'a str,
}

fn routes6(table: &str) -> impl Iterator<Item = Route6<'_>> {
    table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, prefix, _, _, by, metric, _, _, flags, device] = fields[..] else { return None };
        let address = |text| u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from_bits);
        let number = |text| u32::from_str_radix(text, 16).ok();
        let route = Route6 {
            destination: address(destination)?,
            prefix: u8::from_str_radix(prefix, 16).ok().filter(|prefix| *prefix <= 128)?,
            by: address(by)?,
            metric: number(metric)?,
            flags: number(flags)?,
            device,
        };
        (route.flags & REFUSED == 0).then_some(route)
    })
}

/// The default route in the text of Linux' `/proc/net/ipv6_route`: of several the one that the kernel prefers.
#[must_use]
pub fn default_route6(table: &str) -> Option<DefaultRoute6> {
    routes6(table)
        .filter(|route| route.prefix == 0 && route.flags & VIA_ROUTER != 0 && !route.by.is_unspecified())
        .min_by_key(|route| route.metric)
        .map(|route| DefaultRoute6 { device: route.device.to_owned(), by: route.by })
}

/// Whether packets for an address go to it without a router, by the same table.
#[must_use]
pub fn is_on_link6(table: &str, address: Ipv6Addr) -> bool {
    routes6(table).any(|route| {
        let differs = address.to_bits() ^ route.destination.to_bits();
        route.prefix >= SHORTEST_SITE && route.by.is_unspecified() && differs >> (128 - route.prefix) == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_has_a_table_of_its_own() {
        let line = |destination: &str, prefix: &str, by: &str, metric: &str, flags: &str, device: &str| {
            let nothing = "0".repeat(32);
            format!(
                "{destination:0<32} {prefix} {nothing} 00 {by:0>32} {metric} 00000001 00000000 {flags} {device}\n"
            )
        };
        let second = "fe80".to_owned() + &"0".repeat(27) + "2";
        let first = "fe80".to_owned() + &"0".repeat(27) + "1";
        let table = [
            line("20010db8000000aa", "40", "0", "00000100", "00000001", "eth0"),
            line("20010db800bb", "30", &first, "00000100", "00000003", "eth0"),
            line("8", "01", "0", "00000100", "00000001", "tun0"),
            line("0", "00", &second, "00000500", "00000003", "wlan0"),
            line("0", "00", &first, "00000400", "00450003", "eth0"),
            line("0", "00", "0", "ffffffff", "00200200", "lo"),
            "nonsense\n".to_owned(),
        ]
        .concat();
        let route = default_route6(&table).unwrap();
        assert_eq!((route.device.as_str(), route.by), ("eth0", "fe80::1".parse().unwrap()));
        for (address, is_near) in [
            ("2001:db8:0:aa::7", true),
            ("2001:db8:0:ab::7", false),
            ("2001:db8:bb::7", false),
            ("9000::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_on_link6(&table, address.parse().unwrap()), is_near, "{address}");
        }
        let refused = line("0", "00", "0", "ffffffff", "00200200", "lo");
        assert_eq!(default_route6(&refused), None);
        assert!(!is_on_link6("", Ipv6Addr::LOCALHOST));
    }

    #[test]
    fn default_route_is_found() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t0000C90A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                     eth0\t00000000\t0100C90A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        let route = default_route(table).unwrap();
        assert_eq!(route.device, "eth0");
        #[cfg(target_endian = "little")]
        assert_eq!(route.by, Ipv4Addr::new(10, 201, 0, 1));
        assert_eq!(default_route(""), None);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_neighbour_is_told_from_what_a_router_reaches() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\n\
                     tun0\t0000000A\t0100C90A\t0003\t0\t0\t0\t000000FF\n\
                     eth0\t0000C90A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n\
                     nonsense\n";
        for (address, is_near) in [([10, 201, 0, 77], true), ([10, 201, 1, 1], false), ([1, 1, 1, 1], false)]
        {
            assert_eq!(is_on_link(table, Ipv4Addr::from(address)), is_near, "{address:?}");
        }
        assert!(!is_on_link("", Ipv4Addr::LOCALHOST));
    }
}
