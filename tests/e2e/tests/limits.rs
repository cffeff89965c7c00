//! The owner's limits of the line, set by hand while a job runs, hold in that job's own gateway.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use nightjar_core::host::HostState;
use nightjar_core::network::Rates;
use nightjar_core::settings::Settings;
use nightjar_testbed::host::{Host, quick_settings};
use nightjar_testbed::process::wait_for;
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(60);
const BYTES: u64 = 2_000_000;
/// What the tunnel may be late by, or has in its buffers when a limit comes.
const SLACK: Duration = Duration::from_millis(700);

/// From the renter's program to the last byte from the worker.
fn fetch(renter: &Renter, lease: &str, bytes: u64) -> Duration {
    let began = Instant::now();
    let said = renter.ssh(lease, &[&format!("head -c {bytes} /dev/zero | tr '\\0' a")]).unwrap();
    assert_eq!(said.trim().len(), usize::try_from(bytes).unwrap());
    began.elapsed()
}

fn set(host: &Host, args: &[&str]) {
    let mut all = vec!["network", "set"];
    all.extend(args);
    host.around.owner(&all).unwrap();
}

/// As long as these bytes take at this limit, at the least.
fn least(bytes: u64, kbit: u64) -> Duration {
    Duration::from_millis(bytes * 8 / kbit).saturating_sub(SLACK)
}

#[test]
fn limits_hold_for_the_job_that_runs_and_change_under_its_connections() {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let settings = Settings { idle_after_ms: 1_000, ..quick_settings() };
    let (host, accepted) = stage.host("host", &settings).unwrap();
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
    drop(accepted);
    let lease = renter.rent("pytorch-cuda:lite").unwrap();
    renter.ssh(&lease, &["true"]).unwrap();

    set(&host, &["--up", "200M", "--down", "200M"]);
    let free = fetch(&renter, &lease, BYTES);
    set(&host, &["--up", "4M"]);
    let is_held = || Ok((host.around.view()?.network.in_force.up_kbit == 4_000).then_some(()));
    wait_for("the limit is in force", SOON, is_held).unwrap();
    let held = fetch(&renter, &lease, BYTES);
    println!("{BYTES} bytes: {free:?} at 200 Mbit/s, {held:?} at 4 Mbit/s");
    assert!(held >= least(BYTES, 4_000), "4 Mbit/s did not hold: {held:?}");
    assert!(free < held, "the limit made no difference");
    let network = host.around.view().unwrap().network;
    assert_eq!((network.day.up_kbit, network.in_force.up_kbit), (4_000, 4_000));
    let counted = wait_for("the month's count", SOON, || {
        let used = host.around.view()?.network.cap.map_or(0, |cap| cap.used_mib);
        Ok((used >= 3).then_some(used))
    });
    println!("{} MiB were counted of {} bytes fetched twice", counted.unwrap(), BYTES);

    // In the middle of one stream: what would take half a minute at the first limit ends soon after the second.
    set(&host, &["--up", "1M"]);
    let slow = Duration::from_millis(2 * BYTES * 8 / 1_000);
    let streamed = std::thread::scope(|scope| {
        let stream = scope.spawn(|| fetch(&renter, &lease, 2 * BYTES));
        std::thread::sleep(Duration::from_secs(3));
        assert!(!stream.is_finished(), "1 Mbit/s did not hold");
        set(&host, &["--up", "200M"]);
        stream.join().unwrap()
    });
    println!("a stream of {slow:?} took {streamed:?} when its limit was lifted after 3 s");
    assert!(streamed < slow / 2, "{streamed:?}");
    let raised = wait_for("the new limit", SOON, || {
        let in_force = host.around.view()?.network.in_force;
        Ok((in_force == Rates { up_kbit: 200_000, down_kbit: 200_000 }).then_some(()))
    });
    raised.unwrap();
    renter.run(&["stop", &lease, "--wait"]).unwrap();
}
