//! The tray's menu, made of the view.

use nightjar_core::host::HostView;
use nightjar_core::power::PowerSettings;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::text::Texts;
use crate::view::Surroundings;

/// Shares of a card's default power limit that the menu offers.
const POWER_PERCENTS: [u32; 4] = [60, 70, 80, 100];

/// A snooze from the menu.
const SNOOZE_MS: u64 = 3_600_000;
/// No other job for the rest of the day.
const FINISH_JOB_MS: u64 = 12 * 3_600_000;

/// The tray's menu in words; what is `None` is not shown, or shown as not to be clicked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct TrayMenu {
    pub status: String,
    /// The icon's tooltip: the one sentence under the program's name.
    pub tooltip: String,
    pub earn_while_idle: String,
    pub earn_while_idle_on: bool,
    pub snooze_menu: String,
    /// For an hour, or the end of the snooze.
    pub snooze: String,
    #[ts(type = "number")]
    pub snooze_ms: u64,
    pub snoozed: bool,
    pub snooze_tomorrow: String,
    #[ts(type = "number")]
    pub snooze_tomorrow_ms: u64,
    pub snooze_game: String,
    pub can_snooze_game: bool,
    pub finish_job: String,
    /// How long no other job is taken then.
    #[ts(type = "number")]
    pub finish_job_ms: u64,
    pub can_finish_job: bool,
    pub stop_job: String,
    pub can_stop_job: bool,
    pub power_menu: String,
    pub can_set_power: bool,
    pub power: Vec<PowerChoice>,
    /// What is left today after electricity.
    pub today: String,
    pub open: String,
    pub quit: String,
}

/// A line of the power menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PowerChoice {
    /// Of the card's default limit; `None` leaves the limit as it is.
    pub percent: Option<u32>,
    pub label: String,
    pub is_on: bool,
}

/// Makes the menu.
#[must_use]
pub fn tray_menu(host: &HostView, around: &Surroundings, sentence: &str, texts: &Texts) -> TrayMenu {
    let has_job = host.cards.iter().any(|card| card.job.is_some());
    let until = host.overrides.snoozed_until;
    TrayMenu {
        status: menu_line(sentence),
        tooltip: format!("{}\n{}", texts.plain("ui-title"), menu_line(sentence)),
        earn_while_idle: texts.plain("tray-earn-while-idle"),
        earn_while_idle_on: host.settings.earn_while_idle && host.settings_readable,
        snooze_menu: texts.plain("tray-snooze-menu"),
        snooze: match until {
            Some(until) => {
                texts.with("tray-end-snooze", &[("time", around.local_time.moment(until, host.at, texts))])
            }
            None => texts.plain("tray-snooze"),
        },
        snooze_ms: SNOOZE_MS,
        snoozed: until.is_some(),
        snooze_tomorrow: texts.plain("tray-snooze-tomorrow"),
        // Whole minutes, so that the menu does not change each second.
        snooze_tomorrow_ms: around.local_time.ms_until_tomorrow(host.at) / 60_000 * 60_000,
        snooze_game: match &host.game {
            Some(name) => texts.with("tray-snooze-game", &[("name", menu_line(name))]),
            None => texts.plain("tray-snooze-any-game"),
        },
        can_snooze_game: host.game.is_some(),
        finish_job: texts.plain("tray-finish-job"),
        finish_job_ms: FINISH_JOB_MS,
        can_finish_job: has_job && host.overrides.last_job_until.is_none(),
        stop_job: texts.plain("tray-stop-job"),
        can_stop_job: has_job,
        power_menu: texts.plain("tray-power-menu"),
        can_set_power: matches!(host.helper, nightjar_core::power::HelperStanding::Available { .. })
            && host.settings_readable,
        power: power_choices(host, texts),
        today: texts.with("tray-today", &[("amount", texts.money(around.earnings.today_net))]),
        open: texts.plain("tray-open"),
        quit: texts.plain("tray-quit"),
    }
}

fn power_choices(host: &HostView, texts: &Texts) -> Vec<PowerChoice> {
    let limits = host.cards.iter().filter_map(|card| {
        let limits = card.reading.power_limits.as_ref()?;
        Some((&card.reading.uuid, limits))
    });
    let limits: Vec<_> = limits.collect();
    let is_on = |percent: Option<u32>| {
        let all = PowerSettings { limit_percent: percent, ..PowerSettings::default() };
        !limits.is_empty()
            && limits
                .iter()
                .all(|(gpu, limits)| all.renting(gpu, limits) == host.settings.power.renting(gpu, limits))
    };
    let as_found =
        PowerChoice { percent: None, label: texts.plain("tray-power-as-found"), is_on: is_on(None) };
    let shares = POWER_PERCENTS.map(|percent| PowerChoice {
        percent: Some(percent),
        label: texts.with("tray-power-percent", &[("percent", percent.to_string())]),
        is_on: is_on(Some(percent)),
    });
    std::iter::once(as_found).chain(shares).collect()
}

/// Longest line of a menu, in characters: a menu is as wide as its widest line.
const MENU_LINE: usize = 90;

/// As much of a sentence as a menu has room for; the window has all of it.
fn menu_line(sentence: &str) -> String {
    if sentence.chars().count() <= MENU_LINE {
        return sentence.to_owned();
    }
    let cut: String = sentence.chars().take(MENU_LINE - 1).collect();
    format!("{}…", cut.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_menu_line_is_no_wider_than_a_menu() {
        assert_eq!(menu_line("The card is yours."), "The card is yours.");
        let long = "没有找到驱动 ".repeat(40);
        let line = menu_line(&long);
        assert!(line.chars().count() <= MENU_LINE && line.ends_with('…') && !line.contains(" …"), "{line}");
    }
}
