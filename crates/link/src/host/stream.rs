//! One stream of a renter: ask, answer, carry.

use std::time::Duration;

use iroh::endpoint::{Connection, RecvStream, SendStream};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Shared;
use super::leases::Pass;
use crate::carry::{into_tunnel, out_of_tunnel};
use crate::error::Refusal;
use crate::greeting::{self, Header};

const HEADER_WAIT: Duration = Duration::from_secs(5);
/// The worker is on this machine: it answers at once or does not listen.
const WORKER_WAIT: Duration = Duration::from_secs(2);

pub(super) struct Stream {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    /// Set when the peer has shown a lease of its own.
    trusted: CancellationToken,
}

/// How a stream ended that was carried.
enum End {
    Done,
    Broken(std::io::Error),
    LeaseClosed,
    Stopping,
}

impl Stream {
    pub fn new(
        connection: Connection,
        send: SendStream,
        recv: RecvStream,
        trusted: CancellationToken,
    ) -> Self {
        Self { connection, send, recv, trusted }
    }

    pub async fn serve(mut self, shared: Shared) {
        let renter = self.connection.remote_id().fmt_short().to_string();
        match self.admit(&shared).await {
            Ok((pass, worker)) => {
                let end = self.carry(&shared, &pass, worker).await;
                self.finish(end, &renter);
            }
            Err(refusal) => {
                debug!(%renter, refusal = refusal.code(), "a stream was refused");
                greeting::answer(&mut self.send, Err(refusal)).await;
                // Both may be over already; then there is nobody left to tell.
                let _ = self.send.finish();
                let _ = self.recv.stop(refusal.reset_code());
            }
        }
    }

    async fn admit(&mut self, shared: &Shared) -> Result<(Pass, TcpStream), Refusal> {
        let header = tokio::time::timeout(HEADER_WAIT, Header::receive(&mut self.recv))
            .await
            .unwrap_or(Err(Refusal::BadHeader))?;
        let pass = shared.leases.enter(&header.lease_id)?;
        let renter_key = header.renter_key(&self.connection.remote_id())?;
        let address = shared.gate.authorise(&renter_key, &header.lease_id, &header.service)?;
        self.trusted.cancel();
        let worker = match tokio::time::timeout(WORKER_WAIT, TcpStream::connect(address)).await {
            Ok(Ok(worker)) => worker,
            Ok(Err(error)) => {
                debug!(%error, %address, "the worker does not take the connection");
                return Err(Refusal::NotThere);
            }
            Err(_) => return Err(Refusal::NotThere),
        };
        // Keystrokes must not wait for company.
        worker.set_nodelay(true).map_err(|_| Refusal::NotThere)?;
        if pass.is_closed() {
            return Err(Refusal::LeaseClosed);
        }
        pass.note_connection(&self.connection);
        Ok((pass, worker))
    }

    async fn carry(&mut self, shared: &Shared, pass: &Pass, worker: TcpStream) -> End {
        if !greeting::answer(&mut self.send, Ok(())).await {
            return End::Done;
        }
        let (from_worker, to_worker) = worker.into_split();
        let both = async {
            tokio::try_join!(
                out_of_tunnel(&mut self.recv, to_worker, &pass.lease.backlogs, Some(&pass.lease.to_worker)),
                into_tunnel(from_worker, &mut self.send, Some(&pass.lease.from_worker)),
            )
        };
        tokio::select! {
            biased;
            () = pass.closed() => End::LeaseClosed,
            () = shared.stop.cancelled() => End::Stopping,
            result = both => result.map_or_else(End::Broken, |_| End::Done),
        }
    }

    fn finish(&mut self, end: End, renter: &str) {
        let code = match end {
            End::Done => return,
            End::LeaseClosed | End::Stopping => Refusal::LeaseClosed,
            End::Broken(error) => {
                debug!(%renter, %error, "a stream broke");
                Refusal::NotThere
            }
        };
        // Both may be over already; then there is nobody left to tell.
        let _ = self.send.reset(code.reset_code());
        let _ = self.recv.stop(code.reset_code());
    }
}
