//! `nightjar-coordinator serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use nightjar_coordinator::{Config, Coordinator};
use serde_json::json;

use super::{print, print_json};
use crate::arguments::Serve;

pub(crate) async fn run(how: Serve, data_dir: PathBuf, json: bool) -> anyhow::Result<ExitCode> {
    let relay_listen = (!how.no_relay).then(|| how.relay_listen.unwrap_or(next_port(how.listen)));
    // Heard from the first moment on, so that a start that is called off ends cleanly too.
    let ending = ending()?;
    let running = Coordinator::start(Config {
        listen: how.listen,
        data_dir: data_dir.clone(),
        relay_listen,
        public_url: how.public_url,
        fee_basis_points: how.fee_percent,
        currency: how.currency,
    })
    .await?;
    if json {
        print_json(&json!({
            "url": running.url(),
            "listen": running.http_addr(),
            "relay": running.relay_info(),
            "currency": running.currency(),
            "data_dir": data_dir,
        }))?;
    } else {
        print(&format!("listening on http://{}\n", running.http_addr()))?;
    }
    if let Some(relay) = running.relay_info() {
        tracing::info!(url = relay.url, udp_port = relay.quic_port, "relay");
    }
    tracing::info!("data folder {}", data_dir.display());
    ending.await;
    tracing::info!("ending");
    running.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Any free port stays any free port.
fn next_port(listen: SocketAddr) -> SocketAddr {
    let port = match listen.port() {
        0 => 0,
        port => port.checked_add(1).unwrap_or(port - 1),
    };
    SocketAddr::new(listen.ip(), port)
}

#[cfg(unix)]
fn ending() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be heard")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C cannot be heard")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn ending() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c().context("Ctrl-C cannot be heard")?;
    Ok(async move {
        interrupt.recv().await;
    })
}
