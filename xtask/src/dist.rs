//! `cargo xtask dist`: the Debian package of app, command line and helper.

use std::fs;
use std::path::{Path, PathBuf};

use crate::packages;
use crate::shell::{Done, cargo, program, read, root, step, target_dir};
use crate::steps;

const PROGRAMS: [(&str, &str); 4] = [
    ("nightjar", "usr/bin"),
    ("nightjar-desktop", "usr/bin"),
    ("nightjar-helper", "usr/libexec/nightjar"),
    ("nightjar-window", "usr/libexec/nightjar"),
];
const SHELLS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/nightjar"),
    ("zsh", "usr/share/zsh/vendor-completions/_nightjar"),
    ("fish", "usr/share/fish/vendor_completions.d/nightjar.fish"),
];
/// From, to.
const SCRIPT: (&str, &str) = ("installer/nightjar-repair", "usr/libexec/nightjar/nightjar-repair");
const FILES: [(&str, &str); 11] = [
    ("installer/org.nightjar.repair.policy", "usr/share/polkit-1/actions/org.nightjar.repair.policy"),
    ("installer/nightjar-helper.service", "lib/systemd/system/nightjar-helper.service"),
    ("installer/nightjar-helper.socket", "lib/systemd/system/nightjar-helper.socket"),
    ("installer/nightjar.sysusers.conf", "usr/lib/sysusers.d/nightjar.conf"),
    ("installer/nightjar.desktop", "usr/share/applications/nightjar.desktop"),
    ("installer/debian/copyright", "usr/share/doc/nightjar/copyright"),
    ("images/README.md", "usr/share/doc/nightjar/images.md"),
    (crate::licences::LIST, "usr/share/doc/nightjar/components.tsv"),
    ("icons/app.svg", "usr/share/icons/hicolor/scalable/apps/nightjar.svg"),
    ("icons/app-128.png", "usr/share/icons/hicolor/128x128/apps/nightjar.png"),
    ("icons/app-256.png", "usr/share/icons/hicolor/256x256/apps/nightjar.png"),
];
const MAINTAINER: &str = "The Nightjar developers <developers@nightjar.invalid>";
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Of the release build, or of the one that the tests use.
pub(crate) fn dist(flags: &[&str]) -> Done {
    match flags {
        [] => {
            packages::build()?;
            packages::dist()?;
            steps::ui()?;
            // As for the benches, so that what was measured is what is shipped.
            step("build", &mut cargo(&["build", "--locked", "--release", "--workspace"]))?;
            deb("release")?;
            lintian()
        }
        // For the test of the package, which comes after the build.
        ["--debug"] => {
            packages::dist()?;
            deb("debug")
        }
        other => Err(format!("\"{}\" is no flag of dist: --debug", other.join(" "))),
    }
}

/// Where the packages go.
pub(crate) fn folder() -> PathBuf {
    target_dir().join("dist")
}

fn deb(profile: &str) -> Done {
    let tree = folder().join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)
            .map_err(|error| format!("{} cannot be emptied: {error}", tree.display()))?;
    }
    let binaries = target_dir().join(profile);
    for (name, place) in PROGRAMS {
        let to = copy(&binaries.join(name), &tree.join(place).join(name), 0o755)?;
        if profile == "debug" {
            step("strip", &mut program("strip", &[&text(&to)]))?;
        }
    }
    for (from, to) in FILES {
        copy(&root().join(from), &tree.join(to), 0o644)?;
    }
    copy(&root().join(SCRIPT.0), &tree.join(SCRIPT.1), 0o755)?;
    words(&binaries.join("nightjar"), &tree)?;
    control(&tree)?;
    let package = folder().join(format!("nightjar_{}_{}.deb", version()?, architecture()?));
    // What only a test installs need not be small.
    let packing = if profile == "debug" { ["-Zgzip", "-z1"] } else { ["-Zxz", "-z6"] };
    let args = ["--root-owner-group", packing[0], packing[1], "--build", &text(&tree), &text(&package)];
    step("package", &mut program("dpkg-deb", &args))?;
    println!("{}", package.display());
    Ok(())
}

/// Manual pages and completions, made by the program itself.
fn words(nightjar: &Path, tree: &Path) -> Done {
    let pages = tree.join("usr/share/man/man1");
    step("manual pages", program(nightjar, &["manual", &text(&pages)]).env("NIGHTJAR_LOG", "off"))?;
    copy(&root().join("installer/nightjar-desktop.1"), &pages.join("nightjar-desktop.1"), 0o644)?;
    for page in fs::read_dir(&pages).map_err(|error| error.to_string())?.flatten() {
        gzip(&page.path())?;
    }
    for (shell, place) in SHELLS {
        let script = read(&text(nightjar), &["completions", shell])
            .ok_or_else(|| format!("nightjar completions {shell} failed"))?;
        write(&tree.join(place), &format!("{script}\n"), 0o644)?;
    }
    let changes = tree.join("usr/share/doc/nightjar/changelog");
    copy(&root().join("CHANGELOG.md"), &changes, 0o644)?;
    gzip(&changes)?;
    let packaged = tree.join("usr/share/doc/nightjar/changelog.Debian");
    // The time of the last change, so that the same sources make the same package.
    let at = read("git", &["log", "-1", "--format=%aD"])
        .unwrap_or_else(|| "Thu, 01 Jan 1970 00:00:00 +0000".to_owned());
    let entry = format!(
        "nightjar ({}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {MAINTAINER}  {at}\n",
        version()?
    );
    write(&packaged, &entry, 0o644)?;
    gzip(&packaged)
}

fn control(tree: &Path) -> Done {
    let of = |name: &str| root().join("installer/debian").join(name);
    let template = fs::read_to_string(of("control.in")).map_err(|error| format!("control.in: {error}"))?;
    let control = template
        .replace("@VERSION@", &version()?)
        .replace("@MAINTAINER@", MAINTAINER)
        .replace("@ARCHITECTURE@", &architecture()?)
        .replace("@INSTALLED_SIZE@", &(size(tree) / 1024).to_string())
        .replace("@DEPENDS@", &dependencies(tree)?);
    write(&tree.join("DEBIAN/control"), &control, 0o644)?;
    for script in SCRIPTS {
        copy(&of(script), &tree.join("DEBIAN").join(script), 0o755)?;
    }
    let sums = read(
        "sh",
        &["-c", &format!("cd '{}' && find usr lib -type f -print0 | sort -z | xargs -0 md5sum", text(tree))],
    )
    .ok_or("the files' sums cannot be made")?;
    write(&tree.join("DEBIAN/md5sums"), &format!("{sums}\n"), 0o644)
}

/// The packages of the libraries that the programs are linked with, in the versions that they need.
fn dependencies(tree: &Path) -> Result<String, String> {
    // It wants a source package around it.
    let source = folder().join("source");
    write(
        &source.join("debian/control"),
        "Source: nightjar\n\nPackage: nightjar\nArchitecture: any\n",
        0o644,
    )?;
    let mut command = program("dpkg-shlibdeps", &["-O"]);
    command.current_dir(&source);
    for (name, place) in PROGRAMS {
        command.arg(format!("-e{}", text(&tree.join(place).join(name))));
    }
    let output = command.output().map_err(|error| format!("dpkg-shlibdeps cannot be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let found = said.trim().strip_prefix("shlibs:Depends=").map(str::to_owned);
    found.ok_or_else(|| format!("dpkg-shlibdeps failed: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Debian's own judge. Warnings are shown; an error fails.
fn lintian() -> Done {
    let package = folder().join(format!("nightjar_{}_{}.deb", version()?, architecture()?));
    step("lintian", &mut program("lintian", &["--allow-root", "--fail-on", "error", &text(&package)]))
}

/// The number after the dash is the package's own.
fn version() -> Result<String, String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).map_err(|error| error.to_string())?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    line.map(|version| format!("{}-1", version.trim_matches('"')))
        .ok_or_else(|| "Cargo.toml has no version".to_owned())
}

fn architecture() -> Result<String, String> {
    read("dpkg", &["--print-architecture"])
        .ok_or_else(|| "dpkg does not name this PC's architecture".to_owned())
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Without the time of packing, so that the same input makes the same file.
fn gzip(file: &Path) -> Done {
    let done = program("gzip", &["--best", "--no-name", "--force", &text(file)]).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("{} cannot be packed", file.display())),
    }
}

/// By the program, since this one is also checked where files have no modes.
fn set_mode(file: &Path, mode: u32) -> Done {
    match program("chmod", &[&format!("{mode:o}"), &text(file)]).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("the mode of {} cannot be set", file.display())),
    }
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<PathBuf, String> {
    let failed = |error: std::io::Error| format!("{} cannot be copied: {error}", from.display());
    fs::create_dir_all(to.parent().unwrap_or(to)).map_err(failed)?;
    fs::copy(from, to).map_err(failed)?;
    set_mode(to, mode)?;
    Ok(to.to_owned())
}

fn write(to: &Path, content: &str, mode: u32) -> Done {
    let failed = |error: std::io::Error| format!("{} cannot be written: {error}", to.display());
    fs::create_dir_all(to.parent().unwrap_or(to)).map_err(failed)?;
    fs::write(to, content).map_err(failed)?;
    set_mode(to, mode)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
