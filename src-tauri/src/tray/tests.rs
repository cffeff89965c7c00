use nightjar_core::host::Host;
use nightjar_core::money::{Currency, Money};
use nightjar_core::settings::{Language, Settings};
use nightjar_core::time::Timestamp;
use nightjar_protocol::view::{Earnings, Identity, LocalTime, Surroundings, view_model};

use super::*;

fn view(language: Language, settings: Settings) -> ViewModel {
    let nothing = Money::new(0, Currency::CNY);
    let around = Surroundings {
        earnings: Earnings { today: nothing, today_net: nothing, all: nothing },
        identity: Identity { app_version: "1".into(), coordinator: None, host_key: "00".into() },
        local_time: LocalTime::default(),
        today: None,
        network: Default::default(),
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
            Change::Label(Line::Today, String::from("Today: 2.00 CNY")),
            Change::Enabled(Line::Stop, new.menu.can_stop_job),
        ]
    );
}

#[test]
fn another_language_changes_every_label() {
    let english = Shown::of(&view(Language::English, Settings::default()));
    let chinese = Shown::of(&view(Language::SimplifiedChinese, Settings::default()));
    // The tooltip and every line: twelve and the five of the power menu.
    assert_eq!(changes(&english, &chinese).len(), 1 + 12 + 5);
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
    assert_eq!(asked("finish", &on), vec![UserCommand::LastJob { for_ms: LAST_JOB_MS }]);
    assert_eq!(asked("snooze-game", &on), vec![UserCommand::SnoozeForGame]);
    let six = 86_400_000 + 6 * 3_600_000;
    assert_eq!(asked("snooze-tomorrow", &on), vec![UserCommand::Snooze { for_ms: six }], "it is midnight");
    let power = |percent| UserCommand::SetPowerLimit { gpu: None, limit: percent };
    assert_eq!(asked("power-0", &on), vec![power(None)]);
    assert_eq!(asked("power-1", &on), vec![power(Some(PowerWish::Percent { percent: 60 }))]);
    assert_eq!(asked("power-99", &on), Vec::new());
}

#[test]
fn every_state_has_a_picture() {
    let all = [HostState::Earning, HostState::Waiting, HostState::Yours, HostState::Trouble];
    let pictures: Vec<_> = all.iter().map(|state| icon(*state).unwrap().rgba().to_vec()).collect();
    for (index, picture) in pictures.iter().enumerate() {
        assert!(!pictures[..index].contains(picture), "{:?} looks like another", all[index]);
    }
}

/// The icon has no outline that a panel could swallow: its colour stands out from a dark panel and from a light one.
#[test]
fn every_picture_is_seen_on_dark_and_on_light_panels() {
    let luminance = |rgb: [f64; 3]| {
        let part = |value: f64| {
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(rgb[0]) + 0.7152 * part(rgb[1]) + 0.0722 * part(rgb[2])
    };
    for state in [HostState::Earning, HostState::Waiting, HostState::Yours, HostState::Trouble] {
        let picture = icon(state).unwrap();
        let solid: Vec<&[u8]> = picture.rgba().chunks(4).filter(|pixel| pixel[3] == 255).collect();
        assert!(solid.len() > 200, "{state:?} is nearly empty");
        for pixel in solid {
            let own = luminance([pixel[0], pixel[1], pixel[2]].map(|part| f64::from(part) / 255.0));
            for panel in [luminance([0.1, 0.1, 0.1]), luminance([0.94, 0.94, 0.94])] {
                let (low, high) = if own < panel { (own, panel) } else { (panel, own) };
                let contrast = (high + 0.05) / (low + 0.05);
                assert!(contrast >= 3.0, "{state:?}: {pixel:?} has {contrast:.1}:1");
            }
        }
    }
}
