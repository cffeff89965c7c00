//! What a fresh Debian 12 or Ubuntu 24.04 lacks, installed once.

use std::process::Command;

use crate::shell::{Done, cache_dir, cargo, program, read, step};

/// To build the workspace, the desktop app with it.
const BUILD: &[&str] = &[
    "build-essential",
    "cmake",
    "pkg-config",
    "libwebkit2gtk-4.1-dev",
    "librsvg2-dev",
    "libdbus-1-dev",
    "libudev-dev",
];

/// The worker's world: an Engine of our own, a base image, the tools that look at it.
const ENGINE: &[&str] = &[
    "docker.io",
    "containerd",
    "runc",
    "debootstrap",
    "debian-archive-keyring",
    "iptables",
    "iproute2",
    "nftables",
    "openssh-client",
    "curl",
    "docker-registry",
    "openssl",
];

/// A desktop without a screen.
const DESKTOP: &[&str] = &[
    "xvfb",
    "x11-utils",
    "dbus",
    "dbus-x11",
    "openbox",
    "kwin-wayland",
    "dunst",
    "sqlite3",
    "gnome-keyring",
    "libsecret-tools",
    "webkit2gtk-driver",
    "chromium",
    "chromium-driver",
    "wmctrl",
    "xfce4-panel",
    // Keeps that one's settings; a test starts it by itself.
    "xfconf",
    "xdotool",
    "imagemagick",
    "fonts-noto-cjk",
];

/// What the benches compare with.
const PEERS: &[&str] = &["boinc-client", "boinc-manager"];

/// To make and to judge a package.
const DIST: &[&str] = &["dpkg-dev", "lintian"];

const WINDOWS: &[&str] =
    &["rustc-web", "rust-web-src", "libstd-rust-web-dev", "gcc-mingw-w64-x86-64", "g++-mingw-w64-x86-64"];

/// Version that the desktop tests were written against.
const TAURI_DRIVER: &str = "2.0.6";

pub(crate) fn build() -> Done {
    install(BUILD)?;
    if read("npm", &["--version"]).is_none() {
        install(&["nodejs", "npm"])?;
    }
    Ok(())
}

pub(crate) fn engine() -> Done {
    install(ENGINE)?;
    crate::sandbox::place();
    Ok(())
}

pub(crate) fn desktop() -> Done {
    install(DESKTOP)
}

pub(crate) fn openssl() -> Done {
    install(&["openssl"])
}

pub(crate) fn peers() -> Done {
    install(PEERS)
}

pub(crate) fn dist() -> Done {
    install(DIST)
}

pub(crate) fn windows() -> Done {
    install(WINDOWS)
}

/// The test runner and the window's driver, from the crate registry.
pub(crate) fn test_tools() -> Done {
    if read("cargo", &["nextest", "--version"]).is_none() {
        step("install cargo-nextest", &mut cargo(&["install", "cargo-nextest", "--locked"]))?;
    }
    let driver = tauri_driver();
    if !driver.exists() {
        let folder = cache_dir().join("tools").display().to_string();
        let args = ["install", "tauri-driver", "--version", TAURI_DRIVER, "--locked", "--root", &folder];
        step("install tauri-driver", &mut cargo(&args))?;
    }
    Ok(())
}

pub(crate) fn tauri_driver() -> std::path::PathBuf {
    cache_dir().join("tools").join("bin").join("tauri-driver")
}

pub(crate) fn everything() -> Done {
    build()?;
    engine()?;
    desktop()?;
    windows()?;
    test_tools()
}

/// Installs those that are missing, in one go.
pub(crate) fn install(packages: &[&str]) -> Done {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if read("apt-get", &["--version"]).is_none() {
        return Err(format!(
            "these packages are missing, and this system has no apt-get: {}; install what your system calls them",
            missing.join(" ")
        ));
    }
    step("refresh the package lists", &mut as_root(&["apt-get", "-qq", "update"]))?;
    let mut args = vec!["apt-get", "install", "-qq", "-y", "--no-install-recommends"];
    args.extend(&missing);
    step(&format!("install {}", missing.join(" ")), &mut as_root(&args))
}

fn is_installed(package: &str) -> bool {
    read("dpkg-query", &["-W", "-f=${Status}", package])
        .is_some_and(|status| status.ends_with("install ok installed"))
}

/// The same command by sudo where this is not root already.
pub(crate) fn as_root(args: &[&str]) -> Command {
    let is_root = read("id", &["-u"]).is_some_and(|id| id == "0");
    let mut command = if is_root {
        program("env", &["DEBIAN_FRONTEND=noninteractive"])
    } else {
        program("sudo", &["env", "DEBIAN_FRONTEND=noninteractive"])
    };
    command.args(args);
    command
}
