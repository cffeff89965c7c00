//! Which way a connection goes, for display.

use iroh::endpoint::Connection;

/// Which way the bytes go at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// From machine to machine.
    Direct,
    /// Through the relay, which sees only ciphertext.
    Relayed,
    /// No connection, or none that has chosen its path yet.
    #[default]
    Unknown,
}

impl PathKind {
    pub(crate) fn of(connection: &Connection) -> Self {
        if connection.close_reason().is_some() {
            return Self::Unknown;
        }
        let paths = connection.paths();
        let kind = paths.iter().find(iroh::endpoint::Path::is_selected).map(|path| {
            if path.is_ip() {
                Self::Direct
            } else if path.is_relay() {
                Self::Relayed
            } else {
                Self::Unknown
            }
        });
        kind.unwrap_or_default()
    }
}
