//! Whom a tenant that reaches all of the public internet asks for names. Not the PC's own name server where that is in the
//! home: a router tells for the asking which devices it has given addresses to, and by which names.

use std::net::Ipv4Addr;

use super::own::public;
use crate::money::Currency;

/// An Engine asks no more than these.
const MOST: usize = 3;
const ANYWHERE: [Ipv4Addr; MOST] =
    [Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(8, 8, 8, 8)];
/// From there the others are slow, or are answered for by somebody else.
const IN_CHINA: [Ipv4Addr; MOST] =
    [Ipv4Addr::new(223, 5, 5, 5), Ipv4Addr::new(119, 29, 29, 29), Ipv4Addr::new(180, 76, 76, 76)];

/// `own` are the PC's, of which public ones are nearest; `refused` the networks that no tenant of it reaches, as
/// `address/prefix`. Where the PC is, a market's currency tells best.
#[must_use]
pub fn public_name_servers(own: &[Ipv4Addr], refused: &[String], pays_in: Currency) -> Vec<Ipv4Addr> {
    let known = if pays_in == Currency::CNY { IN_CHINA } else { ANYWHERE };
    let is_reached = |address: &Ipv4Addr| {
        public((*address).into()).is_some() && !refused.iter().any(|network| holds(network, *address))
    };
    let mut chosen = Vec::new();
    for address in own.iter().chain(&known).copied().filter(is_reached) {
        if chosen.len() < MOST && !chosen.contains(&address) {
            chosen.push(address);
        }
    }
    chosen
}

/// What is no network holds nothing.
fn holds(network: &str, address: Ipv4Addr) -> bool {
    let (first, bits) = network.split_once('/').unwrap_or((network, "32"));
    let (Ok(first), Ok(bits @ 0..=32)) = (first.parse::<Ipv4Addr>(), bits.parse::<u32>()) else {
        return false;
    };
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    u32::from(first) & mask == u32::from(address) & mask
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn euro() -> Currency {
        Currency::new("EUR").unwrap()
    }

    #[test]
    fn a_homes_own_name_server_is_not_asked_and_its_providers_is_asked_first() {
        let [router, provider] = [Ipv4Addr::new(192, 168, 1, 1), Ipv4Addr::new(62, 2, 17, 60)];
        let asked = |own: &[Ipv4Addr], refused: &[&str], pays_in| {
            let refused: Vec<String> = refused.iter().map(|&network| network.to_owned()).collect();
            public_name_servers(own, &refused, pays_in)
        };
        assert_eq!(asked(&[router], &[], euro()), ANYWHERE);
        assert_eq!(asked(&[router], &[], Currency::CNY), IN_CHINA);
        assert_eq!(
            asked(&[router, provider], &[], euro()),
            [provider, Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(9, 9, 9, 9)]
        );
        // A dormitory's, in the same network as the PC; one of the known that the PC asks itself.
        assert_eq!(asked(&[provider], &["62.2.0.0/16"], euro()), ANYWHERE);
        assert_eq!(asked(&[ANYWHERE[2]], &["9.9.9.9/32"], euro()), [ANYWHERE[2], ANYWHERE[0]]);
        assert_eq!(asked(&[], &["0.0.0.0/0"], euro()), Vec::<Ipv4Addr>::new());
        assert_eq!(asked(&[], &["1.1.1.1/33", "1.1.1.1/", "x"], euro()), ANYWHERE);
    }

    proptest! {
        #[test]
        fn nobody_private_or_refused_is_ever_asked(own: Vec<u32>, first: u32, bits in 1..=32_u32) {
            let own: Vec<Ipv4Addr> = own.into_iter().map(Ipv4Addr::from).collect();
            let network = format!("{}/{bits}", Ipv4Addr::from(first));
            for address in public_name_servers(&own, std::slice::from_ref(&network), euro()) {
                prop_assert!(!address.is_private() && !address.is_loopback() && !address.is_link_local());
                prop_assert!((first ^ u32::from(address)) >> (32 - bits) != 0, "{address} of {network}");
            }
        }
    }
}
