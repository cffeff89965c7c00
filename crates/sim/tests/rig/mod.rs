//! A set of stand-ins in a folder of its own, and programs that run with them.
//!
//! The loader reads `LD_LIBRARY_PATH` when a program starts, so a part of a test that loads the libraries
//! is a program of its own: this same test binary, asked for one of its functions.

use std::process::{Command, Stdio};

use nightjar_sim::layout::{Daemon, Layout, built_folder, install};

/// Set for the child; without it the children's functions have nothing to do.
const CHILD: &str = "NIGHTJAR_SIM_TEST_CHILD";

pub struct Rig {
    pub layout: Layout,
    pub daemon: Daemon,
    _folder: tempfile::TempDir,
}

impl Rig {
    pub fn new(cards: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = install(folder.path(), &built_folder().unwrap()).unwrap();
        let daemon = Daemon::start(&layout, &["--cards", cards]).unwrap();
        Self { layout, daemon, _folder: folder }
    }

    /// This test binary, about to run `function` with the stand-ins.
    pub fn child(&self, function: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", function, "--nocapture", "--test-threads=1"]);
        command.env(CHILD, "1").envs(self.layout.environment()).stdin(Stdio::null());
        command
    }

    /// Runs `function` to its end, which must be a good one.
    pub fn run(&self, function: &str) {
        let output = self.child(function).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{function} failed:\n{text}");
    }
}

/// Whether this is a child and shall do its part.
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}
