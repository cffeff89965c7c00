//! An Engine that is a socket of this test's: it answers a pause when it is told to, so that each order of events can be
//! played.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::watch;

use super::*;
use crate::config::EngineAddress;

mod kernel;

/// Requests that it has heard; answers are held back while `silent`.
#[derive(Clone)]
struct Docker {
    heard: Arc<Mutex<Vec<String>>>,
    silent: watch::Sender<bool>,
    socket: PathBuf,
}

impl Docker {
    fn start(folder: &Path) -> Self {
        let docker =
            Self { heard: Arc::default(), silent: watch::channel(false).0, socket: folder.join("d.sock") };
        let listener = UnixListener::bind(&docker.socket).unwrap();
        let serving = docker.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let docker = serving.clone();
                tokio::spawn(async move {
                    let mut bytes = [0_u8; 4096];
                    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                        let _ = docker.silent.subscribe().wait_for(|silent| !*silent).await;
                        let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
                        let path = text.split(' ').nth(1).unwrap().to_owned();
                        docker.heard.lock().unwrap().push(path.rsplit('/').next().unwrap().to_owned());
                        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                    }
                });
            }
        });
        docker
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

#[derive(Default)]
struct Road {
    taken: Mutex<Vec<String>>,
    is_gone: bool,
    /// It hears, and does not answer.
    hangs: AtomicBool,
    /// So many thaws find nobody first.
    away: AtomicU32,
    /// So many freezes are refused first; what breaks a line is no refusal.
    refusals: AtomicU32,
    /// So many times its line breaks after it has heard.
    breaks: AtomicU32,
}

fn refused(why: &str) -> RoadError {
    RoadError::Refused(why.to_owned())
}

/// One off `count`, where there is one.
fn counts_down(count: &AtomicU32) -> bool {
    count.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Road {
    fn take(&self, what: &str) -> Done {
        self.taken.lock().unwrap().push(what.to_owned());
        let answer = match what {
            _ if self.is_gone => Err(refused("the helper is not installed")),
            "freeze" | "thaw" if counts_down(&self.breaks) => Err(no_answer()),
            _ => Ok(()),
        };
        Box::pin(std::future::ready(answer))
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }
}

impl SecondRoad for Road {
    fn guard(&self, _: &str) {
        drop(self.take("guard"));
    }
    fn release(&self, _: &str) {
        drop(self.take("release"));
    }
    fn freeze(&self, _: &str) -> Done {
        let breaks = self.breaks.load(SeqCst) > 0;
        let taken = self.take("freeze");
        if !breaks && counts_down(&self.refusals) {
            return Box::pin(std::future::ready(Err(refused("the kernel did not freeze it"))));
        }
        if self.hangs.load(SeqCst) {
            return Box::pin(std::future::pending());
        }
        taken
    }
    fn thaw(&self, _: &str) -> Done {
        let taken = self.take("thaw");
        if self.hangs.load(SeqCst) {
            return Box::pin(std::future::pending());
        }
        if counts_down(&self.away) {
            return Box::pin(std::future::ready(Err(refused("the helper is not installed"))));
        }
        taken
    }
    fn end(&self, _: &str) -> Done {
        let taken = self.take("end");
        if self.hangs.load(SeqCst) { Box::pin(std::future::pending()) } else { taken }
    }
}

/// For an Engine that answers, on a machine that is busy.
const PATIENT: Duration = Duration::from_secs(20);

fn ice(docker: &Docker, road: &Arc<Road>) -> Ice {
    let engine = Engine::new(EngineAddress::Unix(docker.socket.clone()));
    let mut ice = Ice::new(engine, "worker".to_owned(), Some(road.clone()));
    ice.guard("id".to_owned());
    ice
}

#[tokio::test]
async fn an_engine_that_answers_is_the_only_road() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), Arc::new(Road::default()));
    let mut ice = ice(&docker, &road);
    ice.engine_alone = PATIENT;
    assert!(matches!(ice.freeze(Instant::now()).await, WorkerEvent::Frozen { .. }));
    assert_eq!(ice.thaw().await, Some(WorkerEvent::Thawed));
    assert_eq!(docker.heard(), ["pause", "unpause"]);
    assert_eq!(road.taken(), ["guard"]);
    assert!(!ice.is_frozen() && !ice.end(true).await);
}

#[tokio::test]
async fn a_silent_engine_is_passed_by_and_its_late_pause_undone() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), Arc::new(Road::default()));
    let mut ice = ice(&docker, &road);
    docker.silent.send_replace(true);
    let WorkerEvent::Frozen { took_us } = ice.freeze(Instant::now()).await else { panic!("not frozen") };
    assert!(took_us >= 250_000, "{took_us}");
    assert_eq!((docker.heard(), road.taken()), (calls(&[]), calls(&["guard", "freeze"])));
    // It goes on before the Engine has said a word.
    assert_eq!(ice.thaw().await, Some(WorkerEvent::Thawed));
    assert_eq!(road.taken(), ["guard", "freeze", "thaw"]);
    docker.silent.send_replace(false);
    ice.settle().await;
    assert_eq!(docker.heard(), ["pause", "unpause"]);
}

#[tokio::test]
async fn a_late_pause_of_a_frozen_worker_makes_the_engine_thaw_it() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), Arc::new(Road::default()));
    let mut ice = ice(&docker, &road);
    docker.silent.send_replace(true);
    ice.freeze(Instant::now()).await;
    docker.silent.send_replace(false);
    ice.settle().await;
    assert_eq!(ice.thaw().await, Some(WorkerEvent::Thawed));
    assert_eq!(docker.heard(), ["pause", "unpause"]);
    assert_eq!(road.taken(), ["guard", "freeze"]);
}

#[tokio::test]
async fn what_the_road_froze_the_road_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), Arc::new(Road::default()));
    let mut ice = ice(&docker, &road);
    docker.silent.send_replace(true);
    ice.freeze(Instant::now()).await;
    assert!(ice.end(false).await && !ice.is_frozen());
    ice.release();
    assert_eq!(road.taken(), ["guard", "freeze", "end", "release"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_helper_a_silent_engine_is_a_failure_that_names_both() {
    let folder = tempfile::tempdir().unwrap();
    let docker = Docker::start(folder.path());
    let road = Arc::new(Road { is_gone: true, ..Road::default() });
    let mut ice = ice(&docker, &road);
    docker.silent.send_replace(true);
    let began = tokio::time::Instant::now();
    let failed = ice.freeze(began.into_std()).await;
    let WorkerEvent::FreezeFailed { cause } = failed else { panic!("frozen") };
    assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
    assert!(cause.contains("did not answer within 250 ms") && cause.contains("not installed"), "{cause}");
    assert!(ice.is_frozen(), "it may be frozen all the same");
}

fn sandboxed(docker: &Docker, road: &Arc<Road>) -> Ice {
    let mut ice = ice(docker, road);
    ice.know(Cell::Sandbox);
    ice
}

/// Its first freeze is refused, so the Engine is asked.
fn reluctant() -> Arc<Road> {
    Arc::new(Road { refusals: AtomicU32::new(1), ..Road::default() })
}

#[tokio::test]
async fn a_sandbox_is_frozen_thawed_and_ended_without_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), Arc::new(Road::default()));
    let mut ice = sandboxed(&docker, &road);
    assert!(matches!(ice.freeze(Instant::now()).await, WorkerEvent::Frozen { .. }));
    assert!(ice.is_frozen());
    assert_eq!(ice.thaw().await, Some(WorkerEvent::Thawed));
    assert!(!ice.is_frozen() && !ice.end(false).await, "one that runs is the Engine's to end");
    ice.freeze(Instant::now()).await;
    assert!(ice.end(false).await && !ice.is_frozen());
    assert_eq!(road.taken(), ["guard", "freeze", "thaw", "freeze", "end"]);
    assert!(docker.heard().is_empty());
}

#[tokio::test]
async fn a_sandbox_that_the_engine_froze_is_ended_by_the_road_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), reluctant());
    let mut frozen = sandboxed(&docker, &road);
    frozen.engine_alone = PATIENT;
    frozen.freeze(Instant::now()).await;
    assert!(frozen.end(false).await && !frozen.is_frozen());
    assert_eq!(docker.heard(), ["pause"]);
    assert_eq!(road.taken(), ["guard", "freeze", "end"]);
    // One that runs, or is none, the Engine ends by itself.
    assert!(!sandboxed(&docker, &road).end(false).await);
    let mut plain = ice(&docker, &road);
    plain.engine_alone = PATIENT;
    plain.know(Cell::Plain);
    plain.freeze(Instant::now()).await;
    assert!(!plain.end(false).await);
    assert_eq!(road.taken().iter().filter(|what| *what == "end").count(), 1);
}

/// Told as failed is not undone: the kernel may bring it to its end later.
#[tokio::test]
async fn a_sandbox_whose_first_freeze_failed_is_thawed_by_the_road_before_the_engine_asks_it() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), reluctant());
    let mut ice = sandboxed(&docker, &road);
    ice.engine_alone = PATIENT;
    ice.freeze(Instant::now()).await;
    assert_eq!(ice.thaw().await, Some(WorkerEvent::Thawed));
    assert_eq!(
        (docker.heard(), road.taken()),
        (calls(&["pause", "unpause"]), calls(&["guard", "freeze", "thaw"]))
    );
}

#[tokio::test]
async fn a_sandbox_that_goes_on_beside_an_open_pause_is_ended_by_the_road_too() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), reluctant());
    let mut ice = sandboxed(&docker, &road);
    docker.silent.send_replace(true);
    ice.freeze(Instant::now()).await;
    assert_eq!(ice.thaw().await, Some(WorkerEvent::Thawed));
    assert!(!ice.is_frozen() && ice.end(false).await);
    assert_eq!(road.taken(), ["guard", "freeze", "freeze", "thaw", "end"]);
}

#[tokio::test]
async fn a_sandbox_that_is_frozen_twice_is_thawed_from_the_outside_in() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), reluctant());
    let mut ice = sandboxed(&docker, &road);
    docker.silent.send_replace(true);
    ice.freeze(Instant::now()).await;
    docker.silent.send_replace(false);
    ice.settle().await;
    assert_eq!(ice.thaw().await, Some(WorkerEvent::Thawed));
    assert_eq!(
        (docker.heard(), road.taken()),
        (calls(&["pause", "unpause"]), calls(&["guard", "freeze", "freeze", "thaw"]))
    );
    assert!(!ice.is_frozen() && !ice.end(false).await);
}

fn away(tries: u32) -> Arc<Road> {
    Arc::new(Road { away: AtomicU32::new(tries), ..Road::default() })
}

/// As during an update. While all of it is frozen it could not answer the Engine.
#[tokio::test]
async fn what_the_helper_froze_waits_for_its_return() {
    let folder = tempfile::tempdir().unwrap();
    let docker = Docker::start(folder.path());
    for engine_holds in [true, false] {
        let road = away(3);
        let mut ice = sandboxed(&docker, &road);
        ice.freeze(Instant::now()).await;
        ice.engine_holds = engine_holds;
        let heard = docker.heard().len();
        assert_eq!(ice.thaw().await, None);
        for _ in 0..2 {
            assert_eq!(ice.settle().await, None);
            assert!(ice.is_frozen() && ice.left_frozen().is_some() && docker.heard().len() == heard);
        }
        assert_eq!(ice.settle().await, Some(WorkerEvent::Thawed));
        assert_eq!(
            road.taken(),
            calls(&["guard", "freeze", "thaw", "guard", "thaw", "guard", "thaw", "guard", "thaw"])
        );
        assert!(!ice.is_frozen() && ice.left_frozen().is_none());
        assert!(timeout(Duration::from_millis(50), ice.settle()).await.is_err(), "nothing is left to do");
    }
    assert_eq!(docker.heard(), ["unpause"]);
}

#[tokio::test]
async fn an_owner_who_is_back_before_the_helper_finds_it_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), away(1));
    let mut ice = sandboxed(&docker, &road);
    ice.freeze(Instant::now()).await;
    assert_eq!(ice.thaw().await, None);
    assert!(matches!(ice.freeze(Instant::now()).await, WorkerEvent::Frozen { .. }));
    assert_eq!(road.taken(), calls(&["guard", "freeze", "thaw"]));
    // It does not go on by itself.
    assert!(timeout(THAW_AGAIN * 2, ice.settle()).await.is_err());
    assert_eq!(ice.thaw().await, Some(WorkerEvent::Thawed));
    assert!(docker.heard().is_empty());
}

#[tokio::test]
async fn a_thaw_whose_answer_is_not_known_is_followed_by_a_freeze() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), Arc::new(Road::default()));
    let mut ice = sandboxed(&docker, &road);
    ice.freeze(Instant::now()).await;
    road.hangs.store(true, SeqCst);
    assert_eq!(ice.thaw().await, None);
    road.hangs.store(false, SeqCst);
    assert!(matches!(ice.freeze(Instant::now()).await, WorkerEvent::Frozen { .. }));
    assert_eq!(road.taken(), calls(&["guard", "freeze", "thaw", "freeze"]));
    assert!(docker.heard().is_empty());
}

/// The helper ends right after it has thawed: that the line broke is no refusal.
#[tokio::test]
async fn an_owner_who_is_back_after_a_line_broke_finds_frozen_what_it_thawed() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), Arc::new(Road::default()));
    let mut ice = sandboxed(&docker, &road);
    ice.freeze(Instant::now()).await;
    road.breaks.store(1, SeqCst);
    assert_eq!(ice.thaw().await, None);
    assert!(matches!(ice.freeze(Instant::now()).await, WorkerEvent::Frozen { .. }));
    assert_eq!(road.taken(), calls(&["guard", "freeze", "thaw", "freeze"]));
    assert!(docker.heard().is_empty());
}

/// What it froze before its line broke answers no Engine, and is ended by it again.
#[tokio::test]
async fn a_freeze_whose_line_broke_may_hold() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), Arc::new(Road::default()));
    let mut ice = sandboxed(&docker, &road);
    docker.silent.send_replace(true);
    road.breaks.store(2, SeqCst);
    assert!(matches!(ice.freeze(Instant::now()).await, WorkerEvent::FreezeFailed { .. }));
    assert_eq!(road.taken(), calls(&["guard", "freeze", "freeze"]));
    ice.left_frozen().expect("it may stand frozen").end().await.unwrap();
}

/// What runc holds has one freeze: a thaw that comes late would undo the Engine's.
#[tokio::test]
async fn a_plain_worker_is_not_frozen_by_the_engine_behind_a_thaw_whose_answer_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), Arc::new(Road::default()));
    let mut ice = ice(&docker, &road);
    ice.know(Cell::Plain);
    docker.silent.send_replace(true);
    ice.freeze(Instant::now()).await;
    road.hangs.store(true, SeqCst);
    assert_eq!(ice.thaw().await, None);
    docker.silent.send_replace(false);
    road.refusals.store(1, SeqCst);
    assert!(matches!(ice.freeze(Instant::now()).await, WorkerEvent::FreezeFailed { .. }));
    road.hangs.store(false, SeqCst);
    assert!(matches!(ice.freeze(Instant::now()).await, WorkerEvent::Frozen { .. }));
    assert_eq!(road.taken().last().unwrap(), "freeze");
}

#[tokio::test]
async fn a_sandbox_that_may_stand_frozen_is_taken_up_once_its_helper_has_thawed_it() {
    let folder = tempfile::tempdir().unwrap();
    let docker = Docker::start(folder.path());
    let fresh = |road: &Arc<Road>, cell| {
        let engine = Engine::new(EngineAddress::Unix(docker.socket.clone()));
        let mut ice = Ice::new(engine, "worker".to_owned(), Some(road.clone()));
        ice.know(cell);
        ice
    };
    let mut ice = fresh(&away(0), Cell::Sandbox);
    assert_eq!(ice.take_up("id".to_owned(), None, false).await, Some(WorkerEvent::Thawed));
    assert!(!ice.is_frozen() && !ice.end(false).await, "it runs");
    let mut ice = fresh(&away(2), Cell::Sandbox);
    assert_eq!(ice.take_up("id".to_owned(), None, false).await, None);
    assert_eq!(ice.settle().await, None);
    assert_eq!(ice.settle().await, Some(WorkerEvent::Thawed));
    // One that is to end before is ended as one that is frozen, and for all that is known it runs.
    let mut ice = fresh(&away(u32::MAX), Cell::Sandbox);
    assert_eq!(ice.take_up("id".to_owned(), None, false).await, None);
    assert!(ice.left_frozen().is_some() && ice.may_run);
    ice.left_frozen().unwrap().end().await.unwrap();
    assert!(ice.end(false).await && ice.left_frozen().is_none());
    // What the kernel has as running needs nobody; what it has as frozen is so whatever froze it, and waits.
    for (cell, seen) in [(Cell::Sandbox, Some(false)), (Cell::Plain, Some(false)), (Cell::Plain, None)] {
        let mut ice = fresh(&away(u32::MAX), cell);
        assert_eq!(
            ice.take_up("id".to_owned(), seen, false).await,
            Some(WorkerEvent::Thawed),
            "{cell:?} {seen:?}"
        );
    }
    let mut plain = fresh(&away(1), Cell::Plain);
    assert_eq!(plain.take_up("id".to_owned(), Some(true), false).await, None);
    assert!(matches!(plain.freeze(Instant::now()).await, WorkerEvent::Frozen { .. }));
    assert_eq!(plain.thaw().await, Some(WorkerEvent::Thawed));
    assert!(docker.heard().is_empty());
    // One that the Engine has as paused, it unpauses: a sandbox after the helper has thawed it.
    let mut plain = fresh(&away(u32::MAX), Cell::Plain);
    assert_eq!(plain.take_up("id".to_owned(), Some(true), true).await, Some(WorkerEvent::Thawed));
    assert_eq!(docker.heard(), ["unpause"]);
    let mut ice = fresh(&away(1), Cell::Sandbox);
    assert_eq!(ice.take_up("id".to_owned(), Some(true), true).await, None);
    assert_eq!(docker.heard(), ["unpause"]);
    assert_eq!(ice.settle().await, Some(WorkerEvent::Thawed));
    assert_eq!(docker.heard(), ["unpause", "unpause"]);
}

fn calls(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[tokio::test]
async fn a_late_pause_whose_undoing_is_broken_off_is_undone_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), reluctant());
    let mut ice = sandboxed(&docker, &road);
    docker.silent.send_replace(true);
    ice.freeze(Instant::now()).await;
    ice.thaw().await;
    // As it stands right after the Engine's answer.
    ice.asked.take().unwrap().abort();
    ice.engine_holds = true;
    assert!(timeout(Duration::from_millis(50), ice.settle()).await.is_err());
    docker.silent.send_replace(false);
    timeout(Duration::from_secs(5), ice.settle()).await.unwrap();
    assert!(docker.heard().contains(&"unpause".to_owned()) && !ice.engine_holds);
    assert!(timeout(Duration::from_millis(50), ice.settle()).await.is_err(), "nothing is left to undo");
}
