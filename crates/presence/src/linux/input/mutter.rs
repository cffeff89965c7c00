//! GNOME: the compositor's idle monitor on the session's bus. One watch for the pause stays set; one for the first
//! input after it is set anew at each pause, and fires once.

use std::time::Duration;

use futures_util::StreamExt as _;
use zbus::{Connection, Proxy};

use super::on_bus::OnBus;
use super::{Broken, Session, Shared};
use crate::linux::bus::gone;
use crate::{OnEvent, Options, PresenceEvent};

const SERVICE: &str = "org.gnome.Mutter.IdleMonitor";
const PATH: &str = "/org/gnome/Mutter/IdleMonitor/Core";

struct Mutter {
    bus: OnBus,
    settled_after: Duration,
}

pub(super) fn open(options: &Options) -> Result<Box<dyn Session>, String> {
    let bus = OnBus::connect(options.session_bus.as_deref(), zbus::connection::Builder::session)?;
    bus.ask(async { idle_time(&monitor(&bus.connection).await?).await })?;
    Ok(Box::new(Mutter { bus, settled_after: options.settled_after }))
}

impl Session for Mutter {
    fn source(&self) -> String {
        "GNOME idle monitor".into()
    }

    fn serve(&mut self, shared: &Shared, on_event: &mut OnEvent) -> Result<(), Broken> {
        let Self { bus, settled_after } = self;
        bus.serve(shared, async {
            let Err(error) = listen(&bus.connection, *settled_after, shared, on_event).await;
            error
        })
    }
}

async fn monitor(connection: &Connection) -> zbus::Result<Proxy<'_>> {
    Proxy::new(connection, SERVICE, PATH, SERVICE).await
}

async fn idle_time(monitor: &Proxy<'_>) -> zbus::Result<Duration> {
    Ok(Duration::from_millis(monitor.call("GetIdletime", &()).await?))
}

async fn listen(
    connection: &Connection,
    settled_after: Duration,
    shared: &Shared,
    on_event: &mut OnEvent,
) -> zbus::Result<std::convert::Infallible> {
    let monitor = &monitor(connection).await?;
    let mut fired = monitor.receive_signal("WatchFired").await?;
    let mut owners = monitor.receive_owner_changed().await?;
    let pause = u64::try_from(settled_after.as_millis()).unwrap_or(u64::MAX);
    let settled: u32 = monitor.call("AddIdleWatch", &(pause,)).await?;
    let ago = idle_time(monitor).await?;
    let mut stirred = None;
    if ago >= settled_after {
        stirred = settle(monitor, settled_after, ago, on_event).await?;
    } else {
        on_event(PresenceEvent::Active);
    }
    loop {
        let watch: u32 = tokio::select! {
            signal = fired.next() => signal.ok_or_else(gone)?.body().deserialize()?,
            Some(None) = owners.next() => return Err(gone()),
        };
        shared.woken();
        if Some(watch) == stirred {
            stirred = None;
            on_event(PresenceEvent::Active);
        } else if watch == settled && stirred.is_none() {
            let ago = idle_time(monitor).await?;
            if ago >= settled_after {
                stirred = settle(monitor, settled_after, ago, on_event).await?;
            }
        }
    }
}

/// Tells of the pause. Returns the watch for its end, or `None` where it has ended already, which is told too.
async fn settle(
    monitor: &Proxy<'_>,
    settled_after: Duration,
    ago: Duration,
    on_event: &mut OnEvent,
) -> zbus::Result<Option<u32>> {
    on_event(PresenceEvent::Idle { last_input_ago: ago });
    let stirred: u32 = monitor.call("AddUserActiveWatch", &()).await?;
    // Input that came before the watch was set does not fire it.
    if idle_time(monitor).await? >= settled_after {
        return Ok(Some(stirred));
    }
    on_event(PresenceEvent::Active);
    let _: () = monitor.call("RemoveWatch", &(stirred,)).await?;
    Ok(None)
}
