//! A message bus of a test's own.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::program::Program;

pub struct Bus {
    _daemon: Program,
    pub address: String,
}

impl Bus {
    pub fn start() -> Self {
        let mut command = Command::new("dbus-daemon");
        command.args(["--session", "--nofork", "--nopidfile", "--print-address=1"]);
        let mut daemon = Program::start(command.stdout(Stdio::piped()));
        let mut address = String::new();
        BufReader::new(daemon.0.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(!address.trim().is_empty(), "dbus-daemon did not start");
        Self { _daemon: daemon, address: address.trim().to_owned() }
    }
}
