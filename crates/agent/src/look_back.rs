//! Where the time went, for whoever asks while no host runs: from the journal alone, which is only read.

use nightjar_core::time::Timestamp;
use nightjar_protocol::night::Night;

use crate::clock::Clock;
use crate::config::AgentConfig;
use crate::journal::Journal;
use crate::settings_file::{self, Loaded};
use crate::start::system_language;

/// Where the time of a span went, without an end until now; `None` where no host has ever run.
///
/// # Errors
/// When the journal is there and cannot be read.
pub async fn look_back(
    config: &AgentConfig,
    since: Timestamp,
    until: Option<Timestamp>,
) -> anyhow::Result<Option<Night>> {
    let Some(journal) = Journal::look_into(&config.data_dir).await? else { return Ok(None) };
    let chosen = match settings_file::load(&config.settings_path) {
        Loaded::Read(settings) => settings.language,
        Loaded::Fresh | Loaded::Unreadable(_) => None,
    };
    let now = Clock::start().now();
    let until = until.map_or(now, |until| until.min(now));
    let night = journal.night(since, until, chosen.unwrap_or_else(system_language)).await?;
    journal.close().await;
    Ok(Some(night))
}
