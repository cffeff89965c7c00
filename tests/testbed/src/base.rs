//! A plain Debian as base of the images, made without any image registry.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::engine::{Engine, as_root};
use crate::process::output;

/// What the images are built on where no other base is named.
pub const BASE: &str = "nightjar/base:bookworm";
pub(crate) const SUITE: &str = "bookworm";

/// Makes [`BASE`] unless the Engine has it: `debootstrap` into a folder, and that into the Engine. `told` hears of each
/// step. `NIGHTJAR_DEBIAN_MIRROR` names another mirror than debootstrap's own.
///
/// # Errors
/// When debootstrap is missing or reaches no mirror, or the Engine does not take the image.
pub fn ensure_base(engine: &Engine, told: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    if engine.ask(["image", "inspect", "--format", "{{.Id}}", BASE]).is_ok() {
        return Ok(());
    }
    let started = Instant::now();
    told(&format!("making a minimal Debian {SUITE} by debootstrap: about a minute"));
    let folder = Scratch(crate::place::cache().join(format!("debootstrap-{}", std::process::id())));
    debootstrap(&folder.0)?;
    // Its package files are of no use in an image.
    output(as_root("find").arg(folder.0.join("var/cache/apt/archives")).args(["-name", "*.deb", "-delete"]))?;
    import(engine, &folder.0)?;
    told(&format!("{BASE}: made in {:.0} s", started.elapsed().as_secs_f64()));
    Ok(())
}

/// A minimal Debian in a folder.
pub(crate) fn debootstrap(folder: &Path) -> anyhow::Result<()> {
    let mut command = as_root("debootstrap");
    command.args(["--variant=minbase", SUITE]).arg(folder);
    command.args(std::env::var_os("NIGHTJAR_DEBIAN_MIRROR"));
    output(&mut command)
        .context("debootstrap failed: are debootstrap and debian-archive-keyring installed?")
        .map(drop)
}

fn import(engine: &Engine, folder: &Path) -> anyhow::Result<()> {
    let mut tar = as_root("tar");
    tar.arg("--numeric-owner").arg("-C").arg(folder).args(["-c", "."]);
    let mut tar = tar.stdout(Stdio::piped()).spawn().context("tar cannot be started")?;
    let stream = tar.stdout.take().context("tar's output was asked for")?;
    let import = engine.docker(["import", "-", BASE]).stdin(stream).output()?;
    let packed = tar.wait()?;
    let said = String::from_utf8_lossy(&import.stderr);
    ensure!(import.status.success() && packed.success(), "the Engine did not take the base image: {said}");
    Ok(())
}

/// A folder of root's that goes away also after a failure.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = output(as_root("rm").args(["-rf", "--one-file-system"]).arg(&self.0));
    }
}
