//! A real X server with a window manager, on a display of its own. Both end with the value, by their ids.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use x11rb::connection::Connection;
use x11rb::protocol::xproto::{self, AtomEnum, ConnectionExt as _};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;

use crate::program::Program;

const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// Far above those that servers choose, which begin at 0; the last has a port's number still.
const FIRST_OWN_DISPLAY: u32 = 1_000;
const OWN_DISPLAYS: u32 = 50_000;

/// A display for a server that is to come back: one that a server chose is anybody's as soon as that server has ended, and
/// other tests start theirs meanwhile.
pub fn own_display() -> String {
    format!(":{}", FIRST_OWN_DISPLAY + std::process::id() % OWN_DISPLAYS)
}

pub struct Desktop {
    // In the order in which they end.
    _window_manager: Program,
    _server: Program,
    pub display: String,
}

impl Desktop {
    /// On a display number that is free.
    pub fn start() -> Self {
        let mut server = Program::start(server().args(["-displayfd", "1"]).stdout(Stdio::piped()));
        let mut number = String::new();
        let stdout = server.0.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut number).unwrap();
        assert!(!number.trim().is_empty(), "Xvfb did not start");
        Self::manage(server, format!(":{}", number.trim()))
    }

    /// On that display.
    pub fn start_on(display: &str) -> Self {
        let server = Program::start(server().arg(display).stdout(Stdio::null()));
        Self::manage(server, display.to_owned())
    }

    /// The server resets its idle counter when its last client leaves, so a window manager stays, as on any desktop.
    fn manage(server: Program, display: String) -> Self {
        let deadline = Instant::now() + STARTS_WITHIN;
        let connection = loop {
            match RustConnection::connect(Some(&display)) {
                Ok((connection, _)) => break connection,
                Err(error) => assert!(Instant::now() < deadline, "no X server on {display}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut openbox = Command::new("openbox");
        openbox.args(["--sm-disable", "--config-file", "/dev/null"]).env("DISPLAY", &display);
        let window_manager = Program::start(openbox.stdout(Stdio::null()));
        let mark = connection.intern_atom(false, b"_NET_SUPPORTING_WM_CHECK").unwrap().reply().unwrap().atom;
        let root = connection.setup().roots[0].root;
        let managed = || {
            let property = connection.get_property(false, root, mark, AtomEnum::WINDOW, 0, 1);
            property.unwrap().reply().unwrap().value_len > 0
        };
        while !managed() {
            assert!(Instant::now() < deadline, "openbox does not manage {display}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { _window_manager: window_manager, _server: server, display }
    }

    /// Runs xdotool, as a user's hand would.
    pub fn xdotool(&self, arguments: &[&str]) {
        let status = Command::new("xdotool").args(arguments).env("DISPLAY", &self.display).status();
        assert!(status.expect("this test needs the package xdotool").success(), "xdotool {arguments:?}");
    }

    pub fn hand(&self) -> Hand {
        let (connection, screen) = RustConnection::connect(Some(&self.display)).unwrap();
        let root = connection.setup().roots[screen].root;
        Hand { connection, root }
    }
}

fn server() -> Command {
    let mut command = Command::new("Xvfb");
    command.args(["-screen", "0", "640x480x24", "-nolisten", "tcp"]);
    command
}

/// Input without a program's start in front of it.
pub struct Hand {
    connection: RustConnection,
    root: xproto::Window,
}

impl Hand {
    pub fn move_to(&self, x: i16, y: i16) {
        self.fake(xproto::MOTION_NOTIFY_EVENT, 0, x, y);
    }

    fn fake(&self, kind: u8, detail: u8, x: i16, y: i16) {
        // Waits for the server's answer: what a client said that has gone is not read by a busy server.
        self.connection.xtest_fake_input(kind, detail, 0, self.root, x, y, 0).unwrap().check().unwrap();
    }
}
