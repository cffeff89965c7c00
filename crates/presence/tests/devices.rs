//! What is told over D-Bus of games, remote logins, other accounts, battery and network. A real bus (a private dbus-daemon) carries it;
//! the services on it are small fakes with the interfaces of the real ones, since this machine has none of those.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test stands on must be there")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nightjar_presence::{Sign, SignalKind, SignalOptions, Signals, Standing, signals};
use zbus::blocking::{Connection, connection};
use zbus::zvariant::{OwnedObjectPath, Value};

/// Generous: the machine may be busy building.
const COMES_WITHIN: Duration = Duration::from_secs(40);

/// A bus that ends with the value, by its id.
struct PrivateBus {
    daemon: Child,
    address: String,
}

impl PrivateBus {
    fn start() -> Self {
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs the package dbus");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { daemon, address: address.trim().to_owned() }
    }

    fn builder(&self) -> connection::Builder<'_> {
        connection::Builder::address(self.address.as_str()).unwrap()
    }

    fn watch(&self, ssh_counts: bool) -> Watched {
        let (sender, signs) = channel();
        let options = SignalOptions {
            session_bus: Some(self.address.clone()),
            system_bus: Some(self.address.clone()),
            ssh_counts,
            ..SignalOptions::default()
        };
        let sensors = signals(&options, Arc::new(move |sign| drop(sender.send(sign))));
        Watched { signs, _sensors: sensors }
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

struct Watched {
    signs: Receiver<Sign>,
    _sensors: Signals,
}

impl Watched {
    fn until(&self, kind: SignalKind, source: &str, wanted: impl Fn(&Standing) -> bool) {
        let deadline = Instant::now() + COMES_WITHIN;
        let mut heard = Vec::new();
        while let Ok(sign) = self.signs.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if sign.kind == kind && sign.source == source {
                if wanted(&sign.standing) {
                    return;
                }
                heard.push(sign.standing);
            }
        }
        panic!("{source} did not say what was waited for, but {heard:?}");
    }

    fn until_seen(&self, kind: SignalKind, source: &str, name: &str) {
        self.until(kind, source, |standing| *standing == Standing::Seen { name: name.to_owned() });
    }

    fn until_quiet(&self, kind: SignalKind, source: &str) {
        self.until(kind, source, |standing| *standing == Standing::Quiet);
    }

    fn until_unavailable(&self, kind: SignalKind, source: &str) {
        self.until(kind, source, |standing| matches!(standing, Standing::Unavailable { .. }));
    }
}

fn path(path: &str) -> OwnedObjectPath {
    OwnedObjectPath::try_from(path).unwrap()
}

struct GameMode(Arc<Mutex<Vec<i32>>>);

#[zbus::interface(name = "com.feralinteractive.GameMode")]
impl GameMode {
    fn list_games(&self) -> Vec<(i32, OwnedObjectPath)> {
        let games = self.0.lock().unwrap();
        games.iter().map(|pid| (*pid, path(&format!("/com/feralinteractive/GameMode/Games/{pid}")))).collect()
    }

    #[zbus(property)]
    fn client_count(&self) -> i32 {
        i32::try_from(self.0.lock().unwrap().len()).unwrap()
    }
}

#[test]
fn peers_03_a_game_that_announces_itself_to_gamemode_is_seen_by_its_name() {
    const PATH: &str = "/com/feralinteractive/GameMode";
    const INTERFACE: &str = "com.feralinteractive.GameMode";
    let bus = PrivateBus::start();
    let watched = bus.watch(false);
    // Not installed here, which is said.
    watched.until_unavailable(SignalKind::Game, "gamemode");

    let games = Arc::new(Mutex::new(Vec::new()));
    let gamemode = bus
        .builder()
        .serve_at(PATH, GameMode(Arc::clone(&games)))
        .unwrap()
        .name("com.feralinteractive.GameMode")
        .unwrap()
        .build()
        .unwrap();
    watched.until_quiet(SignalKind::Game, "gamemode");

    let mut game = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = i32::try_from(game.id()).unwrap();
    let say = |signal: &str| {
        let body = (pid, path("/com/feralinteractive/GameMode/Games/1"));
        gamemode.emit_signal(None::<&str>, PATH, INTERFACE, signal, &body).unwrap();
    };
    games.lock().unwrap().push(pid);
    say("GameRegistered");
    watched.until_seen(SignalKind::Game, "gamemode", "sleep");
    games.lock().unwrap().clear();
    say("GameUnregistered");
    watched.until_quiet(SignalKind::Game, "gamemode");
    game.kill().unwrap();
    game.wait().unwrap();
    // The service ends with a game still listed.
    games.lock().unwrap().push(i32::try_from(std::process::id()).unwrap());
    say("GameRegistered");
    watched.until(SignalKind::Game, "gamemode", |standing| matches!(standing, Standing::Seen { .. }));
    gamemode.close().unwrap();
    watched.until_unavailable(SignalKind::Game, "gamemode");
}

type Listed = (String, u32, String, String, OwnedObjectPath);

struct Logind(Arc<Mutex<Vec<Listed>>>);

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    fn list_sessions(&self) -> Vec<Listed> {
        self.0.lock().unwrap().clone()
    }
}

struct Session {
    kind: &'static str,
    service: &'static str,
}

#[zbus::interface(name = "org.freedesktop.login1.Session")]
impl Session {
    #[zbus(property)]
    fn remote(&self) -> bool {
        true
    }
    #[zbus(property)]
    fn class(&self) -> &str {
        "user"
    }
    #[zbus(property, name = "Type")]
    fn kind(&self) -> &str {
        self.kind
    }
    #[zbus(property)]
    fn service(&self) -> &str {
        self.service
    }
    #[zbus(property)]
    fn remote_host(&self) -> &str {
        "192.0.2.7"
    }
    #[zbus(property)]
    fn state(&self) -> &str {
        "active"
    }
}

fn logind(bus: &PrivateBus, sessions: &Arc<Mutex<Vec<Listed>>>) -> Connection {
    bus.builder()
        .serve_at("/org/freedesktop/login1", Logind(Arc::clone(sessions)))
        .unwrap()
        .serve_at("/org/freedesktop/login1/session/_31", Session { kind: "x11", service: "krdp" })
        .unwrap()
        .serve_at("/org/freedesktop/login1/session/_32", Session { kind: "tty", service: "sshd" })
        .unwrap()
        .name("org.freedesktop.login1")
        .unwrap()
        .build()
        .unwrap()
}

#[test]
fn peers_09_a_remote_desktop_is_use_and_ssh_where_the_owner_says_so() {
    let bus = PrivateBus::start();
    let listed = |id: &str| {
        let at = path(&format!("/org/freedesktop/login1/session/_3{id}"));
        (id.to_owned(), 1000, "mia".to_owned(), String::new(), at)
    };
    let sessions = Arc::new(Mutex::new(vec![listed("2")]));
    let service = logind(&bus, &sessions);
    let strict = bus.watch(true);
    let plain = bus.watch(false);
    strict.until_seen(SignalKind::RemoteSession, "logind", "SSH (192.0.2.7)");
    plain.until_quiet(SignalKind::RemoteSession, "logind");

    let say = |signal: &str| {
        let (at, interface) = ("/org/freedesktop/login1", "org.freedesktop.login1.Manager");
        let body = ("1", path("/org/freedesktop/login1/session/_31"));
        service.emit_signal(None::<&str>, at, interface, signal, &body).unwrap();
    };
    sessions.lock().unwrap().push(listed("1"));
    say("SessionNew");
    plain.until_seen(SignalKind::RemoteSession, "logind", "x11 (192.0.2.7)");
    sessions.lock().unwrap().clear();
    say("SessionRemoved");
    plain.until_quiet(SignalKind::RemoteSession, "logind");
    strict.until_quiet(SignalKind::RemoteSession, "logind");
}

/// A login manager with one seat, which shows one of its sessions. Session `1` is the one that Nightjar was started in.
#[derive(Clone)]
struct Seat(Arc<Mutex<SeatState>>);

struct SeatState {
    shows: &'static str,
    is_known: bool,
}

const AT_THE_SEAT: [(&str, u32, &str, &str); 3] =
    [("1", 1000, "mia", "user"), ("2", 1001, "ben", "user"), ("c1", 120, "gdm", "greeter")];

fn session_path(id: &str) -> OwnedObjectPath {
    path(&format!("/org/freedesktop/login1/session/s{id}"))
}

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Seat {
    fn list_sessions(&self) -> Vec<Listed> {
        let listed = |(id, uid, user, _): &(&str, u32, &str, &str)| {
            ((*id).to_owned(), *uid, (*user).to_owned(), "seat0".to_owned(), session_path(id))
        };
        AT_THE_SEAT.iter().map(listed).collect()
    }

    #[zbus(name = "GetSessionByPID")]
    fn session_by_pid(&self, _pid: u32) -> zbus::fdo::Result<OwnedObjectPath> {
        let is_known = self.0.lock().unwrap().is_known;
        if is_known { Ok(session_path("1")) } else { Err(zbus::fdo::Error::Failed("no session".into())) }
    }
}

struct SeatSession {
    id: &'static str,
    class: &'static str,
    seat: Seat,
}

#[zbus::interface(name = "org.freedesktop.login1.Session")]
impl SeatSession {
    #[zbus(property)]
    fn active(&self) -> bool {
        self.seat.0.lock().unwrap().shows == self.id
    }
    #[zbus(property)]
    fn class(&self) -> &str {
        self.class
    }
    #[zbus(property, name = "Type")]
    fn kind(&self) -> &str {
        "wayland"
    }
    #[zbus(property)]
    fn state(&self) -> &str {
        "online"
    }
    #[zbus(property)]
    fn locked_hint(&self) -> bool {
        false
    }
}

fn seat(bus: &PrivateBus, seat: &Seat) -> Connection {
    let mut builder = bus.builder().serve_at("/org/freedesktop/login1", seat.clone()).unwrap();
    for (id, _, _, class) in AT_THE_SEAT {
        let session = SeatSession { id, class, seat: seat.clone() };
        builder = builder.serve_at(session_path(id).to_string(), session).unwrap();
    }
    builder.name("org.freedesktop.login1").unwrap().build().unwrap()
}

#[test]
fn who_switched_to_another_account_is_seen_as_long_as_the_seat_shows_it() {
    let (another, locked) = (SignalKind::OtherAccount, SignalKind::ScreenLocked);
    let bus = PrivateBus::start();
    let watched = bus.watch(false);
    watched.until_unavailable(another, "logind");
    watched.until_unavailable(locked, "login-screen");
    let state = Seat(Arc::new(Mutex::new(SeatState { shows: "1", is_known: true })));
    let service = seat(&bus, &state);
    watched.until_quiet(another, "logind");
    let shows = |id: &'static str| {
        state.0.lock().unwrap().shows = id;
        let (at, interface) = ("/org/freedesktop/login1/seat/seat0", "org.freedesktop.login1.Seat");
        changed(&service, at, interface, "ActiveSession", (id, session_path(id)).into());
    };
    shows("2");
    watched.until_seen(another, "logind", "ben");
    // He leaves by the login screen: nobody works there, and ours is behind it.
    shows("c1");
    watched.until_quiet(another, "logind");
    watched.until_seen(locked, "login-screen", "login screen");
    shows("2");
    watched.until_seen(another, "logind", "ben");
    watched.until_quiet(locked, "login-screen");
    shows("1");
    watched.until_quiet(another, "logind");
    // A service without a session, which hears nobody: whoever sits there counts, and an empty login screen does not.
    state.0.lock().unwrap().is_known = false;
    shows("2");
    watched.until_seen(another, "logind", "ben");
    shows("c1");
    watched.until_quiet(another, "logind");
}

struct UPower(bool);

#[zbus::interface(name = "org.freedesktop.UPower")]
impl UPower {
    #[zbus(property)]
    fn on_battery(&self) -> bool {
        self.0
    }
}

struct NetworkManager(u32);

#[zbus::interface(name = "org.freedesktop.NetworkManager")]
impl NetworkManager {
    #[zbus(property)]
    fn metered(&self) -> u32 {
        self.0
    }
    #[zbus(property)]
    fn primary_connection(&self) -> OwnedObjectPath {
        path("/org/freedesktop/NetworkManager/ActiveConnection/1")
    }
}

struct ActiveConnection;

#[zbus::interface(name = "org.freedesktop.NetworkManager.Connection.Active")]
impl ActiveConnection {
    #[zbus(property)]
    fn id(&self) -> &str {
        "Mia's telephone"
    }
}

/// As the real services say that a property has changed.
fn changed(service: &Connection, at: &str, interface: &str, property: &str, value: Value<'_>) {
    let body = (interface, HashMap::from([(property, value)]), Vec::<String>::new());
    let properties = "org.freedesktop.DBus.Properties";
    service.emit_signal(None::<&str>, at, properties, "PropertiesChanged", &body).unwrap();
}

#[test]
fn the_plug_that_is_pulled_is_told_at_once() {
    const PATH: &str = "/org/freedesktop/UPower";
    let bus = PrivateBus::start();
    let service = bus.builder().serve_at(PATH, UPower(false)).unwrap();
    let service = service.name("org.freedesktop.UPower").unwrap().build().unwrap();
    let watched = bus.watch(false);
    watched.until_quiet(SignalKind::OnBattery, "upower");
    for on_battery in [true, false] {
        let object = service.object_server().interface::<_, UPower>(PATH).unwrap();
        object.get_mut().0 = on_battery;
        changed(&service, PATH, "org.freedesktop.UPower", "OnBattery", on_battery.into());
        match on_battery {
            true => watched.until_seen(SignalKind::OnBattery, "upower", "UPower"),
            false => watched.until_quiet(SignalKind::OnBattery, "upower"),
        }
    }
}

#[test]
fn a_metered_network_is_told_by_its_name() {
    const PATH: &str = "/org/freedesktop/NetworkManager";
    let bus = PrivateBus::start();
    let watched = bus.watch(false);
    watched.until_unavailable(SignalKind::MeteredNetwork, "networkmanager");
    let service = bus.builder().serve_at(PATH, NetworkManager(0)).unwrap();
    let service =
        service.serve_at("/org/freedesktop/NetworkManager/ActiveConnection/1", ActiveConnection).unwrap();
    let service = service.name("org.freedesktop.NetworkManager").unwrap().build().unwrap();
    watched.until_quiet(SignalKind::MeteredNetwork, "networkmanager");
    for (metered, seen) in [(1, true), (2, false), (3, true), (4, false)] {
        let object = service.object_server().interface::<_, NetworkManager>(PATH).unwrap();
        object.get_mut().0 = metered;
        changed(&service, PATH, "org.freedesktop.NetworkManager", "Metered", metered.into());
        if seen {
            watched.until_seen(SignalKind::MeteredNetwork, "networkmanager", "Mia's telephone");
        } else {
            watched.until_quiet(SignalKind::MeteredNetwork, "networkmanager");
        }
    }
}
