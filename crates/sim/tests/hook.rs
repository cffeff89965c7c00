//! The hook puts the driver into a container's root, and names the card that it cannot give.
//!
//! The container is a mount namespace and a folder; that a real Engine calls the hook is tested where
//! there is one.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test stands on must be there")]

#[expect(dead_code, reason = "the hook needs no program that loads the libraries")]
mod rig;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rig::Rig;

/// A process in a mount namespace of its own, and a bundle that says what it shall see.
struct Container {
    holder: Child,
    bundle: tempfile::TempDir,
}

impl Container {
    fn new(devices: &str) -> Self {
        let bundle = tempfile::tempdir().unwrap();
        let root = bundle.path().join("rootfs");
        fs::create_dir_all(root.join("dev")).unwrap();
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        let config = serde_json::json!({
            "process": { "env": ["PATH=/bin", format!("NVIDIA_VISIBLE_DEVICES={devices}")] },
            "root": { "path": "rootfs" },
        });
        fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
        // It ends with this test, as `cat` does with its input. The first line says that it has begun.
        let mut holder = Command::new("unshare")
            .args(["--mount", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        holder.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        Self { holder, bundle }
    }

    fn run_hook(&self, rig: &Rig) -> Output {
        let mut hook = Command::new(rig.layout.bin_dir().join("nvidia-container-runtime-hook"))
            .arg("prestart")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let state = serde_json::json!({ "ociVersion": "1.0.2", "id": "t", "status": "creating",
            "pid": self.holder.id(), "bundle": self.bundle.path() });
        hook.stdin.take().unwrap().write_all(state.to_string().as_bytes()).unwrap();
        hook.wait_with_output().unwrap()
    }

    /// Runs a shell in the namespace, in the container's root.
    fn shell(&self, script: &str) -> Output {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        let wd = self.bundle.path().join("rootfs");
        Command::new("nsenter")
            .args([&namespace, "sh", "-c"])
            .arg(format!("cd {} && {script}", wd.display()))
            .output()
            .unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Entering a namespace needs root. Where the test cannot run it says so.
fn may_run(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED {test}: it needs root for a mount namespace");
    }
    root
}

#[test]
fn the_driver_and_the_chosen_card_are_put_into_the_root() {
    if !may_run("the_driver_and_the_chosen_card_are_put_into_the_root") {
        return;
    }
    let rig = Rig::new("rtx4090,rtx3060");
    let container = Container::new("1");
    let done = container.run_hook(&rig);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lib = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let compare = |name: &str| {
        let ours = rig.layout.lib_dir().join(name);
        container.shell(&format!("cmp {lib}/{name} {} && ! touch {lib}/{name}", ours.display()))
    };
    for name in ["libcuda.so.1", "libnvidia-ml.so.1"] {
        let same = compare(name);
        assert!(same.status.success(), "{name}: {}", String::from_utf8_lossy(&same.stderr));
    }
    let second = rig.daemon.client().stats().unwrap().cards[1].reading.identity.uuid.clone();
    assert_eq!(String::from_utf8(container.shell("cat usr/lib/nvidia-sim/visible").stdout).unwrap(), second);
    assert!(container.shell("test -S usr/lib/nvidia-sim/socket").status.success());
    assert!(
        !container.shell("touch usr/lib/nvidia-sim/host/intruder").status.success(),
        "the socket's folder is read-only"
    );
    let outside = container.bundle.path().join("rootfs").join(&lib).join("libcuda.so.1");
    assert_eq!(fs::metadata(outside).unwrap().len(), 0, "outside its namespace nothing is mounted");
}

#[test]
fn what_gvisor_runs_in_the_hooks_place_does_the_same_and_may_do_it_twice() {
    if !may_run("what_gvisor_runs_in_the_hooks_place_does_the_same_and_may_do_it_twice") {
        return;
    }
    let rig = Rig::new("rtx4090,rtx3060");
    let second = rig.daemon.client().stats().unwrap().cards[1].reading.identity.uuid.clone();
    let cli = rig.layout.bin_dir().join("nvidia-container-cli");
    let said = Command::new(&cli).args(["--load-kmods", "info"]).output().unwrap();
    assert!(said.status.success() && String::from_utf8(said.stdout).unwrap().contains("simulated"));
    // The same root is started twice, as the Engine starts a container that it keeps.
    let (container, before) = (Container::new("all"), Container::new("all"));
    for start in [&before, &container] {
        let mut configure = Command::new(&cli);
        configure.args(["--load-kmods", "configure", "--ldconfig=@/sbin/ldconfig", "--no-cgroups"]);
        configure.args(["--utility", "--compute"]);
        configure.arg(format!("--pid={}", start.holder.id())).arg(format!("--device={second}"));
        let done = configure.arg(container.bundle.path().join("rootfs")).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let lib = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let ours = rig.layout.lib_dir().join("libcuda.so.1");
    assert!(container.shell(&format!("cmp {lib}/libcuda.so.1 {}", ours.display())).status.success());
    assert_eq!(String::from_utf8(container.shell("cat usr/lib/nvidia-sim/visible").stdout).unwrap(), second);
    assert!(container.shell("test -S usr/lib/nvidia-sim/socket").status.success());
}

#[test]
fn a_card_that_is_not_there_stops_the_start() {
    if !may_run("a_card_that_is_not_there_stops_the_start") {
        return;
    }
    let rig = Rig::new("rtx3060");
    let done = Container::new("99").run_hook(&rig);
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(!done.status.success() && text.contains("99: unknown device"), "{text}");
}

#[test]
fn a_container_without_cards_is_left_alone() {
    if !may_run("a_container_without_cards_is_left_alone") {
        return;
    }
    let rig = Rig::new("rtx3060");
    let container = Container::new("void");
    assert!(container.run_hook(&rig).status.success());
    assert!(!Path::new(&container.bundle.path().join("rootfs/usr/lib/nvidia-sim")).exists());
}
