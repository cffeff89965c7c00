//! An Engine that maps users: whoever is root in a container is somebody else outside. The numbers that it may give out
//! are in two files of the machine's, in whose place its daemons see two of ours: they live in a mount namespace of
//! their own, and the machine's are not touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// An account that owns nothing.
const ACCOUNT: &str = "nobody";
const GROUP: &str = "nogroup";
/// What root in a container is outside.
pub const FIRST_ID: u32 = 300_000;
const IDS: u32 = 65_536;
const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];
const IN_ITS_PLACE: &str = r#"mount --bind "$1/subuid" /etc/subuid
mount --bind "$1/subgid" /etc/subgid
shift
exec "$@""#;

/// What this machine lacks for it, for a test that is skipped by name.
#[must_use]
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some(String::from("mount namespaces are made as root alone"));
    }
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    if !groups.lines().any(|line| line.starts_with(&format!("{GROUP}:"))) {
        return Some(format!("there is no group {GROUP}"));
    }
    if let Some(file) = FILES.iter().find(|file| !Path::new(file).is_file()) {
        return Some(format!("there is no {file}"));
    }
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let makes_some = most.trim().parse::<u32>().is_ok_and(|most| most > 0);
    (!makes_some).then(|| String::from("this kernel makes no user namespaces (user.max_user_namespaces)"))
}

/// The two files, and a way to the Engine's data for whom its containers have for root.
pub(super) fn prepare(folder: &Path, run: &Path) -> anyhow::Result<()> {
    let text = [ACCOUNT, GROUP].map(|name| format!("{name}:{FIRST_ID}:{IDS}\n")).concat();
    for name in ["subuid", "subgid"] {
        fs::write(run.join(name), &text)?;
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711))
        .with_context(|| format!("{} cannot be opened", folder.display()))
}

/// A program in a mount namespace of its own, where the files are ours.
pub(super) fn apart(run: &Path, program: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "slave", "sh", "-ec", IN_ITS_PLACE, "sh"])
        .arg(run)
        .arg(program);
    command
}

/// A program in the one that another has.
pub(super) fn beside(id: u32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--mount=/proc/{id}/ns/mnt")).arg("--").arg(program);
    command
}

pub(super) fn flag() -> String {
    format!("--userns-remap={ACCOUNT}:{GROUP}")
}
