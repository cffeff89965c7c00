//! TypeScript types of everything that the window is given, made from the Rust types and committed in
//! `ui/src/bindings`. `cargo xtask bindings` writes them; a test fails when they are old.

use std::path::Path;

use nightjar_core::host::UserCommand;
use nightjar_core::network::CAP_MIB;
use nightjar_core::schedule::{MOST_OVERHEAD_WATTS, MOST_PER_KWH_MICROS};
use nightjar_core::settings::Settings;
use nightjar_core::tariff::MOST_TARIFF_WINDOWS;
use nightjar_core::thermal::QuietHours;
use ts_rs::{Config, ExportError, TS};

use crate::control::Refusal;
use crate::view::ViewModel;
use crate::window::{EnrolRefusal, Question, QuestionRefusal, Reply, StartFailure};

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
    EnrolRefusal::export_all(&config)?;
    Question::export_all(&config)?;
    Reply::export_all(&config)?;
    QuestionRefusal::export_all(&config)?;
    std::fs::write(folder.join("defaults.ts"), defaults()?).map_err(ExportError::from)
}

/// The settings of a fresh host and the bounds of every number in them, for forms and for recorded views.
fn defaults() -> Result<String, ExportError> {
    let written = |value: &serde_json::Value| {
        serde_json::to_string_pretty(value).map_err(|error| ExportError::from(std::io::Error::other(error)))
    };
    let settings = Settings::default();
    let value = serde_json::to_value(&settings).map_err(std::io::Error::other)?;
    let more = [
        ("network.monthly_cap_mib", 0, *CAP_MIB.start(), *CAP_MIB.end()),
        ("tariff.windows", 0, 0, u64::try_from(MOST_TARIFF_WINDOWS).unwrap_or(u64::MAX)),
        ("tariff.price_per_kwh", 0, 0, MOST_PER_KWH_MICROS.unsigned_abs()),
        ("tariff.overhead_watts", 0, 0, MOST_OVERHEAD_WATTS.into()),
    ];
    // Bounds of a list's entries are told by an entry.
    let mut with_entries = settings.clone();
    with_entries.heat.quiet_hours.push(QuietHours { from_minute: 0, to_minute: 0, limit_percent: 100 });
    let bounds: serde_json::Map<String, serde_json::Value> = with_entries
        .numbers()
        .into_iter()
        .chain(more)
        .map(|(field, _, least, most)| (field.to_owned(), serde_json::json!([least, most])))
        .collect();
    Ok(format!(
        "// Written by `cargo xtask bindings` from the Rust types.\nimport type {{ Settings }} from \"./Settings\";\n\n\
         export const DEFAULTS: Settings = {};\n\nexport const BOUNDS: Record<string, [number, number]> = {};\n",
        written(&value)?,
        written(&bounds.into())?
    ))
}
