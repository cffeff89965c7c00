//! TypeScript types of everything that the window is given, made from the Rust types and committed in
//! `ui/src/bindings`. `cargo xtask bindings` writes them; a test fails when they are old.

use std::path::Path;

use nightjar_core::host::UserCommand;
use ts_rs::{Config, ExportError, TS};

use crate::control::Refusal;
use crate::view::ViewModel;
use crate::window::{EnrolRefusal, StartFailure};

/// Writes all bindings into `folder`.
///
/// # Errors
/// When a file cannot be written.
pub fn export(folder: &Path) -> Result<(), ExportError> {
    let config = Config::default().with_large_int("number").with_out_dir(folder);
    ViewModel::export_all(&config)?;
    UserCommand::export_all(&config)?;
    Refusal::export_all(&config)?;
    StartFailure::export_all(&config)?;
    EnrolRefusal::export_all(&config)
}
