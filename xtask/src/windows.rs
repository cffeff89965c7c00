//! Type-checks for Windows from Debian, whose own compiler brings its library's source: no toolchain is fetched.

use crate::packages;
use crate::shell::{Done, cargo, read, step, target_dir};

/// What runs on Linux alone: process 1 of a container, and the stage that tests stand on.
const LINUX_ONLY: [&str; 3] = ["nightjar-guest", "nightjar-testbed", "nightjar-e2e"];

/// Debian's compiler that is kept up with browsers.
const COMPILER: &str = "/usr/bin/rustc";

pub(crate) fn check(with_desktop: bool) -> Done {
    packages::windows()?;
    let Some(version) = read(COMPILER, &["--version"]) else {
        return Err(format!("{COMPILER} does not answer; the package rustc-web brings it"));
    };
    eprintln!("    Windows is checked with {version}");
    let mut args = vec!["check", "--locked", "--workspace", "-Zbuild-std=std,panic_abort"];
    args.extend(["--target", "x86_64-pc-windows-gnu", "--ignore-rust-version"]);
    for package in LINUX_ONLY {
        args.extend(["--exclude", package]);
    }
    if !with_desktop {
        args.extend(["--exclude", "nightjar-desktop"]);
    }
    let mut command = cargo(&args);
    command
        .env("RUSTC", COMPILER)
        // Debian's compiler is of the stable channel; building its own library needs this.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target_dir().join("windows"))
        .env_remove("RUSTUP_TOOLCHAIN");
    step("Windows", &mut command)
}
