//! `bench first`: a lease's start, the freeze beside a bare `docker pause`, and the app with its window closed.

use std::time::{Duration, Instant};

use nightjar_core::host::HostState;
use nightjar_core::settings::Settings;
use nightjar_testbed::figures::{Figures, percentile_ms};
use nightjar_testbed::footprint::{marked, measure};
use nightjar_testbed::host::{Host, Watch, job_state, quick_settings};
use nightjar_testbed::process::wait_for;
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

use crate::common::{Freezes, IMAGE, SOON, freezes_of, opened_and_closed};

pub(crate) fn run(figures: &mut Figures, quick: bool) -> anyhow::Result<()> {
    let (freezes, leases, stretch) = if quick { (20, 2, 10) } else { (200, 5, 60) };
    let stage = Stage::set(&Wish::default(), &mut |step| eprintln!("{step}"))?;
    let settings = Settings { idle_after_ms: 1_000, resume_after_ms: 1_000, ..quick_settings() };
    let (host, _) = stage.host("host", &settings)?;
    let watch = host.watch()?;
    let renter = Renter::log_in(stage.folder(), &stage.market, "1000.00")?;
    let lease = starts(&stage, &watch, &renter, leases, figures)?;
    let Freezes { ours, bare } = freezes_of(&stage, &watch, &lease, freezes)?;
    for (name, share, aim) in
        [("input_to_frozen_p50_ms", 0.5, None), ("input_to_frozen_p99_ms", 0.99, Some(60.0))]
    {
        let floor = percentile_ms(&bare, share);
        figures.lower(name, "ms", percentile_ms(&ours, share), aim).beside("docker_pause", floor);
    }
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

/// The app after its window was opened and closed.
fn closed(stage: &Stage, app: &Host, stretch: Duration, figures: &mut Figures) -> anyhow::Result<()> {
    let mark = opened_and_closed(&stage.desktop, app)?;
    eprintln!("the app is {:?}, measured for {stretch:?}", marked(&mark));
    let cost = measure(&mark, stretch)?;
    eprintln!("{cost:?}");
    figures.lower("closed_pss_mib", "MiB", cost.pss_mib, Some(100.0));
    figures.lower("closed_pss_anonymous_mib", "MiB", cost.pss_anonymous_mib, None);
    figures.lower("closed_cpu_percent_of_core", "%", cost.cpu_percent_of_core, Some(0.1));
    figures.lower("closed_wakeups_per_s", "1/s", cost.wakeups_per_s, Some(5.0));
    Ok(())
}
