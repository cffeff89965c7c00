//! What the privileged helper is for beside the power limit: a tenant is off the card also where Docker hangs, and a frozen
//! one does not outlive its host.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use nightjar_core::host::HostState;
use nightjar_core::lease::LeaseState;
use nightjar_protocol::view::ViewModel;
use nightjar_sim::wire::{Control, Reply, Request};
use nightjar_testbed::freezer::Freezer;
use nightjar_testbed::helper::Helper;
use nightjar_testbed::host::{Host, Watch, job_state, lingering_settings};
use nightjar_testbed::process::{self, LogsOfAFailure, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(60);
const IMAGE: &str = "pytorch-cuda:lite";

/// A stage with a helper, on which a lease runs.
struct Running {
    /// Dropped before the folder that they lie in.
    _words: LogsOfAFailure,
    watch: Watch,
    host: Host,
    renter: Renter,
    lease: String,
    helper: Helper,
    stage: Stage,
}

fn running() -> Running {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let mut settings = lingering_settings();
    settings.power.limit_percent = Some(60);
    let (host, helper) = stage.host_with_helper("host", &settings).unwrap();
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
    let lease = renter.rent(IMAGE).unwrap();
    watch.until("the lease runs", SOON, |view| job_state(view) == Some(LeaseState::Running)).unwrap();
    let words = ["helper.log", "host/host.log"].map(|log| stage.folder().join(log));
    Running { _words: LogsOfAFailure(words.to_vec()), watch, host, renter, lease, helper, stage }
}

/// Moves the mouse and gives the time until the kernel says that the tenant is frozen.
fn frozen_after_input(stage: &Stage, freezer: &Freezer) -> Duration {
    let mut mouse = stage.desktop.mouse().unwrap();
    let moved = Instant::now();
    mouse.twitch().unwrap();
    freezer.until(true, Duration::from_secs(5)).unwrap() - moved
}

/// How long until the tenant's first process, and with it all of them, is no more.
fn gone(process: u32) -> Duration {
    let began = Instant::now();
    process::gone(process, SOON).unwrap() - began
}

/// The card's own word, in watts.
fn power_limit(stage: &Stage) -> u32 {
    let asked = Request::Card { call: "test".into(), card: 0 };
    match stage.cards.simulated().unwrap().client().ask(&asked).unwrap() {
        Reply::Card { reading } => reading.limit_milliwatts / 1_000,
        other => panic!("{other:?}"),
    }
}

fn limited_to(stage: &Stage, watts: u32) {
    wait_for("the power limit", SOON, || Ok((power_limit(stage) == watts).then_some(()))).unwrap();
}

#[test]
fn a_docker_that_hangs_does_not_keep_the_owner_waiting() {
    let Running { watch, host, renter, lease, helper, stage, _words } = running();
    let freezer = stage.freezer(&lease).unwrap();
    let process = stage.process(&lease).unwrap();

    stage.engine.hang().unwrap();
    let took = frozen_after_input(&stage, &freezer);
    println!("with a hanging Docker, input to frozen: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}\n{}", helper.process.log());
    stage.engine.go_on();
    freezer.until(false, SOON).unwrap();
    let goes_on = |view: &ViewModel| job_state(view) == Some(LeaseState::Running);
    watch.from_now().until("the job goes on", SOON, goes_on).unwrap();
    // A pause that the Engine carries out late does not stick.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(renter.ssh(&lease, &["echo", "still", "here"]).unwrap().trim(), "still here");

    stage.engine.hang().unwrap();
    let took = frozen_after_input(&stage, &freezer);
    assert!(took < Duration::from_secs(1), "{took:?}");
    // A Docker that stays away ends the job, frozen or thawed by then.
    let waited = gone(process);
    println!("and gone for good, without Docker, {waited:?} later");
    stage.engine.go_on();
    wait_for("the lease is over", SOON, || Ok((renter.state(&lease)? == "ended").then_some(()))).unwrap();
    wait_for("nothing is left", SOON, || Ok(stage.containers()?.is_empty().then_some(()))).unwrap();
    drop(host);
}

#[test]
fn work_that_goes_on_while_its_tenant_is_frozen_costs_the_tenant_its_lease() {
    let Running { watch, host, renter, lease, stage, helper: _helper, _words } = running();
    let freezer = stage.freezer(&lease).unwrap();
    let pid = stage.process(&lease).unwrap();
    // A kernel without an end: the card's work for this program stays, whatever its threads do.
    let endless = Control::ExternalLoad {
        card: 0,
        pid,
        util_percent: 95.0,
        vram_mib: 1_024,
        graphics: false,
        memory_percent: None,
    };
    stage.cards.simulated().unwrap().client().control(endless).unwrap();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(job_state(&host.around.view().unwrap()), Some(LeaseState::Running), "it may work");
    frozen_after_input(&stage, &freezer);
    let frozen = Instant::now();
    let mut mouse = stage.desktop.mouse().unwrap();
    // Its owner stays, or it would go on.
    wait_for("the lease is over", SOON, || {
        mouse.twitch()?;
        Ok((renter.state(&lease)? == "ended").then_some(()))
    })
    .unwrap();
    println!("ended {:.1} s after the freeze", frozen.elapsed().as_secs_f64());
    watch.until("its owner has the card", SOON, |view| job_state(view).is_none()).unwrap();
}

#[test]
fn a_frozen_tenant_does_not_outlive_its_host() {
    let Running { watch, mut host, lease, helper, stage, _words, .. } = running();
    let freezer = stage.freezer(&lease).unwrap();
    let process = stage.process(&lease).unwrap();
    limited_to(&stage, 270);
    frozen_after_input(&stage, &freezer);
    // The owner's limit is the owner's.
    limited_to(&stage, 450);
    watch.until("it is shown", SOON, |view| job_state(view) == Some(LeaseState::Yielded)).unwrap();
    host.process.kill();
    let took = gone(process);
    println!("frozen tenant gone {took:?} after its host was killed");
    assert!(took < Duration::from_secs(3), "{took:?}\n{}", helper.process.log());
    limited_to(&stage, 450);
}

#[test]
fn a_power_limit_does_not_outlive_its_host() {
    let Running { mut host, stage, helper: _helper, _words, .. } = running();
    limited_to(&stage, 270);
    host.process.kill();
    limited_to(&stage, 450);
}
