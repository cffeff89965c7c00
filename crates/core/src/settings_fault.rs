//! Why settings are not taken, as closed codes: whoever shows it says it in the owner's language.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::money::Currency;
use crate::network::NetworkError;
use crate::schedule::HoursError;
use crate::settings::{OutOfBounds, SettingsError};
use crate::week::WallDate;

/// Fields are named as the settings file names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum SettingsFault {
    Bounds {
        field: String,
    },
    /// Of a later program.
    Newer {
        found: u32,
    },
    /// Too long, or other characters than the field takes.
    Text {
        field: String,
    },
    /// Too many names, or one that is empty, too long or not to be shown.
    Names {
        field: String,
    },
    /// Root inside and the list of what may be reached.
    RootPastTheProxy,
    TooMany {
        field: String,
        #[ts(type = "number")]
        most: usize,
    },
    /// Hours without a day, or that end where they begin.
    Window {
        field: String,
    },
    DateTwice {
        date: WallDate,
    },
    /// They end where they begin.
    NightHours,
    Currency {
        tariff: Currency,
        price: Currency,
    },
    /// Only cheap hours, and no price.
    NoTariff,
}

impl From<&OutOfBounds> for SettingsFault {
    fn from(error: &OutOfBounds) -> Self {
        Self::Bounds { field: error.field.to_owned() }
    }
}

impl From<&SettingsError> for SettingsFault {
    fn from(error: &SettingsError) -> Self {
        match error {
            SettingsError::Bounds(bounds) | SettingsError::Network(NetworkError::Bounds(bounds)) => {
                bounds.into()
            }
            SettingsError::Network(NetworkError::Hours(_)) => Self::NightHours,
            SettingsError::Newer { found } => Self::Newer { found: *found },
            SettingsError::Text { field } => Self::Text { field: (*field).to_owned() },
            SettingsError::Names { field } => Self::Names { field: (*field).to_owned() },
            SettingsError::RootPastTheProxy => Self::RootPastTheProxy,
            SettingsError::Hours(error) => error.into(),
        }
    }
}

impl From<&HoursError> for SettingsFault {
    fn from(error: &HoursError) -> Self {
        match error {
            HoursError::TooMany { field, most, .. } => {
                Self::TooMany { field: (*field).to_owned(), most: *most }
            }
            HoursError::Window { field, .. } => Self::Window { field: (*field).to_owned() },
            HoursError::DateTwice(date) => Self::DateTwice { date: *date },
            HoursError::Price { field, .. } => Self::Bounds { field: (*field).to_owned() },
            HoursError::Overhead { .. } => Self::Bounds { field: String::from("tariff.overhead_watts") },
            HoursError::Currency { tariff, price } => Self::Currency { tariff: *tariff, price: *price },
            HoursError::NoTariff => Self::NoTariff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{EgressMode, Settings};

    /// What these settings are refused for.
    fn fault(change: impl FnOnce(&mut Settings)) -> SettingsFault {
        let mut settings = Settings::default();
        change(&mut settings);
        SettingsFault::from(&settings.check().unwrap_err())
    }

    #[test]
    fn a_refusal_names_its_kind_and_its_field() {
        let field = String::from;
        let root = fault(|s| (s.root_inside, s.egress) = (true, EgressMode::Curated));
        assert_eq!(root, SettingsFault::RootPastTheProxy);
        let heat = fault(|s| s.heat.target_celsius = 200);
        assert_eq!(heat, SettingsFault::Bounds { field: field("heat.target_celsius") });
        let line = fault(|s| s.network.monthly_cap_mib = Some(0));
        assert_eq!(line, SettingsFault::Bounds { field: field("network.monthly_cap_mib") });
        let price = fault(|s| s.tariff.price_per_kwh_micros = -1);
        assert_eq!(price, SettingsFault::Bounds { field: field("tariff.price_per_kwh_micros") });
        let names = fault(|s| s.games.push("游戏".repeat(40)));
        assert_eq!(names, SettingsFault::Names { field: field("games") });
        let text = fault(|s| s.region = "中国".into());
        assert_eq!(text, SettingsFault::Text { field: field("region") });
        let cheap = fault(|s| s.schedule.only_below_per_kwh_micros = Some(1));
        assert_eq!(cheap, SettingsFault::NoTariff);
    }
}
