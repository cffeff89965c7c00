//! What a market says of the demand for a kind of card, in words.

use nightjar_core::demand::DemandFigures;

use super::Texts;

impl Texts {
    /// A sentence for each figure that the market gives; of the others nothing is said.
    #[must_use]
    pub fn demand(&self, figures: &DemandFigures) -> Vec<String> {
        let counted = |key: &str, count: u32| self.with(key, &[("count", count.to_string())]);
        let requests = figures.requests_last_hour.map(|all| match figures.unserved_last_hour {
            Some(unserved) if unserved > 0 => {
                let values = [("count", all.to_string()), ("unserved", unserved.to_string())];
                self.with("demand-requests-unserved", &values)
            }
            _ => counted("demand-requests", all),
        });
        let leases = match (figures.leases_last_week, figures.leases_last_day) {
            (Some(week), Some(day)) => {
                let values = [("week", week.to_string()), ("day", day.to_string())];
                Some(self.with("demand-leases", &values))
            }
            (Some(week), None) => Some(counted("demand-leases-week", week)),
            (None, Some(day)) => Some(counted("demand-leases-day", day)),
            (None, None) => None,
        };
        let rented = figures
            .rented_percent
            .map(|percent| self.with("demand-rented", &[("percent", percent.to_string())]));
        let price = figures
            .median_price_per_hour
            .map(|price| self.with("demand-price", &[("price", self.money(price))]));
        [requests, leases, rented, price].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use nightjar_core::money::{Currency, Money};
    use nightjar_core::settings::Language;

    use super::*;

    #[test]
    fn only_what_the_market_gives_is_said() {
        let (english, chinese) = (Texts::of(Language::English), Texts::of(Language::SimplifiedChinese));
        assert_eq!(english.demand(&DemandFigures::default()), Vec::<String>::new());
        let all = DemandFigures {
            requests_last_hour: Some(12),
            unserved_last_hour: Some(1),
            leases_last_day: Some(4),
            leases_last_week: Some(31),
            rented_percent: Some(40),
            median_price_per_hour: Some(Money::new(1_450_000, Currency::CNY)),
        };
        let said = english.demand(&all);
        for (sentence, parts) in
            said.iter().zip([&["12", "which 1 got"][..], &["31", "4"], &["40 %"], &["CN¥1.45"]])
        {
            assert!(parts.iter().all(|part| sentence.contains(part)), "{sentence}");
        }
        let here = chinese.demand(&all);
        assert_eq!((said.len(), here.len()), (4, 4));
        assert!(said.iter().chain(&here).all(|sentence| !sentence.contains(['{', '$'])), "{said:?} {here:?}");
        let one =
            DemandFigures { requests_last_hour: Some(1), unserved_last_hour: Some(0), ..Default::default() };
        assert_eq!(english.demand(&one), ["Requests for such a card in the last hour: 1."]);
        for part in [
            DemandFigures { leases_last_day: Some(2), ..Default::default() },
            DemandFigures { leases_last_week: Some(2), ..Default::default() },
        ] {
            assert_eq!((english.demand(&part).len(), chinese.demand(&part).len()), (1, 1));
        }
    }
}
