//! How fast an image comes from a registry into the Engine, beside `docker pull` of the same.

use std::path::Path;
use std::time::Instant;

use nightjar_core::time::Timestamp;
use nightjar_testbed::catalogue::{self, Entry};
use nightjar_testbed::engine::{Engine, EngineOptions};
use nightjar_testbed::figures::Figures;
use nightjar_testbed::images::{self, Flavour};
use nightjar_testbed::registry::Registry;
use nightjar_worker::pull::Wanted;
use nightjar_worker::{EngineAddress, Workers, WorkersConfig};
use tokio::sync::{mpsc, watch};

/// Of what `docker pull` does.
const AIM: f64 = 0.95;
const NAME: &str = "bench:test";
/// More than it can be.
const SIZE_MIB: u64 = 4_096;

/// `bench pull`: that alone.
pub(crate) fn bench(figures: &mut Figures, quick: bool) -> anyhow::Result<()> {
    run(figures, if quick { 1 } else { 5 })
}

fn run(figures: &mut Figures, rounds: usize) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("nightjar-").tempdir()?;
    let registry = Registry::start(folder.path())?;
    let engine = Engine::start(EngineOptions::cached())?;
    images::pytorch_cuda(&engine, Flavour::Lite, &mut |step| eprintln!("{step}"))?;
    let digest = registry.push(&engine, &Flavour::Lite.reference(), "nightjar/bench")?;
    engine.stop()?;
    #[expect(clippy::cast_precision_loss, reason = "some hundred MiB")]
    let mib = registry.bytes()? as f64 / f64::from(1 << 20);
    // One that has none of its layers.
    let options = EngineOptions { folder: folder.path().join("engine"), ..EngineOptions::cached() };
    let engine = Engine::start(options)?;
    let repository = format!("127.0.0.1:{}/nightjar/bench", registry.port());
    let (mut ours, mut dockers) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let began = Instant::now();
        pull(&engine, &folder.path().join(format!("round-{round}")), &repository, &digest)?;
        ours.push(mib / began.elapsed().as_secs_f64());
        engine.ask(["image", "prune", "--all", "--force"])?;
        let began = Instant::now();
        engine.ask(["pull", "--quiet", &format!("{repository}@{digest}")])?;
        dockers.push(mib / began.elapsed().as_secs_f64());
        engine.ask(["image", "prune", "--all", "--force"])?;
        eprintln!(
            "pull {round} of {mib:.0} MiB: {:.1} MiB/s, docker {:.1}",
            ours[round - 1],
            dockers[round - 1]
        );
    }
    let docker = median(&mut dockers);
    let figure = figures.higher("pull_mib_s", "MiB/s", median(&mut ours), Some(AIM * docker));
    figure.beside("docker_pull", docker);
    Ok(())
}

/// Into the Engine, by the product's puller, as fast as the line is.
fn pull(engine: &Engine, folder: &Path, repository: &str, digest: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("catalogue.toml");
    let entry = Entry {
        name: "bench".into(),
        repository: repository.into(),
        digest: digest.into(),
        size_mib: SIZE_MIB,
    };
    let key = catalogue::write(&path, &[entry])?;
    let mut config = WorkersConfig::shipped(EngineAddress::Unix(engine.socket()))?;
    let signature = std::fs::read_to_string(path.with_extension("toml.sig"))?;
    config.catalogue = config.catalogue.with_own(&std::fs::read_to_string(&path)?, &signature, &key)?;
    config.images = Some(folder.join("images"));
    let workers = Workers::new(config, None, mpsc::unbounded_channel().0)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (_hold, is_held) = watch::channel(false);
    let wanted = Wanted { name: NAME, quota_bytes: u64::MAX, now: Timestamp(0) };
    runtime.block_on(workers.puller().pull(&wanted, is_held, &mut |_| {}))?;
    Ok(())
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(0.0)
}
