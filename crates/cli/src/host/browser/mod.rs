//! The window's page in a browser, for a host without a desktop: on this PC's own address, by a link that is used once.
//! It talks to the host over its control socket, so it is the same whether the host runs in this process or in another.

mod door;
mod page;
mod server;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::failure::Failure;

/// A page that is served while this lives.
pub(super) struct Served {
    pub link: String,
    pub port: u16,
    pub ended: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// How long the link can be used, in minutes.
pub(super) const LINK_MINUTES: u64 = door::LINK_LASTS.as_secs() / 60;

/// Serves the page of the host whose socket is in `runtime_dir`, on `port`, or on any free one for 0.
///
/// # Errors
/// When this build has no page, or the port is taken.
pub(super) async fn serve(runtime_dir: PathBuf, port: u16) -> Result<Served, Failure> {
    if !page::is_there() {
        return Err(Failure::failed("this program was built without the window's page")
            .advise("build the page first (`cargo xtask ui`), then this program"));
    }
    let bound = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = bound.map_err(|error| {
        Failure::failed(format!("port {port} cannot be used for the page: {error}"))
            .advise("name another with --ui=PORT, or leave it out for any that is free")
    })?;
    let port = listener.local_addr().map_err(anyhow::Error::from)?.port();
    let (door, word) = door::Door::new(std::time::Instant::now());
    let router = server::router(runtime_dir, door);
    let ended = tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(Served { link: format!("http://127.0.0.1:{port}/#{word}"), port, ended })
}

impl Drop for Served {
    fn drop(&mut self) {
        self.ended.abort();
    }
}

/// What people read beside the link.
pub(super) fn words(served: &Served) -> String {
    let Served { link, port, .. } = served;
    format!(
        "window: {link}\n  \
         opens once, within {LINK_MINUTES} minutes; on this PC alone. From another one, first:\n  \
         ssh -L {port}:127.0.0.1:{port} THIS-PC"
    )
}
