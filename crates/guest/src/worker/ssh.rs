//! OpenSSH as an ordinary user: one user, keys only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nightjar_protocol::guest::{SSH_PORT, Service, WorkerBoot};

use super::{environment, private_file, private_folder};
use crate::line::End;
use crate::services::Recipe;

const FOLDER: &str = "/run/nightjar/ssh";
/// Where OpenSSH, started by root, puts its part that has not seen a key yet.
const EMPTY_FOLDER: &str = "/run/sshd";
const SERVER: &str = "/usr/sbin/sshd";
const KEY_LIMIT_BYTES: usize = 16 * 1024;
const KEY_TYPES: &[&str] = &[
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];

/// One line of a known type: nothing that could be read as options or as a second key.
pub fn check_key(key: &str) -> Result<(), String> {
    let known = key.split(' ').next().is_some_and(|kind| KEY_TYPES.contains(&kind));
    if !known || key.len() > KEY_LIMIT_BYTES || key.chars().any(char::is_control) {
        return Err(format!("the renter's SSH key is not one line that begins with one of {KEY_TYPES:?}"));
    }
    Ok(())
}

/// Makes the host's key and the files; gives the public part.
pub fn prepare(boot: &WorkerBoot, env: &BTreeMap<String, String>) -> Result<String, End> {
    let failed = |why: String| End::Failed { what: Service::Ssh.name(), why };
    let folder = Path::new(FOLDER);
    private_folder(folder).map_err(|error| failed(format!("{FOLDER}: {error}")))?;
    if boot.root_inside {
        let mut builder = std::fs::DirBuilder::new();
        let made =
            std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o755).create(EMPTY_FOLDER);
        made.map_err(|error| failed(format!("{EMPTY_FOLDER}: {error}")))?;
    }
    let key = folder.join("host_ed25519");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "nightjar", "-f"])
        .arg(&key)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| failed(format!("ssh-keygen cannot be started: {error}")))?;
    if !made.status.success() {
        return Err(failed(format!("ssh-keygen: {}", String::from_utf8_lossy(&made.stderr).trim())));
    }
    let files = [
        ("authorized_keys", format!("{}\n", boot.authorized_key)),
        ("sshd_config", configuration(env, boot.root_inside)),
    ];
    for (name, text) in files {
        private_file(&folder.join(name), text.as_bytes())
            .map_err(|error| failed(format!("{name}: {error}")))?;
    }
    let public = std::fs::read_to_string(key.with_extension("pub"))
        .map_err(|error| failed(format!("the host's public key: {error}")))?;
    Ok(public.trim().to_owned())
}

pub fn recipe(env: &BTreeMap<String, String>) -> Recipe {
    Recipe {
        service: Service::Ssh,
        program: SERVER,
        arguments: ["-D", "-e", "-f", "/run/nightjar/ssh/sshd_config"].map(str::to_owned).to_vec(),
        env: environment::with_login(env),
        folder: PathBuf::from("/"),
    }
}

/// `StrictModes` is off because it wants folders above the keys that nobody else may write to, and `/run` is open to
/// all; there is no other user in this container.
fn configuration(env: &BTreeMap<String, String>, root_inside: bool) -> String {
    let root = if root_inside { "prohibit-password" } else { "no" };
    let mut text = format!(
        "Port {SSH_PORT}\n\
         ListenAddress 0.0.0.0\n\
         HostKey {FOLDER}/host_ed25519\n\
         AuthorizedKeysFile {FOLDER}/authorized_keys\n\
         PidFile none\n\
         StrictModes no\n\
         UsePAM no\n\
         AllowUsers nightjar\n\
         PermitRootLogin {root}\n\
         AuthenticationMethods publickey\n\
         PubkeyAuthentication yes\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitUserEnvironment no\n\
         PermitTunnel no\n\
         GatewayPorts no\n\
         AllowTcpForwarding local\n\
         AllowStreamLocalForwarding local\n\
         X11Forwarding no\n\
         PrintMotd no\n\
         PrintLastLog no\n\
         UseDNS no\n\
         LoginGraceTime 30\n\
         MaxStartups 20:30:60\n\
         MaxSessions 64\n\
         Subsystem sftp internal-sftp\n"
    );
    // One line: of several the server takes the first alone.
    text.push_str("SetEnv");
    for (name, value) in env {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        text.push_str(&format!(" \"{name}={value}\""));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_is_one_quoted_line() {
        let env = BTreeMap::from([
            ("A".to_owned(), "two words # and \"quotes\" \\".to_owned()),
            ("B".to_owned(), String::new()),
        ]);
        let text = configuration(&env, false);
        assert!(text.contains("AllowUsers nightjar\nPermitRootLogin no\n"), "{text}");
        assert!(configuration(&env, true).contains("PermitRootLogin prohibit-password\n"));
        assert!(text.ends_with("\nSetEnv \"A=two words # and \\\"quotes\\\" \\\\\" \"B=\"\n"), "{text}");
    }

    #[test]
    fn options_before_a_key_are_refused() {
        assert!(check_key("ssh-ed25519 AAAA me").is_ok());
        assert!(check_key("command=\"x\" ssh-ed25519 AAAA me").is_err());
        assert!(check_key("").is_err());
    }
}
