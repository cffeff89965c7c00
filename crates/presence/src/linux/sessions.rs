//! Logins, as logind keeps them: whether one from elsewhere uses this PC, and whether its seat shows another than ours.

use std::collections::HashMap;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use nightjar_core::signal::{SignalKind, Standing};
use zbus::Connection;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};

use super::bus::{Bus, BusSensor};
use super::logind;
use super::scan::standing;
use super::seat::{InFront, Own, OwnSession};
use super::service::{Service, closed, in_time};
use crate::remote::Login;
use crate::signals::{SignalOptions, Sink, tell};

const SOURCE: &str = "logind";
/// Beside what a session itself says of its lock.
const LOGIN_SCREEN: &str = "login-screen";
const SIGNS: &[(SignalKind, &str)] = &[
    (SignalKind::RemoteSession, SOURCE),
    (SignalKind::OtherAccount, SOURCE),
    (SignalKind::ScreenLocked, LOGIN_SCREEN),
];
const LOGIND: Service = Service {
    name: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
    // A login that is closing says so of itself, and a seat which session it shows.
    with_children: true,
};
const SESSION: &str = "org.freedesktop.login1.Session";

pub(super) const SENSOR: BusSensor = BusSensor { bus: Bus::System, service: None, signs: SIGNS, listen };

fn listen(
    connection: Connection,
    options: SignalOptions,
    sink: Sink,
) -> BoxFuture<'static, zbus::Result<()>> {
    Box::pin(async move {
        let mut changes = LOGIND.changes(&connection).await?;
        loop {
            if LOGIND.runs(&connection).await? {
                look(&connection, &options, &sink).await?;
            } else {
                let detail = "logind does not run here: who else is logged in cannot be seen".to_owned();
                for (kind, source) in SIGNS {
                    tell(&sink, *kind, source, Standing::Unavailable { detail: detail.clone() });
                }
            }
            changes.next().await.ok_or_else(closed)??;
        }
    })
}

async fn look(connection: &Connection, options: &SignalOptions, sink: &Sink) -> zbus::Result<()> {
    let listed = LOGIND.call(connection, "ListSessions", &()).await?;
    let listed = listed.body().deserialize::<Vec<Listed>>()?;
    let mut logins = Vec::with_capacity(listed.len());
    for login in &listed {
        // It may have ended since it was listed.
        if let Ok(told) = told(connection, &login.4).await {
            logins.push(login_of(login, told));
        }
    }
    let from_afar = logins.iter().find_map(|login| login.remote_use(options.ssh_counts));
    let (another, login_screen) = match own(connection, options, &listed).await.in_front(&logins) {
        InFront::Heard => (None, None),
        InFront::LoginScreen => (None, Some("login screen".to_owned())),
        InFront::Another(name) => (Some(name), None),
    };
    // Before the locked screen, which another one's session takes the meaning from.
    tell(sink, SignalKind::OtherAccount, SOURCE, standing(another));
    tell(sink, SignalKind::ScreenLocked, LOGIN_SCREEN, standing(login_screen));
    tell(sink, SignalKind::RemoteSession, SOURCE, standing(from_afar));
    Ok(())
}

/// Its name, the user's number and name, its seat, and where it is.
type Listed = (String, u32, String, String, OwnedObjectPath);

/// Which of the logins is ours is asked each time: a user's service gets a session when its user logs in.
async fn own(connection: &Connection, options: &SignalOptions, listed: &[Listed]) -> Own {
    let (path, is_certain) = match in_time(logind::session_by_process(connection)).await {
        Ok(path) => (Some(path), true),
        Err(_) => (in_time(logind::session_of_user(connection)).await.ok(), false),
    };
    let own = listed.iter().find(|(.., at)| path.as_ref() == Some(at));
    Own {
        uid: rustix::process::getuid().as_raw(),
        session: own.map(|(id, ..)| OwnSession { id: id.clone(), is_certain }),
        display: options.display.clone(),
        wayland: options.wayland.is_some(),
    }
}

async fn told(connection: &Connection, path: &OwnedObjectPath) -> zbus::Result<HashMap<String, OwnedValue>> {
    let (properties, body) = (Some("org.freedesktop.DBus.Properties"), (SESSION,));
    let reply = in_time(connection.call_method(Some(LOGIND.name), path, properties, "GetAll", &body)).await?;
    reply.body().deserialize()
}

/// What is not told is taken for empty, so that an older login manager does for what it knows.
fn login_of(listed: &Listed, mut told: HashMap<String, OwnedValue>) -> Login {
    let (id, uid, user, seat, _) = listed.clone();
    let mut yes =
        |name: &str| told.remove(name).and_then(|value| bool::try_from(value).ok()).unwrap_or(false);
    let (remote, active) = (yes("Remote"), yes("Active"));
    let mut text =
        |name: &str| told.remove(name).and_then(|value| String::try_from(value).ok()).unwrap_or_default();
    Login {
        id,
        uid,
        user,
        class: text("Class"),
        kind: text("Type"),
        service: text("Service"),
        remote,
        remote_host: text("RemoteHost"),
        state: text("State"),
        seat,
        active,
        display: text("Display"),
    }
}

#[cfg(test)]
mod tests {
    use zbus::zvariant::Value;

    use super::*;

    #[test]
    fn a_login_is_what_was_told_of_it_and_empty_where_nothing_was() {
        let path = OwnedObjectPath::try_from("/org/freedesktop/login1/session/_32").unwrap();
        let listed = ("2".into(), 1001, "ben".into(), "seat0".into(), path);
        let bare =
            Login { id: "2".into(), uid: 1001, user: "ben".into(), seat: "seat0".into(), ..Login::default() };
        assert_eq!(login_of(&listed, HashMap::new()), bare);
        let told = |name: &str, value: Value<'_>| (name.to_owned(), OwnedValue::try_from(value).unwrap());
        let all = HashMap::from([
            told("Active", true.into()),
            told("Remote", false.into()),
            told("Class", "user".into()),
            told("Type", "x11".into()),
            told("Display", ":1".into()),
            told("State", "active".into()),
            // Of another type than it ought to be.
            told("Service", 7_u32.into()),
        ]);
        let wanted = Login {
            class: "user".into(),
            kind: "x11".into(),
            display: ":1".into(),
            state: "active".into(),
            active: true,
            ..bare
        };
        assert_eq!(login_of(&listed, all), wanted);
    }
}
