//! The tray icon and its menu: the view model's `tray`, line by line.

mod picture;

#[cfg(any(test, not(target_os = "linux")))]
mod changes;
#[cfg(target_os = "linux")]
mod status_notifier;
#[cfg(not(target_os = "linux"))]
mod tauri_icon;

#[cfg(target_os = "linux")]
pub use status_notifier::Tray;
#[cfg(not(target_os = "linux"))]
pub use tauri_icon::Tray;

use std::sync::Arc;
use std::time::Duration;

use nightjar_core::host::{HostState, PowerWish, UserCommand};
use nightjar_protocol::tray::TrayMenu;
use nightjar_protocol::view::ViewModel;

use crate::app::App;
use crate::{notifications, window};

/// What stands in the tray now.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    state: HostState,
    menu: TrayMenu,
}

impl Shown {
    fn of(view: &ViewModel) -> Self {
        Self { state: view.state, menu: view.tray.clone() }
    }
}

/// A line of the menu that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Status,
    Today,
    Earn,
    SnoozeMenu,
    Snooze,
    SnoozeTomorrow,
    SnoozeGame,
    Finish,
    Stop,
    PowerMenu,
    /// By its place.
    Power(usize),
    Open,
    Quit,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look<'a> {
    line: Line,
    label: &'a str,
    /// Whether it can be clicked.
    is_enabled: bool,
    /// Its check mark, where it has one.
    is_checked: Option<bool>,
}

/// Every line, those of a submenu included.
fn lines(menu: &TrayMenu) -> Vec<Look<'_>> {
    let plain = |line, label, is_enabled| Look { line, label, is_enabled, is_checked: None };
    let mut lines = vec![
        plain(Line::Status, &menu.status, false),
        plain(Line::Today, &menu.today, false),
        Look { is_checked: Some(menu.earn_while_idle_on), ..plain(Line::Earn, &menu.earn_while_idle, true) },
        plain(Line::SnoozeMenu, &menu.snooze_menu, true),
        plain(Line::Snooze, &menu.snooze, true),
        plain(Line::SnoozeTomorrow, &menu.snooze_tomorrow, true),
        plain(Line::SnoozeGame, &menu.snooze_game, menu.can_snooze_game),
        plain(Line::Finish, &menu.finish_job, menu.can_finish_job),
        plain(Line::Stop, &menu.stop_job, menu.can_stop_job),
        plain(Line::PowerMenu, &menu.power_menu, menu.can_set_power),
        plain(Line::Open, &menu.open, true),
        plain(Line::Quit, &menu.quit, true),
    ];
    let choices = menu.power.iter().enumerate();
    lines.extend(choices.map(|(place, choice)| Look {
        is_checked: Some(choice.is_on),
        ..plain(Line::Power(place), &choice.label, menu.can_set_power)
    }));
    lines
}

/// What a click on each line asks of the host.
fn asked(line: Line, view: &ViewModel) -> Vec<UserCommand> {
    match line {
        Line::Earn => vec![UserCommand::SetEarning { on: !view.tray.earn_while_idle_on }],
        Line::Snooze if view.tray.snoozed => vec![UserCommand::EndSnooze],
        Line::Snooze => vec![UserCommand::Snooze { for_ms: view.tray.snooze_ms }],
        Line::SnoozeTomorrow => vec![UserCommand::Snooze { for_ms: view.tray.snooze_tomorrow_ms }],
        Line::SnoozeGame => vec![UserCommand::SnoozeForGame],
        Line::Finish => vec![UserCommand::LastJob { for_ms: view.tray.finish_job_ms }],
        // With several cards at work, the one line stands for all of their jobs.
        Line::Stop => {
            let jobs = view.cards.iter().filter_map(|tile| tile.card.job.as_ref());
            jobs.map(|job| UserCommand::StopJob { lease: job.lease.clone() }).collect()
        }
        Line::Power(place) => {
            let choice = view.tray.power.get(place).into_iter();
            let limit = choice.map(|choice| choice.percent.map(|percent| PowerWish::Percent { percent }));
            limit.map(|limit| UserCommand::SetPowerLimit { gpu: None, limit }).collect()
        }
        Line::Status | Line::Today | Line::SnoozeMenu | Line::PowerMenu | Line::Open | Line::Quit => {
            Vec::new()
        }
    }
}

fn clicked(app: &Arc<App>, line: Line) {
    let Some(host) = app.engine.host_now() else { return };
    match line {
        Line::Open => window::open(app),
        Line::Quit => {
            // The app ends when the host has; a second click changes nothing.
            app.runtime.spawn(async move { host.shutdown().await });
        }
        line => {
            let view = host.view().borrow().clone();
            let (told, commands) = (app.clone(), asked(line, &view));
            app.runtime.spawn(async move {
                for command in commands {
                    if let Err(refusal) = host.command(command).await {
                        notifications::refused(&refusal, view.language).await;
                    }
                }
                if let Some(tray) = told.tray.get() {
                    let view = host.view().borrow().clone();
                    tray.answered(&view).await;
                }
            });
        }
    }
}

/// Whether a panel shows the icon: where none does, the window has to do.
pub async fn is_shown(app: &App) -> bool {
    is_shown_within(app, Duration::ZERO).await
}

/// The same, of a panel that may be on its way.
pub async fn is_shown_within(app: &App, patience: Duration) -> bool {
    match app.tray.get() {
        Some(tray) => tokio::time::timeout(patience, tray.shown()).await.is_ok(),
        None => false,
    }
}

#[cfg(test)]
mod tests;
