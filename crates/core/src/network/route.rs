//! The way packets leave by, from the kernel's table.

use std::net::Ipv4Addr;

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

#[cfg(test)]
mod tests {
    use super::*;

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
