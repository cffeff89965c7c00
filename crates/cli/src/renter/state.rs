//! What a renter's PC remembers, in one folder that only its account can read: the market with its token, the link key,
//! an SSH key, and for each lease the host key that the market vouched for.
//!
//! ```text
//! market.json            address and token
//! link-key               the renter's name in the tunnel, ed25519
//! id_ed25519, .pub       SSH key, made when none is given
//! leases/LEASE/          known_hosts, identity (path of the SSH key that it was rented with)
//! ```

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use iroh_base::SecretKey;
use nightjar_agent::settings_file::write_atomically;
use nightjar_core::lease::LeaseId;
use serde::{Deserialize, Serialize};

use crate::arguments::lease_name;
use crate::failure::{Exit, Failure};

/// No file of ours is longer.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Longest key line that the market takes.
const MAX_PUBLIC_KEY_BYTES: usize = 4 * 1024;

/// The market that a renter is logged in to.
#[derive(Clone, Serialize, Deserialize)]
pub struct Membership {
    pub coordinator: String,
    pub token: String,
    #[serde(default)]
    pub allow_plain_http: bool,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct RenterState {
    folder: PathBuf,
}

impl RenterState {
    /// In `folder`, else `NIGHTJAR_RENTER_DIR`, else the platform's folder for configuration.
    ///
    /// # Errors
    /// When this account has no home folder and none was given.
    pub fn open(folder: Option<PathBuf>) -> Result<Self, Failure> {
        let given =
            || std::env::var_os("NIGHTJAR_RENTER_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let usual = || {
            directories::ProjectDirs::from("", "", "nightjar").map(|dirs| dirs.config_dir().join("renter"))
        };
        let folder = folder.or_else(given).or_else(usual).ok_or_else(|| {
            Failure::failed("this account has no home folder, so there is no place for the token and keys")
                .advise("set NIGHTJAR_RENTER_DIR to a folder")
        })?;
        // Paths go into ssh's configuration, which is read from wherever ssh is started.
        let folder = std::path::absolute(&folder)
            .with_context(|| format!("{} is no folder that can be used", folder.display()))?;
        Ok(Self { folder })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// # Errors
    /// When nobody is logged in, or the file cannot be read.
    pub fn membership(&self) -> Result<Membership, Failure> {
        let path = self.folder.join("market.json");
        let Some(text) = read(&path)? else {
            return Err(Failure::new(Exit::Refused, "you are not logged in to a market")
                .advise("`nightjar login URL` with a token from the market's operator"));
        };
        // The parser's message quotes what it read, which may be the token.
        serde_json::from_str(&text).map_err(|error| {
            Failure::failed(format!("{}, line {}: this is no login", path.display(), error.line()))
                .advise("`nightjar login URL` writes it anew")
        })
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn log_in(&self, membership: &Membership) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(membership).map_err(anyhow::Error::from)?;
        self.write(&self.folder.join("market.json"), &text)
    }

    /// Whether there was a login to forget.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn log_out(&self) -> Result<bool, Failure> {
        let path = self.folder.join("market.json");
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Failure::failed(format!("{} cannot be removed: {error}", path.display()))),
        }
    }

    /// The renter's name in the tunnel; made at first use. One that cannot be read is not replaced: leases that run
    /// know the old one.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn link_key(&self) -> Result<SecretKey, Failure> {
        let path = self.folder.join("link-key");
        if let Some(text) = read(&path)? {
            let mut bytes = [0_u8; 32];
            hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| {
                Failure::failed(format!("{} holds no key of 64 hexadecimal digits", path.display()))
                    .advise("restore it, or move it away: leases that run now cannot be reached then")
            })?;
            return Ok(SecretKey::from_bytes(&bytes));
        }
        let key = SecretKey::generate();
        self.write(&path, hex::encode(key.to_bytes()).as_bytes())?;
        Ok(key)
    }

    /// The SSH key that was given, else the one made for Nightjar.
    ///
    /// # Errors
    /// When the key cannot be read or made.
    pub fn ssh_key(&self, given: Option<&Path>) -> Result<SshKey, Failure> {
        if let Some(given) = given {
            let identity = std::path::absolute(given).map_err(anyhow::Error::from)?;
            return SshKey::read(identity);
        }
        let identity = self.folder.join("id_ed25519");
        if !identity.exists() {
            self.make_folder(&self.folder)?;
            generate_ssh_key(&identity)?;
        }
        SshKey::read(identity)
    }

    /// Remembers with which key a lease was rented.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remember_ssh_key(&self, lease: &LeaseId, key: &SshKey) -> Result<(), Failure> {
        let path = self.lease_folder(lease)?.join("identity");
        let identity = key.identity.to_str().ok_or_else(|| {
            Failure::failed(format!(
                "{} is no text: ssh's configuration cannot name it",
                key.identity.display()
            ))
        })?;
        self.write(&path, identity.as_bytes())
    }

    /// The key that a lease was rented with, as far as this PC knows.
    ///
    /// # Errors
    /// When what was remembered cannot be read.
    pub fn identity_of(&self, lease: &LeaseId) -> Result<PathBuf, Failure> {
        Ok(self.remembered_identity(lease)?.unwrap_or_else(|| self.folder.join("id_ed25519")))
    }

    /// `None` where this PC did not rent it itself.
    ///
    /// # Errors
    /// When what was remembered cannot be read.
    pub fn remembered_identity(&self, lease: &LeaseId) -> Result<Option<PathBuf>, Failure> {
        Ok(read(&self.lease_folder(lease)?.join("identity"))?.map(PathBuf::from))
    }

    /// Writes the file by which ssh knows the worker, and nothing else.
    ///
    /// # Errors
    /// When the key from the market is no key line, or the file cannot be written.
    pub fn known_hosts(&self, lease: &LeaseId, alias: &str, host_key: &str) -> Result<PathBuf, Failure> {
        if !is_key_line(host_key) {
            return Err(Failure::failed(
                "the host key that the market sent is not one line in OpenSSH's format",
            ));
        }
        let path = self.lease_folder(lease)?.join("known_hosts");
        self.write(&path, format!("{alias} {}\n", host_key.trim()).as_bytes())?;
        Ok(path)
    }

    /// Forgets what belonged to a lease that is over. What cannot be removed does no harm.
    pub fn forget(&self, lease: &LeaseId) {
        if let Ok(folder) = self.lease_folder(lease) {
            let _ = std::fs::remove_dir_all(folder);
        }
    }

    fn lease_folder(&self, lease: &LeaseId) -> Result<PathBuf, Failure> {
        // The market chose this name; it must not lead out of the folder.
        let name = lease_name(&lease.0)
            .map_err(|_| Failure::failed("the market sent a lease whose name cannot be a file name"))?;
        Ok(self.folder.join("leases").join(name))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        self.make_folder(path.parent().unwrap_or(&self.folder))?;
        write_atomically(path, bytes)
            .map_err(|error| Failure::failed(format!("{} cannot be written: {error}", path.display())))
    }

    fn make_folder(&self, folder: &Path) -> Result<(), Failure> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(folder)
            .map_err(|error| Failure::failed(format!("{} cannot be made: {error}", folder.display())))
    }
}

/// A key pair as far as Nightjar touches it: the path for ssh, and the public line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshKey {
    /// What ssh is given. The public part is enough where an agent holds the private one.
    pub identity: PathBuf,
    pub public_line: String,
}

impl SshKey {
    fn read(identity: PathBuf) -> Result<Self, Failure> {
        let public = if identity.extension().is_some_and(|extension| extension == "pub") {
            identity.clone()
        } else {
            let mut name = identity.clone().into_os_string();
            name.push(".pub");
            PathBuf::from(name)
        };
        let advice = "`ssh-keygen -y -f KEY > KEY.pub` makes the public part from the private one";
        let Some(text) = read(&public)? else {
            return Err(
                Failure::failed(format!("there is no public key {}", public.display())).advise(advice)
            );
        };
        let line = text.trim();
        if !is_key_line(line) {
            return Err(Failure::failed(format!(
                "{} is not one line in OpenSSH's format for public keys",
                public.display()
            ))
            .advise(advice));
        }
        // The private part without its suffix is what ssh wants, where it is there.
        let private = identity.with_extension("");
        let identity = if public == identity && private.exists() { private } else { identity };
        Ok(Self { identity, public_line: line.to_owned() })
    }
}

/// `TYPE BASE64 [comment]`, one line of bounded length.
fn is_key_line(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace();
    let (Some(kind), Some(key)) = (words.next(), words.next()) else { return false };
    let base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    text.len() <= MAX_PUBLIC_KEY_BYTES
        && !text.trim().chars().any(char::is_control)
        && ["ssh-", "ecdsa-sha2-", "sk-"].iter().any(|known| kind.starts_with(known))
        && !key.is_empty()
        && key.chars().all(base64)
}

fn generate_ssh_key(identity: &Path) -> Result<(), Failure> {
    let advice = "install the OpenSSH client, or give a key of your own with --ssh-key";
    let done = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "nightjar", "-f"])
        .arg(identity)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Failure::failed(format!("no SSH key can be made: ssh-keygen does not start ({error})"))
                .advise(advice)
        })?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(Failure::failed(format!("ssh-keygen made no key: {}", crate::output::printable(said.trim())))
        .advise(advice))
}

/// `None` when there is no such file.
fn read(path: &Path) -> Result<Option<String>, Failure> {
    let failed = |error: io::Error| Failure::failed(format!("{} cannot be read: {error}", path.display()));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, RenterState) {
        let folder = tempfile::tempdir().unwrap();
        let state = RenterState::open(Some(folder.path().join("renter"))).unwrap();
        (folder, state)
    }

    #[cfg(unix)]
    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_login_is_kept_private_and_forgotten() {
        let (_folder, state) = state();
        assert_eq!(state.membership().map(|_| ()).unwrap_err().exit, Exit::Refused);
        let membership = Membership {
            coordinator: "https://market.example".into(),
            token: "nj_secret".into(),
            allow_plain_http: false,
        };
        state.log_in(&membership).unwrap();
        assert_eq!(state.membership().unwrap().token, "nj_secret");
        #[cfg(unix)]
        {
            assert_eq!(mode(&state.folder().join("market.json")), 0o600);
            assert_eq!(mode(state.folder()), 0o700);
        }
        assert!(state.log_out().unwrap());
        assert!(!state.log_out().unwrap());
    }

    #[test]
    fn a_broken_login_does_not_show_the_token() {
        let (_folder, state) = state();
        state
            .log_in(&Membership { coordinator: "x".into(), token: "y".into(), allow_plain_http: false })
            .unwrap();
        std::fs::write(state.folder().join("market.json"), r#"{"coordinator": 1, "token": "nj_secret"}"#)
            .unwrap();
        let said = state.membership().map(|_| ()).unwrap_err().to_string();
        assert!(!said.contains("nj_secret"), "{said}");
    }

    #[test]
    fn the_link_key_stays_and_a_broken_one_is_not_replaced() {
        let (_folder, state) = state();
        let first = state.link_key().unwrap();
        assert_eq!(state.link_key().unwrap().to_bytes(), first.to_bytes());
        std::fs::write(state.folder().join("link-key"), "short").unwrap();
        assert!(state.link_key().is_err());
        assert_eq!(std::fs::read_to_string(state.folder().join("link-key")).unwrap(), "short");
    }

    #[test]
    fn an_ssh_key_is_made_once_and_one_of_the_users_is_taken_as_it_is() {
        let (_folder, state) = state();
        let made = state.ssh_key(None).unwrap();
        assert!(made.public_line.starts_with("ssh-ed25519 "), "{}", made.public_line);
        assert_eq!(state.ssh_key(None).unwrap(), made);
        let lease = LeaseId("3f2a-1".into());
        assert_eq!(state.identity_of(&lease).unwrap(), made.identity);

        let own = state.folder().join("own");
        std::fs::write(own.with_extension("pub"), format!("{}\n", made.public_line)).unwrap();
        let public_only = state.ssh_key(Some(&own.with_extension("pub"))).unwrap();
        assert_eq!(public_only.identity, own.with_extension("pub"));
        std::fs::write(&own, "private").unwrap();
        assert_eq!(state.ssh_key(Some(&own.with_extension("pub"))).unwrap().identity, own);
        state.remember_ssh_key(&lease, &state.ssh_key(Some(&own)).unwrap()).unwrap();
        assert_eq!(state.identity_of(&lease).unwrap(), own);
        state.forget(&lease);
        assert_eq!(state.identity_of(&lease).unwrap(), made.identity);
    }

    #[test]
    fn what_the_market_sends_stays_within_the_folder_and_on_one_line() {
        let (_folder, state) = state();
        let key = "ssh-ed25519 AAAAC3Nza";
        for name in ["../../up", "a/b", "", "-x", "a b"] {
            assert!(state.known_hosts(&LeaseId(name.into()), "alias", key).is_err(), "{name}");
        }
        let lease = LeaseId("3f2a".into());
        for wrong in ["", "ssh-ed25519", "ssh-ed25519 AAAA\n* ssh-ed25519 BBBB", "hello AAAA", "ssh-rsa <>"] {
            assert!(state.known_hosts(&lease, "alias", wrong).is_err(), "{wrong}");
        }
        let path = state.known_hosts(&lease, "nightjar-3f2a", key).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "nightjar-3f2a ssh-ed25519 AAAAC3Nza\n");
    }
}
