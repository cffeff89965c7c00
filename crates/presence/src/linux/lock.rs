//! The locked screen. logind keeps it for each session where the desktop sets it; the desktop's screen saver tells of it
//! itself.

use futures_util::StreamExt as _;
use nightjar_core::signal::{SignalKind, Standing};
use zbus::Connection;

use super::bus::{Bus, BusSensor, boxed, gone};
use super::logind;
use crate::signals::{Sink, tell};

const LOGIND_SOURCE: &str = "logind";
const FREEDESKTOP_SAVER: &str = "org.freedesktop.ScreenSaver";
const GNOME_SAVER: &str = "org.gnome.ScreenSaver";
const FREEDESKTOP_SOURCE: &str = "screensaver";
const GNOME_SOURCE: &str = "gnome-screensaver";

pub(super) const LOGIND: BusSensor = BusSensor {
    bus: Bus::System,
    service: Some(logind::SERVICE),
    signs: &[(SignalKind::ScreenLocked, LOGIND_SOURCE)],
    listen: |connection, _, sink| boxed(hint(connection, sink)),
};

pub(super) const FREEDESKTOP: BusSensor = BusSensor {
    bus: Bus::Session,
    service: Some(FREEDESKTOP_SAVER),
    signs: &[(SignalKind::ScreenLocked, FREEDESKTOP_SOURCE)],
    listen: |connection, _, sink| {
        let path = "/org/freedesktop/ScreenSaver";
        boxed(saver(connection, sink, FREEDESKTOP_SAVER, path, FREEDESKTOP_SOURCE))
    },
};

pub(super) const GNOME: BusSensor = BusSensor {
    bus: Bus::Session,
    service: Some(GNOME_SAVER),
    signs: &[(SignalKind::ScreenLocked, GNOME_SOURCE)],
    listen: |connection, _, sink| {
        boxed(saver(connection, sink, GNOME_SAVER, "/org/gnome/ScreenSaver", GNOME_SOURCE))
    },
};

async fn hint(connection: Connection, sink: Sink) -> zbus::Result<()> {
    let session = logind::session(&connection).await?;
    let mut changes = logind::changes(&session).await?;
    loop {
        say(&sink, LOGIND_SOURCE, session.get_property("LockedHint").await?);
        changes.next().await.ok_or_else(gone)?;
    }
}

async fn saver(
    connection: Connection,
    sink: Sink,
    service: &'static str,
    path: &'static str,
    source: &str,
) -> zbus::Result<()> {
    let saver = zbus::Proxy::new(&connection, service, path, service).await?;
    let mut changes = saver.receive_signal("ActiveChanged").await?;
    let mut active: bool = saver.call("GetActive", &()).await?;
    loop {
        say(&sink, source, active);
        active = changes.next().await.ok_or_else(gone)?.body().deserialize()?;
    }
}

fn say(sink: &Sink, source: &str, locked: bool) {
    let standing = if locked { Standing::Seen { name: "screen".into() } } else { Standing::Quiet };
    tell(sink, SignalKind::ScreenLocked, source, standing);
}
