//! Programs that a test starts: their output in a file, their end by process id, also when the test fails.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A program that ends with this value.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts it with both outputs in `folder/NAME.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(folder: &Path, name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Self::spawn(name, log, command)
    }

    /// As [`Process::start`], with something to read on standard input.
    ///
    /// # Errors
    /// When it cannot be started or does not read.
    pub fn start_fed(folder: &Path, name: &str, command: &mut Command, input: &str) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file);
        let mut process = Self::spawn(name, log, command)?;
        let mut pipe = process.child.stdin.take().context("standard input was asked for")?;
        pipe.write_all(input.as_bytes())?;
        Ok(process)
    }

    /// Starts it with its standard output readable here, and only its errors in the log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_piped(
        folder: &Path,
        name: &str,
        command: &mut Command,
    ) -> anyhow::Result<(Self, BufReader<ChildStdout>)> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut process = Self::spawn(name, log, command)?;
        let output = process.child.stdout.take().context("standard output was asked for")?;
        Ok((process, BufReader::new(output)))
    }

    fn spawn(name: &str, log: PathBuf, command: &mut Command) -> anyhow::Result<Self> {
        let child = command.spawn().with_context(|| format!("{command:?} cannot be started"))?;
        Ok(Self { child, name: name.to_owned(), log })
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    #[must_use]
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub fn terminate(&mut self, within: Duration) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        let started = Instant::now();
        while self.is_running() {
            if started.elapsed() > within {
                self.kill();
                bail!(
                    "{} did not end within {within:?} of SIGTERM; its log:\n{}",
                    self.name,
                    tail(&self.log())
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// SIGKILL, and no word of goodbye.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn signal(&mut self, signal: Signal) {
        if let (true, Some(pid)) =
            (self.is_running(), i32::try_from(self.child.id()).ok().and_then(Pid::from_raw))
        {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.terminate(Duration::from_secs(10));
        }
    }
}

/// Runs a program to its end and gives its standard output.
///
/// # Errors
/// When it cannot be started or fails; both outputs are then in the error.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let out =
        command.stdin(Stdio::null()).output().with_context(|| format!("{command:?} cannot be started"))?;
    if !out.status.success() {
        bail!(
            "{command:?} failed ({}):\n{}{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// One line of a program that was started with [`Process::start_piped`].
///
/// # Errors
/// When the program ends first.
pub fn line(reader: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        bail!("the program ended before it said anything");
    }
    Ok(line.trim_end().to_owned())
}

/// Asks again and again until there is an answer.
///
/// # Errors
/// When there is none in time.
pub fn wait_for<T>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if started.elapsed() > within {
            bail!("{what}: not within {within:?}");
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// The moment at which nothing of this process runs any more, whoever started it: whoever has to bury it may be slow. The
/// first process of a container is dead when all of its are.
///
/// # Errors
/// When it is there for longer.
pub fn gone(process: u32, within: Duration) -> anyhow::Result<Instant> {
    let place = Path::new("/proc").join(process.to_string());
    let is_dead = || {
        let threads = std::fs::read_dir(place.join("task")).map_or(0, Iterator::count);
        let said = std::fs::read_to_string(place.join("stat")).unwrap_or_default();
        // The name before it may have any characters.
        let state = said.rsplit(") ").next().and_then(|rest| rest.chars().next());
        // Its first thread may be over before the others.
        state.is_none() || (threads <= 1 && matches!(state, Some('Z' | 'X')))
    };
    wait_for(&format!("process {process} is gone"), within, || Ok(is_dead().then(Instant::now)))
}

/// Logs that are printed when the test that holds this fails.
pub struct LogsOfAFailure(pub Vec<PathBuf>);

impl Drop for LogsOfAFailure {
    fn drop(&mut self) {
        for path in self.0.iter().filter(|_| std::thread::panicking()) {
            println!("{}:\n{}", path.display(), std::fs::read_to_string(path).unwrap_or_default());
        }
    }
}

/// The last lines of a log, for an error message.
#[must_use]
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// As [`output`], with something to read on standard input: how secrets are handed over.
///
/// # Errors
/// As [`output`].
pub fn output_with_input(command: &mut Command, input: &str) -> anyhow::Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{command:?} cannot be started"))?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(input.as_bytes())?;
    }
    let out = child.wait_with_output()?;
    if !out.status.success() {
        bail!("{command:?} failed ({}):\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
