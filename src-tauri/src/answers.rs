//! What a page asks for: from the host, and from the desktop around it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use nightjar_agent::AgentHandle;
use nightjar_core::books::Span;
use nightjar_desktop::log;
use nightjar_protocol::report;
use nightjar_protocol::window::{DesktopFacts, Question, QuestionRefusal, Reply};

use crate::app::App;
use crate::{autostart, tray};

/// Jobs that a page lists; a table for a spreadsheet has them all.
const SHOWN_JOBS: usize = 200;
const MOST_SAVED_JOBS: usize = 200_000;

/// The report that was shown last: what is saved is what was read.
#[derive(Default)]
pub struct LastReport(Mutex<Option<String>>);

/// # Errors
/// Why there is no answer.
pub async fn answer(app: &App, host: &AgentHandle, question: Question) -> Result<Reply, QuestionRefusal> {
    find(app, host, question).await.map_err(|error| QuestionRefusal::Failed { detail: format!("{error:#}") })
}

async fn find(app: &App, host: &AgentHandle, question: Question) -> anyhow::Result<Reply> {
    Ok(match question {
        Question::History { since_ms, points } => {
            Reply::History(host.history(since_ms, points).await.map_err(anyhow::Error::msg)?)
        }
        Question::Books { span } => Reply::Books(host.books(span, SHOWN_JOBS).await?),
        Question::Nights { months_ago } => Reply::Nights(host.nights(months_ago).await?),
        Question::Night { since, until } => Reply::Night(Box::new(host.why(since, Some(until)).await?)),
        Question::SaveBooks { span } => save_books(host, span).await?,
        Question::Checks => Reply::Checks(host.checks().await?),
        Question::Images => Reply::Images(host.images().await?),
        Question::Report => {
            let text = write_report(host).await?;
            *app.last_report.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
            Reply::Report { text }
        }
        Question::SaveReport => {
            let last = app.last_report.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let text = last.context("no report was shown yet")?;
            saved(&downloads()?, "nightjar-report", "txt", text)?
        }
        Question::Desktop => Reply::Desktop(DesktopFacts {
            has_tray: tray::is_shown(app).await,
            starts_at_login: autostart::is_on(),
        }),
        Question::SetAutostart { on } => {
            autostart::set(on)?;
            Reply::Done
        }
        Question::Quit => {
            let host = host.clone();
            tokio::spawn(async move { host.shutdown().await });
            Reply::Done
        }
    })
}

async fn save_books(host: &AgentHandle, span: Span) -> anyhow::Result<Reply> {
    let books = host.books(span, MOST_SAVED_JOBS).await?;
    // Spreadsheets take a file for UTF-8 by this mark alone.
    saved(&downloads()?, "nightjar-earnings", "csv", format!("\u{feff}{}", books.csv()))
}

async fn write_report(host: &AgentHandle) -> anyhow::Result<String> {
    let view = host.view().borrow().clone();
    let checks = host.checks().await?;
    let settings = view.settings.as_ref().map(serde_json::to_string_pretty);
    let facts = report::Facts {
        view: &view,
        checks: &checks,
        settings: settings.transpose()?.unwrap_or_default(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        log: log::recent(),
    };
    let own = |name: &str| std::env::var(name).ok().filter(|value| value.len() > 2);
    let secrets = report::Secrets {
        home: own("HOME").or_else(|| own("USERPROFILE")),
        account: own("USER").or_else(|| own("USERNAME")),
        computer: own("HOSTNAME").or_else(|| own("COMPUTERNAME")).or_else(computer),
    };
    Ok(report::write(&facts, &secrets))
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
        let folder = std::env::temp_dir().join(format!("nightjar-saved-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let names: Vec<String> = (0..3)
            .map(|number| match saved(&folder, "a", "csv", number.to_string()).unwrap() {
                Reply::Saved { path } => path,
                other => panic!("{other:?}"),
            })
            .collect();
        let texts: Vec<String> = names.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(texts, ["0", "1", "2"]);
        assert!(names[1].ends_with("a-2.csv"), "{names:?}");
    }
}
