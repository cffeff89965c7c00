//! Windows: the icon and its menu in Tauri's main loop, kept line by line. Only what has changed is sent to it.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use nightjar_core::host::HostState;
use nightjar_protocol::view::ViewModel;
use tauri::AppHandle;
use tauri::image::Image;
use tauri::menu::{CheckMenuItem, IsMenuItem, Menu, MenuItem, PredefinedMenuItem, Submenu};
use tauri::tray::{MouseButton, MouseButtonState, TrayIcon, TrayIconBuilder, TrayIconEvent};

use super::changes::{Change, changes};
use super::picture::pictures;
use super::{Line, Shown, clicked, lines};
use crate::app::App;
use crate::window;

fn icon(state: HostState) -> tauri::Result<Image<'static>> {
    // Windows makes every size of one.
    let largest = pictures(state).map_err(tauri::Error::Anyhow)?.pop();
    largest
        .map(|picture| Image::new_owned(picture.rgba, picture.side, picture.side))
        .ok_or_else(|| tauri::Error::Anyhow(anyhow::anyhow!("the tray icon has no picture")))
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
    fn build(owner: &Arc<App>, shown: &Shown) -> tauri::Result<Self> {
        let app = &owner.main_loop;
        let (for_menu, for_icon) = (owner.clone(), owner.clone());
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
                // A click opens the window and a right click the menu.
                .show_menu_on_left_click(false)
                .on_menu_event(move |_, event| {
                    if let Some(line) = line_of(event.id().as_ref()) {
                        clicked(&for_menu, line);
                    }
                })
                .on_tray_icon_event(move |_, event| icon_clicked(&for_icon, &event))
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

fn icon_clicked(app: &Arc<App>, event: &TrayIconEvent) {
    let TrayIconEvent::Click { button, button_state, .. } = event else { return };
    match (button, button_state) {
        (MouseButton::Left, MouseButtonState::Up) => window::open(app),
        // The menu comes when it is let go.
        (MouseButton::Right, MouseButtonState::Down) => window::prepare(app),
        _ => {}
    }
}

/// The line with this id, as [`Items::build`] gives them out.
fn line_of(id: &str) -> Option<Line> {
    if let Some(place) = id.strip_prefix("power-") {
        return place.parse().ok().map(Line::Power);
    }
    Some(match id {
        "earn" => Line::Earn,
        "snooze" => Line::Snooze,
        "snooze-tomorrow" => Line::SnoozeTomorrow,
        "snooze-game" => Line::SnoozeGame,
        "finish" => Line::Finish,
        "stop" => Line::Stop,
        "open" => Line::Open,
        "quit" => Line::Quit,
        _ => return None,
    })
}

/// The tray icon; it is gone when the app is.
#[derive(Clone)]
pub struct Tray {
    main_loop: AppHandle,
    items: Arc<Items>,
    shown: Arc<Mutex<Shown>>,
}

impl Tray {
    /// # Errors
    /// When this desktop takes no tray icon.
    pub async fn build(app: &Arc<App>, view: &ViewModel) -> anyhow::Result<Self> {
        let shown = Shown::of(view);
        let (answer, answered) = tokio::sync::oneshot::channel();
        let (builder, first) = (app.clone(), shown.clone());
        app.main_loop.run_on_main_thread(move || {
            let _ = answer.send(Items::build(&builder, &first));
        })?;
        let items = answered.await.context("the desktop's main loop has ended")??;
        Ok(Self {
            main_loop: app.main_loop.clone(),
            items: Arc::new(items),
            shown: Arc::new(Mutex::new(shown)),
        })
    }

    /// Brings the tray up to date.
    pub async fn show(&self, view: &ViewModel) {
        let new = Shown::of(view);
        let changes = {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            let changes = changes(&shown, &new);
            *shown = new;
            changes
        };
        self.apply(changes);
    }

    /// After a click. It turns a check mark by itself; the truth is what the host says, also where it refused.
    pub async fn answered(&self, view: &ViewModel) {
        self.show(view).await;
        let looks = lines(&view.tray);
        let checks = looks.iter().filter_map(|look| Some(Change::Checked(look.line, look.is_checked?)));
        self.apply(checks.collect());
    }

    /// Returns once a panel shows the icon: here there always is one.
    pub async fn shown(&self) {}

    fn apply(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let items = self.items.clone();
        // One visit to the main thread for all of them.
        let visited = self.main_loop.run_on_main_thread(move || {
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
