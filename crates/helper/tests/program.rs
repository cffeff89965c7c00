//! The real program on the stand-in's cards, through the real NVML loader: what it sets comes back, whoever ends and how.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nightjar_core::gpu::GpuUuid;
use nightjar_protocol::helper::{HELPER_VERSION, HelperAnswer, HelperRequest, read_frame, write_frame};
use nightjar_sim::Client;
use nightjar_sim::layout::{NVML_FILE, built_folder};
use nightjar_sim::scenario::Scenario;
use nightjar_sim::wire::{CardReading, Control, Reply, Request, SOCKET_ENV};

/// Cargo's name for the stand-in.
const STAND_IN: &str = "libnightjar_sim_nvml.so";
const SOON: Duration = Duration::from_secs(20);

/// Simulated cards in this process, and a place for a helper.
struct Rig {
    folder: tempfile::TempDir,
    cards: Client,
}

/// A helper that is killed with this value.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Rig {
    /// `None`, and said so, where this is not root: NVML takes a limit from nobody else.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: a power limit is root's to set");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let lib = folder.path().join("lib");
        std::fs::create_dir(&lib).unwrap();
        std::fs::copy(built_folder().unwrap().join("deps").join(STAND_IN), lib.join(NVML_FILE)).unwrap();
        let (socket, sysfs) = (folder.path().join("sim/socket"), folder.path().join("sys"));
        let scenario = Scenario::with_cards(&["rtx4090"]).unwrap();
        let serving = socket.clone();
        std::thread::spawn(move || nightjar_sim::server::serve(&serving, scenario, Some(&sysfs)));
        let cards = until("the simulated cards", || Client::connect(&socket).ok());
        Some(Self { folder, cards })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("helper.sock")
    }

    fn helper(&self) -> Helper {
        let log =
            std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_nightjar-helper"))
            .arg("--socket")
            .arg(self.socket())
            .arg("--state-dir")
            .arg(self.folder.path().join("state"))
            .env("LD_LIBRARY_PATH", self.folder.path().join("lib"))
            .env(SOCKET_ENV, self.folder.path().join("sim/socket"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let helper = Helper(child);
        until("the helper", || UnixStream::connect(self.socket()).ok());
        helper
    }

    fn reading(&self) -> CardReading {
        match self.cards.ask(&Request::Card { call: "test".into(), card: 0 }).unwrap() {
            Reply::Card { reading } => *reading,
            other => panic!("{other:?}"),
        }
    }

    fn watts(&self) -> u32 {
        self.reading().limit_milliwatts / 1_000
    }

    fn uuid(&self) -> GpuUuid {
        GpuUuid(self.reading().identity.uuid)
    }

    fn comes_back(&self, watts: u32) {
        until("the limit that was found", || (self.watts() == watts).then_some(()));
    }

    fn connect(&self) -> UnixStream {
        let mut line = UnixStream::connect(self.socket()).unwrap();
        line.set_read_timeout(Some(SOON)).unwrap();
        let hello = HelperRequest::Hello { protocol_version: HELPER_VERSION, app_version: "1".into() };
        assert!(matches!(ask(&mut line, &hello), HelperAnswer::Welcome { .. }));
        line
    }

    fn set(&self, line: &mut UnixStream, watts: u32) -> Option<u64> {
        match ask(line, &HelperRequest::SetPowerLimit { gpu_uuid: self.uuid(), watts }) {
            HelperAnswer::PowerSet { confirm_within_ms, .. } => confirm_within_ms,
            other => {
                panic!("{other:?}\n{}", std::fs::read_to_string(self.folder.path().join("log")).unwrap())
            }
        }
    }
}

fn ask(line: &mut UnixStream, request: &HelperRequest) -> HelperAnswer {
    write_frame(line, request).unwrap();
    read_frame(line).unwrap().unwrap()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < SOON, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// NiceHashQuickMiner#198 and #607: clocks and limits stay behind after a stop.
#[test]
fn peers_05_limits_are_restored_after_every_kind_of_end() {
    let Some(rig) = Rig::new() else { return };
    // Not the default: what comes back is what the owner had.
    rig.cards.control(Control::SetPowerLimit { card: 0, watts: 420.0 }).unwrap();
    let helper = rig.helper();

    let mut line = rig.connect();
    assert!(rig.set(&mut line, 250).is_some(), "new to this card");
    assert_eq!(rig.watts(), 250);
    assert_eq!(ask(&mut line, &HelperRequest::Confirm { gpu_uuid: rig.uuid() }), HelperAnswer::Done);
    ask(&mut line, &HelperRequest::Restore { gpu_uuid: Some(rig.uuid()) });
    assert_eq!(rig.watts(), 420, "after a job");

    assert_eq!(rig.set(&mut line, 250), None, "known by now");
    drop(line);
    rig.comes_back(420);

    let mut line = rig.connect();
    rig.set(&mut line, 250);
    drop(helper);
    assert_eq!(rig.watts(), 250, "a killed helper can do nothing");
    let mut helper = rig.helper();
    rig.comes_back(420);

    let mut line = rig.connect();
    rig.set(&mut line, 250);
    let id = rustix::process::Pid::from_child(&helper.0);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(helper.0.wait().unwrap().success());
    assert_eq!(rig.watts(), 420, "on SIGTERM");
}

#[test]
fn another_tools_limit_is_left_alone() {
    let Some(rig) = Rig::new() else { return };
    let _helper = rig.helper();
    let mut line = rig.connect();
    rig.set(&mut line, 250);
    rig.cards.control(Control::SetPowerLimit { card: 0, watts: 300.0 }).unwrap();
    ask(&mut line, &HelperRequest::Restore { gpu_uuid: None });
    assert_eq!(rig.watts(), 300);
}
