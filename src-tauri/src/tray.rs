//! The tray icon and its menu: the view model's `tray`, item by item. Only what has changed is sent to the desktop.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use nightjar_core::host::{HostState, PowerWish, UserCommand};
use nightjar_protocol::tray::TrayMenu;
use nightjar_protocol::view::ViewModel;
use tauri::image::Image;
use tauri::menu::{CheckMenuItem, IsMenuItem, Menu, MenuEvent, MenuItem, PredefinedMenuItem, Submenu};
use tauri::tray::{MouseButton, MouseButtonState, TrayIcon, TrayIconBuilder, TrayIconEvent};
use tauri::{AppHandle, Manager};

use crate::engine::Engine;
use crate::{notifications, window};

const SNOOZE_MS: u64 = 3_600_000;
/// No other job for the rest of the day.
const LAST_JOB_MS: u64 = 12 * 3_600_000;

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

/// One thing to change on the desktop.
#[derive(Clone, Debug, PartialEq)]
enum Change {
    Icon(HostState),
    Tooltip(String),
    Label(Line, String),
    Enabled(Line, bool),
    Checked(Line, bool),
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

/// Every line with its words, whether it can be clicked, and its check mark.
fn lines(menu: &TrayMenu) -> Vec<(Line, &str, bool, bool)> {
    let mut lines = vec![
        (Line::Status, menu.status.as_str(), false, false),
        (Line::Today, menu.today.as_str(), false, false),
        (Line::Earn, menu.earn_while_idle.as_str(), true, menu.earn_while_idle_on),
        (Line::SnoozeMenu, menu.snooze_menu.as_str(), true, false),
        (Line::Snooze, menu.snooze.as_str(), true, false),
        (Line::SnoozeTomorrow, menu.snooze_tomorrow.as_str(), true, false),
        (Line::SnoozeGame, menu.snooze_game.as_str(), menu.can_snooze_game, false),
        (Line::Finish, menu.finish_job.as_str(), menu.can_finish_job, false),
        (Line::Stop, menu.stop_job.as_str(), menu.can_stop_job, false),
        (Line::PowerMenu, menu.power_menu.as_str(), menu.can_set_power, false),
        (Line::Open, menu.open.as_str(), true, false),
        (Line::Quit, menu.quit.as_str(), true, false),
    ];
    let choices = menu.power.iter().enumerate();
    lines.extend(choices.map(|(place, choice)| {
        (Line::Power(place), choice.label.as_str(), menu.can_set_power, choice.is_on)
    }));
    lines
}

fn changes(old: &Shown, new: &Shown) -> Vec<Change> {
    let mut changes = Vec::new();
    if old.state != new.state {
        changes.push(Change::Icon(new.state));
    }
    if old.menu.tooltip != new.menu.tooltip {
        changes.push(Change::Tooltip(new.menu.tooltip.clone()));
    }
    let before = lines(&old.menu);
    for (line, label, enabled, checked) in lines(&new.menu) {
        let was = before.iter().find(|(was, ..)| *was == line);
        if was.is_none_or(|was| was.1 != label) {
            changes.push(Change::Label(line, label.to_owned()));
        }
        if was.is_none_or(|was| was.2 != enabled) {
            changes.push(Change::Enabled(line, enabled));
        }
        if was.is_none_or(|was| was.3 != checked) {
            changes.push(Change::Checked(line, checked));
        }
    }
    changes
}

/// The icon's shape differs by state and not its colour alone.
fn icon(state: HostState) -> tauri::Result<Image<'static>> {
    let png: &[u8] = match state {
        HostState::Earning => include_bytes!("../../icons/tray/earning.png"),
        HostState::Waiting => include_bytes!("../../icons/tray/waiting.png"),
        HostState::Yours => include_bytes!("../../icons/tray/yours.png"),
        HostState::Trouble => include_bytes!("../../icons/tray/trouble.png"),
    };
    Image::from_bytes(png)
}

/// Menus take an ampersand for the mark of a keyboard letter, unless it is doubled.
fn literal(text: &str) -> String {
    text.replace('&', "&&")
}

type Item = MenuItem<tauri::Wry>;
type CheckItem = CheckMenuItem<tauri::Wry>;

struct Items {
    icon: TrayIcon,
    status: Item,
    today: Item,
    earn: CheckItem,
    snooze_menu: Submenu<tauri::Wry>,
    snooze: Item,
    snooze_tomorrow: Item,
    snooze_game: Item,
    finish: Item,
    stop: Item,
    power_menu: Submenu<tauri::Wry>,
    power: Vec<CheckItem>,
    open: Item,
    quit: Item,
}

fn item(app: &AppHandle, id: &str, text: &str, enabled: bool) -> tauri::Result<Item> {
    MenuItem::with_id(app, id, literal(text), enabled, None::<&str>)
}

fn check(app: &AppHandle, id: &str, text: &str, enabled: bool, on: bool) -> tauri::Result<CheckItem> {
    CheckMenuItem::with_id(app, id, literal(text), enabled, on, None::<&str>)
}

impl Items {
    fn build(app: &AppHandle, shown: &Shown, folder: &Path) -> tauri::Result<Self> {
        let menu = &shown.menu;
        let power_menu = Submenu::new(app, literal(&menu.power_menu), menu.can_set_power)?;
        let mut power = Vec::new();
        for (place, choice) in menu.power.iter().enumerate() {
            let id = format!("power-{place}");
            let choice = check(app, &id, &choice.label, menu.can_set_power, choice.is_on)?;
            power_menu.append(&choice)?;
            power.push(choice);
        }
        let snooze = item(app, "snooze", &menu.snooze, true)?;
        let snooze_tomorrow = item(app, "snooze-tomorrow", &menu.snooze_tomorrow, true)?;
        let snooze_game = item(app, "snooze-game", &menu.snooze_game, menu.can_snooze_game)?;
        let snoozes: [&dyn IsMenuItem<tauri::Wry>; 3] = [&snooze, &snooze_tomorrow, &snooze_game];
        let items = Self {
            icon: TrayIconBuilder::with_id("nightjar")
                .icon(icon(shown.state)?)
                .tooltip(&menu.tooltip)
                .temp_dir_path(folder)
                // A click opens the window and a right click the menu; on Linux the desktop decides.
                .show_menu_on_left_click(false)
                .on_menu_event(clicked)
                .on_tray_icon_event(icon_clicked)
                .build(app)?,
            status: item(app, "status", &menu.status, false)?,
            today: item(app, "today", &menu.today, false)?,
            earn: check(app, "earn", &menu.earn_while_idle, true, menu.earn_while_idle_on)?,
            snooze_menu: Submenu::with_items(app, literal(&menu.snooze_menu), true, &snoozes)?,
            snooze,
            snooze_tomorrow,
            snooze_game,
            finish: item(app, "finish", &menu.finish_job, menu.can_finish_job)?,
            stop: item(app, "stop", &menu.stop_job, menu.can_stop_job)?,
            power_menu,
            power,
            open: item(app, "open", &menu.open, true)?,
            quit: item(app, "quit", &menu.quit, true)?,
        };
        items.icon.set_menu(Some(items.whole(app)?))?;
        Ok(items)
    }

    fn whole(&self, app: &AppHandle) -> tauri::Result<Menu<tauri::Wry>> {
        let line = || PredefinedMenuItem::separator(app);
        Menu::with_items(
            app,
            &[
                &self.status,
                &self.today,
                &line()?,
                &self.earn,
                &self.snooze_menu,
                &self.finish,
                &self.stop,
                &self.power_menu,
                &line()?,
                &self.open,
                &self.quit,
            ],
        )
    }

    /// The plain items; the check items and submenus are other types.
    fn item(&self, line: Line) -> Option<&Item> {
        Some(match line {
            Line::Status => &self.status,
            Line::Today => &self.today,
            Line::Snooze => &self.snooze,
            Line::SnoozeTomorrow => &self.snooze_tomorrow,
            Line::SnoozeGame => &self.snooze_game,
            Line::Finish => &self.finish,
            Line::Stop => &self.stop,
            Line::Open => &self.open,
            Line::Quit => &self.quit,
            Line::Earn | Line::SnoozeMenu | Line::PowerMenu | Line::Power(_) => return None,
        })
    }

    fn check_item(&self, line: Line) -> Option<&CheckItem> {
        match line {
            Line::Earn => Some(&self.earn),
            Line::Power(place) => self.power.get(place),
            _ => None,
        }
    }

    fn submenu(&self, line: Line) -> Option<&Submenu<tauri::Wry>> {
        match line {
            Line::SnoozeMenu => Some(&self.snooze_menu),
            Line::PowerMenu => Some(&self.power_menu),
            _ => None,
        }
    }

    fn apply(&self, change: &Change) -> tauri::Result<()> {
        match change {
            Change::Icon(state) => self.icon.set_icon(Some(icon(*state)?)),
            Change::Tooltip(text) => self.icon.set_tooltip(Some(text)),
            Change::Label(line, text) => {
                let text = literal(text);
                if let Some(item) = self.item(*line) {
                    return item.set_text(text);
                }
                if let Some(item) = self.check_item(*line) {
                    return item.set_text(text);
                }
                self.submenu(*line).map_or(Ok(()), |menu| menu.set_text(text))
            }
            Change::Enabled(line, enabled) => {
                if let Some(item) = self.item(*line) {
                    return item.set_enabled(*enabled);
                }
                if let Some(item) = self.check_item(*line) {
                    return item.set_enabled(*enabled);
                }
                self.submenu(*line).map_or(Ok(()), |menu| menu.set_enabled(*enabled))
            }
            Change::Checked(line, on) => self.check_item(*line).map_or(Ok(()), |item| item.set_checked(*on)),
        }
    }
}

fn icon_clicked(tray: &TrayIcon, event: TrayIconEvent) {
    if let TrayIconEvent::Click { button: MouseButton::Left, button_state: MouseButtonState::Up, .. } = event
    {
        window::open(tray.app_handle());
    }
}

/// Whether a panel shows the icon: where none does, the window has to do.
pub async fn is_shown(app: &AppHandle) -> bool {
    app.try_state::<Tray>().is_some() && has_panel().await
}

/// On Linux an icon is shown by whoever owns this name on the session's bus, if anybody does.
#[cfg(target_os = "linux")]
pub async fn has_panel() -> bool {
    let ask = async {
        let bus = zbus::Connection::session().await?;
        let proxy = zbus::fdo::DBusProxy::new(&bus).await?;
        let watcher = zbus::names::BusName::try_from("org.kde.StatusNotifierWatcher")?;
        zbus::Result::Ok(proxy.name_has_owner(watcher).await?)
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), ask)
        .await
        .is_ok_and(|answer| answer.unwrap_or(false))
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unused_async, reason = "it asks over a bus where there is one")]
pub async fn has_panel() -> bool {
    true
}

/// The tray icon; it is gone when the app is.
#[derive(Clone)]
pub struct Tray {
    app: AppHandle,
    items: Arc<Items>,
    shown: Arc<Mutex<Shown>>,
    folder: PathBuf,
}

impl Tray {
    /// `folder` is where the desktop finds the icon's picture (Linux hands it over as a file). It is this app's alone.
    ///
    /// # Errors
    /// When this desktop takes no tray icon.
    pub async fn build(app: &AppHandle, view: &ViewModel, folder: &Path) -> anyhow::Result<Self> {
        let shown = Shown::of(view);
        let (answer, answered) = tokio::sync::oneshot::channel();
        // A run that was killed leaves its pictures behind.
        let _ = std::fs::remove_dir_all(folder);
        let (builder, first, pictures) = (app.clone(), shown.clone(), folder.to_owned());
        app.run_on_main_thread(move || {
            let _ = answer.send(Items::build(&builder, &first, &pictures));
        })?;
        let items = answered.await.context("the desktop's main loop has ended")??;
        let tray = Self {
            app: app.clone(),
            items: Arc::new(items),
            shown: Arc::new(Mutex::new(shown)),
            folder: folder.to_owned(),
        };
        app.manage(tray.clone());
        Ok(tray)
    }

    /// Brings the tray up to date.
    pub fn show(&self, view: &ViewModel) {
        let new = Shown::of(view);
        let changes = {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            let changes = changes(&shown, &new);
            *shown = new;
            changes
        };
        self.apply(changes);
    }

    /// Before the app ends: the files would outlive it.
    pub fn remove_pictures(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    /// A click turns a check mark by itself; the truth is what the host says, also where it refused.
    fn restore_checks(&self) {
        let menu = self.shown.lock().unwrap_or_else(PoisonError::into_inner).menu.clone();
        let checks =
            lines(&menu).into_iter().filter(|(line, ..)| matches!(line, Line::Earn | Line::Power(_)));
        self.apply(checks.map(|(line, _, _, on)| Change::Checked(line, on)).collect());
    }

    fn apply(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let items = self.items.clone();
        // One visit to the main thread for all of them.
        let visited = self.app.run_on_main_thread(move || {
            for change in &changes {
                if let Err(error) = items.apply(change) {
                    tracing::warn!(?change, "the tray was not changed: {error}");
                }
            }
        });
        if let Err(error) = visited {
            tracing::warn!("the tray was not changed: {error}");
        }
    }
}

/// What a click on each item asks of the host.
fn asked(id: &str, view: &ViewModel) -> Vec<UserCommand> {
    if let Some(place) = id.strip_prefix("power-").and_then(|place| place.parse::<usize>().ok()) {
        let Some(choice) = view.tray.power.get(place) else { return Vec::new() };
        let limit = choice.percent.map(|percent| PowerWish::Percent { percent });
        return vec![UserCommand::SetPowerLimit { gpu: None, limit }];
    }
    match id {
        "earn" => vec![UserCommand::SetEarning { on: !view.tray.earn_while_idle_on }],
        "snooze" if view.tray.snoozed => vec![UserCommand::EndOverrides],
        "snooze" => vec![UserCommand::Snooze { for_ms: SNOOZE_MS }],
        "snooze-tomorrow" => vec![UserCommand::Snooze { for_ms: view.tray.snooze_tomorrow_ms }],
        "snooze-game" => vec![UserCommand::SnoozeForGame],
        "finish" => vec![UserCommand::LastJob { for_ms: LAST_JOB_MS }],
        // With several cards at work, the one item stands for all of their jobs.
        "stop" => {
            let jobs = view.cards.iter().filter_map(|tile| tile.card.job.as_ref());
            jobs.map(|job| UserCommand::StopJob { lease: job.lease.clone() }).collect()
        }
        _ => Vec::new(),
    }
}

fn clicked(app: &AppHandle, event: MenuEvent) {
    let Some(host) = app.state::<Engine>().host_now() else { return };
    match event.id().as_ref() {
        "open" => window::open(app),
        "quit" => {
            // The app ends when the host has; a second click changes nothing.
            tauri::async_runtime::spawn(async move { host.shutdown().await });
        }
        id => {
            let view = host.view().borrow().clone();
            let (app, commands) = (app.clone(), asked(id, &view));
            tauri::async_runtime::spawn(async move {
                for command in commands {
                    if let Err(refusal) = host.command(command).await {
                        notifications::refused(&refusal, view.language).await;
                    }
                }
                if let Some(tray) = app.try_state::<Tray>() {
                    tray.show(&host.view().borrow());
                    tray.restore_checks();
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;
