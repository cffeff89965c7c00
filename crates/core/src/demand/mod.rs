//! Why no job comes to a card that is on offer: from the requests that a market really had. Beside it, in figures, how
//! much such cards are wanted at all.

mod figures;

pub use figures::{CardNow, DAY_MS, DemandFigures, Kept, MIN_HOSTS, PastLease, WEEK_MS, figures};

use serde::{Deserialize, Serialize};

use crate::gpu::GpuUuid;
use crate::market::{CardOffer, Mismatch, Requirements, WaitReason};
use crate::money::Money;
use crate::time::Timestamp;

/// Requests of this long ago still tell what is wanted.
pub const REMEMBERED_MS: u64 = 3_600_000;

/// A renter's request, and which card it went to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub at: Timestamp,
    pub wanted: Requirements,
    /// `None` when no card was enough.
    pub winner: Option<Winner>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Winner {
    pub host_id: String,
    pub gpu: GpuUuid,
    pub price_per_hour: Money,
}

/// Why `card` of `host_id` in `region` waits, judged by the requests since `now` less [`REMEMBERED_MS`]. `None` when
/// they give no reason: what was wanted of it, it got.
#[must_use]
pub fn wait_reason(
    card: &CardOffer,
    host_id: &str,
    region: &str,
    requests: &[Request],
    now: Timestamp,
) -> Option<WaitReason> {
    let mut tally = Tally::default();
    let recent = requests.iter().filter(|request| now.since_ms(request.at) < REMEMBERED_MS);
    for request in recent {
        tally.add(card, host_id, region, request);
    }
    tally.reason(card)
}

#[derive(Default)]
struct Tally {
    /// Of this card's class: all but price and region fit.
    of_class: u32,
    went_here: u32,
    too_dear: u32,
    elsewhere: u32,
    not_its_turn: u32,
}

impl Tally {
    fn add(&mut self, card: &CardOffer, host_id: &str, region: &str, request: &Request) {
        let class = Requirements { region: None, max_price_per_hour: None, ..request.wanted.clone() };
        if class.check(card, region).is_err() {
            return;
        }
        self.of_class += 1;
        match (request.wanted.check(card, region), &request.winner) {
            (Err(Mismatch::Region), _) => self.elsewhere += 1,
            (Err(_), _) => self.too_dear += 1,
            (Ok(()), Some(winner)) if winner.host_id == host_id && winner.gpu == card.gpu => {
                self.went_here += 1
            }
            (Ok(()), Some(winner)) if winner.price_per_hour.micros < card.price_per_hour.micros => {
                self.too_dear += 1;
            }
            // It was enough and was passed over at its price, or was not there yet.
            (Ok(()), _) => self.not_its_turn += 1,
        }
    }

    /// The commonest; what the owner can change comes first of two that are as common.
    fn reason(&self, card: &CardOffer) -> Option<WaitReason> {
        if self.of_class == 0 {
            let vram_gib = u32::try_from(card.vram_mib.saturating_add(512) / 1_024).unwrap_or(u32::MAX);
            return Some(WaitReason::NoDemand { vram_gib });
        }
        let counted = [
            (self.too_dear, Some(WaitReason::PriceAboveMarket)),
            (self.elsewhere, Some(WaitReason::Region)),
            (self.not_its_turn, Some(WaitReason::NotItsTurn)),
            (self.went_here, None),
        ];
        let most = counted.iter().map(|(count, _)| *count).max()?;
        counted.iter().find(|(count, _)| *count == most).and_then(|(_, reason)| *reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;
    use crate::settings::EgressMode;

    const NOW: Timestamp = Timestamp(10_000_000);

    fn card(vram_mib: u64, price: i64) -> CardOffer {
        CardOffer {
            gpu: GpuUuid("GPU-0".into()),
            model: "NVIDIA GeForce RTX 3060".into(),
            vram_mib,
            driver: "550".into(),
            price_per_hour: Money::new(price, Currency::CNY),
            images: vec!["pytorch-cuda:lite".into()],
            egress: EgressMode::Off,
            root_inside: false,
            sandbox: false,
            volume: Default::default(),
        }
    }

    fn wants(min_vram_mib: u64) -> Requirements {
        Requirements { min_vram_mib: Some(min_vram_mib), ..Default::default() }
    }

    fn went_to(host_id: &str, price: i64) -> Option<Winner> {
        let gpu = GpuUuid("GPU-0".into());
        Some(Winner { host_id: host_id.into(), gpu, price_per_hour: Money::new(price, Currency::CNY) })
    }

    fn why(requests: Vec<(Requirements, Option<Winner>)>) -> Option<WaitReason> {
        let request = |(wanted, winner)| Request { at: Timestamp(NOW.0 - 60_000), wanted, winner };
        let requests: Vec<Request> = requests.into_iter().map(request).collect();
        wait_reason(&card(12_288, 1_500), "h", "home", &requests, NOW)
    }

    #[test]
    fn the_reason_follows_from_the_requests_of_the_hour() {
        let none = Some(WaitReason::NoDemand { vram_gib: 12 });
        assert_eq!(why(vec![]), none);
        assert_eq!(why(vec![(wants(20_000), went_to("other", 100))]), none, "larger cards are another class");
        let old = Request { at: Timestamp(NOW.0 - 3_600_000), wanted: wants(0), winner: None };
        assert_eq!(wait_reason(&card(12_288, 1), "h", "home", &[old], NOW), none);

        assert_eq!(why(vec![(wants(8_000), went_to("other", 100))]), Some(WaitReason::PriceAboveMarket));
        let poor = Requirements { max_price_per_hour: Some(Money::new(10, Currency::CNY)), ..wants(8_000) };
        assert_eq!(why(vec![(poor.clone(), None)]), Some(WaitReason::PriceAboveMarket));
        let far = Requirements { region: Some("mars".into()), ..wants(8_000) };
        assert_eq!(why(vec![(far.clone(), None)]), Some(WaitReason::Region));
        assert_eq!(why(vec![(far.clone(), None), (far, None), (poor, None)]), Some(WaitReason::Region));
        assert_eq!(why(vec![(wants(8_000), went_to("other", 1_500))]), Some(WaitReason::NotItsTurn));
        assert_eq!(why(vec![(wants(8_000), went_to("h", 1_500))]), None);
    }
}
