//! gVisor, to show that a tenant in it is as fenced as one outside. Debian 12's does not say which drivers it knows: there
//! the one of the release after it is unpacked into the cache, by apt and with its signatures, and nothing of the system
//! is changed.

use std::path::{Path, PathBuf};

use crate::packages::install;
use crate::shell::{Done, cache_dir, program, read, step};

const PACKAGE: &str = "runsc";
/// Of the package, the first version that lists the drivers it knows.
const LISTS_SINCE: &str = "0.0~20240401";
/// Releases whose package is too old, with the one after each.
const NEXT: [(&str, &str); 1] = [("bookworm", "trixie")];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Has one in place, or tells why not: the tests that need it are skipped by name then.
pub(crate) fn place() {
    if lists_drivers("runsc") || lists_drivers(&unpacked().display().to_string()) {
        return;
    }
    let done = if system_has_one() { install(&[PACKAGE]) } else { fetch() };
    if let Err(why) = done {
        eprintln!("no gVisor that lists its drivers, so the tests that need one are skipped: {why}");
    }
}

fn folder() -> PathBuf {
    cache_dir().join("tools").join("runsc")
}

/// Tests look for it here first.
fn unpacked() -> PathBuf {
    folder().join("usr").join("bin").join("runsc")
}

fn lists_drivers(runsc: &str) -> bool {
    read(runsc, &["nvproxy", "list-supported-drivers"]).is_some_and(|drivers| !drivers.is_empty())
}

fn system_has_one() -> bool {
    let shown = read("apt-cache", &["show", "--no-all-versions", PACKAGE]).unwrap_or_default();
    let version = shown.lines().find_map(|line| line.strip_prefix("Version: "));
    version.is_some_and(|version| read("dpkg", &["--compare-versions", version, "ge", LISTS_SINCE]).is_some())
}

fn fetch() -> Done {
    let format = "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)";
    let targets = read("apt-get", &["indextargets", "--format", format, "Created-By: Packages"]);
    let (next, mirror) = next_release(&targets.unwrap_or_default())
        .ok_or("this system's package is too old, and it is no Debian whose next release has a newer one")?;
    let apt = folder().join("apt");
    let made = ["lists/partial", "cache/archives/partial", "packages"].map(|name| apt.join(name));
    for folder in &made {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let sources = apt.join("sources.list");
    let line = format!("deb [signed-by={KEYRING}] {mirror} {next} main\n");
    std::fs::write(&sources, line).map_err(|error| format!("{}: {error}", sources.display()))?;
    let apt_get = |words: &[&str]| {
        let mut command = program("apt-get", &["-qq", "-o", "Dir::Etc::sourceparts=/dev/null"]);
        for (name, value) in [
            ("Etc::sourcelist", &sources),
            ("State::lists", &apt.join("lists")),
            ("Cache", &apt.join("cache")),
        ] {
            command.arg("-o").arg(format!("Dir::{name}={}", value.display()));
        }
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive").current_dir(&made[2]);
        command
    };
    step(
        &format!("refresh the package lists of {next}, apart from the system's"),
        &mut apt_get(&["--error-on=any", "update"]),
    )?;
    step(&format!("fetch {PACKAGE} of {next}"), &mut apt_get(&["download", PACKAGE]))?;
    let package =
        newest(&made[2]).ok_or("apt-get said that it had fetched the package, and it is not there")?;
    step(&format!("unpack {PACKAGE} of {next}"), program("dpkg", &["-x"]).arg(&package).arg(folder()))?;
    let _ = std::fs::remove_dir_all(&apt);
    match lists_drivers(&unpacked().display().to_string()) {
        true => Ok(()),
        false => Err(format!("{} lists no drivers", unpacked().display())),
    }
}

/// The release after this system's, and the mirror that the system takes its own from.
fn next_release(targets: &str) -> Option<(&'static str, String)> {
    targets.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (origin, codename, component) = (words.next()?, words.next()?, words.next()?);
        let (_, next) = NEXT.iter().find(|(old, _)| *old == codename)?;
        (origin == "Debian" && component == "main").then_some((*next, words.next()?.to_owned()))
    })
}

fn newest(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|path| path.extension().is_some_and(|end| end == "deb")).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_that_the_system_uses() {
        let targets = "Other bookworm main https://else.example/debian/\n\
                       Debian bookworm-updates main http://mirror.example/debian/\n\
                       Debian bookworm contrib http://mirror.example/more/\n\
                       Debian bookworm main http://mirror.example/debian/\n";
        assert_eq!(next_release(targets), Some(("trixie", "http://mirror.example/debian/".to_owned())));
        assert_eq!(next_release("Debian trixie main http://mirror.example/debian/\n"), None);
        assert_eq!(next_release(""), None);
    }
}
