//! A panel's end of the tray: owns the watcher's name on the session bus, reads the item and its menu as a panel does,
//! and clicks in it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use zbus::blocking::Connection;
use zbus::zvariant::{OwnedValue, Structure, Value};

use crate::desktop::Desktop;
use crate::process::wait_for;

const WATCHER: &str = "org.kde.StatusNotifierWatcher";
const ITEM: &str = "org.kde.StatusNotifierItem";
const PATH: &str = "/StatusNotifierItem";
const MENU: &str = "com.canonical.dbusmenu";

/// Width, height, and four bytes a pixel.
type Pixmap = (i32, i32, Vec<u8>);

/// Id, properties and children, as the menu's protocol nests them.
type Node = (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>);

/// The bus names of the items, the newest last.
type Registered = Arc<Mutex<Vec<String>>>;

/// The watcher.
pub struct Tray {
    connection: Connection,
    registered: Registered,
}

/// One line of the menu. Properties that are not there have their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MenuLine {
    pub id: i32,
    pub label: String,
    pub is_enabled: bool,
    /// `None` for a line that is no check item.
    pub is_checked: Option<bool>,
}

struct Watcher {
    registered: Registered,
    /// Whether the next item finds nobody.
    is_late: AtomicBool,
}

#[zbus::interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    fn register_status_notifier_item(&self, service: &str) -> zbus::fdo::Result<()> {
        if self.is_late.swap(false, Ordering::SeqCst) {
            return Err(zbus::fdo::Error::ServiceUnknown(String::from("nobody is here yet")));
        }
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).push(service.to_owned());
        Ok(())
    }

    fn register_status_notifier_host(&self, _service: &str) {}

    #[zbus(property)]
    fn registered_status_notifier_items(&self) -> Vec<String> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn protocol_version(&self) -> i32 {
        0
    }
}

/// A tray item that an app has registered.
pub struct TrayItem<'a> {
    connection: &'a Connection,
    sender: String,
    menu_path: String,
}

impl Tray {
    /// # Errors
    /// When the bus does not answer or has such a watcher already.
    pub fn watch(desktop: &Desktop) -> anyhow::Result<Self> {
        Self::begin(desktop, false)
    }

    /// The same, of a panel that comes right after the first item was offered, and before anybody listens for panels: the
    /// item is told that nobody is there, and the bus never tells it of this one.
    ///
    /// # Errors
    /// As [`Tray::watch`].
    pub fn watch_too_late(desktop: &Desktop) -> anyhow::Result<Self> {
        Self::begin(desktop, true)
    }

    fn begin(desktop: &Desktop, is_late: bool) -> anyhow::Result<Self> {
        let registered = Registered::default();
        let watcher = Watcher { registered: registered.clone(), is_late: AtomicBool::new(is_late) };
        let connection = zbus::blocking::connection::Builder::address(desktop.bus_address())?
            .serve_at("/StatusNotifierWatcher", watcher)?
            .name(WATCHER)?
            .build()?;
        Ok(Self { connection, registered })
    }

    /// The newest item that was registered.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn item(&self, within: Duration) -> anyhow::Result<TrayItem<'_>> {
        self.item_after(0, within)
    }

    /// How many items were registered so far.
    #[must_use]
    pub fn registrations(&self) -> usize {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The newest item, once there were more than `earlier`: a program that begins anew may register under its old name.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn item_after(&self, earlier: usize, within: Duration) -> anyhow::Result<TrayItem<'_>> {
        let sender = wait_for("a tray item", within, || {
            let registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(registered.get(earlier..).and_then(<[String]>::last).cloned())
        })?;
        let mut item = TrayItem { connection: &self.connection, sender, menu_path: String::new() };
        item.menu_path = match &*item.property("Menu")? {
            Value::ObjectPath(path) => path.to_string(),
            other => anyhow::bail!("the item's menu is no object path: {other:?}"),
        };
        Ok(item)
    }

    /// As when the shell that shows the tray is ended: its name is gone from the bus.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub fn end(self) -> anyhow::Result<()> {
        self.connection.release_name(WATCHER)?;
        Ok(self.connection.close()?)
    }
}

impl TrayItem<'_> {
    /// The menu as it is now.
    ///
    /// # Errors
    /// When the app does not answer.
    pub fn menu(&self) -> anyhow::Result<Vec<MenuLine>> {
        // Panels say this first; some toolkits fill the menu only then.
        self.call("AboutToShow", &(0_i32,))?;
        let reply = self.call("GetLayout", &(0_i32, -1_i32, Vec::<&str>::new()))?;
        let body = reply.body();
        let (_, (_, _, nodes)): (u32, Node) = body.deserialize()?;
        let mut lines = Vec::new();
        collect(nodes, &mut lines)?;
        Ok(lines)
    }

    /// The line whose label begins with `label`.
    ///
    /// # Errors
    /// When there is none; the error shows the menu.
    pub fn line(&self, label: &str) -> anyhow::Result<MenuLine> {
        let menu = self.menu()?;
        let found = menu.iter().find(|line| line.label.starts_with(label));
        found.cloned().with_context(|| format!("no line \"{label}\" in {menu:#?}"))
    }

    /// A click, as a panel sends it.
    ///
    /// # Errors
    /// When the app does not answer.
    pub fn click(&self, line: &MenuLine) -> anyhow::Result<()> {
        self.call("Event", &(line.id, "clicked", Value::I32(0), 0_u32)).map(drop)
    }

    /// A click on the icon itself.
    ///
    /// # Errors
    /// When the app does not answer.
    pub fn activate(&self) -> anyhow::Result<()> {
        let (to, path) = (Some(self.sender.as_str()), PATH);
        self.connection.call_method(to, path, Some(ITEM), "Activate", &(0_i32, 0_i32))?;
        Ok(())
    }

    /// Title and text of the tooltip.
    ///
    /// # Errors
    /// When the app does not answer.
    pub fn tooltip(&self) -> anyhow::Result<(String, String)> {
        let (_, _, title, text): (String, Vec<Pixmap>, String, String) =
            Structure::try_from(Value::from(self.property("ToolTip")?))?.try_into()?;
        Ok((title, text))
    }

    /// Width and height of the icon's pictures, which hold as many pixels as that.
    ///
    /// # Errors
    /// When the app does not answer, or a picture is cut short.
    pub fn pictures(&self) -> anyhow::Result<Vec<(i32, i32)>> {
        let pictures: Vec<Pixmap> = Value::from(self.property("IconPixmap")?).try_into()?;
        for (width, height, pixels) in &pictures {
            anyhow::ensure!(
                usize::try_from(width * height * 4)? == pixels.len(),
                "{width} × {height} is cut"
            );
        }
        Ok(pictures.into_iter().map(|(width, height, _)| (width, height)).collect())
    }

    fn property(&self, name: &str) -> anyhow::Result<OwnedValue> {
        let (to, path) = (Some(self.sender.as_str()), PATH);
        let reply = self.connection.call_method(
            to,
            path,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &(ITEM, name),
        )?;
        Ok(reply.body().deserialize()?)
    }

    fn call<B>(&self, method: &str, body: &B) -> anyhow::Result<zbus::Message>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        let (to, path) = (Some(self.sender.as_str()), self.menu_path.as_str());
        Ok(self.connection.call_method(to, path, Some(MENU), method, body)?)
    }
}

/// Every line with a label, those of a submenu right after its own.
fn collect(nodes: Vec<OwnedValue>, lines: &mut Vec<MenuLine>) -> anyhow::Result<()> {
    for node in nodes {
        let (line, children) = line(node)?;
        if !line.label.is_empty() {
            lines.push(line);
        }
        collect(children, lines)?;
    }
    Ok(())
}

fn line(value: OwnedValue) -> anyhow::Result<(MenuLine, Vec<OwnedValue>)> {
    let value = Value::from(value);
    let structure: Structure<'_> = match value {
        Value::Value(inner) => (*inner).try_into()?,
        other => other.try_into()?,
    };
    let (id, properties, children): Node = structure.try_into()?;
    let text = |name: &str| match properties.get(name).map(|value| &**value) {
        Some(Value::Str(text)) => text.to_string(),
        _ => String::new(),
    };
    let is_check = text("toggle-type") == "checkmark";
    let line = MenuLine {
        id,
        // An underscore marks the letter for the keyboard; two are one that is shown.
        label: text("label").split("__").map(|part| part.replace('_', "")).collect::<Vec<_>>().join("_"),
        is_enabled: !matches!(properties.get("enabled").map(|value| &**value), Some(Value::Bool(false))),
        is_checked: is_check
            .then(|| matches!(properties.get("toggle-state").map(|value| &**value), Some(Value::I32(1)))),
    };
    Ok((line, children))
}
