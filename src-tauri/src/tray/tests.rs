use nightjar_core::host::Host;
use nightjar_core::money::{Currency, Money};
use nightjar_core::settings::{Language, Settings};
use nightjar_core::time::Timestamp;
use nightjar_protocol::local_time::LocalTime;
use nightjar_protocol::view::{Earnings, Identity, Surroundings, view_model};

use super::*;

pub(super) fn view(language: Language, settings: Settings) -> ViewModel {
    let nothing = Money::new(0, Currency::CNY);
    let around = Surroundings {
        earnings: Earnings { today: nothing, today_net: nothing, all: nothing },
        identity: Identity { app_version: "1".into(), coordinator: None, host_key: "00".into() },
        local_time: LocalTime::default(),
        today: None,
        network: Default::default(),
        pulls: Vec::new(),
        system_language: language,
    };
    view_model(&Host::new(settings).view(Timestamp(0)), &around)
}

#[test]
fn a_click_asks_for_the_opposite_of_what_is_shown() {
    let on = view(Language::English, Settings::default());
    assert_eq!(asked(Line::Earn, &on), vec![UserCommand::SetEarning { on: false }]);
    let off = view(Language::English, Settings { earn_while_idle: false, ..Settings::default() });
    assert_eq!(asked(Line::Earn, &off), vec![UserCommand::SetEarning { on: true }]);
    assert_eq!(asked(Line::Snooze, &on), vec![UserCommand::Snooze { for_ms: 3_600_000 }]);
    let mut snoozed = on.clone();
    snoozed.tray.snoozed = true;
    assert_eq!(asked(Line::Snooze, &snoozed), vec![UserCommand::EndSnooze]);
    assert_eq!(asked(Line::Stop, &on), Vec::new());
    assert_eq!(asked(Line::Status, &on), Vec::new());
    assert_eq!(asked(Line::Finish, &on), vec![UserCommand::LastJob { for_ms: 43_200_000 }]);
    assert_eq!(asked(Line::SnoozeGame, &on), vec![UserCommand::SnoozeForGame]);
    let six = 86_400_000 + 6 * 3_600_000;
    assert_eq!(asked(Line::SnoozeTomorrow, &on), vec![UserCommand::Snooze { for_ms: six }], "it is midnight");
    let power = |percent| UserCommand::SetPowerLimit { gpu: None, limit: percent };
    assert_eq!(asked(Line::Power(0), &on), vec![power(None)]);
    assert_eq!(asked(Line::Power(1), &on), vec![power(Some(PowerWish::Percent { percent: 60 }))]);
    assert_eq!(asked(Line::Power(99), &on), Vec::new());
}

/// The lines that are shown are those that there are: a menu's layout may leave none out.
#[test]
fn every_line_is_listed_once() {
    let view = view(Language::English, Settings::default());
    let lines: Vec<Line> = lines(&view.tray).iter().map(|look| look.line).collect();
    for (place, line) in lines.iter().enumerate() {
        assert!(!lines[..place].contains(line), "{line:?} twice");
    }
    assert_eq!(lines.len(), 12 + view.tray.power.len());
}
