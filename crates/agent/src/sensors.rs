//! What the host sees: presence, cards, disk, containers. Each sensor sends inputs and knows nothing of the others.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nightjar_core::gpu::{DriverInfo, GpuReading};
use nightjar_core::host::{GpuReport, Input};
use nightjar_core::policy::{DiskSpace, Presence};
use nightjar_core::settings::Settings;
use nightjar_core::time::Timestamp;
use nightjar_presence::{Attention, PresenceEvent, SignalOptions, SleepGuard};
use nightjar_worker::Workers;
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

/// A driver that is loaded, or that wakes a card, takes less.
const DRIVER_WITHIN: Duration = Duration::from_secs(10);
const SILENCE_LOOK: Duration = Duration::from_secs(2);

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

/// Since when the driver has owed an answer.
#[derive(Clone, Debug, Default)]
struct Asked(Arc<Mutex<Option<Instant>>>);

impl Asked {
    fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn waits_for(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }
}

/// A driver that hangs holds up the thread that asks it, so another task tells of it: nobody sees then how hot a tenant makes
/// the card. What it answers after all says that it is over.
async fn silence(asked: Asked, owner: mpsc::UnboundedSender<Message>) {
    let mut is_told = false;
    loop {
        tokio::time::sleep(SILENCE_LOOK).await;
        let is_silent = asked.waits_for().is_some_and(|waits| waits >= DRIVER_WITHIN);
        if is_silent && !is_told {
            tracing::warn!("the driver does not answer");
            if owner.send(Message::Input(Input::Gpus(GpuReport::Silent))).is_err() {
                return;
            }
        }
        if owner.is_closed() {
            return;
        }
        is_told = is_silent;
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
    let asked = Asked::default();
    tokio::spawn(silence(asked.clone(), owner.clone()));
    std::thread::Builder::new().name("cards".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        match runtime {
            Ok(runtime) => runtime.block_on(read_cards(&sysfs, rate, programs, past, owner, &asked)),
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
    asked: &Asked,
) {
    let mut gpus = nightjar_gpu::Sampler::with_sysfs(sysfs);
    loop {
        asked.begin();
        let mut report = report(gpus.sample());
        asked.end();
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

/// Free space where we write and where the Engine does, which has images, containers and volumes; at once when a tenant
/// may begin to write there, and more often while one may.
pub(crate) async fn disks(
    own: PathBuf,
    workers: Workers,
    mut rate: watch::Receiver<Sampling>,
    owner: mpsc::UnboundedSender<Message>,
) {
    loop {
        let folders = std::iter::once(own.clone()).chain(workers.data_folders()).collect::<Vec<_>>();
        let found = tokio::task::spawn_blocking(move || spaces(&folders)).await;
        if let Ok(spaces) = found
            && owner.send(Message::Input(Input::Disks(spaces))).is_err()
        {
            return;
        }
        let is_calm = matches!(*rate.borrow_and_update(), Sampling::Seldom);
        tokio::select! {
            () = tokio::time::sleep(if is_calm { DISK_INTERVAL } else { DISK_INTERVAL_BUSY }) => {}
            busy = rate.wait_for(|rate| !matches!(rate, Sampling::Seldom)), if is_calm => {
                if busy.is_err() {
                    return;
                }
            }
        }
    }
}

/// Of each folder that can be looked at, the free space of the file system that holds it.
fn spaces(folders: &[PathBuf]) -> Vec<DiskSpace> {
    let Ok(disks) = sysinfo::Disks::new_with_refreshed_list() else { return Vec::new() };
    let space = |folder: &PathBuf| {
        let reached = reached(folder)?;
        let disk = disks
            .iter()
            .filter(|disk| reached.starts_with(disk.mount_point()))
            .max_by_key(|disk| disk.mount_point().as_os_str().len())?;
        Some(DiskSpace {
            folder: folder.display().to_string(),
            free_mib: disk.available_space() >> 20,
            free_files: free_files(&reached),
        })
    };
    folders.iter().filter_map(space).collect()
}

/// How many files can still be made there by an ordinary account. Some file systems have no such number and say 0 of 0.
#[cfg(unix)]
fn free_files(folder: &Path) -> Option<u64> {
    let told = rustix::fs::statvfs(folder).ok()?;
    (told.f_files > 0).then_some(told.f_favail)
}

#[cfg(not(unix))]
fn free_files(_: &Path) -> Option<u64> {
    None
}

/// A folder without links in its path. What lies in a folder that this account may not enter, as the Engine's may, counts
/// as lying in the file system of that. `None` where there is no such folder: the Engine's machine is another one then.
fn reached(folder: &Path) -> Option<PathBuf> {
    for folder in folder.ancestors() {
        match folder.canonicalize() {
            Ok(found) => return Some(found),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_that_is_there_is_measured_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (here, gone) = (folder.path().join("here"), folder.path().join("gone"));
        std::fs::create_dir(&here).unwrap();
        let found = spaces(&[gone, here.clone(), folder.path().to_owned()]);
        let names: Vec<&str> = found.iter().map(|space| space.folder.as_str()).collect();
        assert_eq!(names, [here.to_str().unwrap(), folder.path().to_str().unwrap()]);
        assert_eq!(found[0].free_mib, found[1].free_mib);
        assert!(found[0].free_files.is_none_or(|free| free > 0));
    }
}
