//! A Docker Engine of our own: own data, own containerd, own bridge, own NAT table. It neither sees nor touches an Engine
//! that the machine's owner runs, and it keeps its images between runs.
//!
//! Both daemons run with `--iptables=false` and an nftables table of ours: an Engine that manages iptables empties at its
//! start chains that it takes for its own, and those of the owner's Engine have the same names.

mod leftovers;
pub mod mapping;
mod network;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

use crate::process::{output, tail, wait_for};
use network::Network;

const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(20);
const LOCK_WITHIN: Duration = Duration::from_secs(900);
/// A socket's path may have 107 bytes.
const SOCKET_PATH_LIMIT_BYTES: usize = 107;

/// How to start an [`Engine`].
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Everything lies in here; images stay for the next run. One Engine at a time uses it, others wait.
    pub folder: PathBuf,
    /// Where the Engine and its containerd look for programs first: the container hook of the stand-in card, and what
    /// gVisor runs in its place.
    pub path_first: Option<PathBuf>,
    /// More environment for the daemon, and thereby for its hooks.
    pub env: Vec<(String, String)>,
    /// Whoever is root in a container is nobody outside. Needs a folder to which everybody finds the way, and has images
    /// of its own.
    pub maps_users: bool,
    /// Ways to start containers beside runc, as the daemon's settings name them.
    pub runtimes: serde_json::Map<String, serde_json::Value>,
}

impl EngineOptions {
    /// The Engine whose data is in the cache.
    #[must_use]
    pub fn cached() -> Self {
        Self {
            folder: crate::place::cache().join("engine"),
            path_first: None,
            env: Vec::new(),
            maps_users: false,
            runtimes: serde_json::Map::new(),
        }
    }
}

/// A running private Engine. Its end ends every container in it.
pub struct Engine {
    options: EngineOptions,
    network: Network,
    containerd: Option<Child>,
    dockerd: Option<Child>,
    /// Held as long as the Engine lives.
    _lock: File,
}

impl Engine {
    /// Starts it and waits until it answers. What a run that died has left is cleaned away first.
    ///
    /// # Errors
    /// When a program is missing, this is not root (nor may use `sudo` without a password), another run holds the
    /// folder for long, or a daemon does not come up; its log is in the error then.
    pub fn start(options: EngineOptions) -> anyhow::Result<Self> {
        fs::create_dir_all(&options.folder)
            .with_context(|| format!("cannot make {}", options.folder.display()))?;
        let lock = lock(&options.folder)?;
        let network = Network::choose(&options.folder)?;
        let mut engine = Self { options, network, containerd: None, dockerd: None, _lock: lock };
        ensure!(
            engine.socket().as_os_str().as_bytes().len() <= SOCKET_PATH_LIMIT_BYTES,
            "{} is too long for a socket's path: set XDG_CACHE_HOME to a shorter folder",
            engine.socket().display()
        );
        leftovers::clear(&engine.options.folder, &engine.network)?;
        for folder in ["data", "containerd", "run"] {
            fs::create_dir_all(engine.folder(folder))?;
        }
        if engine.options.maps_users {
            mapping::prepare(&engine.options.folder, &engine.folder("run"))?;
        }
        engine.network.set_up()?;
        engine.start_containerd()?;
        engine.start_dockerd()?;
        engine.remove_containers()?;
        Ok(engine)
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder("run").join("docker.sock")
    }

    /// The same as an address for `DOCKER_HOST`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Process id of its daemon, while it runs.
    #[must_use]
    pub fn daemon_id(&self) -> Option<u32> {
        self.dockerd.as_ref().and_then(|_| leftovers::recorded(&self.folder("run").join("dockerd.pid")))
    }

    /// Docker's command line, pointed to this Engine and to no configuration of the user's.
    #[must_use]
    pub fn docker<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("docker");
        command.arg("--host").arg(self.address()).arg("--config").arg(self.folder("run").join("client"));
        command.args(args).env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT");
        command
    }

    /// A container's first process, as this machine numbers it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&self, container: &str) -> anyhow::Result<u32> {
        let said = self.ask(["inspect", "--format", "{{.State.Pid}}", container])?;
        let process = said.parse().ok().filter(|process| *process != 0);
        process.with_context(|| format!("{container} has no process: {said}"))
    }

    /// What Docker's command line prints.
    ///
    /// # Errors
    /// When it fails; what it said is in the error.
    pub fn ask<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> anyhow::Result<String> {
        Ok(output(&mut self.docker(args))?.trim().to_owned())
    }

    /// Ends the daemon as a crash would. Containers stay until [`Engine::revive`] or the end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn crash(&mut self) -> anyhow::Result<()> {
        let id = self.daemon_id().context("the Engine does not run")?;
        leftovers::send(Signal::KILL, &[id]);
        self.dockerd.take().map(|mut child| child.wait()).transpose()?;
        Ok(())
    }

    /// Stops the daemon where it stands: it answers nothing until [`Engine::go_on`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn hang(&self) -> anyhow::Result<()> {
        leftovers::send(Signal::STOP, &[self.daemon_id().context("the Engine does not run")?]);
        Ok(())
    }

    /// The end of [`Engine::hang`].
    pub fn go_on(&self) {
        if let Some(id) = self.daemon_id() {
            leftovers::send(Signal::CONT, &[id]);
        }
    }

    /// Starts the daemon again after [`Engine::crash`].
    ///
    /// # Errors
    /// As for [`Engine::start`].
    pub fn revive(&mut self) -> anyhow::Result<()> {
        ensure!(self.dockerd.is_none(), "the Engine runs");
        let _ = output(as_root("rm").arg("-f").arg(self.folder("run").join("dockerd.pid")));
        self.start_dockerd()
    }

    /// Ends it with everything in it. Images stay.
    ///
    /// # Errors
    /// When something of it is left.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.options.folder.join(name)
    }

    fn start_containerd(&mut self) -> anyhow::Result<()> {
        let run = self.folder("run");
        let (socket, config) = (run.join("containerd.sock"), run.join("containerd.toml"));
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n",
            self.folder("containerd"),
            run.join("containerd"),
            socket
        );
        fs::write(&config, text)?;
        let mut command = match self.options.maps_users {
            true => mapping::apart(&run, "env"),
            false => as_root("env"),
        };
        command
            .arg(format!("PATH={}", self.search_path()?))
            .arg("containerd")
            .arg("--config")
            .arg(&config)
            .arg("--log-level")
            .arg("warn");
        let mut child = self.spawn("containerd", &mut command)?;
        // Under sudo the child is sudo; the daemon is found by its command line.
        wait_for("containerd's socket", START_WITHIN, || {
            alive(&mut child, "containerd", &self.log("containerd"))?;
            Ok(socket.exists().then_some(()))
        })?;
        self.containerd = Some(child);
        Ok(())
    }

    fn start_dockerd(&mut self) -> anyhow::Result<()> {
        let run = self.folder("run");
        let config = run.join("daemon.json");
        // A file of our own, since the owner's may contradict the flags.
        fs::write(&config, serde_json::json!({ "runtimes": self.options.runtimes }).to_string())?;
        let path = self.search_path()?;
        let mut command = match (&self.containerd, self.options.maps_users) {
            (Some(containerd), true) => mapping::beside(containerd.id(), "env"),
            _ => as_root("env"),
        };
        command.arg(format!("PATH={path}"));
        command.args(self.options.env.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg("dockerd").arg("--config-file").arg(config);
        command.arg("--host").arg(self.address());
        command.arg("--group").arg(rustix::process::getgid().as_raw().to_string());
        command.arg("--data-root").arg(self.folder("data"));
        command.arg("--exec-root").arg(run.join("docker"));
        command.arg("--pidfile").arg(run.join("dockerd.pid"));
        command.arg("--containerd").arg(run.join("containerd.sock"));
        command.args([
            "--containerd-namespace",
            "nightjar",
            "--containerd-plugins-namespace",
            "nightjar-plugins",
        ]);
        command.args(["--iptables=false", "--ip6tables=false", "--exec-opt", "native.cgroupdriver=cgroupfs"]);
        command.args(["--shutdown-timeout", "3", "--log-level", "warn"]);
        command.args(self.network.flags());
        command.args(self.options.maps_users.then(mapping::flag));
        let mut child = self.spawn("dockerd", &mut command)?;
        let socket = self.socket();
        let answered = wait_for("the Engine's answer", START_WITHIN, || {
            alive(&mut child, "dockerd", &self.log("dockerd"))?;
            Ok(ping(&socket).is_ok().then_some(()))
        });
        self.dockerd = Some(child);
        answered.with_context(|| tail(&self.log("dockerd")))
    }

    fn search_path(&self) -> anyhow::Result<String> {
        let own = std::env::var_os("PATH").unwrap_or_default();
        let folders = self.options.path_first.iter().cloned().chain(std::env::split_paths(&own));
        // A user's search path often lacks the system's programs.
        let folders = folders.chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
        let path =
            std::env::join_paths(folders).context("a folder of the search path has a colon in its name")?;
        path.into_string().ok().context("the search path is not UTF-8")
    }

    fn spawn(&self, name: &str, command: &mut Command) -> anyhow::Result<Child> {
        let log = File::create(self.folder("run").join(format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command
            .spawn()
            .with_context(|| format!("{name} cannot be started: is the package docker.io installed?"))
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder("run").join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Containers, networks and volumes are of one run; images are not.
    fn remove_containers(&self) -> anyhow::Result<()> {
        let containers = self.ask(["ps", "--all", "--quiet"])?;
        let paused = self.ask(["ps", "--quiet", "--filter", "status=paused"])?;
        if !paused.is_empty() {
            // Killed first, so that nothing of it runs again.
            let _ = self.ask(["kill"].into_iter().chain(paused.lines()));
            let _ = self.ask(["unpause"].into_iter().chain(paused.lines()));
        }
        if !containers.is_empty() {
            self.ask(["rm", "--force", "--volumes"].into_iter().chain(containers.lines()))?;
        }
        self.ask(["network", "prune", "--force"])?;
        let volumes = self.ask(["volume", "ls", "--quiet"])?;
        if !volumes.is_empty() {
            self.ask(["volume", "rm", "--force"].into_iter().chain(volumes.lines()))?;
        }
        Ok(())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if self.containerd.is_none() && self.dockerd.is_none() {
            return Ok(());
        }
        self.go_on();
        leftovers::end_frozen(&self.network.cgroup());
        if self.dockerd.is_some()
            && let Err(error) = self.remove_containers()
        {
            eprintln!("engine: its containers are ended with it: {error:#}");
        }
        leftovers::end_daemons(&self.options.folder, STOP_WITHIN);
        for mut child in self.dockerd.take().into_iter().chain(self.containerd.take()) {
            child.wait()?;
        }
        leftovers::clear(&self.options.folder, &self.network)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("engine: {error:#}");
        }
    }
}

/// A command that runs as root: as it is, or by `sudo` where that asks for no password.
#[must_use]
pub fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", "--", program]);
    command
}

fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    wait_for("another run's Engine to end", LOCK_WITHIN, || {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(())),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => bail!("cannot lock {}: {error}", path.display()),
        }
    })?;
    Ok(file)
}

fn alive(child: &mut Child, name: &str, log: &str) -> anyhow::Result<()> {
    if let Some(status) = child.try_wait()? {
        bail!(
            "{name} ended at its start ({status}); this needs root and the package docker.io:\n{}",
            tail(log)
        );
    }
    Ok(())
}

pub(crate) fn ping(socket: &Path) -> anyhow::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")?;
    let mut answer = [0_u8; 32];
    let read = stream.read(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer[..read]);
    ensure!(answer.contains(" 200 "), "the Engine said: {answer}");
    Ok(())
}
