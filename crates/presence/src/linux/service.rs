//! What sensors on D-Bus have in common: a service is asked, and asked again whenever it says that something changed.

use std::time::Duration;

use futures_util::stream::{Stream, select};
use zbus::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::zvariant::{DynamicType, OwnedValue};
use zbus::{Connection, MatchRule, Message, MessageStream, message};

/// A service that hangs must not hold its sensor for good.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// One object of one service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
    /// Signals of the objects below count too.
    pub(super) with_children: bool,
}

impl Service {
    /// An item for each signal of the service, and when it comes or goes.
    pub(super) async fn changes(
        &self,
        connection: &Connection,
    ) -> zbus::Result<impl Stream<Item = zbus::Result<Message>> + Unpin> {
        let own = MatchRule::builder().msg_type(message::Type::Signal).sender(self.name)?;
        let own = if self.with_children { own.path_namespace(self.path)? } else { own.path(self.path)? };
        let bus = MatchRule::builder()
            .msg_type(message::Type::Signal)
            .sender("org.freedesktop.DBus")?
            .member("NameOwnerChanged")?
            .arg(0, self.name)?;
        let own = MessageStream::for_match_rule(own.build(), connection, None).await?;
        let bus = MessageStream::for_match_rule(bus.build(), connection, None).await?;
        Ok(select(own, bus))
    }

    /// Whether it runs, without starting it.
    pub(super) async fn runs(&self, connection: &Connection) -> zbus::Result<bool> {
        let bus = DBusProxy::new(connection).await?;
        in_time(async { Ok(bus.name_has_owner(BusName::try_from(self.name)?).await?) }).await
    }

    /// Whether a call would start it.
    pub(super) async fn starts_when_called(&self, connection: &Connection) -> zbus::Result<bool> {
        let bus = DBusProxy::new(connection).await?;
        let names = in_time(async { Ok(bus.list_activatable_names().await?) }).await?;
        Ok(names.iter().any(|name| name.as_str() == self.name))
    }

    pub(super) async fn call<B>(
        &self,
        connection: &Connection,
        method: &str,
        body: &B,
    ) -> zbus::Result<Message>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        let (name, path, interface) = (Some(self.name), self.path, Some(self.interface));
        in_time(connection.call_method(name, path, interface, method, body)).await
    }

    pub(super) async fn property(&self, connection: &Connection, name: &str) -> zbus::Result<OwnedValue> {
        property_of(connection, self.name, self.path, self.interface, name).await
    }
}

/// A property of any object.
pub(super) async fn property_of(
    connection: &Connection,
    service: &str,
    path: &str,
    interface: &str,
    name: &str,
) -> zbus::Result<OwnedValue> {
    let (properties, body) = (Some("org.freedesktop.DBus.Properties"), (interface, name));
    let reply = in_time(connection.call_method(Some(service), path, properties, "Get", &body)).await?;
    reply.body().deserialize()
}

pub(super) async fn in_time<T>(call: impl Future<Output = zbus::Result<T>>) -> zbus::Result<T> {
    let late = |_| zbus::Error::Failure("the service does not answer".to_owned());
    tokio::time::timeout(ANSWERS_WITHIN, call).await.map_err(late)?
}

/// The stream of changes has ended.
pub(super) fn closed() -> zbus::Error {
    zbus::Error::Failure("the bus closed the connection".to_owned())
}
