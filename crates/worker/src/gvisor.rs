//! What an owner's gVisor can do, by its own word: which of NVIDIA's drivers it knows, and whether it changes the limits of a
//! container that runs. Asked once for each program, not with each look at the Engine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use nightjar_core::policy::{Gvisor, Sandbox};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// A Go program that prints a list. A disk that sleeps takes a while to read it.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Whatever made it fail may have passed then.
const FAILURE_HOLDS: Duration = Duration::from_secs(60);
/// One that a busy PC kept from answering is asked again so soon,
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(2);
/// and is given up, for a while, when it was that slow so often in a row.
const LATE_AT_MOST: u32 = 4;
const LONGEST_OUTPUT: u64 = 64 * 1_024;
/// The newest gVisor knows some thirty.
const MOST_DRIVERS: usize = 200;
/// "570.133.20" has ten.
const LONGEST_VERSION: usize = 16;
const VERSION_PARTS: std::ops::RangeInclusive<usize> = 2..=4;
const LIST: [&str; 2] = ["nvproxy", "list-supported-drivers"];
const HELP: &str = "help";
/// As it is listed there: gVisors that do not have it refuse to change any limit.
const UPDATE: &str = "update";

/// A program as it was when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edition {
    path: PathBuf,
    changed: SystemTime,
    bytes: u64,
}

impl Edition {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some(Self { path: path.to_owned(), changed: found.modified().ok()?, bytes: found.len() })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    drivers: Vec<String>,
    changes_limits: bool,
}

/// One that was asked.
struct Asked {
    edition: Edition,
    answer: Option<Answer>,
    /// How often in a row it was too slow to say everything.
    late: u32,
    at: Instant,
}

impl Asked {
    fn is_pending(&self) -> bool {
        (1..LATE_AT_MOST).contains(&self.late)
    }

    fn holds(&self) -> bool {
        let within = if self.is_pending() { ASK_AGAIN } else { FAILURE_HOLDS };
        (self.late == 0 && self.answer.is_some()) || self.at.elapsed() < within
    }

    fn of(&self, runtime: &str) -> Gvisor {
        match &self.answer {
            _ if self.is_pending() => Gvisor::Pending,
            Some(Answer { drivers, changes_limits }) => Gvisor::Told(Sandbox {
                runtime: runtime.to_owned(),
                drivers: drivers.clone(),
                changes_limits: *changes_limits,
            }),
            None => Gvisor::Silent,
        }
    }
}

/// What it last said.
#[derive(Default)]
pub(crate) struct Told {
    /// Held while it is asked, so that it is asked once.
    last: Mutex<Option<Asked>>,
}

impl Told {
    pub fn new() -> Self {
        Self::default()
    }

    /// Of the gVisor that the Engine calls `runtime` and starts from `program`: a path, or a name that is looked for in
    /// `folders`.
    pub async fn of(&self, runtime: &str, program: &str, folders: &[PathBuf]) -> Gvisor {
        let Some(edition) = find(program, folders) else {
            self.forget().await;
            return Gvisor::Silent;
        };
        let mut last = self.last.lock().await;
        let known = last.take().filter(|asked| asked.edition == edition);
        let asked = match known {
            Some(asked) if asked.holds() => asked,
            known => {
                let (answer, is_late) = ask(&edition.path).await;
                tracing::info!(program = %edition.path.display(), ?answer, is_late, "gVisor was asked what it knows");
                let before = known.map_or(0, |asked| asked.late);
                let late = if is_late { before.saturating_add(1) } else { 0 };
                Asked { edition, answer, late, at: Instant::now() }
            }
        };
        last.insert(asked).of(runtime)
    }

    /// There is none that could be asked.
    pub async fn forget(&self) {
        *self.last.lock().await = None;
    }

    /// Whether it is time to ask one again that was too slow, which no change of the Engine's brings about.
    pub async fn is_due(&self) -> bool {
        self.last.lock().await.as_ref().is_some_and(|asked| asked.late > 0 && !asked.holds())
    }
}

/// Where the Engine finds it, if that is on this PC.
fn find(program: &str, folders: &[PathBuf]) -> Option<Edition> {
    if program.is_empty() {
        return None;
    }
    if program.contains('/') {
        return Edition::of(Path::new(program)).filter(|edition| edition.path.is_absolute());
    }
    folders.iter().filter(|folder| folder.is_absolute()).find_map(|folder| Edition::of(&folder.join(program)))
}

/// Nothing, where it is no gVisor that could be used; and whether it was too slow, and could say more another time.
async fn ask(program: &Path) -> (Option<Answer>, bool) {
    let (listed, help) = tokio::join!(said(program, &LIST), said(program, &[HELP]));
    let is_late = [&listed, &help].into_iter().any(|said| matches!(said, Err(Unsaid::Late)));
    let changes_limits = help.is_ok_and(|said| lists(&said, UPDATE));
    let drivers = listed.map_or_else(|_| Vec::new(), |said| drivers(&said));
    ((!drivers.is_empty()).then_some(Answer { drivers, changes_limits }), is_late)
}

/// Why it said nothing.
enum Unsaid {
    Failed,
    Late,
}

/// What it writes; nothing where it fails, takes too long or does not come to an end.
async fn said(program: &Path, arguments: &[&str]) -> Result<String, Unsaid> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let run = async {
        let mut child = command.spawn()?;
        let mut text = Vec::new();
        if let Some(output) = child.stdout.take() {
            output.take(LONGEST_OUTPUT).read_to_end(&mut text).await?;
        }
        // Its output is closed here: what has more to say fails at it.
        Ok::<_, std::io::Error>((child.wait().await?, text))
    };
    let (why, unsaid) = match timeout(ANSWER_WITHIN, run).await {
        Ok(Ok((status, text))) if status.success() => return Ok(String::from_utf8_lossy(&text).into_owned()),
        Ok(Ok((status, _))) => (status.to_string(), Unsaid::Failed),
        Ok(Err(error)) => (error.to_string(), Unsaid::Failed),
        Err(_) => (format!("no answer within {ANSWER_WITHIN:?}"), Unsaid::Late),
    };
    tracing::warn!(program = %program.display(), ?arguments, "gVisor does not say what it knows: {why}");
    Err(unsaid)
}

/// One a line; what is no version is passed over.
fn drivers(said: &str) -> Vec<String> {
    let versions = said.lines().map(str::trim).filter(|line| is_version(line)).map(str::to_owned);
    versions.take(MOST_DRIVERS).collect::<BTreeSet<String>>().into_iter().collect()
}

fn is_version(line: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    line.len() <= LONGEST_VERSION
        && line.split('.').all(is_number)
        && VERSION_PARTS.contains(&line.split('.').count())
}

/// Whether a command is among those that it lists, each on a line of its own that begins with a tab, with a few words after
/// it.
fn lists(said: &str, command: &str) -> bool {
    let mut listed = said.lines().filter_map(|line| line.strip_prefix('\t')?.split_whitespace().next());
    listed.any(|word| word == command)
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
