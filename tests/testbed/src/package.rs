//! A Debian of its own in a folder, to install Nightjar's package in and to take it out again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::base::{SUITE, Scratch, debootstrap};
use crate::desktop::Desktop;
use crate::engine::as_root;
use crate::place::{cache, checkout, programs};
use crate::process::output;

/// What the system keeps of any package: its own books, caches and logs, what is passing, and groups, which Debian never
/// takes away.
const BOOKS: [&str; 8] =
    ["tmp", "run", "var/lib/dpkg", "var/lib/apt", "var/cache", "var/log", "etc/group", "etc/gshadow"];

/// What is mounted before a program of the root is started, in a mount namespace that ends with it.
const ENTER: &str = r#"
root=$1; shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for shared in /tmp/.X11-unix "$NIGHTJAR_ROOT_SHARES"; do
    [ -d "$shared" ] || continue
    mkdir -p "$root$shared"
    mount --bind "$shared" "$root$shared"
done
exec chroot "$root" "$@"
"#;

/// A minimal Debian. It is deleted with this value.
pub struct CleanRoot {
    folder: Scratch,
}

impl CleanRoot {
    /// # Errors
    /// When debootstrap fails.
    pub fn make() -> anyhow::Result<Self> {
        let folder = Scratch(cache().join(format!("clean-root-{}", std::process::id())));
        debootstrap(&folder.0)?;
        let root = Self { folder };
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        if release.contains(&format!("VERSION_CODENAME={SUITE}")) {
            root.takes_sources()?;
        }
        // Nothing in it starts a service.
        root.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")?;
        output(as_root("chmod").arg("755").arg(root.path("usr/sbin/policy-rc.d")))?;
        Ok(root)
    }

    /// Those of the system outside, which is of the same suite, with the proxy and the keys that they may need here.
    fn takes_sources(&self) -> anyhow::Result<()> {
        output(as_root("rm").arg("-f").arg(self.path("etc/apt/sources.list")))?;
        for part in ["sources.list", "sources.list.d", "apt.conf.d", "keyrings", "auth.conf.d"] {
            let from = Path::new("/etc/apt").join(part);
            if from.exists() {
                output(as_root("cp").arg("-a").arg(&from).arg(self.path("etc/apt")))?;
            }
        }
        Ok(())
    }

    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.0.join(inside)
    }

    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, inside: &str, content: &str) -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), content)?;
        output(as_root("install").arg("-D").arg(file.path()).arg(self.path(inside))).map(drop)
    }

    /// A program in there, with an environment as empty as at a login.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = as_root("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-e", "-c", ENTER, "enter"]);
        command.arg(&self.folder.0).args(["env", "--ignore-environment"]);
        command.args([
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LANG=C.UTF-8",
        ]);
        command.args(["DEBIAN_FRONTEND=noninteractive"]).args(words);
        command
    }

    /// The same on a desktop outside. The desktop's folder is seen at the same place in there.
    #[must_use]
    pub fn command_on(&self, desktop: &Desktop, words: &[&str]) -> Command {
        let mut probe = Command::new("true");
        desktop.enter(&mut probe);
        let variables = probe
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value?.to_str()?)));
        let variables: Vec<String> = variables.collect();
        let mut all: Vec<&str> = vec!["env"];
        all.extend(variables.iter().map(String::as_str));
        all.extend(words);
        let mut command = self.command(&all);
        command.env("NIGHTJAR_ROOT_SHARES", desktop.folder());
        command
    }

    /// # Errors
    /// When it fails; what it said is in the error.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        output(&mut self.command(words)).with_context(|| format!("in the clean root: {}", words.join(" ")))
    }

    /// Every file but those in which the system keeps its books.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn files(&self) -> anyhow::Result<BTreeSet<String>> {
        let listed = output(as_root("find").arg(&self.folder.0).args(["-xdev", "-printf", "%P\\n"]))?;
        let is_book = |file: &str| BOOKS.iter().any(|book| file.starts_with(book));
        Ok(listed.lines().filter(|file| !is_book(file)).map(str::to_owned).collect())
    }
}

/// Makes the package of the programs that were built with this one, and gives its place.
///
/// # Errors
/// When it cannot be made; the message says why.
pub fn debian_package() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = programs()?.parent().context("the programs lie in no build folder")?.to_owned();
    let mut command = Command::new(cargo);
    command.args(["xtask", "dist", "--debug"]).current_dir(checkout()).env("CARGO_TARGET_DIR", target);
    let said = output(&mut command)?;
    let package = PathBuf::from(said.lines().last().unwrap_or_default());
    ensure!(package.exists(), "no package was made: {said}");
    Ok(package)
}
