//! A stream to a service of a lease.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use iroh::endpoint::{Connection, ReadError, RecvStream, SendStream, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::{LinkError, Refusal};
use crate::path::PathKind;

/// Reads and writes what the service in the worker says and hears. Shutting down ends the own direction only.
///
/// Read it without long pauses: [`RenterLink::forward_io`](super::RenterLink::forward_io) and its like keep what the other
/// side of a pause cannot take, this does not, and too many small pieces that lie unread end the connection.
///
/// An [`io::Error`] of it carries a [`LinkError`] where the host said why it ended ([`Refusal::LeaseClosed`]).
pub struct RenterStream {
    send: SendStream,
    recv: RecvStream,
    /// Holds the connection open as long as a stream of it is used.
    connection: Connection,
}

impl RenterStream {
    pub(super) fn new(connection: Connection, send: SendStream, recv: RecvStream) -> Self {
        Self { send, recv, connection }
    }

    /// Which way this stream goes now.
    #[must_use]
    pub fn path_kind(&self) -> PathKind {
        PathKind::of(&self.connection)
    }
}

impl AsyncRead for RenterStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.recv), cx, buf).map_err(with_reason)
    }
}

impl AsyncWrite for RenterStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, buf).map_err(with_reason)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.send), cx)
    }
}

/// Puts the host's reason in the place of a bare number.
fn with_reason(error: io::Error) -> io::Error {
    let cause = error.get_ref();
    let code = match (cause.and_then(|e| e.downcast_ref()), cause.and_then(|e| e.downcast_ref())) {
        (Some(ReadError::Reset(code)), _) | (_, Some(WriteError::Stopped(code))) => *code,
        _ => return error,
    };
    match Refusal::from_reset_code(code) {
        Some(refusal) => io::Error::new(io::ErrorKind::ConnectionAborted, LinkError::Refused(refusal)),
        None => error,
    }
}

/// What broke a stream, as an error of the tunnel.
pub(super) fn reason_of(error: &io::Error) -> LinkError {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<LinkError>()) {
        Some(reason) => reason.clone(),
        None => LinkError::Broken(error.to_string()),
    }
}
