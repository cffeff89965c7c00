//! Games that announce themselves to Feral GameMode. It is never started by this: where it does not run, no game uses it.

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use nightjar_core::signal::{SignalKind, Standing};
use zbus::Connection;
use zbus::zvariant::OwnedObjectPath;

use super::bus::{Bus, BusSensor};
use super::containerised::containerised;
use super::proc::name_of;
use super::service::{Service, closed};
use crate::signals::{SignalOptions, Sink, tell};

const SOURCE: &str = "gamemode";
const GAMEMODE: Service = Service {
    name: "com.feralinteractive.GameMode",
    path: "/com/feralinteractive/GameMode",
    interface: "com.feralinteractive.GameMode",
    with_children: true,
};

pub(super) const SENSOR: BusSensor =
    BusSensor { bus: Bus::Session, service: None, signs: &[(SignalKind::Game, SOURCE)], listen };

fn listen(
    connection: Connection,
    _options: SignalOptions,
    sink: Sink,
) -> BoxFuture<'static, zbus::Result<()>> {
    Box::pin(async move {
        let mut changes = GAMEMODE.changes(&connection).await?;
        loop {
            tell(&sink, SignalKind::Game, SOURCE, standing(&connection).await?);
            changes.next().await.ok_or_else(closed)??;
        }
    })
}

async fn standing(connection: &Connection) -> zbus::Result<Standing> {
    if !GAMEMODE.runs(connection).await? {
        if GAMEMODE.starts_when_called(connection).await? {
            return Ok(Standing::Quiet);
        }
        let detail = "GameMode is not installed: games that would announce themselves cannot".to_owned();
        return Ok(Standing::Unavailable { detail });
    }
    Ok(match game(connection).await? {
        Some(name) => Standing::Seen { name },
        None => Standing::Quiet,
    })
}

/// The name of the game that announced itself first. One in a container is the tenant's.
async fn game(connection: &Connection) -> zbus::Result<Option<String>> {
    let listed = match GAMEMODE.call(connection, "ListGames", &()).await {
        Ok(listed) => listed.body().deserialize::<Vec<(i32, OwnedObjectPath)>>()?,
        Err(error) => {
            // Versions before 1.3 only count.
            let count = GAMEMODE.property(connection, "ClientCount").await.map_err(|_| error)?;
            let count = i32::try_from(count).unwrap_or(0);
            return Ok((count > 0).then(|| "GameMode".to_owned()));
        }
    };
    let pids = listed.into_iter().filter_map(|(pid, _)| u32::try_from(pid).ok());
    let game = pids.into_iter().find(|pid| !containerised(*pid));
    Ok(game.map(|pid| name_of(pid).unwrap_or_else(|| "GameMode".to_owned())))
}
