//! BOINC from Debian, for the benches that compare with it: a client with a data folder of its own that works for no
//! project, and its manager. Both are ended by process id.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::desktop::{Desktop, Mouse};
use crate::process::{Process, wait_for};
use crate::webdriver::free_port;

/// The variable that marks its processes for [`crate::footprint`].
pub const MARK: &str = "NIGHTJAR_BENCH_PEER";

/// Computes only while nobody is there, and takes six seconds without input for that: its shortest.
const PREFERENCES: &str = "<global_preferences><run_if_user_active>0</run_if_user_active>\
    <run_gpu_if_user_active>0</run_gpu_if_user_active><idle_time_to_run>0.1</idle_time_to_run>\
    <suspend_cpu_usage>0</suspend_cpu_usage></global_preferences>";

const PASSWORD: &str = "bench";
const SOON: Duration = Duration::from_secs(30);
/// How often it is asked whether it has seen the input: fine against its hundreds of milliseconds.
const STEP: Duration = Duration::from_millis(5);

/// A running client.
pub struct Boinc {
    manager: Option<Process>,
    _client: Process,
    folder: PathBuf,
    port: u16,
}

impl Boinc {
    /// # Errors
    /// When it is not installed or does not answer.
    pub fn start(folder: &Path, desktop: &Desktop) -> anyhow::Result<Self> {
        let folder = folder.join("boinc");
        std::fs::create_dir_all(folder.join("home"))?;
        std::fs::write(folder.join("global_prefs_override.xml"), PREFERENCES)?;
        std::fs::write(folder.join("gui_rpc_auth.cfg"), format!("{PASSWORD}\n"))?;
        let port = free_port()?;
        let mut command = Command::new("boinc");
        desktop.enter(&mut command);
        command.arg("--dir").arg(&folder).args(["--gui_rpc_port", &port.to_string()]);
        command.env(MARK, "client").env("HOME", folder.join("home"));
        let client = Process::start(&folder, "client", &mut command)?;
        let boinc = Self { manager: None, _client: client, folder, port };
        wait_for("BOINC's answer", SOON, || Ok(boinc.line().ok()))?;
        Ok(boinc)
    }

    /// Its manager, with its windows out of sight. Closing them asks the owner and ends it, so they are minimised.
    ///
    /// # Errors
    /// When it is not installed or shows no window.
    pub fn start_manager(&mut self, desktop: &Desktop) -> anyhow::Result<()> {
        let mut command = Command::new("boincmgr");
        desktop.enter(&mut command);
        command.args(["--no-daemon", "--namehost=localhost", &format!("--password={PASSWORD}")]);
        command.arg(format!("--gui_rpc_port={}", self.port));
        command.env(MARK, "manager").env("HOME", self.folder.join("home"));
        self.manager = Some(Process::start(&self.folder, "manager", &mut command)?);
        wait_for("the window of BOINC's manager", SOON, || {
            Ok(Some(desktop.windows("BOINC")).filter(|windows| !windows.is_empty()))
        })?;
        // It opens a second one, which asks for a project.
        std::thread::sleep(Duration::from_secs(5));
        for window in desktop.windows("BOINC") {
            desktop.minimise(&window)?;
        }
        Ok(())
    }

    /// From an input to the client's word that the computer is in use, before it stops any task.
    ///
    /// # Errors
    /// When it sees no input or never sees the desktop idle.
    pub fn sees_input(&self, mouse: &mut Mouse, after: Duration) -> anyhow::Result<Duration> {
        let mut line = self.line()?;
        wait_for("BOINC sees the desktop idle", Duration::from_secs(60), || {
            Ok((!line.is_suspended()?).then_some(()))
        })?;
        // Somewhere in the client's own rhythm, not always at the same place of it.
        std::thread::sleep(after);
        let moved = Instant::now();
        mouse.twitch()?;
        while !line.is_suspended()? {
            ensure!(moved.elapsed() < SOON, "BOINC did not see the input within {SOON:?}");
            std::thread::sleep(STEP);
        }
        Ok(moved.elapsed())
    }

    fn line(&self) -> anyhow::Result<Line> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(SOON))?;
        let mut line = Line(stream);
        line.is_suspended()?;
        Ok(line)
    }
}

impl Drop for Boinc {
    fn drop(&mut self) {
        // The manager first: it would otherwise ask what became of its client.
        self.manager = None;
    }
}

/// The client's interface for its manager. What is asked here needs no password.
struct Line(TcpStream);

impl Line {
    fn is_suspended(&mut self) -> anyhow::Result<bool> {
        let asked = "<boinc_gui_rpc_request>\n<get_cc_status/>\n</boinc_gui_rpc_request>\n\u{3}";
        self.0.write_all(asked.as_bytes())?;
        let mut answer = Vec::new();
        let mut part = [0; 4_096];
        while answer.last() != Some(&3) {
            let length = self.0.read(&mut part)?;
            ensure!(length > 0, "BOINC closed the connection");
            answer.extend_from_slice(&part[..length]);
        }
        suspend_reason(&String::from_utf8_lossy(&answer)).map(|reason| reason != 0)
    }
}

fn suspend_reason(answer: &str) -> anyhow::Result<u32> {
    let (_, rest) = answer.split_once("<task_suspend_reason>").context("BOINC tells no suspend reason")?;
    let (number, _) = rest.split_once('<').context("BOINC's answer is cut off")?;
    Ok(number.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_in_the_answer() {
        let answer = "<cc_status>\n   <network_status>2</network_status>\n   \
                      <task_suspend_reason>4</task_suspend_reason>\n</cc_status>";
        assert_eq!(suspend_reason(answer).expect("a number"), 4);
        assert!(suspend_reason("<unauthorized/>").is_err());
    }
}
