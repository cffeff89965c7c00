//! A renter's disk: a file of the quota's size with a file system of its own, as a block device that the Engine mounts.
//!
//! The container has no tenant in it, no network, and of all capabilities the one to make a device's name. The device
//! lives while this process holds it or the Engine has it mounted, and goes by itself after that: no crash leaves one.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nightjar_protocol::guest::{DiskBoot, GuestEvent};
use rustix::fs::{FileType, Mode, major, makedev, minor, mknodat};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::kernel::{file_behind, free_loop_device, put_behind};
use crate::line::{End, Line};
use crate::report;

const FILE: &str = "/store/disk.img";
/// Of the kernel's list of devices.
const CONTROL: (u32, u32) = (10, 237);
const CONTROL_PATH: &str = "/dev/loop-control";
/// An earlier lease's mount is taken down without being waited for.
const RELEASED_WITHIN: Duration = Duration::from_secs(8);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Between being told of a free device and taking it, another program may take it.
const MOST_TRIES: u32 = 8;
const MIB: u64 = 1024 * 1024;

/// Process 1.
pub fn run() -> End {
    serve().unwrap_or_else(|end| end)
}

fn serve() -> Result<End, End> {
    let (mut line, boot) = Line::open::<DiskBoot>()?;
    let failed = |why: String| End::Failed { what: "disk", why };
    let _held = match control() {
        Err(why) => {
            report::event(&GuestEvent::NoDisk { why });
            None
        }
        Ok(control) => {
            await_release().map_err(failed)?;
            let file = file(&boot).map_err(failed)?;
            let (device, path) = attach(&control, &file).map_err(failed)?;
            report::event(&GuestEvent::DiskReady { device: path.display().to_string() });
            Some(device)
        }
    };
    let none = CapabilitySet::empty();
    let nothing = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, nothing).map_err(|error| failed(format!("its capability stays: {error}")))?;
    loop {
        line.next()?;
    }
}

/// What hands out devices; the reason where the kernel has no such thing.
fn control() -> Result<File, String> {
    let path = device_node(Path::new(CONTROL_PATH), FileType::CharacterDevice, CONTROL)?;
    let opened = File::options().read(true).write(true).open(path);
    opened.map_err(|error| format!("the kernel of the Engine's machine has no loop devices ({error})"))
}

/// A device under its usual name; one that the Engine has put there is taken as it is.
fn device_node(path: &Path, kind: FileType, (major, minor): (u32, u32)) -> Result<PathBuf, String> {
    let mode = Mode::RUSR | Mode::WUSR;
    match mknodat(rustix::fs::CWD, path, kind, mode, makedev(major, minor)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(path.to_owned()),
        Err(error) => Err(format!("{} cannot be made: {error}", path.display())),
    }
}

/// Two devices on one file would destroy what is on it.
fn await_release() -> Result<(), String> {
    let began = Instant::now();
    while let Some(device) = attached_elsewhere()? {
        if began.elapsed() > RELEASED_WITHIN {
            return Err(format!(
                "it is still in use as {device}; another lease of this renter may be ending"
            ));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// The device that has this disk's file behind it.
fn attached_elsewhere() -> Result<Option<String>, String> {
    let Ok(own) = fs::metadata(FILE) else { return Ok(None) };
    let devices = fs::read_dir("/sys/block").map_err(|error| format!("/sys/block: {error}"))?;
    for device in devices.flatten() {
        let (name, folder) = (device.file_name(), device.path());
        let name = name.to_string_lossy();
        if !name.starts_with("loop") || !folder.join("loop/backing_file").exists() {
            continue;
        }
        let path = loop_node(&name)?;
        // One that was let go between the two looks has no file.
        let Some((device, inode)) = File::open(&path).ok().and_then(|opened| file_behind(&opened).ok())
        else {
            continue;
        };
        if inode == own.ino() && same_device(device, own.dev()) {
            return Ok(Some(path.display().to_string()));
        }
    }
    Ok(None)
}

/// The kernel gives its own number of a device here, and the other one to `stat`.
fn same_device(kernels: u64, stated: u64) -> bool {
    let (whole, part) = (major(stated), minor(stated));
    kernels == stated || (kernels >> 8 & 0xfff, kernels & 0xff) == (u64::from(whole), u64::from(part & 0xff))
}

fn loop_node(name: &str) -> Result<PathBuf, String> {
    let numbers = fs::read_to_string(format!("/sys/block/{name}/dev"))
        .map_err(|error| format!("/sys/block/{name}/dev: {error}"))?;
    let parsed = numbers.trim().split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let numbers = parsed.ok_or_else(|| format!("/sys/block/{name}/dev holds {numbers:?}"))?;
    device_node(&Path::new("/dev").join(name), FileType::BlockDevice, numbers)
}

/// The disk's file: made at first use, repaired after a crash, and grown where the quota has.
fn file(boot: &DiskBoot) -> Result<File, String> {
    let said = |error: std::io::Error| format!("{FILE}: {error}");
    let size = boot.quota_mib.saturating_mul(MIB);
    let is_new = fs::metadata(FILE).map_or(true, |found| found.len() == 0);
    let fresh = format!("{FILE}.new");
    if is_new {
        // Sparse: it takes what is written to it. One that was not finished is begun anew.
        File::create(&fresh).and_then(|file| file.set_len(size)).map_err(said)?;
        let owner = format!("root_owner={}:{}", boot.owner, boot.group);
        let options = format!("{owner},nodiscard,lazy_itable_init=1,lazy_journal_init=1");
        let arguments = ["-q", "-F", "-b", "4096", "-m", "0", "-O", "encrypt", "-E", &options, &fresh];
        tool("mkfs.ext4", &arguments, 0)?;
        fs::rename(&fresh, FILE).map_err(said)?;
    } else {
        // 1: it was mended. Without a crash it is a look at one block.
        tool("e2fsck", &["-p", FILE], 1)?;
    }
    let file = File::options().read(true).write(true).open(FILE).map_err(said)?;
    if file.metadata().map_err(said)?.len() < size {
        file.set_len(size).map_err(said)?;
        tool("e2fsck", &["-f", "-p", FILE], 1)?;
        tool("resize2fs", &[FILE], 0)?;
    }
    Ok(file)
}

fn tool(program: &str, arguments: &[&str], worst: i32) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    if output.status.code().is_some_and(|code| (0..=worst).contains(&code)) {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(300).collect();
    Err(format!("{program} ended with {}: {said}", output.status))
}

/// Puts the file behind a free device.
fn attach(control: &File, file: &File) -> Result<(File, PathBuf), String> {
    let mut last = String::new();
    for _ in 0..MOST_TRIES {
        let number = free_loop_device(control).map_err(|error| format!("no loop device is free: {error}"))?;
        let path = loop_node(&format!("loop{number}"))?;
        let device = File::options().read(true).write(true).open(&path);
        let device = device.map_err(|error| format!("{}: {error}", path.display()))?;
        match put_behind(&device, file) {
            Ok(()) => return Ok((device, path)),
            Err(error) => last = format!("{}: {error}", path.display()),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_either_number() {
        assert!(same_device(0xfe00, makedev(254, 0)) && same_device(makedev(254, 0), makedev(254, 0)));
        assert!(!same_device(0xfe01, makedev(254, 0)));
    }
}
