//! The addresses that this home has on the internet, as others see it. A router that turns what is sent to them back into
//! the home (NAT loopback) would lead a tenant to whatever the home has open to the outside, and to the router's own page.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

/// Of each who tells. A home's address changes now and then; an old one is soon somebody else's.
const MOST: usize = 8;

/// Who tells. What one says takes nothing away that the other said: a wrong word keeps a tenant from more, never from
/// less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// The tunnel's end on this PC, as relay and router see it.
    Link,
    /// The market, whose session comes from there.
    Market,
}

/// IPv4 alone: by IPv6 a tenant reaches nothing at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    by_link: VecDeque<Ipv4Addr>,
    by_market: VecDeque<Ipv4Addr>,
}

impl OwnAddresses {
    /// Takes an address for one of this home's. `true` when it was not known.
    pub fn hear(&mut self, teller: Teller, address: IpAddr) -> bool {
        let Some(address) = public(address) else { return false };
        let was_known = self.list().contains(&address);
        let list = match teller {
            Teller::Link => &mut self.by_link,
            Teller::Market => &mut self.by_market,
        };
        list.retain(|known| *known != address);
        list.push_back(address);
        if list.len() > MOST {
            list.pop_front();
        }
        !was_known
    }

    /// All that are known, each once.
    #[must_use]
    pub fn list(&self) -> Vec<Ipv4Addr> {
        let mut all: Vec<Ipv4Addr> = self.by_link.iter().chain(&self.by_market).copied().collect();
        all.sort();
        all.dedup();
        all
    }
}

/// What could be an address on the internet.
pub(super) fn public(address: IpAddr) -> Option<Ipv4Addr> {
    let address = match address.to_canonical() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => return None,
    };
    let is_none = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || matches!(address.octets(), [0 | 240.., ..] | [100, 64..=127, ..]);
    (!is_none).then_some(address)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_addresses_of_the_internet_count_and_each_is_news_once() {
        let mut own = OwnAddresses::default();
        for none in [
            "192.168.1.7",
            "10.0.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "224.0.0.1",
            "0.0.0.0",
            "100.64.1.1",
            "250.1.1.1",
            "2001:db8::1",
        ] {
            assert!(!own.hear(Teller::Link, at(none)), "{none}");
        }
        assert!(own.hear(Teller::Link, at("8.8.4.4")));
        assert!(!own.hear(Teller::Market, at("::ffff:8.8.4.4")));
        assert!(own.hear(Teller::Market, at("9.9.9.9")));
        assert_eq!(own.list(), [Ipv4Addr::new(8, 8, 4, 4), Ipv4Addr::new(9, 9, 9, 9)]);
    }

    proptest! {
        /// Whatever the market says, and however often, what the tunnel found stays, and there is an end to the list.
        #[test]
        fn no_word_of_the_market_takes_an_address_away(
            found in proptest::collection::vec(any::<u32>(), 0..MOST),
            said in proptest::collection::vec(any::<u32>(), 0..100),
        ) {
            let mut own = OwnAddresses::default();
            for address in found {
                own.hear(Teller::Link, Ipv4Addr::from(address).into());
            }
            let before = own.list();
            for address in said {
                own.hear(Teller::Market, Ipv4Addr::from(address).into());
            }
            let after = own.list();
            prop_assert!(before.iter().all(|address| after.contains(address)));
            prop_assert!(after.len() <= 2 * MOST);
        }
    }
}
