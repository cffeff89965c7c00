//! Start and end of the host. The order matters: a worker that survived this program gives up after 5 s without it, so
//! what is needed to take it up again comes first.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use iroh_base::SecretKey;
use nightjar_core::host::{Host, Input, Report, Survivor, WorkerFate};
use nightjar_core::money::Money;
use nightjar_core::settings::{Language, Settings};
use nightjar_core::time::Timestamp;
use nightjar_protocol::local_time::LocalTime;
use nightjar_protocol::network::NetworkNow;
use nightjar_protocol::view::{Earnings, Identity as Shown, Surroundings, view_model};
use nightjar_worker::{WorkerReport, Workers, WorkersConfig};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::AgentConfig;
use crate::enrolment;
use crate::gate::Gate;
use crate::gpu_programs::GpuPrograms;
use crate::handle::{AgentHandle, Ending};
use crate::helper::Helper;
use crate::history::{self, Past};
use crate::journal::Journal;
use crate::line_check::{LineChecks, LinePaces};
use crate::network::Network;
use crate::owner::{Hands, LinkOrder, Message, Owner};
use crate::papers::LastReport;
use crate::pulls::Pulls;
use crate::repairs::Repairs;
use crate::scribe::{Scribe, Writing};
use crate::sensors::{self, Sampling, Watched};
use crate::session::Session;
use crate::settings_file::{self, Loaded};
use crate::volumes::Volumes;
use crate::{control, identity, metrics, power, tunnel, update};

/// Longer than the longest grace and the stop that follows it.
const END_WITHIN: Duration = Duration::from_secs(150);
/// How long the last usage records may take to reach the market; they are in the journal in any case.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Why the host does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("another Nightjar already runs with the data folder {0}; `nightjar status` shows it")]
    AlreadyRunning(std::path::PathBuf),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// A running host.
pub struct Agent {
    handle: AgentHandle,
    main: JoinHandle<()>,
}

impl Agent {
    /// # Errors
    /// When another host runs on the same data folder, or its journal or key cannot be read.
    pub async fn start(config: AgentConfig) -> Result<Self, StartError> {
        let parts = Parts::load(config).await?;
        Ok(parts.run().await?)
    }

    #[must_use]
    pub fn handle(&self) -> AgentHandle {
        self.handle.clone()
    }

    /// Waits until somebody has asked for the end, and it has come.
    ///
    /// # Errors
    /// When the host failed instead of ending.
    pub async fn join(self) -> anyhow::Result<()> {
        Ok(self.main.await?)
    }
}

/// What is read before anything runs.
struct Parts {
    config: AgentConfig,
    /// Held as long as the host runs.
    lock: File,
    clock: Clock,
    settings: Settings,
    settings_trouble: Option<String>,
    journal: Journal,
    key: SecretKey,
    coordinator: Option<String>,
    workers: Workers,
    worker_reports: mpsc::UnboundedReceiver<WorkerReport>,
}

impl Parts {
    async fn load(config: AgentConfig) -> Result<Self, StartError> {
        let lock = lock(&config)?;
        let clock = Clock::start();
        let (settings, settings_trouble) = match settings_file::load(&config.settings_path) {
            Loaded::Fresh => (Settings::default(), None),
            Loaded::Read(settings) => (*settings, None),
            Loaded::Unreadable(detail) => {
                (Settings { earn_while_idle: false, ..Settings::default() }, Some(detail))
            }
        };
        let mut journal = Journal::open(&config.data_dir).await?;
        journal.begin(clock.now()).await?;
        let key = identity::load_or_create(&config.data_dir, config.use_keyring)?;
        let coordinator = enrolment::load(&config.data_dir)?.map(|enrolment| enrolment.coordinator);
        let mut workers_config = WorkersConfig::shipped(config.engine.clone())?;
        if let Some(own) = &config.own_catalogue {
            workers_config.catalogue = own.added_to(workers_config.catalogue)?;
        }
        workers_config.images = Some(config.data_dir.join("images"));
        // Two hosts on one Engine must not take each other's workers for left-overs.
        workers_config.host = hex::encode(&key.public().as_bytes()[..8]);
        let (reports, worker_reports) = mpsc::unbounded_channel();
        // A connection of its own: a freeze waits for nothing that is said to the driver.
        let road = Arc::new(Helper::start(config.helper.clone()));
        let workers = Workers::new(workers_config, Some(road), reports)?;
        Ok(Self {
            config,
            lock,
            clock,
            settings,
            settings_trouble,
            journal,
            key,
            coordinator,
            workers,
            worker_reports,
        })
    }

    fn surroundings(&self) -> Surroundings {
        let nothing = Money::new(0, self.settings.price_per_hour.currency);
        Surroundings {
            earnings: Earnings { today: nothing, today_net: nothing, all: nothing },
            identity: Shown {
                app_version: env!("CARGO_PKG_VERSION").to_owned(),
                coordinator: self.coordinator.clone(),
                host_key: hex::encode(self.key.public().as_bytes()),
            },
            local_time: LocalTime::default(),
            today: None,
            network: NetworkNow::default(),
            pulls: Vec::new(),
            system_language: system_language(),
        }
    }

    /// Starts every task; the owner first, with what it must know before anything else.
    #[expect(
        clippy::too_many_lines,
        reason = "wiring: a line a channel or a task; a split would only hand them around"
    )]
    async fn run(self) -> anyhow::Result<Agent> {
        let around = self.surroundings();
        let host = Host::new(self.settings.clone());
        let (messages, inbox) = mpsc::unbounded_channel();
        let mut programs = GpuPrograms::new(self.workers.clone(), Handle::current());
        for input in first_inputs(&self, &mut programs).await? {
            let _ = messages.send(Message::Input(input));
        }
        let (scribe, orders) = mpsc::unbounded_channel();
        let (reports, report_inbox) = mpsc::unbounded_channel();
        let (link, link_orders) = mpsc::unbounded_channel();
        let (sampling, rate) = watch::channel(Sampling::Seldom);
        let disk_rate = rate.clone();
        let (metrics_port, port_inbox) = watch::channel(self.settings.metrics_port);
        let (network, network_inbox) = watch::channel(self.settings.network);
        let (images, images_inbox) = watch::channel(self.settings.images.clone());
        let (pull_hold, hold_inbox) = watch::channel(host.pull_hold(self.clock.now()));
        let (pulls, pull_orders) = mpsc::unbounded_channel();
        let (line, line_orders) = mpsc::unbounded_channel();
        let line_paces = Arc::new(LinePaces::default());
        let (past, past_inbox) = mpsc::unbounded_channel();
        let (watched, watched_inbox) = watch::channel(Watched::of(&self.settings));
        let (coordinator, coordinator_inbox) = watch::channel(self.coordinator.clone());
        let sleep = nightjar_presence::SleepGuard::default();
        let attention = nightjar_presence::Attention::default();
        let (notices, _) = broadcast::channel(64);
        let (seen, seen_inbox) = watch::channel(host.snapshot().presence.clone());
        let (view, view_inbox) = watch::channel(Arc::new(view_model(&host.view(self.clock.now()), &around)));
        let (power, power_orders) = mpsc::unbounded_channel();
        let usage_waits = Arc::new(Notify::new());
        let leases_changed = Arc::new(Notify::new());
        let volumes = Volumes::new(
            self.workers.clone(),
            self.journal.clone(),
            self.clock.clone(),
            messages.clone(),
            &self.config.data_dir,
        );
        let gate = Gate::new(self.workers.clone());
        let owner = Owner {
            host,
            clock: self.clock.clone(),
            hands: Hands {
                workers: self.workers.clone(),
                gate: gate.clone(),
                link: link.clone(),
                scribe: scribe.clone(),
                reports: reports.clone(),
                notices: notices.clone(),
                presence: seen,
                sampling,
                watched,
                sleep: sleep.clone(),
                attention: attention.clone(),
                metrics_port,
                network,
                images,
                pull_hold,
                pulls: pulls.clone(),
                coordinator,
                line,
                power,
                own: messages.downgrade(),
            },
            around,
            view,
            windows: 0,
            zone_again_at: Timestamp::default(),
            closing: None,
        };
        let (presence_sender, presence_inbox) = mpsc::unbounded_channel();
        let owning = tokio::spawn(owner.run(presence_inbox, inbox, self.worker_reports));
        let signs = tokio::spawn(sensors::signs(watched_inbox, sleep, attention, presence_sender.clone()));
        let presence = tokio::spawn(sensors::presence(self.clock.clone(), presence_sender));
        let scribing = Scribe {
            journal: self.journal.clone(),
            settings_path: self.config.settings_path.clone(),
            unsaved: None,
            clock: self.clock.clone(),
            currency: self.settings.price_per_hour.currency,
            usage_waits: usage_waits.clone(),
            leases_changed: leases_changed.clone(),
            owner: messages.clone(),
        };
        let session = Session {
            key: self.key.clone(),
            journal: self.journal.clone(),
            scribe: scribe.clone(),
            owner: messages.clone(),
            usage_waits,
        };
        let scribing = tokio::spawn(scribing.run(orders));
        sensors::cards(self.config.sysfs.clone(), rate, programs, past.clone(), messages.clone())?;
        let keeping = tokio::spawn(history::run(self.config.clone(), self.clock.clone(), past_inbox));
        let no_network = CancellationToken::new();
        let network = Network {
            workers: self.workers.clone(),
            clock: self.clock.clone(),
            data_dir: self.config.data_dir.clone(),
            chosen: network_inbox,
            coordinator: coordinator_inbox.clone(),
            line: line_paces.clone(),
            owner: messages.clone(),
            stop: no_network.clone(),
        };
        let networking = tokio::spawn(network.run());
        let lines = LineChecks {
            coordinator: coordinator_inbox.clone(),
            paces: line_paces,
            pulling: self.workers.puller().pace().active(),
            owner: messages.clone(),
        };
        let pulling = Pulls {
            puller: self.workers.puller().clone(),
            clock: self.clock.clone(),
            hold: hold_inbox,
            chosen: images_inbox,
            owner: messages.clone(),
        };
        let pulling = tokio::spawn(pulling.run(pull_orders));
        let metering = tokio::spawn(metrics::run(port_inbox, view_inbox.clone()));
        let (asked, ask) = oneshot::channel();
        let (over, over_inbox) = watch::channel(false);
        let handle = AgentHandle {
            messages: messages.clone(),
            view: view_inbox,
            presence: seen_inbox,
            notices,
            data_dir: self.config.data_dir.clone(),
            journal: self.journal.clone(),
            clock: self.clock.clone(),
            key: self.key.clone(),
            past: past.clone(),
            last_report: LastReport::default(),
            pulls,
            workers: self.workers.clone(),
            volumes: volumes.clone(),
            repairs: Repairs::by(self.config.repair_program.clone()),
            ending: Arc::new(Ending::new(asked, over_inbox)),
        };
        let listener = control::listen(&self.config.runtime_dir).with_context(|| {
            format!("the control socket in {} cannot be opened", self.config.runtime_dir.display())
        })?;
        let watching = messages.clone();
        let outward = vec![
            tokio::spawn(session.run(coordinator_inbox, report_inbox)),
            tokio::spawn(tunnel::run(self.key, gate, link_orders, self.workers.clone())),
        ];
        let inward = vec![
            owning,
            presence,
            tokio::spawn(power::run(Helper::start(self.config.helper), power_orders, messages.clone())),
            keeping,
            tokio::spawn(volumes.run(leases_changed)),
            metering,
            pulling,
            tokio::spawn(lines.run(line_orders)),
            signs,
            tokio::spawn(sensors::disks(
                self.config.data_dir,
                self.workers.clone(),
                disk_rate,
                messages.clone(),
            )),
            self.workers.watch(move |runtime| {
                let _ = watching.send(Message::Input(Input::Runtime(runtime)));
            }),
            tokio::spawn(control::serve(listener, handle.clone())),
            tokio::spawn(update::watch(handle.clone())),
        ];
        let running = RunningParts {
            messages,
            scribe,
            scribing,
            speech: (reports, link),
            past,
            network: (no_network, networking),
            outward,
            inward,
            journal: self.journal,
            lock: self.lock,
        };
        let main = tokio::spawn(async move {
            let _ = ask.await;
            running.end().await;
            let _ = over.send(true);
        });
        Ok(Agent { handle, main })
    }
}

/// What has to be ended, in this order: jobs, then words, then tasks.
struct RunningParts {
    messages: mpsc::UnboundedSender<Message>,
    scribe: mpsc::UnboundedSender<Writing>,
    scribing: JoinHandle<()>,
    /// Keeps session and tunnel open until the last word is said.
    speech: (mpsc::UnboundedSender<Report>, mpsc::UnboundedSender<LinkOrder>),
    past: mpsc::UnboundedSender<Past>,
    /// Its last count goes to the disk.
    network: (CancellationToken, JoinHandle<()>),
    outward: Vec<JoinHandle<()>>,
    inward: Vec<JoinHandle<()>>,
    journal: Journal,
    lock: File,
}

impl RunningParts {
    async fn end(self) {
        let (done, closed) = oneshot::channel();
        let _ = self.messages.send(Message::Close(done));
        if tokio::time::timeout(END_WITHIN, closed).await.is_err() {
            tracing::error!("a job did not end in time; its worker ends by itself without this program");
        }
        last_words(&self.journal, &self.scribe).await;
        let (kept, is_kept) = oneshot::channel();
        let _ = self.past.send(Past::Close(kept));
        let _ = tokio::time::timeout(LAST_WORDS, is_kept).await;
        self.network.0.cancel();
        let _ = tokio::time::timeout(LAST_WORDS, self.network.1).await;
        for task in &self.inward {
            task.abort();
        }
        drop(self.speech);
        for task in self.outward {
            let abort = task.abort_handle();
            if tokio::time::timeout(LAST_WORDS, task).await.is_err() {
                abort.abort();
            }
        }
        drop(self.scribe);
        let _ = tokio::time::timeout(LAST_WORDS, self.scribing).await;
        drop(self.lock);
    }
}

/// One host a data folder: two would take each other's workers for left-overs.
fn lock(config: &AgentConfig) -> Result<File, StartError> {
    let failed = |error: std::io::Error| {
        anyhow::anyhow!("the data folder {} cannot be used: {error}", config.data_dir.display())
    };
    std::fs::create_dir_all(&config.data_dir).map_err(failed)?;
    // Who earned what is nobody else's business on this PC.
    #[cfg(unix)]
    std::fs::set_permissions(&config.data_dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .map_err(failed)?;
    let file = File::create(config.data_dir.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::AlreadyRunning(config.data_dir.clone())),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error).into()),
    }
}

/// What must be known before anything else happens: the cards and containers, then what the journal holds open.
async fn first_inputs(parts: &Parts, programs: &mut GpuPrograms) -> anyhow::Result<Vec<Input>> {
    let Parts { journal, workers, .. } = parts;
    let mut inputs = Vec::new();
    if let Some(detail) = parts.settings_trouble.clone() {
        tracing::error!("nothing is lent, the settings cannot be read: {detail}");
        inputs.push(Input::SettingsUnreadable { detail });
    }
    let are_told = nightjar_gpu::PowerStates::below(&parts.config.sysfs).are_told();
    inputs.push(Input::PowerStates { are_told });
    let sysfs = parts.config.sysfs.clone();
    let reading = tokio::task::spawn_blocking(move || sensors::first_sample(&sysfs));
    let (reading, runtime, survivors) = tokio::join!(reading, workers.probe(), workers.survivors());
    let mut reading = reading?;
    programs.mark(&mut reading).await;
    inputs.push(Input::Gpus(reading));
    inputs.push(Input::Curves(journal.curves().await?));
    let kinds = workers.catalogue().images().iter().map(|image| (image.key(), image.task_kinds.clone()));
    inputs.push(Input::TaskKinds(kinds.collect()));
    inputs.push(Input::Runtime(runtime));
    let alive = survivors.unwrap_or_else(|error| {
        tracing::warn!("workers of an earlier run cannot be looked for: {error:#}");
        Vec::new()
    });
    let stored = journal.open_leases().await?;
    let survivors = stored.into_iter().map(|stored| {
        let found = alive
            .iter()
            .find(|(lease, epoch, _)| *lease == stored.terms.lease && *epoch == stored.terms.epoch);
        let fate = found.map_or(WorkerFate::Gone, |(_, _, fate)| *fate);
        tracing::info!(lease = %stored.terms.lease, ?fate, "a lease of an earlier run");
        Survivor { stored, fate }
    });
    inputs.push(Input::Recovered(survivors.collect()));
    Ok(inputs)
}

/// Everything is on the disk; what the market has not acknowledged gets a moment to arrive.
async fn last_words(journal: &Journal, scribe: &mpsc::UnboundedSender<Writing>) {
    let (done, flushed) = oneshot::channel();
    let _ = scribe.send(Writing::Flush(done));
    let _ = tokio::time::timeout(LAST_WORDS, flushed).await;
    let sent = async {
        while journal.has_unanswered().await.is_ok_and(|some| some) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(LAST_WORDS, sent).await.is_err() {
        tracing::warn!("some usage has not reached the market yet; it is sent at the next start");
    }
}

/// What the system speaks, for who must say something before there is a host.
#[must_use]
pub fn system_language() -> Language {
    let given = ["LC_ALL", "LC_MESSAGES", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    match given {
        Some(name) if name.starts_with("zh") => Language::SimplifiedChinese,
        _ => Language::English,
    }
}
