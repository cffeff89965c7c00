//! What the owner is given to keep: the table of a span's earnings, and the report of a problem. Both are files in the
//! folder for downloads of the account that the host runs under.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use nightjar_core::books::Span;
use nightjar_protocol::report;
use nightjar_protocol::window::Reply;

use crate::handle::AgentHandle;

const MOST_SAVED_JOBS: usize = 200_000;

/// The report that was shown last: what is saved is what was read.
#[derive(Clone, Default)]
pub(crate) struct LastReport(Arc<Mutex<Option<String>>>);

impl AgentHandle {
    pub(crate) async fn save_books(&self, span: Span) -> anyhow::Result<Reply> {
        let books = self.books(span, MOST_SAVED_JOBS).await?;
        // Spreadsheets take a file for UTF-8 by this mark alone.
        saved(&downloads()?, "nightjar-earnings", "csv", format!("\u{feff}{}", books.csv()))
    }

    pub(crate) async fn write_report(&self, log: Vec<String>) -> anyhow::Result<Reply> {
        let view = self.view().borrow().clone();
        let checks = self.checks().await?;
        let settings = view.settings.as_ref().map(serde_json::to_string_pretty);
        let facts = report::Facts {
            view: &view,
            checks: &checks,
            settings: settings.transpose()?.unwrap_or_default(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            log,
        };
        let own = |name: &str| std::env::var(name).ok().filter(|value| value.len() > 2);
        let secrets = report::Secrets {
            home: own("HOME").or_else(|| own("USERPROFILE")),
            account: own("USER").or_else(|| own("USERNAME")),
            computer: own("HOSTNAME").or_else(|| own("COMPUTERNAME")).or_else(computer),
        };
        let text = report::write(&facts, &secrets);
        *self.last_report.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
        Ok(Reply::Report { text })
    }

    pub(crate) fn save_report(&self) -> anyhow::Result<Reply> {
        let last = self.last_report.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        saved(&downloads()?, "nightjar-report", "txt", last.context("no report was shown yet")?)
    }
}

#[cfg(target_os = "linux")]
fn computer() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| name.len() > 2)
}

#[cfg(not(target_os = "linux"))]
fn computer() -> Option<String> {
    None
}

fn downloads() -> anyhow::Result<PathBuf> {
    let folders = directories::UserDirs::new().context("this account has no home folder")?;
    let downloads = folders.download_dir().filter(|folder| folder.is_dir());
    Ok(downloads.unwrap_or_else(|| folders.home_dir()).to_owned())
}

/// A new file beside those that are there.
fn saved(folder: &Path, name: &str, ending: &str, text: String) -> anyhow::Result<Reply> {
    use std::io::Write as _;
    for number in 1..1_000_u32 {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        let path = folder.join(format!("{name}{number}.{ending}"));
        match std::fs::File::create_new(&path) {
            Ok(mut file) => {
                let written = file.write_all(text.as_bytes());
                written.with_context(|| format!("{} cannot be written", path.display()))?;
                return Ok(Reply::Saved { path: path.display().to_string() });
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("{} cannot be made", path.display())),
        }
    }
    anyhow::bail!("{} holds too many files of this name: move them away", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..3)
            .map(|number| match saved(folder.path(), "a", "csv", number.to_string()).unwrap() {
                Reply::Saved { path } => path,
                other => panic!("{other:?}"),
            })
            .collect();
        let texts: Vec<String> = names.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert_eq!(texts, ["0", "1", "2"]);
        assert!(names[1].ends_with("a-2.csv"), "{names:?}");
    }
}
