//! The sensors that listen on D-Bus. All share one thread, which sleeps until a bus has something to say.
//!
//! A sensor is a future that listens on a connection for as long as that holds. What happens when the bus cannot be
//! reached, or the connection breaks, is the same for all and done here: the sensor's signs become unavailable with
//! the reason, and it is tried again after a while.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use nightjar_core::signal::{SignalKind, Standing};
use tokio::sync::oneshot;
use zbus::Connection;
use zbus::connection::Builder;

use super::{gamemode, network, sessions, upower};
use crate::signals::{Guard, SignalOptions, Sink, tell};

const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A service that is not there comes with a login or an installation: there is no hurry.
const LAST_RETRY: Duration = Duration::from_secs(120);

/// Whose bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bus {
    Session,
    System,
}

/// One sensor on a bus.
pub(super) struct BusSensor {
    pub(super) bus: Bus,
    /// What it tells of, and as what: these become unavailable when it fails.
    pub(super) signs: &'static [(SignalKind, &'static str)],
    /// Tells the present standing, then each change. Returns when it can listen no longer; `Ok` where it never will
    /// be able to, after it has said so itself.
    pub(super) listen: fn(Connection, SignalOptions, Sink) -> BoxFuture<'static, zbus::Result<()>>,
}

/// The sensors that are on D-Bus.
const BUS_SENSORS: &[BusSensor] = &[gamemode::SENSOR, network::SENSOR, sessions::SENSOR, upower::SENSOR];

pub(super) fn start(options: &SignalOptions, sink: Sink) -> Option<Guard> {
    let (alive, ended) = oneshot::channel::<()>();
    let options = options.clone();
    let failed = Arc::clone(&sink);
    let thread = std::thread::Builder::new().name("presence-bus".into()).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
            Ok(runtime) => runtime.block_on(async {
                tokio::select! {
                    // The sender is dropped with the guard.
                    _ = ended => {}
                    _ = join_all(BUS_SENSORS.iter().map(|sensor| keep(sensor, &options, &sink))) => {}
                }
            }),
            Err(error) => all_unavailable(&sink, &error.to_string()),
        }
    });
    match thread {
        Ok(_) => Some(Box::new(alive)),
        Err(error) => {
            all_unavailable(&failed, &error.to_string());
            None
        }
    }
}

fn all_unavailable(sink: &Sink, detail: &str) {
    for sensor in BUS_SENSORS {
        unavailable(sensor, sink, detail);
    }
}

fn unavailable(sensor: &BusSensor, sink: &Sink, detail: &str) {
    for (kind, source) in sensor.signs {
        tell(sink, *kind, source, Standing::Unavailable { detail: detail.to_owned() });
    }
}

/// Connects and listens, again and again.
async fn keep(sensor: &BusSensor, options: &SignalOptions, sink: &Sink) {
    let mut pause = FIRST_RETRY;
    loop {
        let error = match connect(sensor.bus, options).await {
            Ok(connection) => {
                let began = tokio::time::Instant::now();
                match (sensor.listen)(connection, options.clone(), Arc::clone(sink)).await {
                    Ok(()) => return,
                    Err(error) => {
                        if began.elapsed() > LAST_RETRY {
                            pause = FIRST_RETRY;
                        }
                        error
                    }
                }
            }
            Err(error) => error,
        };
        tracing::debug!(%error, bus = ?sensor.bus, signs = ?sensor.signs, "a sensor on D-Bus cannot listen");
        unavailable(sensor, sink, &error.to_string());
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}

async fn connect(bus: Bus, options: &SignalOptions) -> zbus::Result<Connection> {
    let builder = match (bus, &options.session_bus, &options.system_bus) {
        (Bus::Session, Some(address), _) | (Bus::System, _, Some(address)) => {
            Builder::address(address.as_str())?
        }
        (Bus::Session, None, _) => Builder::session()?,
        (Bus::System, _, None) => Builder::system()?,
    };
    builder.build().await
}
