//! The sensors that listen on D-Bus. All share one thread, which sleeps until a bus has something to say, and one
//! connection to each bus.
//!
//! A sensor is a future that listens on a connection for as long as that holds. What happens when the bus cannot be
//! reached, the service is not there, or the connection breaks, is the same for all and done here: the sensor's signs
//! become unavailable with the reason, until there is something to listen to again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, join_all};
use nightjar_core::signal::{SignalKind, Standing};
use tokio::sync::{Mutex, oneshot};
use zbus::Connection;
use zbus::connection::Builder;

use super::{gamemode, inhibitors, lock, network, sessions, sleep, upower};
use crate::signals::{Guard, SignalOptions, Sink, tell};

const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A bus that is not there comes with a login or an installation: there is no hurry.
const LAST_RETRY: Duration = Duration::from_secs(300);

const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Whose bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bus {
    Session,
    System,
}

/// One sensor on a bus.
pub(super) struct BusSensor {
    pub(super) bus: Bus,
    /// Who tells. While nobody of this name is on the bus, the sensor does not run. `None`: the sensor sees to it.
    pub(super) service: Option<&'static str>,
    /// What it tells of, and as what: these become unavailable when it fails.
    pub(super) signs: &'static [(SignalKind, &'static str)],
    /// Tells the present standing, then each change, until it can listen no longer: see [`gone`].
    pub(super) listen: fn(Connection, SignalOptions, Sink) -> BoxFuture<'static, zbus::Result<()>>,
}

/// The sensors that are on D-Bus.
const BUS_SENSORS: &[BusSensor] = &[
    gamemode::SENSOR,
    network::SENSOR,
    sessions::SENSOR,
    upower::SENSOR,
    sleep::SENSOR,
    lock::LOGIND,
    lock::FREEDESKTOP,
    lock::GNOME,
    inhibitors::LOGIND,
    inhibitors::POWER_MANAGEMENT,
    inhibitors::SESSION_MANAGER,
];

/// The error of a sensor whose stream of events has ended.
pub(super) fn gone() -> zbus::Error {
    zbus::Error::Failure("the message bus, or the service on it, is gone".into())
}

pub(super) fn start(options: &SignalOptions, sink: Sink) -> Option<Guard> {
    let (alive, ended) = oneshot::channel::<()>();
    let options = options.clone();
    let failed = Arc::clone(&sink);
    let thread = std::thread::Builder::new().name("presence-bus".into()).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
            Ok(runtime) => runtime.block_on(async {
                let buses = Buses::default();
                let sensors = BUS_SENSORS.iter().map(|sensor| keep(sensor, &buses, &options, &sink));
                tokio::select! {
                    // The sender is dropped with the guard.
                    _ = ended => {}
                    _ = join_all(sensors) => {}
                }
            }),
            Err(error) => all_unavailable(&sink, &error),
        }
    });
    match thread {
        Ok(_) => Some(Box::new(alive)),
        Err(error) => {
            all_unavailable(&failed, &error);
            None
        }
    }
}

fn all_unavailable(sink: &Sink, error: &std::io::Error) {
    for sensor in BUS_SENSORS {
        unavailable(sensor, sink, &format!("the message buses cannot be listened to ({error})"));
    }
}

fn unavailable(sensor: &BusSensor, sink: &Sink, detail: &str) {
    for (kind, source) in sensor.signs {
        tell(sink, *kind, source, Standing::Unavailable { detail: detail.to_owned() });
    }
}

/// The connections that the sensors share.
#[derive(Default)]
struct Buses {
    session: Mutex<Option<Connection>>,
    system: Mutex<Option<Connection>>,
}

impl Buses {
    fn slot(&self, bus: Bus) -> &Mutex<Option<Connection>> {
        match bus {
            Bus::Session => &self.session,
            Bus::System => &self.system,
        }
    }

    async fn connection(&self, bus: Bus, options: &SignalOptions) -> zbus::Result<Connection> {
        let mut slot = self.slot(bus).lock().await;
        if let Some(connection) = slot.as_ref() {
            return Ok(connection.clone());
        }
        let address = match bus {
            Bus::Session => &options.session_bus,
            Bus::System => &options.system_bus,
        };
        let builder = match (address, bus) {
            (Some(address), _) => Builder::address(address.as_str())?,
            (None, Bus::Session) => Builder::session()?,
            (None, Bus::System) => Builder::system()?,
        };
        // A service that hangs must not hold its sensor for good.
        Ok(slot.insert(builder.method_timeout(ANSWERS_WITHIN).build().await?).clone())
    }

    /// So that the next one who asks connects anew. One that still holds is not disturbed: it is only not shared on.
    async fn forget(&self, bus: Bus) {
        *self.slot(bus).lock().await = None;
    }
}

/// Listens, again and again.
async fn keep(sensor: &BusSensor, buses: &Buses, options: &SignalOptions, sink: &Sink) {
    let mut pause = FIRST_RETRY;
    loop {
        let began = tokio::time::Instant::now();
        let failed = match buses.connection(sensor.bus, options).await {
            Ok(connection) => match while_owned(sensor, connection, options, sink).await {
                Ok(()) => return,
                Err(error) => error,
            },
            Err(error) => error,
        };
        buses.forget(sensor.bus).await;
        let bus = match sensor.bus {
            Bus::Session => "the session's",
            Bus::System => "the system's",
        };
        unavailable(sensor, sink, &format!("{bus} message bus cannot be listened to ({failed})"));
        if began.elapsed() > LAST_RETRY {
            pause = FIRST_RETRY;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}

/// Lets the sensor listen whenever its service is on the bus. Fails when the bus is gone.
async fn while_owned(
    sensor: &BusSensor,
    connection: Connection,
    options: &SignalOptions,
    sink: &Sink,
) -> zbus::Result<()> {
    let listen = || (sensor.listen)(connection.clone(), options.clone(), Arc::clone(sink));
    let Some(service) = sensor.service else { return listen().await };
    let bus = zbus::fdo::DBusProxy::new(&connection).await?;
    let mut owners = bus.receive_name_owner_changed_with_args(&[(0, service)]).await?;
    let mut owned = bus.name_has_owner(service.try_into()?).await?;
    loop {
        let mut listening = if owned {
            listen()
        } else {
            unavailable(sensor, sink, &format!("nothing on this PC offers {service}"));
            Box::pin(std::future::pending())
        };
        owned = loop {
            tokio::select! {
                // First: a service that left is no failure.
                biased;
                change = owners.next() => {
                    break change.ok_or_else(gone)?.args()?.new_owner().is_some();
                }
                ended = &mut listening => {
                    // It does not answer as it should, and will not before it is another one.
                    let error = ended.err().unwrap_or_else(gone);
                    tracing::debug!(%error, service, "a service on D-Bus cannot be listened to");
                    unavailable(sensor, sink, &format!("{service} cannot be listened to ({error})"));
                    listening = Box::pin(std::future::pending());
                }
            }
        };
    }
}

/// Boxes a sensor's future, so that it can stand in a table.
pub(super) fn boxed(
    future: impl Future<Output = zbus::Result<()>> + Send + 'static,
) -> BoxFuture<'static, zbus::Result<()>> {
    Box::pin(future)
}
