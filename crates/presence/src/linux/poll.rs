//! What a sensor's thread sleeps on: its connection, and an eventfd by which it is told to end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use tokio::sync::Notify;

/// Tells a thread to end. Stays told.
#[derive(Debug)]
pub(super) struct Close {
    /// Readable as soon as it has been told: for those who sleep in `poll`.
    fd: OwnedFd,
    /// For those who sleep in a runtime.
    notify: Notify,
}

/// Why a thread left off waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    Readable,
    TimedOut,
    Close,
}

impl Close {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { fd: eventfd(0, EventfdFlags::CLOEXEC)?, notify: Notify::new() })
    }

    pub(super) fn tell(&self) -> std::io::Result<()> {
        self.notify.notify_one();
        rustix::io::write(&self.fd, &1_u64.to_ne_bytes())?;
        Ok(())
    }

    pub(super) fn is_told(&self) -> bool {
        self.wait(None, Some(Duration::ZERO)) == Woken::Close
    }

    /// Returns once, when it has been told.
    pub(super) async fn told(&self) {
        self.notify.notified().await;
    }

    pub(super) fn wait(&self, stream: Option<BorrowedFd<'_>>, limit: Option<Duration>) -> Woken {
        let mut sources = vec![PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::IN)];
        sources.extend(stream.map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::IN)));
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let woken = loop {
            match poll(&mut sources, limit.as_ref()) {
                Err(Errno::INTR) => {}
                woken => break woken,
            }
        };
        match woken {
            Ok(0) => Woken::TimedOut,
            Ok(_) if sources[0].revents().is_empty() => Woken::Readable,
            Ok(_) => Woken::Close,
            Err(error) => {
                // Only memory can be lacking here, and without waiting this thread would spin.
                tracing::error!(%error, "a presence sensor cannot wait and ends");
                Woken::Close
            }
        }
    }
}

/// Ends a thread when it is dropped, without waiting for it.
pub(super) struct Ends(pub(super) Arc<Close>);

impl Drop for Ends {
    fn drop(&mut self) {
        if let Err(error) = self.0.tell() {
            tracing::warn!(%error, "a presence sensor cannot be told to end");
        }
    }
}
