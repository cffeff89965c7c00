//! Mains or battery, as UPower tells it: the moment the plug is pulled.

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use nightjar_core::signal::{SignalKind, Standing};
use zbus::Connection;

use super::bus::{Bus, BusSensor};
use super::service::{Service, closed};
use crate::signals::{SignalOptions, Sink, tell};

const SOURCE: &str = "upower";
const UPOWER: Service = Service {
    name: "org.freedesktop.UPower",
    path: "/org/freedesktop/UPower",
    interface: "org.freedesktop.UPower",
    with_children: false,
};

pub(super) const SENSOR: BusSensor =
    BusSensor { bus: Bus::System, service: None, signs: &[(SignalKind::OnBattery, SOURCE)], listen };

fn listen(
    connection: Connection,
    _options: SignalOptions,
    sink: Sink,
) -> BoxFuture<'static, zbus::Result<()>> {
    Box::pin(async move {
        let mut changes = UPOWER.changes(&connection).await?;
        loop {
            tell(&sink, SignalKind::OnBattery, SOURCE, standing(&connection).await?);
            changes.next().await.ok_or_else(closed)??;
        }
    })
}

async fn standing(connection: &Connection) -> zbus::Result<Standing> {
    if !UPOWER.runs(connection).await? && !UPOWER.starts_when_called(connection).await? {
        let detail = "UPower is not installed: the battery is only looked at every few seconds".to_owned();
        return Ok(Standing::Unavailable { detail });
    }
    let on_battery = bool::try_from(UPOWER.property(connection, "OnBattery").await?).unwrap_or(false);
    Ok(if on_battery { Standing::Seen { name: "UPower".to_owned() } } else { Standing::Quiet })
}
