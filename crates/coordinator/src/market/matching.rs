//! Which cards are enough, the best first; and if none is, why.

use std::collections::BTreeMap;

use nightjar_core::market::{Mismatch, Requirements, preference};

use crate::registry::Listing;

/// What stood between a renter and every card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Misses {
    listed: usize,
    taken: usize,
    by_requirement: BTreeMap<&'static str, usize>,
}

/// Cards that are enough and not `taken`, the preferred first.
pub(super) fn candidates(
    listings: Vec<Listing>,
    wanted: &Requirements,
    taken: impl Fn(&Listing) -> bool,
) -> Result<Vec<Listing>, Misses> {
    let mut misses = Misses { listed: listings.len(), ..Misses::default() };
    let mut enough: Vec<Listing> = Vec::new();
    for listing in listings {
        match wanted.check(&listing.card, &listing.region) {
            Err(mismatch) => *misses.by_requirement.entry(name(mismatch)).or_default() += 1,
            Ok(()) if taken(&listing) => misses.taken += 1,
            Ok(()) => enough.push(listing),
        }
    }
    enough.sort_by(|a, b| preference(&a.card, &b.card).then_with(|| a.host_id.cmp(&b.host_id)));
    if enough.is_empty() { Err(misses) } else { Ok(enough) }
}

fn name(mismatch: Mismatch) -> &'static str {
    match mismatch {
        Mismatch::Model => "model",
        Mismatch::Vram => "vram",
        Mismatch::Region => "region",
        Mismatch::Price => "price",
        Mismatch::Image => "image",
        Mismatch::RootInside => "root inside",
        Mismatch::NoSandbox => "no sandbox",
    }
}

impl std::fmt::Display for Misses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.listed == 0 {
            return f.write_str("no card is on offer now; try again later");
        }
        let mut parts: Vec<String> =
            self.by_requirement.iter().map(|(name, count)| format!("{count} by {name}")).collect();
        if self.taken > 0 {
            parts.push(format!("{} lent already", self.taken));
        }
        write!(f, "none of {} cards on offer is enough: {}", self.listed, parts.join(", "))?;
        f.write_str("; ask for less, pay more, or try again later")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightjar_core::gpu::GpuUuid;
    use nightjar_core::market::CardOffer;
    use nightjar_core::money::{Currency, Money};
    use nightjar_core::settings::EgressMode;

    fn listing(host: &str, vram_mib: u64, price_micros: i64) -> Listing {
        let card = CardOffer {
            gpu: GpuUuid("GPU-0".into()),
            model: "Test".into(),
            vram_mib,
            driver: "550".into(),
            price_per_hour: Money::new(price_micros, Currency::CNY),
            images: vec![],
            egress: EgressMode::Off,
            root_inside: false,
            sandbox: false,
            volume: Default::default(),
        };
        Listing { host_id: host.into(), region: "home".into(), card }
    }

    #[test]
    fn the_cheapest_comes_first_and_misses_are_counted() {
        let all = vec![listing("b", 8, 2), listing("a", 8, 2), listing("c", 8, 1), listing("d", 4, 1)];
        let wanted = Requirements { min_vram_mib: Some(8), ..Default::default() };
        let found = candidates(all.clone(), &wanted, |_| false).unwrap();
        let order: Vec<&str> = found.iter().map(|listing| listing.host_id.as_str()).collect();
        assert_eq!(order, ["c", "a", "b"]);
        let misses = candidates(all, &wanted, |_| true).unwrap_err().to_string();
        assert!(
            misses.starts_with("none of 4 cards on offer is enough: 1 by vram, 3 lent already"),
            "{misses}"
        );
        let none = candidates(vec![], &wanted, |_| false).unwrap_err().to_string();
        assert!(none.contains("no card is on offer"), "{none}");
    }
}
