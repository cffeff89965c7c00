//! The way in: one task a lease, found by the lease's name.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nightjar_core::gpu::GpuUuid;
use nightjar_core::host::{LoadEvent, StopHow, WorkerEvent};
use nightjar_core::lease::{Epoch, LeaseId, LeaseTerms};
use nightjar_core::network::{OwnAddresses, Rates, Teller};
use nightjar_core::parting::Parting;
use nightjar_core::policy::{Job, OddContainer, Runtime};
use nightjar_core::settings::{Settings, Sharing};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::catalogue::Catalogue;
use crate::config::WorkersConfig;
use crate::engine::{Engine, EngineError};
use crate::gvisor;
use crate::kernel::Kernel;
use crate::lease_task::{Begin, Ending, LeaseTask, Order, Ports};
use crate::load::{LoadTask, LoadWish};
use crate::odd_containers::odd_containers;
use crate::probe::{Probe, data_folders};
use crate::pull::{Puller, Shelf};
use crate::removal::{epoch_of, labels_of};
use crate::second_road::SecondRoad;
use crate::spec::{LABEL_HOST, LABEL_LEASE, check_lease};
use crate::traffic::{Gateways, TrafficTable};
use crate::volumes::{self, Locks};

mod left_over;
mod survivors;

pub(crate) use left_over::Held;
pub(crate) use survivors::take_up;

use survivors::Kept;

/// What has become of a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerReport {
    pub lease: LeaseId,
    pub epoch: Epoch,
    pub event: WorkerEvent,
}

/// Whether a lost Engine would be felt at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    WithJobs,
    Idle,
}

impl Busy {
    pub fn job(self) -> Job {
        match self {
            Self::WithJobs => Job::Held,
            Self::Idle => Job::None,
        }
    }
}

/// All workers of this host. Cheap to clone; every command returns at once and reports through the channel given to
/// [`Workers::new`]. Commands must be given inside a Tokio runtime.
#[derive(Clone)]
pub struct Workers {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    config: Arc<WorkersConfig>,
    road: Option<Arc<dyn SecondRoad>>,
    reports: mpsc::UnboundedSender<WorkerReport>,
    tasks: Mutex<HashMap<LeaseId, Handle>>,
    /// Placements that [`Workers::survivors`] has seen, so that the end of one that vanished since can be told.
    seen: Mutex<HashMap<LeaseId, Epoch>>,
    next_number: AtomicU64,
    loads: Mutex<HashMap<GpuUuid, LoadHandle>>,
    traffic: Arc<TrafficTable>,
    shelf: Arc<Shelf>,
    puller: Puller,
    volumes: Arc<Locks>,
    kernel: Kernel,
    gvisor: gvisor::Told,
    own: watch::Sender<OwnAddresses>,
    held: watch::Sender<Held>,
    kept: Kept,
}

/// What is kept of a load's task.
struct LoadHandle {
    number: u64,
    /// Dropping it ends the load.
    stop: Option<oneshot::Sender<()>>,
    /// Whether the card is free again.
    off: watch::Receiver<bool>,
}

/// What is kept of a lease's task.
struct Handle {
    /// Tells a task from its successor under the same lease.
    number: u64,
    orders: mpsc::UnboundedSender<Order>,
    stop: watch::Sender<Option<Ending>>,
    over: watch::Receiver<bool>,
    ports: Ports,
}

impl Workers {
    /// Connects to nothing yet. `road` freezes a worker where the Engine does not answer.
    ///
    /// # Errors
    /// When the configuration is unusable.
    pub fn new(
        config: WorkersConfig,
        road: Option<Arc<dyn SecondRoad>>,
        events: mpsc::UnboundedSender<WorkerReport>,
    ) -> anyhow::Result<Self> {
        config.check()?;
        let engine = Engine::new(config.engine.clone());
        let shelf = Arc::new(Shelf::open(config.images.as_ref().map(|folder| folder.join("pulled.json"))));
        let (catalogue, folder) = (Arc::new(config.catalogue.clone()), config.images.clone());
        let puller = Puller::new(engine.clone(), catalogue, shelf.clone(), folder);
        let inner = Inner {
            engine,
            config: Arc::new(config),
            road,
            reports: events,
            tasks: Mutex::default(),
            seen: Mutex::default(),
            next_number: AtomicU64::new(0),
            loads: Mutex::default(),
            traffic: Arc::default(),
            shelf,
            puller,
            volumes: Arc::default(),
            kernel: Kernel::new(),
            gvisor: gvisor::Told::new(),
            own: watch::channel(OwnAddresses::default()).0,
            held: watch::channel(Held::nothing()).0,
            kept: Kept::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether containers can run here; answers within about two seconds.
    pub async fn probe(&self) -> Runtime {
        self.inner.probe().runtime().await
    }

    /// Running containers that bear our label and are not as we make them.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn odd_containers(&self) -> Result<Vec<OddContainer>, EngineError> {
        odd_containers(&self.inner.engine, &self.inner.config.catalogue, &self.inner.shelf).await
    }

    /// Calls `on_change` with what [`Workers::probe`] would say now, and each time that changes: an Engine that ends is
    /// told at once, one that hangs within seconds, one that comes back within a second or two.
    pub fn watch(&self, on_change: impl FnMut(Runtime) + Send + 'static) -> JoinHandle<()> {
        let inner = self.inner.clone();
        tokio::spawn(async move {
            inner.probe().watch(|| inner.busy(), on_change).await;
        })
    }

    /// Starts gateway and worker of a lease and checks the card inside; reports `Ready`, `SelfCheckFailed` or
    /// `PreparationFailed`, the latter two followed by `Gone`. An earlier placement of the lease ends first, and a load of
    /// our own that was told to leave the card has left it.
    /// It runs in what the Engine calls `sandbox`, if that is given.
    pub fn prepare(&self, terms: LeaseTerms, sandbox: Option<String>, settings: &Settings) {
        let (lease, epoch) = (terms.lease.clone(), terms.epoch);
        self.begin(
            lease,
            epoch,
            Begin::Prepare { terms: Box::new(terms), sandbox, settings: Box::new(settings.clone()) },
        );
    }

    /// Takes up the lines to containers that are running; reports `Thawed` once it is sure that they do, which it is not of a
    /// sandbox before the helper has said so, or `Failed` and then `Gone`.
    pub fn adopt(&self, terms: LeaseTerms) {
        let kept = self.inner.kept.take(&terms.lease, terms.epoch);
        self.begin(terms.lease, terms.epoch, Begin::Adopt { kept: kept.map(Box::new) });
    }

    /// Freezes the worker now; reports `Frozen`, with the time from this call to the Engine's answer, or `FreezeFailed`.
    /// The tenant is told why, without being waited for.
    pub fn freeze(&self, lease: &LeaseId, parting: Parting) {
        self.order(lease, Order::Freeze { called: Instant::now(), parting });
    }

    /// Lets a frozen worker go on; reports `Thawed` or `ThawFailed`.
    pub fn thaw(&self, lease: &LeaseId) {
        self.order(lease, Order::Thaw);
    }

    /// What the tenant is to expect, told without anything being done; `None` takes it back.
    pub fn tell(&self, lease: &LeaseId, parting: Option<Parting>) {
        self.order(lease, Order::Notice(parting));
    }

    /// From now on the worker has so much of its cores; `None`: all of them. Reports `Restrained` or `RestrainFailed`; of a wish
    /// that another has replaced before it was met, nothing.
    pub fn restrain(&self, lease: &LeaseId, cores: u32, sharing: Option<Sharing>) {
        self.order(lease, Order::Restrain { cores, sharing });
    }

    /// Other limits for a lease's gateway, from now on; its connections go on. Nothing is reported.
    pub fn set_bandwidth(&self, lease: &LeaseId, rates: Rates) {
        if let Some(handle) = self.inner.tasks().get(lease) {
            let _ = handle.orders.send(Order::Bandwidth(rates));
        }
    }

    /// This home has that address on the internet, as somebody says: no tenant reaches it from now on.
    pub fn hear_own_address(&self, teller: Teller, address: IpAddr) {
        if self.inner.own.send_if_modified(|own| own.hear(teller, address)) {
            tracing::info!(
                ?teller,
                "another address of this home's on the internet is out of tenants' reach"
            );
        }
    }

    /// What can be rented on this host.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.inner.config.catalogue
    }

    /// What fetches images from a registry.
    #[must_use]
    pub fn puller(&self) -> &Puller {
        &self.inner.puller
    }

    /// The gateways that stand, with what has passed each.
    #[must_use]
    pub fn traffic(&self) -> watch::Receiver<Gateways> {
        self.inner.traffic.subscribe()
    }

    fn order(&self, lease: &LeaseId, order: Order) {
        let tasks = self.inner.tasks();
        match tasks.get(lease) {
            // A task that is ending takes no orders any more, and its `Gone` is on the way.
            Some(handle) => drop(handle.orders.send(order)),
            None => tracing::warn!(%lease, "there is no worker of this lease to freeze or thaw"),
        }
    }

    /// Puts a load of our own on a card that nobody uses. `told` hears of its work, and of its end in any case. An
    /// earlier load of the same card ends first.
    pub fn start_load(&self, wish: LoadWish, told: impl Fn(LoadEvent) + Send + Sync + 'static) {
        let (stop, stopped) = oneshot::channel();
        let (off, is_off) = watch::channel(false);
        let inner = self.inner.clone();
        let number = inner.next_number.fetch_add(1, Ordering::Relaxed);
        let (card, handle) = (wish.card.clone(), LoadHandle { number, stop: Some(stop), off: is_off });
        drop(lock(&inner.loads).insert(card.clone(), handle));
        let (engine, config, road) = (inner.engine.clone(), inner.config.clone(), inner.road.clone());
        let shelf = inner.shelf.clone();
        let task = LoadTask { engine, config, road, shelf, wish, number, off };
        tokio::spawn(async move {
            let cause = task.run(stopped, &told).await;
            let mut loads = lock(&inner.loads);
            if loads.get(&card).is_some_and(|handle| handle.number == number) {
                loads.remove(&card);
            }
            drop(loads);
            told(LoadEvent::Gone { cause });
        });
    }

    /// Takes it off now; its `Gone` follows.
    pub fn stop_load(&self, card: &GpuUuid) {
        if let Some(handle) = lock(&self.inner.loads).get_mut(card) {
            drop(handle.stop.take());
        }
    }

    /// Ends a worker, whatever it is doing; reports `Gone` when nothing of it is left. May be called again: a harder
    /// stop takes the place of a softer one.
    pub fn stop(&self, lease: &LeaseId, how: StopHow, parting: Parting) {
        let ending = match how {
            StopHow::Kill => Ending::Kill,
            StopHow::Graceful { grace_ms } => {
                Ending::Soft { grace: Duration::from_millis(grace_ms), parting }
            }
        };
        let tasks = self.inner.tasks();
        if let Some(handle) = tasks.get(lease) {
            handle.stop.send_modify(|now| {
                if *now != Some(Ending::Kill) {
                    *now = Some(ending);
                }
            });
            return;
        }
        drop(tasks);
        let (workers, lease) = (self.clone(), lease.clone());
        tokio::spawn(async move { workers.stop_stranger(lease).await });
    }

    /// A lease that no task looks after: what an earlier run left.
    async fn stop_stranger(&self, lease: LeaseId) {
        if check_lease(&lease).is_err() {
            return;
        }
        let labels = labels_of(&self.inner.config.host, &lease, None);
        let found = match self.inner.engine.containers(&labels).await {
            Ok(containers) => containers.iter().filter_map(epoch_of).max(),
            Err(error) => {
                tracing::warn!(%lease, "what is left of it cannot be looked for: {error}");
                None
            }
        };
        let known = found.or_else(|| lock(&self.inner.seen).get(&lease).copied());
        match known {
            Some(epoch) => self.begin(lease, epoch, Begin::Remains),
            None => tracing::debug!(%lease, "there is nothing of it to stop"),
        }
    }

    fn begin(&self, lease: LeaseId, epoch: Epoch, begin: Begin) {
        let inner = self.inner.clone();
        if let Err(unusable) = check_lease(&lease) {
            let cause = unusable.to_string();
            for event in
                [WorkerEvent::PreparationFailed { cause: cause.clone() }, WorkerEvent::Gone { cause }]
            {
                let _ = inner.reports.send(WorkerReport { lease: lease.clone(), epoch, event });
            }
            return;
        }
        let number = inner.next_number.fetch_add(1, Ordering::Relaxed);
        let (orders, inbox) = mpsc::unbounded_channel();
        let (stop, stop_inbox) = watch::channel(None);
        let (over_sender, over) = watch::channel(false);
        let ports = Ports::default();
        let handle = Handle { number, orders, stop, over, ports: ports.clone() };
        let earlier = inner.tasks().insert(lease.clone(), handle);
        let mut predecessors: Vec<watch::Receiver<bool>> = earlier
            .into_iter()
            .map(|earlier| {
                earlier.stop.send_replace(Some(Ending::Kill));
                earlier.over
            })
            .collect();
        if let Begin::Prepare { terms, .. } = &begin {
            predecessors.extend(lock(&inner.loads).get(&terms.gpu).map(|load| load.off.clone()));
        }
        // Of one that is not adopted the lines are cut now.
        drop(inner.kept.take(&lease, epoch));
        let task = LeaseTask {
            engine: inner.engine.clone(),
            config: inner.config.clone(),
            road: inner.road.clone(),
            lease: lease.clone(),
            epoch,
            reports: inner.reports.clone(),
            orders: inbox,
            stop: stop_inbox,
            ports,
            traffic: inner.traffic.clone(),
            shelf: inner.shelf.clone(),
            volumes: inner.volumes.clone(),
            own: inner.own.subscribe(),
            held: inner.held.subscribe(),
            predecessors,
        };
        tokio::spawn(async move {
            task.run(begin).await;
            over_sender.send_replace(true);
            let mut tasks = inner.tasks();
            if tasks.get(&lease).is_some_and(|handle| handle.number == number) {
                tasks.remove(&lease);
            }
        });
    }

    /// Ids of this host's containers, those of workers and of gateways.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn container_ids(&self) -> Result<Vec<String>, EngineError> {
        let labels = [format!("{LABEL_HOST}={}", self.inner.config.host), LABEL_LEASE.to_owned()];
        Ok(self.inner.engine.containers(&labels).await?.into_iter().map(|container| container.id).collect())
    }

    /// Where the Engine keeps images, containers and volumes, as far as that is on this PC's own disks. Asks nothing.
    #[must_use]
    pub fn data_folders(&self) -> Vec<PathBuf> {
        self.inner.engine.known_info().as_ref().map(data_folders).unwrap_or_default()
    }

    /// Names of the volumes that renters keep with this host.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn volumes(&self) -> Result<Vec<String>, EngineError> {
        volumes::kept(&self.inner.engine, &self.inner.config.host).await
    }

    /// Deletes a volume with all that is on it; `false` while a lease uses it.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn wipe_volume(&self, name: &str) -> Result<bool, EngineError> {
        volumes::wipe(&self.inner.engine, &self.inner.volumes, name).await
    }

    /// Where a port of the worker is reached on this PC; `None` while there is none.
    #[must_use]
    pub fn address(&self, lease: &LeaseId, port: u16) -> Option<SocketAddr> {
        let tasks = self.inner.tasks();
        tasks.get(lease)?.ports.get()?.get(&port).copied()
    }
}

impl Inner {
    fn probe(&self) -> Probe<'_> {
        let Self { engine, config, shelf, kernel, gvisor, .. } = self;
        Probe { engine, config, shelf, kernel, gvisor }
    }

    fn busy(&self) -> Busy {
        if self.tasks().is_empty() && lock(&self.loads).is_empty() { Busy::Idle } else { Busy::WithJobs }
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<LeaseId, Handle>> {
        lock(&self.tasks)
    }
}

/// Nothing that is done under these locks can leave the map half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
