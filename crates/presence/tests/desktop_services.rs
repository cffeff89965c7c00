//! What desktops tell over D-Bus of input, films, the locked screen and sleep. A real bus (a private dbus-daemon) carries
//! it; GNOME's, KDE's and logind's ends are small fakes with the interfaces of the real ones, since this machine has none
//! of those.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test stands on must be there")]

#[path = "desktop/bus.rs"]
mod bus;
#[path = "desktop/program.rs"]
mod program;

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bus::Bus;
use nightjar_presence::{
    Options, PresenceEvent, Sign, SignalKind, SignalOptions, Signals, SleepGuard, Standing, Watch, signals,
    watch_with,
};
use zbus::blocking::{Connection, connection};
use zbus::zvariant::{OwnedFd, OwnedObjectPath, Value};

/// Generous: the machine may be busy building.
const COMES_WITHIN: Duration = Duration::from_secs(40);
const NOWHERE: &str = "unix:path=/nonexistent/bus";
const LOGIND: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const SESSION_PATH: &str = "/org/freedesktop/login1/session/_31";
const SESSION: &str = "org.freedesktop.login1.Session";

fn serve<I: zbus::object_server::Interface>(bus: &Bus, name: &str, path: &str, object: I) -> Connection {
    let builder = connection::Builder::address(bus.address.as_str()).unwrap();
    builder.serve_at(path, object).unwrap().name(name).unwrap().build().unwrap()
}

struct Heard {
    signs: Receiver<Sign>,
    _signals: Signals,
    sleep: SleepGuard,
}

impl Heard {
    fn on(bus: &Bus) -> Self {
        let (sender, signs) = channel();
        let options = SignalOptions {
            session_bus: Some(bus.address.clone()),
            system_bus: Some(bus.address.clone()),
            ..SignalOptions::default()
        };
        let sleep = options.sleep.clone();
        let signals = signals(&options, Arc::new(move |sign| drop(sender.send(sign))));
        Self { signs, _signals: signals, sleep }
    }

    fn until(&self, kind: SignalKind, source: &str, wanted: &Standing) {
        let deadline = Instant::now() + COMES_WITHIN;
        let mut heard = Vec::new();
        while let Ok(sign) = self.signs.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if sign.kind == kind && sign.source == source {
                if sign.standing == *wanted {
                    return;
                }
                heard.push(sign.standing);
            }
        }
        panic!("{source} did not say {wanted:?}, but {heard:?}");
    }

    fn until_unavailable(&self, kind: SignalKind, source: &str) {
        loop {
            let sign = self.signs.recv_timeout(COMES_WITHIN).expect("no sign came");
            if sign.kind == kind
                && sign.source == source
                && matches!(sign.standing, Standing::Unavailable { .. })
            {
                return;
            }
        }
    }
}

fn seen(name: &str) -> Standing {
    Standing::Seen { name: name.into() }
}

type Inhibitor = (String, String, String, String, u32, u32);

#[derive(Clone, Default)]
struct Login(Arc<Mutex<LoginState>>);

#[derive(Default)]
struct LoginState {
    inhibitors: Vec<Inhibitor>,
    locked: bool,
    idle_since: Option<SystemTime>,
    /// The ends by which it is seen that a delay was given up.
    delays: Vec<std::io::PipeReader>,
}

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Login {
    #[zbus(name = "GetSessionByPID")]
    fn session(&self, _process: u32) -> OwnedObjectPath {
        SESSION_PATH.try_into().unwrap()
    }

    fn list_inhibitors(&self) -> Vec<Inhibitor> {
        self.0.lock().unwrap().inhibitors.clone()
    }

    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> OwnedFd {
        assert_eq!((what, who, mode), ("shutdown:sleep", "Nightjar", "delay"));
        assert!(!why.is_empty());
        let (reader, writer) = std::io::pipe().unwrap();
        self.0.lock().unwrap().delays.push(reader);
        std::os::fd::OwnedFd::from(writer).into()
    }

    #[zbus(property)]
    fn lid_closed(&self) -> bool {
        false
    }
}

struct LoginSession(Login);

#[zbus::interface(name = "org.freedesktop.login1.Session")]
impl LoginSession {
    #[zbus(property)]
    fn locked_hint(&self) -> bool {
        self.0.0.lock().unwrap().locked
    }

    #[zbus(property)]
    fn idle_hint(&self) -> bool {
        self.0.0.lock().unwrap().idle_since.is_some()
    }

    #[zbus(property)]
    fn idle_since_hint(&self) -> u64 {
        let since = self.0.0.lock().unwrap().idle_since;
        let since = since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap())
    }
}

struct FakeLogind {
    connection: Connection,
    login: Login,
}

impl FakeLogind {
    fn on(bus: &Bus) -> Self {
        let login = Login::default();
        let builder = connection::Builder::address(bus.address.as_str()).unwrap();
        let builder = builder.serve_at(LOGIND, login.clone()).unwrap();
        let builder = builder.serve_at(SESSION_PATH, LoginSession(login.clone())).unwrap();
        let connection = builder.name("org.freedesktop.login1").unwrap().build().unwrap();
        Self { connection, login }
    }

    fn change(&self, change: impl FnOnce(&mut LoginState)) {
        change(&mut self.login.0.lock().unwrap());
        for (path, interface) in [(LOGIND, MANAGER), (SESSION_PATH, SESSION)] {
            let changed: HashMap<&str, Value<'_>> = HashMap::new();
            let body = (interface, changed, vec!["BlockInhibited", "LockedHint", "IdleHint"]);
            let properties = "org.freedesktop.DBus.Properties";
            self.connection.emit_signal(None::<&str>, path, properties, "PropertiesChanged", &body).unwrap();
        }
    }

    fn prepare_for_sleep(&self, begins: bool) {
        self.prepare_for("Sleep", begins);
    }

    fn prepare_for(&self, what: &str, begins: bool) {
        let signal = format!("PrepareFor{what}");
        self.connection.emit_signal(None::<&str>, LOGIND, MANAGER, signal.as_str(), &(begins,)).unwrap();
    }

    /// Waits until the delay that was asked for first is given up.
    fn wait_for_release(&self) {
        let mut delay = self.login.0.lock().unwrap().delays.remove(0);
        let (sender, ended) = channel();
        std::thread::spawn(move || drop(sender.send(delay.read(&mut [0]))));
        let read = ended.recv_timeout(COMES_WITHIN).expect("the delay is not given up");
        assert_eq!(read.unwrap(), 0);
    }
}

#[test]
fn peers_07_who_blocks_idle_is_named_by_a_fake_logind() {
    let (kind, source) = (SignalKind::IdleInhibitor, "logind");
    let bus = Bus::start();
    let heard = Heard::on(&bus);
    heard.until_unavailable(kind, source);
    let logind = FakeLogind::on(&bus);
    heard.until(kind, source, &Standing::Quiet);
    let inhibitor = |what: &str, who: &str, why: &str, mode: &str, process| -> Inhibitor {
        (what.into(), who.into(), why.into(), mode.into(), 1000, process)
    };
    logind.change(|state| {
        state.inhibitors = vec![
            inhibitor("sleep", "UPower", "", "delay", 1),
            inhibitor("idle", "Nightjar", "", "block", 2),
            inhibitor("idle", "a test", "", "block", std::process::id()),
            inhibitor("sleep:idle", "mpv", "Playing a film", "block", 1),
        ];
    });
    heard.until(kind, source, &seen("mpv (Playing a film)"));
    logind.change(|state| drop(state.inhibitors.pop()));
    heard.until(kind, source, &Standing::Quiet);
    drop(logind);
    heard.until_unavailable(kind, source);
}

#[test]
fn the_locked_screen_is_seen_on_a_fake_logind() {
    let (kind, source) = (SignalKind::ScreenLocked, "logind");
    let bus = Bus::start();
    let logind = FakeLogind::on(&bus);
    let heard = Heard::on(&bus);
    heard.until(kind, source, &Standing::Quiet);
    logind.change(|state| state.locked = true);
    heard.until(kind, source, &seen("screen"));
    logind.change(|state| state.locked = false);
    heard.until(kind, source, &Standing::Quiet);
}

#[test]
fn sleep_waits_for_its_guard_on_a_fake_logind_and_the_guard_is_taken_again() {
    let (kind, source) = (SignalKind::Suspending, "logind");
    let bus = Bus::start();
    let logind = FakeLogind::on(&bus);
    let heard = Heard::on(&bus);
    heard.until(kind, source, &Standing::Quiet);
    for _ in 0..2 {
        assert!(heard.sleep.is_held());
        // Nothing is about to sleep: this is not for a sleep to come.
        heard.sleep.release();
        assert!(heard.sleep.is_held());
        logind.prepare_for_sleep(true);
        heard.until(kind, source, &seen("sleep"));
        assert!(heard.sleep.is_held(), "the job is still being stopped");
        heard.sleep.release();
        logind.wait_for_release();
        logind.prepare_for_sleep(false);
        heard.until(kind, source, &Standing::Quiet);
    }
    // Point 24 of the peers' complaints: a shutdown lost work. It waits as sleep does.
    logind.prepare_for("Shutdown", true);
    heard.until(kind, source, &seen("shutdown"));
    assert!(heard.sleep.is_held());
    logind.prepare_for("Shutdown", false);
    heard.until(kind, source, &Standing::Quiet);
    // The agent may keep the guard; nothing waits for one whose sensor has ended.
    let Heard { _signals: sensors, sleep, .. } = heard;
    drop(sensors);
    // The sensor's thread ends by itself, a moment later.
    let ends = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while sleep.is_held() {
        assert!(std::time::Instant::now() < ends, "a sensor that has ended still holds the PC");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

struct ScreenSaver;

#[zbus::interface(name = "org.gnome.ScreenSaver")]
impl ScreenSaver {
    fn get_active(&self) -> bool {
        true
    }
}

#[test]
fn the_locked_screen_is_seen_on_a_fake_screen_saver() {
    let (name, path) = ("org.gnome.ScreenSaver", "/org/gnome/ScreenSaver");
    let bus = Bus::start();
    let saver = serve(&bus, name, path, ScreenSaver);
    let heard = Heard::on(&bus);
    heard.until(SignalKind::ScreenLocked, "gnome-screensaver", &seen("screen"));
    saver.emit_signal(None::<&str>, path, name, "ActiveChanged", &(false,)).unwrap();
    heard.until(SignalKind::ScreenLocked, "gnome-screensaver", &Standing::Quiet);
}

struct PowerManager;

#[zbus::interface(name = "org.freedesktop.PowerManagement.Inhibit")]
impl PowerManager {
    fn has_inhibit(&self) -> bool {
        false
    }
}

struct PolicyAgent;

#[zbus::interface(name = "org.kde.Solid.PowerManagement.PolicyAgent")]
impl PolicyAgent {
    fn list_inhibitions(&self) -> Vec<(String, String)> {
        vec![("Nightjar".into(), String::new()), ("Firefox".into(), "video-playing".into())]
    }
}

#[test]
fn peers_07_a_film_is_named_by_a_fake_power_manager_of_kde() {
    let (name, path) =
        ("org.freedesktop.PowerManagement.Inhibit", "/org/freedesktop/PowerManagement/Inhibit");
    let bus = Bus::start();
    let power = serve(&bus, name, path, PowerManager);
    let heard = Heard::on(&bus);
    let say = |inhibited: bool| {
        power.emit_signal(None::<&str>, path, name, "HasInhibitChanged", &(inhibited,)).unwrap();
    };
    let (kind, source) = (SignalKind::IdleInhibitor, "power-management");
    heard.until(kind, source, &Standing::Quiet);
    // Elsewhere than on KDE nobody says who it is.
    say(true);
    heard.until(kind, source, &seen("a program that keeps the screen awake"));
    say(false);
    heard.until(kind, source, &Standing::Quiet);
    let agent = "org.kde.Solid.PowerManagement.PolicyAgent";
    let _agent = serve(&bus, agent, "/org/kde/Solid/PowerManagement/PolicyAgent", PolicyAgent);
    say(true);
    heard.until(kind, source, &seen("Firefox (video-playing)"));
}

#[derive(Clone, Default)]
struct SessionManager(Arc<Mutex<bool>>);

#[zbus::interface(name = "org.gnome.SessionManager")]
impl SessionManager {
    fn is_inhibited(&self, flags: u32) -> bool {
        flags == 8 && *self.0.lock().unwrap()
    }

    fn get_inhibitors(&self) -> Vec<OwnedObjectPath> {
        // The first is gone already.
        ["/org/gnome/SessionManager/Inhibitor1", "/org/gnome/SessionManager/Inhibitor2"]
            .map(|path| path.try_into().unwrap())
            .into()
    }
}

struct SessionInhibitor;

#[zbus::interface(name = "org.gnome.SessionManager.Inhibitor")]
impl SessionInhibitor {
    fn get_flags(&self) -> u32 {
        12
    }

    fn get_app_id(&self) -> String {
        "org.gnome.Totem".into()
    }

    fn get_reason(&self) -> String {
        "Playing a film".into()
    }
}

#[test]
fn peers_07_a_film_is_named_by_a_fake_session_manager_of_gnome() {
    let (name, path) = ("org.gnome.SessionManager", "/org/gnome/SessionManager");
    let bus = Bus::start();
    let manager = SessionManager::default();
    let session = serve(&bus, name, path, manager.clone());
    session.object_server().at("/org/gnome/SessionManager/Inhibitor2", SessionInhibitor).unwrap();
    let heard = Heard::on(&bus);
    let (kind, source) = (SignalKind::IdleInhibitor, "session-manager");
    heard.until(kind, source, &Standing::Quiet);
    for (inhibited, signal, wanted) in [
        (true, "InhibitorAdded", seen("org.gnome.Totem (Playing a film)")),
        (false, "InhibitorRemoved", Standing::Quiet),
    ] {
        *manager.0.lock().unwrap() = inhibited;
        let inhibitor: OwnedObjectPath = "/org/gnome/SessionManager/Inhibitor2".try_into().unwrap();
        session.emit_signal(None::<&str>, path, name, signal, &(inhibitor,)).unwrap();
        heard.until(kind, source, &wanted);
    }
}

struct SeenInput {
    watch: Watch,
    events: Receiver<PresenceEvent>,
}

impl SeenInput {
    /// In a Wayland session whose compositor cannot be reached: what is left is on the buses.
    fn on(session_bus: &str, system_bus: &str, settled_after: Duration) -> Self {
        let (sender, events) = channel();
        let options = Options {
            display: None,
            wayland: Some("/nonexistent/wayland-0".into()),
            session_bus: Some(session_bus.into()),
            system_bus: Some(system_bus.into()),
            settled_after,
        };
        let watch = watch_with(options, move |event| drop(sender.send(event))).unwrap();
        Self { watch, events }
    }

    fn next(&self) -> PresenceEvent {
        self.events.recv_timeout(COMES_WITHIN).expect("no event came")
    }
}

/// What the fake monitor knows: the pause so far, and the watches that are set.
#[derive(Clone)]
struct IdleMonitor(Arc<Mutex<IdleState>>);

struct IdleState {
    last_input: Instant,
    /// How often the pause so far was asked for.
    asked: u32,
    next_watch: u32,
    /// Each with how often the pause had been asked for before.
    active_watches: Vec<(u32, u32)>,
    idle_watch: Option<u32>,
}

#[zbus::interface(name = "org.gnome.Mutter.IdleMonitor")]
impl IdleMonitor {
    #[zbus(name = "GetIdletime")]
    fn idle_time(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        state.asked += 1;
        u64::try_from(state.last_input.elapsed().as_millis()).unwrap()
    }

    fn add_idle_watch(&self, _after_ms: u64) -> u32 {
        let mut state = self.0.lock().unwrap();
        state.next_watch += 1;
        state.idle_watch = Some(state.next_watch);
        state.next_watch
    }

    fn add_user_active_watch(&self) -> u32 {
        let mut state = self.0.lock().unwrap();
        state.next_watch += 1;
        let (watch, asked) = (state.next_watch, state.asked);
        state.active_watches.push((watch, asked));
        watch
    }

    fn remove_watch(&self, watch: u32) {
        self.0.lock().unwrap().active_watches.retain(|(set, _)| *set != watch);
    }
}

#[test]
fn peers_08_input_is_seen_on_a_fake_idle_monitor_of_gnome() {
    let (name, path) = ("org.gnome.Mutter.IdleMonitor", "/org/gnome/Mutter/IdleMonitor/Core");
    let bus = Bus::start();
    // Somebody is there, until the test says otherwise.
    let last_input = Instant::now() + Duration::from_secs(60);
    let state =
        IdleState { last_input, asked: 0, next_watch: 0, active_watches: Vec::new(), idle_watch: None };
    let monitor = IdleMonitor(Arc::new(Mutex::new(state)));
    let mutter = serve(&bus, name, path, monitor.clone());
    let pause = Duration::from_secs(3);
    let fire = |watch: u32| {
        mutter.emit_signal(None::<&str>, path, name, "WatchFired", &(watch,)).unwrap();
    };
    let seen = SeenInput::on(&bus.address, NOWHERE, pause);
    assert!(seen.watch.diagnosis().source.contains("GNOME"), "{}", seen.watch.diagnosis());
    assert_eq!(seen.next(), PresenceEvent::Active);
    for _ in 0..2 {
        let idle_watch = {
            let mut state = monitor.0.lock().unwrap();
            state.last_input = Instant::now().checked_sub(2 * pause).unwrap();
            state.idle_watch.unwrap()
        };
        fire(idle_watch);
        let PresenceEvent::Idle { last_input_ago } = seen.next() else { panic!("not idle") };
        assert!(last_input_ago >= 2 * pause, "{last_input_ago:?}");
        // The watch for the end of the pause is set right after it was told, and then it is looked once more whether it has
        // ended meanwhile.
        let deadline = Instant::now() + COMES_WITHIN;
        let active = loop {
            let mut state = monitor.0.lock().unwrap();
            let asked = state.asked;
            if let Some((watch, _)) = state.active_watches.pop_if(|(_, before)| asked > *before) {
                break watch;
            }
            drop(state);
            assert!(Instant::now() < deadline, "no watch is set for the end of the pause");
            std::thread::sleep(Duration::from_millis(5));
        };
        monitor.0.lock().unwrap().last_input = Instant::now();
        fire(active);
        assert_eq!(seen.next(), PresenceEvent::Active);
    }
    let before = seen.watch.diagnosis().wakeups;
    assert_eq!(seen.events.recv_timeout(Duration::from_secs(3)), Err(RecvTimeoutError::Timeout));
    assert_eq!(seen.watch.diagnosis().wakeups, before, "nothing happens while nothing happens");
    drop(mutter);
    assert!(matches!(seen.next(), PresenceEvent::Lost { .. }));
}

#[test]
fn peers_08_the_hint_of_a_fake_logind_is_taken_where_there_is_nothing_finer_and_called_coarse() {
    let bus = Bus::start();
    let logind = FakeLogind::on(&bus);
    let seen = SeenInput::on(NOWHERE, &bus.address, Duration::from_secs(1));
    let source = seen.watch.diagnosis().source;
    assert!(source.contains("logind") && source.contains("coarse"), "{source}");
    assert_eq!(seen.next(), PresenceEvent::Active);
    let minute = Duration::from_secs(60);
    logind.change(|state| state.idle_since = SystemTime::now().checked_sub(minute));
    let PresenceEvent::Idle { last_input_ago } = seen.next() else { panic!("not idle") };
    assert!(last_input_ago >= minute && last_input_ago < 2 * minute, "{last_input_ago:?}");
    logind.change(|state| state.idle_since = None);
    assert_eq!(seen.next(), PresenceEvent::Active);
    // The drop waits for the sensor's thread, which owned the callback, which owned the sender.
    drop(seen.watch);
    while seen.events.try_recv().is_ok() {}
    assert_eq!(seen.events.try_recv(), Err(TryRecvError::Disconnected), "it was waited for in vain");
}
