//! A named pipe whose name follows from the runtime folder; the default access list lets in its owner and
//! administrators.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient, NamedPipeServer, ServerOptions};

pub(crate) enum Stream {
    Server(NamedPipeServer),
    Client(NamedPipeClient),
}

pub(crate) struct Listener {
    path: PathBuf,
    next: NamedPipeServer,
}

pub(crate) fn socket_path(runtime_dir: &Path) -> PathBuf {
    let name: String = runtime_dir
        .display()
        .to_string()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    PathBuf::from(format!(r"\\.\pipe\nightjar-{name}"))
}

pub(crate) fn listen(runtime_dir: &Path) -> io::Result<Listener> {
    let path = socket_path(runtime_dir);
    let next = ServerOptions::new().first_pipe_instance(true).reject_remote_clients(true).create(&path)?;
    Ok(Listener { path, next })
}

pub(crate) async fn connect(runtime_dir: &Path) -> io::Result<Stream> {
    ClientOptions::new().open(socket_path(runtime_dir)).map(Stream::Client)
}

impl Listener {
    pub(crate) async fn accept(&mut self) -> io::Result<Stream> {
        self.next.connect().await?;
        let fresh = ServerOptions::new().reject_remote_clients(true).create(&self.path)?;
        Ok(Stream::Server(std::mem::replace(&mut self.next, fresh)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Server(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Self::Client(pipe) => Pin::new(pipe).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Server(pipe) => Pin::new(pipe).poll_write(cx, bytes),
            Self::Client(pipe) => Pin::new(pipe).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Server(pipe) => Pin::new(pipe).poll_flush(cx),
            Self::Client(pipe) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Server(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Self::Client(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}
