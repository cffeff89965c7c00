//! The privileged helper, as root, on this stage's cards and on a socket of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;

use crate::engine::as_root;
use crate::host::{Surroundings, text};
use crate::place::program;
use crate::process::{Process, tail, wait_for};
use crate::stage::Cards;

/// A running helper.
pub struct Helper {
    pub process: Process,
    socket: PathBuf,
}

impl Helper {
    /// # Errors
    /// When it does not start.
    pub fn start(folder: &Path, cards: &Cards) -> anyhow::Result<Self> {
        let socket = folder.join("helper.sock");
        let mut command = as_root("env");
        command.args(cards.environment().iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(program("nightjar-helper")?).arg("--socket").arg(&socket);
        command.arg("--state-dir").arg(folder.join("helper"));
        let mut process = Process::start(folder, "helper", &mut command)?;
        wait_for("the helper", Duration::from_secs(10), || {
            if !process.is_running() {
                bail!("the helper ended:\n{}", tail(&process.log()));
            }
            Ok(socket.exists().then_some(()))
        })?;
        Ok(Self { process, socket })
    }

    /// A host in these surroundings finds this helper.
    pub fn serve(&self, around: &mut Surroundings) {
        around.environment.push(("NIGHTJAR_HELPER".to_owned(), text(&self.socket)));
    }
}
