//! The app's log: to standard error, and its last lines kept for a report of a problem.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

use nightjar_core::settings::LogLevel;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

const KEPT_LINES: usize = 300;
/// A line that is longer is cut.
const LONGEST_LINE: usize = 2_000;
const VARIABLE: &str = "NIGHTJAR_LOG";

static RECENT: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Begins to write. Once in a program.
pub fn start() {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| "info".into());
    let (filter, handle) = reload::Layer::new(filter);
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::registry()
        .with(filter)
        .with(fmt::layer().with_writer(std::io::stderr).with_ansi(colours))
        .with(fmt::layer().with_writer(|| Keeper).with_ansi(false))
        .init();
    let _ = FILTER.set(handle);
}

/// What the owner chose, unless the environment says otherwise.
pub fn set_level(level: LogLevel) {
    if std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty()) {
        return;
    }
    let directive = match level {
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => {
            "info,nightjar=debug,nightjar_agent=debug,nightjar_desktop=debug,nightjar_worker=debug"
        }
    };
    if let Some(filter) = FILTER.get()
        && let Err(error) = filter.reload(EnvFilter::new(directive))
    {
        eprintln!("nightjar-desktop: the log level was not changed: {error}");
    }
}

/// The last lines, the oldest first.
pub fn recent() -> Vec<String> {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

struct Keeper;

impl Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let mut kept = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines() {
            if kept.len() >= KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(line.chars().take(LONGEST_LINE).collect());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        for number in 0..KEPT_LINES + 10 {
            Keeper.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        let kept = recent();
        assert_eq!((kept.len(), kept[0].as_str()), (KEPT_LINES, "line 10"));
        Keeper.write_all("x".repeat(LONGEST_LINE * 2).as_bytes()).unwrap();
        assert_eq!(recent().last().unwrap().len(), LONGEST_LINE);
    }
}
