//! Full screen on a real X server with a real window manager (Xvfb, openbox), by windows that ask for it as any do.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test stands on must be there")]

#[expect(dead_code, reason = "other tests use more of it")]
mod desktop;
#[path = "desktop/program.rs"]
mod program;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use desktop::{Desktop, own_display};
use nightjar_presence::{SignalKind, SignalOptions, Signals, Standing, signals};
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{
    AtomEnum, ClientMessageEvent, ConnectionExt as _, CreateWindowAux, EventMask, PropMode, Window,
    WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

const COMES_WITHIN: Duration = Duration::from_secs(20);
const NO_BUS: &str = "unix:path=/nonexistent/bus";

fn options(display: Option<&str>, wayland: Option<&str>) -> SignalOptions {
    SignalOptions {
        display: display.map(str::to_owned),
        wayland: wayland.map(str::to_owned),
        session_bus: Some(NO_BUS.into()),
        system_bus: Some(NO_BUS.into()),
        ..SignalOptions::default()
    }
}

struct Heard {
    _signals: Signals,
    standings: Receiver<Standing>,
}

impl Heard {
    fn with(options: &SignalOptions) -> Self {
        let (sender, standings) = channel();
        let signals = signals(
            options,
            Arc::new(move |sign| {
                if sign.kind == SignalKind::FullScreen && sign.source == "x11" {
                    let _ = sender.send(sign.standing);
                }
            }),
        );
        Self { _signals: signals, standings }
    }

    fn next(&self) -> Standing {
        self.standings.recv_timeout(COMES_WITHIN).expect("no sign came")
    }

    fn until(&self, wanted: &Standing) {
        while self.next() != *wanted {}
    }
}

fn seen(name: &str) -> Standing {
    Standing::Seen { name: name.into() }
}

/// Programs' windows.
struct Windows {
    connection: RustConnection,
    root: Window,
}

impl Windows {
    fn on(desktop: &Desktop) -> Self {
        let (connection, screen) = RustConnection::connect(Some(&desktop.display)).unwrap();
        let root = connection.setup().roots[screen].root;
        Self { connection, root }
    }

    fn atom(&self, name: &str) -> u32 {
        self.connection.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom
    }

    fn open(&self, title: &str) -> Window {
        let window = self.connection.generate_id().unwrap();
        let (depth, visual) = (x11rb::COPY_DEPTH_FROM_PARENT, x11rb::COPY_FROM_PARENT);
        self.connection
            .create_window(
                depth,
                window,
                self.root,
                0,
                0,
                200,
                100,
                0,
                WindowClass::INPUT_OUTPUT,
                visual,
                &CreateWindowAux::new(),
            )
            .unwrap();
        self.title(window, title);
        self.connection.map_window(window).unwrap();
        self.connection.flush().unwrap();
        window
    }

    fn title(&self, window: Window, title: &str) {
        let (name, utf8) = (self.atom("_NET_WM_NAME"), self.atom("UTF8_STRING"));
        self.connection.change_property8(PropMode::REPLACE, window, name, utf8, title.as_bytes()).unwrap();
        self.connection.flush().unwrap();
    }

    fn ask(&self, window: Window, what: &str, data: [u32; 5]) {
        let message = ClientMessageEvent::new(32, window, self.atom(what), data);
        let mask = EventMask::SUBSTRUCTURE_REDIRECT | EventMask::SUBSTRUCTURE_NOTIFY;
        self.connection.send_event(false, self.root, mask, message).unwrap();
        self.connection.flush().unwrap();
    }

    fn full_screen(&self, window: Window, on: bool) {
        let state = self.atom("_NET_WM_STATE_FULLSCREEN");
        self.ask(window, "_NET_WM_STATE", [u32::from(on), state, 0, 1, 0]);
    }

    /// As a click in the task bar does.
    fn activate(&self, window: Window) {
        self.ask(window, "_NET_ACTIVE_WINDOW", [2, 0, 0, 0, 0]);
    }

    fn close(&self, window: Window) {
        self.connection.destroy_window(window).unwrap();
        self.connection.flush().unwrap();
    }

    /// The window manager has taken the window and it is the active one.
    fn wait_active(&self, window: Window) {
        let active = self.atom("_NET_ACTIVE_WINDOW");
        for _ in 0..400 {
            let asked = self.connection.get_property(false, self.root, active, AtomEnum::WINDOW, 0, 1);
            let found = asked.unwrap().reply().unwrap().value32().and_then(|mut value| value.next());
            if found == Some(window) {
                return;
            }
            self.activate(window);
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the window manager does not make the window active");
    }
}

#[test]
fn peers_07_a_film_in_full_screen_is_seen_by_its_title_and_so_is_its_end() {
    let desktop = Desktop::start();
    let heard = Heard::with(&options(Some(&desktop.display), None));
    assert_eq!(heard.next(), Standing::Quiet);
    let windows = Windows::on(&desktop);

    let film = windows.open("A film");
    windows.wait_active(film);
    windows.full_screen(film, true);
    assert_eq!(heard.next(), seen("A film"));
    windows.title(film, "Another film");
    assert_eq!(heard.next(), seen("Another film"));
    windows.full_screen(film, false);
    assert_eq!(heard.next(), Standing::Quiet);

    // Closed without leaving full screen first, as a game that crashes does.
    windows.full_screen(film, true);
    assert_eq!(heard.next(), seen("Another film"));
    windows.close(film);
    assert_eq!(heard.next(), Standing::Quiet);
}

#[test]
fn peers_07_a_game_that_crashes_in_full_screen_is_no_longer_seen() {
    let desktop = Desktop::start();
    let heard = Heard::with(&options(Some(&desktop.display), None));
    let program = Windows::on(&desktop);
    let game = program.open("A game");
    program.wait_active(game);
    program.full_screen(game, true);
    heard.until(&seen("A game"));
    // Its windows go with its connection, and no window is left that could become the active one.
    drop(program);
    assert_eq!(heard.next(), Standing::Quiet);
}

#[test]
fn peers_07_only_the_window_that_is_looked_at_counts() {
    let desktop = Desktop::start();
    let windows = Windows::on(&desktop);
    let game = windows.open("A game");
    windows.wait_active(game);
    windows.full_screen(game, true);
    // What is there already is told first.
    let heard = Heard::with(&options(Some(&desktop.display), None));
    heard.until(&seen("A game"));

    let letter = windows.open("A letter");
    windows.wait_active(letter);
    heard.until(&Standing::Quiet);
    windows.wait_active(game);
    heard.until(&seen("A game"));
}

#[test]
fn peers_08_on_wayland_full_screen_says_that_it_cannot_be_seen() {
    let heard = Heard::with(&options(None, Some("wayland-0")));
    let Standing::Unavailable { detail } = heard.next() else { panic!("it pretends") };
    assert!(detail.contains("Wayland"), "{detail}");
}

#[test]
fn a_server_that_goes_is_said_and_one_that_comes_back_is_watched() {
    let display = own_display();
    let desktop = Desktop::start_on(&display);
    let heard = Heard::with(&options(Some(&display), None));
    heard.until(&Standing::Quiet);
    drop(desktop);
    let Standing::Unavailable { detail } = heard.next() else { panic!("it pretends") };
    assert!(detail.contains(&display), "{detail}");
    let desktop = Desktop::start_on(&display);
    heard.until(&Standing::Quiet);
    let windows = Windows::on(&desktop);
    let film = windows.open("A film");
    windows.wait_active(film);
    windows.full_screen(film, true);
    heard.until(&seen("A film"));
}
