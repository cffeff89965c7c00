//! Being asked to end by the system. Listened for before anything is started, or a signal in the first moments would end
//! the program with nothing put in order.

/// The system's ways to ask a program to end.
pub struct Signals {
    #[cfg(unix)]
    kinds: Vec<tokio::signal::unix::Signal>,
}

impl Signals {
    /// From here on a signal does not end the program by itself, so that jobs are ended first.
    #[cfg(unix)]
    #[must_use]
    pub fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let wanted = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        Self { kinds: wanted.into_iter().filter_map(|kind| signal(kind).ok()).collect() }
    }

    /// Returns once the program was asked to end.
    #[cfg(unix)]
    pub async fn wait(&mut self) {
        std::future::poll_fn(|context| {
            let came = self.kinds.iter_mut().any(|kind| kind.poll_recv(context).is_ready());
            if came { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }

    /// As on Unix.
    #[cfg(windows)]
    #[must_use]
    pub fn listen() -> Self {
        Self {}
    }

    /// As on Unix, for Ctrl-C.
    #[cfg(windows)]
    pub async fn wait(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
