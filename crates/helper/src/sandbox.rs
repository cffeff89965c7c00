//! A container in gVisor. Its process 1 is none of the kernel's; what stands in the container's group is gVisor itself,
//! which was told by its command line where the container's configuration lies. That names the program.
//!
//! Of the processes in the group those that run the tenant's instructions have what the tenant wants for a command line,
//! for their memory is the tenant's. They are children of gVisor's own, whose parent is outside.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nightjar_protocol::helper::ContainerId;
use rustix::fs::OFlags;
use rustix::process::Pid;
use serde::Deserialize;

use crate::process::{GUEST_PROGRAM, Process, base_name};

/// By this name gVisor starts what holds a container.
const SANDBOX: &[u8] = b"runsc-sandbox";
const BOOT: &[u8] = b"boot";
const BUNDLE: &[u8] = b"--bundle=";
const CONFIGURATION: &str = "config.json";
/// One with our seccomp profile has some 60 KiB.
const LONGEST_CONFIGURATION: u64 = 1 << 20;
const ROOT: u32 = 0;
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Nobody but its owner renames or removes what lies in such a folder.
const STICKY: u32 = 0o1000;

/// Of a container's configuration what counts here.
#[derive(Deserialize)]
struct Configuration {
    process: Program,
}

#[derive(Deserialize)]
struct Program {
    args: Vec<String>,
}

/// Whether it is the gVisor of this container, and the container's process 1 is Nightjar's own. `members` are all
/// processes of the container's group.
pub(crate) fn runs_guest(process: &Process, id: &ContainerId, members: &[Pid]) -> bool {
    runs_guest_by(process, id, members, ROOT)
}

/// `owner`: whose file on it is believed.
fn runs_guest_by(process: &Process, id: &ContainerId, members: &[Pid], owner: u32) -> bool {
    let has_parent_inside = members.iter().any(|member| member.as_raw_pid() == process.parent);
    if process.program() != SANDBOX || has_parent_inside || !process.is_roots() || !process.is_outermost() {
        return false;
    }
    let program = bundle(process, id).and_then(|bundle| program(&bundle, owner));
    program.is_some_and(|program| program == GUEST_PROGRAM)
}

/// The folder of the container's configuration, which is called as the container is.
fn bundle(process: &Process, id: &ContainerId) -> Option<PathBuf> {
    let is_named = process.words().rev().find(|word| !word.is_empty()) == Some(id.as_str().as_bytes());
    let mut words = process.words().skip_while(|word| *word != BOOT).skip(1);
    let folder = words.find_map(|word| word.strip_prefix(BUNDLE)).filter(|_| is_named)?;
    let folder = PathBuf::from(std::ffi::OsStr::from_bytes(folder));
    let is_plain = folder.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !folder.is_absolute() || !is_plain {
        return None;
    }
    // `/var/run` is a link on most systems.
    let folder = fs::canonicalize(folder).ok()?;
    let is_its_own = folder.file_name().is_some_and(|name| name.as_bytes() == id.as_str().as_bytes());
    is_its_own.then_some(folder)
}

/// The name of the program that the configuration there names, if nobody but its owner or root can have written it.
fn program(bundle: &Path, owner: u32) -> Option<Vec<u8>> {
    if !bundle.ancestors().all(|folder| is_safe_folder(folder, owner)) {
        return None;
    }
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).ok()?;
    let file = options.read(true).custom_flags(flags).open(bundle.join(CONFIGURATION)).ok()?;
    let configuration = read(file, owner)?;
    let first = configuration.process.args.first()?;
    Some(base_name(first.as_bytes()).to_vec())
}

fn read(file: File, owner: u32) -> Option<Configuration> {
    let found = file.metadata().ok()?;
    if !found.is_file() || found.len() > LONGEST_CONFIGURATION || !is_safe(&found, owner) {
        return None;
    }
    let mut text = Vec::new();
    file.take(LONGEST_CONFIGURATION).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn is_safe(found: &fs::Metadata, owner: u32) -> bool {
    found.uid() == owner && found.mode() & WRITABLE_BY_OTHERS == 0
}

fn is_safe_folder(folder: &Path, owner: u32) -> bool {
    let found = fs::symlink_metadata(folder);
    found.is_ok_and(|found| {
        let is_sticky = found.uid() == ROOT && found.mode() & STICKY != 0;
        found.is_dir() && (is_safe(&found, owner) || is_safe(&found, ROOT) || is_sticky)
    })
}

#[cfg(test)]
mod tests;
