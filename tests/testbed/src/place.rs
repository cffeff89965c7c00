//! Where things are: built programs, the cache, a scratch folder.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The folder of the programs that were built with this one.
///
/// # Errors
/// When this program's own place is not known.
pub fn programs() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("this program lies in no folder")?;
    // Tests lie one folder deeper than programs.
    let is_deps = folder.file_name().is_some_and(|name| name == "deps");
    Ok(if is_deps { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}

/// A program of this workspace.
///
/// # Errors
/// When it was not built; the message says how.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = programs()?.join(name);
    anyhow::ensure!(path.exists(), "{name} was not built: run `cargo build --workspace` first");
    Ok(path)
}

/// Made again whenever it is not there: the Engine's data with its images.
#[must_use]
pub fn cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .unwrap_or_else(std::env::temp_dir)
        .join("nightjar")
}

/// The checkout's root.
#[must_use]
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(PathBuf::from).unwrap_or_default()
}
