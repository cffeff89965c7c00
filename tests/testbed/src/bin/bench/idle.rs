//! `bench idle`: what the app costs while there is nothing to do, its window opened and closed and the card asleep,
//! beside BOINC's client and manager. One after the other: programs that run together share pages and look small.

use std::time::Duration;

use anyhow::Context;
use nightjar_core::host::HostState;
use nightjar_sim::wire::{CardStats, Control};
use nightjar_testbed::boinc::{Boinc, MARK};
use nightjar_testbed::figures::Figures;
use nightjar_testbed::footprint::{Footprint, marked, measure};
use nightjar_testbed::host::{quick_settings, text};
use nightjar_testbed::stage::{Cards, Stage, Wish};

use crate::common::{SOON, opened_and_closed};

pub(crate) fn run(figures: &mut Figures, quick: bool) -> anyhow::Result<()> {
    let stretch = Duration::from_secs(if quick { 60 } else { 600 });
    let stage = Stage::set(&Wish::default(), &mut |step| eprintln!("{step}"))?;
    let (cost, calls) = ours(&stage, stretch)?;
    eprintln!("{cost:?}, {calls} NVML calls while the card slept");
    let peers = boinc(&stage, stretch).inspect_err(|error| {
        eprintln!("BOINC cannot be had and is left out: {error:#}");
    });
    let (client, manager) = peers.ok().unzip();
    let pair = client.zip(manager).map(|(client, manager)| client.pss_mib + manager.pss_mib);
    let mut figure = |name: &str, unit, value, aim, peer: Option<(&str, f64)>| {
        let figure = figures.lower(name, unit, value, aim);
        if let Some((peer, value)) = peer {
            figure.beside(peer, value);
        }
    };
    let alone = |of: fn(&Footprint) -> f64| client.as_ref().map(|client| ("boinc", of(client)));
    let pair = pair.map(|pss| ("boinc_pair", pss));
    figure("pss_mib", "MiB", cost.pss_mib, Some(100.0), pair);
    figure("pss_anonymous_mib", "MiB", cost.pss_anonymous_mib, None, None);
    let cpu = alone(|client| client.cpu_percent_of_core);
    figure("cpu_percent_of_core", "%", cost.cpu_percent_of_core, Some(0.1), cpu);
    let wakeups = alone(|client| client.wakeups_per_s);
    figure("wakeups_per_s", "1/s", cost.wakeups_per_s, wakeups.map(|(_, peer)| peer), wakeups);
    figure("nvml_calls_while_asleep", "calls", calls as f64, Some(0.0), None);
    Ok(())
}

/// The app in a market with no demand, and how often it asked the card in that time.
fn ours(stage: &Stage, stretch: Duration) -> anyhow::Result<(Footprint, u64)> {
    let (mut host, _) = stage.host("host", &quick_settings())?;
    let Cards::Simulated { layout, daemon } = &stage.cards else {
        anyhow::bail!("the cards of this bench are simulated: it counts the calls");
    };
    host.around.environment.push((String::from("NIGHTJAR_SYSFS"), text(&layout.sysfs())));
    let app = host.into_app()?;
    let mark = opened_and_closed(&stage.desktop, &app)?;
    app.watch()?.until("the app waits for a job", SOON, |view| view.state == HostState::Waiting)?;
    daemon.client().control(Control::Sleep { card: 0 })?;
    let asked = |stage: &CardStats| stage.nvml_calls_while_asleep;
    let card = || daemon.client().stats()?.cards.into_iter().next().context("there is no card");
    let before = asked(&card()?);
    eprintln!("the app is {:?}, measured for {stretch:?} with the card asleep", marked(&mark));
    let cost = measure(&mark, stretch)?;
    let after = card()?;
    anyhow::ensure!(after.asleep, "the card did not stay asleep");
    Ok((cost, asked(&after) - before))
}

fn boinc(stage: &Stage, stretch: Duration) -> anyhow::Result<(Footprint, Footprint)> {
    let mut boinc = Boinc::start(stage.folder(), &stage.desktop)?;
    boinc.start_manager(&stage.desktop)?;
    // As long as the app had after its window was closed.
    std::thread::sleep(Duration::from_secs(10));
    eprintln!("BOINC's client and manager, measured for {stretch:?}");
    let manager = std::thread::spawn(move || measure(&format!("{MARK}=manager"), stretch));
    let client = measure(&format!("{MARK}=client"), stretch)?;
    let manager = manager.join().map_err(|_| anyhow::anyhow!("the manager was not measured"))??;
    eprintln!("client {client:?}\nmanager {manager:?}");
    Ok((client, manager))
}
