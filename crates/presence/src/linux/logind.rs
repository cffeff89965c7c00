//! The login manager, `systemd-logind` or `elogind`, on the system's bus.

use zbus::proxy::CacheProperties;
use zbus::zvariant::OwnedObjectPath;
use zbus::{Connection, Proxy};

pub(super) const SERVICE: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const SESSION: &str = "org.freedesktop.login1.Session";
const USER: &str = "org.freedesktop.login1.User";

pub(super) async fn manager(connection: &Connection) -> zbus::Result<Proxy<'static>> {
    proxy(connection, PATH.try_into()?, MANAGER).await
}

/// The session that this program belongs to; for a service of the user, the user's session on the screen.
pub(super) async fn session(connection: &Connection) -> zbus::Result<Proxy<'static>> {
    let path = match session_by_process(connection).await {
        Ok(path) => path,
        Err(_) => session_of_user(connection).await?,
    };
    proxy(connection, path, SESSION).await
}

/// The session that this program was started in.
pub(super) async fn session_by_process(connection: &Connection) -> zbus::Result<OwnedObjectPath> {
    // Process 0 stands for whoever asks.
    manager(connection).await?.call("GetSessionByPID", &(0_u32,)).await
}

/// The session on the screen of the user whose service this program is; `/` where there is none.
pub(super) async fn session_of_user(connection: &Connection) -> zbus::Result<OwnedObjectPath> {
    let user: OwnedObjectPath = manager(connection).await?.call("GetUserByPID", &(0_u32,)).await?;
    let user = proxy(connection, user, USER).await?;
    let (_, path): (String, OwnedObjectPath) = user.get_property("Display").await?;
    Ok(path)
}

/// Without a cache: what is asked for is asked of logind.
async fn proxy(
    connection: &Connection,
    path: OwnedObjectPath,
    interface: &'static str,
) -> zbus::Result<Proxy<'static>> {
    zbus::proxy::Builder::new(connection)
        .destination(SERVICE)?
        .path(path)?
        .interface(interface)?
        .cache_properties(CacheProperties::No)
        .build()
        .await
}

/// Something about this object changed; what, is to be asked.
pub(super) async fn changes(object: &Proxy<'_>) -> zbus::Result<zbus::fdo::PropertiesChangedStream> {
    let properties = zbus::fdo::PropertiesProxy::builder(object.connection())
        .destination(object.destination().to_owned())?
        .path(object.path().to_owned())?
        .build()
        .await?;
    let interface = object.interface().as_str();
    properties.receive_properties_changed_with_args(&[(0, interface)]).await
}
