//! A real desktop's panel with nothing on it but its place for tray icons: XFCE's, on a private desktop.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    BUTTON_PRESS_EVENT, BUTTON_RELEASE_EVENT, ConnectionExt as _, ImageFormat, KEY_PRESS_EVENT,
    KEY_RELEASE_EVENT, MOTION_NOTIFY_EVENT, MapState,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;

use crate::desktop::Desktop;
use crate::process::{Process, wait_for};

/// Where the bus finds the service that keeps the panel's settings.
const SETTINGS_SERVICE: &str = "/usr/share/dbus-1/services/org.xfce.Xfconf.service";
/// Along the upper edge of the screen, as high as this.
pub const HEIGHT: u16 = 32;
/// No tooltip is as wide, and no menu as narrow.
const LEAST_MENU: (u16, u16) = (80, 120);

/// Buttons of a mouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Button {
    Left = 1,
    Right = 3,
}

/// The order of the fields is the order of the end.
pub struct Panel {
    _panel: Process,
    _settings: Process,
    connection: RustConnection,
    root: u32,
    width: u16,
    empty: Vec<u8>,
}

impl Panel {
    /// # Errors
    /// When it does not come up.
    pub fn start(desktop: &Desktop) -> anyhow::Result<Self> {
        let folder = desktop.folder();
        let channels = folder.join("home/.config/xfce4/xfconf/xfce-perchannel-xml");
        std::fs::create_dir_all(&channels)?;
        std::fs::write(channels.join("xfce4-panel.xml"), settings())?;
        let service = std::fs::read_to_string(SETTINGS_SERVICE).context("is xfconf installed?")?;
        let program = service.lines().find_map(|line| line.strip_prefix("Exec=")).context("no Exec=")?;
        let mut keeper = Command::new(program);
        desktop.enter(&mut keeper);
        let keeper = Process::start(folder, "xfconfd", &mut keeper)?;
        wait_for("the panel's settings", Duration::from_secs(20), || {
            Ok(desktop.owns("org.xfce.Xfconf").then_some(()))
        })?;
        let mut panel = Command::new("xfce4-panel");
        desktop.enter(panel.arg("--disable-wm-check"));
        let process = Process::start(folder, "panel", &mut panel)?;
        wait_for("the panel's place for icons", Duration::from_secs(40), || {
            Ok(desktop.owns("org.kde.StatusNotifierWatcher").then_some(()))
        })?;
        let (connection, screen) = RustConnection::connect(Some(desktop.display()))?;
        let (root, width) = {
            let screen = &connection.setup().roots[screen];
            (screen.root, screen.width_in_pixels)
        };
        let empty = Vec::new();
        let mut panel = Self { _panel: process, _settings: keeper, connection, root, width, empty };
        panel.empty = panel.at_rest()?;
        Ok(panel)
    }

    /// Its pixels, four bytes each, once they stay the same.
    fn at_rest(&self) -> anyhow::Result<Vec<u8>> {
        wait_for("the panel to be drawn", Duration::from_secs(30), || {
            let is_drawn = |now: &Vec<u8>| now.iter().any(|byte| *byte != now[0]);
            Ok(unchanged(|| self.pixels())?.filter(is_drawn))
        })
    }

    fn pixels(&self) -> anyhow::Result<Vec<u8>> {
        let image =
            self.connection.get_image(ImageFormat::Z_PIXMAP, self.root, 0, 0, self.width, HEIGHT, !0)?;
        Ok(image.reply()?.data)
    }

    /// What it shows that it did not when it was empty: from where to where, and all of its pixels. `None`: nothing.
    ///
    /// # Errors
    /// When the X server is gone.
    pub fn icon(&self) -> anyhow::Result<Option<Icon>> {
        let now = self.pixels()?;
        let width = usize::from(self.width);
        let differs = |at: &usize| now[at * 4..at * 4 + 3] != self.empty[at * 4..at * 4 + 3];
        let places: Vec<(usize, usize)> =
            (0..now.len() / 4).filter(differs).map(|at| (at % width, at / width)).collect();
        let bounds = |of: fn(&(usize, usize)) -> usize| {
            let all = || places.iter().map(of);
            all().min().zip(all().max())
        };
        let (Some((left, right)), Some((top, bottom))) = (bounds(|at| at.0), bounds(|at| at.1)) else {
            return Ok(None);
        };
        Ok(Some(Icon { left, right, top, bottom, pixels: now }))
    }

    /// The same, where it stays as it is: a panel lays itself out anew for a new icon.
    ///
    /// # Errors
    /// When the X server is gone.
    pub fn icon_at_rest(&self) -> anyhow::Result<Option<Icon>> {
        Ok(unchanged(|| self.icon())?.flatten())
    }

    /// Goes there and presses.
    ///
    /// # Errors
    /// When the X server is gone.
    pub fn click(&self, icon: &Icon, button: Button) -> anyhow::Result<()> {
        let (x, y) = icon.centre()?;
        let fake = |kind, detail, x, y| {
            self.connection.xtest_fake_input(kind, detail, 0, self.root, x, y, 0)?;
            anyhow::Ok(self.connection.get_input_focus()?.reply().map(drop)?)
        };
        fake(MOTION_NOTIFY_EVENT, 0, x, y)?;
        // A panel highlights what the pointer is on before it takes a click on it.
        std::thread::sleep(Duration::from_millis(300));
        fake(BUTTON_PRESS_EVENT, button as u8, x, y)?;
        fake(BUTTON_RELEASE_EVENT, button as u8, x, y)
    }

    /// Whether a menu is open: a window that no window manager manages, and as large as one.
    ///
    /// # Errors
    /// When the X server is gone.
    pub fn shows_menu(&self) -> anyhow::Result<bool> {
        for window in self.connection.query_tree(self.root)?.reply()?.children {
            // One may go between the two questions.
            let Ok(kind) = self.connection.get_window_attributes(window)?.reply() else { continue };
            let Ok(size) = self.connection.get_geometry(window)?.reply() else { continue };
            let is_large = size.width >= LEAST_MENU.0 && size.height >= LEAST_MENU.1;
            if kind.override_redirect && kind.map_state == MapState::VIEWABLE && is_large {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// As the key does: a menu closes.
    ///
    /// # Errors
    /// When the X server is gone.
    pub fn escape(&self) -> anyhow::Result<()> {
        /// Of every keyboard that X servers make up.
        const ESCAPE: u8 = 9;
        for kind in [KEY_PRESS_EVENT, KEY_RELEASE_EVENT] {
            self.connection.xtest_fake_input(kind, ESCAPE, 0, self.root, 0, 0, 0)?;
        }
        Ok(self.connection.get_input_focus()?.reply().map(drop)?)
    }
}

/// What each of several looks in three seconds found; nothing, where they differ.
fn unchanged<T: PartialEq>(look: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    let first = look()?;
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(1));
        if look()? != first {
            return Ok(None);
        }
    }
    Ok(Some(first))
}

/// What stands on a panel.
#[derive(Clone, PartialEq, Eq)]
pub struct Icon {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
    pixels: Vec<u8>,
}

impl Icon {
    /// In pixels.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.right - self.left + 1, self.bottom - self.top + 1)
    }

    fn centre(&self) -> anyhow::Result<(i16, i16)> {
        let middle = |from: usize, to: usize| i16::try_from(usize::midpoint(from, to));
        Ok((middle(self.left, self.right)?, middle(self.top, self.bottom)?))
    }
}

fn settings() -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<channel name="xfce4-panel" version="1.0">
  <property name="configver" type="int" value="2"/>
  <property name="panels" type="array">
    <value type="int" value="1"/>
    <property name="panel-1" type="empty">
      <property name="position" type="string" value="p=6;x=0;y=0"/>
      <property name="position-locked" type="bool" value="true"/>
      <property name="length" type="uint" value="100"/>
      <property name="size" type="uint" value="{HEIGHT}"/>
      <property name="icon-size" type="uint" value="0"/>
      <property name="plugin-ids" type="array">
        <value type="int" value="1"/>
        <value type="int" value="2"/>
      </property>
    </property>
  </property>
  <property name="plugins" type="empty">
    <property name="plugin-1" type="string" value="separator">
      <property name="expand" type="bool" value="true"/>
      <property name="style" type="uint" value="0"/>
    </property>
    <property name="plugin-2" type="string" value="systray"/>
  </property>
</channel>
"#
    )
}
