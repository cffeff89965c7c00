//! Everything around a host, put up in one go: cards, Engine with its images, desktop, market.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use nightjar_core::host::UserCommand;
use nightjar_core::settings::Settings;
use nightjar_protocol::control::{ControlAnswer, ControlRequest};
use nightjar_sim::wire::Control;
use nightjar_sim::{Daemon, Layout};

use crate::desktop::Desktop;
use crate::engine::{Engine, EngineOptions};
use crate::freezer::Freezer;
use crate::gvisor::Runsc;
use crate::helper::Helper;
use crate::host::{Host, Surroundings, knows_its_engine, quick_settings, text, unsafe_versions};
use crate::images::{self, Flavour};
use crate::market::Market;
use crate::place::programs;
use crate::process::{output, wait_for};

/// The parts end in the order in which they stand here.
pub struct Stage {
    pub market: Market,
    pub desktop: Desktop,
    pub engine: Engine,
    pub cards: Cards,
    /// Last, so that everything that writes into it has ended.
    folder: tempfile::TempDir,
}

/// What the host lends.
pub enum Cards {
    /// NVIDIA's driver and container toolkit are installed.
    Real,
    Simulated {
        layout: Layout,
        daemon: Daemon,
    },
}

/// What is put up.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Models of the stand-in, e.g. `rtx4090,rtx3060`.
    pub simulated_cards: String,
    pub flavour: Flavour,
    /// Take real cards where the machine has them.
    pub real_cards: bool,
    /// Use the session that this program was started in, where there is one.
    pub users_desktop: bool,
    /// An Engine that maps users, in a folder of this stage's.
    pub maps_users: bool,
    /// Registered with the Engine; the simulated cards' driver is one that it knows.
    pub gvisor: Option<Runsc>,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            simulated_cards: String::from("rtx4090"),
            flavour: Flavour::Lite,
            real_cards: false,
            users_desktop: false,
            maps_users: false,
            gvisor: None,
        }
    }
}

impl Stage {
    /// Puts it all up. `told` hears of each step.
    ///
    /// # Errors
    /// When a part does not come up; the message names it.
    pub fn set(wish: &Wish, told: &mut dyn FnMut(&str)) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("nightjar-").tempdir()?;
        let cards = Cards::find(wish, folder.path())?;
        told(&cards.describe());
        let runtimes = wish.gvisor.as_ref().map(Runsc::registered).unwrap_or_default();
        let options = EngineOptions { path_first: cards.hook_folder(), runtimes, ..EngineOptions::cached() };
        let mut engine = Engine::start(options.clone())?;
        told("the private Docker Engine answers");
        images::gateway(&engine, told)?;
        images::pytorch_cuda(&engine, wish.flavour, told)?;
        if wish.maps_users {
            engine = mapped(engine, options, folder.path(), wish.flavour)?;
            told("the images are in an Engine that maps users");
        }
        told("the images are there");
        let users = if wish.users_desktop { Desktop::of_the_user() } else { None };
        let desktop = users.map_or_else(|| Desktop::start(folder.path()), Ok)?;
        let market = Market::start(folder.path())?;
        told(&format!("the market answers at {}", market.url()));
        Ok(Self { market, desktop, engine, cards, folder })
    }

    /// The same with an Engine that has no image at all in the place of its own.
    ///
    /// # Errors
    /// When one of the Engines does not do as it should.
    pub fn with_empty_engine(self) -> anyhow::Result<Self> {
        let Self { market, desktop, engine, cards, folder } = self;
        engine.stop()?;
        let folder_of_its_own = folder.path().join("engine");
        let path_first = cards.hook_folder();
        let options = EngineOptions { folder: folder_of_its_own, path_first, ..EngineOptions::cached() };
        Ok(Self { market, desktop, engine: Engine::start(options)?, cards, folder })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A place for a host called `name`, on this stage's desktop, cards and Engine.
    #[must_use]
    pub fn place(&self, name: &str) -> Surroundings {
        let environment = on_desktop(&self.desktop, &self.cards);
        Surroundings { folder: self.folder().join(name), engine: self.engine.address(), environment }
    }

    /// A host that has joined this market, with these settings, and with the Engine's unsafe versions accepted one by
    /// one, as its owner would. Gives the accepted ones.
    ///
    /// # Errors
    /// When it does not start.
    pub fn host(&self, name: &str, settings: &Settings) -> anyhow::Result<(Host, Vec<String>)> {
        self.join(self.place(name), settings)
    }

    /// As [`Stage::host`], with a helper of its own.
    ///
    /// # Errors
    /// When either does not start.
    pub fn host_with_helper(&self, name: &str, settings: &Settings) -> anyhow::Result<(Host, Helper)> {
        let helper = Helper::start(self.folder(), &self.cards)?;
        let mut around = self.place(name);
        helper.serve(&mut around);
        Ok((self.join(around, settings)?.0, helper))
    }

    /// As [`Stage::host`], in a place that was prepared.
    ///
    /// # Errors
    /// When it does not start.
    pub fn join(&self, around: Surroundings, settings: &Settings) -> anyhow::Result<(Host, Vec<String>)> {
        around.write_settings(settings)?;
        let host = Host::join(around, self.market.url(), &self.market.pairing_code()?)?;
        let accepted = self.accept_versions(&host.around, settings)?;
        Ok((host, accepted))
    }

    /// # Errors
    /// When the host does not take the settings.
    fn accept_versions(&self, around: &Surroundings, settings: &Settings) -> anyhow::Result<Vec<String>> {
        let view = wait_for("the host knows its Engine", Duration::from_secs(15), || {
            Ok(Some(around.view()?).filter(knows_its_engine))
        })?;
        let accepted = unsafe_versions(&view);
        if !accepted.is_empty() {
            let settings = Settings { accepted_versions: accepted.clone(), ..settings.clone() };
            around.command(UserCommand::Save { settings: Box::new(settings), base: None })?;
        }
        Ok(accepted)
    }

    /// Containers of ours that are there, running or not.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub fn containers(&self) -> anyhow::Result<Vec<String>> {
        let said = self.engine.ask(["ps", "-aq", "--no-trunc", "--filter", "label=nightjar.lease"])?;
        Ok(said.split_whitespace().map(str::to_owned).collect())
    }

    /// The kernel's word on whether the worker of a lease is frozen.
    ///
    /// # Errors
    /// When there is no such worker.
    pub fn freezer(&self, lease: &str) -> anyhow::Result<Freezer> {
        Freezer::of(self.process(lease)?)
    }

    /// The first process of the worker of a lease, by its number on this PC.
    ///
    /// # Errors
    /// When there is no such worker.
    pub fn process(&self, lease: &str) -> anyhow::Result<u32> {
        self.engine.process(&self.worker(lease)?)
    }

    /// Full id of the worker of a lease.
    ///
    /// # Errors
    /// When there is none.
    pub fn worker(&self, lease: &str) -> anyhow::Result<String> {
        let lease = format!("label=nightjar.lease={lease}");
        let filters =
            ["ps", "-q", "--no-trunc", "--filter", &lease, "--filter", "label=nightjar.role=worker"];
        let said = self.engine.ask(filters)?;
        Ok(said.split_whitespace().next().context("the lease has no worker")?.to_owned())
    }
}

/// Another Engine in the place of this one, with the same images: what lies in one is nobody's in the other's counting.
fn mapped(engine: Engine, options: EngineOptions, folder: &Path, flavour: Flavour) -> anyhow::Result<Engine> {
    use std::os::unix::fs::PermissionsExt;
    let archive = folder.join("images.tar");
    let file = text(&archive);
    engine.ask(["save", "--output", &file, images::GATEWAY, &flavour.reference()])?;
    engine.stop()?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711))?;
    let options = EngineOptions { folder: folder.join("engine"), maps_users: true, ..options };
    let engine = Engine::start(options)?;
    engine.ask(["load", "--input", &file])?;
    std::fs::remove_file(&archive)?;
    Ok(engine)
}

/// A desktop with cards and no Engine: enough for everything but a job.
pub struct Room {
    pub desktop: Desktop,
    pub cards: Cards,
    folder: tempfile::TempDir,
}

impl Room {
    /// # Errors
    /// When a part does not come up.
    pub fn set() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("nightjar-").tempdir()?;
        let cards = Cards::find(&Wish::default(), folder.path())?;
        Ok(Self { desktop: Desktop::start(folder.path())?, cards, folder })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A host here, with quick settings, and an Engine's address where none listens.
    ///
    /// # Errors
    /// When the settings cannot be written.
    pub fn place(&self) -> anyhow::Result<Surroundings> {
        let nowhere = self.folder().join("no-docker.sock");
        let around = Surroundings {
            folder: self.folder().join("host"),
            engine: format!("unix://{}", nowhere.display()),
            environment: on_desktop(&self.desktop, &self.cards),
        };
        around.write_settings(&quick_settings())?;
        Ok(around)
    }
}

fn on_desktop(desktop: &Desktop, cards: &Cards) -> Vec<(String, String)> {
    let mut environment = cards.environment();
    let mut probe = Command::new("true");
    desktop.enter(&mut probe);
    environment.extend(
        probe
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned()))),
    );
    environment
}

impl Surroundings {
    /// A command of the owner, as the window gives it.
    ///
    /// # Errors
    /// When the host refuses it or does not answer.
    pub fn command(&self, command: UserCommand) -> anyhow::Result<()> {
        use std::io::{BufRead, BufReader, Write};
        let mut socket =
            std::os::unix::net::UnixStream::connect(self.folder.join("run").join("control.sock"))?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut line = serde_json::to_string(&ControlRequest::Do(command))?;
        line.push('\n');
        socket.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer)?;
        match serde_json::from_str(&answer)? {
            ControlAnswer::Refused(refusal) => Err(refusal.into()),
            _ => Ok(()),
        }
    }
}

impl Cards {
    /// Real ones where they are wished for and there; else the stand-in, installed in `folder`.
    ///
    /// # Errors
    /// When the stand-in was not built or does not start.
    pub fn find(wish: &Wish, folder: &Path) -> anyhow::Result<Self> {
        let has_driver = output(Command::new("nvidia-smi").arg("-L")).is_ok();
        let has_toolkit = output(Command::new("nvidia-container-cli").arg("--version")).is_ok();
        if wish.real_cards && has_driver && has_toolkit {
            return Ok(Self::Real);
        }
        let layout = nightjar_sim::install(&folder.join("nvidia"), &programs()?)?;
        let daemon = Daemon::start(&layout, &["--cards", &wish.simulated_cards])?;
        if let Some(runsc) = &wish.gvisor {
            daemon.client().control(Control::Driver { version: runsc.driver().to_owned() })?;
        }
        Ok(Self::Simulated { layout, daemon })
    }

    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Real => String::from("this machine's own NVIDIA card is used"),
            Self::Simulated { .. } => String::from(
                "no NVIDIA card with its container toolkit is used here: the card is SIMULATED, and says so in its name",
            ),
        }
    }

    /// What a program on the host needs to find them.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        match self {
            Self::Real => Vec::new(),
            Self::Simulated { layout, .. } => {
                let cards =
                    layout.environment().into_iter().map(|(name, value)| (name.to_owned(), text(&value)));
                // Where the Engine looks for NVIDIA's hook, the doctor does.
                let path = std::env::var("PATH").unwrap_or_default();
                let path = format!("{}:{path}", layout.bin_dir().display());
                cards.chain([(String::from("PATH"), path)]).collect()
            }
        }
    }

    /// Where the Engine finds the container hook of the stand-in.
    #[must_use]
    pub fn hook_folder(&self) -> Option<PathBuf> {
        match self {
            Self::Real => None,
            Self::Simulated { layout, .. } => Some(layout.bin_dir()),
        }
    }

    /// The stand-in's daemon.
    ///
    /// # Errors
    /// When the cards are real.
    pub fn simulated(&self) -> anyhow::Result<&Daemon> {
        match self {
            Self::Simulated { daemon, .. } => Ok(daemon),
            Self::Real => anyhow::bail!("the cards of this stage are real"),
        }
    }
}
