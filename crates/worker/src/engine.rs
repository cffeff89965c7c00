//! The Engine's calls that are used. Each is bounded in time, and its failure is a sentence that says what to do.

mod conduct;
#[cfg(test)]
#[cfg(unix)]
pub(crate) mod fake;
mod images;
mod volumes;

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bollard::container::AttachContainerResults;
use bollard::errors::Error as ApiError;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum,
    ContainerUpdateBody, NetworkCreateRequest, SystemInfo, SystemVersion,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, EventsOptionsBuilder,
    InspectContainerOptions, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{Stream, StreamExt};
use nightjar_core::policy::EngineTrouble;

use crate::config::EngineAddress;
pub(crate) use images::{ImageFacts, LOAD_WITHIN};

/// A call that only looks something up or flips a switch.
pub(crate) const QUICK: Duration = Duration::from_secs(10);
/// Creating or starting a container unpacks nothing, but a slow disk or a GPU that wakes up takes its time.
const SLOW: Duration = Duration::from_secs(60);
/// A container takes less to end. What takes longer may have been lost on one that was frozen, and is said again so often.
const KILLED_WITHIN: Duration = Duration::from_secs(2);
const KILL_TRIES: usize = 4;
/// The owner waits for what this narrows.
const PROMPT: Duration = Duration::from_secs(2);
/// Of one core.
const NANO_CPUS_PER_PERCENT: i64 = 10_000_000;
/// A check reads nothing of the tenant's home: neither Python packages nor what a driver has compiled there.
const CHECK_ENV: [&str; 2] = ["HOME=/tmp", "PYTHONNOUSERSITE=1"];
/// Longest output of a program that is run in a container.
const LONGEST_OUTPUT: usize = 64 * 1024;
/// The library's own limit lies above ours, which are the ones that count.
const NEVER_REACHED_SECS: u64 = 600;

/// Why the Engine did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error(
        "the Docker Engine at {address} does not answer ({detail}); start it, or name its socket in NIGHTJAR_DOCKER"
    )]
    Unreachable { address: String, detail: String },
    #[error(
        "this account may not use the Docker Engine at {address}; add it to the group `docker` and log in anew"
    )]
    NotAllowed { address: String },
    #[error("the Docker Engine did not answer within {secs} s ({doing})")]
    Slow { doing: &'static str, secs: u64 },
    #[error("the Docker Engine did not answer within {ms} ms ({doing})")]
    Late { doing: &'static str, ms: u64 },
    #[error("{doing} failed, the disk is full: free some GiB where Docker keeps its data ({detail})")]
    DiskFull { doing: &'static str, detail: String },
    #[error("the image {reference} is not here; load or build it first")]
    NoImage { reference: String },
    #[error(
        "the Docker Engine cannot hand out the graphics card ({detail}); install the NVIDIA Container Toolkit and \
         restart the Engine"
    )]
    NoGpuSupport { detail: String },
    #[error("the card could not be given to the container: {detail}")]
    GpuHook { detail: String },
    #[error(
        "the container did not start in gVisor: {why}; see to that, or turn gVisor off in the settings ({detail})"
    )]
    Sandbox { why: &'static str, detail: String },
    /// Docker would wait for it, and answer nothing about it any more.
    #[error("what is left of it stands frozen, and Nightjar's helper alone can end it: {detail}")]
    Frozen { detail: String },
    #[error("{doing} failed, there is no such thing: {detail}")]
    NotFound { doing: &'static str, detail: String },
    #[error("{doing} failed, the Docker Engine says: {detail}")]
    Refused { doing: &'static str, status: u16, detail: String },
}

impl EngineError {
    /// What the owner is told.
    #[must_use]
    pub fn trouble(&self) -> EngineTrouble {
        match self {
            Self::Unreachable { address, detail } => {
                EngineTrouble::Silent { address: address.clone(), detail: detail.clone() }
            }
            Self::NotAllowed { address } => EngineTrouble::NotAllowed { address: address.clone() },
            Self::Slow { secs, .. } => EngineTrouble::Slow { within_ms: secs * 1_000 },
            Self::Late { ms, .. } => EngineTrouble::Slow { within_ms: *ms },
            Self::DiskFull { detail, .. } => EngineTrouble::DiskFull { detail: detail.clone() },
            Self::NoImage { .. } | Self::NoGpuSupport { .. } | Self::Sandbox { .. } | Self::Frozen { .. } => {
                EngineTrouble::Refused { detail: self.to_string() }
            }
            Self::GpuHook { detail } | Self::NotFound { detail, .. } | Self::Refused { detail, .. } => {
                EngineTrouble::Refused { detail: detail.clone() }
            }
        }
    }

    /// Nothing can be asked of the Engine now.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::NotAllowed { .. } | Self::Slow { .. } | Self::Late { .. }
        )
    }

    fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoImage { .. })
    }

    fn is_conflict(&self) -> bool {
        // Older Engines answer some conflicts with 500.
        matches!(self, Self::Refused { status: 409, .. } | Self::Refused { status: 500, .. })
    }

    fn says(&self, words: &str) -> bool {
        matches!(self, Self::Refused { detail, .. } if detail.contains(words))
    }
}

/// How a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Running,
    Paused,
    /// Created, ended or being removed.
    Ended,
}

/// A container of ours, by its labels.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    pub id: String,
    pub labels: HashMap<String, String>,
    pub standing: Standing,
}

/// What a program in a container wrote and how it ended.
pub(crate) struct Output {
    pub code: i64,
    pub stdout: String,
    pub stderr: String,
}

/// The connection is made anew for each call, so that a restarted Engine is simply used again.
#[derive(Clone)]
pub(crate) struct Engine {
    address: EngineAddress,
    client: Arc<OnceLock<Docker>>,
    /// What it last said of itself and its machine.
    known: Arc<Mutex<Option<SystemInfo>>>,
}

impl Engine {
    pub fn new(address: EngineAddress) -> Self {
        Self { address, client: Arc::default(), known: Arc::default() }
    }

    fn client(&self) -> Result<&Docker, EngineError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = connect(&self.address).map_err(|error| self.explain("connecting", error))?;
        Ok(self.client.get_or_init(|| client))
    }

    async fn call<T>(
        &self,
        doing: &'static str,
        within: Duration,
        call: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, EngineError> {
        match tokio::time::timeout(within, call).await {
            Ok(answer) => answer.map_err(|error| self.explain(doing, error)),
            Err(_) => Err(EngineError::Slow { doing, secs: within.as_secs() }),
        }
    }

    fn explain(&self, doing: &'static str, error: ApiError) -> EngineError {
        let address = self.address.to_string();
        match error {
            ApiError::DockerResponseServerError { status_code, message } => {
                refused(doing, status_code, message)
            }
            ApiError::DockerStreamError { error } => refused(doing, 500, error),
            ApiError::SocketNotFoundError(path) => {
                EngineError::Unreachable { address, detail: format!("there is no {path}") }
            }
            ApiError::RequestTimeoutError => EngineError::Slow { doing, secs: NEVER_REACHED_SECS },
            error => {
                let cause = innermost(&error);
                match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                    Some(std::io::ErrorKind::PermissionDenied) => EngineError::NotAllowed { address },
                    _ => EngineError::Unreachable { address, detail: cause.to_string() },
                }
            }
        }
    }

    pub async fn version(&self, within: Duration) -> Result<SystemVersion, EngineError> {
        self.call("asking for its version", within, self.client()?.version()).await
    }

    /// Of the Engine's settings and of the machine that runs it, as they are now: one that was restarted may be another.
    pub async fn info(&self, within: Duration) -> Result<SystemInfo, EngineError> {
        let info = self.call("asking for its facts", within, self.client()?.info()).await?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.clone());
        Ok(info)
    }

    /// The same as it was last told, for who cannot wait or minds nothing that changes.
    pub fn known_info(&self) -> Option<SystemInfo> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub async fn ping(&self, within: Duration) -> Result<(), EngineError> {
        self.call("asking whether it is there", within, self.client()?.ping()).await.map(drop)
    }

    /// Ends when the Engine does. Each item is one change to an image.
    pub fn image_events(&self) -> Result<impl Stream<Item = ()> + use<>, EngineError> {
        let filters = HashMap::from([("type", vec!["image"])]);
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        let events = self.client()?.clone().events(Some(options));
        Ok(events.take_while(|event| std::future::ready(event.is_ok())).map(drop))
    }

    pub async fn create_network(&self, request: NetworkCreateRequest) -> Result<(), EngineError> {
        let made =
            self.call("making the worker's network", SLOW, self.client()?.create_network(request)).await;
        match made {
            // Left over from a preparation of the same lease.
            Err(error) if error.says("already exists") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Gives its full id.
    pub async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String, EngineError> {
        let reference = body.image.clone().unwrap_or_default();
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let call = self.client()?.create_container(Some(options), body);
        match self.call("making a container", SLOW, call).await {
            Err(error) if error.is_absence() => Err(EngineError::NoImage { reference }),
            made => made.map(|made| made.id),
        }
    }

    pub async fn start(&self, name: &str) -> Result<(), EngineError> {
        let call = self.client()?.start_container(name, None::<StartContainerOptions>);
        self.call("starting a container", SLOW, call).await
    }

    /// Input and output of process 1; what it wrote before is not repeated.
    pub async fn attach(&self, name: &str) -> Result<AttachContainerResults, EngineError> {
        let options = AttachContainerOptionsBuilder::default()
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .stream(true)
            .build();
        self.call("taking up the line", QUICK, self.client()?.attach_container(name, Some(options))).await
    }

    /// Freezes every process of the container. Already frozen counts as done.
    pub async fn pause(&self, name: &str, within: Duration) -> Result<(), EngineError> {
        match self.call("freezing", within, self.client()?.pause_container(name)).await {
            Err(error) if error.is_conflict() && error.says("already paused") => Ok(()),
            other => other,
        }
    }

    /// Already running counts as done.
    pub async fn unpause(&self, name: &str) -> Result<(), EngineError> {
        match self.call("thawing", QUICK, self.client()?.unpause_container(name)).await {
            Err(error) if error.is_conflict() && error.says("is not paused") => Ok(()),
            other => other,
        }
    }

    /// How many percent of how many cores the container may use from now on; no more cores than the Engine has.
    pub async fn limit_cpus(&self, name: &str, cores: u32, percent: u32) -> Result<(), EngineError> {
        let info = match self.known_info() {
            Some(known) => known,
            None => self.info(PROMPT).await?,
        };
        let has = info.ncpu.and_then(|cores| u32::try_from(cores).ok()).unwrap_or(u32::MAX);
        let nano_cpus = i64::from(cores.min(has).max(1)) * i64::from(percent) * NANO_CPUS_PER_PERCENT;
        let body = ContainerUpdateBody { nano_cpus: Some(nano_cpus), ..ContainerUpdateBody::default() };
        self.call("limiting a container", PROMPT, self.client()?.update_container(name, body)).await
    }

    /// Ends every process of the container, frozen or not. Already gone counts as done.
    pub async fn kill(&self, name: &str) -> Result<(), EngineError> {
        if !self.send_kill(name, QUICK).await? {
            return Ok(());
        }
        // A frozen process takes the signal the moment it is thawed, before any instruction of its own.
        match self.unpause(name).await {
            Err(error) if error.is_silence() => Err(error),
            _ => Ok(()),
        }
    }

    /// The same for a container in gVisor, which passes on no signal to what it holds frozen.
    pub async fn kill_sandboxed(&self, name: &str) -> Result<(), EngineError> {
        for _ in 1..KILL_TRIES {
            match self.unpause(name).await {
                Err(error) if error.is_silence() => return Err(error),
                _ => {}
            }
            // A pause that the Engine has carried out between these two calls swallows the signal.
            match self.send_kill(name, KILLED_WITHIN).await {
                Err(EngineError::Slow { .. }) => {}
                other => return other.map(drop),
            }
        }
        self.send_kill(name, QUICK).await.map(drop)
    }

    /// `false` where nothing of it runs any more.
    async fn send_kill(&self, name: &str, within: Duration) -> Result<bool, EngineError> {
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        match self.call("killing", within, self.client()?.kill_container(name, Some(options))).await {
            Err(error) if error.is_absence() => Ok(false),
            Err(error) if error.is_conflict() && error.says("is not running") => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Returns once the container is no longer there.
    pub async fn remove(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self
            .call("removing a container", SLOW, self.client()?.remove_container(name, Some(options)))
            .await
        {
            Err(error) if error.is_absence() => Ok(()),
            other => other,
        }
    }

    /// `None` where there is no such container.
    pub async fn inspect(&self, name: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let call = self.client()?.inspect_container(name, None::<InspectContainerOptions>);
        match self.call("looking at a container", QUICK, call).await {
            Err(error) if error.is_absence() => Ok(None),
            other => other.map(Some),
        }
    }

    /// `None` where it does not run, or the Engine does not say.
    pub async fn first_process(&self, name: &str) -> Option<i64> {
        self.inspect(name).await.ok().flatten()?.state?.pid
    }

    /// Containers that bear all of these labels (`name=value`), ended ones too.
    pub async fn containers(&self, labels: &[String]) -> Result<Vec<Ours>, EngineError> {
        let filters = HashMap::from([("label", labels.to_vec())]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let list =
            self.call("listing containers", QUICK, self.client()?.list_containers(Some(options))).await?;
        Ok(list.into_iter().filter_map(ours).collect())
    }

    /// Names and labels of the networks that bear all of these labels.
    pub async fn networks(
        &self,
        labels: &[String],
    ) -> Result<Vec<(String, HashMap<String, String>)>, EngineError> {
        let filters = HashMap::from([("label", labels.to_vec())]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let list = self.call("listing networks", QUICK, self.client()?.list_networks(Some(options))).await?;
        Ok(list.into_iter().filter_map(|net| Some((net.name?, net.labels.unwrap_or_default()))).collect())
    }

    pub async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        match self.call("removing a network", QUICK, self.client()?.remove_network(name)).await {
            Err(error) if error.is_absence() => Ok(()),
            other => other,
        }
    }

    /// Runs a program in a running container, as the container's user.
    pub async fn exec(&self, name: &str, command: &[&str], within: Duration) -> Result<Output, EngineError> {
        self.call("running a check in the worker", within, exec(self.client()?, name, command)).await
    }
}

async fn exec(client: &Docker, name: &str, command: &[&str]) -> Result<Output, ApiError> {
    let options = CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command.to_vec()),
        env: Some(CHECK_ENV.to_vec()),
        // A library that reads its settings from where it is started would read the renter's.
        working_dir: Some("/"),
        ..CreateExecOptions::default()
    };
    let exec = client.create_exec(name, options).await?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    if let StartExecResults::Attached { mut output, .. } = client.start_exec(&exec.id, None).await? {
        while let Some(part) = output.next().await {
            let (kept, part) = match part? {
                bollard::container::LogOutput::StdErr { message } => (&mut stderr, message),
                other => (&mut stdout, other.into_bytes()),
            };
            let room = LONGEST_OUTPUT.saturating_sub(kept.len());
            kept.extend(part.iter().take(room));
        }
    }
    let code = client.inspect_exec(&exec.id).await?.exit_code.unwrap_or(-1);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output { code, stdout: text(stdout), stderr: text(stderr) })
}

#[cfg(unix)]
fn connect(address: &EngineAddress) -> Result<Docker, ApiError> {
    let path = match address {
        EngineAddress::Local => Path::new("/var/run/docker.sock"),
        EngineAddress::Unix(path) => path,
        EngineAddress::Pipe(pipe) => return Err(ApiError::UnsupportedURISchemeError { uri: pipe.clone() }),
    };
    Docker::connect_with_unix(&path.to_string_lossy(), NEVER_REACHED_SECS, API_DEFAULT_VERSION)
}

#[cfg(windows)]
fn connect(address: &EngineAddress) -> Result<Docker, ApiError> {
    let pipe = match address {
        EngineAddress::Local => "//./pipe/docker_engine",
        EngineAddress::Pipe(pipe) => pipe,
        EngineAddress::Unix(path) => return Err(unsupported(path)),
    };
    Docker::connect_with_named_pipe(pipe, NEVER_REACHED_SECS, API_DEFAULT_VERSION)
}

#[cfg(windows)]
fn unsupported(path: &Path) -> ApiError {
    ApiError::UnsupportedURISchemeError { uri: format!("unix://{}", path.display()) }
}

/// What gVisor says where it gives no card to a container, and what that means.
const SANDBOX_TROUBLES: [(&str, &str); 5] = [
    (
        "failed to locate nvidia-container-cli",
        "it finds no `nvidia-container-cli` where the Engine looks for programs, which the NVIDIA Container Toolkit brings",
    ),
    ("nvidia-container-cli configure failed", "`nvidia-container-cli`, which it asks for the card, failed"),
    ("nvidia-container-cli info failed", "`nvidia-container-cli`, which it asks for the card, failed"),
    ("unsupported Nvidia driver version", "it does not know this version of NVIDIA's driver"),
    // Its own last words are in its log alone.
    (
        "waiting for sandbox to start",
        "it ended while it started, as where it does not know the version of NVIDIA's driver",
    ),
];

/// Words that tell a refusal apart where the status alone does not.
fn refused(doing: &'static str, status: u16, detail: String) -> EngineError {
    if detail.contains("no space left on device") || detail.contains("disk quota exceeded") {
        return EngineError::DiskFull { doing, detail };
    }
    if detail.contains("could not select device driver") || detail.contains("unresolvable CDI devices") {
        return EngineError::NoGpuSupport { detail };
    }
    // NVIDIA's hook says what is wrong at the end of a long line of the runtime's.
    if let Some((_, said)) =
        detail.split_once("error running hook").and_then(|(_, rest)| rest.split_once("stderr:"))
    {
        let detail = said.trim().trim_end_matches(": unknown").to_owned();
        return EngineError::GpuHook { detail };
    }
    if let Some(why) = SANDBOX_TROUBLES.iter().find_map(|(words, why)| detail.contains(words).then_some(*why))
    {
        return EngineError::Sandbox { why, detail };
    }
    match status {
        404 => EngineError::NotFound { doing, detail },
        _ => EngineError::Refused { doing, status, detail },
    }
}

fn ours(summary: ContainerSummary) -> Option<Ours> {
    use ContainerSummaryStateEnum as State;
    let standing = match summary.state {
        Some(State::RUNNING | State::RESTARTING) => Standing::Running,
        Some(State::PAUSED) => Standing::Paused,
        _ => Standing::Ended,
    };
    Some(Ours { id: summary.id?, labels: summary.labels.unwrap_or_default(), standing })
}

/// Where the Engine published a container's TCP ports.
pub(crate) fn published(container: &ContainerInspectResponse) -> HashMap<u16, SocketAddr> {
    let ports = container.network_settings.as_ref().and_then(|settings| settings.ports.as_ref());
    let bindings = ports.into_iter().flatten().filter_map(|(name, bindings)| {
        let inside = name.strip_suffix("/tcp")?.parse().ok()?;
        let binding = bindings.as_ref()?.first()?;
        let ip: IpAddr = binding.host_ip.as_deref()?.parse().ok()?;
        let port = binding.host_port.as_deref()?.parse().ok()?;
        Some((inside, SocketAddr::new(ip, port)))
    });
    bindings.collect()
}

/// Why a container is no longer running, in a few words.
pub(crate) fn how_it_ended(container: &ContainerInspectResponse) -> Option<String> {
    let state = container.state.as_ref()?;
    if state.running.unwrap_or(false) {
        return None;
    }
    if state.oom_killed.unwrap_or(false) {
        return Some("it used more memory than its limit allows".to_owned());
    }
    if let Some(error) = state.error.as_deref().filter(|error| !error.is_empty()) {
        return Some(format!("it could not be started: {error}"));
    }
    Some(format!("it ended with code {}", state.exit_code.unwrap_or(-1)))
}

/// What lies at the bottom: the HTTP client's own words around it say next to nothing.
fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do() {
        let full = refused("making a container", 500, "mkdir /x: no space left on device".into());
        assert!(full.to_string().contains("the disk is full: free some GiB"), "{full}");
        let gpu = refused("starting a container", 500, "could not select device driver \"\"".into());
        assert!(gpu.to_string().contains("NVIDIA Container Toolkit"), "{gpu}");
        let hook = "runc create failed: error running hook #0: error running hook: exit status 1, stdout: , \
                    stderr: nvidia-container-cli: device error: 5: unknown device: unknown";
        let hook = refused("starting a container", 500, hook.into()).to_string();
        assert_eq!(
            hook,
            "the card could not be given to the container: nvidia-container-cli: device error: 5: unknown device"
        );
        let cli = "OCI runtime create failed: creating container: failed to locate nvidia-container-cli in PATH: exec: \
                   \"nvidia-container-cli\": executable file not found in $PATH: unknown";
        let cli = refused("starting a container", 500, cli.into()).to_string();
        assert!(cli.contains("gVisor") && cli.contains("NVIDIA Container Toolkit brings"), "{cli}");
        let card = "creating container: nvidia-container-cli configure failed, err: exit status 1\nstdout: \n\
                    stderr: nvidia-container-cli: device error: GPU-1: unknown device";
        let card = refused("starting a container", 500, card.into()).to_string();
        assert!(card.contains("failed; see to that") && card.contains("unknown device"), "{card}");
        let driver =
            "initializing sandbox: registering nvproxy driver: unsupported Nvidia driver version: 999.1.1";
        let driver = refused("starting a container", 500, driver.into()).to_string();
        assert!(driver.contains("does not know this version") && driver.contains("999.1.1"), "{driver}");
        let boot = "creating container: cannot create sandbox: cannot read client sync file: waiting for sandbox to \
                    start: EOF: unknown";
        let boot = refused("starting a container", 500, boot.into()).to_string();
        assert!(boot.contains("it ended while it started"), "{boot}");
        assert!(refused("killing", 404, String::new()).is_absence());
        assert!(refused("freezing", 409, "Container x is already paused".into()).says("already paused"));
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_told_with_its_address() {
        let engine = Engine::new(EngineAddress::Unix("/nonexistent/d.sock".into()));
        let error = engine.ping(Duration::from_secs(1)).await.unwrap_err();
        assert!(error.is_silence());
        assert!(error.to_string().contains("unix:///nonexistent/d.sock"), "{error}");
    }
}
