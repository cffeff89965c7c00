//! A Unix socket in a folder that only its owner can enter.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

pub(crate) type Stream = UnixStream;

pub(crate) struct Listener(UnixListener);

pub(crate) fn socket_path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("control.sock")
}

/// A socket that is left over from a killed host is taken over; whether one still runs is decided by the data folder's
/// lock, before this is called.
pub(crate) fn listen(runtime_dir: &Path) -> io::Result<Listener> {
    std::fs::create_dir_all(runtime_dir)?;
    std::fs::set_permissions(runtime_dir, std::fs::Permissions::from_mode(0o700))?;
    let path = socket_path(runtime_dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(Listener(UnixListener::bind(path)?))
}

pub(crate) async fn connect(runtime_dir: &Path) -> io::Result<Stream> {
    UnixStream::connect(socket_path(runtime_dir)).await
}

impl Listener {
    pub(crate) async fn accept(&mut self) -> io::Result<Stream> {
        self.0.accept().await.map(|(stream, _)| stream)
    }
}
