//! What the desktop's two programs share: the log, the words between them, and how they run. Nothing here may name Tauri,
//! or the program that stays would be linked with a browser engine.

pub mod log;
pub mod wire;

use anyhow::Context;

/// # Errors
/// When no thread can be started.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        // The agent waits far more than it computes; two threads keep its freeze path clear of a slow neighbour.
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no thread can be started")
}
