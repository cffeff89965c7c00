//! The networks that this PC is in. Where a home or a dormitory has public addresses, its devices could not be told from
//! the internet by their addresses alone, nor could the PC itself.

use std::net::{IpAddr, Ipv4Addr};

/// More than a PC has, and less than a gateway takes.
const MOST: usize = 48;
/// More than a system reads.
const MOST_NAME_SERVERS: usize = 8;

/// As `address/prefix`, without those that a gateway keeps out of reach in any case.
pub(crate) fn find() -> Vec<String> {
    let networks = match sysinfo::Networks::new_with_refreshed_list() {
        Ok(networks) => networks,
        Err(error) => {
            tracing::warn!(
                "this PC's networks cannot be listed, so only private ones are out of reach: {error}"
            );
            return Vec::new();
        }
    };
    let found = networks.values().flat_map(sysinfo::NetworkData::ip_networks);
    telling(found.map(|network| (network.addr, network.prefix)))
}

/// Whom this PC asks for names, as far as a gateway can ask them too.
pub(crate) fn name_servers() -> Vec<Ipv4Addr> {
    named(is_machine)
}

/// Those that answer this PC alone, where it knows no others.
pub(crate) fn name_servers_of_this_pc_alone() -> Vec<String> {
    if !name_servers().is_empty() {
        return Vec::new();
    }
    named(|address| address.is_loopback()).iter().map(ToString::to_string).collect()
}

fn named(is_meant: fn(Ipv4Addr) -> bool) -> Vec<Ipv4Addr> {
    // The second holds the true ones where the first names a resolver on this PC alone.
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let mut found: Vec<Ipv4Addr> = files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .flat_map(|text| listed(&text, is_meant))
        .collect();
    found.sort();
    found.dedup();
    found
}

fn listed(text: &str, is_meant: fn(Ipv4Addr) -> bool) -> Vec<Ipv4Addr> {
    let named = text.lines().filter_map(|line| line.strip_prefix("nameserver"));
    let parsed = named.filter_map(|rest| rest.trim().parse().ok());
    parsed.filter(|address: &Ipv4Addr| is_meant(*address)).take(MOST_NAME_SERVERS).collect()
}

/// Other than this PC's own, nobody's, and those of many: a gateway takes none of them.
fn is_machine(address: Ipv4Addr) -> bool {
    matches!(address.octets()[0], 1..=126 | 128..=223)
}

/// IPv6 goes nowhere at all.
fn telling(found: impl Iterator<Item = (IpAddr, u8)>) -> Vec<String> {
    let mut networks: Vec<String> = found
        .filter_map(|(address, prefix)| match address {
            IpAddr::V4(address) if is_public(address) => Some((address, prefix.clamp(8, 32))),
            _ => None,
        })
        .map(|(address, prefix)| format!("{}/{prefix}", first_of(address, prefix)))
        .collect();
    networks.sort();
    networks.dedup();
    networks.truncate(MOST);
    networks
}

fn is_public(address: Ipv4Addr) -> bool {
    !(address.is_private() || address.is_loopback() || address.is_link_local() || address.is_unspecified())
}

fn first_of(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    Ipv4Addr::from(u32::from(address) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_on_this_pc_alone_are_left_out() {
        let text =
            "# nameserver 9.9.9.9\nnameserver 127.0.0.53\nnameserver 192.168.1.1\nnameserver fe80::1\n";
        assert_eq!(listed(text, is_machine), [Ipv4Addr::new(192, 168, 1, 1)]);
        assert_eq!(listed(text, |address| address.is_loopback()), [Ipv4Addr::new(127, 0, 0, 53)]);
    }

    #[test]
    fn only_what_looks_like_the_internet_is_told() {
        let found = [("192.168.1.7", 24), ("127.0.0.1", 8), ("8.8.4.4", 24), ("8.8.4.9", 24), ("9.1.2.3", 0)];
        let found = found.map(|(address, prefix)| (address.parse().unwrap(), prefix));
        let ours = [("2001:db8::1".parse().unwrap(), 64), ("10.1.1.1".parse().unwrap(), 8)];
        assert_eq!(telling(found.into_iter().chain(ours)), ["8.8.4.0/24", "9.0.0.0/8"]);
        let many = (0..=255).map(|third| (IpAddr::V4(Ipv4Addr::new(8, 8, third, 1)), 32));
        assert_eq!(telling(many).len(), MOST);
    }
}
