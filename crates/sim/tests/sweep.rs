//! The sweep over power limits finds the stand-in's known optimum, for each kind of work, through real NVML calls: limits
//! are set and energy is read by nvml-wrapper as on any card.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test stands on must be there")]

mod rig;

use std::time::{Duration, Instant};

use nightjar_core::gpu::PowerLimits;
use nightjar_core::sweep::{Counters, Economics, Plan, Point, Sweep, SweepAction, judge};
use nightjar_core::time::Timestamp;
use nightjar_sim::Client;
use nightjar_sim::model::CardModel;
use nightjar_sim::physics::{Body, Load, LoadSource};
use nightjar_sim::wire::{Control, SOCKET_ENV};
use nvml_wrapper::Nvml;
use rig::{Rig, is_child};

const MODEL: &str = "rtx4090";
const LIMITS: u32 = 4;
/// Electricity is dear enough here that neither the least nor the most is best.
const ECONOMICS: Economics = Economics {
    income_per_hour_micros: 600_000.0,
    electricity_per_kwh_micros: 900_000.0,
    overhead_watts: 60.0,
};

#[test]
fn sweep_finds_the_known_optimum_of_each_kind_of_work() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: setting a power limit needs root");
        return;
    }
    let rig = Rig::new(MODEL);
    rig.run("child_sweeps");
    let after = rig.daemon.client().stats().unwrap();
    assert_eq!(after.cards[0].reading.limit_milliwatts, 450_000, "what was found is put back");
}

#[test]
fn child_sweeps() {
    if !is_child() {
        return;
    }
    let client = Client::connect(std::env::var_os(SOCKET_ENV).unwrap().as_ref()).unwrap();
    let mut optima = Vec::new();
    for memory_percent in [0.0, 85.0] {
        let load = Control::ExternalLoad {
            card: 0,
            pid: 4242,
            util_percent: 100.0,
            vram_mib: 1_024,
            graphics: false,
            memory_percent: Some(memory_percent),
        };
        client.control(load).unwrap();
        let (plan, measured) = sweep(&client);
        let truth = truth(&plan, memory_percent / 100.0);
        for (measured, truth) in measured.iter().zip(&truth) {
            let off = (measured.work_per_second - truth.work_per_second).abs() / truth.work_per_second;
            assert!(off < 0.05, "{measured:?} is not {truth:?}");
            assert!(
                (measured.watts - truth.watts).abs() / truth.watts < 0.05,
                "{measured:?} is not {truth:?}"
            );
        }
        let (found, known) = (judge(&measured, &ECONOMICS).unwrap(), judge(&truth, &ECONOMICS).unwrap());
        let limit = |judgement: &nightjar_core::sweep::Judgement| {
            judgement.judged[judgement.best_income].point.limit_watts
        };
        println!("{memory_percent} % memory: {} W found, {} W known", limit(&found), limit(&known));
        assert_eq!(limit(&found), limit(&known));
        assert_eq!(found.most_efficient, known.most_efficient);
        optima.push(limit(&found));
    }
    assert!(optima[1] < optima[0], "work that waits for memory wants less power: {optima:?}");
}

/// Measures through NVML; only the work itself is counted by whoever does it.
fn sweep(client: &Client) -> (Plan, Vec<Point>) {
    let nvml = Nvml::init().unwrap();
    let mut card = nvml.device_by_index(0).unwrap();
    let bounds = card.power_management_limit_constraints().unwrap();
    let watts = |milliwatts: u32| f64::from(milliwatts) / 1_000.0;
    let found = card.power_management_limit().unwrap();
    let limits = PowerLimits {
        enforced_watts: watts(found),
        default_watts: watts(card.power_management_limit_default().unwrap()),
        min_watts: watts(bounds.min_limit),
        max_watts: watts(bounds.max_limit),
    };
    let plan = Plan::new(&limits, LIMITS).unwrap().lasting(100, 1_500);
    let mut sweep = Sweep::new(plan.clone());
    let start = Instant::now();
    loop {
        let work = client.stats().unwrap().cards[0].work_millis as f64 / 1_000.0;
        let joules = card.total_energy_consumption().unwrap() as f64 / 1_000.0;
        let now = Timestamp(i64::try_from(start.elapsed().as_millis()).unwrap());
        match sweep.handle(Counters { work, joules }, now) {
            SweepAction::SetLimit { watts } => card.set_power_management_limit(watts * 1_000).unwrap(),
            SweepAction::Wait { until } => std::thread::sleep(Duration::from_millis(until.since_ms(now))),
            SweepAction::Done => break,
        }
    }
    card.set_power_management_limit(found).unwrap();
    (plan, sweep.points().to_vec())
}

/// The same curve from the physics, with no clock and no driver between.
fn truth(plan: &Plan, memory_share: f64) -> Vec<Point> {
    let model = CardModel::find(MODEL).unwrap();
    let at = |limit_watts: u32| {
        let mut body = Body::new(model, 22.0, Duration::ZERO);
        body.set_limit_watts(f64::from(limit_watts)).unwrap();
        body.set_load(LoadSource::External(1), Load { duty: 1.0, memory_share, until: None });
        let draw = body.draw();
        Point { limit_watts, work_per_second: draw.throughput, watts: draw.watts }
    };
    plan.limits().iter().map(|watts| at(*watts)).collect()
}
