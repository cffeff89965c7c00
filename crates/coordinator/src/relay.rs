//! The tunnel's relay, in this process. It forwards for hosts of this market and for renters that hold a lease, for
//! nobody else.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use nightjar_link::{Admission, LinkError, RelayServer, RelayServerConfig};

use crate::store::{Store, leases};

pub(crate) async fn start(
    listen: SocketAddr,
    public_host: String,
    data_dir: &Path,
    store: Store,
) -> Result<RelayServer, LinkError> {
    let question = move |key: [u8; 32]| {
        let store = store.clone();
        let answer: std::pin::Pin<Box<dyn Future<Output = bool> + Send>> = Box::pin(async move {
            leases::is_known_endpoint(store.reader(), &hex::encode(key)).await.unwrap_or_else(|error| {
                tracing::error!("the relay could not ask who is known: {error}");
                false
            })
        });
        answer
    };
    RelayServer::start(RelayServerConfig {
        listen,
        // The same number by UDP: one port to forward for both.
        quic_port: listen.port(),
        public_host,
        public_port: None,
        data_dir: data_dir.to_owned(),
        admission: Admission::Ask(Arc::new(question)),
        client_bytes_per_second: None,
    })
    .await
}
