//! Where the kernel has a word, too.

use super::*;

/// What the kernel says of the worker from now on: "1", it stands frozen from outside.
fn tell(ice: &mut Ice, folder: &Path, said: &str) {
    let (proc, group) = (folder.join("proc/41"), folder.join("cgroup/docker-id.scope"));
    let events = format!("populated 1\nfrozen {said}\n");
    for (place, file, text) in [
        (&proc, "cgroup", "0::/docker-id.scope\n"),
        (&group, "cgroup.freeze", said),
        (&group, "cgroup.events", &events),
    ] {
        std::fs::create_dir_all(place).unwrap();
        std::fs::write(place.join(file), text).unwrap();
    }
    ice.kernel = Kernel::at(&folder.join("proc"), &folder.join("cgroup"));
    ice.runs_as(Some(41), "id");
}

/// Its line breaks at the freeze, and it is away from then on: what the Engine alone has frozen is not its to thaw or to end.
#[tokio::test]
async fn a_sandbox_that_the_kernel_has_as_running_is_left_to_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let docker = Docker::start(folder.path());
    let frozen = async || {
        let road = away(u32::MAX);
        road.breaks.store(1, SeqCst);
        let mut ice = sandboxed(&docker, &road);
        ice.engine_alone = PATIENT;
        tell(&mut ice, folder.path(), "0");
        assert!(matches!(ice.freeze(Instant::now()).await, WorkerEvent::Frozen { .. }));
        assert!(ice.road_holds && ice.engine_holds, "for all that the helper said, it may hold it");
        (ice, road)
    };
    let (mut ice, _) = frozen().await;
    assert_eq!(ice.thaw().await, Some(WorkerEvent::Thawed));
    assert!(!ice.is_frozen() && ice.thaws_at.is_none());
    assert_eq!(docker.heard(), ["pause", "unpause"]);

    let (mut ice, road) = frozen().await;
    assert!(ice.left_frozen().is_none());
    // The helper carries its order out after all.
    tell(&mut ice, folder.path(), "1");
    assert_eq!(ice.thaw().await, None, "the Engine is not asked for one that answers nobody");
    let left = ice.left_frozen().expect("it stands frozen");
    tell(&mut ice, folder.path(), "0");
    left.end().await.unwrap();
    assert!(!road.taken().contains(&"end".to_owned()), "nobody is asked: it is the Engine's");
    assert_eq!(docker.heard(), ["pause", "unpause", "pause"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_the_engine_can_end_does_not_wait_for_a_helper_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let (docker, road) = (Docker::start(folder.path()), Arc::new(Road::default()));
    road.hangs.store(true, SeqCst);
    let mut ice = sandboxed(&docker, &road);
    (ice.frozen, ice.road_holds, ice.engine_holds) = (true, true, true);
    for (said, within) in [("0", END_SOON), ("1", END_WITHIN)] {
        tell(&mut ice, folder.path(), said);
        let began = tokio::time::Instant::now();
        assert!(!ice.end(false).await);
        assert_eq!(began.elapsed().as_secs(), within.as_secs(), "{said}");
    }
}

/// Its order waits for its turn while the Engine freezes, and would freeze what goes on by then.
#[tokio::test]
async fn a_freeze_that_waits_for_the_helper_is_followed_by_a_thaw_behind_the_engines() {
    let folder = tempfile::tempdir().unwrap();
    let docker = Docker::start(folder.path());
    let frozen = async |road: &Arc<Road>| {
        let mut ice = ice(&docker, road);
        ice.know(Cell::Plain);
        docker.silent.send_replace(true);
        road.hangs.store(true, SeqCst);
        let answers = async {
            while !road.taken().contains(&"freeze".to_owned()) {
                sleep(Duration::from_millis(10)).await;
            }
            docker.silent.send_replace(false);
        };
        let (event, ()) = tokio::join!(ice.freeze(Instant::now()), answers);
        assert!(matches!(event, WorkerEvent::Frozen { .. }) && ice.engine_holds, "{event:?}");
        ice
    };
    let road = Arc::new(Road::default());
    let mut ice = frozen(&road).await;
    road.hangs.store(false, SeqCst);
    assert_eq!(ice.thaw().await, Some(WorkerEvent::Thawed));
    assert_eq!(docker.heard(), ["pause", "unpause"]);
    assert_eq!(road.taken(), ["guard", "freeze", "thaw"]);
    // Once is enough.
    ice.freeze(Instant::now()).await;
    assert_eq!(ice.thaw().await, Some(WorkerEvent::Thawed));
    assert_eq!(road.taken().len(), 3);

    // The helper has frozen it after all, and is away: it does not go on, and nobody pays for it.
    let road = away(2);
    let mut ice = frozen(&road).await;
    road.hangs.store(false, SeqCst);
    tell(&mut ice, folder.path(), "1");
    assert_eq!(ice.thaw().await, None);
    assert!(ice.is_frozen());
    assert_eq!(ice.settle().await, None);
    assert_eq!(ice.settle().await, Some(WorkerEvent::Thawed));
    assert!(!ice.is_frozen());

    // The Engine ends it alone, whatever becomes of the helper's order.
    let road = Arc::new(Road::default());
    assert!(!frozen(&road).await.end(false).await);
    assert_eq!(road.taken(), ["guard", "freeze"]);

    // It goes on hanging: both its orders wait, and what freezes next waits behind them.
    let road = Arc::new(Road::default());
    let mut ice = frozen(&road).await;
    tell(&mut ice, folder.path(), "0");
    assert_eq!(ice.thaw().await, Some(WorkerEvent::Thawed));
    road.hangs.store(false, SeqCst);
    assert!(matches!(ice.freeze(Instant::now()).await, WorkerEvent::Frozen { .. }));
    assert_eq!(road.taken(), ["guard", "freeze", "thaw", "freeze"]);
}

/// The helper ends right after the freeze, before it has said so. The Engine, whom it would not answer, is not asked.
#[tokio::test]
async fn what_stands_still_by_the_kernels_word_is_frozen_whoever_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let docker = Docker::start(folder.path());
    docker.silent.send_replace(true);
    let road = away(2);
    road.breaks.store(1, SeqCst);
    let mut ice = sandboxed(&docker, &road);
    tell(&mut ice, folder.path(), "1");
    assert!(matches!(ice.freeze(Instant::now()).await, WorkerEvent::Frozen { .. }));
    assert!(ice.asked.is_none() && ice.left_frozen().is_some());
    assert_eq!(ice.thaw().await, None);
    assert_eq!(ice.settle().await, None);
    assert_eq!(ice.settle().await, Some(WorkerEvent::Thawed));

    // The kernel is at it, and does not get there: it is none that stands still.
    let road = reluctant();
    road.breaks.store(1, SeqCst);
    let mut ice = sandboxed(&docker, &road);
    tell(&mut ice, folder.path(), "1");
    std::fs::write(folder.path().join("cgroup/docker-id.scope/cgroup.events"), "frozen 0\n").unwrap();
    assert!(matches!(ice.freeze(Instant::now()).await, WorkerEvent::FreezeFailed { .. }));
    assert_eq!(road.taken(), calls(&["guard", "freeze", "freeze"]));
    assert!(ice.left_frozen().is_some(), "that another refused is no word on the one that broke");
}
