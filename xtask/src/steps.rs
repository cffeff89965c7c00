//! What must hold before anything lands.

use crate::packages;
use crate::shell::{Done, cargo, program, root, step};
use crate::windows;

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
    step("tests", &mut tests)?;
    windows::check(false)
}

/// The page that the window shows.
pub(crate) fn ui() -> Done {
    packages::build()?;
    if !root().join("ui/node_modules/.package-lock.json").exists() || lock_is_newer() {
        step("window: packages", &mut npm(&["ci", "--no-audit", "--no-fund"]))?;
    }
    step("window: page", &mut npm(&["run", "--silent", "build"]))
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
