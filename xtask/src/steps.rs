//! What must hold before anything lands.

use std::path::Path;

use crate::packages;
use crate::shell::{Done, cargo, program, root, step, target_dir};
use crate::windows;

/// How a test's line begins that says what it could not show.
const SKIPPED: &str = "SKIPPED";

pub(crate) fn test() -> Done {
    packages::build()?;
    packages::engine()?;
    packages::desktop()?;
    packages::test_tools()?;
    // The cheap checks first: what fails in a second should not take twenty minutes to say so.
    step("formatting", &mut cargo(&["fmt", "--all", "--check"]))?;
    ui()?;
    step("window: types", &mut npm(&["run", "--silent", "check"]))?;
    step("window: tests", &mut npm(&["run", "--silent", "test"]))?;
    step(
        "lints",
        &mut cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    )?;
    // The end-to-end tests start the real programs and load the stand-in libraries, so these come first.
    step("build", &mut cargo(&["build", "--locked", "--workspace"]))?;
    let mut tests = cargo(&["nextest", "run", "--locked", "--workspace", "--no-fail-fast"]);
    tests.env("NIGHTJAR_TAURI_DRIVER", packages::tauri_driver());
    let done = step("tests", &mut tests);
    tell_skipped(&target_dir().join("nextest/default/junit.xml"));
    done?;
    windows::check(false)
}

/// What this machine lacked, so that a test had less to show: nextest keeps silent about tests that pass.
fn tell_skipped(report: &Path) {
    let report = std::fs::read_to_string(report).unwrap_or_default();
    let skipped = skipped(&report);
    println!("what tests could not show on this machine: {}", skipped.len());
    for line in skipped {
        println!("  {line}");
    }
}

/// Lines of the tests' output, once each, without the report's marks around them.
fn skipped(report: &str) -> Vec<String> {
    let mut found: Vec<String> = report
        .lines()
        .filter_map(|line| line.find(SKIPPED).map(|at| &line[at + SKIPPED.len()..]))
        .map(|line| line.split('<').next().unwrap_or_default().trim_start_matches(':').trim().to_owned())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The page that the window shows.
pub(crate) fn ui() -> Done {
    packages::build()?;
    refuse_a_link(&root().join("ui/node_modules"))?;
    if !root().join("ui/node_modules/.package-lock.json").exists() || lock_is_newer() {
        step("window: packages", &mut npm(&["ci", "--no-audit", "--no-fund"]))?;
    }
    step("window: page", &mut npm(&["run", "--silent", "build"]))
}

/// npm writes through such a link, into what another checkout uses, and puts a folder in its place half way.
fn refuse_a_link(folder: &Path) -> Done {
    if !folder.is_symlink() {
        return Ok(());
    }
    let points_to = folder.read_link().map(|path| path.display().to_string()).unwrap_or_default();
    Err(format!(
        "{} is a symbolic link, to {points_to}: npm breaks what it points to. Remove the link (`rm {0}`) and run this again, \
         which installs the packages here",
        folder.display()
    ))
}

fn lock_is_newer() -> bool {
    let changed = |path: &str| root().join(path).metadata().and_then(|found| found.modified()).ok();
    changed("ui/package-lock.json") > changed("ui/node_modules/.package-lock.json")
}

pub(crate) fn bindings() -> Done {
    let mut command = cargo(&["test", "--quiet", "-p", "nightjar-protocol", "--test", "bindings"]);
    command.env("NIGHTJAR_UPDATE_BINDINGS", "1");
    step("bindings", &mut command)
}

fn npm(args: &[&str]) -> std::process::Command {
    let mut command = program("npm", args);
    command.current_dir(root().join("ui"));
    command
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_told_once() {
        let report = "<system-out>SKIPPED: no root\nmore</system-out>\n<system-err>x\nSKIPPED hook: b</system-err>\nSKIPPED: no root\n";
        assert_eq!(skipped(report), ["hook: b", "no root"]);
    }

    #[test]
    fn packages_behind_a_link_are_refused() {
        let folder = std::env::temp_dir().join(format!("nightjar-xtask-{}", std::process::id()));
        let (there, here) = (folder.join("there"), folder.join("node_modules"));
        std::fs::create_dir_all(&there).unwrap();
        assert_eq!(refuse_a_link(&here), Ok(()), "nothing is there yet");
        assert_eq!(refuse_a_link(&there), Ok(()));
        std::os::unix::fs::symlink(&there, &here).unwrap();
        let refused = refuse_a_link(&here).unwrap_err();
        assert!(refused.contains(&format!("rm {}", here.display())), "{refused}");
        std::fs::remove_dir_all(&there).unwrap();
        assert!(refuse_a_link(&here).is_err(), "also one that points nowhere");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
