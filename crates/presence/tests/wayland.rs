//! The sensor on a real Wayland compositor: KWin without a screen, its `org_kde_kwin_fake_input` in the place of a hand.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test stands on must be there")]

#[path = "desktop/bus.rs"]
mod bus;
#[path = "desktop/program.rs"]
mod program;

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bus::Bus;
use nightjar_presence::{Options, PresenceEvent, Unavailable, Watch, watch_with};
use program::Program;
use wayland_client::globals::{GlobalListContents, registry_queue_init};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::{Connection, Dispatch, EventQueue, QueueHandle, delegate_noop};
use wayland_protocols_plasma::fake_input::client::org_kde_kwin_fake_input::OrgKdeKwinFakeInput;

/// Generous: the machine may be busy building, and KWin draws in software.
const COMES_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);
const KWIN: &str = "/usr/bin/kwin_wayland";
const NO_BUS: &str = "unix:path=/nonexistent/bus";

struct Compositor {
    // In the order in which they end.
    kwin: Option<Program>,
    bus: Bus,
    folder: tempfile::TempDir,
}

impl Compositor {
    /// `None`, and says so, where the package is missing.
    fn start() -> Option<Self> {
        if !Path::new(KWIN).exists() {
            eprintln!("skipped: the package kwin-wayland is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // The package gives the file a capability that a container refuses; a copy has none. Its name must stay.
        std::fs::copy(KWIN, folder.path().join("kwin_wayland")).unwrap();
        let mut compositor = Self { kwin: None, bus: Bus::start(), folder };
        compositor.run();
        Some(compositor)
    }

    fn run(&mut self) {
        let folder = self.folder.path();
        let mut command = Command::new(folder.join("kwin_wayland"));
        command
            .args(["--virtual", "--width", "320", "--height", "200", "--socket", "wayland-test"])
            .args(["--no-lockscreen", "--no-global-shortcuts"])
            .env("XDG_RUNTIME_DIR", folder)
            .env("XDG_CONFIG_HOME", folder)
            .env("XDG_CACHE_HOME", folder)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus.address)
            // Without it only programs that KDE installed may send input.
            .env("KWIN_WAYLAND_NO_PERMISSION_CHECKS", "1")
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY");
        self.kwin = Some(Program::start(command.stdout(Stdio::null())));
        let deadline = Instant::now() + COMES_WITHIN;
        while let Err(error) = Hand::on(&self.socket()) {
            assert!(Instant::now() < deadline, "KWin does not start: {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("wayland-test")
    }

    fn end(&mut self) {
        self.kwin = None;
        // As at a logout; KWin has no time to when it is killed.
        let _ = std::fs::remove_file(self.socket());
    }

    fn options(&self) -> Options {
        Options {
            display: None,
            wayland: Some(self.socket().to_string_lossy().into_owned()),
            session_bus: Some(self.bus.address.clone()),
            system_bus: Some(NO_BUS.into()),
            settled_after: PAUSE,
        }
    }
}

/// A pointer's movements.
struct Hand {
    queue: EventQueue<Nothing>,
    pointer: OrgKdeKwinFakeInput,
}

struct Nothing;

impl Hand {
    fn on(socket: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let connection = Connection::from_socket(UnixStream::connect(socket)?)?;
        let (globals, mut queue) = registry_queue_init::<Nothing>(&connection)?;
        let pointer: OrgKdeKwinFakeInput = globals.bind(&queue.handle(), 1..=4, ())?;
        pointer.authenticate("nightjar test".into(), "moves the pointer".into());
        queue.roundtrip(&mut Nothing)?;
        Ok(Self { queue, pointer })
    }

    fn move_by(&mut self, x: f64, y: f64) {
        self.pointer.pointer_motion(x, y);
        self.queue.roundtrip(&mut Nothing).unwrap();
    }
}

impl Dispatch<WlRegistry, GlobalListContents> for Nothing {
    fn event(
        _: &mut Self,
        _: &WlRegistry,
        _: wl_registry::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
    }
}

delegate_noop!(Nothing: ignore OrgKdeKwinFakeInput);

struct Seen {
    watch: Watch,
    events: Receiver<(PresenceEvent, Instant)>,
}

impl Seen {
    fn with(options: Options) -> Self {
        let (sender, events) = channel();
        let watch = watch_with(options, move |event| {
            let _ = sender.send((event, Instant::now()));
        });
        Self { watch: watch.unwrap(), events }
    }

    fn next(&self) -> (PresenceEvent, Instant) {
        self.events.recv_timeout(COMES_WITHIN).expect("no event came")
    }

    fn until_idle(&self) -> Duration {
        loop {
            if let (PresenceEvent::Idle { last_input_ago }, _) = self.next() {
                return last_input_ago;
            }
        }
    }

    fn until_active(&self) -> Instant {
        loop {
            if let (PresenceEvent::Active, at) = self.next() {
                return at;
            }
        }
    }
}

#[test]
fn peers_08_input_on_wayland_is_seen_and_so_is_the_pause_after_it() {
    let Some(compositor) = Compositor::start() else { return };
    let seen = Seen::with(compositor.options());
    assert!(seen.watch.diagnosis().source.contains("ext-idle-notify-v1"), "{}", seen.watch.diagnosis());
    assert_eq!(seen.next().0, PresenceEvent::Active);
    let mut hand = Hand::on(&compositor.socket()).unwrap();
    let mut samples: Vec<Duration> = (0..20)
        .map(|_| {
            assert_eq!(seen.until_idle(), PAUSE);
            let start = Instant::now();
            hand.move_by(3.0, 2.0);
            seen.until_active() - start
        })
        .collect();
    samples.sort();
    // Nothing is asked of the clock: what has been measured is printed, and only that all were seen is tested.
    println!("KWin motion -> event, 20 samples: p50 {:.1?}, most {:.1?}", samples[10], samples[19]);

    seen.until_idle();
    let before = seen.watch.diagnosis().wakeups;
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(seen.watch.diagnosis().wakeups - before, 0, "nothing happens while nothing happens");
}

#[test]
fn peers_08_a_compositor_that_goes_and_comes_back_is_told_and_watched_again() {
    let Some(mut compositor) = Compositor::start() else { return };
    let seen = Seen::with(compositor.options());
    seen.until_idle();
    compositor.end();
    let PresenceEvent::Lost { detail } = seen.next().0 else { panic!("not lost") };
    assert!(detail.contains("Wayland"), "{detail}");
    compositor.run();
    seen.until_idle();
    Hand::on(&compositor.socket()).unwrap().move_by(5.0, 5.0);
    seen.until_active();
    assert_eq!(seen.watch.diagnosis().reconnections, 1);
}

#[test]
fn peers_08_a_session_that_tells_nobody_says_what_was_tried() {
    let options = Options {
        display: None,
        wayland: Some("/nonexistent/wayland-0".into()),
        session_bus: Some(NO_BUS.into()),
        system_bus: Some(NO_BUS.into()),
        settled_after: PAUSE,
    };
    let unavailable = watch_with(options, |_| {}).map(drop).unwrap_err();
    assert!(matches!(unavailable, Unavailable::WaylandSession { .. }), "{unavailable}");
    for tried in ["ext-idle-notify-v1", "GNOME", "logind"] {
        assert!(unavailable.to_string().contains(tried), "{unavailable}");
    }
}
