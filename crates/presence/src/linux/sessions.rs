//! Logins from elsewhere, as logind keeps them.

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use nightjar_core::signal::{SignalKind, Standing};
use zbus::Connection;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};

use super::bus::{Bus, BusSensor};
use super::scan::standing;
use super::service::{Service, closed, in_time};
use crate::remote::Login;
use crate::signals::{SignalOptions, Sink, tell};

const SOURCE: &str = "logind";
const LOGIND: Service = Service {
    name: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
    // A login that is closing says so of itself.
    with_children: true,
};
const SESSION: &str = "org.freedesktop.login1.Session";

pub(super) const SENSOR: BusSensor =
    BusSensor { bus: Bus::System, service: None, signs: &[(SignalKind::RemoteSession, SOURCE)], listen };

fn listen(
    connection: Connection,
    options: SignalOptions,
    sink: Sink,
) -> BoxFuture<'static, zbus::Result<()>> {
    Box::pin(async move {
        let mut changes = LOGIND.changes(&connection).await?;
        loop {
            let now = if LOGIND.runs(&connection).await? {
                standing(remote_use(&connection, options.ssh_counts).await?)
            } else {
                let detail = "logind does not run here: logins from elsewhere cannot be seen".to_owned();
                Standing::Unavailable { detail }
            };
            tell(&sink, SignalKind::RemoteSession, SOURCE, now);
            changes.next().await.ok_or_else(closed)??;
        }
    })
}

type Listed = (String, u32, String, String, OwnedObjectPath);

async fn remote_use(connection: &Connection, ssh_counts: bool) -> zbus::Result<Option<String>> {
    let listed = LOGIND.call(connection, "ListSessions", &()).await?;
    for (_, _, user, _, path) in listed.body().deserialize::<Vec<Listed>>()? {
        // A login may have ended since it was listed.
        let Ok(login) = login(connection, user, &path).await else { continue };
        if let Some(name) = login.remote_use(ssh_counts) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

async fn login(connection: &Connection, user: String, path: &OwnedObjectPath) -> zbus::Result<Login> {
    let (properties, body) = (Some("org.freedesktop.DBus.Properties"), (SESSION,));
    let reply = in_time(connection.call_method(Some(LOGIND.name), path, properties, "GetAll", &body)).await?;
    let mut all: std::collections::HashMap<String, OwnedValue> = reply.body().deserialize()?;
    let remote = all.remove("Remote").and_then(|remote| bool::try_from(remote).ok()).unwrap_or(false);
    let mut text =
        |name: &str| all.remove(name).and_then(|value| String::try_from(value).ok()).unwrap_or_default();
    Ok(Login {
        user,
        class: text("Class"),
        kind: text("Type"),
        service: text("Service"),
        remote,
        remote_host: text("RemoteHost"),
        state: text("State"),
    })
}
