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
}
