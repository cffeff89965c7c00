//! `bench worker`: how soon a worker can be used, what its fence costs, how exactly it is held to the owner's limits, and
//! what is left of a game's ping beside it; how fast an image comes, and whether any way leads out of the cage. The line's
//! figures are measured in network namespaces with the real gateway.

use std::time::{Duration, Instant};

use anyhow::Context;
use nightjar_core::host::HostState;
use nightjar_core::network::Rates;
use nightjar_core::settings::Settings;
use nightjar_testbed::escapes;
use nightjar_testbed::figures::{Figures, percentile_ms};
use nightjar_testbed::host::{job_state, quick_settings};
use nightjar_testbed::images::Flavour;
use nightjar_testbed::line::flows::{Server, Way};
use nightjar_testbed::line::measure::{live_change, pings, round_trips, shaping_error};
use nightjar_testbed::line::{Gateway, Line};
use nightjar_testbed::process::wait_for;
use nightjar_testbed::renter::{Jupyter, Renter};
use nightjar_testbed::stage::{Stage, Wish};

use crate::common::{IMAGE, SOON};
use crate::pull;

/// Limits that are tried: a slow line's, and a fast one's.
const LIMITS_KBIT: [u32; 3] = [5_000, 20_000, 100_000];
/// A line of a home in a town: far more down than up.
const LINE_KBIT: [(Way, u32); 2] = [(Way::Down, 40_000), (Way::Up, 15_000)];

pub(crate) fn run(figures: &mut Figures, quick: bool) -> anyhow::Result<()> {
    let (leases, trips, changes, seconds) = if quick { (2, 2_000, 6, 20) } else { (10, 20_000, 30, 60) };
    line(figures, trips, changes, Duration::from_secs(seconds))?;
    starts(figures, leases)?;
    pull::bench(figures, quick)?;
    escapes::run(None, &mut |told| eprintln!("{told}"))?.add_to(figures);
    Ok(())
}

fn line(figures: &mut Figures, trips: usize, changes: usize, time: Duration) -> anyhow::Result<()> {
    let wide = Line::lay(None, None).context("no line can be laid on this machine")?;
    let server = Server::start(&wide)?;
    fence(figures, &wide, trips)?;
    let mut worst: f64 = 0.0;
    for kbit in LIMITS_KBIT {
        for way in [Way::Up, Way::Down] {
            let error = shaping_error(&wide, &server, way, kbit, Duration::from_secs(5))?;
            eprintln!("{way:?}, {kbit} kbit/s: {error:+.2} %");
            worst = worst.max(error.abs());
        }
    }
    figures.lower("shaping_error_percent", "%", worst, Some(5.0));
    let mut taken = live_change(&wide, &server, Way::Up, changes)?;
    taken.extend(live_change(&wide, &server, Way::Down, changes)?);
    figures.lower("live_change_ms", "ms", percentile_ms(&taken, 0.5), Some(200.0));
    figures.lower("live_change_p99_ms", "ms", percentile_ms(&taken, 0.99), Some(200.0));
    drop((server, wide));
    for (way, kbit) in LINE_KBIT {
        let pings = pings(way, kbit, Duration::from_secs(30), time)?;
        let added =
            |trips: &[Duration], share: f64| percentile_ms(trips, share) - percentile_ms(&pings.idle, share);
        for (share, suffix) in [(0.5, ""), (0.99, "_p99")] {
            let name = match way {
                Way::Down => format!("ping_added_under_load{suffix}_ms"),
                Way::Up => format!("ping_added_under_upload{suffix}_ms"),
            };
            let figure = figures.lower(&name, "ms", added(&pings.automatic, share), Some(5.0));
            figure.beside("without_automatic", added(&pings.unshaped, share));
        }
        eprintln!("{way:?}: {:.0} % of the line were used meanwhile", pings.used_percent);
    }
    Ok(())
}

/// A small packet's round trip with and without the gateway between tenant and line.
fn fence(figures: &mut Figures, line: &Line, trips: usize) -> anyhow::Result<()> {
    // A processor that was idle is slow to wake, and would make the first of the two the slower one.
    round_trips(line, trips)?;
    let bare = round_trips(line, trips)?;
    let gateway = Gateway::start(line, Rates { up_kbit: 1_000_000, down_kbit: 1_000_000 })?;
    let fenced = round_trips(line, trips)?;
    drop(gateway);
    for (name, share) in [("gateway_added_rtt_us", 0.5), ("gateway_added_rtt_p99_us", 0.99)] {
        let micros = |trips: &[Duration]| percentile_ms(trips, share) * 1_000.0;
        let figure = figures.lower(name, "us", micros(&fenced) - micros(&bare), None);
        figure.beside("round_trip_without", micros(&bare));
    }
    Ok(())
}

/// From the lease's acceptance to a command's answer over SSH, and to JupyterLab's answer.
fn starts(figures: &mut Figures, leases: usize) -> anyhow::Result<()> {
    let stage = Stage::set(&Wish::default(), &mut |step| eprintln!("{step}"))?;
    let settings = Settings { idle_after_ms: 1_000, resume_after_ms: 1_000, ..quick_settings() };
    let (host, _) = stage.host("host", &settings)?;
    let watch = host.watch()?;
    let renter = Renter::log_in(stage.folder(), &stage.market, "1000.00")?;
    let (mut to_ssh, mut to_jupyter, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=leases {
        watch.until("the host waits for a job", SOON, |view| view.state == HostState::Waiting)?;
        wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok()))?;
        let lease = renter.rent(IMAGE)?;
        renter.ssh(&lease, &["true"])?;
        let prompt = Instant::now();
        let jupyter = renter.jupyter(&lease)?;
        wait_for("JupyterLab", SOON, || Ok(answers(&jupyter).then_some(())))?;
        let page = Instant::now();
        let (accepted, _) = watch.until("the job was seen", SOON, |view| job_state(view).is_some())?;
        eprintln!("start {number}: SSH {:?}, JupyterLab {:?}", prompt - accepted, page - accepted);
        to_ssh.push(prompt - accepted);
        to_jupyter.push(page - accepted);
        drop(jupyter);
        renter.run(&["stop", &lease, "--wait"])?;
        bare.push(bare_run(&stage)?);
    }
    let floor = percentile_ms(&bare, 0.5);
    let figure = figures.lower("start_to_ssh_ms", "ms", percentile_ms(&to_ssh, 0.5), Some(2_000.0));
    figure.beside("docker_run_python", floor);
    figures.lower("start_to_ssh_p99_ms", "ms", percentile_ms(&to_ssh, 0.99), None);
    figures.lower("start_to_jupyter_ms", "ms", percentile_ms(&to_jupyter, 0.5), None);
    figures.lower("start_to_jupyter_p99_ms", "ms", percentile_ms(&to_jupyter, 0.99), None);
    Ok(())
}

/// One plain container of the same image, in which Python starts (the lite image has no PyTorch to load): what no start can
/// do without, on this machine at this hour. Ours starts three, with SSH and JupyterLab, and measures the card.
fn bare_run(stage: &Stage) -> anyhow::Result<Duration> {
    let image = Flavour::Lite.reference();
    let began = Instant::now();
    stage.engine.ask([
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "python3",
        &image,
        "-c",
        "pass",
    ])?;
    let taken = began.elapsed();
    eprintln!("a plain container in which Python starts: {taken:?}");
    Ok(taken)
}

fn answers(jupyter: &Jupyter) -> bool {
    let address = format!("http://127.0.0.1:{}/api/status?token={}", jupyter.port, jupyter.token);
    let asked = || -> anyhow::Result<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime
            .block_on(async { reqwest::get(&address).await.map(|answer| answer.status().is_success()) })?)
    };
    asked().unwrap_or(false)
}
