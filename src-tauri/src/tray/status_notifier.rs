//! Linux: the icon as panels ask for it over D-Bus (StatusNotifierItem and its menu). A panel that is started anew, as when
//! the shell is, gets it again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use ksni::menu::{CheckmarkItem, MenuItem, StandardItem, SubMenu};
use ksni::{Handle, Icon, OfflineReason, ToolTip, TrayMethods};
use nightjar_core::time::Timestamp;
use nightjar_protocol::view::ViewModel;
use tokio::sync::{Mutex, watch};

use super::picture::pictures;
use super::{Line, Look, Shown, clicked, lines};
use crate::app::App;
use crate::markup::literal;
use crate::window;

/// Who owns it keeps the icons of a session.
const WATCHER: &str = "org.kde.StatusNotifierWatcher";
/// How long the word of a panel's coming may take that is on its way.
const WORD_WITHIN: Duration = Duration::from_secs(1);

/// The tray icon; it is gone when the app is.
pub struct Tray {
    handle: Handle<Item>,
    /// Held until the panel has the newer: one that is overtaken on its way would stay for as long as nothing changes.
    newest: Mutex<Newest>,
    has_panel: watch::Receiver<bool>,
}

/// What the panel has.
struct Newest {
    shown: Shown,
    at: Timestamp,
}

impl Newest {
    fn of(view: &ViewModel) -> Self {
        Self { shown: Shown::of(view), at: view.at }
    }

    /// What the panel is to have instead. The view is made anew each second, and seldom with another menu.
    fn take(&mut self, view: &ViewModel) -> Option<Shown> {
        let new = Self::of(view);
        if new.at < self.at {
            return None;
        }
        let differs = new.shown != self.shown;
        *self = new;
        differs.then(|| self.shown.clone())
    }
}

impl Tray {
    /// # Errors
    /// When the session's bus cannot be reached, or a panel refuses the icon.
    pub async fn build(app: &Arc<App>, view: &ViewModel) -> anyhow::Result<Self> {
        let tray = Self::spawn(app, view).await?;
        if !tray.missed_its_panel().await {
            return Ok(tray);
        }
        tracing::info!("a panel came while the tray icon was made, which is made anew for it");
        match Self::spawn(app, view).await {
            Ok(anew) => {
                tray.handle.shutdown().await;
                Ok(anew)
            }
            Err(error) => {
                tracing::warn!("the next panel alone will show the tray icon: {error:#}");
                Ok(tray)
            }
        }
    }

    async fn spawn(app: &Arc<App>, view: &ViewModel) -> anyhow::Result<Self> {
        let (panel, has_panel) = watch::channel(true);
        let newest = Newest::of(view);
        let item = Item { app: Arc::downgrade(app), shown: newest.shown.clone(), panel };
        // A panel that is not there yet gets the icon when it comes.
        let spawned = item.assume_sni_available(true).spawn().await;
        let handle = spawned.context("the session's bus takes no tray icon")?;
        Ok(Self { handle, newest: Mutex::new(newest), has_panel })
    }

    /// The icon is offered first, and only then the bus is asked to tell of panels: one that comes in between never hears
    /// of it.
    async fn missed_its_panel(&self) -> bool {
        let has_panel = *self.has_panel.borrow();
        if has_panel {
            return false;
        }
        let is_there = is_owned(WATCHER).await.unwrap_or_else(|error| {
            tracing::warn!("the session's bus does not say whether there is a panel: {error}");
            false
        });
        is_there && tokio::time::timeout(WORD_WITHIN, self.shown()).await.is_err()
    }

    /// Brings the tray up to date. Only what has changed is sent.
    pub async fn show(&self, view: &ViewModel) {
        let mut newest = self.newest.lock().await;
        if let Some(shown) = newest.take(view) {
            self.handle.update(|item| item.shown = shown).await;
        }
    }

    /// After a click: the host has taken or refused what it asked for.
    pub async fn answered(&self, view: &ViewModel) {
        self.show(view).await;
    }

    /// Returns once a panel shows the icon.
    pub async fn shown(&self) {
        if self.has_panel.clone().wait_for(|has_panel| *has_panel).await.is_err() {
            // The icon's service has ended, and with it every hope of a panel.
            std::future::pending().await
        }
    }
}

/// Whether somebody on the session's bus has this name.
async fn is_owned(name: &str) -> zbus::Result<bool> {
    let bus = zbus::Connection::session().await?;
    let names = zbus::fdo::DBusProxy::new(&bus).await?;
    Ok(names.name_has_owner(name.try_into()?).await?)
}

/// What a panel reads.
struct Item {
    app: Weak<App>,
    shown: Shown,
    panel: watch::Sender<bool>,
}

impl ksni::Tray for Item {
    fn id(&self) -> String {
        String::from("nightjar")
    }

    fn title(&self) -> String {
        String::from("Nightjar")
    }

    fn icon_pixmap(&self) -> Vec<Icon> {
        let pictures = pictures(self.shown.state).unwrap_or_else(|error| {
            tracing::error!("the tray icon has no picture: {error:#}");
            Vec::new()
        });
        let side = |side: u32| i32::try_from(side).unwrap_or_default();
        pictures
            .into_iter()
            .map(|picture| Icon {
                width: side(picture.side),
                height: side(picture.side),
                data: argb(picture.rgba),
            })
            .collect()
    }

    fn tool_tip(&self) -> ToolTip {
        let (title, description) = self.shown.menu.tooltip.split_once('\n').unwrap_or_default();
        ToolTip { title: title.to_owned(), description: literal(description), ..ToolTip::default() }
    }

    fn activate(&mut self, _x: i32, _y: i32) {
        if let Some(app) = self.app.upgrade() {
            window::open(&app);
        }
    }

    /// Somebody looks at the menu; the window is what most of them want.
    fn menu_about_to_show(&mut self) {
        if let Some(app) = self.app.upgrade() {
            window::prepare(&app);
        }
    }

    fn menu(&self) -> Vec<MenuItem<Self>> {
        let looks = lines(&self.shown.menu);
        let item = |line| looks.iter().find(|look| look.line == line).map(|look| entry(*look, Vec::new()));
        let submenu = |line, of: &[Line]| {
            let inner = of.iter().filter_map(|line| item(*line)).collect();
            looks.iter().find(|look| look.line == line).map(|look| entry(*look, inner))
        };
        let powers: Vec<Line> = (0..self.shown.menu.power.len()).map(Line::Power).collect();
        [
            item(Line::Status),
            item(Line::Today),
            Some(MenuItem::Separator),
            item(Line::Earn),
            submenu(Line::SnoozeMenu, &[Line::Snooze, Line::SnoozeTomorrow, Line::SnoozeGame]),
            item(Line::Finish),
            item(Line::Stop),
            submenu(Line::PowerMenu, &powers),
            Some(MenuItem::Separator),
            item(Line::Open),
            item(Line::Quit),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn watcher_online(&self) {
        tracing::info!("a panel shows the tray icon");
        self.panel.send_replace(true);
    }

    fn watcher_offline(&self, reason: OfflineReason) -> bool {
        tracing::info!(?reason, "no panel shows the tray icon now");
        self.panel.send_replace(false);
        // A shell that is started again asks for it again.
        true
    }
}

/// A line as the menu's protocol has it.
fn entry(look: Look<'_>, inner: Vec<MenuItem<Item>>) -> MenuItem<Item> {
    let Look { line, is_enabled: enabled, .. } = look;
    // One underscore is the mark of a keyboard letter.
    let label = look.label.replace('_', "__");
    if !inner.is_empty() {
        return SubMenu { label, enabled, submenu: inner, ..SubMenu::default() }.into();
    }
    let activate = Box::new(move |item: &mut Item| {
        if let Some(app) = item.app.upgrade() {
            clicked(&app, line);
        }
    });
    match look.is_checked {
        Some(checked) => {
            CheckmarkItem { label, enabled, checked, activate, ..CheckmarkItem::default() }.into()
        }
        None => StandardItem { label, enabled, activate, ..StandardItem::default() }.into(),
    }
}

fn argb(mut rgba: Vec<u8>) -> Vec<u8> {
    for pixel in rgba.chunks_exact_mut(4) {
        pixel.rotate_right(1);
    }
    rgba
}

#[cfg(test)]
mod tests {
    use ksni::Tray as _;
    use nightjar_core::settings::{Language, Settings};

    use super::super::tests::view;
    use super::*;

    fn item() -> Item {
        let shown = Shown::of(&view(Language::English, Settings::default()));
        Item { app: Weak::new(), shown, panel: watch::Sender::new(true) }
    }

    fn count(menu: &[MenuItem<Item>]) -> usize {
        let of = |item: &MenuItem<Item>| match item {
            MenuItem::Separator => 0,
            MenuItem::SubMenu(submenu) => 1 + count(&submenu.submenu),
            _ => 1,
        };
        menu.iter().map(of).sum()
    }

    #[test]
    fn a_view_that_was_overtaken_is_not_shown() {
        let on = ViewModel { at: Timestamp(10), ..view(Language::English, Settings::default()) };
        let off = view(Language::English, Settings { earn_while_idle: false, ..Settings::default() });
        let mut newest = Newest::of(&on);
        assert_eq!(newest.take(&ViewModel { at: Timestamp(11), ..on.clone() }), None, "nothing is new");
        assert_eq!(newest.take(&ViewModel { at: Timestamp(10), ..off.clone() }), None, "older");
        let clicked = ViewModel { at: Timestamp(12), ..off };
        assert_eq!(newest.take(&clicked), Some(Shown::of(&clicked)));
        assert_eq!(newest.take(&on), None, "its answer was overtaken");
        assert_eq!(newest.take(&ViewModel { at: Timestamp(12), ..on.clone() }), Some(Shown::of(&on)));
    }

    #[test]
    fn the_menu_has_every_line() {
        let item = item();
        assert_eq!(count(&item.menu()), lines(&item.shown.menu).len());
    }

    #[test]
    fn texts_are_taken_literally() {
        let mut item = item();
        item.shown.menu.status = String::from("a_game runs");
        item.shown.menu.tooltip = String::from("Nightjar\n<b> & more");
        let menu = item.menu();
        let MenuItem::Standard(status) = &menu[0] else { panic!("{:?}", menu[0]) };
        assert_eq!(status.label, "a__game runs");
        assert_eq!(item.tool_tip().description, "&lt;b&gt; &amp; more");
    }

    #[test]
    fn pictures_are_sent_alpha_first() {
        assert_eq!(argb(vec![1, 2, 3, 255, 4, 5, 6, 0]), [255, 1, 2, 3, 0, 4, 5, 6]);
        let largest = item().icon_pixmap().pop().expect("a picture");
        assert_eq!((largest.width, largest.data.len()), (64, 64 * 64 * 4));
    }
}
