//! What Docker Engine runs before a container with `--gpus` starts: the driver's libraries and the way to
//! the daemon are mounted into it, as NVIDIA's own hook mounts the real ones.
//!
//! It runs after the container's mounts are made and before its root is switched, so the host's files and
//! the container's are both in sight of its mount namespace. Image content is not trusted: a path below the
//! container's root is resolved by the kernel as if that were `/`, so no link in it leads outside.
//!
//! Where the Engine maps users, the container's file systems know only whom its map names, and this machine's
//! root is not among them: what is made there is made as the container's root.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid, mkdirat, openat, openat2, symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_bind, mount_remount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space, set_thread_res_gid, set_thread_res_uid};
use serde::Deserialize;

use crate::client::{Client, unexpected};
use crate::layout::{CUDA_FILE, HookConfig, NVML_FILE};
use crate::wire::{CardIdentity, Reply, Request, SOCKET_DEFAULT, VISIBLE_FILE};

const STATE_LIMIT_BYTES: u64 = 1024 * 1024;
const CONFIG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
const DEVICES_VARIABLE: &str = "NVIDIA_VISIBLE_DEVICES=";
const READ_ONLY: MountFlags =
    MountFlags::BIND.union(MountFlags::RDONLY).union(MountFlags::NOSUID).union(MountFlags::NODEV);

/// The container's state, as the OCI runtime writes it to a hook.
#[derive(Deserialize)]
struct State {
    pid: i32,
    bundle: PathBuf,
}

#[derive(Deserialize)]
struct Bundle {
    process: Process,
    root: Root,
}

#[derive(Deserialize)]
struct Process {
    #[serde(default)]
    env: Vec<String>,
}

#[derive(Deserialize)]
struct Root {
    path: PathBuf,
}

/// Does the hook's work for the container whose state comes from `input`.
///
/// Fails where a card is asked for that is not there, the daemon does not run, or the mounts are refused.
pub fn prestart(config: &HookConfig, input: impl Read) -> anyhow::Result<()> {
    let state: State = serde_json::from_reader(input.take(STATE_LIMIT_BYTES))
        .context("the container's state on standard input cannot be read")?;
    let bundle_file = state.bundle.join("config.json");
    let file =
        fs::File::open(&bundle_file).with_context(|| format!("cannot open {}", bundle_file.display()))?;
    let bundle: Bundle = serde_json::from_reader(file.take(CONFIG_LIMIT_BYTES))
        .with_context(|| format!("{} is not a container's configuration", bundle_file.display()))?;
    let Some(wanted) = bundle.process.env.iter().find_map(|entry| entry.strip_prefix(DEVICES_VARIABLE))
    else {
        return Ok(());
    };
    if matches!(wanted, "" | "void") {
        return Ok(());
    }
    hand_over(config, state.pid, &state.bundle.join(bundle.root.path), wanted)
}

/// Puts the driver and the cards that `wanted` names into `root`, as the process `pid` of the container sees it.
pub(crate) fn hand_over(config: &HookConfig, pid: i32, root: &Path, wanted: &str) -> anyhow::Result<()> {
    let cards = choose(wanted, &present(&config.socket)?)?;
    // Before its mount namespace is entered, where /proc may be another one.
    let owner = RootInside::of(pid)?;
    enter(pid)?;
    populate(config, root, &cards, owner)
}

/// Who the container's root is on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RootInside {
    user: u32,
    group: u32,
}

impl RootInside {
    fn of(pid: i32) -> anyhow::Result<Self> {
        let first = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            let map = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            first_id(&map).with_context(|| format!("{path} maps nobody to root"))
        };
        Ok(Self { user: first("uid_map")?, group: first("gid_map")? })
    }

    /// Does `work` as the container's root, and is this machine's again after it.
    ///
    /// Only the effective ids change, so the kernel gives the capabilities back with the old ones.
    fn does<T>(self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        if self.user == 0 {
            return work();
        }
        let group = |id| set_thread_res_gid(None, Gid::from_raw(id), None);
        let user = |id| set_thread_res_uid(None, Uid::from_raw(id), None);
        group(self.group).context("cannot take the group of the container's root")?;
        user(self.user).context("cannot become the container's root")?;
        let done = work();
        user(0).context("cannot be this machine's root again")?;
        group(0).context("cannot take the group of this machine's root again")?;
        done
    }
}

/// What 0 inside is outside, by a map of the kernel's: lines of inside, outside and count.
fn first_id(map: &str) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "0").then(|| words.next()?.parse().ok())?
    })
}

fn present(socket: &Path) -> anyhow::Result<Vec<CardIdentity>> {
    let client = Client::connect(socket).with_context(|| format!("no answer at {}", socket.display()))?;
    match client.ask(&Request::Machine { call: "hook".to_owned(), wakes: false })? {
        Reply::Machine { cards, .. } => Ok(cards),
        other => Err(unexpected(&other).into()),
    }
}

/// The cards that `wanted` names: `all`, `none`, or a list of indices and UUIDs.
fn choose(wanted: &str, present: &[CardIdentity]) -> anyhow::Result<Vec<String>> {
    match wanted {
        "all" => return Ok(present.iter().map(|card| card.uuid.clone()).collect()),
        "none" => return Ok(Vec::new()),
        _ => {}
    }
    let mut chosen: Vec<String> = Vec::new();
    for word in wanted.split(',').map(str::trim) {
        let card = match word.parse::<usize>() {
            Ok(index) => present.get(index),
            Err(_) => present.iter().find(|card| card.uuid == word),
        };
        let Some(card) = card else {
            let known: Vec<String> =
                present.iter().enumerate().map(|(index, card)| format!("{index} ({})", card.uuid)).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            bail!("device error: {word}: unknown device; the simulated cards here are: {known}");
        };
        if !chosen.contains(&card.uuid) {
            chosen.push(card.uuid.clone());
        }
    }
    Ok(chosen)
}

fn enter(pid: i32) -> anyhow::Result<()> {
    let path = format!("/proc/{pid}/ns/mnt");
    let namespace = fs::File::open(&path).with_context(|| format!("cannot open {path}"))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
        .context("cannot enter the container's mount namespace (this needs root)")
}

fn populate(config: &HookConfig, root: &Path, cards: &[String], owner: RootInside) -> anyhow::Result<()> {
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("cannot open the container's root {}", root.display()))?;
    let (Some(run), Some(socket)) = (config.socket.parent(), config.socket.file_name()) else {
        bail!("{} is in no folder", config.socket.display());
    };
    let place = Path::new(SOCKET_DEFAULT.trim_start_matches('/'));
    let (Some(place), Some(link)) = (place.parent(), place.file_name()) else {
        bail!("{SOCKET_DEFAULT} is in no folder");
    };
    let (libraries, device) = owner.does(|| {
        let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let libraries = folder(root.as_fd(), Path::new(&libraries))?;
        for name in [NVML_FILE, CUDA_FILE] {
            drop(fresh_file(libraries.as_fd(), name, 0o644)?);
        }
        let device = folder(root.as_fd(), place)?;
        // The folder and not the socket itself, so that a daemon which is started anew is found again.
        drop(folder(root.as_fd(), &place.join("host"))?);
        remove(device.as_fd(), Path::new(link))?;
        symlinkat(Path::new("host").join(socket), &device, link).context("cannot link the socket")?;
        let mut visible = fs::File::from(fresh_file(device.as_fd(), VISIBLE_FILE, 0o444)?);
        visible.write_all(cards.join("\n").as_bytes()).context("cannot write the list of visible cards")?;
        Ok((libraries, device))
    })?;
    for name in [NVML_FILE, CUDA_FILE] {
        bind_read_only(&config.lib_dir.join(name), libraries.as_fd(), name)?;
    }
    bind_read_only(run, device.as_fd(), "host")
}

/// Opens a folder below the container's root, making what is missing.
fn folder(root: BorrowedFd<'_>, path: &Path) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let open = |path: &Path| openat2(root, path, flags, Mode::empty(), resolve);
    let mut reached = open(Path::new("/")).context("cannot open the container's root")?;
    let mut so_far = PathBuf::new();
    for name in path {
        so_far.push(name);
        match mkdirat(&reached, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot make {} in the container", so_far.display()));
            }
        }
        reached =
            open(&so_far).with_context(|| format!("cannot open {} in the container", so_far.display()))?;
    }
    Ok(reached)
}

/// Makes an empty file, in the place of whatever the image had there.
fn fresh_file(folder: BorrowedFd<'_>, name: &str, mode: u32) -> anyhow::Result<OwnedFd> {
    remove(folder, Path::new(name))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::from_raw_mode(mode))
        .with_context(|| format!("cannot make {name} in the container"))
}

/// What an image or an earlier start of the same container has left.
fn remove(folder: BorrowedFd<'_>, name: &Path) -> anyhow::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("cannot replace {} in the container", name.display()))
        }
    }
}

fn bind_read_only(source: &Path, folder: BorrowedFd<'_>, name: &str) -> anyhow::Result<()> {
    let what = || format!("cannot mount {} into the container", source.display());
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let below = openat(folder, name, flags, Mode::empty()).with_context(what)?;
    mount_bind(source, by_descriptor(&below)).with_context(what)?;
    // Opened anew, the name leads to what is mounted there now.
    let mounted = openat(folder, name, flags, Mode::empty()).with_context(what)?;
    mount_remount(by_descriptor(&mounted), READ_ONLY, c"").with_context(what)
}

fn by_descriptor(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cards() -> Vec<CardIdentity> {
        [(0, "GPU-a"), (1, "GPU-b")]
            .map(|(slot, uuid)| CardIdentity { slot, uuid: uuid.to_owned(), bus_id: String::new() })
            .to_vec()
    }

    #[test]
    fn devices_are_chosen_by_index_uuid_or_all() {
        assert_eq!(choose("1", &cards()).unwrap(), ["GPU-b"]);
        assert_eq!(choose("GPU-a,1,0", &cards()).unwrap(), ["GPU-a", "GPU-b"]);
        assert_eq!(choose("all", &cards()).unwrap(), ["GPU-a", "GPU-b"]);
        assert!(choose("none", &cards()).unwrap().is_empty());
    }

    #[test]
    fn a_card_that_is_not_there_is_named() {
        let error = choose("99", &cards()).unwrap_err().to_string();
        assert!(error.contains("99: unknown device") && error.contains("1 (GPU-b)"), "{error}");
    }

    #[test]
    fn the_containers_root_is_read_from_the_kernels_map() {
        assert_eq!(first_id("         0          0 4294967295\n"), Some(0));
        assert_eq!(
            first_id("      1000       1000          1\n         0     300000      65536\n"),
            Some(300_000)
        );
        assert_eq!(first_id("      1000       1000          1\n"), None);
        assert_eq!(first_id(""), None);
    }

    #[test]
    fn a_link_in_the_image_does_not_lead_out_of_it() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), root.path().join("usr")).unwrap();
        let opened = rustix::fs::open(root.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        // The link's target does not exist below the container's root, so the folder cannot be had.
        assert!(folder(opened.as_fd(), Path::new("usr/lib")).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
