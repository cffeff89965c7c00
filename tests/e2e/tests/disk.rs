//! A disk that is full: nothing is lent, nothing is lost, and it is said.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nightjar_core::host::{HostState, UserCommand};
use nightjar_core::policy::BlockReason;
use nightjar_core::settings::Settings;
use nightjar_testbed::engine::{Engine, EngineOptions};
use nightjar_testbed::host::{Host, quick_settings};
use nightjar_testbed::images::{self, Flavour};
use nightjar_testbed::process::{output, wait_for};
use nightjar_testbed::stage::Room;

const SOON: Duration = Duration::from_secs(90);
/// Smaller than the image.
const DISK_MIB: u64 = 400;

/// A disk of its own, in a file; it is taken down with this value.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    fn new(folder: &Path) -> Self {
        let (file, at) = (folder.join("disk.img"), folder.join("disk"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&file).unwrap().set_len(DISK_MIB << 20).unwrap();
        output(Command::new("mkfs.ext4").arg("-q").arg(&file)).unwrap();
        output(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(&at)).unwrap();
        Self { at }
    }

    /// Takes all the space that is left.
    fn fill(&self) -> PathBuf {
        let filler = self.at.join("filler");
        let full = Command::new("dd")
            .arg("if=/dev/zero")
            .arg(format!("of={}", filler.display()))
            .arg("bs=1M")
            .output();
        assert!(!full.unwrap().status.success(), "the disk did not become full");
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = output(Command::new("umount").arg("--lazy").arg(&self.at));
    }
}

#[test]
fn a_disk_that_is_full_while_the_image_loads_lends_nothing_and_loses_nothing() {
    if !is_root() {
        println!("SKIPPED: only root can mount a disk of its own");
        return;
    }
    let room = Room::set().unwrap();
    let archive = room.folder().join("image.tar");
    let engine = Engine::start(EngineOptions::cached()).unwrap();
    images::gateway(&engine, &mut |step| println!("{step}")).unwrap();
    images::pytorch_cuda(&engine, Flavour::Lite, &mut |step| println!("{step}")).unwrap();
    let reference = Flavour::Lite.reference();
    engine.ask(["save", "--output", archive.to_str().unwrap(), images::GATEWAY, &reference]).unwrap();
    engine.stop().unwrap();

    let disk = SmallDisk::new(room.folder());
    let options = EngineOptions { folder: disk.at.join("engine"), ..EngineOptions::cached() };
    let engine = Engine::start(options).unwrap();
    let failed = engine.ask(["load", "--input", archive.to_str().unwrap()]).unwrap_err().to_string();
    assert!(failed.contains("no space left"), "{failed}");

    the_engines_disk_counts_where_the_hosts_own_has_room(&room, &engine);
    let mut around = room.place().unwrap();
    around.folder = disk.at.join("host");
    around.engine = engine.address();
    around.write_settings(&Settings { disk_reserve_mib: 1_024, ..quick_settings() }).unwrap();
    let host = Host::start(around).unwrap();
    let watch = host.watch().unwrap();
    let (_, view) = watch
        .until("the full disk is told", SOON, |view| {
            view.cards.iter().any(|tile| tile.reasons.iter().any(|reason| reason.contains("GiB of disk")))
        })
        .unwrap();
    assert_ne!(view.state, HostState::Waiting);
    assert!(!matches!(view.reason, Some(BlockReason::NoGpu { .. })));

    // Not a byte is left: what the owner chooses counts at once, and is written down as soon as it can be.
    let filler = disk.fill();
    host.around.command(UserCommand::SetEarning { on: false }).unwrap();
    assert!(!host.around.view().unwrap().earn_while_idle);
    std::thread::sleep(Duration::from_secs(3));
    std::fs::remove_file(filler).unwrap();
    wait_for("the choice is written down", SOON, || {
        let text = std::fs::read_to_string(host.around.settings_path())?;
        Ok(text.contains("earn_while_idle = false").then_some(()))
    })
    .unwrap();
    drop((watch, host, engine));
}

fn the_engines_disk_counts_where_the_hosts_own_has_room(room: &Room, engine: &Engine) {
    let mut around = room.place().unwrap();
    around.engine = engine.address();
    around.write_settings(&Settings { disk_reserve_mib: 1_024, ..quick_settings() }).unwrap();
    let mut host = Host::start(around).unwrap();
    let folder = engine.ask(["info", "--format", "{{.DockerRootDir}}"]).unwrap();
    let is_named = |reason: &String| reason.contains("GiB of disk") && reason.contains(folder.trim());
    let watch = host.watch().unwrap();
    watch
        .until("the Engine's full disk is told", SOON, |view| {
            view.cards.iter().any(|tile| tile.reasons.iter().any(is_named))
        })
        .unwrap();
    drop(watch);
    host.process.terminate(SOON).unwrap();
}

fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
