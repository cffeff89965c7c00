//! Where a desktop offers nothing finer: logind's `IdleHint`. The desktop sets it after a pause of its own choice, often
//! only when it blanks the screen, and some never do. It errs on the side of the user: where it is not set, somebody is
//! taken to be there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use zbus::Connection;

use super::on_bus::OnBus;
use super::{Broken, Session, Shared};
use crate::linux::bus::gone;
use crate::linux::logind;
use crate::{OnEvent, Options, PresenceEvent};

struct IdleHint {
    bus: OnBus,
    settled_after: Duration,
}

pub(super) fn open(options: &Options) -> Result<Box<dyn Session>, String> {
    let bus = OnBus::connect(options.system_bus.as_deref(), zbus::connection::Builder::system)?;
    bus.ask(async { logind::session(&bus.connection).await?.get_property::<bool>("IdleHint").await })?;
    Ok(Box::new(IdleHint { bus, settled_after: options.settled_after }))
}

impl Session for IdleHint {
    fn source(&self) -> String {
        "logind IdleHint (coarse: the desktop sets it late, and some never do)".into()
    }

    fn serve(&mut self, shared: &Shared, on_event: &mut OnEvent) -> Result<(), Broken> {
        let Self { bus, settled_after } = self;
        bus.serve(shared, async {
            let Err(error) = listen(&bus.connection, *settled_after, shared, on_event).await;
            error
        })
    }
}

async fn listen(
    connection: &Connection,
    settled_after: Duration,
    shared: &Shared,
    on_event: &mut OnEvent,
) -> zbus::Result<std::convert::Infallible> {
    let session = logind::session(connection).await?;
    let mut changes = logind::changes(&session).await?;
    let mut was_idle = None;
    loop {
        let idle: bool = session.get_property("IdleHint").await?;
        if was_idle != Some(idle) {
            was_idle = Some(idle);
            on_event(if idle {
                let since: u64 = session.get_property("IdleSinceHint").await?;
                // The hint comes after a pause, so one that is said to have just begun is longer than ours.
                let last_input_ago = since_epoch_micros(since).max(settled_after);
                PresenceEvent::Idle { last_input_ago }
            } else {
                PresenceEvent::Active
            });
        }
        changes.next().await.ok_or_else(gone)?;
        shared.woken();
    }
}

/// How long ago a moment was that is given in microseconds since 1970.
fn since_epoch_micros(micros: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_micros(micros))
}
