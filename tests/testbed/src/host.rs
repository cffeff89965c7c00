//! A host as a process: `nightjar host`, or the desktop app.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nightjar_core::lease::LeaseState;
use nightjar_core::policy::{BlockReason, Verdict};
use nightjar_core::settings::Settings;
use nightjar_core::signal::{SignalRule, SignalRules};
use nightjar_protocol::view::ViewModel;
use serde_json::Value;

use crate::place::program;
use crate::process::{Process, output, tail};

/// What `nightjar --json host` prints once it has joined its market.
const READY: &str = "\"ready\":true";

/// What a host finds around it.
pub struct Surroundings {
    /// Folder for everything of this host.
    pub folder: PathBuf,
    /// The Engine's address, e.g. `unix:///…/docker.sock`.
    pub engine: String,
    /// `LD_LIBRARY_PATH`, `DISPLAY` and the like.
    pub environment: Vec<(String, String)>,
}

impl Surroundings {
    /// Puts a command of this host's owner into these surroundings.
    pub fn enter(&self, command: &mut Command) {
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("NIGHTJAR_DATA_DIR", self.folder.join("data"))
            .env("NIGHTJAR_SETTINGS", self.settings_path())
            .env("NIGHTJAR_RUNTIME_DIR", self.folder.join("run"))
            .env("NIGHTJAR_DOCKER", &self.engine);
    }

    #[must_use]
    pub fn settings_path(&self) -> PathBuf {
        self.folder.join("settings.toml")
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn write_settings(&self, settings: &Settings) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        Ok(std::fs::write(self.settings_path(), toml::to_string(settings)?)?)
    }

    /// `nightjar ARGS` as this host's owner.
    ///
    /// # Errors
    /// When it fails.
    pub fn owner(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(program("nightjar")?);
        self.enter(command.args(args));
        output(&mut command)
    }

    /// What the owner sees now.
    ///
    /// # Errors
    /// When no host runs.
    pub fn view(&self) -> anyhow::Result<ViewModel> {
        let said = self.owner(&["--json", "status"])?;
        serde_json::from_str(&said).with_context(|| format!("no view: {said}"))
    }

    /// What the doctor finds in the check of this name now, whatever it finds in others.
    ///
    /// # Errors
    /// When it says nothing of it.
    pub fn check(&self, id: &str) -> anyhow::Result<Value> {
        // It fails where anything is wrong.
        let said = self.owner(&["--json", "doctor"]).unwrap_or_else(|error| error.to_string());
        let found = said.find('{').zip(said.rfind('}')).and_then(|(from, to)| said.get(from..=to));
        let found: Value = serde_json::from_str(found.with_context(|| format!("no checks: {said}"))?)?;
        let mut checks = found["checks"].as_array().into_iter().flatten();
        checks.find(|check| check["id"] == id).cloned().with_context(|| format!("no {id} in {found}"))
    }
}

pub struct Host {
    pub process: Process,
    pub around: Surroundings,
}

impl Host {
    /// Starts `nightjar host` with what it already has, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start; its log is in the error.
    pub fn start(around: Surroundings) -> anyhow::Result<Self> {
        let mut command = Self::command(&around, &["--json", "host"])?;
        let said_before = log_bytes(&around.folder, "host");
        let process = Process::start(&around.folder, "host", &mut command)?;
        Self { process, around }.ready(said_before, READY)
    }

    /// Its first start: joins a market, with the pairing code on standard input.
    ///
    /// # Errors
    /// When it does not start or the market refuses; its log is in the error.
    pub fn join(around: Surroundings, market_url: &str, code: &str) -> anyhow::Result<Self> {
        let mut command =
            Self::command(&around, &["--json", "host", "--coordinator", market_url, "--pair", "-"])?;
        let said_before = log_bytes(&around.folder, "host");
        let process = Process::start_fed(&around.folder, "host", &mut command, &format!("{code}\n"))?;
        Self { process, around }.ready(said_before, READY)
    }

    /// Ends this headless host and starts the desktop app in its place, with the same data.
    ///
    /// # Errors
    /// When the app does not start; its log is in the error.
    pub fn into_app(mut self) -> anyhow::Result<Self> {
        self.process.terminate(Duration::from_secs(20))?;
        Self::start_app(self.around, &[])
    }

    /// Starts the desktop app with its window, or with `--hidden` in the tray alone.
    ///
    /// # Errors
    /// When the app does not start; its log is in the error.
    pub fn start_app(around: Surroundings, args: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(program("nightjar-desktop")?);
        around.enter(command.args(args).env("NIGHTJAR_LOG", "info,nightjar_worker::conduct=debug"));
        let process = Process::start(&around.folder, "app", &mut command)?;
        Self { process, around }.ready(0, "")
    }

    fn command(around: &Surroundings, args: &[&str]) -> anyhow::Result<Command> {
        std::fs::create_dir_all(&around.folder)?;
        let mut command = Command::new(program("nightjar")?);
        around.enter(command.args(args).env("NIGHTJAR_LOG", "info,nightjar_worker::conduct=debug"));
        Ok(command)
    }

    /// Waits until it has said `word` and answers. In the log's first bytes a run before it may have said the same.
    fn ready(mut self, said_before: usize, word: &str) -> anyhow::Result<Self> {
        let started = Instant::now();
        let has_said = |log: &str| {
            let own = log.as_bytes().get(said_before..).unwrap_or_default();
            String::from_utf8_lossy(own).contains(word)
        };
        while !has_said(&self.process.log()) || self.around.view().is_err() {
            if !self.process.is_running() || started.elapsed() > Duration::from_secs(20) {
                bail!("the host does not start:\n{}", tail(&self.process.log()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(self)
    }

    /// Every change of the view from now on, with the moment at which it arrived.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn watch(&self) -> anyhow::Result<Watch> {
        Watch::start(&self.around)
    }
}

/// How long the log of this program is already: a start appends to it.
fn log_bytes(folder: &Path, name: &str) -> usize {
    let found = std::fs::metadata(folder.join(format!("{name}.log")));
    found.ok().and_then(|log| usize::try_from(log.len()).ok()).unwrap_or(0)
}

/// The view as `nightjar status --watch` shows it.
pub struct Watch {
    _process: Process,
    changes: Receiver<(Instant, ViewModel)>,
}

impl Watch {
    fn start(around: &Surroundings) -> anyhow::Result<Self> {
        let mut command = Command::new(program("nightjar")?);
        around.enter(command.args(["--json", "status", "--watch"]));
        let (process, said) = Process::start_piped(&around.folder, "watch", &mut command)?;
        let (sender, changes) = channel();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                let Ok(view) = serde_json::from_str(&line) else { continue };
                if sender.send((Instant::now(), view)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { _process: process, changes })
    }

    /// What was shown so far counts no more: for a question about now.
    #[must_use]
    pub fn from_now(&self) -> &Self {
        while self.changes.try_recv().is_ok() {}
        self
    }

    /// The moment of the first change that answers the question.
    ///
    /// # Errors
    /// When there is none in time; the last view is in the error.
    pub fn until(
        &self,
        what: &str,
        within: Duration,
        mut is_it: impl FnMut(&ViewModel) -> bool,
    ) -> anyhow::Result<(Instant, ViewModel)> {
        let deadline = Instant::now() + within;
        let mut last = String::from("nothing was shown");
        loop {
            match self.changes.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((at, view)) if is_it(&view) => return Ok((at, view)),
                Ok((_, view)) => last = format!("{}: {:?}", view.sentence, job_state(&view)),
                Err(RecvTimeoutError::Timeout) => bail!("{what}: not within {within:?}; last: {last}"),
                Err(RecvTimeoutError::Disconnected) => bail!("{what}: the host ended; last: {last}"),
            }
        }
    }
}

/// The state of the first job that is shown.
#[must_use]
pub fn job_state(view: &ViewModel) -> Option<LeaseState> {
    view.cards.iter().find_map(|tile| tile.card.job.as_ref()).map(|job| job.state.clone())
}

/// Settings of a host whose owner is quickly away and quickly back: what is minutes in life is seconds here. What else
/// this machine works on is no sign of an owner.
#[must_use]
pub fn quick_settings() -> Settings {
    let defaults = SignalRules::default();
    let foreign_cpu = SignalRule { on: false, ..defaults.foreign_cpu };
    Settings {
        signals: SignalRules { foreign_cpu, ..defaults },
        idle_after_ms: 3_000,
        resume_after_ms: 2_000,
        frozen_at_most_ms: 120_000,
        friendly_grace_ms: 2_000,
        disk_reserve_mib: 0,
        region: String::from("home"),
        ..Settings::default()
    }
}

/// As [`quick_settings`], of an owner whose touch counts for longer: a test has the time for what it does meanwhile.
#[must_use]
pub fn lingering_settings() -> Settings {
    Settings { idle_after_ms: 10_000, resume_after_ms: 10_000, ..quick_settings() }
}

fn reasons(view: &ViewModel) -> impl Iterator<Item = &BlockReason> {
    view.cards.iter().flat_map(|tile| match &tile.card.verdict {
        Verdict::Blocked { reasons, .. } => reasons.as_slice(),
        Verdict::Earn => &[],
    })
}

/// Cards are listed, and none of them waits for an Engine.
#[must_use]
pub fn knows_its_engine(view: &ViewModel) -> bool {
    !view.cards.is_empty() && !reasons(view).any(|reason| matches!(reason, BlockReason::NoDocker { .. }))
}

/// The versions below their floor that this machine's Engine has, as its owner would accept them in so many words.
#[must_use]
pub fn unsafe_versions(view: &ViewModel) -> Vec<String> {
    let versions = reasons(view).filter_map(|reason| match reason {
        BlockReason::UnsafeVersion { version } => Some(version.key()),
        _ => None,
    });
    // Each card has the same ones.
    versions.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// A path as an environment variable takes it.
#[must_use]
pub fn text(path: &Path) -> String {
    path.display().to_string()
}
