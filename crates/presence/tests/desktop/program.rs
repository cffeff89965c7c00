//! A program that a test runs, ended by its id.

use std::process::{Child, Command, Stdio};

/// A child process that is ended and waited for when this is dropped.
pub struct Program(pub Child);

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| {
            panic!("{name}: {error}; this test needs the packages xvfb, openbox, xdotool and dbus")
        }))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
