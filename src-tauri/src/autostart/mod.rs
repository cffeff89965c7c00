//! Whether the app starts at login. It does only when the owner said so, and what is there is the truth, not a setting.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
pub use linux::{is_on, set};
#[cfg(windows)]
pub use windows::{is_on, set};

/// Not on this system yet.
#[cfg(not(any(target_os = "linux", windows)))]
pub fn is_on() -> Option<bool> {
    None
}

/// # Errors
/// Always: not on this system yet.
#[cfg(not(any(target_os = "linux", windows)))]
pub fn set(_on: bool) -> anyhow::Result<()> {
    anyhow::bail!("Nightjar cannot set this on this system yet")
}
