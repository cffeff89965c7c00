//! The images of the product, built into a private Engine when they are missing or what they are made of has changed.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::base::{BASE, ensure_base};
use crate::engine::Engine;
use crate::place;
use crate::process::tail;

/// The gateway's image.
pub const GATEWAY: &str = "nightjar/gateway:dev";

/// What of the worker's image is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Without PyTorch: what tests use.
    Lite,
    /// With PyTorch: 7 GiB.
    Full,
}

impl Flavour {
    /// As in the catalogue.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Lite => "lite",
            Flavour::Full => "full",
        }
    }

    /// The image's name in a lease.
    #[must_use]
    pub fn catalogue_name(self) -> String {
        format!("pytorch-cuda:{}", self.name())
    }

    /// The image's name in the Engine.
    #[must_use]
    pub fn reference(self) -> String {
        format!("nightjar/pytorch-cuda:{}", self.name())
    }
}

/// Builds the gateway's image when it is missing or out of date. `told` hears of each step.
///
/// # Errors
/// When a build fails; the end of its output is in the error.
pub fn gateway(engine: &Engine, told: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    ensure_base(engine, told)?;
    build(engine, "gateway", GATEWAY, BASE, &[], told)?;
    Ok(())
}

/// The same for the worker's image. `NIGHTJAR_IMAGE_BASE` names another base than the Debian that is made here.
///
/// # Errors
/// As for [`gateway`].
pub fn pytorch_cuda(engine: &Engine, flavour: Flavour, told: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    let base = std::env::var("NIGHTJAR_IMAGE_BASE").unwrap_or_else(|_| BASE.to_owned());
    if base == BASE {
        ensure_base(engine, told)?;
    }
    let argument = format!("FLAVOUR={}", flavour.name());
    let built = build(engine, "pytorch-cuda", &flavour.reference(), &base, &[argument], told)?;
    if built && flavour == Flavour::Full {
        // The stage in which pip ran holds PyTorch a second time.
        engine.ask(["image", "prune", "--force", "--filter", "label=nightjar.stage=packages"])?;
    }
    Ok(())
}

/// One of the images that are made on the worker's layer, without what needs a card: `llm-inference`, `rapids` or
/// `tensorflow-cuda`. Its name in a lease is that with `:lite` after it.
///
/// # Errors
/// As for [`gateway`].
pub fn lite(engine: &Engine, name: &str, told: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    pytorch_cuda(engine, Flavour::Lite, told)?;
    let reference = format!("nightjar/{name}:{}", Flavour::Lite.name());
    let argument = format!("FLAVOUR={}", Flavour::Lite.name());
    if build(engine, name, &reference, &Flavour::Lite.reference(), &[argument], told)? {
        engine.ask(["image", "prune", "--force", "--filter", "label=nightjar.stage=packages"])?;
    }
    Ok(())
}

/// Gives whether it had to be built.
fn build(
    engine: &Engine,
    folder: &str,
    reference: &str,
    base: &str,
    arguments: &[String],
    told: &mut dyn FnMut(&str),
) -> anyhow::Result<bool> {
    let context = tempfile::tempdir()?;
    fill_context(folder, context.path())?;
    let inputs = inputs(engine, context.path(), base, arguments)?;
    let label = ["image", "inspect", "--format", "{{index .Config.Labels \"nightjar.inputs\"}}", reference];
    if engine.ask(label).is_ok_and(|present| present == inputs) {
        return Ok(false);
    }
    let started = Instant::now();
    let log = place::cache().join(format!("build-{}.log", reference.replace(['/', ':'], "-")));
    told(&format!("building {reference}; its output goes to {}", log.display()));
    add_certificates(context.path())?;
    let file = File::create(&log)?;
    let mut command = engine.docker(["build", "--network", "host", "--tag", reference]);
    // The classic builder is in every Engine; the other needs a plug-in of Docker's command line.
    command.env("DOCKER_BUILDKIT", "0");
    for argument in build_arguments(base, &inputs).into_iter().chain(arguments.iter().map(OsString::from)) {
        command.arg("--build-arg").arg(argument);
    }
    command.arg(context.path()).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let status = command.status().context("docker cannot be started")?;
    if !status.success() {
        let said = fs::read_to_string(&log).unwrap_or_default();
        bail!("{reference} was not built ({status}):\n{}", tail(&said));
    }
    // The one that had this name before.
    engine.ask(["image", "prune", "--force", "--filter", "label=nightjar.inputs"])?;
    let size = engine.ask(["image", "inspect", "--format", "{{.Size}}", reference])?;
    let size_mib = size.parse::<u64>().unwrap_or_default() / (1024 * 1024);
    told(&format!("{reference}: {size_mib} MiB, built in {:.0} s", started.elapsed().as_secs_f64()));
    Ok(true)
}

/// The image's folder and process 1.
fn fill_context(folder: &str, context: &Path) -> anyhow::Result<()> {
    let source = place::checkout().join("images").join(folder);
    for entry in fs::read_dir(&source).with_context(|| format!("cannot read {}", source.display()))? {
        let entry = entry?;
        fs::copy(entry.path(), context.join(entry.file_name()))?;
    }
    let (built, copy) = (place::program("nightjar-guest")?, context.join("nightjar-guest"));
    // Symbols are of no use in an image; where there is no `strip` they come with it.
    let stripped = Command::new("strip").arg("-o").arg(&copy).arg(&built).status();
    if !stripped.is_ok_and(|status| status.success()) {
        fs::copy(&built, &copy)?;
    }
    Ok(())
}

/// What the build trusts beside the base's own certificates: a network may open TLS with some of its own.
fn add_certificates(context: &Path) -> anyhow::Result<()> {
    let named = ["PIP_CERT", "SSL_CERT_FILE"].iter().filter_map(std::env::var_os).map(PathBuf::from);
    let usual = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"].map(PathBuf::from);
    let bundle = named.chain(usual).find(|path| path.is_file());
    let bytes = bundle.map(fs::read).transpose()?.unwrap_or_default();
    Ok(fs::write(context.join("ca-bundle.crt"), bytes)?)
}

fn build_arguments(base: &str, inputs: &str) -> Vec<OsString> {
    let mut arguments = vec![format!("BASE={base}").into(), format!("INPUTS={inputs}").into()];
    // By name alone, so that an index's password is not in a command line: Docker takes the value from the environment.
    let passed = [
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
    ];
    arguments.extend(passed.into_iter().filter(|name| std::env::var_os(name).is_some()).map(OsString::from));
    arguments
}

/// A mark of everything that the image is made of. The hash may differ in another toolchain, which costs one build.
fn inputs(engine: &Engine, context: &Path, base: &str, arguments: &[String]) -> anyhow::Result<String> {
    let mut hasher = DefaultHasher::new();
    let base_id =
        engine.ask(["image", "inspect", "--format", "{{.Id}}", base]).unwrap_or_else(|_| base.to_owned());
    hasher.write(base_id.as_bytes());
    arguments.iter().for_each(|argument| hasher.write(argument.as_bytes()));
    let mut files: Vec<PathBuf> =
        fs::read_dir(context)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    for file in files {
        hasher.write(file.file_name().unwrap_or_default().as_encoded_bytes());
        hasher.write(&fs::read(&file)?);
    }
    Ok(format!("{:016x}", hasher.finish()))
}
