//! Bytes in both directions between a stream of the tunnel and a TCP connection.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Large copies keep the cost of a gigabyte low; a link at 2 Gbit/s wakes about a thousand times a second with this.
pub(crate) const COPY_BYTES: usize = 256 << 10;

/// Carries one direction until its end, which it passes on.
pub(crate) async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: Option<&AtomicU64>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            // A peer that has already gone needs no end.
            return to.shutdown().await.or_else(|error| match error.kind() {
                std::io::ErrorKind::NotConnected => Ok(()),
                _ => Err(error),
            });
        }
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
        if let Some(count) = count {
            count.fetch_add(length as u64, Ordering::Relaxed);
        }
    }
}
