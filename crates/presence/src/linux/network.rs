//! A connection that costs by what is sent over it, as NetworkManager tells it.

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use nightjar_core::signal::{SignalKind, Standing};
use zbus::Connection;
use zbus::zvariant::OwnedObjectPath;

use super::bus::{Bus, BusSensor};
use super::service::{Service, closed, property_of};
use crate::signals::{SignalOptions, Sink, tell};

const SOURCE: &str = "networkmanager";
const MANAGER: Service = Service {
    name: "org.freedesktop.NetworkManager",
    path: "/org/freedesktop/NetworkManager",
    interface: "org.freedesktop.NetworkManager",
    with_children: false,
};
const CONNECTION: &str = "org.freedesktop.NetworkManager.Connection.Active";

/// `NM_METERED_YES`: somebody said so.
const YES: u32 = 1;
/// `NM_METERED_GUESS_YES`: a telephone's hotspot, for one.
const GUESS_YES: u32 = 3;

pub(super) const SENSOR: BusSensor =
    BusSensor { bus: Bus::System, service: None, signs: &[(SignalKind::MeteredNetwork, SOURCE)], listen };

fn listen(
    connection: Connection,
    _options: SignalOptions,
    sink: Sink,
) -> BoxFuture<'static, zbus::Result<()>> {
    Box::pin(async move {
        let mut changes = MANAGER.changes(&connection).await?;
        loop {
            tell(&sink, SignalKind::MeteredNetwork, SOURCE, standing(&connection).await?);
            changes.next().await.ok_or_else(closed)??;
        }
    })
}

async fn standing(connection: &Connection) -> zbus::Result<Standing> {
    if !MANAGER.runs(connection).await? {
        let detail =
            "NetworkManager does not run here: whether the network is metered is not known".to_owned();
        return Ok(Standing::Unavailable { detail });
    }
    let metered = u32::try_from(MANAGER.property(connection, "Metered").await?).unwrap_or(0);
    if !matches!(metered, YES | GUESS_YES) {
        return Ok(Standing::Quiet);
    }
    // Without a name it is metered all the same.
    let name = name(connection).await.unwrap_or_else(|_| "NetworkManager".to_owned());
    Ok(Standing::Seen { name })
}

/// What the owner calls the connection, e.g. the Wi-Fi's name.
async fn name(connection: &Connection) -> zbus::Result<String> {
    let primary = MANAGER.property(connection, "PrimaryConnection").await?;
    let primary = OwnedObjectPath::try_from(primary)?;
    let id = property_of(connection, MANAGER.name, primary.as_str(), CONNECTION, "Id").await?;
    Ok(String::try_from(id)?)
}
