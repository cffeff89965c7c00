//! In whose name Windows shows notifications: the account's part of the registry says what the app is called and how it looks.

use anyhow::Context;
use nightjar_agent::AgentConfig;
use windows_registry::CURRENT_USER;

/// As on the session's bus of Linux.
pub const ID: &str = "app.nightjar.desktop";
const KEY: &str = r"Software\Classes\AppUserModelId\app.nightjar.desktop";
const PICTURE: &[u8] = include_bytes!("../../../icons/app-256.png");

/// At the app's start.
pub fn keep() {
    if let Err(error) = enter() {
        tracing::warn!("notifications may come in another program's name: {error:#}");
    }
}

/// A name that is not entered would not be shown at all.
pub fn is_known() -> bool {
    CURRENT_USER.open(KEY).and_then(|key| key.get_string("DisplayName")).is_ok()
}

fn enter() -> anyhow::Result<()> {
    let failed = || format!("{KEY} cannot be written");
    let key = CURRENT_USER.create(KEY).with_context(failed)?;
    key.set_string("DisplayName", "Nightjar").with_context(failed)?;
    // Written anew each time: it may be another version's.
    let folder = AgentConfig::from_environment()?.data_dir;
    let path = folder.join("notification.png");
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&path, PICTURE))
        .with_context(|| format!("{} cannot be written", path.display()))?;
    let path = path.to_str().context("the data folder's path is no text")?;
    key.set_string("IconUri", path).with_context(failed)
}
