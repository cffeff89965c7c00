//! The Debian package, in a clean Debian of its own: installed, used, upgraded, removed and purged.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use nightjar_testbed::desktop::Desktop;
use nightjar_testbed::package::{CleanRoot, debian_package};
use nightjar_testbed::process::{Process, output, wait_for};

const SOON: Duration = Duration::from_secs(60);
const INSIDE: &str = "/tmp/nightjar.deb";

fn install(root: &CleanRoot) -> String {
    root.run(&["apt-get", "install", "-qq", "-y", "--no-install-recommends", "--reinstall", INSIDE]).unwrap()
}

/// The app, with its window open.
fn start(root: &CleanRoot, desktop: &Desktop, folder: &std::path::Path) -> Process {
    let mut command = root.command_on(desktop, &["nightjar-desktop"]);
    let app = Process::start(folder, "app", &mut command).unwrap();
    let window = wait_for("the app's window", SOON, || Ok(desktop.windows("Nightjar").into_iter().next()));
    window.unwrap_or_else(|error| panic!("{error:#}\n{}", app.log()));
    app
}

fn ends(app: &mut Process) {
    let ended = wait_for("the app to end", SOON, || Ok((!app.is_running()).then_some(())));
    ended.unwrap_or_else(|error| panic!("{error:#}\n{}", app.log()));
}

/// The app's window comes, and the command line reaches the app.
fn use_it(root: &CleanRoot, desktop: &Desktop, folder: &std::path::Path) {
    let mut app = start(root, desktop, folder);
    let asked = output(&mut root.command_on(desktop, &["nightjar", "--json", "status"])).unwrap();
    let view: serde_json::Value = serde_json::from_str(&asked).unwrap();
    // There is no driver in there, and it says so instead of pretending.
    assert!(view["sentence"].as_str().is_some_and(|sentence| !sentence.is_empty()), "{view}");
    output(&mut root.command_on(desktop, &["nightjar", "quit"])).unwrap();
    ends(&mut app);
}

/// The program that mends, as pkexec would start it: for an account, with one word.
fn repair_it(root: &CleanRoot) {
    let repair = |word: &str| {
        root.run(&["env", "PKEXEC_UID=1234", "/usr/libexec/nightjar/nightjar-repair", word])
            .map_err(|error| format!("{error:#}"))
    };
    assert!(repair("helper-group").unwrap_err().contains("no account with the number 1234"));
    root.run(&["useradd", "--uid", "1234", "owner"]).unwrap();
    assert!(repair("helper-group").unwrap().contains("owner is in the group nightjar now"));
    assert!(root.run(&["id", "-nG", "owner"]).unwrap().split_whitespace().any(|group| group == "nightjar"));
    assert_eq!(repair("helper-group").unwrap().trim(), "", "what is so already is left");
    assert!(repair("helper-socket").unwrap_err().contains("does not run systemd"));
    assert!(repair("toolkit").unwrap_err().contains("Docker is not installed"));
    assert!(repair("versions").unwrap_err().contains("came from no package"));
    assert!(repair("docker; reboot").unwrap_err().contains("nothing that it mends"));
    root.run(&["userdel", "owner"]).unwrap();
    // What these tools keep of the files before is theirs, not the package's.
    root.run(&["rm", "-f", "/etc/subuid-", "/etc/subgid-"]).unwrap();
}

#[test]
fn the_package_installs_runs_upgrades_and_leaves_nothing() {
    let package = debian_package().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let root = CleanRoot::make().unwrap();
    output(nightjar_testbed::engine::as_root("cp").arg(&package).arg(root.path("tmp/nightjar.deb"))).unwrap();
    root.run(&["apt-get", "-qq", "update"]).unwrap();
    // What it needs stays when it goes, so it is there before the files are counted.
    let needs =
        output(std::process::Command::new("dpkg-deb").arg("--field").arg(&package).arg("Depends")).unwrap();
    root.run(&["apt-get", "satisfy", "-qq", "-y", "--no-install-recommends", needs.trim()]).unwrap();
    let before = root.files().unwrap();

    install(&root);
    assert!(root.run(&["nightjar", "--version"]).unwrap().starts_with("nightjar "));
    assert!(root.run(&["nightjar-desktop", "--version"]).unwrap().starts_with("nightjar-desktop "));
    assert!(root.run(&["getent", "group", "nightjar"]).unwrap().starts_with("nightjar:"));
    for file in [
        "usr/libexec/nightjar/nightjar-helper",
        "usr/libexec/nightjar/nightjar-window",
        "usr/libexec/nightjar/nightjar-repair",
        "usr/share/polkit-1/actions/org.nightjar.repair.policy",
        "usr/share/applications/nightjar.desktop",
        "usr/share/icons/hicolor/scalable/apps/nightjar.svg",
        "usr/share/bash-completion/completions/nightjar",
        "usr/share/man/man1/nightjar-rent.1.gz",
        "lib/systemd/system/nightjar-helper.service",
        // The socket is enabled: it is there after the next start of the system.
        "etc/systemd/system/sockets.target.wants/nightjar-helper.socket",
    ] {
        assert!(root.path(file).symlink_metadata().is_ok(), "{file} is missing");
    }

    repair_it(&root);

    let desktop = Desktop::start(scratch.path()).unwrap();
    use_it(&root, &desktop, scratch.path());
    // An administrator's choice and the helper's file outlive an upgrade.
    root.write("var/lib/nightjar-helper/limits.json", "{}").unwrap();
    // What `systemctl disable` does.
    let enabled = "etc/systemd/system/sockets.target.wants/nightjar-helper.socket";
    root.run(&["rm", &format!("/{enabled}")]).unwrap();
    install(&root);
    assert!(root.path("var/lib/nightjar-helper/limits.json").exists());
    assert!(root.path(enabled).symlink_metadata().is_err(), "an upgrade enables what was disabled");
    use_it(&root, &desktop, scratch.path());

    // Who removes it does not quit it first.
    let mut app = start(&root, &desktop, scratch.path());
    let said = root.run(&["apt-get", "remove", "-y", "nightjar"]).unwrap();
    ends(&mut app);
    assert!(said.contains("volumes in Docker are kept"), "{said}");
    assert!(root.path("var/lib/nightjar-helper/limits.json").exists(), "removing is not purging");
    assert!(!root.path("usr/bin/nightjar").exists());
    purge(&root);
    assert_eq!(left(&root, &before), Vec::<String>::new());
    // At one go, and with the app running: it has ended before its things in Docker are taken away.
    install(&root);
    let mut app = start(&root, &desktop, scratch.path());
    purge(&root);
    let runs = root.run(&["sh", "-c", "ls -l /proc/[0-9]*/exe 2>/dev/null | grep nightjar-desktop || true"]);
    assert!(!runs.unwrap().contains("/usr/bin/nightjar-desktop"), "{}", app.log());
    ends(&mut app);
    assert_eq!(left(&root, &before), Vec::<String>::new());
}

fn purge(root: &CleanRoot) {
    let said = root.run(&["apt-get", "purge", "-y", "nightjar"]).unwrap();
    assert!(said.contains("renters' volumes stay"), "there is no Docker in there, and it says so: {said}");
}

fn left(root: &CleanRoot, before: &BTreeSet<String>) -> Vec<String> {
    root.files().unwrap().difference(before).cloned().collect()
}
