//! Amounts of money in sentences, as the window's own figures show them: `tests/amounts.json` is what both are held to.

use nightjar_core::money::Money;
use nightjar_core::settings::Language;

use super::Texts;

/// What a currency is written with in either language; others by their code.
const SYMBOLS: [(&str, &str, &str); 14] = [
    ("CNY", "CN¥", "¥"),
    ("USD", "$", "US$"),
    ("EUR", "€", "€"),
    ("GBP", "£", "£"),
    ("JPY", "¥", "JP¥"),
    ("HKD", "HK$", "HK$"),
    ("TWD", "NT$", "NT$"),
    ("INR", "₹", "₹"),
    ("BRL", "R$", "R$"),
    ("CAD", "CA$", "CA$"),
    ("AUD", "A$", "AU$"),
    ("NZD", "NZ$", "NZ$"),
    ("VND", "₫", "₫"),
    ("MXN", "MX$", "MX$"),
];

impl Texts {
    /// Cents as everywhere; below one unit also hundredths of a cent, which is what a few seconds earn.
    #[must_use]
    pub fn money(&self, amount: Money) -> String {
        let absolute = amount.micros.unsigned_abs();
        self.amount(amount, if absolute < 1_000_000 { 100 } else { 10_000 })
    }

    /// To the last micro-unit, for books that are added up by whoever reads them.
    #[must_use]
    pub fn exact_money(&self, amount: Money) -> String {
        self.amount(amount, 1)
    }

    fn amount(&self, amount: Money, smallest: u64) -> String {
        let absolute = amount.micros.unsigned_abs();
        let rounded = (absolute + smallest / 2) / smallest * smallest;
        let fraction = format!("{:06}", rounded % 1_000_000);
        let kept = fraction.trim_end_matches('0').len().max(2);
        let whole = grouped(rounded / 1_000_000);
        let sign = if amount.micros < 0 { "-" } else { "" };
        let symbol = self.symbol(amount.currency.code());
        format!("{sign}{symbol}{whole}.{}", &fraction[..kept])
    }

    fn symbol(&self, code: &str) -> String {
        match (SYMBOLS.iter().find(|(known, ..)| *known == code), self.language) {
            (Some((_, english, _)), Language::English) => (*english).to_owned(),
            (Some((_, _, chinese)), Language::SimplifiedChinese) => (*chinese).to_owned(),
            // The two stay on one line.
            (None, _) => format!("{code}\u{a0}"),
        }
    }
}

/// Thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use nightjar_core::money::Currency;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        micros: i64,
        currency: Currency,
        en: String,
        #[serde(rename = "zh-CN")]
        chinese: String,
    }

    #[test]
    fn in_books_no_micro_unit_is_rounded_away() {
        let said = |micros| Texts::of(Language::English).exact_money(Money::new(micros, Currency::CNY));
        assert_eq!(
            [said(-1_234_567_891), said(527), said(1_500_000)],
            ["-CN¥1,234.567891", "CN¥0.000527", "CN¥1.50"]
        );
    }

    #[test]
    fn amounts_are_written_as_the_window_writes_them() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../../tests/amounts.json")).unwrap();
        assert!(cases.len() > 10);
        for Case { micros, currency, en, chinese } in cases {
            let amount = Money::new(micros, currency);
            let said =
                [Language::English, Language::SimplifiedChinese].map(|one| Texts::of(one).money(amount));
            assert_eq!(said, [en, chinese], "{micros} {currency}");
        }
    }
}
