//! What the host sees: presence, cards, disk, containers. Each sensor sends inputs and knows nothing of the others.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nightjar_core::gpu::{DriverInfo, GpuReading};
use nightjar_core::host::{GpuReport, Input};
use nightjar_core::policy::Presence;
use nightjar_core::settings::Settings;
use nightjar_core::time::Timestamp;
use nightjar_presence::{Attention, PresenceEvent, SignalOptions, SleepGuard};
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::gpu_programs::GpuPrograms;
use crate::history::Past;
use crate::owner::Message;

/// How often the cards are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampling {
    /// A tenant was ended for the owner, and its memory is waited for.
    Urgent,
    /// A window is open or a job runs.
    Close,
    Seldom,
}

impl Sampling {
    fn interval(self) -> Duration {
        match self {
            Self::Urgent => Duration::from_millis(50),
            Self::Close => Duration::from_secs(1),
            Self::Seldom => Duration::from_secs(30),
        }
    }
}

const DISK_INTERVAL: Duration = Duration::from_secs(60);
const DISK_INTERVAL_BUSY: Duration = Duration::from_secs(3);

/// How long until a desktop is looked for again where there was none: this program may have been started first.
const PRESENCE_RETRY: Duration = Duration::from_secs(30);

/// Presence goes past all other messages, through a channel of its own.
pub(crate) async fn presence(clock: Clock, owner: mpsc::UnboundedSender<Input>) {
    loop {
        let (sender, clock) = (owner.clone(), clock.clone());
        let watch = nightjar_presence::watch(move |event| {
            let _ = sender.send(Input::Presence(presence_of(event, clock.now())));
        });
        match watch {
            Ok(_watch) => return std::future::pending().await,
            Err(unavailable) => {
                tracing::warn!(%unavailable, "presence cannot be seen");
                let detail = unavailable.to_string();
                let _ = owner.send(Input::Presence(Presence::Unknown { detail }));
                tokio::time::sleep(PRESENCE_RETRY).await;
            }
        }
    }
}

fn presence_of(event: PresenceEvent, now: Timestamp) -> Presence {
    match event {
        PresenceEvent::Active => Presence::Active { since: now },
        PresenceEvent::Idle { last_input_ago } => {
            let ago_ms = i64::try_from(last_input_ago.as_millis()).unwrap_or(0);
            Presence::Idle { since: Timestamp(now.0.saturating_sub(ago_ms)) }
        }
        PresenceEvent::Lost { detail } => Presence::Unknown { detail },
    }
}

/// What the owner added to what the sensors of signs look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    games: Vec<String>,
    ignored_controllers: Vec<String>,
    ssh_counts: bool,
}

impl Watched {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            games: settings.games.clone(),
            ignored_controllers: settings.ignored_controllers.clone(),
            ssh_counts: settings.ssh_counts,
        }
    }
}

/// Signs of use beside input. They take the same short way as input: a game wants the card at once.
pub(crate) async fn signs(
    mut watched: watch::Receiver<Watched>,
    sleep: SleepGuard,
    attention: Attention,
    owner: mpsc::UnboundedSender<Input>,
) {
    loop {
        let Watched { games, ignored_controllers, ssh_counts } = watched.borrow_and_update().clone();
        let (sleep, attention) = (sleep.clone(), attention.clone());
        let base = SignalOptions::from_environment();
        let options = SignalOptions { games, ignored_controllers, ssh_counts, sleep, attention, ..base };
        let sender = owner.clone();
        let sink: nightjar_presence::Sink = Arc::new(move |sign| drop(sender.send(Input::Sign(sign))));
        // Sensors ask buses and processes before they return.
        let started = tokio::task::spawn_blocking(move || nightjar_presence::signals(&options, sink)).await;
        let sensors = match started {
            Ok(sensors) => sensors,
            Err(error) => return tracing::error!(%error, "the sensors of signs did not start"),
        };
        let over = watched.changed().await.is_err();
        // Ending them waits for their threads.
        let _ = tokio::task::spawn_blocking(move || drop(sensors)).await;
        if over {
            return;
        }
    }
}

/// One thread reads the cards: the driver's calls block.
pub(crate) fn cards(
    sysfs: PathBuf,
    rate: watch::Receiver<Sampling>,
    programs: GpuPrograms,
    past: mpsc::UnboundedSender<Past>,
    owner: mpsc::UnboundedSender<Message>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("cards".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        match runtime {
            Ok(runtime) => runtime.block_on(read_cards(&sysfs, rate, programs, past, owner)),
            Err(error) => tracing::error!(%error, "the cards cannot be watched"),
        }
    })
}

async fn read_cards(
    sysfs: &Path,
    mut rate: watch::Receiver<Sampling>,
    mut programs: GpuPrograms,
    past: mpsc::UnboundedSender<Past>,
    owner: mpsc::UnboundedSender<Message>,
) {
    let mut gpus = nightjar_gpu::Sampler::with_sysfs(sysfs);
    loop {
        let mut report = report(gpus.sample());
        programs.mark(&mut report).await;
        if let GpuReport::Readings { cards, .. } = &report {
            let _ = past.send(Past::Readings(cards.clone()));
        }
        if owner.send(Message::Input(Input::Gpus(report))).is_err() {
            return;
        }
        let interval = rate.borrow_and_update().interval();
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            changed = rate.changed() => if changed.is_err() { return },
        }
    }
}

/// The first reading. A card that was never seen is woken once: a host must know what it lends.
pub(crate) fn first_sample(sysfs: &Path) -> GpuReport {
    let mut gpus = nightjar_gpu::Sampler::with_sysfs(sysfs);
    match gpus.sample() {
        Err(nightjar_gpu::GpuError::Asleep { .. }) => report(gpus.wake_and_sample()),
        sampled => report(sampled),
    }
}

fn report(sampled: Result<(DriverInfo, Vec<GpuReading>), nightjar_gpu::GpuError>) -> GpuReport {
    match sampled {
        Ok((driver, cards)) => GpuReport::Readings { driver, cards },
        Err(error) => GpuReport::Trouble { trouble: error.trouble() },
    }
}

/// Free space where images and volumes go; more often while a tenant may write there.
pub(crate) async fn disk(
    folder: PathBuf,
    rate: watch::Receiver<Sampling>,
    owner: mpsc::UnboundedSender<Message>,
) {
    loop {
        let folder = folder.clone();
        let free = tokio::task::spawn_blocking(move || free_mib(&folder)).await;
        if let Ok(Some(mib)) = free
            && owner.send(Message::Input(Input::DiskFree { mib })).is_err()
        {
            return;
        }
        let busy = !matches!(*rate.borrow(), Sampling::Seldom);
        tokio::time::sleep(if busy { DISK_INTERVAL_BUSY } else { DISK_INTERVAL }).await;
    }
}

/// Free space of the file system that holds `folder`.
fn free_mib(folder: &Path) -> Option<u64> {
    let folder = folder.canonicalize().ok()?;
    let disks = sysinfo::Disks::new_with_refreshed_list().ok()?;
    disks
        .iter()
        .filter(|disk| folder.starts_with(disk.mount_point()))
        .max_by_key(|disk| disk.mount_point().as_os_str().len())
        .map(|disk| disk.available_space() >> 20)
}
