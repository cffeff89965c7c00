//! The tray icon and its menu: the view model's `tray`, item by item. Only what has changed is sent to the desktop.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use nightjar_core::host::{HostState, UserCommand};
use nightjar_protocol::view::{TrayMenu, ViewModel};
use tauri::image::Image;
use tauri::menu::{CheckMenuItem, Menu, MenuEvent, MenuItem, PredefinedMenuItem};
use tauri::tray::{MouseButton, MouseButtonState, TrayIcon, TrayIconBuilder, TrayIconEvent};
use tauri::{AppHandle, Manager};

use crate::engine::Engine;
use crate::{notifications, window};

const SNOOZE_MS: u64 = 3_600_000;

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
    Status(String),
    Earn(String),
    EarnOn(bool),
    Snooze(String),
    Stop(String),
    CanStop(bool),
    Today(String),
    Open(String),
    Quit(String),
}

fn changes(old: &Shown, new: &Shown) -> Vec<Change> {
    let mut changes = Vec::new();
    if old.state != new.state {
        changes.push(Change::Icon(new.state));
    }
    let (old, new) = (&old.menu, &new.menu);
    let mut label = |was: &str, is: &str, change: fn(String) -> Change| {
        if was != is {
            changes.push(change(is.to_owned()));
        }
    };
    label(&old.status, &new.status, Change::Status);
    label(&old.earn_while_idle, &new.earn_while_idle, Change::Earn);
    label(&old.snooze, &new.snooze, Change::Snooze);
    label(&old.stop_job, &new.stop_job, Change::Stop);
    label(&old.today, &new.today, Change::Today);
    label(&old.open, &new.open, Change::Open);
    label(&old.quit, &new.quit, Change::Quit);
    if old.earn_while_idle_on != new.earn_while_idle_on {
        changes.push(Change::EarnOn(new.earn_while_idle_on));
    }
    if old.can_stop_job != new.can_stop_job {
        changes.push(Change::CanStop(new.can_stop_job));
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

struct Items {
    icon: TrayIcon,
    status: MenuItem<tauri::Wry>,
    earn: CheckMenuItem<tauri::Wry>,
    snooze: MenuItem<tauri::Wry>,
    stop: MenuItem<tauri::Wry>,
    today: MenuItem<tauri::Wry>,
    open: MenuItem<tauri::Wry>,
    quit: MenuItem<tauri::Wry>,
}

impl Items {
    fn build(app: &AppHandle, shown: &Shown, folder: &Path) -> tauri::Result<Self> {
        let menu = &shown.menu;
        let item = |id: &str, text: &str, enabled: bool| {
            MenuItem::with_id(app, id, literal(text), enabled, None::<&str>)
        };
        let status = item("status", &menu.status, false)?;
        let earn = CheckMenuItem::with_id(
            app,
            "earn",
            literal(&menu.earn_while_idle),
            true,
            menu.earn_while_idle_on,
            None::<&str>,
        )?;
        let snooze = item("snooze", &menu.snooze, true)?;
        let stop = item("stop", &menu.stop_job, menu.can_stop_job)?;
        let today = item("today", &menu.today, false)?;
        let open = item("open", &menu.open, true)?;
        let quit = item("quit", &menu.quit, true)?;
        let line = || PredefinedMenuItem::separator(app);
        let whole = Menu::with_items(
            app,
            &[&status, &today, &line()?, &earn, &snooze, &stop, &line()?, &open, &quit],
        )?;
        let icon = TrayIconBuilder::with_id("nightjar")
            .icon(icon(shown.state)?)
            .temp_dir_path(folder)
            .menu(&whole)
            // A click opens the window and a right click the menu; on Linux the desktop decides.
            .show_menu_on_left_click(false)
            .on_menu_event(clicked)
            .on_tray_icon_event(|tray, event| {
                if let TrayIconEvent::Click {
                    button: MouseButton::Left,
                    button_state: MouseButtonState::Up,
                    ..
                } = event
                {
                    window::open(tray.app_handle());
                }
            })
            .build(app)?;
        Ok(Self { icon, status, earn, snooze, stop, today, open, quit })
    }

    fn apply(&self, change: &Change) -> tauri::Result<()> {
        match change {
            Change::Icon(state) => self.icon.set_icon(Some(icon(*state)?)),
            Change::Status(text) => self.status.set_text(literal(text)),
            Change::Earn(text) => self.earn.set_text(literal(text)),
            Change::EarnOn(on) => self.earn.set_checked(*on),
            Change::Snooze(text) => self.snooze.set_text(literal(text)),
            Change::Stop(text) => self.stop.set_text(literal(text)),
            Change::CanStop(can) => self.stop.set_enabled(*can),
            Change::Today(text) => self.today.set_text(literal(text)),
            Change::Open(text) => self.open.set_text(literal(text)),
            Change::Quit(text) => self.quit.set_text(literal(text)),
        }
    }
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

    /// A click turns the check mark by itself; the truth is what the host says, also where it refused.
    fn restore_check(&self) {
        let on = self.shown.lock().unwrap_or_else(PoisonError::into_inner).menu.earn_while_idle_on;
        self.apply(vec![Change::EarnOn(on)]);
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
    match id {
        "earn" => vec![UserCommand::SetEarning { on: !view.tray.earn_while_idle_on }],
        "snooze" if view.tray.snoozed => vec![UserCommand::EndOverrides],
        "snooze" => vec![UserCommand::Snooze { for_ms: SNOOZE_MS }],
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
                    tray.restore_check();
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;
