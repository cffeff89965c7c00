//! Films, calls and presentations: a program that keeps the screen awake says so to the login manager, the power manager
//! or the session manager, and each can be asked who it is. Which one a program speaks to depends on the desktop, so all
//! are listened to.

use futures_util::StreamExt as _;
use nightjar_core::signal::{SignalKind, Standing};
use zbus::zvariant::OwnedObjectPath;
use zbus::{Connection, Proxy};

use super::bus::{Bus, BusSensor, boxed, gone};
use super::{OURSELVES, logind};
use crate::signals::{Sink, tell};

const LOGIND_SOURCE: &str = "logind";
const POWER_SOURCE: &str = "power-management";
const SESSION_SOURCE: &str = "session-manager";
const POWER_MANAGER: &str = "org.freedesktop.PowerManagement.Inhibit";
const GNOME_MANAGER: &str = "org.gnome.SessionManager";
const POWER_PATH: &str = "/org/freedesktop/PowerManagement/Inhibit";
const SESSION_PATH: &str = "/org/gnome/SessionManager";
/// Of the session manager's flags: the session is not to be called idle.
const IDLE: u32 = 8;

pub(super) const LOGIND: BusSensor = BusSensor {
    bus: Bus::System,
    service: Some(logind::SERVICE),
    signs: &[(SignalKind::IdleInhibitor, LOGIND_SOURCE)],
    listen: |connection, _, sink| boxed(login_manager(connection, sink)),
};

pub(super) const POWER_MANAGEMENT: BusSensor = BusSensor {
    bus: Bus::Session,
    service: Some(POWER_MANAGER),
    signs: &[(SignalKind::IdleInhibitor, POWER_SOURCE)],
    listen: |connection, _, sink| boxed(power_manager(connection, sink)),
};

pub(super) const SESSION_MANAGER: BusSensor = BusSensor {
    bus: Bus::Session,
    service: Some(GNOME_MANAGER),
    signs: &[(SignalKind::IdleInhibitor, SESSION_SOURCE)],
    listen: |connection, _, sink| boxed(session_manager(connection, sink)),
};

fn say(sink: &Sink, source: &str, holder: Option<String>) {
    let standing = holder.map_or(Standing::Quiet, |name| Standing::Seen { name });
    tell(sink, SignalKind::IdleInhibitor, source, standing);
}

/// Who, and why where that is said.
fn named(who: &str, why: &str) -> String {
    if why.is_empty() { who.to_owned() } else { format!("{who} ({why})") }
}

fn is_ourselves(who: &str) -> bool {
    who.eq_ignore_ascii_case(OURSELVES)
}

/// What, who, why, mode, user, process.
type Inhibitor = (String, String, String, String, u32, u32);

async fn login_manager(connection: Connection, sink: Sink) -> zbus::Result<()> {
    let manager = logind::manager(&connection).await?;
    let mut changes = logind::changes(&manager).await?;
    loop {
        let inhibitors: Vec<Inhibitor> = manager.call("ListInhibitors", &()).await?;
        say(&sink, LOGIND_SOURCE, idle_blocker(&inhibitors, std::process::id()));
        changes.next().await.ok_or_else(gone)?;
    }
}

fn idle_blocker(inhibitors: &[Inhibitor], own: u32) -> Option<String> {
    let blocker = inhibitors.iter().find(|(what, who, _, mode, _, process)| {
        let blocks_idle = what.split(':').any(|what| what == "idle") && mode.starts_with("block");
        blocks_idle && *process != own && !is_ourselves(who)
    });
    blocker.map(|(_, who, why, ..)| named(who, why))
}

async fn power_manager(connection: Connection, sink: Sink) -> zbus::Result<()> {
    let power = Proxy::new(&connection, POWER_MANAGER, POWER_PATH, POWER_MANAGER).await?;
    let mut changes = power.receive_signal("HasInhibitChanged").await?;
    let mut inhibited: bool = power.call("HasInhibit", &()).await?;
    loop {
        let holder = if inhibited { power_holder(&connection).await } else { None };
        say(&sink, POWER_SOURCE, holder);
        inhibited = changes.next().await.ok_or_else(gone)?.body().deserialize()?;
    }
}

/// The interface tells only that somebody does; KDE's can be asked who.
async fn power_holder(connection: &Connection) -> Option<String> {
    let ask = async {
        let (service, path) =
            ("org.kde.Solid.PowerManagement.PolicyAgent", "/org/kde/Solid/PowerManagement/PolicyAgent");
        let agent = Proxy::new(connection, service, path, service).await?;
        agent.call::<_, _, Vec<(String, String)>>("ListInhibitions", &()).await
    };
    match ask.await {
        Ok(holders) if !holders.is_empty() => {
            let other = holders.iter().find(|(who, _)| !is_ourselves(who));
            other.map(|(who, why)| named(who, why))
        }
        _ => Some("a program that keeps the screen awake".into()),
    }
}

async fn session_manager(connection: Connection, sink: Sink) -> zbus::Result<()> {
    let session = Proxy::new(&connection, GNOME_MANAGER, SESSION_PATH, GNOME_MANAGER).await?;
    let mut added = session.receive_signal("InhibitorAdded").await?;
    let mut removed = session.receive_signal("InhibitorRemoved").await?;
    loop {
        let inhibited: bool = session.call("IsInhibited", &(IDLE,)).await?;
        let holder = if inhibited { session_holder(&session).await? } else { None };
        say(&sink, SESSION_SOURCE, holder);
        tokio::select! {
            change = added.next() => change.ok_or_else(gone)?,
            change = removed.next() => change.ok_or_else(gone)?,
        };
    }
}

async fn session_holder(session: &Proxy<'_>) -> zbus::Result<Option<String>> {
    let inhibitors: Vec<OwnedObjectPath> = session.call("GetInhibitors", &()).await?;
    for path in inhibitors {
        // One that has gone since does not answer.
        if let Ok((flags, who, why)) = inhibitor(session, path).await
            && flags & IDLE != 0
            && !is_ourselves(&who)
        {
            return Ok(Some(named(&who, &why)));
        }
    }
    Ok(None)
}

async fn inhibitor(session: &Proxy<'_>, path: OwnedObjectPath) -> zbus::Result<(u32, String, String)> {
    let interface = "org.gnome.SessionManager.Inhibitor";
    let inhibitor = Proxy::new(session.connection(), GNOME_MANAGER, path, interface).await?;
    let flags = inhibitor.call("GetFlags", &()).await?;
    Ok((flags, inhibitor.call("GetAppId", &()).await?, inhibitor.call("GetReason", &()).await?))
}

#[cfg(test)]
mod tests {
    use super::{Inhibitor, idle_blocker};

    fn inhibitor(what: &str, who: &str, mode: &str, process: u32) -> Inhibitor {
        (what.into(), who.into(), "film".into(), mode.into(), 1000, process)
    }

    #[test]
    fn only_a_foreign_block_of_idle_counts() {
        for other in [
            inhibitor("sleep", "upower", "delay", 7),
            inhibitor("idle", "polite", "delay", 7),
            inhibitor("handle-lid-switch:sleep", "dock", "block", 7),
            inhibitor("idle:sleep", "Nightjar", "block", 7),
            inhibitor("idle", "mpv", "block", 42),
        ] {
            assert_eq!(idle_blocker(std::slice::from_ref(&other), 42), None, "{other:?}");
        }
        let film = [inhibitor("sleep", "upower", "delay", 7), inhibitor("sleep:idle", "mpv", "block", 8)];
        assert_eq!(idle_blocker(&film, 42).as_deref(), Some("mpv (film)"));
    }
}
