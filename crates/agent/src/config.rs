//! Where the host keeps its things. Every path can be moved by a variable, for tests and for a second host on one PC.

use std::path::{Path, PathBuf};

use anyhow::Context;
use nightjar_protocol::helper::{HELPER_SOCKET, HELPER_SOCKET_ENV};
use nightjar_worker::EngineAddress;
use nightjar_worker::catalogue::Catalogue;

/// Where the package puts it; polkit's file names the same place.
const REPAIR_PROGRAM: &str = "/usr/libexec/nightjar/nightjar-repair";

/// See each field; [`AgentConfig::from_environment`] fills in what the platform is used to.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Journal, enrolment and, without a keyring, the host key (`NIGHTJAR_DATA_DIR`).
    pub data_dir: PathBuf,
    /// Settings file, TOML (`NIGHTJAR_SETTINGS`).
    pub settings_path: PathBuf,
    /// Control socket (`NIGHTJAR_RUNTIME_DIR`).
    pub runtime_dir: PathBuf,
    /// Docker Engine (`NIGHTJAR_DOCKER`, else `DOCKER_HOST`, else the platform's default).
    pub engine: EngineAddress,
    /// Socket of the privileged helper (`NIGHTJAR_HELPER`); Nightjar does without where there is none.
    pub helper: PathBuf,
    /// What mends, as root, what the doctor has found (`NIGHTJAR_REPAIR`).
    pub repair_program: PathBuf,
    /// Where the kernel shows the power states of the cards, which are looked at before a card is (`NIGHTJAR_SYSFS`).
    pub sysfs: PathBuf,
    /// Images beside those that this program ships (`NIGHTJAR_CATALOGUE`, with the key in `NIGHTJAR_CATALOGUE_KEY`).
    pub own_catalogue: Option<OwnCatalogue>,
    /// The host key is kept in this PC's keyring where there is one; else in a file only its owner can read.
    pub use_keyring: bool,
}

/// A catalogue of the host's own. Its signature, in hexadecimal, is in a file of its name with `.sig` after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCatalogue {
    pub path: PathBuf,
    /// ed25519, in hexadecimal.
    pub key: String,
}

impl OwnCatalogue {
    /// # Errors
    /// When a file cannot be read, the signature is not right, or the catalogue does not pass its checks.
    pub(crate) fn added_to(&self, shipped: Catalogue) -> anyhow::Result<Catalogue> {
        let mut signature = self.path.clone().into_os_string();
        signature.push(".sig");
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
        };
        let (text, signature) = (read(&self.path)?, read(Path::new(&signature))?);
        shipped.with_own(&text, &signature, &self.key).with_context(|| {
            format!("the catalogue {} is not taken, so the host does not start", self.path.display())
        })
    }
}

impl AgentConfig {
    /// # Errors
    /// When this account has no home folder and nothing was given in its place.
    pub fn from_environment() -> anyhow::Result<Self> {
        let dirs = directories::ProjectDirs::from("", "", "nightjar");
        let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let data_dir = given("NIGHTJAR_DATA_DIR")
            .or_else(|| dirs.as_ref().map(|dirs| dirs.data_local_dir().to_owned()))
            .context(
                "this account has no home folder: set NIGHTJAR_DATA_DIR to a folder for Nightjar's data",
            )?;
        let settings_path = given("NIGHTJAR_SETTINGS")
            .or_else(|| dirs.as_ref().map(|dirs| dirs.config_dir().join("settings.toml")))
            .unwrap_or_else(|| data_dir.join("settings.toml"));
        let runtime_dir = given("NIGHTJAR_RUNTIME_DIR")
            .or_else(|| dirs.as_ref().and_then(|dirs| dirs.runtime_dir().map(PathBuf::from)))
            .unwrap_or_else(|| data_dir.join("run"));
        let engine = ["NIGHTJAR_DOCKER", "DOCKER_HOST"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            .map_or(Ok(EngineAddress::Local), |value| value.parse())?;
        let sysfs = given("NIGHTJAR_SYSFS").unwrap_or_else(|| PathBuf::from("/sys"));
        let own_catalogue = given("NIGHTJAR_CATALOGUE")
            .map(|path| {
                let key = std::env::var("NIGHTJAR_CATALOGUE_KEY").context(
                    "NIGHTJAR_CATALOGUE names a catalogue of your own: name the public key that it is signed with in \
                     NIGHTJAR_CATALOGUE_KEY, in hexadecimal",
                )?;
                anyhow::Ok(OwnCatalogue { path, key })
            })
            .transpose()?;
        let use_keyring = std::env::var("NIGHTJAR_KEYRING").map_or(true, |value| value != "file");
        let helper = given(HELPER_SOCKET_ENV).unwrap_or_else(|| PathBuf::from(HELPER_SOCKET));
        let repair_program = given("NIGHTJAR_REPAIR").unwrap_or_else(|| PathBuf::from(REPAIR_PROGRAM));
        Ok(Self {
            data_dir,
            settings_path,
            runtime_dir,
            engine,
            helper,
            repair_program,
            sysfs,
            own_catalogue,
            use_keyring,
        })
    }
}
