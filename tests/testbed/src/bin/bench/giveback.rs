//! `bench giveback`: how fast the owner has the card back, beside BOINC from Debian on the same desktop.

use std::time::Duration;

use nightjar_core::host::HostState;
use nightjar_testbed::boinc::Boinc;
use nightjar_testbed::figures::{Figures, percentile_ms};
use nightjar_testbed::process::wait_for;
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

use crate::common::{Freezes, IMAGE, SOON, bench_settings, freezes_of};
use crate::memory;

pub(crate) fn run(figures: &mut Figures, quick: bool) -> anyhow::Result<()> {
    let (times, peer_times, game_times) = if quick { (20, 5, 10) } else { (200, 30, 30) };
    let stage = Stage::set(&Wish::default(), &mut |step| eprintln!("{step}"))?;
    let settings = bench_settings();
    let (host, _) = stage.host("host", &settings)?;
    let watch = host.watch()?;
    let renter = Renter::log_in(stage.folder(), &stage.market, "1000.00")?;
    watch.until("the host waits for a job", SOON, |view| view.state == HostState::Waiting)?;
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok()))?;
    let lease = renter.rent(IMAGE)?;
    let Freezes { ours, .. } = freezes_of(&stage, &watch, &lease, times)?;
    renter.run(&["stop", &lease, "--wait"])?;
    drop((watch, host));
    memory::run(figures, &stage, &renter, game_times)?;
    let peer = boinc(&stage, peer_times).inspect_err(|error| {
        eprintln!("BOINC cannot be had and is left out: {error:#}");
    });
    let peer = peer.unwrap_or_default();
    let of_peer = |share: f64| (!peer.is_empty()).then(|| percentile_ms(&peer, share));
    // Ten times faster than BOINC's decision, which is before it stops anything.
    let aim = of_peer(0.5).map(|median| median / 10.0);
    for (name, share, aim) in
        [("input_to_frozen_p50_ms", 0.5, aim), ("input_to_frozen_p99_ms", 0.99, Some(60.0))]
    {
        let figure = figures.lower(name, "ms", percentile_ms(&ours, share), aim);
        if let Some(time) = of_peer(share) {
            figure.beside("boinc", time);
        }
    }
    Ok(())
}

/// BOINC's times from an input to its decision, on the same desktop, with nothing of ours running.
fn boinc(stage: &Stage, times: usize) -> anyhow::Result<Vec<Duration>> {
    let boinc = Boinc::start(stage.folder(), &stage.desktop)?;
    let mut mouse = stage.desktop.mouse()?;
    let mut taken = Vec::new();
    for number in 1..=times {
        let after = Duration::from_millis(1_000 + u64::try_from(number * 437 % 3_000)?);
        let time = boinc.sees_input(&mut mouse, after)?;
        eprintln!("BOINC, {number} of {times}: {:.0} ms", time.as_secs_f64() * 1_000.0);
        taken.push(time);
    }
    Ok(taken)
}
