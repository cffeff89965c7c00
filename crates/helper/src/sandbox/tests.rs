//! A folder in the place of the kernel's list, with what gVisor was seen to look like there.

use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::process::getuid;

use super::*;

const GVISOR: i32 = 12_444;
const SHIM: i32 = 12_425;
const GOFER: i32 = 12_443;

fn id() -> ContainerId {
    ContainerId::try_from("0f".repeat(32)).unwrap()
}

struct Pc(tempfile::TempDir);

impl Pc {
    /// With the configuration of a container whose process 1 is this.
    fn new(args: &[&str]) -> Self {
        let pc = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(pc.bundle()).unwrap();
        let hooks = "x".repeat(60_000);
        let text = serde_json::json!({ "ociVersion": "1.2.0", "process": { "args": args }, "x": hooks });
        fs::write(pc.bundle().join(CONFIGURATION), text.to_string()).unwrap();
        pc
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn bundle(&self) -> PathBuf {
        self.path("run").join(id().as_str())
    }

    /// As gVisor is started.
    fn words(&self) -> Vec<String> {
        let bundle = format!("--bundle={}", self.bundle().display());
        let log = "--log=/run/log.json";
        let words = ["runsc-sandbox", log, "--network=host", "boot", "--apply-caps=false", &bundle];
        words.iter().map(|&word| word.to_owned()).chain(["--spec-fd=14".into(), id().to_string()]).collect()
    }

    fn is_ours_by(&self, words: &[String], status: &str, parent: i32) -> bool {
        let folder = self.path("proc").join(GVISOR.to_string());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("status"), format!("Name:\texe\nPPid:\t{parent}\n{status}\n")).unwrap();
        fs::write(folder.join("cmdline"), format!("{}\0", words.join("\0"))).unwrap();
        let process = Process::read(&self.path("proc"), GVISOR).unwrap();
        let members = [GOFER, GVISOR].map(|number| Pid::from_raw(number).unwrap());
        runs_guest_by(&process, &id(), &members, getuid().as_raw())
    }

    fn is_ours(&self) -> bool {
        self.is_ours_by(&self.words(), ROOTS, SHIM)
    }
}

const ROOTS: &str = "Uid:\t0\t0\t0\t0\nNSpid:\t12444";

fn worker() -> Pc {
    Pc::new(&["/usr/local/bin/nightjar-guest", "worker"])
}

#[test]
fn a_worker_in_gvisor_is_known_by_what_its_configuration_names() {
    assert!(worker().is_ours());
    // Later ones of gVisor have a namespace of processes of their own.
    let status = "Uid:\t0\t0\t0\t0\nNSpid:\t12444\t1";
    let pc = worker();
    assert!(pc.is_ours_by(&pc.words(), status, SHIM));
    for args in [&["/usr/bin/postgres", "nightjar-guest"][..], &["sh", "-c", "nightjar-guest"], &[]] {
        assert!(!Pc::new(args).is_ours(), "{args:?}");
    }
}

#[test]
fn a_process_of_a_tenants_is_not_taken_for_gvisor() {
    let pc = worker();
    for (status, parent, why) in [
        ("Uid:\t0\t0\t0\t0\nNSpid:\t12444\t37", SHIM, "some process of another container"),
        ("Uid:\t1000\t0\t0\t0\nNSpid:\t12444", SHIM, "a user's"),
        ("NSpid:\t12444", SHIM, "nobody's"),
        ("Uid:\t0\t0\t0\t0", SHIM, "without a number"),
        (ROOTS, GOFER, "a child of one in the group runs the tenant's instructions"),
    ] {
        assert!(!pc.is_ours_by(&pc.words(), status, parent), "{why}");
    }
    for (at, word) in
        [(0, "sh"), (0, "runsc"), (3, "gofer"), (5, "--bundle=run"), (5, "--bundle=/"), (7, "another")]
    {
        let mut words = pc.words();
        words[at] = word.to_owned();
        assert!(!pc.is_ours_by(&words, ROOTS, SHIM), "{word}");
    }
    assert!(!pc.is_ours_by(&[], ROOTS, SHIM));
}

#[test]
fn only_the_containers_own_folder_is_looked_at() {
    let pc = worker();
    let other = pc.path("run").join("11".repeat(32));
    fs::rename(pc.bundle(), &other).unwrap();
    let mut words = pc.words();
    for folder in
        [other.clone(), other.join("..").join("11".repeat(32)), other.join("..").join(id().as_str())]
    {
        words[5] = format!("--bundle={}", folder.display());
        assert!(!pc.is_ours_by(&words, ROOTS, SHIM), "{folder:?}");
    }
    symlink(&other, pc.bundle()).unwrap();
    assert!(!pc.is_ours(), "a link to another container's");
    fs::remove_file(pc.bundle()).unwrap();
    fs::rename(&other, pc.bundle()).unwrap();
    symlink(pc.path("run"), pc.path("link")).unwrap();
    words[5] = format!("--bundle={}", pc.path("link").join(id().as_str()).display());
    assert!(pc.is_ours_by(&words, ROOTS, SHIM), "a system's own link further up");
}

#[test]
fn a_configuration_that_others_could_have_written_says_nothing() {
    let pc = worker();
    let (file, folder) = (pc.bundle().join(CONFIGURATION), pc.path("run"));
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (path, mode, usual) in [(&file, 0o666, 0o644), (&file, 0o664, 0o644), (&folder, 0o777, 0o711)] {
        allow(path, mode);
        assert!(!pc.is_ours(), "{path:?} {mode:o}");
        allow(path, usual);
        assert!(pc.is_ours(), "{path:?} {usual:o}");
    }
    assert!(!runs_as_a_strangers(&pc));
    let elsewhere = pc.path("config.json");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert!(!pc.is_ours(), "a link");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(!pc.is_ours(), "a folder");
    fs::remove_dir(&file).unwrap();
    fs::write(&file, "{").unwrap();
    assert!(!pc.is_ours(), "half of it");
    fs::write(&file, " ".repeat(1 << 21)).unwrap();
    assert!(!pc.is_ours(), "without an end");
}

/// The same files, where somebody else's word is asked for.
fn runs_as_a_strangers(pc: &Pc) -> bool {
    let process = Process::read(&pc.path("proc"), GVISOR).unwrap();
    runs_guest_by(&process, &id(), &[], getuid().as_raw() + 1)
}
