//! What hosts offer, what renters ask for, and which card gets the job: the cheapest that is enough.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::gpu::GpuUuid;
use crate::money::{Currency, Money};
use crate::proof::ProofFault;
use crate::volume::VolumeTerms;

/// One card that a host would lend now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CardOffer {
    pub gpu: GpuUuid,
    /// As the driver spells it; a simulated card says so here.
    pub model: String,
    #[ts(type = "number")]
    pub vram_mib: u64,
    pub driver: String,
    pub price_per_hour: Money,
    /// Images that this host can start, e.g. `pytorch-cuda:lite`.
    pub images: Vec<String>,
    /// What a renter's traffic may reach.
    pub egress: crate::settings::EgressMode,
    /// A renter who asks for it is root inside the container.
    #[serde(default)]
    pub root_inside: bool,
    /// A renter's programs run in gVisor, whose kernel does less than Linux. A host that does not say has none.
    #[serde(default)]
    pub sandbox: bool,
    /// What a renter may keep on this host, and how long.
    #[serde(default)]
    pub volume: VolumeTerms,
}

/// Most payments that are told of; the latest.
pub const MOST_PAYOUTS: usize = 50;
/// Longest reference of a payment, in characters.
pub const MOST_REFERENCE: usize = 80;

/// What the market paid out to a host's owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Payout {
    pub at: crate::time::Timestamp,
    pub amount: Money,
    /// The payment's own number or name, by which both sides find it again.
    pub reference: String,
}

/// What holds for every lease of a market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarketTerms {
    /// Of its books: offers in another are not taken.
    pub currency: Currency,
    /// The market's part of what a renter pays, in hundredths of a percent.
    pub fee_basis_points: u32,
}

/// A host's money at its market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct HostAccount {
    /// What the market holds for the owner.
    pub balance: Money,
    /// All that it ever paid out.
    pub paid_out: Money,
    /// At most [`MOST_PAYOUTS`], the latest first.
    pub payouts: Vec<Payout>,
}

impl HostAccount {
    /// As it may be kept, whoever sent it.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.payouts.truncate(MOST_PAYOUTS);
        for payout in &mut self.payouts {
            let letters = payout.reference.chars().filter(|letter| !letter.is_control());
            payout.reference = letters.take(MOST_REFERENCE).collect();
        }
        self
    }
}

/// What a renter needs. Everything left out matches any card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Requirements {
    /// Part of the model's name, whatever its case: `4090`, `rtx 3060`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(type = "number | null")]
    pub min_vram_mib: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price_per_hour: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// To be root inside the container, for packages and services of the system. Without it the renter is an ordinary
    /// user, also where the host would let them be root.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub root_inside: bool,
    /// Linux itself instead of gVisor, for what that does not have or pass on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_sandbox: bool,
    /// A language model that the worker serves from its start, where the image is made for that; see
    /// [`crate::lease::LeaseTerms::serve_model`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve_model: Option<String>,
}

/// What a renter wants when a host's owner takes the card back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum AfterInterruption {
    /// The lease is over.
    #[default]
    End,
    /// It goes on where it was, and after a while anywhere else that is enough and no dearer.
    SameHostFirst,
    /// It goes on where it was or nowhere.
    SameHostOnly,
}

/// Why an offer does not fit. The first that does not hold is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Mismatch {
    Model,
    Vram,
    Region,
    Price,
    Image,
    RootInside,
    NoSandbox,
}

impl Requirements {
    /// Whether `offer`, on a host in `region`, is enough.
    ///
    /// # Errors
    /// The first requirement that it does not meet.
    pub fn check(&self, offer: &CardOffer, region: &str) -> Result<(), Mismatch> {
        let spelled = |text: &str| text.to_lowercase();
        if self.model.as_ref().is_some_and(|model| !spelled(&offer.model).contains(&spelled(model))) {
            return Err(Mismatch::Model);
        }
        if self.min_vram_mib.is_some_and(|needed| offer.vram_mib < needed) {
            return Err(Mismatch::Vram);
        }
        if self.region.as_ref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(region)) {
            return Err(Mismatch::Region);
        }
        if self.max_price_per_hour.is_some_and(|most| {
            most.currency != offer.price_per_hour.currency || offer.price_per_hour.micros > most.micros
        }) {
            return Err(Mismatch::Price);
        }
        if self.image.as_ref().is_some_and(|image| !offer.images.contains(image)) {
            return Err(Mismatch::Image);
        }
        if self.root_inside && !offer.root_inside {
            return Err(Mismatch::RootInside);
        }
        // Who is root inside is never in one.
        if self.no_sandbox && offer.sandbox && !self.root_inside {
            return Err(Mismatch::NoSandbox);
        }
        Ok(())
    }
}

/// Why no job comes to a card that is on offer, as the market knows it from the requests that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WaitReason {
    /// Nobody has asked for a card of this class within the hour.
    NoDemand { vram_gib: u32 },
    /// Requests that this card is enough for went to cheaper ones, or pay less than its price.
    PriceAboveMarket,
    /// Requests that this card is enough for want another region.
    Region,
    /// There were requests that this card is enough for, and it was merely not its turn.
    NotItsTurn,
    /// The card failed the market's last check, and is left out until it passes one.
    CheckFailed { why: ProofFault },
}

/// Order of preference between offers that are enough: cheapest first, then the smallest card (the larger stays free
/// for whom it alone is enough), then by card so that the order is the same on every replica.
#[must_use]
pub fn preference(a: &CardOffer, b: &CardOffer) -> std::cmp::Ordering {
    (a.price_per_hour.micros, a.vram_mib, &a.gpu).cmp(&(b.price_per_hour.micros, b.vram_mib, &b.gpu))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;

    fn offer(model: &str, vram_mib: u64, price: i64) -> CardOffer {
        CardOffer {
            gpu: GpuUuid(format!("GPU-{model}")),
            model: model.into(),
            vram_mib,
            driver: "550.54".into(),
            price_per_hour: Money::new(price, Currency::CNY),
            images: vec!["pytorch-cuda:lite".into()],
            egress: crate::settings::EgressMode::Off,
            root_inside: model == "A",
            sandbox: model == "A",
            volume: VolumeTerms::default(),
        }
    }

    #[test]
    fn the_cheapest_that_is_enough_gets_the_job() {
        let offers = [
            offer("RTX 4090", 24_576, 3_000_000),
            offer("RTX 3060", 12_288, 600_000),
            offer("A", 12_288, 600_000),
        ];
        let best = |needs: &Requirements| {
            let mut fit: Vec<_> = offers.iter().filter(|o| needs.check(o, "cn-east").is_ok()).collect();
            fit.sort_by(|a, b| preference(a, b));
            fit.first().map(|o| o.model.clone())
        };
        assert_eq!(best(&Requirements::default()).as_deref(), Some("A"));
        let llm = Requirements { min_vram_mib: Some(20_000), ..Default::default() };
        assert_eq!(best(&llm).as_deref(), Some("RTX 4090"));
        let named = Requirements { model: Some("rtx 3060".into()), ..Default::default() };
        assert_eq!(best(&named).as_deref(), Some("RTX 3060"));
        let cheap = Requirements {
            min_vram_mib: Some(20_000),
            max_price_per_hour: Some(Money::new(1, Currency::CNY)),
            ..Default::default()
        };
        assert_eq!(best(&cheap), None);
        let root = Requirements { root_inside: true, ..Default::default() };
        assert_eq!(best(&root).as_deref(), Some("A"));
        assert_eq!(root.check(&offers[0], "cn-east"), Err(Mismatch::RootInside));
        assert_eq!(cheap.check(&offers[0], "cn-east"), Err(Mismatch::Price));
        let bare = Requirements { no_sandbox: true, ..Default::default() };
        assert_eq!(best(&bare).as_deref(), Some("RTX 3060"));
        assert_eq!(bare.check(&offers[2], "cn-east"), Err(Mismatch::NoSandbox));
        let bare_root = Requirements { root_inside: true, ..bare };
        assert_eq!(best(&bare_root).as_deref(), Some("A"));
    }

    #[test]
    fn who_does_not_know_of_gvisor_offers_and_asks_as_before() {
        let mut said = serde_json::to_value(offer("A", 12_288, 600_000)).unwrap();
        assert!(serde_json::from_value::<CardOffer>(said.clone()).unwrap().sandbox);
        assert_eq!(said.as_object_mut().unwrap().remove("sandbox"), Some(true.into()));
        assert!(!serde_json::from_value::<CardOffer>(said).unwrap().sandbox);
        let asked: Requirements = serde_json::from_str("{}").unwrap();
        assert_eq!((asked.no_sandbox, serde_json::to_string(&asked).unwrap().as_str()), (false, "{}"));
    }
}
