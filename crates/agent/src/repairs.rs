//! What the doctor can mend by itself, with an administrator's rights: a fixed programme with one word out of a closed
//! list, at the owner's click and after the system has asked for a password.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nightjar_protocol::doctor::{Repair, RepairOutcome};
use tokio::process::Command;
use tokio::sync::Mutex;

/// The password, and packages over a slow line.
const DONE_WITHIN: Duration = Duration::from_secs(30 * 60);
/// Of what it said, the end.
const SHOWN_BYTES: usize = 4_096;

#[derive(Clone)]
pub(crate) struct Repairs {
    program: PathBuf,
    /// One at a time.
    running: Arc<Mutex<()>>,
}

impl Repairs {
    pub(crate) fn by(program: PathBuf) -> Self {
        Self { program, running: Arc::default() }
    }

    /// Without them the page shows the command to copy.
    pub(crate) fn are_possible(&self) -> bool {
        asker().is_some() && (cfg!(windows) || self.program.is_file())
    }

    /// The same at a terminal, where the programme is installed.
    pub(crate) fn by_hand(&self, repair: Repair) -> Option<String> {
        let is_here = cfg!(not(windows)) && self.program.is_file();
        is_here.then(|| format!("sudo {} {}", self.program.display(), repair.word()))
    }

    /// # Errors
    /// When it cannot be started, takes too long, or another repair goes on.
    pub(crate) async fn run(&self, repair: Repair) -> anyhow::Result<RepairOutcome> {
        let _running = self.running.try_lock().ok().context("another repair goes on; wait for its end")?;
        let Some(asker) = asker().filter(|_| self.are_possible()) else {
            return Ok(RepairOutcome::Unavailable {
                detail: String::from("pkexec or nightjar-repair is missing"),
            });
        };
        tracing::info!(repair = repair.word(), "a repair begins, as the owner said");
        let mut command = elevated(&asker, &self.program, repair);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let done = tokio::time::timeout(DONE_WITHIN, command.output());
        let done = done.await.context("the repair takes longer than half an hour; it was left")?;
        let outcome = outcome(&done.with_context(|| format!("{} cannot be started", asker.display()))?);
        tracing::info!(repair = repair.word(), ?outcome, "the repair ended");
        Ok(outcome)
    }
}

/// What asks for the password.
fn asker() -> Option<PathBuf> {
    let name = if cfg!(windows) { "powershell.exe" } else { "pkexec" };
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(not(windows))]
fn elevated(asker: &Path, program: &Path, repair: Repair) -> Command {
    let mut command = Command::new(asker);
    // A question in the terminal of a headless host would wait for nobody.
    command.arg("--disable-internal-agent").arg(program).arg(repair.word());
    command
}

/// `Start-Process -Verb RunAs` asks by the system's own dialogue. Its window shows what goes on; only the exit code comes
/// back, and 1223 where the owner said no.
#[cfg(windows)]
fn elevated(asker: &Path, _program: &Path, repair: Repair) -> Command {
    const AGREED: &str = "--accept-source-agreements --accept-package-agreements";
    let inner = match repair {
        // Docker Desktop brings the toolkit.
        Repair::Docker | Repair::Toolkit => {
            format!(
                "wsl.exe --install --no-distribution; winget install --exact --id Docker.DockerDesktop {AGREED}"
            )
        }
        Repair::Versions => {
            format!("wsl.exe --update; winget upgrade --exact --id Docker.DockerDesktop {AGREED}")
        }
        Repair::HelperSocket | Repair::HelperGroup => String::from("nightjar-helper install"),
    };
    let script = format!(
        "try {{ $p = Start-Process powershell.exe -Verb RunAs -Wait -PassThru -ArgumentList '-NoProfile','-Command','{inner}; \
         exit $LASTEXITCODE'; exit $p.ExitCode }} catch {{ exit 126 }}"
    );
    let mut command = Command::new(asker);
    command.args(["-NoProfile", "-NonInteractive", "-Command", &script]);
    command
}

/// As pkexec's manual has it: 126 where the owner closed the question, 127 where nobody could be asked.
fn outcome(done: &Output) -> RepairOutcome {
    let output = said(done);
    match done.status.code() {
        Some(0) => RepairOutcome::Done { output },
        Some(126) => RepairOutcome::Declined,
        Some(127) => RepairOutcome::Unavailable { detail: output },
        _ => RepairOutcome::Failed { output },
    }
}

fn said(done: &Output) -> String {
    let all = [done.stdout.as_slice(), done.stderr.as_slice()].concat();
    let end = &all[all.len().saturating_sub(SHOWN_BYTES)..];
    let text = String::from_utf8_lossy(end);
    text.chars().filter(|char| *char == '\n' || !char.is_control()).collect::<String>().trim().to_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn ended(code: i32, out: &[u8], err: &[u8]) -> Output {
        Output {
            status: std::process::ExitStatus::from_raw(code << 8),
            stdout: out.to_vec(),
            stderr: err.to_vec(),
        }
    }

    #[test]
    fn what_pkexec_says_is_told_apart() {
        assert_eq!(outcome(&ended(0, b"done\n", b"")), RepairOutcome::Done { output: "done".into() });
        assert_eq!(outcome(&ended(126, b"", b"Request dismissed")), RepairOutcome::Declined);
        let nobody = outcome(&ended(127, b"", b"No authentication agent found."));
        assert_eq!(nobody, RepairOutcome::Unavailable { detail: "No authentication agent found.".into() });
        assert_eq!(outcome(&ended(1, b"", b"no apt")), RepairOutcome::Failed { output: "no apt".into() });
    }

    #[test]
    fn only_the_end_of_a_long_story_is_shown_without_control_characters() {
        let mut long = vec![b'x'; 100_000];
        long.extend(b"\x1b[31mthe end\n");
        let RepairOutcome::Failed { output } = outcome(&ended(1, &long, b"")) else { panic!() };
        assert!(output.len() <= SHOWN_BYTES && output.ends_with("[31mthe end"), "{output}");
    }

    #[test]
    fn the_words_of_the_programme_and_of_polkit_are_those_of_the_list() {
        let of = |name: &str| std::fs::read_to_string(format!("../../installer/{name}")).unwrap();
        let (program, policy) = (of("nightjar-repair"), of("org.nightjar.repair.policy"));
        for repair in Repair::ALL {
            let word = repair.word();
            assert!(program.contains(&format!("\n{word})\n")), "{word}");
            assert!(policy.contains(&format!("exec.argv1\">{word}</annotate>")), "{word}");
        }
        assert_eq!(policy.matches("<action ").count(), Repair::ALL.len());
        assert_eq!(policy.matches("<allow_active>auth_admin</allow_active>").count(), Repair::ALL.len());
    }
}
