//! Streams that belong to an OpenSSH `ProxyCommand` or to a local port.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::stream::reason_of;
use super::{RenterLink, RenterStream};
use crate::carry::{Backlogs, COPY_BYTES, into_tunnel, out_of_tunnel};
use crate::error::{LinkError, Refusal};

/// The host takes no more streams of a connection at once.
const CONNECTIONS_AT_ONCE: usize = 120;
/// Waited when the machine has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

impl RenterLink {
    /// Joins this process's standard input and output to a service, as an OpenSSH `ProxyCommand` does. Returns when the
    /// service has ended the connection.
    ///
    /// # Errors
    /// Those of [`RenterLink::open`]; [`LinkError::Broken`] or [`LinkError::Refused`] when the stream breaks or the lease is
    /// closed in the middle.
    pub async fn forward_stdio(&self, lease_id: &str, service: &str) -> Result<(), LinkError> {
        self.forward_io(io::stdin(), tokio::io::stdout(), lease_id, service).await
    }

    /// As [`RenterLink::forward_stdio`] with another input and output. `input` is read in a thread of its own, which outlives
    /// this call until its read returns.
    ///
    /// # Errors
    /// Those of [`RenterLink::forward_stdio`].
    pub async fn forward_io(
        &self,
        input: impl Read + Send + 'static,
        output: impl AsyncWrite + Unpin,
        lease_id: &str,
        service: &str,
    ) -> Result<(), LinkError> {
        let stream = self.open(lease_id, service).await?;
        join(stream, read_in_thread(input), output).await
    }

    /// Joins every connection to `listener` to a service; bind it to a loopback address. Runs until the host no longer
    /// knows the lease. A host that is offline for a while costs the connections that fall into that time and no more.
    ///
    /// # Errors
    /// [`LinkError::Refused`] when the lease is over, not this renter's, or has no such service.
    pub async fn forward_port(
        &self,
        listener: TcpListener,
        lease_id: &str,
        service: &str,
    ) -> Result<(), LinkError> {
        let places = Arc::new(Semaphore::new(CONNECTIONS_AT_ONCE));
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                Some(ended) = tasks.join_next() => match ended {
                    Ok(Err(error)) if is_final(&error) => return Err(error),
                    Ok(Err(error)) => { warn!(%error, "a connection was dropped"); continue }
                    _ => continue,
                },
                accepted = listener.accept() => accepted,
            };
            let tcp = match accepted {
                Ok((tcp, _)) => tcp,
                Err(error) => {
                    debug!(%error, "no connection could be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let (link, lease_id, service) = (self.clone(), lease_id.to_owned(), service.to_owned());
            tasks.spawn(async move {
                let _place = place;
                link.forward_connection(tcp, &lease_id, &service).await
            });
        }
    }

    async fn forward_connection(
        &self,
        tcp: TcpStream,
        lease_id: &str,
        service: &str,
    ) -> Result<(), LinkError> {
        let stream = self.open(lease_id, service).await?;
        if let Err(error) = tcp.set_nodelay(true) {
            debug!(%error, "a connection stays with delayed small packets");
        }
        let (from_service, to_service) = tokio::io::split(stream);
        let (from_program, to_program) = tcp.into_split();
        let backlogs = Backlogs::default();
        let both = async {
            tokio::try_join!(
                out_of_tunnel(from_service, to_program, &backlogs, None),
                into_tunnel(from_program, to_service, None),
            )
        };
        match both.await {
            Ok(_) => Ok(()),
            Err(error) => match reason_of(&error) {
                reason @ LinkError::Refused(_) => Err(reason),
                // A browser that closes a page is no fault.
                reason => {
                    debug!(%reason, "a forwarded connection broke");
                    Ok(())
                }
            },
        }
    }
}

/// Whether no further connection can succeed.
fn is_final(error: &LinkError) -> bool {
    matches!(
        error,
        LinkError::Refused(
            Refusal::NotYours | Refusal::UnknownService | Refusal::LeaseClosed | Refusal::BadHeader
        ) | LinkError::Protocol(_)
            | LinkError::Local { .. }
    )
}

/// Carries both ways until the service has said its last.
async fn join(
    stream: RenterStream,
    mut input: mpsc::Receiver<io::Result<Vec<u8>>>,
    output: impl AsyncWrite + Unpin,
) -> Result<(), LinkError> {
    let (from_service, mut to_service) = tokio::io::split(stream);
    let up = async move {
        while let Some(chunk) = input.recv().await {
            to_service.write_all(&chunk?).await?;
        }
        to_service.shutdown().await
    };
    let backlogs = Backlogs::default();
    let down = out_of_tunnel(from_service, output, &backlogs, None);
    tokio::pin!(up, down);
    let ended = tokio::select! {
        ended = &mut down => ended,
        // The service may still have something to say after it was told that no more comes.
        ended = &mut up => match ended {
            Ok(()) => down.await,
            Err(error) => Err(error),
        },
    };
    ended.map_err(|error| reason_of(&error))
}

/// Reads in a thread of its own: a read of standard input cannot be called off, and one on the runtime's threads would keep
/// the process alive after the service has ended the connection.
fn read_in_thread(mut input: impl Read + Send + 'static) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (chunks, receiver) = mpsc::channel(2);
    std::thread::spawn(move || {
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let chunk = match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => Ok(buffer[..length].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_fault = chunk.is_err();
            if chunks.blocking_send(chunk).is_err() || is_fault {
                return;
            }
        }
    });
    receiver
}
