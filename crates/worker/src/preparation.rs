//! From an offer's terms to a worker that has passed its check.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use nightjar_core::host::WorkerEvent;
use nightjar_core::lease::{LeaseTerms, WorkerAccess};
use nightjar_core::proof::Proof;
use nightjar_core::settings::{EgressMode, Settings};
use nightjar_protocol::guest::{GatewayBoot, GuestCommand, GuestEvent, Service, WorkerBoot};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::config::WorkersConfig;
use crate::engine::{Engine, EngineError, Output, QUICK, how_it_ended, published};
use crate::line::Line;
use crate::own_networks;
use crate::pull::Shelf;
use crate::self_check::{self, LONGEST_CAUSE, judge};
use crate::spec::{Surroundings, UnusableTerms, WorkerSpec, remapped_root};
use crate::volumes::Locks;

/// Rules, shaping and proxy of the gateway stand in well under a second.
const GATEWAY_WITHIN: Duration = Duration::from_secs(20);
/// SSH answers. Process 1 gives up first, and says why.
const SERVICES_WITHIN: Duration = Duration::from_secs(90);
pub(crate) const SELF_CHECK_WITHIN: Duration = Duration::from_secs(60);
/// Importing a framework of some GiB for the first time reads most of it from disk.
const FRAMEWORK_WITHIN: Duration = Duration::from_secs(150);
/// Process 1 says why it gives up right before its line ends.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(2);
const TOKEN_BYTES: usize = 32;

/// Lines to both containers of a lease.
pub(crate) struct Lines {
    pub gateway: Line,
    pub worker: Line,
}

/// A worker that may be used.
pub(crate) struct Prepared {
    pub lines: Lines,
    pub ports: HashMap<u16, SocketAddr>,
    pub access: WorkerAccess,
    /// Full id of the worker.
    pub container: String,
    /// Its first process, as the Engine numbers it.
    pub process: Option<i64>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unready {
    #[error(transparent)]
    Terms(#[from] UnusableTerms),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("{0}")]
    Guest(String),
    #[error("{0}")]
    SelfCheck(String),
    #[error(
        "what an earlier lease has left on the card is not ended yet; Docker or Nightjar's helper ends it as soon as it answers"
    )]
    Left,
}

impl Unready {
    pub fn event(&self) -> WorkerEvent {
        let cause: String = self.to_string().chars().take(LONGEST_CAUSE).collect();
        match self {
            Self::SelfCheck(_) => WorkerEvent::SelfCheckFailed { cause },
            _ => WorkerEvent::PreparationFailed { cause },
        }
    }
}

pub(crate) struct Preparation<'a> {
    pub engine: &'a Engine,
    pub config: &'a WorkersConfig,
    pub terms: &'a LeaseTerms,
    pub settings: &'a Settings,
    /// The Engine's name for the gVisor that the tenant runs in, if it does.
    pub sandbox: Option<&'a str>,
    pub shelf: &'a Shelf,
    /// Calls that make something run in here: they come to their end even where the preparation is given up, so that
    /// nothing appears after it was cleaned up.
    pub making: &'a TaskTracker,
    pub volumes: &'a Locks,
    pub own_addresses: &'a [std::net::Ipv4Addr],
}

impl Preparation<'_> {
    pub async fn run(self) -> Result<Prepared, Unready> {
        let jupyter_token = hex::encode(rand::random::<[u8; TOKEN_BYTES]>());
        let info = self.engine.info(QUICK).await?;
        let own_networks = tokio::task::spawn_blocking(own_networks::find).await.unwrap_or_default();
        let name_servers = own_networks::name_servers();
        let gateway = self.shelf.reference_of(&self.config.catalogue.gateway().source);
        let around = Surroundings {
            host: &self.config.host,
            catalogue: &self.config.catalogue,
            gateway: &gateway,
            egress: &self.config.egress,
            seccomp: &self.config.seccomp,
            root_seccomp: &self.config.root_seccomp,
            name_servers: &name_servers,
            settings: self.settings,
            own_networks: &own_networks,
            own_addresses: self.own_addresses,
            engine_cores: info.ncpu.and_then(|cores| u32::try_from(cores).ok()).unwrap_or(u32::MAX),
            engine_root: remapped_root(&info),
            sandbox: self.sandbox,
        };
        let mut spec = WorkerSpec::new(self.terms, jupyter_token.clone(), &around)?;
        spec.use_image(self.shelf.reference_of(&spec.image.source()));
        let engine = self.engine.clone();
        let network = spec.network.clone();
        self.make(async move { engine.create_network(network).await }).await?;

        let gateway = async {
            let name = &spec.names.gateway;
            let (mut line, _) = self.bring_up(name, spec.gateway.clone(), &spec.gateway_boot).await?;
            self.await_gateway(&mut line, name, &spec.gateway_boot).await?;
            Ok(line)
        };
        let (gateway, volume) = tokio::try_join!(gateway, self.hold_volume(&spec))?;
        let footing = volume.footing;
        if !footing.has_quota {
            spec.use_volume_without_quota();
        }
        // What an earlier lease left in a home is the renter's, and must not be able to fail the owner's card: nothing reads
        // it before the check is over. A new one holds nothing yet.
        spec.worker_boot.await_check = !volume.is_new;
        let names = &spec.names;
        // Read once: the Engine does not change published ports of a running container.
        let ports =
            self.engine.inspect(&names.gateway).await?.map(|found| published(&found)).unwrap_or_default();

        let (mut worker, container) =
            self.bring_up(&names.worker, spec.worker.clone(), &spec.worker_boot).await?;
        self.let_go_of_volume(&spec);
        drop(volume);
        let ready = self.await_worker(&mut worker, &names.worker, &spec.worker_boot);
        let checked = self.check(&spec);
        // SSH starts while the card is checked, and Jupyter too in a new home.
        let (ssh_host_key, (device_name, proof)) = tokio::try_join!(ready, checked)?;
        let process = self.engine.first_process(&names.worker).await;
        worker.send(&GuestCommand::CardChecked);
        let access = WorkerAccess { ssh_host_key, jupyter_token, device_name, proof, volume: Some(footing) };
        Ok(Prepared { lines: Lines { gateway, worker }, ports, access, container, process })
    }

    /// Sees a call through that must not be left half done.
    async fn make<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, Unready> {
        match self.making.spawn(call).await {
            Ok(made) => Ok(made?),
            Err(error) => Err(Unready::Guest(format!("a step of the preparation broke off: {error}"))),
        }
    }

    /// Makes a container, takes up its line and starts it, in this order: its process 1 waits for the first line. With its
    /// full id.
    pub(crate) async fn bring_up(
        &self,
        name: &str,
        body: bollard::models::ContainerCreateBody,
        boot: &impl Serialize,
    ) -> Result<(Line, String), Unready> {
        let (engine, container) = (self.engine.clone(), name.to_owned());
        let id = self.make(async move { engine.create(&container, body).await }).await?;
        let ends = self.engine.attach(name).await?;
        let line = Line::open(ends, boot).map_err(|error| Unready::Guest(error.to_string()))?;
        let (engine, container) = (self.engine.clone(), name.to_owned());
        self.make(async move { engine.start(&container).await }).await?;
        Ok((line, id))
    }

    async fn await_gateway(&self, line: &mut Line, name: &str, boot: &GatewayBoot) -> Result<(), Unready> {
        self.hear(line, name, "the gateway", GATEWAY_WITHIN, ready_gateway(boot)).await?
    }

    async fn await_worker(&self, line: &mut Line, name: &str, boot: &WorkerBoot) -> Result<String, Unready> {
        self.hear(line, name, "the worker", SERVICES_WITHIN, ready_worker(boot)).await?
    }

    pub(crate) async fn hear<T>(
        &self,
        line: &mut Line,
        name: &str,
        who: &str,
        within: Duration,
        mut wanted: impl FnMut(&GuestEvent) -> Option<T>,
    ) -> Result<T, Unready> {
        let mut until = Instant::now() + within;
        loop {
            let event = timeout_at(until, line.next())
                .await
                .map_err(|_| Unready::Guest(format!("{who} was not ready within {} s", within.as_secs())))?;
            match event {
                Some(GuestEvent::Failed { what, why }) => {
                    return Err(Unready::Guest(format!("{who} failed: {what}: {why}")));
                }
                Some(GuestEvent::DiskAtWork) => until = Instant::now() + within,
                Some(event) => match wanted(&event) {
                    Some(found) => return Ok(found),
                    None => tracing::debug!(lease = %self.terms.lease, ?event, "{who}"),
                },
                None => {
                    let ended = self.engine.inspect(name).await?;
                    let how =
                        ended.as_ref().and_then(how_it_ended).unwrap_or_else(|| "its line was cut".into());
                    return Err(Unready::Guest(format!("{who} did not come up: {how}")));
                }
            }
        }
    }

    /// The name of the card that the tenant will see, and what it was seen to do.
    async fn check(&self, spec: &WorkerSpec) -> Result<(String, Option<Proof>), Unready> {
        let worker = &spec.names.worker;
        let command = self_check::command(&spec.image, &self.terms.gpu, &self.terms.nonce);
        let output = self.exec(worker, &command, SELF_CHECK_WITHIN).await?;
        let found = judge(&output, "the self-check").map_err(Unready::SelfCheck)?;
        if let Some(check) = &spec.image.framework_check {
            let command: Vec<&str> = check.iter().map(String::as_str).collect();
            let output = self.exec(worker, &command, FRAMEWORK_WITHIN).await?;
            judge(&output, "the framework's check").map_err(Unready::SelfCheck)?;
        }
        Ok(found)
    }

    async fn exec(&self, name: &str, command: &[&str], within: Duration) -> Result<Output, Unready> {
        match self.engine.exec(name, command, within).await {
            Ok(output) => Ok(output),
            Err(error @ EngineError::Slow { .. }) => Err(Unready::SelfCheck(error.to_string())),
            Err(error) => {
                // A worker that has just ended says why on its line, which is being listened to beside this.
                tokio::time::sleep(LAST_WORD_WITHIN).await;
                Err(error.into())
            }
        }
    }
}

/// Whether a gateway's event makes it ready, and to be used. One whose image is of before knows of no sandbox: it is ready all
/// the same, and its rules let out whom a sandboxed tenant's packets come from. Only one that has the proxy's own name server
/// tells them apart.
fn ready_gateway(boot: &GatewayBoot) -> impl FnMut(&GuestEvent) -> Option<Result<(), Unready>> {
    let mut is_fence = !boot.sandboxed || boot.egress != EgressMode::Curated;
    move |event| match event {
        GuestEvent::Listening { service: Service::Names, .. } => {
            is_fence = true;
            None
        }
        GuestEvent::GatewayReady { .. } if is_fence => Some(Ok(())),
        GuestEvent::GatewayReady { .. } => {
            Some(Err(of_before("gateway", "is no fence for a tenant in gVisor")))
        }
        _ => None,
    }
}

/// The same of a worker, with the key of its SSH server. In one of before a sandboxed tenant could stop process 1, and speak in
/// its name.
fn ready_worker(boot: &WorkerBoot) -> impl FnMut(&GuestEvent) -> Option<Result<String, Unready>> {
    let sandboxed = boot.sandboxed;
    move |event| match event {
        GuestEvent::WorkerReady { is_apart: false, .. } if sandboxed => {
            Some(Err(of_before("worker", "does not keep its process 1 from a tenant in gVisor")))
        }
        GuestEvent::WorkerReady { ssh_host_key, .. } => Some(Ok(ssh_host_key.clone())),
        _ => None,
    }
}

fn of_before(whose: &str, lack: &str) -> Unready {
    Unready::Guest(format!(
        "the {whose}'s image is of an earlier version of Nightjar, and {lack}: build or fetch it anew, or turn gVisor off"
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nightjar_protocol::guest::Shaping;

    use super::*;

    fn gateway(sandboxed: bool, egress: EgressMode) -> GatewayBoot {
        let mut boot: GatewayBoot =
            serde_json::from_str(r#"{"lease_id":"l","up_kbit":1000,"down_kbit":1000}"#).unwrap();
        (boot.sandboxed, boot.egress) = (sandboxed, egress);
        boot
    }

    fn worker(sandboxed: bool) -> WorkerBoot {
        WorkerBoot {
            lease_id: "l".to_owned(),
            authorized_key: String::new(),
            jupyter_token: String::new(),
            egress: EgressMode::Curated,
            root_inside: false,
            serve_model: None,
            await_check: true,
            sandboxed,
            env: BTreeMap::new(),
        }
    }

    /// What comes of a container that says this: nothing yet, or the error's words where it is refused.
    fn heard<T>(
        wanted: impl FnMut(&GuestEvent) -> Option<Result<T, Unready>>,
        said: &[GuestEvent],
    ) -> Option<Result<T, String>> {
        said.iter().find_map(wanted).map(|ready| ready.map_err(|error| error.to_string()))
    }

    fn listening(service: Service) -> GuestEvent {
        GuestEvent::Listening { service, took_ms: 1 }
    }

    fn is_refused<T>(came: Option<Result<T, String>>, whose: &str) -> bool {
        let why = came.and_then(Result::err).unwrap_or_default();
        why.starts_with(&format!("the {whose}'s image is of an earlier version"))
            && why.contains("gVisor: build or fetch it anew")
    }

    #[test]
    fn a_gateway_of_before_is_no_fence_for_who_is_sandboxed_and_goes_by_names() {
        let ready = GuestEvent::GatewayReady { shaping: Shaping::Queue };
        let before = [listening(Service::Proxy), ready.clone()];
        let now = [listening(Service::Proxy), listening(Service::Names), ready];
        let boot = gateway(true, EgressMode::Curated);
        assert!(is_refused(heard(ready_gateway(&boot), &before), "gateway"));
        assert_eq!(heard(ready_gateway(&boot), &now), Some(Ok(())));
        assert_eq!(heard(ready_gateway(&boot), &now[..2]), None);
        for boot in [gateway(false, EgressMode::Curated), gateway(true, EgressMode::Open)] {
            assert_eq!(heard(ready_gateway(&boot), &before), Some(Ok(())));
        }
    }

    #[test]
    fn a_worker_of_before_does_not_keep_who_is_sandboxed_from_process_1() {
        let ready = |is_apart| {
            let ready = GuestEvent::WorkerReady { ssh_host_key: "key".to_owned(), is_apart };
            [listening(Service::Ssh), ready]
        };
        let used = Some(Ok("key".to_owned()));
        assert!(is_refused(heard(ready_worker(&worker(true)), &ready(false)), "worker"));
        assert_eq!(heard(ready_worker(&worker(true)), &ready(true)), used);
        assert_eq!(heard(ready_worker(&worker(true)), &ready(true)[..1]), None);
        assert_eq!(heard(ready_worker(&worker(false)), &ready(false)), used);
    }

    #[test]
    fn a_cause_is_short_enough_to_be_shown() {
        let WorkerEvent::SelfCheckFailed { cause } = Unready::SelfCheck("é".repeat(5_000)).event() else {
            panic!("another event")
        };
        assert_eq!(cause.chars().count(), LONGEST_CAUSE);
        assert!(matches!(Unready::Guest("x".into()).event(), WorkerEvent::PreparationFailed { .. }));
    }
}
