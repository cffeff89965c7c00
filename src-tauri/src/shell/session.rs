//! The end of the desktop session. Not every desktop sends its programs a signal at log-out; the display always goes.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use x11rb::connection::Connection;
use x11rb::rust_connection::RustConnection;

/// A compositor that crashed may be started again for the same session.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A display that answers nothing holds up no start.
const REACHED_WITHIN: Duration = Duration::from_secs(2);

/// The desktop session that this program was started in.
pub struct Session {
    display: Reached,
}

enum Reached {
    Now(Option<Display>),
    /// It takes its time.
    Later(JoinHandle<Option<Display>>),
}

impl Session {
    /// Watches its display from now on. To be asked for before anything else: one that ends while the host still starts
    /// would otherwise be taken for one that was never there.
    pub async fn watch() -> Self {
        Self::begin(Display::reach()).await
    }

    async fn begin(reach: impl Future<Output = Option<Display>> + Send + 'static) -> Self {
        let mut reaching = tokio::spawn(reach);
        let display = match tokio::time::timeout(REACHED_WITHIN, &mut reaching).await {
            Ok(reached) => Reached::Now(reached.ok().flatten()),
            Err(_) => Reached::Later(reaching),
        };
        Self { display }
    }

    /// Returns when its display is gone; never, where none could be reached.
    pub async fn over(self) {
        self.over_unless(Display::reach).await;
    }

    async fn over_unless(self, reach: impl AsyncFn() -> Option<Display>) {
        let reached = match self.display {
            Reached::Now(display) => display,
            Reached::Later(reaching) => reaching.await.ok().flatten(),
        };
        let Some(mut display) = reached else {
            tracing::warn!("the display cannot be watched: only a signal tells of the session's end");
            return std::future::pending().await;
        };
        loop {
            let lost = display.lost().await;
            tracing::debug!("the connection to the display ended: {lost}");
            let Some(found) = again(&reach).await else { return };
            display = found;
        }
    }
}

async fn again(reach: &impl AsyncFn() -> Option<Display>) -> Option<Display> {
    let look = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(display) = reach().await {
                return display;
            }
        }
    };
    tokio::time::timeout(COMES_BACK_WITHIN, look).await.ok()
}

/// A connection on which nothing is asked for.
enum Display {
    /// The compositor's socket.
    Wayland(UnixStream),
    X11(Box<RustConnection>),
}

impl Display {
    async fn reach() -> Option<Self> {
        if let Some(socket) = wayland_socket()
            && let Ok(stream) = UnixStream::connect(socket).await
        {
            return Some(Self::Wayland(stream));
        }
        let connected = tokio::task::spawn_blocking(|| RustConnection::connect(None)).await.ok()?;
        connected.ok().map(|(connection, _)| Self::X11(Box::new(connection)))
    }

    /// Waits for its end and says how it came.
    async fn lost(&mut self) -> String {
        let ended = match self {
            Self::Wayland(stream) => read_to_end(stream).await,
            Self::X11(connection) => follow(connection).await,
        };
        ended.map_or_else(|error| error.to_string(), |()| String::from("it was closed"))
    }
}

async fn read_to_end(stream: &mut UnixStream) -> io::Result<()> {
    // Nothing comes for a client that has asked for nothing.
    let mut heard = [0; 64];
    while stream.read(&mut heard).await? > 0 {}
    Ok(())
}

/// Takes what every client is sent, until there is no server any more.
async fn follow(connection: &RustConnection) -> io::Result<()> {
    // A second handle on the same socket, for its readiness alone.
    let socket = connection.stream().as_fd().try_clone_to_owned()?;
    let socket = UnixStream::from_std(socket.into())?;
    loop {
        socket.readable().await?;
        let taken = socket.try_io(Interest::READABLE, || {
            while connection.poll_for_event().map_err(io::Error::other)?.is_some() {}
            Err::<(), _>(io::ErrorKind::WouldBlock.into())
        });
        if let Err(error) = taken
            && error.kind() != io::ErrorKind::WouldBlock
        {
            return Err(error);
        }
    }
}

/// As Wayland's own library finds it.
fn wayland_socket() -> Option<PathBuf> {
    let name = std::env::var_os("WAYLAND_DISPLAY").filter(|name| !name.is_empty())?;
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_default();
    // A name that is a path of its own stays one.
    Some(Path::new(&runtime).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_display_that_answered_late_is_watched_all_the_same() {
        let (server, client) = UnixStream::pair().unwrap();
        let begun = tokio::time::Instant::now();
        let session = Session::begin(async {
            tokio::time::sleep(REACHED_WITHIN * 5).await;
            Some(Display::Wayland(client))
        });
        let session = session.await;
        assert_eq!(begun.elapsed(), REACHED_WITHIN, "a display that answers late holds up no start");
        let over = tokio::spawn(session.over_unless(async || None));
        tokio::time::sleep(REACHED_WITHIN * 10).await;
        assert!(!over.is_finished(), "its display is there");
        drop(server);
        tokio::time::timeout(COMES_BACK_WITHIN * 2, over).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn no_session_ends_where_there_is_no_display() {
        for after in [Duration::ZERO, REACHED_WITHIN * 5] {
            let session = Session::begin(async move {
                tokio::time::sleep(after).await;
                None
            });
            let over = session.await.over_unless(async || None);
            assert!(tokio::time::timeout(Duration::from_secs(3_600), over).await.is_err());
        }
    }
}
