//! The market measures a waiting host's line, over real connections: with the owner's limit it comes out near that limit,
//! without one at much more, and renters, operator and owner read the same.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use nightjar_core::host::HostState;
use nightjar_core::line_check::LineFigures;
use nightjar_core::network::Rates;
use nightjar_testbed::host::quick_settings;
use nightjar_testbed::process::{LogsOfAFailure, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);
/// A new host is asked within seconds of being on offer; one that a proof kept from it, ten minutes later, which no test
/// waits for.
const MEASURED_WITHIN: Duration = Duration::from_secs(60);
const LIMIT_KBIT: u32 = 4_000;
const FREE_KBIT: u32 = 900_000;

/// A host with these limits, until its line was measured, for which so much was carried; as the operator sees it.
fn measured(stage: &Stage, name: &str, limits: Rates, least_mib: u64) -> LineFigures {
    let mut settings = quick_settings();
    settings.network.day = limits;
    let (mut host, _) = stage.host(name, &settings).unwrap();
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    let figures = wait_for("the market's figures", MEASURED_WITHIN, || {
        let told: Value = serde_json::from_str(&stage.market.operator(&["host", "list", "--json"])?)?;
        let hosts = told["hosts"].as_array().unwrap();
        let of_ours = hosts.iter().find(|host| host["line"]["limits"]["up_kbit"] == limits.up_kbit);
        Ok(of_ours.map(|host| serde_json::from_value::<LineFigures>(host["line"].clone()).unwrap()))
    })
    .unwrap();
    println!("{name}: {figures:?}");
    let sentence = wait_for("the owner is told", SOON, || Ok(host.around.view()?.network.measured)).unwrap();
    assert_eq!(sentence.contains("your limit"), figures.is_at_limit(), "{sentence}");
    let renter = Renter::log_in_as(name, stage.folder(), &stage.market, "20.00").unwrap();
    let offers = renter.ask(&["offers"]).unwrap();
    assert_eq!(offers["offers"][0]["line"]["down_kbit"], figures.down_kbit, "{offers}");
    let used = wait_for("the month's count", SOON, || {
        let cap = host.around.view()?.network.cap;
        Ok(cap.filter(|cap| cap.used_mib >= least_mib).map(|cap| cap.used_mib))
    });
    println!("{} MiB were counted", used.unwrap());
    host.process.terminate(SOON).unwrap();
    figures
}

#[test]
fn the_line_is_measured_within_the_owners_limits() {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let logs = ["held/host.log", "free/host.log", "coordinator.log"].map(|log| stage.folder().join(log));
    let _words = LogsOfAFailure(logs.into());
    let held = measured(&stage, "held", Rates { up_kbit: LIMIT_KBIT, down_kbit: LIMIT_KBIT }, 0);
    let free = measured(&stage, "free", Rates { up_kbit: FREE_KBIT, down_kbit: FREE_KBIT }, 10);
    for kbit in [held.down_kbit, held.up_kbit] {
        assert!((LIMIT_KBIT * 7 / 10..=LIMIT_KBIT * 115 / 100).contains(&kbit), "{held:?}");
    }
    assert!(held.is_at_limit());
    assert!(free.down_kbit.max(free.up_kbit) <= FREE_KBIT * 105 / 100, "{free:?}");
    assert!(free.down_kbit > 4 * held.down_kbit && free.up_kbit > 4 * held.up_kbit, "{free:?}");
}
