//! Where the parts lie once installed, and a daemon that ends with whoever started it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::client::Client;

/// The NVML stand-in's file name, which is the one that programs load.
pub const NVML_FILE: &str = "libnvidia-ml.so.1";
/// The CUDA stand-in's file name, which is the one that programs load.
pub const CUDA_FILE: &str = "libcuda.so.1";
/// The hook's file name, which is the one that Docker Engine looks for.
pub const HOOK_FILE: &str = "nvidia-container-runtime-hook";
/// What gVisor's `runsc` looks for in the hook's place.
pub const CLI_FILE: &str = "nvidia-container-cli";
const DAEMON_FILE: &str = "nightjar-sim";
const CONFIG_FILE: &str = "nvidia-sim.toml";
/// Environment variable with the path of another file than that.
const CONFIG_ENV: &str = "NVIDIA_SIM_CONFIG";
/// What is built, and where it goes.
const PARTS: [(&str, &str, &str); 5] = [
    ("libnightjar_sim_nvml.so", "lib", NVML_FILE),
    ("libnightjar_sim_cuda.so", "lib", CUDA_FILE),
    (HOOK_FILE, "bin", HOOK_FILE),
    (CLI_FILE, "bin", CLI_FILE),
    (DAEMON_FILE, "bin", DAEMON_FILE),
];
const STARTS_WITHIN: Duration = Duration::from_secs(10);
const ENDS_WITHIN: Duration = Duration::from_secs(3);

/// What the hook and the program that stands in for it must know; it lies beside the `bin` folder that they are in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookConfig {
    /// Folder with the two libraries.
    pub lib_dir: PathBuf,
    /// The daemon's socket. Its folder is shown to containers, so nothing else may lie there.
    pub socket: PathBuf,
}

impl HookConfig {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not the hook's configuration", path.display()))
    }

    /// That of the running program, which lies in `<root>/bin`.
    pub fn of_this_program() -> anyhow::Result<Self> {
        if let Some(path) = std::env::var_os(CONFIG_ENV) {
            return Self::read(Path::new(&path));
        }
        let program = std::env::current_exe().context("cannot find this program's own path")?;
        let root = program.parent().and_then(Path::parent);
        let root = root.with_context(|| format!("{} is in no folder", program.display()))?;
        Self::read(&root.join(CONFIG_FILE))
    }
}

/// An installed set of stand-ins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The folder for `LD_LIBRARY_PATH` of programs that shall find the simulated driver.
    pub fn lib_dir(&self) -> PathBuf {
        self.root.join("lib")
    }

    /// The folder that comes first on dockerd's and containerd's `PATH`.
    pub fn bin_dir(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The daemon's socket; programs on the host get it as `NVIDIA_SIM_SOCKET`.
    pub fn socket(&self) -> PathBuf {
        self.root.join("run/socket")
    }

    /// A folder like `/sys` with the cards' power states, while a daemon runs.
    pub fn sysfs(&self) -> PathBuf {
        self.root.join("sys")
    }

    /// The daemon's program.
    pub fn daemon_program(&self) -> PathBuf {
        self.bin_dir().join(DAEMON_FILE)
    }

    /// What a program on the host needs in its environment to find the simulated cards.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_LIBRARY_PATH", self.lib_dir()), (crate::wire::SOCKET_ENV, self.socket())]
    }
}

/// Lays out `root` from the artefacts that cargo left in `built` (`target/debug`, say): `lib/` with both
/// libraries under NVIDIA's names, `bin/` with hook, its like for gVisor and daemon, `run/` for the socket, `nvidia-sim.toml`.
/// What is there already is replaced; running programs keep the files that they have open.
///
/// Fails where a part has not been built (`cargo build -p nightjar-sim -p nightjar-sim-nvml -p
/// nightjar-sim-cuda`) or `root` cannot be written.
pub fn install(root: &Path, built: &Path) -> anyhow::Result<Layout> {
    fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
    // The hook runs in another working directory, so every path is a whole one.
    let layout =
        Layout { root: root.canonicalize().with_context(|| format!("cannot resolve {}", root.display()))? };
    for folder in ["lib", "bin", "run"] {
        let folder = layout.root.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for (artefact, folder, name) in PARTS {
        let source = newest(built, artefact);
        let target = layout.root.join(folder).join(name);
        replace(&source, &target).with_context(|| {
            format!(
                "cannot install {} as {}; build the nightjar-sim packages first",
                source.display(),
                target.display()
            )
        })?;
    }
    let config = HookConfig { lib_dir: layout.lib_dir(), socket: layout.socket() };
    let text = toml::to_string(&config).context("cannot write the hook's configuration")?;
    let path = layout.root.join(CONFIG_FILE);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(layout)
}

/// A library that was built for a test lies in `deps`; one that was asked for by name lies in both places.
fn newest(built: &Path, artefact: &str) -> PathBuf {
    let for_a_test = built.join("deps").join(artefact);
    if for_a_test.exists() { for_a_test } else { built.join(artefact) }
}

/// The folder with cargo's artefacts that the running program, a test say, was itself built into.
pub fn built_folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let folder = program.parent().context("this program is in no folder")?;
    let is_test = folder.ends_with("deps") || folder.ends_with("examples");
    Ok(if is_test { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}

fn replace(source: &Path, target: &Path) -> io::Result<()> {
    let fresh = target.with_extension("fresh");
    fs::copy(source, &fresh)?;
    fs::rename(&fresh, target)
}

/// A running daemon, which ends when this is dropped or when its process dies.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    client: Client,
}

impl Daemon {
    /// Starts the daemon of `layout` and waits until it answers. `arguments` choose what it simulates:
    /// `["--cards", "rtx4090,rtx3060"]` or `["--scenario", "night.toml"]`.
    pub fn start<S: AsRef<std::ffi::OsStr>>(layout: &Layout, arguments: &[S]) -> anyhow::Result<Self> {
        let program = layout.daemon_program();
        let mut child = Command::new(&program)
            .args(["serve", "--until-stdin-closes", "--socket"])
            .arg(layout.socket())
            .arg("--sysfs")
            .arg(layout.sysfs())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        match wait_for(&layout.socket(), &mut child) {
            Ok(client) => Ok(Self { child, client }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// A connection for [`Client::control`] and [`Client::stats`].
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Where it does not answer any more, it is ended below.
        let _ = self.client.shutdown();
        end(&mut self.child);
    }
}

fn wait_for(socket: &Path, child: &mut Child) -> anyhow::Result<Client> {
    let deadline = Instant::now() + STARTS_WITHIN;
    loop {
        if let Some(status) = child.try_wait().context("cannot watch the daemon")? {
            bail!("the simulated hardware ended at its start ({status}); its reason is on standard error");
        }
        match Client::connect(socket) {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > deadline => {
                return Err(error).context(format!("no answer within {STARTS_WITHIN:?}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn end(child: &mut Child) {
    drop(child.stdin.take());
    let deadline = Instant::now() + ENDS_WITHIN;
    let ended = |status: io::Result<Option<ExitStatus>>| !matches!(status, Ok(None));
    while !ended(child.try_wait()) {
        if Instant::now() > deadline {
            // It is our own child and has not been waited for, so the id is still its own.
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
