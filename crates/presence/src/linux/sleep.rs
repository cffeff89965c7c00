//! The PC is about to sleep or to shut down. logind tells of it, and waits for those who asked it to: [`SleepGuard`].

use futures_util::StreamExt as _;
use nightjar_core::signal::{SignalKind, Standing};
use zbus::zvariant::OwnedFd;
use zbus::{Connection, Proxy};

use super::bus::{Bus, BusSensor, boxed, gone};
use super::logind;
use crate::signals::{HeldSleep, Sink, SleepGuard, tell};

const SOURCE: &str = "logind";
const WHY: &str = "Stops the renter's job before the PC sleeps or shuts down";

pub(super) const SENSOR: BusSensor = BusSensor {
    bus: Bus::System,
    service: Some(logind::SERVICE),
    signs: &[(SignalKind::Suspending, SOURCE)],
    listen: |connection, options, sink| boxed(listen(connection, options.sleep, sink)),
};

async fn listen(connection: Connection, guard: SleepGuard, sink: Sink) -> zbus::Result<()> {
    let guard = guard.held_by_new_sensor();
    let manager = logind::manager(&connection).await?;
    let sleeps = manager.receive_signal("PrepareForSleep").await?.map(|signal| (signal, None));
    let ends = manager.receive_signal("PrepareForShutdown").await?.map(|signal| (signal, Some("shutdown")));
    let mut signals = futures_util::stream::select(sleeps, ends);
    hold(&manager, &guard).await;
    tell(&sink, SignalKind::Suspending, SOURCE, Standing::Quiet);
    loop {
        let (signal, cause_of_end) = signals.next().await.ok_or_else(gone)?;
        let begins: bool = signal.body().deserialize()?;
        // Before it is told: whoever hears of it may be ready at once.
        guard.set_preparing(begins);
        let standing = if begins {
            let cause = match cause_of_end {
                Some(cause) => cause,
                None => cause(&manager).await,
            };
            Standing::Seen { name: cause.into() }
        } else {
            hold(&manager, &guard).await;
            Standing::Quiet
        };
        tell(&sink, SignalKind::Suspending, SOURCE, standing);
    }
}

/// Asks logind to wait. It may refuse, which costs no more than a job that is frozen asleep and ended at the next start.
async fn hold(manager: &Proxy<'_>, guard: &HeldSleep) {
    let asked: zbus::Result<OwnedFd> =
        manager.call("Inhibit", &("shutdown:sleep", super::OURSELVES, WHY, "delay")).await;
    match asked {
        Ok(delay) => guard.hold(Box::new(delay)),
        Err(error) => {
            tracing::warn!(%error, "the PC will not wait for a job to stop before it sleeps or shuts down")
        }
    }
}

async fn cause(manager: &Proxy<'_>) -> &'static str {
    // Not every PC has a lid.
    let closed = manager.get_property::<bool>("LidClosed").await.unwrap_or(false);
    if closed { "lid" } else { "sleep" }
}
