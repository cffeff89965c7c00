//! The units of `installer/`: systemd takes them, every setting has its reason, and what they name is what the program
//! knows.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Command;

use nightjar_helper::peer::GROUP;
use nightjar_protocol::helper::HELPER_SOCKET;

fn installer() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../installer")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(installer().join(name)).unwrap()
}

#[test]
fn every_setting_has_a_comment_before_it() {
    for name in ["nightjar-helper.service", "nightjar-helper.socket", "nightjar.sysusers.conf"] {
        let text = text(name);
        let mut before = "";
        for line in text.lines() {
            let says_itself =
                ["Description=", "ExecStart=", "DeviceAllow="].iter().any(|own| line.starts_with(own));
            let is_setting = !line.is_empty() && !line.starts_with(['#', '[']);
            assert!(!is_setting || says_itself || before.starts_with('#'), "{name}: {line} has no reason");
            before = line;
        }
    }
}

#[test]
fn the_units_and_the_program_agree() {
    assert!(text("nightjar-helper.socket").contains(&format!("ListenStream={HELPER_SOCKET}\n")));
    assert!(text("nightjar.sysusers.conf").contains(&format!("g {GROUP} -")));
    let service = text("nightjar-helper.service");
    assert!(service.contains("StateDirectory=nightjar-helper\n"));
    for (setting, why) in
        [("ProtectControlGroups=no", "it freezes"), ("CAP_KILL", "it ends"), ("CAP_SYS_ADMIN", "limits")]
    {
        assert!(service.contains(setting), "{setting}: {why}");
    }
}

#[test]
fn systemd_takes_them() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: this machine has no systemd-analyze");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Verified with a program that is there, in the place of the installed one.
    let service =
        text("nightjar-helper.service").replace("/usr/libexec/nightjar/nightjar-helper", "/bin/true");
    std::fs::write(folder.path().join("nightjar-helper.service"), service).unwrap();
    std::fs::write(folder.path().join("nightjar-helper.socket"), text("nightjar-helper.socket")).unwrap();
    let out = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(folder.path().join("nightjar-helper.service"))
        .arg(folder.path().join("nightjar-helper.socket"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("nightjar-helper")).collect();
    assert!(ours.is_empty(), "{said}");
}
