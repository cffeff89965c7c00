//! `cargo xtask bench NAME`: measures on the release build. Progress goes to standard error.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use nightjar_core::host::HostState;
use nightjar_core::lease::LeaseState;
use nightjar_core::settings::Settings;
use nightjar_testbed::figures::{Figures, percentile_ms};
use nightjar_testbed::footprint::{marked, measure};
use nightjar_testbed::freezer::Freezer;
use nightjar_testbed::host::{Host, Watch, job_state, quick_settings, text};
use nightjar_testbed::process::{output, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(60);
const IMAGE: &str = "pytorch-cuda:lite";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let mut figures = Figures::new("first");
    match first(&mut figures, has("--quick")) {
        Ok(()) => {
            eprint!("\n{}", figures.table());
            if has("--json") {
                match serde_json::to_string(&figures) {
                    Ok(json) => println!("{json}"),
                    Err(error) => eprintln!("the figures cannot be written: {error}"),
                }
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the bench failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn first(figures: &mut Figures, quick: bool) -> anyhow::Result<()> {
    let (freezes, leases, stretch) = if quick { (20, 2, 10) } else { (200, 5, 60) };
    let stage = Stage::set(&Wish::default(), &mut |step| eprintln!("{step}"))?;
    let settings = Settings { idle_after_ms: 1_000, resume_after_ms: 1_000, ..quick_settings() };
    let (host, _) = stage.host("host", &settings)?;
    let watch = host.watch()?;
    let renter = Renter::log_in(stage.folder(), &stage.market, "1000.00")?;
    let lease = starts(&stage, &watch, &renter, leases, figures)?;
    freeze(&stage, &watch, &lease, freezes, figures)?;
    renter.run(&["stop", &lease, "--wait"])?;
    drop(watch);
    let app = host.into_app()?;
    closed(&stage, &app, Duration::from_secs(stretch), figures)
}

/// From the lease's acceptance to a command's answer over SSH. Leaves the last lease running.
fn starts(
    stage: &Stage,
    watch: &Watch,
    renter: &Renter,
    times: usize,
    figures: &mut Figures,
) -> anyhow::Result<String> {
    let mut taken = Vec::new();
    let mut running: Option<String> = None;
    for number in 1..=times {
        if let Some(before) = running.take() {
            renter.run(&["stop", &before, "--wait"])?;
        }
        watch.until("the host waits for a job", SOON, |view| view.state == HostState::Waiting)?;
        wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok()))?;
        let lease = renter.rent(IMAGE)?;
        renter.ssh(&lease, &["true"])?;
        let prompt = Instant::now();
        let (accepted, _) = watch.until("the job was seen", SOON, |view| job_state(view).is_some())?;
        eprintln!("start {number}: {:.2} s", (prompt - accepted).as_secs_f64());
        taken.push(prompt - accepted);
        running = Some(lease);
    }
    figures.lower("accepted_to_ssh_p50_ms", "ms", percentile_ms(&taken, 0.5), Some(2_000.0));
    figures.lower("accepted_to_ssh_worst_ms", "ms", percentile_ms(&taken, 1.0), Some(2_000.0));
    let lease = running.ok_or_else(|| anyhow::anyhow!("no lease was started"))?;
    stage.worker(&lease)?;
    Ok(lease)
}

/// Input to frozen, by turns with a bare `pause` of the same container over the same socket.
fn freeze(
    stage: &Stage,
    watch: &Watch,
    lease: &str,
    times: usize,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let worker = stage.worker(lease)?;
    let freezer = stage.freezer(lease)?;
    let mut mouse = stage.desktop.mouse()?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for number in 1..=times {
        watch.until("the job runs", SOON, |view| job_state(view) == Some(LeaseState::Running))?;
        // Somewhere in the host's heartbeat, not always at the same place of it.
        std::thread::sleep(Duration::from_millis(u64::try_from(number * 37 % 400)?));
        let moved = Instant::now();
        mouse.twitch()?;
        ours.push(freezer.until(true, SOON)? - moved);
        // While it is frozen anyway, the floor: thaw and pause it by hand, and leave it as it was.
        match bare_pause(stage, &worker, &freezer) {
            Ok(taken) => bare.push(taken),
            // The host may thaw or freeze it in just that moment; the container is then as the host wants it.
            Err(error) => eprintln!("one bare pause is left out: {error:#}"),
        }
        if number % 20 == 0 {
            eprintln!("{number} of {times} freezes");
        }
    }
    anyhow::ensure!(bare.len() > times / 2, "too few bare pauses to compare with: {}", bare.len());
    let p50 = percentile_ms(&ours, 0.5);
    figures
        .lower("input_to_frozen_p50_ms", "ms", p50, None)
        .beside("docker_pause", percentile_ms(&bare, 0.5));
    let p99 = percentile_ms(&ours, 0.99);
    figures
        .lower("input_to_frozen_p99_ms", "ms", p99, Some(60.0))
        .beside("docker_pause", percentile_ms(&bare, 0.99));
    Ok(())
}

fn bare_pause(stage: &Stage, worker: &str, freezer: &Freezer) -> anyhow::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let socket = stage.engine.socket();
    runtime.block_on(async {
        let engine = bollard::Docker::connect_with_unix(&text(&socket), 30, bollard::API_DEFAULT_VERSION)?;
        engine.ping().await?;
        engine.unpause_container(worker).await?;
        let asked = Instant::now();
        engine.pause_container(worker).await?;
        Ok(freezer.until(true, SOON)? - asked)
    })
}

/// The app after its window was opened and closed.
fn closed(stage: &Stage, app: &Host, stretch: Duration, figures: &mut Figures) -> anyhow::Result<()> {
    let window = wait_for("the app's window", SOON, || {
        let mut list = Command::new("wmctrl");
        stage.desktop.enter(list.arg("-l"));
        let listed = output(&mut list).unwrap_or_default();
        let line = listed.lines().find(|line| line.contains("Nightjar"));
        Ok(line.and_then(|line| line.split_whitespace().next()).map(str::to_owned))
    })?;
    // Long enough that the page was drawn.
    std::thread::sleep(Duration::from_secs(3));
    let mut close = Command::new("wmctrl");
    stage.desktop.enter(close.args(["-i", "-c", &window]));
    output(&mut close)?;
    std::thread::sleep(Duration::from_secs(10));
    let mark = format!("NIGHTJAR_DATA_DIR={}", text(&app.around.folder.join("data")));
    eprintln!("the app is {:?}, measured for {stretch:?}", marked(&mark));
    let cost = measure(&mark, stretch)?;
    eprintln!("{cost:?}");
    figures.lower("closed_pss_mib", "MiB", cost.pss_mib, Some(100.0));
    figures.lower("closed_pss_anonymous_mib", "MiB", cost.pss_anonymous_mib, None);
    figures.lower("closed_cpu_percent_of_core", "%", cost.cpu_percent_of_core, Some(0.1));
    figures.lower("closed_wakeups_per_s", "1/s", cost.wakeups_per_s, Some(5.0));
    Ok(())
}
