//! OpenSSH as it is, with the tunnel as its ProxyCommand and the worker's own host key.

use std::path::{Path, PathBuf};
use std::process::Command;

use nightjar_core::lease::LeaseState;
use nightjar_protocol::market_api::Lease;
use serde_json::json;

use super::arguments::{Ssh, SshConfig};
use crate::failure::{Exit, Failure};
use crate::output::{Output, note, texts};

use super::choice;
use super::market::Market;
use super::show;
use super::state::RenterState;

/// Account in every image.
const USER: &str = "nightjar";
/// How far back the key of a lease is looked for, from one interruption to the one before.
const MOST_INTERRUPTIONS: usize = 32;

/// # Errors
/// When the lease cannot be reached or ssh does not start. Otherwise this returns ssh's own exit code, where it
/// returns at all: on Unix ssh takes the place of this process.
pub async fn ssh(state: &RenterState, arguments: &Ssh) -> Result<u8, Failure> {
    let market = Market::of(&state.membership()?)?;
    let lease = choice::find(&market, arguments.lease.lease.as_deref()).await?;
    let place = Place::of(state, &market, &lease, arguments.ssh_key.as_deref()).await?;
    if lease.state == LeaseState::Yielded {
        note(&format!("{}; the shell answers when it goes on", show::state(&lease, texts())));
    }
    let mut ssh = Command::new("ssh");
    // ssh takes the first value it meets, so what the user asks for comes before ours.
    for option in &arguments.option {
        ssh.arg("-o").arg(option);
    }
    for (key, value) in place.options() {
        ssh.arg("-o").arg(format!("{key}={value}"));
    }
    ssh.arg("--").arg(&place.alias).args(&arguments.command);
    start(ssh)
}

#[cfg(unix)]
fn start(mut ssh: Command) -> Result<u8, Failure> {
    use std::os::unix::process::CommandExt;
    Err(no_ssh(&ssh.exec()))
}

#[cfg(not(unix))]
fn start(mut ssh: Command) -> Result<u8, Failure> {
    // Ctrl-C is meant for the far side; this process outlives it to hand on ssh's exit code.
    tokio::spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} });
    let status = ssh.status().map_err(|error| no_ssh(&error))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn no_ssh(error: &std::io::Error) -> Failure {
    Failure::failed(format!("ssh does not start: {error}"))
        .advise("install the OpenSSH client (Debian, Ubuntu: openssh-client; Windows: an optional feature)")
}

/// # Errors
/// When the lease cannot be reached, or a path cannot be written in ssh's configuration.
pub async fn ssh_config(state: &RenterState, arguments: &SshConfig, output: Output) -> Result<(), Failure> {
    let market = Market::of(&state.membership()?)?;
    let lease = choice::find(&market, arguments.lease.lease.as_deref()).await?;
    let place = Place::of(state, &market, &lease, arguments.ssh_key.as_deref()).await?;
    let name = arguments.alias.clone().unwrap_or_else(|| format!("nightjar-{}", show::short(&lease.lease.0)));
    let block = place.block(&name);
    output.print(&json!({ "lease": lease.lease, "host": name, "config": block }), &block)
}

/// Everything that ssh must know of one worker.
struct Place {
    /// Name in the known-hosts file; never looked up.
    alias: String,
    identity: String,
    known_hosts: String,
    proxy_command: String,
}

impl Place {
    async fn of(
        state: &RenterState,
        market: &Market,
        lease: &Lease,
        ssh_key: Option<&Path>,
    ) -> Result<Self, Failure> {
        let access = reachable(lease)?;
        let alias = format!("nightjar-{}", lease.lease);
        let known_hosts = state.known_hosts(&lease.lease, &alias, &access.ssh_host_key)?;
        let identity = match ssh_key {
            Some(given) => state.ssh_key(Some(given))?.identity,
            None => identity(state, market, lease).await?,
        };
        let this = std::env::current_exe()
            .map_err(|error| Failure::failed(format!("this program does not find its own file: {error}")))?;
        let proxy_command = format!(
            "{} proxy {} --renter-dir {}",
            shell_word(&this)?,
            lease.lease,
            shell_word(state.folder())?
        );
        Ok(Self {
            alias,
            identity: ssh_word(&identity)?,
            known_hosts: ssh_word(&known_hosts)?,
            proxy_command,
        })
    }

    /// In ssh_config's spelling.
    fn options(&self) -> Vec<(&'static str, String)> {
        vec![
            ("HostName", self.alias.clone()),
            ("HostKeyAlias", self.alias.clone()),
            ("User", USER.to_owned()),
            ("IdentityFile", self.identity.clone()),
            ("IdentitiesOnly", String::from("yes")),
            ("UserKnownHostsFile", self.known_hosts.clone()),
            ("GlobalKnownHostsFile", String::from("none")),
            ("StrictHostKeyChecking", String::from("yes")),
            ("CheckHostIP", String::from("no")),
            // A frozen worker does not answer for as long as its owner stays, and goes on afterwards.
            ("ServerAliveInterval", String::from("0")),
            ("ProxyCommand", self.proxy_command.clone()),
        ]
    }

    fn block(&self, name: &str) -> String {
        let lines = self.options().into_iter().map(|(key, value)| format!("    {key} {value}"));
        std::iter::once(format!("Host {name}")).chain(lines).collect::<Vec<_>>().join("\n")
    }
}

/// The key that a lease was rented with. One that goes on for an interrupted lease has that one's.
async fn identity(state: &RenterState, market: &Market, lease: &Lease) -> Result<PathBuf, Failure> {
    let mut lease = lease.clone();
    for _ in 0..MOST_INTERRUPTIONS {
        match (state.remembered_identity(&lease.lease)?, &lease.continues) {
            (Some(remembered), _) => return Ok(remembered),
            (None, Some(before)) => lease = market.lease(before).await?,
            (None, None) => break,
        }
    }
    state.identity_of(&lease.lease)
}

/// How the worker of a lease is reached, when it can be.
///
/// # Errors
/// When it is not there yet, or no more.
pub fn reachable(lease: &Lease) -> Result<&nightjar_core::lease::WorkerAccess, Failure> {
    let name = show::short(&lease.lease.0);
    match &lease.access {
        Some(access) if lease.state.is_reachable() => Ok(access),
        _ if matches!(lease.state, LeaseState::Ending { .. } | LeaseState::Ended { .. }) => {
            let what = format!("lease {name} is {}", show::state(lease, texts()));
            Err(Failure::new(Exit::NothingMatched, what).advise(match (&lease.continued_by, &lease.waits) {
                (Some(after), _) => format!("it went on: `nightjar ssh {}`", show::short(&after.0)),
                (None, Some(_)) => format!("it waits to go on: `nightjar show {name}` says for how long"),
                (None, None) => String::from("`nightjar rent` gets another"),
            }))
        }
        _ => Err(Failure::failed(format!("lease {name} is not ready yet: {}", show::state(lease, texts())))
            .advise("`nightjar show` tells when it is")),
    }
}

/// A path as one word of a value in ssh_config.
fn ssh_word(path: &Path) -> Result<String, Failure> {
    let text = plain(path)?;
    // `%` begins a token of ssh's, and `$` a variable.
    if text.contains(['"', '$']) {
        return Err(unwritable(path));
    }
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

/// A path as one word of ProxyCommand, which ssh hands to the user's shell after replacing its own `%` tokens.
fn shell_word(path: &Path) -> Result<String, Failure> {
    let text = plain(path)?.replace('%', "%%");
    if cfg!(windows) {
        if text.contains('"') {
            return Err(unwritable(path));
        }
        return Ok(format!("\"{text}\""));
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

fn plain(path: &Path) -> Result<&str, Failure> {
    path.to_str().filter(|text| !text.chars().any(char::is_control)).ok_or_else(|| unwritable(path))
}

fn unwritable(path: &Path) -> Failure {
    Failure::failed(format!("{} cannot be written in ssh's configuration", PathBuf::from(path).display()))
        .advise("use a path without quotes, dollar signs and control characters")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::renter::sample;

    fn place() -> Place {
        Place {
            alias: "nightjar-3f2a".into(),
            identity: ssh_word(Path::new("/home/a b/id")).unwrap(),
            known_hosts: ssh_word(Path::new("/home/a b/100%/known_hosts")).unwrap(),
            proxy_command: format!("{} proxy 3f2a", shell_word(Path::new("/opt/it's 50%/nightjar")).unwrap()),
        }
    }

    #[test]
    #[cfg(unix)]
    fn the_block_is_quoted_for_ssh_and_for_the_shell() {
        insta::assert_snapshot!(place().block("gpu"));
    }

    /// The real client reads the block, and what it understood is what was meant.
    #[test]
    #[cfg(unix)]
    fn openssh_understands_the_block() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, place().block("gpu")).unwrap();
        let read = Command::new("ssh").arg("-G").arg("-F").arg(&file).arg("gpu").output().unwrap();
        let said = String::from_utf8(read.stdout).unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        for line in [
            "hostname nightjar-3f2a",
            "hostkeyalias nightjar-3f2a",
            "user nightjar",
            "identityfile /home/a b/id",
            "identitiesonly yes",
            "stricthostkeychecking true",
            // This one is printed as it is after replacing the tokens.
            "userknownhostsfile /home/a b/100%/known_hosts",
            r"proxycommand '/opt/it'\''s 50%%/nightjar' proxy 3f2a",
        ] {
            assert!(said.lines().any(|found| found == line), "{line} is not in:\n{said}");
        }
    }

    #[test]
    fn paths_that_cannot_be_quoted_are_refused() {
        for wrong in ["/a\"b", "/a\nb", "/a${HOME}b"] {
            assert!(ssh_word(Path::new(wrong)).is_err(), "{wrong}");
        }
        assert!(shell_word(Path::new("/a\nb")).is_err());
    }

    #[test]
    fn only_a_worker_that_is_there_is_reached() {
        assert!(reachable(&sample::lease("3f2a", LeaseState::Yielded)).is_ok());
        assert_eq!(reachable(&sample::lease("3f2a", LeaseState::Preparing)).unwrap_err().exit, Exit::Failed);
        let reason = nightjar_core::lease::EndReason::RenterStopped;
        let over = sample::lease("3f2a", LeaseState::Ended { reason });
        assert_eq!(reachable(&over).unwrap_err().exit, Exit::NothingMatched);
    }
}
