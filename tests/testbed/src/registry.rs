//! A real image registry on a port of the loopback, with an empty store of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::engine::Engine;
use crate::process::{Process, output, wait_for};

const START_WITHIN: Duration = Duration::from_secs(20);

pub struct Registry {
    _process: Process,
    port: u16,
    store: PathBuf,
}

impl Registry {
    /// # Errors
    /// When it does not start: the package `docker-registry` may be missing.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let store = folder.join("registry");
        std::fs::create_dir_all(&store)?;
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {store:?}\nhttp:\n  addr: \
             127.0.0.1:0\n"
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        let process = Process::start(folder, "registry", command.arg("serve").arg(&config))
            .context("is the package docker-registry installed?")?;
        let port = wait_for("the registry", START_WITHIN, || Ok(port_in(&process.log())))
            .with_context(|| process.log())?;
        Ok(Self { _process: process, port, store })
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What its blobs take together.
    ///
    /// # Errors
    /// When its store cannot be read.
    pub fn bytes(&self) -> anyhow::Result<u64> {
        let blobs = self.store.join("docker/registry/v2/blobs");
        let said = output(Command::new("du").args(["--summarize", "--apparent-size", "--bytes"]).arg(blobs))?;
        let bytes = said.split_whitespace().next().and_then(|bytes| bytes.parse().ok());
        bytes.with_context(|| format!("no size in {said}"))
    }

    /// Pushes an image of the Engine as `repository`, which no longer has that name in the Engine then. Gives its digest.
    ///
    /// # Errors
    /// When the Engine or the registry refuses.
    pub fn push(&self, engine: &Engine, image: &str, repository: &str) -> anyhow::Result<String> {
        let name = format!("127.0.0.1:{}/{repository}:pushed", self.port);
        engine.ask(["tag", image, &name])?;
        let said = engine.ask(["push", &name])?;
        engine.ask(["rmi", &name])?;
        let digest = said.split_whitespace().find(|word| word.starts_with("sha256:") && word.len() == 71);
        Ok(digest.with_context(|| format!("no digest in {said}"))?.to_owned())
    }
}

/// `… listening on 127.0.0.1:41234" …`
fn port_in(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("listening on 127.0.0.1:")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
