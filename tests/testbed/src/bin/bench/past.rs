//! What cards did in the past, made up, in the store that a host keeps.

use std::path::Path;

use nightjar_core::gpu::{GpuReading, GpuUuid, PowerLimits};
use nightjar_core::time::Timestamp;
use nightjar_history::History;

pub(crate) const SECOND: u64 = 1_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// As dense as what is kept of each age: the store folds a reading into all its steps, so fewer readings of the old
/// years leave the same rows behind.
pub(crate) async fn written(
    folder: &Path,
    cards: &[&str],
    from: Timestamp,
    now: Timestamp,
) -> anyhow::Result<History> {
    let mut history = History::open(folder).await?;
    let mut at = from;
    let mut written = from;
    while at < now {
        for (number, card) in cards.iter().enumerate() {
            history.take(&reading(card, number, at), at);
        }
        if at.since_ms(written) >= 6 * HOUR {
            history.write(at).await?;
            written = at;
        }
        let age = now.since_ms(at);
        at = at.plus_ms(match age {
            age if age > 32 * DAY => 20 * MINUTE,
            age if age > 2 * HOUR => 30 * SECOND,
            _ => SECOND,
        });
    }
    history.write(now).await?;
    Ok(history)
}

fn reading(card: &str, number: usize, at: Timestamp) -> GpuReading {
    let wave = ((at.since_ms(Timestamp(0)) / MINUTE) % 97) as f64 / 97.0;
    let limits =
        PowerLimits { enforced_watts: 450.0, default_watts: 450.0, min_watts: 150.0, max_watts: 600.0 };
    GpuReading {
        name: format!("card {number}"),
        temperature_celsius: Some(35.0 + 40.0 * wave),
        power_watts: Some(20.0 + 400.0 * wave),
        utilisation_percent: Some(u32::from(wave > 0.5) * 100),
        vram_used_bytes: 3 << 30,
        power_limits: Some(limits),
        ..GpuReading::unread(GpuUuid(card.to_owned()))
    }
}
