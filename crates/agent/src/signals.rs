//! Being asked to end by the system. Listened for before anything is started, or a signal in the first moments would end
//! the program with nothing put in order.

/// The system's ways to ask a program to end.
pub struct Signals {
    #[cfg(unix)]
    kinds: Vec<tokio::signal::unix::Signal>,
    #[cfg(windows)]
    kinds: Vec<Console>,
}

/// What Windows tells a program with a console: Ctrl-C, its window closed, a logoff, a shutdown.
#[cfg(windows)]
enum Console {
    C(tokio::signal::windows::CtrlC),
    Close(tokio::signal::windows::CtrlClose),
    Logoff(tokio::signal::windows::CtrlLogoff),
    Shutdown(tokio::signal::windows::CtrlShutdown),
}

#[cfg(windows)]
impl Console {
    fn poll_recv(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Option<()>> {
        match self {
            Self::C(signal) => signal.poll_recv(context),
            Self::Close(signal) => signal.poll_recv(context),
            Self::Logoff(signal) => signal.poll_recv(context),
            Self::Shutdown(signal) => signal.poll_recv(context),
        }
    }
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
        use tokio::signal::windows::{ctrl_c, ctrl_close, ctrl_logoff, ctrl_shutdown};
        let wanted = [
            ctrl_c().map(Console::C),
            ctrl_close().map(Console::Close),
            ctrl_logoff().map(Console::Logoff),
            ctrl_shutdown().map(Console::Shutdown),
        ];
        Self { kinds: wanted.into_iter().filter_map(Result::ok).collect() }
    }
}
