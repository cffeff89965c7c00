//! A newer version of the running program, or its end. The system's own packages bring the one: another file lies where the
//! program was started from, and the program goes on as the old one until it begins anew. They bring the other too: no file
//! lies there, and who removed the program does not want it to lend.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
#[cfg(unix)]
use std::time::Duration;

#[cfg(unix)]
use nightjar_core::host::Input;

use crate::AgentHandle;
#[cfg(unix)]
use crate::owner::Message;

/// A package puts its files in place within moments, and each by one rename; what two looks in a row find is so.
#[cfg(unix)]
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Nothing may be lent for long by a program that was removed.
#[cfg(unix)]
const LOOK_AGAIN: Duration = Duration::from_secs(2);

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

/// Says once that a newer version waits, and ends the host as its owner would where the program was removed.
#[cfg(unix)]
pub(crate) async fn watch(host: AgentHandle) {
    let Ok(path) = program() else { return };
    let Some(own) = identity(std::path::Path::new("/proc/self/exe")) else { return };
    let mut looks = Looks::default();
    loop {
        tokio::time::sleep(looks.wait()).await;
        match looks.take(found(&path, own)) {
            Some(Event::Newer) => {
                tracing::info!("a newer version lies at {}", path.display());
                let _ = host.messages.send(Message::Input(Input::UpdateWaiting { is_waiting: true }));
            }
            Some(Event::Removed) => {
                tracing::warn!("{} was removed, so this host ends, and its jobs first", path.display());
                return host.shutdown().await;
            }
            None => {}
        }
    }
}

/// What lies where the program was started from.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// The program itself, or what cannot be seen at this moment.
    Own,
    Other {
        device: u64,
        file: u64,
    },
    Nothing,
}

#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Newer,
    Removed,
}

/// What the looks have found so far.
#[cfg(unix)]
#[derive(Debug)]
struct Looks {
    last: Found,
    is_newer_told: bool,
}

#[cfg(unix)]
impl Default for Looks {
    fn default() -> Self {
        Self { last: Found::Own, is_newer_told: false }
    }
}

#[cfg(unix)]
impl Looks {
    fn take(&mut self, found: Found) -> Option<Event> {
        if std::mem::replace(&mut self.last, found) != found {
            return None;
        }
        match found {
            Found::Own => None,
            // It is the newer one's turn to look for one that is newer still.
            Found::Other { .. } => {
                (!std::mem::replace(&mut self.is_newer_told, true)).then_some(Event::Newer)
            }
            Found::Nothing => Some(Event::Removed),
        }
    }

    fn wait(&self) -> Duration {
        if self.last == Found::Nothing { LOOK_AGAIN } else { LOOK_EVERY }
    }
}

#[cfg(unix)]
fn found(path: &std::path::Path, own: (u64, u64)) -> Found {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match std::fs::metadata(path) {
        Ok(_) => match identity(path).filter(|found| *found != own) {
            Some((device, file)) => Found::Other { device, file },
            None => Found::Own,
        },
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Found::Nothing,
        Err(_) => Found::Own,
    }
}

#[cfg(unix)]
fn identity(path: &std::path::Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some((found.dev(), found.ino()))
}

/// A program that runs cannot be replaced or removed there: its installer ends it first.
#[cfg(windows)]
pub(crate) async fn watch(_host: AgentHandle) {
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

    #[cfg(unix)]
    #[test]
    fn what_two_looks_find_is_told_once_and_a_removal_also_after_an_update() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nightjar");
        std::fs::write(&program, "old").unwrap();
        let own = identity(&program).unwrap();
        let mut looks = Looks::default();
        let mut look = || looks.take(found(&program, own));
        assert_eq!([look(), look()], [None, None]);
        // As a package manager does it.
        std::fs::write(folder.path().join("new"), "new").unwrap();
        std::fs::rename(folder.path().join("new"), &program).unwrap();
        assert_eq!([look(), look(), look()], [None, Some(Event::Newer), None]);
        std::fs::remove_file(&program).unwrap();
        assert_eq!(look(), None);
        std::fs::write(&program, "as a build does it").unwrap();
        assert_eq!([look(), look()], [None, None], "it was away for a moment");
        std::fs::remove_dir_all(folder.path()).unwrap();
        assert_eq!([look(), look()], [None, Some(Event::Removed)]);
        assert_eq!(looks.wait(), LOOK_AGAIN);
    }

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
