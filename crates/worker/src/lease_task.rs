//! One lease's life in the hands of one task: commands in order, reports in order. A stop interrupts whatever is under
//! way. The processor's limits are set beside all that.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nightjar_core::conduct::MiningSign;
use nightjar_core::host::WorkerEvent;
use nightjar_core::lease::{Epoch, LeaseId, LeaseTerms};
use nightjar_core::network::{OwnAddresses, Rates, Traffic};
use nightjar_core::parting::Parting;
use nightjar_core::settings::{Settings, Sharing};
use nightjar_protocol::guest::{GuestCommand, GuestEvent, Notice};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::conduct::{self, Programs};
use crate::config::WorkersConfig;
use crate::engine::{Engine, how_it_ended, published};
use crate::line::{Line, SURELY_OVER};
use crate::preparation::{Lines, Preparation, Unready};
use crate::pull::Shelf;
use crate::removal::Cell;
use crate::second_road::{Ice, SecondRoad, stands_frozen};
use crate::spec::Names;
use crate::traffic::{Listed, TrafficTable};
use crate::volumes::Locks;
use crate::workers::{Held, WorkerReport, take_up};

mod leavings;
mod restraint;
mod told;

use restraint::{Restraint, Wish};
use told::{Told, tell};

/// Between two tries to take up a line again while the Engine is away.
const LINE_AGAIN: Duration = Duration::from_millis(250);
/// How long calls that were under way when a preparation was given up are waited for.
const MAKING_ENDS_WITHIN: Duration = Duration::from_secs(10);
/// How long a renter waits for the end of what an earlier run has left on the card.
const LEFT_ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Where published ports of the lease's gateway are, once known.
pub(crate) type Ports = Arc<OnceLock<HashMap<u16, SocketAddr>>>;

/// What a lease's task begins with.
pub(crate) enum Begin {
    Prepare {
        terms: Box<LeaseTerms>,
        /// See [`crate::Workers::prepare`].
        sandbox: Option<String>,
        settings: Box<Settings>,
    },
    /// Containers that survived the agent's end.
    Adopt {
        /// Their lines, where they are taken up already.
        kept: Option<Box<Lines>>,
    },
    /// Something is left of it that nobody looks after; only its end is wanted.
    Remains,
}

pub(crate) enum Order {
    Freeze {
        called: std::time::Instant,
        parting: Parting,
    },
    Thaw,
    /// The gateway's limits from now on.
    Bandwidth(Rates),
    /// The tenant is to read this, or that the last one does not hold any more.
    Notice(Option<Parting>),
    /// So much of so many cores at most.
    Restrain {
        cores: u32,
        sharing: Option<Sharing>,
    },
}

/// How a worker is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Kill,
    /// The tenant is told, and has so long.
    Soft {
        grace: Duration,
        parting: Parting,
    },
}

pub(crate) struct LeaseTask {
    pub engine: Engine,
    pub config: Arc<WorkersConfig>,
    pub road: Option<Arc<dyn SecondRoad>>,
    pub lease: LeaseId,
    pub epoch: Epoch,
    pub reports: mpsc::UnboundedSender<WorkerReport>,
    pub orders: mpsc::UnboundedReceiver<Order>,
    pub stop: watch::Receiver<Option<Ending>>,
    pub ports: Ports,
    pub traffic: Arc<TrafficTable>,
    pub shelf: Arc<Shelf>,
    pub volumes: Arc<Locks>,
    /// What this home is on the internet, as far as it is known.
    pub own: watch::Receiver<OwnAddresses>,
    /// An earlier placement of the same lease, and a load of our own on the same card: what has to be over first.
    pub predecessors: Vec<watch::Receiver<bool>>,
    /// What nobody looks after, and may have the card.
    pub held: watch::Receiver<Held>,
}

/// Why the serving of a lease is over.
enum Over {
    Stopped(Ending),
    /// It failed or ended by itself; why.
    Ended(String),
    /// It never was what it was to be, which is known already.
    Unready(String),
}

/// What of a lease is there.
struct Alive {
    lines: Option<Lines>,
    ice: Ice,
    told: Told,
    restraint: Restraint,
    /// What process 1 of a sandboxed worker says of miners.
    miner: watch::Sender<Option<String>>,
    /// As long as its gateway stands, a soft end included: its limits hold and its bytes count.
    listed: Option<Listed>,
}

impl Alive {
    fn new(ice: Ice) -> Self {
        Self {
            lines: None,
            ice,
            told: Told::default(),
            restraint: Restraint::default(),
            miner: watch::Sender::default(),
            listed: None,
        }
    }
}

/// One of a lease's two containers.
#[derive(Clone, Copy)]
enum Part {
    Worker,
    Gateway,
}

impl Part {
    fn name(self, names: &Names) -> &str {
        match self {
            Part::Worker => &names.worker,
            Part::Gateway => &names.gateway,
        }
    }

    /// In a sentence.
    fn who(self) -> &'static str {
        match self {
            Part::Worker => "the worker",
            Part::Gateway => "the gateway",
        }
    }
}

impl LeaseTask {
    pub async fn run(mut self, begin: Begin) {
        let making = TaskTracker::new();
        let worker = Names::new(&self.lease, self.epoch).worker;
        let ice = Ice::new(self.engine.clone(), worker, self.road.clone());
        let mut alive = Alive::new(ice);
        let over = self.live(begin, &making, &mut alive).await;
        making.close();
        self.end(over, &making, alive).await;
    }

    fn report(&self, event: WorkerEvent) {
        let report = WorkerReport { lease: self.lease.clone(), epoch: self.epoch, event };
        // Nobody listens when the program is ending.
        let _ = self.reports.send(report);
    }

    async fn live(&mut self, begin: Begin, making: &TaskTracker, alive: &mut Alive) -> Over {
        let mut stop = self.stop.clone();
        if !matches!(begin, Begin::Prepare { .. }) {
            alive.ice.find();
        }
        let begun = async {
            match begin {
                Begin::Prepare { terms, sandbox, settings } => {
                    alive.ice.know(if sandbox.is_some() { Cell::Sandbox } else { Cell::Plain });
                    let prepared =
                        self.prepare(&terms, sandbox.as_deref(), &settings, making, &mut alive.ice);
                    prepared.await.map_err(Over::Unready)
                }
                Begin::Adopt { kept } => self.adopt(kept.map(|kept| *kept), alive).await.map_err(Over::Ended),
                Begin::Remains => Err(Over::Unready("it was left over from an earlier run".to_owned())),
            }
        };
        let lines = tokio::select! {
            biased;
            how = stopped(&mut stop) => return Over::Stopped(how),
            begun = begun => match begun {
                Ok(lines) => lines,
                Err(over) => return over,
            },
        };
        alive.lines = Some(lines);
        self.serve(alive).await
    }

    async fn prepare(
        &mut self,
        terms: &LeaseTerms,
        sandbox: Option<&str>,
        settings: &Settings,
        making: &TaskTracker,
        ice: &mut Ice,
    ) -> Result<Lines, String> {
        for mut predecessor in std::mem::take(&mut self.predecessors) {
            // Its sender is gone when it is over, which is as good.
            let _ = predecessor.wait_for(|over| *over).await;
        }
        let is_free = |held: &Held| held.is_free(&terms.gpu);
        if !matches!(timeout(LEFT_ENDS_WITHIN, self.held.wait_for(is_free)).await, Ok(Ok(_))) {
            let unready = Unready::Left;
            self.report(unready.event());
            return Err(unready.to_string());
        }
        let (engine, config, volumes) = (&self.engine, &*self.config, &*self.volumes);
        let (shelf, own_addresses) = (&self.shelf, self.own.borrow().list());
        let own_addresses = own_addresses.as_slice();
        let preparation =
            Preparation { engine, config, terms, settings, sandbox, shelf, making, volumes, own_addresses };
        let prepared = preparation.run().await;
        match prepared {
            Ok(prepared) => {
                let _ = self.ports.set(prepared.ports);
                ice.runs_as(prepared.process, &prepared.container);
                ice.guard(prepared.container);
                self.report(WorkerEvent::Ready { access: prepared.access });
                Ok(prepared.lines)
            }
            Err(unready) => {
                tracing::warn!(lease = %self.lease, "a worker is not ready: {unready}");
                self.report(unready.event());
                Err(unready.to_string())
            }
        }
    }

    /// Heartbeats first: process 1 has been waiting since the agent ended.
    async fn adopt(&self, kept: Option<Lines>, alive: &mut Alive) -> Result<Lines, String> {
        let Alive { ice, told, .. } = alive;
        let names = Names::new(&self.lease, self.epoch);
        let lines = match kept {
            Some(lines) => lines,
            None => take_up(&self.engine, &names).await.map_err(|error| error.to_string())?,
        };
        let mut thawed = None;
        for name in [&names.gateway, &names.worker] {
            let found = self.engine.inspect(name).await.map_err(|error| error.to_string())?;
            let found = found.ok_or("it is no longer there")?;
            if let Some(how) = how_it_ended(&found) {
                return Err(how);
            }
            if name == &names.gateway {
                let _ = self.ports.set(published(&found));
            } else if let Some(container) = found.id {
                let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
                ice.know(Cell::of(&labels));
                let state = found.state.unwrap_or_default();
                ice.runs_as(state.pid, &container);
                let seen = stands_frozen(state.pid, &container);
                thawed = ice.take_up(container, seen, state.paused.unwrap_or(false)).await;
            }
        }
        // What is adopted was ready, whether or not its process 1 heard so.
        lines.worker.send(&GuestCommand::CardChecked);
        // It may have been told that it freezes, and is only now about to read it.
        self.tell_of(thawed, Some(&lines), told);
        Ok(lines)
    }

    async fn serve(&mut self, alive: &mut Alive) -> Over {
        let mut stop = self.stop.clone();
        let names = Names::new(&self.lease, self.epoch);
        alive.listed = Some(self.traffic.list(&self.lease));
        let _watched = self.watch_conduct(&names, alive);
        // A gateway that was taken up again, or prepared a while ago, may not know the newest.
        self.own.mark_changed();
        loop {
            let is_frozen = alive.ice.is_frozen();
            let Some(lines) = &mut alive.lines else { return Over::Ended("it has no line".to_owned()) };
            tokio::select! {
                biased;
                how = stopped(&mut stop) => return Over::Stopped(how),
                order = self.orders.recv() => {
                    // All handles are gone with the program.
                    let Some(order) = order else { return Over::Stopped(Ending::Kill) };
                    if let Err(how) = self.heed(alive, order, stopped(&mut stop)).await {
                        return Over::Stopped(how);
                    }
                }
                Ok(()) = self.own.changed() => tell_own(&mut self.own, lines),
                event = alive.ice.settle() => self.tell_of(event, alive.lines.as_ref(), &mut alive.told),
                event = alive.restraint.settle(&self.engine, &names.worker, is_frozen) => self.report(event),
                event = lines.worker.next() => match event {
                    Some(event) => self.hear_worker(event, &alive.miner),
                    None => if let Err(over) = self.line_lost(alive, &names, Part::Worker).await {
                        return over;
                    },
                },
                event = lines.gateway.next() => match event {
                    Some(event) => self.hear_gateway(&event),
                    None => if let Err(over) = self.line_lost(alive, &names, Part::Gateway).await {
                        return over;
                    },
                },
            }
        }
    }

    /// Does as it is told, unless that is interrupted.
    async fn heed(
        &self,
        alive: &mut Alive,
        order: Order,
        interrupted: impl Future<Output = Ending>,
    ) -> Result<(), Ending> {
        let Alive { lines, ice, told, restraint, .. } = alive;
        match order {
            Order::Restrain { cores, sharing } => {
                restraint.want(Wish { cores, sharing });
                return Ok(());
            }
            Order::Freeze { .. } => restraint.note_freeze(),
            _ => {}
        }
        if lines.as_ref().is_some_and(|lines| told.take(lines, &order)) {
            return Ok(());
        }
        tokio::select! {
            biased;
            event = obey(ice, order) => {
                self.tell_of(event, lines.as_ref(), told);
                Ok(())
            }
            how = interrupted => Err(how),
        }
    }

    fn tell_of(&self, event: Option<WorkerEvent>, lines: Option<&Lines>, told: &mut Told) {
        if let (Some(WorkerEvent::Thawed), Some(lines)) = (&event, lines) {
            told.notice(lines, None);
        }
        event.into_iter().for_each(|event| self.report(event));
    }

    fn hear_gateway(&self, event: &GuestEvent) {
        match event {
            GuestEvent::Traffic { up_bytes, down_bytes, at_ms } => {
                let passed = Traffic { up_bytes: *up_bytes, down_bytes: *down_bytes };
                self.traffic.note(&self.lease, passed, *at_ms);
            }
            GuestEvent::PoolProtocol => self.report(WorkerEvent::Mining { sign: MiningSign::Protocol }),
            GuestEvent::PoolSilent => self.report(WorkerEvent::MiningOver { sign: MiningSign::Protocol }),
            event => note(&self.lease, event),
        }
    }

    fn hear_worker(&self, event: GuestEvent, miner: &watch::Sender<Option<String>>) {
        match event {
            GuestEvent::MinerRuns { name } => drop(miner.send_replace(Some(name))),
            GuestEvent::NoMiner => drop(miner.send_replace(None)),
            event => note(&self.lease, &event),
        }
    }

    fn watch_conduct(&self, names: &Names, alive: &Alive) -> AbortOnDropHandle<()> {
        let (reports, lease, epoch) = (self.reports.clone(), self.lease.clone(), self.epoch);
        let (traffic, passing) = (self.traffic.subscribe(), lease.clone());
        let passed = move || {
            let total = traffic.borrow().get(&passing).map(|gateway| gateway.total).unwrap_or_default();
            total.up_bytes.saturating_add(total.down_bytes)
        };
        let told = move |event| drop(reports.send(WorkerReport { lease: lease.clone(), epoch, event }));
        let programs = match alive.ice.cell() {
            Some(Cell::Sandbox) => Programs::Told(alive.miner.subscribe()),
            _ => Programs::Listed,
        };
        let watch = conduct::watch(self.engine.clone(), names.worker.clone(), programs, passed, told);
        AbortOnDropHandle::new(tokio::spawn(watch))
    }

    /// The container ended, or the Engine did. An Engine that was restarted without ending its containers gives the
    /// line back. Orders are heeded meanwhile: the owner does not wait for a line.
    async fn line_lost(&mut self, alive: &mut Alive, names: &Names, part: Part) -> Result<(), Over> {
        let lines = alive.lines.as_ref();
        let last_beat = lines.map_or_else(Instant::now, |lines| match part {
            Part::Worker => lines.worker.last_beat(),
            Part::Gateway => lines.gateway.last_beat(),
        });
        let again = take_up_again(self.engine.clone(), self.lease.clone(), part.name(names).to_owned(), part);
        tokio::pin!(again);
        let mut stop = self.stop.clone();
        let line = loop {
            let is_frozen = alive.ice.is_frozen();
            tokio::select! {
                biased;
                how = stopped(&mut stop) => return Err(Over::Stopped(how)),
                order = self.orders.recv() => {
                    let Some(order) = order else { return Err(Over::Stopped(Ending::Kill)) };
                    self.heed(alive, order, stopped(&mut stop)).await.map_err(Over::Stopped)?;
                }
                event = alive.restraint.settle(&self.engine, &names.worker, is_frozen) => self.report(event),
                again = &mut again => break again.map_err(Over::Ended)?,
                () = sleep_until(last_beat + SURELY_OVER) => {
                    let who = part.who();
                    let cause = format!("the Docker Engine was lost, and {who} ended itself without it");
                    return Err(Over::Ended(cause));
                }
            }
        };
        let Alive { lines: Some(lines), told, .. } = alive else { return Ok(()) };
        match part {
            Part::Worker => {
                lines.worker = told.again_to_worker(line);
                lines.worker.send(&GuestCommand::CardChecked);
            }
            Part::Gateway => {
                lines.gateway = told.again_to_gateway(line);
                self.own.mark_changed();
            }
        }
        Ok(())
    }

    async fn end(mut self, over: Over, making: &TaskTracker, mut alive: Alive) {
        let cause = match over {
            Over::Ended(cause) => {
                self.report(WorkerEvent::Failed { cause: cause.clone() });
                cause
            }
            Over::Unready(cause) => cause,
            Over::Stopped(how) => {
                if let (Ending::Soft { grace, parting }, false) = (how, alive.ice.is_frozen()) {
                    self.part(&mut alive, grace, &parting).await;
                }
                "it was ended as it was told".to_owned()
            }
        };
        let last_beat = alive.lines.as_ref().map_or_else(Instant::now, |lines| lines.worker.last_beat());
        // Cut now: should the Engine not answer, process 1 ends the container without it.
        (alive.lines, alive.listed, alive.restraint) = (None, None, Restraint::default());
        alive.ice.end(false).await;
        let (cell, frozen) = (alive.ice.cell(), alive.ice.left_frozen());
        let removal = async {
            if timeout(MAKING_ENDS_WITHIN, making.wait()).await.is_err() {
                tracing::warn!(lease = %self.lease, "a call to the Docker Engine is still under way");
            }
            self.remove(cell, frozen).await;
        };
        tokio::pin!(removal);
        tokio::select! {
            () = &mut removal => self.report(WorkerEvent::Gone { cause }),
            rest = self.nothing_runs(last_beat + SURELY_OVER, &mut alive.ice) => {
                self.report(WorkerEvent::Gone { cause: format!("{cause}; {rest}") });
                removal.await;
            }
        }
        alive.ice.release();
    }

    /// Asks the tenant's programs to end and waits for them, until the grace or a harder stop. They have the card and the
    /// line until then, so all else goes on.
    async fn part(&mut self, alive: &mut Alive, grace: Duration, parting: &Parting) {
        let Some(lines) = &alive.lines else { return };
        tell(lines, &GuestCommand::Notice(Notice::of(parting)));
        lines.worker.send(&GuestCommand::Terminate);
        let names = Names::new(&self.lease, self.epoch);
        let (mut stop, over) = (self.stop.clone(), Instant::now() + grace);
        let mut is_gateway_heard = true;
        loop {
            let is_frozen = alive.ice.is_frozen();
            let Some(lines) = &mut alive.lines else { return };
            tokio::select! {
                biased;
                _ = killed(&mut stop) => return,
                () = sleep_until(over) => {
                    tracing::info!(lease = %self.lease, "the grace is over, the worker is killed");
                    return;
                }
                order = self.orders.recv() => {
                    let Some(order) = order else { return };
                    if self.heed(alive, order, killed(&mut stop)).await.is_err() {
                        return;
                    }
                }
                Ok(()) = self.own.changed() => tell_own(&mut self.own, lines),
                event = alive.ice.settle() => self.tell_of(event, alive.lines.as_ref(), &mut alive.told),
                event = alive.restraint.settle(&self.engine, &names.worker, is_frozen) => self.report(event),
                event = lines.worker.next() => match event {
                    Some(event) => self.hear_worker(event, &alive.miner),
                    None => return,
                },
                event = lines.gateway.next(), if is_gateway_heard => match event {
                    Some(event) => self.hear_gateway(&event),
                    None => is_gateway_heard = false,
                },
            }
        }
    }
}

/// What is to be told of it.
async fn obey(ice: &mut Ice, order: Order) -> Option<WorkerEvent> {
    match order {
        Order::Freeze { called, .. } => Some(ice.freeze(called).await),
        Order::Thaw => ice.thaw().await,
        // Said, or taken up, right where they were heard.
        Order::Bandwidth(_) | Order::Notice(_) | Order::Restrain { .. } => None,
    }
}

fn note(lease: &LeaseId, event: &GuestEvent) {
    match event {
        GuestEvent::Failed { .. } | GuestEvent::Exited { .. } => {
            tracing::warn!(%lease, ?event, "in the worker")
        }
        _ => tracing::debug!(%lease, ?event, "in the worker"),
    }
}

/// A line that was cut, from an Engine that has come back; or why there is none.
async fn take_up_again(engine: Engine, lease: LeaseId, name: String, part: Part) -> Result<Line, String> {
    let who = part.who();
    loop {
        match engine.inspect(&name).await {
            Ok(None) => return Err(format!("{who} was removed by somebody else")),
            Ok(Some(found)) => {
                if let Some(how) = how_it_ended(&found) {
                    return Err(format!("{who} is over: {how}"));
                }
                if let Ok(ends) = engine.attach(&name).await {
                    tracing::info!(%lease, "the line to {who} was taken up again");
                    return Ok(Line::take_up(ends));
                }
            }
            Err(error) => tracing::debug!(%lease, "{who} cannot be looked at: {error}"),
        }
        sleep(LINE_AGAIN).await;
    }
}

/// The gateway hears which addresses are this home's.
fn tell_own(own: &mut watch::Receiver<OwnAddresses>, lines: &Lines) {
    let addresses = own.borrow_and_update().list();
    lines.gateway.send(&GuestCommand::OwnAddresses { addresses });
}

/// No softer stop counts.
async fn killed(stop: &mut watch::Receiver<Option<Ending>>) -> Ending {
    // Nobody is left to say it where its sender is gone.
    let _ = stop.wait_for(|how| *how == Some(Ending::Kill)).await;
    Ending::Kill
}

async fn stopped(stop: &mut watch::Receiver<Option<Ending>>) -> Ending {
    match stop.wait_for(Option::is_some).await {
        Ok(how) => how.unwrap_or(Ending::Kill),
        Err(_) => Ending::Kill,
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
