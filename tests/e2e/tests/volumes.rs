//! What a renter keeps on a host: it is there in the next lease and in nobody else's, it cannot be larger than was
//! agreed, nobody reads it on the disk, and it is gone at the end of its time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nightjar_core::host::HostState;
use nightjar_core::settings::Settings;
use nightjar_core::volume::VolumeTerms;
use nightjar_protocol::market_api::RenterVolumes;
use nightjar_testbed::host::{Host, quick_settings};
use nightjar_testbed::process::{LogsOfAFailure, output, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(60);
const IMAGE: &str = "pytorch-cuda:lite";
const QUOTA_MIB: u64 = 96;
/// Long enough for the next lease, short enough to be waited for.
const KEEP: Duration = Duration::from_secs(120);
/// What a renter of ill will leaves for the next lease: read by every Python that looks into the home, it ends what checks
/// the card, keeps JupyterLab from coming up, and says with its code that there is no such program.
const POISON: &str = "import os, time
if os.fork() == 0:
    os.setsid()
    while True:
        for name in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open('/proc/' + name + '/cmdline') as opened:
                    if 'self-check' in opened.read():
                        os.kill(int(name), 9)
            except OSError:
                pass
        time.sleep(0.01)
os._exit(127)
";
const SECRET: &str = "the-renter-wrote-this-and-nobody-else-reads-it";

/// Everything here ends in this order, also when the test fails.
struct Scene {
    _words: LogsOfAFailure,
    host: Host,
    renter: Renter,
    stage: Stage,
}

fn scene() -> Scene {
    scene_with(Settings::default().volumes_most_mib)
}

fn scene_with(volumes_most_mib: u64) -> Scene {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let volume = VolumeTerms { quota_mib: QUOTA_MIB, keep_ms: KEEP.as_millis().try_into().unwrap() };
    let settings = Settings { volume, volumes_most_mib, ..quick_settings() };
    let (host, _) = stage.host("host", &settings).unwrap();
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
    Scene { _words: LogsOfAFailure(vec![stage.folder().join("host/host.log")]), host, renter, stage }
}

impl Scene {
    fn rent(&self) -> String {
        wait_for("an offer", SOON, || Ok(self.renter.run(&["offers"]).ok())).unwrap();
        self.renter.rent(IMAGE).unwrap()
    }

    fn stop(&self, lease: &str) {
        self.renter.run(&["stop", lease, "--wait"]).unwrap();
    }

    /// The next lease is to come up all the same, and the card is not to be blamed.
    fn poison(&self, lease: &str) {
        let plant = "mkfifo .nightjar-check && mkdir -p $(python3 -m site --user-site) && \
                     cat > $(python3 -m site --user-site)/usercustomize.py && sync";
        self.renter.ssh_with_input(lease, &[plant], POISON).unwrap();
    }

    /// What keeps it from coming up is told, and can be taken away by SSH.
    fn jupyter_can_be_mended(&self, lease: &str) {
        wait_for("the greeting says what is missing", SOON, || {
            let greeting = self.renter.ssh(lease, &["cat", "/run/nightjar/greeting"]).ok();
            Ok(greeting.filter(|said| said.contains("/run/nightjar/log/jupyter.log")).map(drop))
        })
        .unwrap();
        self.renter.ssh(lease, &["rm -rf .local && pkill -f '[j]upyter-lab'; true"]).unwrap();
        // It is tried again each half minute, and its first start is a cold one.
        wait_for("JupyterLab answers", 2 * SOON, || {
            let ask = "curl --noproxy '*' -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8888/api";
            Ok(self.renter.ssh(lease, &[ask, "; true"]).ok().filter(|said| said.trim() == "200"))
        })
        .unwrap();
        wait_for("the greeting says so no more", SOON, || {
            let Ok(greeting) = self.renter.ssh(lease, &["cat", "/run/nightjar/greeting"]) else {
                return Ok(None);
            };
            Ok((!greeting.contains("/run/nightjar/log/jupyter.log")).then_some(()))
        })
        .unwrap();
    }

    /// Names of what renters keep, as the owner sees it.
    fn kept(&self) -> Vec<serde_json::Value> {
        let said = self.host.around.owner(&["--json", "tenants", "--volumes"]).unwrap();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        said["volumes"].as_array().unwrap().clone()
    }

    /// Files of this Engine's that are behind a block device, and mounts of block devices in it.
    fn devices(&self) -> (Vec<String>, Vec<String>) {
        let behind =
            output(Command::new("losetup").args(["--list", "--noheadings", "--output", "BACK-FILE"]));
        let behind =
            behind.unwrap().lines().filter(|line| line.contains("disk.img")).map(str::to_owned).collect();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let of_volumes = |line: &&str| line.contains("/volumes/nightjar-");
        (behind, mounts.lines().filter(of_volumes).map(str::to_owned).collect())
    }

    fn nothing_is_mounted(&self) {
        wait_for("nothing of a volume is mounted", SOON, || {
            Ok(Some(self.devices()).filter(|(behind, mounts)| behind.is_empty() && mounts.is_empty()))
        })
        .unwrap_or_else(|error| panic!("{error:#}: {:?}", self.devices()));
    }

    /// The disk's file, as root of the Engine's machine sees it.
    fn store(&self, name: &str) -> PathBuf {
        let path = self.stage.engine.ask(["volume", "inspect", "--format", "{{.Mountpoint}}", name]).unwrap();
        Path::new(path.trim()).join("disk.img")
    }
}

/// A file system says what it can do.
fn encrypts() -> bool {
    Path::new("/sys/fs/ext4/features/encryption").exists()
}

fn contains(file: &Path, text: &str) -> bool {
    output(Command::new("grep").args(["--quiet", "--text", "--fixed-strings", text]).arg(file)).is_ok()
}

#[test]
fn what_a_renter_keeps_is_there_again_and_theirs_alone_and_ends() {
    let scene = scene();
    let first = scene.rent();
    let inside = |lease: &str, script: &str| {
        scene.renter.ssh(lease, &[&format!("( {script} ) 2>&1; echo status=$?")]).unwrap()
    };
    inside(&first, &format!("echo {SECRET} > kept && cp kept {SECRET} && sync"));
    assert!(inside(&first, "ls -a").contains(".bashrc"), "the home does not begin as the image's");

    // The quota, in bytes and in files; the host's own disk has more of both.
    let said = inside(&first, "dd if=/dev/zero of=much bs=1M count=400");
    assert!(said.contains("No space left") && said.contains("status=1"), "{said}");
    inside(&first, "rm much");
    let said = inside(&first, "mkdir many && for i in $(seq 400000); do : > many/$i || exit 7; done");
    assert!(said.contains("No space left") && said.contains("status=7"), "{said}");
    inside(&first, "rm -rf many");
    let used = &scene.kept()[0];
    assert_eq!((&used["in_use"], &used["quota_mib"]), (&true.into(), &QUOTA_MIB.into()), "{used}");
    let stands = serde_json::json!({ "has_quota": true, "is_encrypted": encrypts(), "was_mended": false });
    assert_eq!(
        (&used["footing"], &scene.renter.ask(&["show", &first]).unwrap()["footing"]),
        (&stands, &stands)
    );
    let refused = scene.host.around.owner(&["tenants", "--wipe", used["name"].as_str().unwrap()]);
    assert!(refused.unwrap_err().to_string().contains("a lease uses"));
    let name = used["name"].as_str().unwrap().to_owned();
    scene.poison(&first);
    scene.stop(&first);
    let stopped = Instant::now();

    // At rest: nothing is mounted, and neither contents nor names can be read.
    scene.nothing_is_mounted();
    let (file, is_encrypted) = (scene.store(&name), encrypts());
    if is_encrypted {
        assert!(!contains(&file, SECRET), "the disk shows what is on it");
    } else {
        println!("SKIPPED: this kernel's ext4 encrypts nothing");
    }
    let journal = scene.host.around.folder.join("data/journal.sqlite");
    assert!(!contains(&journal, "volume_key"), "the host has written the key down");
    // Both sides see the same end.
    let kept: RenterVolumes = serde_json::from_value(scene.renter.ask(&["volumes"]).unwrap()).unwrap();
    let (theirs, ours) =
        (kept.volumes[0].expires_at.unwrap().0, scene.kept()[0]["expires_at"].as_i64().unwrap());
    assert!((theirs - ours).abs() < 5_000, "{theirs} and {ours}");
    assert_eq!(serde_json::to_value(kept.volumes[0].footing).unwrap(), stands);

    // Somebody else gets an empty home; the renter finds theirs again.
    let other = Renter::log_in_as("other", scene.stage.folder(), &scene.stage.market, "20.00");
    let second = scene.rent();
    assert!(stopped.elapsed() < KEEP, "this machine is too slow for this test");
    assert_eq!(scene.renter.ssh(&second, &["cat", SECRET]).unwrap().trim(), SECRET);
    scene.jupyter_can_be_mended(&second);
    scene.stop(&second);
    let other = other.unwrap();
    wait_for("an offer", SOON, || Ok(other.run(&["offers"]).ok())).unwrap();
    let third = other.rent(IMAGE).unwrap();
    let said = other.ssh(&third, &["ls -a; cat kept 2>&1; true"]).unwrap();
    assert!(!said.contains(SECRET) && said.contains("No such file"), "{said}");
    other.run(&["stop", &third, "--wait"]).unwrap();

    // The end of their time.
    assert!(!scene.kept().is_empty());
    wait_for("the volumes are wiped", KEEP + SOON, || Ok(scene.kept().is_empty().then_some(()))).unwrap();
    assert!(!file.exists(), "the file is still there");
    assert_eq!(scene.renter.ask(&["volumes"]).unwrap()["volumes"], serde_json::json!([]));
    scene.nothing_is_mounted();
}

#[test]
fn a_renter_who_is_new_is_refused_before_anything_is_charged_once_the_room_is_given_out() {
    let scene = scene_with(QUOTA_MIB * 3 / 2);
    let first = scene.rent();
    scene.renter.ssh(&first, &["echo kept > kept && sync"]).unwrap();
    scene.stop(&first);
    let told = scene.host.around.owner(&["tenants", "--volumes"]).unwrap();
    assert!(told.contains("new renters are refused"), "{told}");

    let other = Renter::log_in_as("other", scene.stage.folder(), &scene.stage.market, "20.00").unwrap();
    wait_for("an offer", SOON, || Ok(other.run(&["offers"]).ok())).unwrap();
    let refused = other.rent(IMAGE).unwrap_err().to_string();
    assert!(refused.contains("is given out") && refused.contains("rent another host"), "{refused}");
    assert!(refused.contains("nothing was charged"), "{refused}");
    let balance = other.run(&["account"]).unwrap();
    assert!(balance.contains("20.00"), "{balance}");
    assert_eq!(scene.kept().len(), 1, "a volume was made for who was refused");

    // Who keeps something here comes back, and the owner's word makes room for others.
    let again = scene.rent();
    assert_eq!(scene.renter.ssh(&again, &["cat", "kept"]).unwrap().trim(), "kept");
    scene.stop(&again);
    scene.host.around.owner(&["tenants", "--volumes-most", "1GiB"]).unwrap();
    wait_for("an offer", SOON, || Ok(other.run(&["offers"]).ok())).unwrap();
    let taken = other.rent(IMAGE).unwrap();
    other.run(&["stop", &taken, "--wait"]).unwrap();
}

#[test]
fn a_crash_in_the_middle_leaves_no_device_and_no_loss() {
    let mut scene = scene();
    let first = scene.rent();
    scene.renter.ssh(&first, &[&format!("echo {SECRET} > kept && sync")]).unwrap();
    assert_eq!(scene.devices().0.len(), 1, "{:?}", scene.devices());
    scene.host.process.kill();
    scene.nothing_is_mounted();
    let Scene { host, renter, stage, _words } = scene;
    let host = Host::start(host.around).unwrap();
    let scene = Scene { _words, host, renter, stage };
    let second = scene.rent();
    assert_eq!(scene.renter.ssh(&second, &["cat", "kept"]).unwrap().trim(), SECRET);
    scene.stop(&second);
    scene.nothing_is_mounted();
    // At the owner's word, before its time.
    let name = scene.kept()[0]["name"].as_str().unwrap().to_owned();
    let file = scene.store(&name);
    scene.host.around.owner(&["tenants", "--wipe", &name]).unwrap();
    assert!(scene.kept().is_empty() && !file.exists());
}
