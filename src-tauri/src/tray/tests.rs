use nightjar_core::host::Host;
use nightjar_core::money::{Currency, Money};
use nightjar_core::settings::{Language, Settings};
use nightjar_core::time::Timestamp;
use nightjar_protocol::view::{Earnings, Identity, LocalTime, Surroundings, view_model};

use super::*;

fn view(language: Language, settings: Settings) -> ViewModel {
    let nothing = Money::new(0, Currency::CNY);
    let around = Surroundings {
        earnings: Earnings { today: nothing, all: nothing },
        identity: Identity { app_version: "1".into(), coordinator: None, host_key: "00".into() },
        local_time: LocalTime::default(),
        today: None,
        system_language: language,
    };
    view_model(&Host::new(settings).view(Timestamp(0)), &around)
}

#[test]
fn nothing_new_changes_nothing() {
    let shown = Shown::of(&view(Language::English, Settings::default()));
    assert_eq!(changes(&shown, &shown), Vec::new());
}

#[test]
fn only_what_is_new_is_sent() {
    let old = Shown::of(&view(Language::English, Settings::default()));
    let mut new = old.clone();
    new.menu.today = String::from("Today: 2.00 CNY");
    new.menu.can_stop_job = !old.menu.can_stop_job;
    new.state = HostState::Earning;
    assert_eq!(
        changes(&old, &new),
        vec![
            Change::Icon(HostState::Earning),
            Change::Today(String::from("Today: 2.00 CNY")),
            Change::CanStop(new.menu.can_stop_job),
        ]
    );
}

#[test]
fn another_language_changes_every_label() {
    let english = Shown::of(&view(Language::English, Settings::default()));
    let chinese = Shown::of(&view(Language::SimplifiedChinese, Settings::default()));
    // Status, earn, snooze, stop, today, open, quit.
    assert_eq!(changes(&english, &chinese).len(), 7);
}

#[test]
fn a_click_asks_for_the_opposite_of_what_is_shown() {
    let on = view(Language::English, Settings::default());
    assert_eq!(asked("earn", &on), vec![UserCommand::SetEarning { on: false }]);
    let off = view(Language::English, Settings { earn_while_idle: false, ..Settings::default() });
    assert_eq!(asked("earn", &off), vec![UserCommand::SetEarning { on: true }]);
    assert_eq!(asked("snooze", &on), vec![UserCommand::Snooze { for_ms: SNOOZE_MS }]);
    let mut snoozed = on.clone();
    snoozed.tray.snoozed = true;
    assert_eq!(asked("snooze", &snoozed), vec![UserCommand::EndOverrides]);
    assert_eq!(asked("stop", &on), Vec::new());
    assert_eq!(asked("status", &on), Vec::new());
}

#[test]
fn every_state_has_a_picture() {
    let all = [HostState::Earning, HostState::Waiting, HostState::Yours, HostState::Trouble];
    let pictures: Vec<_> = all.iter().map(|state| icon(*state).unwrap().rgba().to_vec()).collect();
    for (index, picture) in pictures.iter().enumerate() {
        assert!(!pictures[..index].contains(picture), "{:?} looks like another", all[index]);
    }
}
