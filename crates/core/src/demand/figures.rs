//! How much one kind of card is wanted: sums over a market, for the owners of such cards. No figure stands for so few
//! hosts that one of them could be read out of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{REMEMBERED_MS, Request};
use crate::market::{CardOffer, Requirements};
use crate::money::Money;
use crate::time::Timestamp;

/// Of fewer hosts nothing is told: who knows their own card could tell what the others do.
pub const MIN_HOSTS: usize = 5;
pub const DAY_MS: u64 = 86_400_000;
pub const WEEK_MS: u64 = 7 * DAY_MS;

/// What a market says of the demand for a card's model in its region. What it does not know, or may not tell, is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct DemandFigures {
    /// Requests of the last hour that such a card is enough for, whatever its price.
    #[serde(default)]
    pub requests_last_hour: Option<u32>,
    /// Those of them that got no card at all.
    #[serde(default)]
    pub unserved_last_hour: Option<u32>,
    /// Leases that began on such cards.
    #[serde(default)]
    pub leases_last_day: Option<u32>,
    #[serde(default)]
    pub leases_last_week: Option<u32>,
    /// Of such cards that are on the market now, so many in a hundred are rented.
    #[serde(default)]
    pub rented_percent: Option<u32>,
    /// Of the last week's leases.
    #[serde(default)]
    pub median_price_per_hour: Option<Money>,
}

impl DemandFigures {
    /// As it may be kept, whoever sent it.
    #[must_use]
    pub fn bounded(self) -> Self {
        let within = |part: Option<u32>, whole: Option<u32>| part.filter(|part| Some(*part) <= whole);
        Self {
            unserved_last_hour: within(self.unserved_last_hour, self.requests_last_hour),
            rented_percent: self.rented_percent.filter(|percent| *percent <= 100),
            median_price_per_hour: self.median_price_per_hour.filter(|price| price.micros >= 0),
            ..self
        }
    }

    /// The market says nothing.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

/// A card of the kind that is on the market now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardNow {
    pub host_id: String,
    pub is_rented: bool,
}

/// A lease that began on a card of the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastLease {
    pub host_id: String,
    pub at: Timestamp,
    pub price_per_hour: Money,
}

/// What a market has kept. A list may be cut at its old end; it is whole from the moment beside it on.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    pub requests: &'a [Request],
    pub requests_since: Timestamp,
    /// Of the card's model in its region.
    pub cards: &'a [CardNow],
    /// Of the card's model in its region.
    pub leases: &'a [PastLease],
    pub leases_since: Timestamp,
}

/// What may be told of the demand for cards such as `card` in `region`.
#[must_use]
pub fn figures(card: &CardOffer, region: &str, kept: Kept<'_>, now: Timestamp) -> DemandFigures {
    let whole = |since: Timestamp, ms: u64| since.plus_ms(ms) <= now;
    let leases: Vec<&PastLease> =
        kept.leases.iter().filter(|lease| now.since_ms(lease.at) < WEEK_MS).collect();
    let renting: BTreeSet<&str> = leases.iter().map(|lease| lease.host_id.as_str()).collect();
    let here: BTreeSet<&str> = kept.cards.iter().map(|card| card.host_id.as_str()).collect();
    let has_leases = renting.union(&here).count() >= MIN_HOSTS;
    let since = |ms: u64| leases.iter().filter(|lease| now.since_ms(lease.at) < ms).count();
    let told = |ms: u64| (has_leases && whole(kept.leases_since, ms)).then(|| count(since(ms)));
    let wanted =
        whole(kept.requests_since, REMEMBERED_MS).then(|| requests(card, region, kept.requests, now));
    let rented = kept.cards.iter().filter(|card| card.is_rented).count();
    DemandFigures {
        requests_last_hour: wanted.map(|(all, _)| all),
        unserved_last_hour: wanted.map(|(_, unserved)| unserved),
        leases_last_day: told(DAY_MS),
        leases_last_week: told(WEEK_MS),
        rented_percent: (here.len() >= MIN_HOSTS).then(|| count(rented * 100 / kept.cards.len())),
        median_price_per_hour: if renting.len() >= MIN_HOSTS { median(&leases) } else { None },
    }
}

/// Of the last hour: all that such a card is enough for, and those that nobody served.
fn requests(card: &CardOffer, region: &str, requests: &[Request], now: Timestamp) -> (u32, u32) {
    let fits = |request: &&Request| {
        let any_price = Requirements { max_price_per_hour: None, ..request.wanted.clone() };
        now.since_ms(request.at) < REMEMBERED_MS && any_price.check(card, region).is_ok()
    };
    let fitting = requests.iter().filter(fits);
    let (mut all, mut unserved) = (0, 0);
    for request in fitting {
        all += 1;
        unserved += usize::from(request.winner.is_none());
    }
    (count(all), count(unserved))
}

/// The middle one, or what lies between the middle two.
fn median(leases: &[&PastLease]) -> Option<Money> {
    let mut prices: Vec<Money> = leases.iter().map(|lease| lease.price_per_hour).collect();
    let currency = prices.first()?.currency;
    // One market has one currency.
    prices.retain(|price| price.currency == currency);
    prices.sort_by_key(|price| price.micros);
    let (low, high) = (prices.get((prices.len() - 1) / 2)?, prices.get(prices.len() / 2)?);
    Some(Money::new(low.micros + (high.micros - low.micros) / 2, currency))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Winner;
    use super::*;
    use crate::gpu::GpuUuid;
    use crate::money::Currency;
    use crate::settings::EgressMode;

    const NOW: Timestamp = Timestamp(10_000_000_000);

    fn card() -> CardOffer {
        CardOffer {
            gpu: GpuUuid("GPU-0".into()),
            model: "NVIDIA GeForce RTX 3060".into(),
            vram_mib: 12_288,
            driver: "550".into(),
            price_per_hour: Money::new(1_500_000, Currency::CNY),
            images: vec!["pytorch-cuda:lite".into()],
            egress: EgressMode::Off,
            root_inside: false,
            sandbox: false,
            volume: Default::default(),
        }
    }

    fn before(ms: u64) -> Timestamp {
        Timestamp(NOW.0 - i64::try_from(ms).unwrap())
    }

    fn lease(host: usize, ago_ms: u64, micros: i64) -> PastLease {
        let price_per_hour = Money::new(micros, Currency::CNY);
        PastLease { host_id: format!("h{host}"), at: before(ago_ms), price_per_hour }
    }

    fn cards(all: usize, rented: usize) -> Vec<CardNow> {
        (0..all).map(|host| CardNow { host_id: format!("h{host}"), is_rented: host < rented }).collect()
    }

    fn of(cards: &[CardNow], leases: &[PastLease]) -> DemandFigures {
        let (requests_since, leases_since) = (Timestamp(0), Timestamp(0));
        let kept = Kept { requests: &[], requests_since, cards, leases, leases_since };
        figures(&card(), "home", kept, NOW)
    }

    #[test]
    fn a_week_of_five_hosts_is_told() {
        let leases: Vec<PastLease> = [900, 1_000, 1_200, 1_300, 2_000, 9_000]
            .into_iter()
            .enumerate()
            .map(|(host, price)| lease(host % 5, if host < 2 { 3_600_000 } else { 3 * DAY_MS }, price))
            .collect();
        let told = of(&cards(6, 2), &leases);
        assert_eq!((told.leases_last_day, told.leases_last_week), (Some(2), Some(6)));
        assert_eq!(told.rented_percent, Some(33));
        assert_eq!(told.median_price_per_hour, Some(Money::new(1_250, Currency::CNY)));
        let old = lease(5, WEEK_MS, 1);
        assert_eq!(
            of(&cards(6, 2), &[leases, vec![old]].concat()),
            told,
            "what is a week old counts no more"
        );
        // Nobody rented a card of them: that is a figure too, and there is no price then.
        let quiet = of(&cards(5, 0), &[]);
        assert_eq!((quiet.leases_last_week, quiet.rented_percent), (Some(0), Some(0)));
        assert_eq!(quiet.median_price_per_hour, None);
    }

    #[test]
    fn of_few_hosts_nothing_is_told() {
        let leases: Vec<PastLease> = (0..40).map(|n| lease(n % 4, 1_000, 1_000)).collect();
        let told = of(&cards(4, 2), &leases);
        let requests = DemandFigures {
            requests_last_hour: Some(0),
            unserved_last_hour: Some(0),
            ..DemandFigures::default()
        };
        assert_eq!(told, requests);
        // A fifth that only had a lease is enough for counts, not for what is on the market now.
        let fifth = of(&cards(4, 2), &[leases, vec![lease(4, DAY_MS, 2_000)]].concat());
        assert_eq!((fifth.leases_last_week, fifth.rented_percent), (Some(41), None));
        assert_eq!(fifth.median_price_per_hour, Some(Money::new(1_000, Currency::CNY)));
    }

    #[test]
    fn requests_count_whatever_they_would_pay() {
        let request = |wanted: Requirements, served: bool, ago_ms: u64| Request {
            at: before(ago_ms),
            wanted,
            winner: served.then(|| Winner {
                host_id: "h".into(),
                gpu: GpuUuid("GPU-1".into()),
                price_per_hour: Money::new(1, Currency::CNY),
            }),
        };
        let vram = |mib| Requirements { min_vram_mib: Some(mib), ..Default::default() };
        let poor = Requirements { max_price_per_hour: Some(Money::new(1, Currency::CNY)), ..vram(8_000) };
        let far = Requirements { region: Some("mars".into()), ..Default::default() };
        let requests = [
            request(vram(8_000), true, 60_000),
            request(poor, false, 60_000),
            request(vram(20_000), false, 60_000),
            request(far, false, 60_000),
            request(vram(0), false, REMEMBERED_MS),
        ];
        let kept = |requests_since| Kept {
            requests: &requests,
            requests_since,
            cards: &[],
            leases: &[],
            leases_since: Timestamp(0),
        };
        let told = figures(&card(), "home", kept(before(REMEMBERED_MS)), NOW);
        assert_eq!((told.requests_last_hour, told.unserved_last_hour), (Some(2), Some(1)));
        // A list that begins later does not tell of the hour.
        let cut = figures(&card(), "home", kept(before(REMEMBERED_MS - 1)), NOW);
        assert!(cut.is_silent(), "{cut:?}");
    }

    #[test]
    fn leases_that_were_cut_off_are_not_counted_as_all() {
        let leases: Vec<PastLease> = (0..5).map(|host| lease(host, 1_000, 1_000)).collect();
        let kept = Kept {
            requests: &[],
            requests_since: NOW,
            cards: &[],
            leases: &leases,
            leases_since: before(2 * DAY_MS),
        };
        let told = figures(&card(), "home", kept, NOW);
        assert_eq!((told.leases_last_day, told.leases_last_week), (Some(5), None));
    }

    #[test]
    fn what_another_program_says_is_kept_within_bounds() {
        let wild = DemandFigures {
            requests_last_hour: Some(2),
            unserved_last_hour: Some(3),
            rented_percent: Some(101),
            median_price_per_hour: Some(Money::new(-1, Currency::CNY)),
            ..DemandFigures::default()
        };
        let kept = DemandFigures { requests_last_hour: Some(2), ..DemandFigures::default() };
        assert_eq!(wild.bounded(), kept);
        assert_eq!(kept.bounded(), kept);
    }

    proptest! {
        /// No figure but that of requests can stand on fewer hosts than it may, and each passes its own bounds.
        #[test]
        fn few_hosts_are_never_told_of(
            hosts in prop::collection::vec((0_usize..8, any::<bool>()), 0..20),
            past in prop::collection::vec((0_usize..8, 0_u64..2 * WEEK_MS, 0_i64..9_000_000), 0..60),
        ) {
            let cards: Vec<CardNow> = hosts
                .iter()
                .map(|(host, is_rented)| CardNow { host_id: format!("h{host}"), is_rented: *is_rented })
                .collect();
            let leases: Vec<PastLease> = past.iter().map(|(host, ago, price)| lease(*host, *ago, *price)).collect();
            let told = of(&cards, &leases);
            prop_assert_eq!(told.bounded(), told);
            let recent = leases.iter().filter(|lease| NOW.since_ms(lease.at) < WEEK_MS);
            let renting: BTreeSet<&str> = recent.map(|lease| lease.host_id.as_str()).collect();
            let here: BTreeSet<&str> = cards.iter().map(|card| card.host_id.as_str()).collect();
            prop_assert_eq!(told.rented_percent.is_some(), here.len() >= MIN_HOSTS);
            prop_assert_eq!(told.median_price_per_hour.is_some(), renting.len() >= MIN_HOSTS);
            prop_assert_eq!(told.leases_last_week.is_some(), here.union(&renting).count() >= MIN_HOSTS);
            prop_assert!(told.leases_last_day <= told.leases_last_week);
        }
    }
}
