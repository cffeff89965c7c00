//! A renter's disk: a file of the quota's size with a file system of its own, as a block device that the Engine mounts.
//!
//! The container has no tenant in it, no network, and of all capabilities the one to make a device's name. The device
//! lives while this process holds it or the Engine has it mounted, and goes by itself after that: no crash leaves one.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
const TELL_EVERY: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Between being told of a free device and taking it, another program may take it.
const MOST_TRIES: u32 = 8;
const MIB: u64 = 1024 * 1024;
/// How e2fsck ends when it mended something.
const MENDED: i32 = 1;
/// Where an ext4 has its description of itself.
const SUPERBLOCK_AT: u64 = 1024;
const SUPERBLOCK_BYTES: usize = 1024;

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
            // Whatever becomes of the agent, and the agent knows that it is not to give up.
            let at_work = (line.at_work(), Told::begin());
            let (file, state) = file(Path::new(FILE), &boot).map_err(failed)?;
            drop(at_work);
            let (device, path) = attach(&control, &file).map_err(failed)?;
            report::event(&GuestEvent::DiskReady {
                device: path.display().to_string(),
                was_mended: state == Found::Mended,
                is_new: state == Found::Nothing,
            });
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

/// Tells that a tool is at work, as long as this is there: on a slow disk it may be so for minutes.
struct Told(Arc<AtomicBool>);

impl Told {
    fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                report::event(&GuestEvent::DiskAtWork);
                std::thread::sleep(TELL_EVERY);
            }
        });
        Self(over)
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
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

/// What an earlier lease has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Sound,
    /// A repair may have cost some of it.
    Mended,
}

/// The disk's file: made at first use, repaired after a crash, and grown where the quota has.
fn file(path: &Path, boot: &DiskBoot) -> Result<(File, Found), String> {
    let name = path.display().to_string();
    let said = |error: std::io::Error| format!("{name}: {error}");
    let size = boot.quota_mib.saturating_mul(MIB);
    let is_new = fs::metadata(path).map_or(true, |found| found.len() == 0);
    let mut found = Found::Nothing;
    if is_new {
        let fresh = format!("{name}.new");
        // Sparse: it takes what is written to it. One that was not finished is begun anew.
        File::create(&fresh).and_then(|file| file.set_len(size)).map_err(said)?;
        let owner = format!("root_owner={}:{}", boot.owner, boot.group);
        let options = format!("{owner},nodiscard,lazy_itable_init=1,lazy_journal_init=1");
        let arguments = ["-q", "-F", "-b", "4096", "-m", "0", "-O", "encrypt", "-E", &options, &fresh];
        tool("mkfs.ext4", &arguments, 0)?;
        fs::rename(&fresh, path).map_err(said)?;
    } else {
        found = if mend(&name)? { Found::Mended } else { Found::Sound };
    }
    let mut file = File::options().read(true).write(true).open(path).map_err(said)?;
    if file.metadata().map_err(said)?.len() < size {
        file.set_len(size).map_err(said)?;
    }
    // Both may be from an earlier lease that was cut off between the two.
    if file_system_bytes(&mut file).map_err(said)?.is_some_and(|bytes| bytes < size) {
        tool("e2fsck", &["-f", "-p", &name], MENDED)?;
        tool("resize2fs", &[&name], 0)?;
    }
    Ok((file, found))
}

/// Without a crash it is a look at one block. What a careful repair leaves undone, a thorough one does, which may cost
/// files: what it overwrites is kept beside the disk, and the renter is told. `true` when that was needed.
fn mend(name: &str) -> Result<bool, String> {
    if tool("e2fsck", &["-p", name], MENDED).is_ok() {
        return Ok(false);
    }
    let undo = format!("{name}.undo");
    // e2fsck adds to none that is there.
    let _ = fs::remove_file(&undo);
    tool("e2fsck", &["-f", "-y", "-z", &undo, name], MENDED).map(|()| true).map_err(|why| {
        format!(
            "the file system of what this renter keeps here is damaged and cannot be repaired ({why}). Nothing of it was \
             deleted: rent on another host, or let this PC's owner delete the volume (nightjar tenants --volumes, --wipe) \
             and begin anew"
        )
    })
}

/// How large the file system says that it is; `None` for something else.
fn file_system_bytes(file: &mut File) -> std::io::Result<Option<u64>> {
    let mut block = [0; SUPERBLOCK_BYTES];
    file.seek(SeekFrom::Start(SUPERBLOCK_AT))?;
    file.read_exact(&mut block)?;
    Ok(size_in(&block))
}

/// Fields of ext4's superblock, as the kernel's documentation names them.
fn size_in(block: &[u8; SUPERBLOCK_BYTES]) -> Option<u64> {
    let number = |at: usize| {
        let bytes: [u8; 4] = block.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    let (s_blocks_count_lo, s_log_block_size) = (number(0x4)?, number(0x18)?);
    let (s_feature_incompat, s_blocks_count_hi) = (number(0x60)?, number(0x150)?);
    let has_64bit = s_feature_incompat & 0x80 != 0;
    let high = if has_64bit { u64::from(s_blocks_count_hi) << 32 } else { 0 };
    let block_bytes = 1024_u64.checked_shl(s_log_block_size).filter(|_| s_log_block_size <= 6)?;
    let is_one = block.get(0x38..0x3a)? == [0x53, 0xef];
    is_one.then(|| (high | u64::from(s_blocks_count_lo)).saturating_mul(block_bytes))
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
    use std::io::Write;

    const BOOT: DiskBoot = DiskBoot { quota_mib: 24, owner: 0, group: 0 };

    /// Gone with the value.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A folder with a disk of 8 MiB in it; `None`, said by name, where the tools are not installed.
    fn small_disk(name: &str) -> Option<(Folder, PathBuf)> {
        let folder = std::env::temp_dir().join(format!("nightjar-guest-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("disk.img");
        let folder = Folder(folder);
        match file(&path, &DiskBoot { quota_mib: 8, ..BOOT }) {
            Ok((_, found)) => assert_eq!(found, Found::Nothing),
            Err(why) if why.contains("mkfs.ext4 cannot be started") => {
                println!("SKIPPED: {why}");
                return None;
            }
            Err(why) => panic!("{why}"),
        }
        Some((folder, path))
    }

    fn size_of(path: &Path) -> u64 {
        file_system_bytes(&mut File::open(path).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn a_disk_whose_growing_was_cut_off_grows_with_the_next_lease() {
        let Some((_folder, path)) = small_disk("growing") else { return };
        assert_eq!(size_of(&path), 8 * MIB);
        // The file has its new length, and the file system does not know of it.
        File::options().write(true).open(&path).unwrap().set_len(BOOT.quota_mib * MIB).unwrap();
        file(&path, &BOOT).unwrap();
        assert_eq!(size_of(&path), BOOT.quota_mib * MIB);
        // A smaller quota takes nothing away.
        file(&path, &DiskBoot { quota_mib: 8, ..BOOT }).unwrap();
        assert_eq!(size_of(&path), BOOT.quota_mib * MIB);
    }

    #[test]
    fn a_damage_that_a_careful_repair_leaves_is_mended_and_told() {
        let Some((_folder, path)) = small_disk("damage") else { return };
        // As the kernel marks one in which it met with an error: it is looked at as a whole.
        tool("tune2fs", &["-E", "force_fsck", &path.display().to_string()], 0).unwrap();
        // The first inodes, the top folder's among them.
        let table = 4096 * first_inode_table(&path);
        let mut opened = File::options().read(true).write(true).open(&path).unwrap();
        opened.seek(SeekFrom::Start(table)).unwrap();
        opened.write_all(&[0xa5; 4096]).unwrap();
        drop(opened);
        assert!(tool("e2fsck", &["-p", &path.display().to_string()], MENDED).is_err(), "too little damage");
        let (_, found) = file(&path, &BOOT).unwrap();
        assert!(found == Found::Mended && path.with_file_name("disk.img.undo").exists());
        let (_, found) = file(&path, &BOOT).unwrap();
        assert_eq!(found, Found::Sound, "it was not mended the first time");
    }

    #[test]
    fn a_disk_that_is_none_any_more_is_kept_and_said_so() {
        let Some((_folder, path)) = small_disk("rubbish") else { return };
        let rubbish = vec![0xa5; usize::try_from(8 * MIB).unwrap()];
        fs::write(&path, &rubbish).unwrap();
        let why = file(&path, &BOOT).map(drop).unwrap_err();
        assert!(why.contains("--wipe") && why.contains("another host"), "{why}");
        assert!(fs::read(&path).unwrap() == rubbish, "what was there was changed");
    }

    /// Of the first group's description, which follows the superblock.
    fn first_inode_table(path: &Path) -> u64 {
        let mut word = [0; 4];
        let mut opened = File::open(path).unwrap();
        opened.seek(SeekFrom::Start(4096 + 0x8)).unwrap();
        opened.read_exact(&mut word).unwrap();
        u64::from(u32::from_le_bytes(word))
    }

    #[test]
    fn what_is_no_file_system_has_no_size() {
        assert_eq!(size_in(&[0; SUPERBLOCK_BYTES]), None);
        let mut block = [0; SUPERBLOCK_BYTES];
        block[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
        block[0x4..0x8].copy_from_slice(&2_048_u32.to_le_bytes());
        block[0x18] = 2;
        assert_eq!(size_in(&block), Some(8 * MIB));
        block[0x150] = 1;
        assert_eq!(size_in(&block), Some(8 * MIB), "the upper half counts without its feature");
        block[0x60] = 0x80;
        assert_eq!(size_in(&block), Some((4096 << 32) + 8 * MIB));
        block[0x18] = 200;
        assert_eq!(size_in(&block), None);
    }

    #[test]
    fn a_device_is_known_by_either_number() {
        assert!(same_device(0xfe00, makedev(254, 0)) && same_device(makedev(254, 0), makedev(254, 0)));
        assert!(!same_device(0xfe01, makedev(254, 0)));
    }
}
