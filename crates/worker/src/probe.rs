//! Is there an Engine, is it safe to put a tenant behind, and which images has it?

use std::path::PathBuf;
use std::time::Duration;

use bollard::models::{SystemInfo, SystemVersion};
use futures_util::StreamExt;
use nightjar_core::policy::{
    EngineFacts, GatewayImage, Gvisor, KernelFacts, KernelHome, RegisteredRuntime, Registration, Runtime,
    Toolkit,
};
use tokio::time::sleep;

use crate::config::WorkersConfig;
use crate::engine::{Engine, EngineError, QUICK};
use crate::floors::{Backend, Component, Found};
use crate::gvisor::{ASK_AGAIN, Told};
use crate::kernel::Kernel;
use crate::own_networks::name_servers_of_this_pc_alone;
use crate::pull::{Shelf, takes_layers_apart};
use crate::workers::Busy;

/// Characters of a version that is shown.
const LONGEST_VERSION: usize = 64;
/// Longer than any Engine that could freeze a worker in time.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A busy PC is slow to answer once; an Engine that is slow three times in a row is of no use.
const SLOW_AT_MOST: u32 = 3;
const LOOK_FOR_ENGINE: Duration = Duration::from_secs(1);
/// Loading an image makes several events.
const IMAGES_SETTLE: Duration = Duration::from_millis(300);
/// An Engine that ends is seen by its event stream; these find one that hangs.
const PING_WITH_JOBS: Duration = Duration::from_secs(3);
const PING_IDLE: Duration = Duration::from_secs(30);
const DESKTOP: &str = "Docker Desktop";
const CONTAINERD_FOLDER: &str = "/var/lib/containerd";
const NVIDIA_HOOK: &str = "nvidia-container-runtime-hook";
const SYSTEM_FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const LONGEST_TOOL_OUTPUT: usize = 4_096;
/// What starts containers where the owner has changed nothing; older Engines tell of none.
const USUAL_RUNTIMES: [&str; 3] = ["", "runc", "io.containerd.runc.v2"];

/// The tenant's number until it had one of its own.
const FORMER_TENANT: &str = "1000:1000";

pub(crate) struct Probe<'a> {
    pub engine: &'a Engine,
    pub config: &'a WorkersConfig,
    pub shelf: &'a Shelf,
    pub kernel: &'a Kernel,
    pub gvisor: &'a Told,
}

impl Probe<'_> {
    pub async fn runtime(&self) -> Runtime {
        // At the start no job is held yet.
        match self.ready(Busy::Idle).await {
            Ok(runtime) => runtime,
            Err(error) => Runtime::Missing { why: error.trouble() },
        }
    }

    async fn ready(&self, busy: Busy) -> Result<Runtime, EngineError> {
        let (version, names, info, tools) = tokio::join!(
            self.engine.version(ANSWER_WITHIN),
            self.engine.image_names(ANSWER_WITHIN),
            self.info(),
            installed_tools(),
        );
        let (version, names, info) = (version?, names?, info?);
        let backend = backend(&version);
        let mut found = components(&version);
        found.extend(
            tools.into_iter().filter(|tool| tool.component != Component::Wsl || backend == Backend::Wsl2),
        );
        let (images, gateway) = self.config.catalogue.present_among(&names, &self.shelf.ids());
        let images = self.that_let_in(images).await?;
        let kernel = self.kernel_facts(&version, &info, &gateway, busy).await?;
        let sandbox = self.sandbox(&info).await;
        Ok(Runtime::Ready {
            unsafe_versions: self.config.floors.findings(&found, backend),
            images,
            engine: EngineFacts {
                toolkit: toolkit(&info, &search_path()),
                version: shown(version.version.as_deref()),
                kernel_version: shown(version.kernel_version.as_deref()),
                gateway,
                kernel,
                gvisor: sandbox,
                own_name_servers: name_servers_of_this_pc_alone(),
                ..facts(&info)
            },
        })
    }

    /// What starts on this PC can be asked; in a machine of the Engine's own it cannot.
    async fn sandbox(&self, info: &SystemInfo) -> Gvisor {
        match registered(info) {
            (how @ (Registration::Fit | Registration::Pinned { .. }), Some(fit))
                if !cfg!(windows) && !is_desktop(info) =>
            {
                taken_for(how, self.gvisor.of(fit.name, fit.path, &search_path()).await)
            }
            (how, _) => {
                self.gvisor.forget().await;
                unasked(how)
            }
        }
    }

    /// An image that was built for the tenant's number of before would pass its check and let nobody in: its SSH cannot
    /// become the account that it has.
    async fn that_let_in(&self, images: Vec<String>) -> Result<Vec<String>, EngineError> {
        let mut kept = Vec::new();
        for key in images {
            let Some(image) = self.config.catalogue.find(&key) else { continue };
            let facts = self.engine.image(&self.shelf.reference_of(&image.source())).await?;
            if facts.is_some_and(|facts| facts.user == FORMER_TENANT) {
                tracing::debug!(
                    image = key,
                    "it is of an earlier version of Nightjar: build or fetch it anew"
                );
            } else {
                kept.push(key);
            }
        }
        Ok(kept)
    }

    async fn kernel_facts(
        &self,
        version: &SystemVersion,
        info: &SystemInfo,
        gateway: &GatewayImage,
        busy: Busy,
    ) -> Result<KernelFacts, EngineError> {
        let image = match gateway {
            GatewayImage::Present => {
                let reference = self.shelf.reference_of(&self.config.catalogue.gateway().source);
                self.engine.image(&reference).await?
            }
            _ => None,
        };
        let Some(image) = image else {
            self.kernel.forget();
            return Ok(KernelFacts::Unasked);
        };
        Ok(self.kernel.facts(version, info, image.id, busy))
    }

    /// Asked anew each time: a restart may have opened the Engine to the network, or made it map users. It is the slowest of
    /// these questions, so what was told last does where it takes too long.
    async fn info(&self) -> Result<SystemInfo, EngineError> {
        let Some(known) = self.engine.known_info() else { return self.engine.info(QUICK).await };
        match self.engine.info(ANSWER_WITHIN).await {
            Err(EngineError::Slow { .. }) => Ok(known),
            said => said,
        }
    }

    /// Tells of every change, for good. `busy` says whether jobs are held.
    pub async fn watch(&self, busy: impl Fn() -> Busy, mut on_change: impl FnMut(Runtime)) {
        let mut last = Runtime::Unknown;
        let mut slow = 0;
        loop {
            let now = match self.ready(busy()).await {
                Err(EngineError::Slow { .. })
                    if matches!(last, Runtime::Ready { .. }) && slow + 1 < SLOW_AT_MOST =>
                {
                    slow += 1;
                    continue;
                }
                Ok(runtime) => runtime,
                Err(error) => Runtime::Missing { why: error.trouble() },
            };
            slow = 0;
            if now != last {
                on_change(now.clone());
                last = now;
            }
            match last {
                Runtime::Ready { .. } if self.kernel.is_due(busy()) => {
                    self.kernel.ask(self.engine, &self.config.host, &busy).await;
                }
                Runtime::Ready { ref engine, .. } if engine.gvisor == Gvisor::Pending => {
                    sleep(ASK_AGAIN).await
                }
                Runtime::Ready { .. } => self.until_something_happens(&busy).await,
                _ => sleep(LOOK_FOR_ENGINE).await,
            }
        }
    }

    /// Waits for the Engine's end, a change to its images or this PC's name servers, or a ping that is not answered.
    async fn until_something_happens(&self, busy: &impl Fn() -> Busy) {
        let Ok(events) = self.engine.image_events() else { return };
        tokio::pin!(events);
        let told = name_servers_of_this_pc_alone();
        loop {
            let ping_in = match busy() {
                Busy::WithJobs => PING_WITH_JOBS,
                Busy::Idle => PING_IDLE,
            };
            tokio::select! {
                event = events.next() => {
                    if event.is_some() {
                        sleep(IMAGES_SETTLE).await;
                    }
                    return;
                }
                () = self.shelf.changed() => return,
                () = sleep(ping_in) => {
                    let is_new = told != name_servers_of_this_pc_alone();
                    let is_due = self.kernel.is_due(busy()) || self.gvisor.is_due().await;
                    if self.engine.ping(ANSWER_WITHIN).await.is_err() || is_due || is_new {
                        return;
                    }
                }
            }
        }
    }
}

fn backend(version: &SystemVersion) -> Backend {
    match KernelHome::of_release(version.kernel_version.as_deref().unwrap_or_default()) {
        KernelHome::Wsl => Backend::Wsl2,
        KernelHome::Linux | KernelHome::DockerDesktop => Backend::Other,
    }
}

/// A version as it is put on a page, however long the Engine's word is.
fn shown(said: Option<&str>) -> String {
    said.unwrap_or_default().chars().filter(|c| !c.is_control()).take(LONGEST_VERSION).collect()
}

/// Engines warn of a socket without encryption in so many words.
fn facts(info: &SystemInfo) -> EngineFacts {
    let says = |list: &Option<Vec<String>>, word: &str| list.iter().flatten().any(|line| line.contains(word));
    EngineFacts {
        is_open_to_network: says(&info.warnings, "API is accessible on http://"),
        maps_users: says(&info.security_options, "name=userns"),
        gvisor: unasked(registered(info).0),
        is_unfiltered: says(&info.security_options, "profile=unconfined"),
        has_other_runtime: info
            .default_runtime
            .as_deref()
            .is_some_and(|name| !USUAL_RUNTIMES.contains(&name)),
        ..EngineFacts::default()
    }
}

/// One that takes every driver for the same one is right with that alone.
fn taken_for(how: Registration<'_>, mut gvisor: Gvisor) -> Gvisor {
    if let (Registration::Pinned { driver }, Gvisor::Told(sandbox)) = (how, &mut gvisor) {
        sandbox.drivers.retain(|known| known == driver);
    }
    gvisor
}

fn registered(info: &SystemInfo) -> (Registration<'_>, Option<RegisteredRuntime<'_>>) {
    let runtimes = info.runtimes.iter().flatten().map(|(name, runtime)| RegisteredRuntime {
        name,
        path: runtime.path.as_deref().unwrap_or_default(),
        arguments: runtime.runtime_args.as_deref().unwrap_or_default(),
    });
    Registration::among(runtimes)
}

/// Before its program has said anything.
fn unasked(how: Registration<'_>) -> Gvisor {
    match how {
        Registration::Absent => Gvisor::Absent,
        Registration::OwnNetwork => Gvisor::OwnNetwork,
        Registration::NoCard => Gvisor::NoCard,
        Registration::Unsafe { flag } => Gvisor::Unsafe { flag: flag.to_owned() },
        Registration::Pinned { .. } | Registration::Fit => Gvisor::Silent,
    }
}

/// As the Engine finds it when it starts: by a hook of this name on its PATH, or by a runtime in its settings. Docker
/// Desktop brings its own.
fn toolkit(info: &SystemInfo, folders: &[PathBuf]) -> Toolkit {
    let is_in_settings = info.runtimes.iter().flatten().any(|(name, _)| name.starts_with("nvidia"));
    match () {
        () if is_desktop(info) || is_in_settings => Toolkit::Present,
        () if cfg!(windows) => Toolkit::Unknown,
        () if folders.iter().any(|folder| folder.join(NVIDIA_HOOK).is_file()) => Toolkit::Present,
        () => Toolkit::Missing,
    }
}

/// Where the Engine's data lies on this PC's disks; none where it has a machine of its own. The folder may still be
/// missing here: then the Engine is elsewhere.
pub(crate) fn data_folders(info: &SystemInfo) -> Vec<PathBuf> {
    if cfg!(windows) || is_desktop(info) {
        return Vec::new();
    }
    // Images of containerd's store are not below the Engine's own folder.
    let of_containerd = (!takes_layers_apart(info)).then(|| CONTAINERD_FOLDER.to_owned());
    info.docker_root_dir.clone().into_iter().chain(of_containerd).map(PathBuf::from).collect()
}

fn is_desktop(info: &SystemInfo) -> bool {
    info.operating_system.as_deref().is_some_and(|name| name.starts_with(DESKTOP))
}

/// The Engine's PATH is its own; a system's service has the usual folders, and whoever starts it by hand has ours.
fn search_path() -> Vec<PathBuf> {
    let ours = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&ours).chain(SYSTEM_FOLDERS.map(PathBuf::from)).collect()
}

fn components(version: &SystemVersion) -> Vec<Found> {
    let mut found = Vec::new();
    if let Some(engine) = &version.version {
        found.push(Found { component: Component::DockerEngine, version: engine.clone() });
    }
    for component in version.components.iter().flatten().filter(|component| component.name == "runc") {
        found.push(Found { component: Component::Runc, version: component.version.clone() });
    }
    // "Docker Desktop 4.44.3 (202357)"
    let platform = version.platform.as_ref().map(|platform| platform.name.as_str()).unwrap_or_default();
    if let Some(rest) = platform.strip_prefix(DESKTOP) {
        let version = rest.split_whitespace().next().unwrap_or_default().to_owned();
        found.push(Found { component: Component::DockerDesktop, version });
    }
    found
}

/// Versions that the Engine does not know, of tools that are installed on this PC. One that is not there is no finding:
/// without the NVIDIA toolkit no card is handed out at all.
async fn installed_tools() -> Vec<Found> {
    #[cfg(windows)]
    let (component, program) = (Component::Wsl, "wsl.exe");
    #[cfg(not(windows))]
    let (component, program) = (Component::NvidiaContainerToolkit, "nvidia-ctk");
    let mut command = tokio::process::Command::new(program);
    command.arg("--version").stdin(std::process::Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(ANSWER_WITHIN, command.output()).await {
        Ok(Ok(output)) => {
            let version = first_version(&output.stdout).unwrap_or_default();
            vec![Found { component, version }]
        }
        _ => Vec::new(),
    }
}

/// The first thing with a dot between digits. `wsl.exe` writes UTF-16 in the user's language, hence no words.
fn first_version(output: &[u8]) -> Option<String> {
    let bytes = output.iter().take(LONGEST_TOOL_OUTPUT).copied().filter(|byte| *byte != 0);
    let text: String = bytes.map(|byte| if byte.is_ascii() { char::from(byte) } else { ' ' }).collect();
    let mut words = text.split_whitespace();
    words.find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(unix)]
    use crate::engine::fake::FakeEngine;
    use bollard::models::{SystemVersionComponents, SystemVersionPlatform};

    fn version(platform: &str, kernel: &str) -> SystemVersion {
        SystemVersion {
            version: Some("28.3.2".into()),
            kernel_version: Some(kernel.into()),
            platform: Some(SystemVersionPlatform { name: platform.into() }),
            components: Some(vec![SystemVersionComponents {
                name: "runc".into(),
                version: "1.2.5".into(),
                details: None,
            }]),
            ..SystemVersion::default()
        }
    }

    #[test]
    fn docker_desktop_is_told_from_a_plain_engine() {
        let plain = version("Docker Engine - Community", "6.1.0-18-amd64");
        assert_eq!(backend(&plain), Backend::Other);
        let names: Vec<_> = components(&plain).into_iter().map(|found| found.component).collect();
        assert_eq!(names, [Component::DockerEngine, Component::Runc]);
        let desktop = version("Docker Desktop 4.44.3 (202357)", "5.15.167.4-microsoft-standard-WSL2");
        assert_eq!(backend(&desktop), Backend::Wsl2);
        assert_eq!(components(&desktop)[2].version, "4.44.3");
    }

    #[test]
    fn an_engine_that_the_network_commands_is_known() {
        let warning = "WARNING: API is accessible on http://0.0.0.0:2375 without encryption.\n Access to the remote API …";
        let info = SystemInfo {
            warnings: Some(vec![warning.into()]),
            security_options: Some(vec!["name=seccomp,profile=default".into(), "name=userns".into()]),
            ..SystemInfo::default()
        };
        let known = EngineFacts { is_open_to_network: true, maps_users: true, ..EngineFacts::default() };
        assert_eq!(facts(&info), known);
        assert_eq!(facts(&SystemInfo::default()), EngineFacts::default());
    }

    #[test]
    fn an_engine_whose_defaults_were_made_wider_is_known() {
        let info = SystemInfo {
            security_options: Some(vec!["name=seccomp,profile=unconfined".into()]),
            default_runtime: Some("nvidia".into()),
            ..SystemInfo::default()
        };
        let known = EngineFacts { is_unfiltered: true, has_other_runtime: true, ..EngineFacts::default() };
        assert_eq!(facts(&info), known);
        let usual = SystemInfo {
            security_options: Some(vec!["name=seccomp,profile=default".into()]),
            default_runtime: Some("runc".into()),
            ..SystemInfo::default()
        };
        assert_eq!(facts(&usual), EngineFacts::default());
    }

    #[test]
    fn gvisor_is_known_by_what_an_engine_says_of_its_runtimes() {
        let told = r#"{"Runtimes":{"runc":{"path":"runc"},
            "gvisor":{"path":"/usr/bin/runsc","runtimeArgs":["--network=host","--nvproxy"]}}}"#;
        let info: SystemInfo = serde_json::from_str(told).unwrap();
        assert_eq!(facts(&info).gvisor, Gvisor::Silent);
        let info: SystemInfo = serde_json::from_str(&told.replace("--network=host", "--debug")).unwrap();
        assert_eq!(facts(&info).gvisor, Gvisor::OwnNetwork);
        let info: SystemInfo = serde_json::from_str(&told.replace("runsc", "runc")).unwrap();
        assert_eq!(facts(&info), EngineFacts::default());
    }

    #[test]
    fn a_version_is_shown_as_it_is_within_bounds() {
        assert_eq!(shown(Some("6.1.0-18-amd64")), "6.1.0-18-amd64");
        assert_eq!(shown(None), "");
        assert_eq!(shown(Some(&format!("28\n{}", "x".repeat(1_000)))).len(), LONGEST_VERSION);
    }

    #[test]
    fn a_tools_version_is_found_in_any_language() {
        let toolkit = b"NVIDIA Container Toolkit CLI version 1.17.8\ncommit: f202b80a9b9d0db00d9b1d73c0128c8962c55f4d\n";
        assert_eq!(first_version(toolkit).as_deref(), Some("1.17.8"));
        let wsl: Vec<u8> =
            "WSL 版本： 2.6.1.0\r\n内核版本： 6.6.87.2-1".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(first_version(&wsl).as_deref(), Some("2.6.1.0"));
        assert_eq!(first_version(b"no number"), None);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn an_engine_that_was_restarted_with_other_settings_is_asked_anew() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

        let (is_other, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (other, count) = (is_other.clone(), asked.clone());
        let fake = FakeEngine::start(move |call| match call {
            "GET /version" => r#"{"Version":"28.3.2"}"#.into(),
            "GET /images/json" => "[]".into(),
            "GET /info" => {
                count.fetch_add(1, Ordering::SeqCst);
                let options = if other.load(Ordering::SeqCst) { r#"["name=userns"]"# } else { "[]" };
                format!(r#"{{"SecurityOptions":{options},"NCPU":4}}"#)
            }
            _ => "{}".into(),
        });
        let config = WorkersConfig::shipped(fake.address()).unwrap();
        let (engine, shelf) = (Engine::new(fake.address()), Shelf::open(None));
        let (kernel, gvisor) = (Kernel::new(), Told::new());
        let probe =
            Probe { engine: &engine, config: &config, shelf: &shelf, kernel: &kernel, gvisor: &gvisor };
        let maps_users = |runtime| match runtime {
            Runtime::Ready { engine, .. } => engine.maps_users,
            other => panic!("{other:?}"),
        };
        assert!(!maps_users(probe.runtime().await));
        is_other.store(true, Ordering::SeqCst);
        assert!(maps_users(probe.runtime().await));
        // Who is to be slowed down for the owner waits for no such question.
        engine.limit_cpus("worker", 2, 50).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_gvisor_that_could_be_used_is_asked_where_it_is_on_this_pc() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("runsc");
        std::fs::write(&program, "#!/bin/sh\necho 550.54.15\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let address = crate::config::EngineAddress::Unix("/nonexistent/d.sock".into());
        let config = WorkersConfig::shipped(address.clone()).unwrap();
        let (engine, shelf) = (Engine::new(address), Shelf::open(None));
        let (kernel, gvisor) = (Kernel::new(), Told::new());
        let probe =
            Probe { engine: &engine, config: &config, shelf: &shelf, kernel: &kernel, gvisor: &gvisor };
        let info = |flags: &str, system: &str| -> SystemInfo {
            let path = program.display();
            let told = format!(
                r#"{{"OperatingSystem":"{system}","Runtimes":{{"runc":{{"path":"runc"}},
                    "box":{{"path":"{path}","runtimeArgs":{flags}}}}}}}"#
            );
            serde_json::from_str(&told).unwrap()
        };
        let fit = r#"["--network=host","--nvproxy"]"#;
        let Gvisor::Told(sandbox) = probe.sandbox(&info(fit, "Debian")).await else { panic!("silent") };
        assert_eq!(
            (sandbox.runtime.as_str(), sandbox.drivers.as_slice()),
            ("box", &["550.54.15".to_owned()][..])
        );
        assert_eq!(probe.sandbox(&info(fit, "Docker Desktop")).await, Gvisor::Silent);
        assert_eq!(probe.sandbox(&info(r#"["--network=host"]"#, "Debian")).await, Gvisor::NoCard);
        std::fs::remove_file(&program).unwrap();
        assert_eq!(probe.sandbox(&info(fit, "Debian")).await, Gvisor::Silent);
    }

    #[cfg(unix)]
    #[test]
    fn what_an_engine_of_this_pc_writes_to_is_known() {
        let plain = SystemInfo { docker_root_dir: Some("/srv/docker".into()), ..SystemInfo::default() };
        assert_eq!(data_folders(&plain), [PathBuf::from("/srv/docker")]);
        let row = ["driver-type", "io.containerd.snapshotter.v1"].map(str::to_owned).to_vec();
        let with_store = SystemInfo { driver_status: Some(vec![row]), ..plain.clone() };
        assert_eq!(data_folders(&with_store), ["/srv/docker", CONTAINERD_FOLDER].map(PathBuf::from));
        let desktop = SystemInfo { operating_system: Some("Docker Desktop".into()), ..plain };
        assert!(data_folders(&desktop).is_empty());
    }

    #[test]
    fn the_toolkit_is_found_as_the_engine_finds_it() {
        let (folder, plain) = (tempfile::tempdir().unwrap(), SystemInfo::default());
        let here = [folder.path().to_owned()];
        let elsewhere = if cfg!(windows) { Toolkit::Unknown } else { Toolkit::Missing };
        assert_eq!(toolkit(&plain, &here), elsewhere);
        let desktop = SystemInfo { operating_system: Some("Docker Desktop".into()), ..plain.clone() };
        assert_eq!(toolkit(&desktop, &here), Toolkit::Present);
        let runtimes = std::collections::HashMap::from([("nvidia".to_owned(), Default::default())]);
        assert_eq!(
            toolkit(&SystemInfo { runtimes: Some(runtimes), ..plain.clone() }, &here),
            Toolkit::Present
        );
        std::fs::write(folder.path().join(NVIDIA_HOOK), "").unwrap();
        assert!(cfg!(windows) || toolkit(&plain, &here) == Toolkit::Present);
    }
}
