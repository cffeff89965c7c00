use std::os::unix::fs::PermissionsExt;

use nightjar_core::policy::Runtime;
use tokio::sync::mpsc;

use super::*;
use crate::config::WorkersConfig;
use crate::engine::Engine;
use crate::engine::fake::{FakeEngine, NO_ANSWER};
use crate::kernel::Kernel;
use crate::probe::Probe;
use crate::pull::Shelf;
use crate::workers::Busy;

const RUNSC: &str = "/usr/bin/runsc";

/// A script in the place of gVisor, which counts how often it was started.
struct Script(tempfile::TempDir);

impl Script {
    fn new(text: &str) -> Self {
        let script = Self(tempfile::tempdir().unwrap());
        script.write(text);
        script
    }

    fn write(&self, text: &str) {
        let count = self.0.path().join("count");
        let text = format!("#!/bin/sh\necho x >> {}\n{text}\n", count.display());
        // In place at once: a file that is being written cannot be started.
        let new = self.0.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("runsc")
    }

    fn starts(&self) -> usize {
        std::fs::read_to_string(self.0.path().join("count")).unwrap_or_default().lines().count()
    }

    async fn told_once(&self, told: &Told) -> Gvisor {
        told.of("sandbox", &self.path().display().to_string(), &[]).await
    }

    /// A script is slow to start where much else runs.
    async fn told(&self) -> Gvisor {
        let told = Told::new();
        loop {
            match self.told_once(&told).await {
                Gvisor::Pending => tokio::time::sleep(ASK_AGAIN).await,
                said => return said,
            }
        }
    }
}

fn knows(drivers: &[&str], changes_limits: bool) -> Gvisor {
    let drivers = drivers.iter().map(|&driver| driver.to_owned()).collect();
    Gvisor::Told(Sandbox { runtime: "sandbox".to_owned(), drivers, changes_limits })
}

const LISTING: &str = r#"[ "$1" = help ] && printf 'Subcommands:\n\tstate            get the state\n' && exit 0
[ "$1 $2" = "nvproxy list-supported-drivers" ] || exit 128
cat"#;

#[tokio::test]
async fn the_drivers_that_it_lists_are_told_and_what_is_no_version_is_not() {
    let script = Script::new(&format!(
        "{LISTING} <<E\n550.54.15\n535.104.12\nW1130 a warning 1.2\n550.54.15\n  570.86.15  \n1\n1.2.3.4.5\n1..2\nv1.2\n\
         999999999.999999999.9\nE"
    ));
    assert_eq!(script.told().await, knows(&["535.104.12", "550.54.15", "570.86.15"], false));
}

#[tokio::test]
async fn it_changes_limits_where_it_lists_the_command_and_not_where_only_its_words_do() {
    for (help, changes) in [
        (r"Subcommands:\n\tstate            get the state\n\tupdate           update limits\n", true),
        (r"Usage: update\n\tspec             update a file\n\tupdate-all       more\n", false),
    ] {
        let script = Script::new(&format!("[ $1 = help ] && printf '{help}' && exit 0\necho 550.54.15"));
        assert_eq!(script.told().await, knows(&["550.54.15"], changes), "{help}");
    }
    let script = Script::new("[ $1 = help ] && exit 2\necho 550.54.15");
    assert_eq!(script.told().await, knows(&["550.54.15"], false));
}

#[tokio::test]
async fn one_that_fails_or_knows_no_such_question_is_silent() {
    for text in ["echo 550.54.15; exit 1", "echo 'Subcommand nvproxy not understood' >&2; exit 128", "exit 0"]
    {
        assert_eq!(Script::new(text).told().await, Gvisor::Silent, "{text}");
    }
    let broken = Script::new("");
    std::fs::write(broken.path(), "no program").unwrap();
    assert_eq!(broken.told().await, Gvisor::Silent);
}

#[tokio::test]
async fn one_that_hangs_or_never_ends_to_speak_is_not_waited_for() {
    for (text, is) in [("exec sleep 60", Gvisor::Pending), ("exec yes 550.54.15", Gvisor::Silent)] {
        let (script, began) = (Script::new(text), Instant::now());
        assert_eq!(script.told_once(&Told::new()).await, is, "{text}");
        assert!(began.elapsed() < ANSWER_WITHIN * 2, "{:?}", began.elapsed());
    }
    let many = "i=0; while [ $i -lt 2000 ]; do echo 1.$i; i=$((i+1)); done";
    let Gvisor::Told(sandbox) = Script::new(many).told().await else { panic!("silent") };
    assert_eq!(sandbox.drivers.len(), MOST_DRIVERS);
}

#[tokio::test]
async fn it_is_asked_once_and_again_when_it_is_another() {
    let script = Script::new("echo 550.54.15");
    let (told, path) = (Told::new(), script.path().display().to_string());
    for _ in 0..3 {
        assert_eq!(told.of("sandbox", &path, &[]).await, knows(&["550.54.15"], false));
    }
    assert_eq!(script.starts(), 2, "the list and the commands");
    // The name is the Engine's, and no reason to ask.
    assert!(
        matches!(told.of("other", &path, &[]).await, Gvisor::Told(sandbox) if sandbox.runtime == "other")
    );
    assert_eq!(script.starts(), 2);
    script.write("echo 550.54.14; echo 550.54.15");
    assert_eq!(told.of("sandbox", &path, &[]).await, knows(&["550.54.14", "550.54.15"], false));
    assert_eq!(script.starts(), 4);
    script.write("exit 1; # once is enough for this, too");
    for _ in 0..2 {
        assert_eq!(told.of("sandbox", &path, &[]).await, Gvisor::Silent);
    }
    assert_eq!(script.starts(), 6);
}

/// What hangs is killed when its time is over, and with nothing else to do the clock goes there at once.
#[tokio::test(start_paused = true)]
async fn one_that_is_too_slow_is_asked_again_within_seconds_and_given_up_for_a_while_after_a_few_times() {
    let script = Script::new("exec sleep 60");
    let (told, path) = (Told::new(), script.path().display().to_string());
    let of = async || {
        let began = Instant::now();
        (told.of("sandbox", &path, &[]).await, began.elapsed() >= ANSWER_WITHIN)
    };
    for _ in 1..LATE_AT_MOST {
        assert_eq!(of().await, (Gvisor::Pending, true));
        assert_eq!(of().await, (Gvisor::Pending, false), "not at once");
        assert!(!told.is_due().await);
        tokio::time::advance(ASK_AGAIN).await;
        assert!(told.is_due().await);
    }
    for _ in 0..2 {
        assert_eq!(of().await, (Gvisor::Silent, true));
        tokio::time::advance(FAILURE_HOLDS / 2).await;
        assert_eq!(of().await, (Gvisor::Silent, false));
        assert!(!told.is_due().await);
        tokio::time::advance(FAILURE_HOLDS / 2).await;
        assert!(told.is_due().await, "nobody waits for it any more, and it is not forgotten");
    }
    script.write("exec sleep 61 # another one has its chances");
    assert_eq!(of().await, (Gvisor::Pending, true));
    tokio::time::advance(ASK_AGAIN).await;
    std::fs::remove_file(script.path()).unwrap();
    assert_eq!(of().await, (Gvisor::Silent, false));
    assert!(!told.is_due().await, "there is none any more");
}

/// One word that comes late keeps the others from counting as all that it can say.
#[tokio::test]
async fn what_a_busy_pc_kept_from_being_said_is_heard_seconds_later_by_who_watches_the_engine() {
    let script = Script::new("");
    let busy = script.0.path().join("busy");
    std::fs::write(&busy, "").unwrap();
    script.write(&format!(
        "[ $1 = help ] && [ -e {} ] && exec sleep 60\n[ $1 = help ] && printf '\\tupdate  limits\\n' && exit 0\n\
         echo 550.54.15",
        busy.display()
    ));
    let path = script.path().display().to_string();
    let fake = FakeEngine::start(move |call| match call {
        "GET /version" => r#"{"Version":"28.3.2"}"#.into(),
        "GET /images/json" => "[]".into(),
        "GET /info" => format!(
            r#"{{"Runtimes":{{"sandbox":{{"path":"{path}","runtimeArgs":["--network=host","--nvproxy"]}}}}}}"#
        ),
        "GET /events" => NO_ANSWER.into(),
        _ => "{}".into(),
    });
    let config = WorkersConfig::shipped(fake.address()).unwrap();
    let (engine, shelf) = (Engine::new(fake.address()), Shelf::open(None));
    let (kernel, gvisor) = (Kernel::new(), Told::new());
    let probe = Probe { engine: &engine, config: &config, shelf: &shelf, kernel: &kernel, gvisor: &gvisor };
    let (heard, mut news) = mpsc::unbounded_channel();
    let watching = probe.watch(
        || Busy::Idle,
        |runtime| {
            if let Runtime::Ready { engine, .. } = runtime {
                heard.send(engine.gvisor).unwrap();
            }
        },
    );
    let story = async {
        assert_eq!(news.recv().await, Some(Gvisor::Pending));
        std::fs::remove_file(&busy).unwrap();
        let began = Instant::now();
        assert_eq!(news.recv().await, Some(knows(&["550.54.15"], true)));
        assert!(began.elapsed() < FAILURE_HOLDS / 3, "{:?}", began.elapsed());
    };
    tokio::select! {
        () = watching => unreachable!("it is for good"),
        told = timeout(FAILURE_HOLDS / 2, story) => told.expect("it was not asked again"),
    }
}

#[tokio::test]
async fn it_is_found_by_its_path_or_by_its_name_where_programs_are() {
    let script = Script::new("echo 550.54.15");
    let folder = script.0.path().to_owned();
    let folders = [PathBuf::from("."), folder.join("none"), folder.clone()];
    let of = async |program: &str| Told::new().of("sandbox", program, &folders).await;
    assert_eq!(of("runsc").await, knows(&["550.54.15"], false));
    for elsewhere in ["", "/nonexistent/runsc", "./runsc", "../runsc", "runs", &folder.display().to_string()]
    {
        assert_eq!(of(elsewhere).await, Gvisor::Silent, "{elsewhere}");
    }
}

/// The true one, where it is installed.
#[tokio::test]
async fn the_true_one_is_understood() {
    match Told::new().of("runsc", RUNSC, &[]).await {
        Gvisor::Told(sandbox) => {
            println!("{RUNSC} knows {} drivers; limits: {}", sandbox.drivers.len(), sandbox.changes_limits);
            assert!(sandbox.drivers.iter().any(|driver| driver == "550.54.15"), "{:?}", sandbox.drivers);
        }
        other => println!("skipped: there is no {RUNSC} that lists drivers here ({other:?})"),
    }
}
