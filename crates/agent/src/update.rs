//! A newer version of the running program. The system's own packages bring it: another file lies where the program was
//! started from, and the program goes on as the old one until it begins anew.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
#[cfg(unix)]
use std::time::Duration;

#[cfg(unix)]
use nightjar_core::host::Input;
use tokio::sync::mpsc;

use crate::owner::Message;

/// A package puts its files in place within moments; what two looks in a row find is all there.
#[cfg(unix)]
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What Linux adds to the path of a program whose file was replaced.
const REPLACED: &str = " (deleted)";

/// Where the program lies for its next start, also after an update under the one that runs.
///
/// # Errors
/// When the system does not say.
pub fn program() -> std::io::Result<PathBuf> {
    let running = std::env::current_exe()?;
    let whole = running.to_str().and_then(|path| path.strip_suffix(REPLACED)).map(PathBuf::from);
    Ok(whole.unwrap_or(running))
}

/// Says once that a newer version waits.
#[cfg(unix)]
pub(crate) async fn watch(owner: mpsc::UnboundedSender<Message>) {
    let Ok(path) = program() else { return };
    let Some(own) = identity(std::path::Path::new("/proc/self/exe")) else { return };
    let mut before = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // One that is gone altogether was removed, and there is nothing to begin anew.
        let now = identity(&path).filter(|found| *found != own);
        if now.is_some() && now == before {
            tracing::info!("a newer version lies at {}", path.display());
            let _ = owner.send(Message::Input(Input::UpdateWaiting { is_waiting: true }));
            return;
        }
        before = now;
    }
}

#[cfg(unix)]
fn identity(path: &std::path::Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some((found.dev(), found.ino()))
}

/// A program that runs cannot be replaced there: its installer ends it first.
#[cfg(windows)]
pub(crate) async fn watch(_owner: mpsc::UnboundedSender<Message>) {
    std::future::pending::<()>().await;
}

/// Begins this process anew with the program as it is now. Returns only where that fails.
#[cfg(unix)]
pub fn begin_anew(arguments: impl Iterator<Item = OsString>) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    match program() {
        Ok(program) => std::process::Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}

/// A code is good for one start: without `option` and its value.
pub fn without(
    option: &'static str,
    arguments: impl Iterator<Item = OsString>,
) -> impl Iterator<Item = OsString> {
    let mut skips_value = false;
    arguments.filter(move |argument| {
        if std::mem::take(&mut skips_value) {
            return false;
        }
        let bytes = argument.as_encoded_bytes();
        let joined = bytes.strip_prefix(option.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
        skips_value = argument == OsStr::new(option);
        !skips_value && !joined
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_left_out() {
        let given = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>().into_iter();
        for words in [["host", "--pair", "-", "--json"].as_slice(), &["host", "--pair=ABCD", "--json"]] {
            let left: Vec<OsString> = without("--pair", given(words)).collect();
            assert_eq!(left, ["host", "--json"]);
        }
        let left: Vec<OsString> = without("--pair", given(&["host", "--pairs", "x"])).collect();
        assert_eq!(left.len(), 3);
    }
}
