//! What the two roads on D-Bus share: a runtime of their own on the sensor's thread.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};
use zbus::Connection;

use super::{Broken, Shared};

/// A connection and what drives it. What is made of the connection must go inside of [`Self::ask`] or [`Self::serve`]: its
/// end needs the runtime too.
pub(super) struct OnBus {
    runtime: Runtime,
    pub(super) connection: Connection,
}

impl OnBus {
    /// `address` is the bus of a test; `usual` is the one that everybody else means.
    pub(super) fn connect(
        address: Option<&str>,
        usual: fn() -> zbus::Result<zbus::connection::Builder<'static>>,
    ) -> Result<Self, String> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| error.to_string())?;
        let connection = runtime.block_on(async {
            match address {
                Some(address) => zbus::connection::Builder::address(address)?.build().await,
                None => usual()?.build().await,
            }
        });
        Ok(Self { runtime, connection: connection.map_err(|error| error.to_string())? })
    }

    pub(super) fn ask<T>(&self, question: impl Future<Output = zbus::Result<T>>) -> Result<T, String> {
        self.runtime.block_on(question).map_err(|error| error.to_string())
    }

    /// Listens until the owner ends it or `listen` cannot go on.
    pub(super) fn serve(
        &self,
        shared: &Shared,
        listen: impl Future<Output = zbus::Error>,
    ) -> Result<(), Broken> {
        self.runtime.block_on(async {
            tokio::select! {
                () = shared.close.told() => Ok(()),
                error = listen => Err(Broken(format!("the desktop does not tell of input any more ({error})"))),
            }
        })
    }
}
