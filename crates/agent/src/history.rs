//! The task that keeps the cards' past. A history that cannot be opened or written costs charts, never the host.

use nightjar_core::gpu::GpuReading;
use nightjar_core::history::CardHistory;
use nightjar_history::History;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::config::AgentConfig;

/// What the task is told.
pub(crate) enum Past {
    Readings(Vec<GpuReading>),
    Ask {
        since_ms: u64,
        points: u32,
        answer: oneshot::Sender<Result<Vec<CardHistory>, String>>,
    },
    /// Write what is left; answered when it is on the disk.
    Close(oneshot::Sender<()>),
}

/// Opens the store and keeps it until every sender is gone.
pub(crate) async fn run(config: AgentConfig, clock: Clock, mut inbox: mpsc::UnboundedReceiver<Past>) {
    let mut history = History::open(&config.data_dir).await;
    if let Err(error) = &history {
        tracing::warn!("the cards' history is not kept: {error:#}");
    }
    while let Some(message) = inbox.recv().await {
        let now = clock.now();
        match (message, &mut history) {
            (Past::Readings(cards), Ok(history)) => {
                for card in &cards {
                    history.take(card, now);
                }
                if let Err(error) = history.write_if_due(now).await {
                    tracing::warn!("the cards' history was not written, tried again later: {error:#}");
                }
            }
            (Past::Ask { since_ms, points, answer }, Ok(history)) => {
                let from = nightjar_core::time::Timestamp(
                    now.0.saturating_sub(i64::try_from(since_ms).unwrap_or(i64::MAX)),
                );
                let found = history.query(from, now, points, now).await;
                let _ = answer.send(found.map_err(|error| format!("{error:#}")));
            }
            (Past::Ask { answer, .. }, Err(error)) => drop(answer.send(Err(format!("{error:#}")))),
            (Past::Close(done), Ok(open)) => {
                if let Err(error) = open.write(now).await {
                    tracing::warn!("the last of the cards' history is lost: {error:#}");
                }
                let _ = done.send(());
            }
            (Past::Close(done), Err(_)) => drop(done.send(())),
            (Past::Readings(_), Err(_)) => {}
        }
    }
}
