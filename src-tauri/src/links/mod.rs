//! Whether `nightjar://` links open this app. On Linux the package's desktop entry says so, and the desktop's own settings
//! choose; on Windows the app enters itself for its account.

#[cfg(windows)]
mod windows;

#[cfg(windows)]
pub use windows::{is_on, keep, set};

/// Not for the app to say.
#[cfg(not(windows))]
pub fn is_on() -> Option<bool> {
    None
}

/// # Errors
/// Always: it is not for the app to say.
#[cfg(not(windows))]
pub fn set(_on: bool) -> anyhow::Result<()> {
    anyhow::bail!("which program opens nightjar:// links is chosen in this system's own settings")
}

/// At the app's start.
#[cfg(not(any(target_os = "linux", windows)))]
pub fn keep() {}
