//! From an offer's terms to a worker that has passed its check.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nightjar_core::host::WorkerEvent;
use nightjar_core::lease::{LeaseTerms, WorkerAccess};
use nightjar_core::proof::Proof;
use nightjar_core::settings::{EgressMode, Settings};
use nightjar_protocol::guest::{GatewayBoot, GuestCommand, GuestEvent, Service};
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
const OLD_GATEWAY: &str = "the gateway's image is of an earlier version of Nightjar, and no fence for a tenant in gVisor: build or fetch it \
     anew, or turn gVisor off";

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
        let ready = self.await_worker(&mut worker, &names.worker);
        let checked = self.check(&spec);
        // SSH starts while the card is checked, and Jupyter too in a new home.
        let (ssh_host_key, (device_name, proof)) = tokio::try_join!(ready, checked)?;
        worker.send(&GuestCommand::CardChecked);
        let access = WorkerAccess { ssh_host_key, jupyter_token, device_name, proof, volume: Some(footing) };
        Ok(Prepared { lines: Lines { gateway, worker }, ports, access, container })
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

    /// One of before knows of no sandbox: it is ready all the same, and its rules let out whom a sandboxed tenant's packets
    /// come from. Only one that has the proxy's own name server tells them apart.
    async fn await_gateway(&self, line: &mut Line, name: &str, boot: &GatewayBoot) -> Result<(), Unready> {
        let is_fence = AtomicBool::new(!boot.sandboxed || boot.egress != EgressMode::Curated);
        let ready = |event: &GuestEvent| match event {
            GuestEvent::Listening { service: Service::Names, .. } => {
                is_fence.store(true, Ordering::Relaxed);
                None
            }
            GuestEvent::GatewayReady { .. } => Some(is_fence.load(Ordering::Relaxed)),
            _ => None,
        };
        match self.hear(line, name, "the gateway", GATEWAY_WITHIN, ready).await? {
            true => Ok(()),
            false => Err(Unready::Guest(OLD_GATEWAY.to_owned())),
        }
    }

    async fn await_worker(&self, line: &mut Line, name: &str) -> Result<String, Unready> {
        let ready = |event: &GuestEvent| match event {
            GuestEvent::WorkerReady { ssh_host_key } => Some(ssh_host_key.clone()),
            _ => None,
        };
        self.hear(line, name, "the worker", SERVICES_WITHIN, ready).await
    }

    pub(crate) async fn hear<T>(
        &self,
        line: &mut Line,
        name: &str,
        who: &str,
        within: Duration,
        wanted: impl Fn(&GuestEvent) -> Option<T>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_short_enough_to_be_shown() {
        let WorkerEvent::SelfCheckFailed { cause } = Unready::SelfCheck("é".repeat(5_000)).event() else {
            panic!("another event")
        };
        assert_eq!(cause.chars().count(), LONGEST_CAUSE);
        assert!(matches!(Unready::Guest("x".into()).event(), WorkerEvent::PreparationFailed { .. }));
    }
}
