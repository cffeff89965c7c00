//! Bytes in both directions between a stream of the tunnel and a TCP connection or a program's input and output.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Large copies keep the cost of a gigabyte low; a link at 2 Gbit/s wakes about a thousand times a second with this.
pub(crate) const COPY_BYTES: usize = 256 << 10;

/// How much a direction takes in while its other end does not take it off.
///
/// noq 1.4.0 ends a whole connection, with every stream on it, when more than 2048 pieces of one stream lie unread, even
/// small ones in perfect order (the fault and its repair are in quinn's issue 2809). So what comes through the tunnel is
/// read at once and kept here. It is more than OpenSSH lets lie unanswered (2 MiB), so that a stopped terminal or a frozen
/// worker stops the sender before this is full.
const BACKLOG_BYTES: usize = 4 << 20;
/// All directions that share an [`Backlogs`] together.
const BACKLOGS_BYTES: usize = 32 << 20;

/// What several directions hold back together, in bytes.
#[derive(Default)]
pub(crate) struct Backlogs(AtomicUsize);

/// Bytes that were read and not yet written, given back to the [`Backlogs`] in any end.
struct Backlog<'a> {
    bytes: Vec<u8>,
    written: usize,
    all: Option<&'a Backlogs>,
}

/// Carries what comes out of the tunnel until its end, which it passes on. `count` learns what was delivered.
pub(crate) async fn out_of_tunnel(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    all: &Backlogs,
    count: Option<&AtomicU64>,
) -> io::Result<()> {
    carry(from, to, Backlog { bytes: Vec::new(), written: 0, all: Some(all) }, count).await
}

/// Carries what goes into the tunnel until its end, which it passes on. It takes in no more than one copy: here the other
/// end holds back by itself.
pub(crate) async fn into_tunnel(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    count: Option<&AtomicU64>,
) -> io::Result<()> {
    carry(from, to, Backlog { bytes: Vec::new(), written: 0, all: None }, count).await
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut backlog: Backlog<'_>,
    count: Option<&AtomicU64>,
) -> io::Result<()> {
    let mut copy = vec![0; COPY_BYTES];
    let (mut ended, mut unflushed) = (false, false);
    while !(ended && backlog.is_empty() && !unflushed) {
        let may_write = !backlog.is_empty() || unflushed;
        let write_or_flush = async {
            match backlog.rest() {
                [] => to.flush().await.map(|()| 0),
                rest => to.write(rest).await.and_then(not_zero),
            }
        };
        tokio::select! {
            biased;
            written = write_or_flush, if may_write => {
                let written = written?;
                unflushed = written > 0;
                backlog.take(written);
                if let Some(count) = count {
                    count.fetch_add(written as u64, Ordering::Relaxed);
                }
            }
            length = from.read(&mut copy), if !ended && backlog.has_room() => match length? {
                0 => ended = true,
                length => backlog.put(&copy[..length]),
            },
        }
    }
    // A peer that has already gone needs no end.
    to.shutdown().await.or_else(|error| match error.kind() {
        io::ErrorKind::NotConnected => Ok(()),
        _ => Err(error),
    })
}

fn not_zero(written: usize) -> io::Result<usize> {
    if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}

impl Backlog<'_> {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn has_room(&self) -> bool {
        let shared = self.all.is_some_and(|all| all.0.load(Ordering::Relaxed) < BACKLOGS_BYTES);
        self.is_empty() || (shared && self.rest().len() < BACKLOG_BYTES)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.written);
        self.written = 0;
        self.bytes.extend_from_slice(bytes);
        if let Some(all) = self.all {
            all.0.fetch_add(bytes.len(), Ordering::Relaxed);
        }
    }

    fn take(&mut self, length: usize) {
        self.written += length;
        if let Some(all) = self.all {
            all.0.fetch_sub(length, Ordering::Relaxed);
        }
        if self.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(COPY_BYTES);
            self.written = 0;
        }
    }
}

impl Drop for Backlog<'_> {
    fn drop(&mut self) {
        if let Some(all) = self.all {
            all.0.fetch_sub(self.rest().len(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_stopped_end_is_held_back_for_up_to_a_bound() {
        let all = Backlogs::default();
        let (mut sender, from) = tokio::io::duplex(1 << 10);
        let (to, mut receiver) = tokio::io::duplex(1 << 10);
        let carried = out_of_tunnel(from, to, &all, None);
        let text: Vec<u8> = (0..3 * BACKLOG_BYTES).map(|i| (i % 251) as u8).collect();
        let sent = async {
            sender.write_all(&text).await.unwrap();
            drop(sender);
        };
        let received = async {
            while all.0.load(Ordering::Relaxed) < BACKLOG_BYTES {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(all.0.load(Ordering::Relaxed) < BACKLOG_BYTES + COPY_BYTES);
            let mut back = Vec::new();
            receiver.read_to_end(&mut back).await.unwrap();
            back
        };
        let (carried, (), back) = tokio::join!(carried, sent, received);
        carried.unwrap();
        assert!(back == text);
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_was_held_back_is_given_back_when_the_carrying_is_called_off() {
        let all = Backlogs::default();
        let (to, _receiver) = tokio::io::duplex(10);
        let carried = out_of_tunnel(&[7; 10_000][..], to, &all, None);
        assert!(tokio::time::timeout(Duration::from_millis(50), carried).await.is_err());
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }
}
