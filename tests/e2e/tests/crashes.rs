//! What dies in the middle of a lease: the tenant is off the card within seconds, nobody pays for what they did not get,
//! and both sides' books agree afterwards.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use nightjar_core::host::HostState;
use nightjar_core::lease::LeaseState;
use nightjar_core::ledger::Account;
use nightjar_core::policy::BlockReason;
use nightjar_testbed::host::{Host, Watch, job_state, quick_settings};
use nightjar_testbed::process::{gone, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(40);
const IMAGE: &str = "pytorch-cuda:lite";

/// A stage on which a lease runs.
struct Running {
    watch: Watch,
    host: Host,
    renter: Renter,
    lease: String,
    stage: Stage,
}

fn running() -> Running {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let (host, _) = stage.host("host", &quick_settings()).unwrap();
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
    let lease = renter.rent(IMAGE).unwrap();
    watch.until("the lease runs", SOON, |view| job_state(view) == Some(LeaseState::Running)).unwrap();
    Running { watch, host, renter, lease, stage }
}

/// Both sides' books at the end of everything.
fn assert_books_agree(stage: &Stage, host: &Host, renter: &Renter, lease: &str) {
    let credited = || -> i64 {
        let statement = renter.statement(lease).unwrap();
        let legs = statement.bookings.iter().flat_map(|booking| booking.legs.clone());
        legs.filter(|leg| matches!(leg.account, Account::Host { .. })).map(|leg| leg.micros).sum()
    };
    wait_for("the books agree", SOON, || {
        Ok((host.around.view()?.earnings.all.micros == credited()).then_some(()))
    })
    .unwrap();
    stage.market.ledger().unwrap();
}

fn ended(renter: &Renter, lease: &str) {
    wait_for("the lease is over", SOON, || Ok((renter.state(lease)? == "ended").then_some(()))).unwrap();
}

#[test]
fn a_killed_agent_leaves_no_tenant_behind() {
    let mut running = running();
    let worker = running.stage.worker(&running.lease).unwrap();
    let process = running.stage.process(&running.lease).unwrap();
    let killed = Instant::now();
    running.host.process.kill();
    // The kernel's word: what Docker says comes a while after it.
    let gone = gone(process, Duration::from_secs(10)).unwrap() - killed;
    println!("tenant gone {:.1} s after the agent was killed", gone.as_secs_f64());
    assert!(gone < Duration::from_millis(5_500), "{gone:?}");
    let alive = ["ps", "-q", "--filter", &format!("id={worker}")];
    wait_for("Docker has it as running no more", Duration::from_secs(10), || {
        Ok(running.stage.engine.ask(alive)?.is_empty().then_some(()))
    })
    .unwrap();
    let Running { host, renter, lease, stage, .. } = running;
    let host = Host::start(host.around).unwrap();
    ended(&renter, &lease);
    wait_for("nothing is left", SOON, || Ok(stage.containers()?.is_empty().then_some(()))).unwrap();
    assert_books_agree(&stage, &host, &renter, &lease);
}

#[test]
fn an_agent_that_is_back_at_once_goes_on() {
    let mut running = running();
    let worker = running.stage.worker(&running.lease).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    running.host.process.kill();
    let Running { host, renter, lease, stage, .. } = running;
    let host = Host::start(host.around).unwrap();
    let watch = host.watch().unwrap();
    watch.until("the lease goes on", SOON, |view| job_state(view) == Some(LeaseState::Running)).unwrap();
    // Longer than process 1 waits for its agent.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(stage.worker(&lease).unwrap(), worker);
    assert_eq!(renter.ssh(&lease, &["echo", "still", "here"]).unwrap().trim(), "still here");
    renter.run(&["stop", &lease, "--wait"]).unwrap();
    assert_books_agree(&stage, &host, &renter, &lease);
}

#[test]
fn a_market_that_restarts_does_not_interrupt() {
    let mut running = running();
    // While a job runs, the view has no word of it.
    let is_connected = |host: &Host| anyhow::Ok(host.around.check("market")?["standing"] == "good");
    assert!(is_connected(&running.host).unwrap());
    running.stage.market.kill();
    let is_cut = || Ok((!is_connected(&running.host)?).then_some(()));
    wait_for("the host misses its market", SOON, is_cut).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    running.stage.market.restart().unwrap();
    let Running { watch, host, renter, lease, stage } = running;
    wait_for("the host is connected again", SOON, || Ok(is_connected(&host)?.then_some(()))).unwrap();
    watch
        .from_now()
        .until("the job runs", SOON, |view| job_state(view) == Some(LeaseState::Running))
        .unwrap();
    let said =
        wait_for("the tunnel stands again", SOON, || Ok(renter.ssh(&lease, &["echo", "here"]).ok())).unwrap();
    assert_eq!(said.trim(), "here");
    renter.run(&["stop", &lease, "--wait"]).unwrap();
    assert_books_agree(&stage, &host, &renter, &lease);
}

#[test]
fn a_docker_that_dies_takes_the_tenant_with_it() {
    let mut running = running();
    running.stage.engine.crash().unwrap();
    let is_told = |reason: &Option<BlockReason>| matches!(reason, Some(BlockReason::NoDocker { .. }));
    running.watch.until("Docker's end is told", SOON, |view| is_told(&view.reason)).unwrap();
    let Running { watch, host, renter, lease, mut stage } = running;
    ended(&renter, &lease);
    stage.engine.revive().unwrap();
    watch.until("the card is offered again", SOON, |view| view.state == HostState::Waiting).unwrap();
    wait_for("nothing is left", SOON, || Ok(stage.containers()?.is_empty().then_some(()))).unwrap();
    assert_books_agree(&stage, &host, &renter, &lease);
}
