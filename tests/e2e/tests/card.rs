//! The card's limit and its heat through a host that runs and its helper: what is set for a tenant comes back whatever
//! ends, heat lowers it and freezes, and the sweet spot is the one that the simulated card really has.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nightjar_core::host::{HostState, SweepPhase, SweetSpot};
use nightjar_core::lease::LeaseState;
use nightjar_core::money::{Currency, Money};
use nightjar_core::sweep::{Economics, Judgement, Point, WorkKind, judge};
use nightjar_protocol::view::ViewModel;
use nightjar_sim::model::CardModel;
use nightjar_sim::physics::{Body, Load, LoadSource};
use nightjar_sim::wire::{Control, Reply, Request};
use nightjar_testbed::helper::Helper;
use nightjar_testbed::host::{Host, Watch, job_state, lingering_settings};
use nightjar_testbed::place::program;
use nightjar_testbed::process::{LogsOfAFailure, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(60);
const IMAGE: &str = "pytorch-cuda:lite";
const MODEL: &str = "rtx4090";
const PER_KWH: i64 = 1_000_000;
const PER_HOUR: i64 = 550_000;

/// A host with its helper, at 60 % of 450 W while a tenant has the card.
struct Scene {
    /// Dropped before the folder that they lie in.
    _words: LogsOfAFailure,
    watch: Watch,
    host: Host,
    helper: Helper,
    stage: Stage,
}

impl Scene {
    fn set() -> Self {
        let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
        let mut settings = lingering_settings();
        settings.power.limit_percent = Some(60);
        settings.heat.cool_at_least_ms = 1_000;
        settings.price_per_hour = Money::new(PER_HOUR, Currency::CNY);
        settings.tariff.price_per_kwh_micros = PER_KWH;
        let (host, helper) = stage.host_with_helper("host", &settings).unwrap();
        let watch = host.watch().unwrap();
        watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
        let words = ["helper.log", "host/host.log"].map(|log| stage.folder().join(log));
        Self { _words: LogsOfAFailure(words.to_vec()), watch, host, helper, stage }
    }

    fn control(&self, control: Control) {
        self.stage.cards.simulated().unwrap().client().control(control).unwrap();
    }

    /// The card's own word, in watts.
    fn limit(&self) -> u32 {
        let asked = Request::Card { call: "test".into(), card: 0 };
        match self.stage.cards.simulated().unwrap().client().ask(&asked).unwrap() {
            Reply::Card { reading } => reading.limit_milliwatts / 1_000,
            other => panic!("{other:?}"),
        }
    }

    fn limited(&self, what: &str, mut is_it: impl FnMut(u32) -> bool) -> u32 {
        wait_for(what, SOON, || Ok(Some(self.limit()).filter(|watts| is_it(*watts)))).unwrap()
    }

    /// It stays so while the host looks at it more than once; `each` is done four times in that time.
    fn stays(&self, watts: u32, mut each: impl FnMut()) {
        for _ in 0..4 {
            each();
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(1) {
                assert_eq!(self.limit(), watts);
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    fn rent(&self, renter: &Renter) -> String {
        wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
        let lease = renter.rent(IMAGE).unwrap();
        self.until(LeaseState::Running);
        lease
    }

    fn until(&self, state: LeaseState) {
        let is_so = |view: &ViewModel| job_state(view) == Some(state.clone());
        self.watch.from_now().until("the lease", SOON, is_so).unwrap();
    }

    fn heat(&self, celsius: f64) {
        self.control(Control::SetTemp { card: 0, celsius });
    }
}

#[test]
fn peers_5_another_tools_limit_is_kept_and_every_end_gives_back_what_was_found() {
    let mut scene = Scene::set();
    let renter = Renter::log_in(scene.stage.folder(), &scene.stage.market, "20.00").unwrap();
    let lease = scene.rent(&renter);
    scene.limited("the limit for renting", |watts| watts == 270);

    // The owner is back, and another tool sets a limit while they play: it is theirs.
    let mut mouse = scene.stage.desktop.mouse().unwrap();
    mouse.twitch().unwrap();
    scene.limited("the owner's limit at give-back", |watts| watts == 450);
    scene.control(Control::SetPowerLimit { card: 0, watts: 400.0 });
    scene.stays(400, || mouse.twitch().unwrap());
    scene.until(LeaseState::Running);
    scene.limited("the limit for renting again", |watts| watts == 270);

    renter.run(&["stop", &lease, "--wait"]).unwrap();
    scene.limited("what was found, at the lease's end", |watts| watts == 400);

    // A helper that is killed leaves the card as it is; its successor puts back what the first one found.
    scene.rent(&renter);
    scene.limited("the limit for renting", |watts| watts == 270);
    scene.helper.process.kill();
    scene.host.process.kill();
    scene.stays(270, || {});
    scene.helper = Helper::start(scene.stage.folder(), &scene.stage.cards).unwrap();
    scene.limited("what was found, by the next helper", |watts| watts == 400);
}

#[test]
fn peers_15_heat_lowers_the_limit_and_freezes_at_the_ceiling_until_it_is_cool() {
    let Scene { watch, host, helper, stage, _words } = Scene::set();
    let scene = Scene { watch, host, helper, stage, _words };
    let renter = Renter::log_in(scene.stage.folder(), &scene.stage.market, "20.00").unwrap();
    scene.rent(&renter);
    scene.limited("the limit for renting", |watts| watts == 270);

    // A hot room: no faster than a thermometer is believed, and at last just under the ceiling.
    scene.control(Control::SetRoomTemp { celsius: 60.0 });
    let mut lowest = 270;
    for celsius in (40..80).step_by(4).chain(78..=82).chain([82, 82, 82]) {
        scene.heat(f64::from(celsius));
        std::thread::sleep(Duration::from_secs(1));
        lowest = lowest.min(scene.limit());
    }
    println!("on the way to 82 °C the limit went down to {lowest} W");
    assert!(lowest < 270);
    let view = scene.host.around.view().unwrap();
    assert_eq!(job_state(&view), Some(LeaseState::Running), "{}", view.sentence);

    // The fan is blocked: at the ceiling the tenant is frozen, and goes on once it is cool.
    scene.control(Control::SetFan { card: 0, percent: Some(0.0) });
    // It does not cool by itself before it was looked at.
    scene.control(Control::SetRoomTemp { celsius: 80.0 });
    scene.heat(84.0);
    scene.until(LeaseState::Yielded);
    let said = scene.host.around.owner(&["why", "--since", "1h"]).unwrap();
    println!("{said}");
    scene.control(Control::SetFan { card: 0, percent: None });
    scene.control(Control::SetRoomTemp { celsius: 20.0 });
    scene.heat(40.0);
    scene.until(LeaseState::Running);
    let back = scene.limited("more again", |watts| watts > 150);
    println!("cool again: {back} W");

    // The program ends as its owner wishes, in the middle of a job.
    scene.host.around.owner(&["quit"]).unwrap();
    scene.limited("what was found, at the program's end", |watts| watts == 450);
}

/// What the physics says of this kind of work, at these limits.
fn truth(work: WorkKind, limits: &[u32], economics: &Economics) -> Judgement {
    let points: Vec<Point> = limits
        .iter()
        .map(|limit| {
            let mut body = Body::new(CardModel::find(MODEL).unwrap(), 22.0, Duration::ZERO);
            body.set_limit_watts(f64::from(*limit)).unwrap();
            let memory_share = if work == WorkKind::Memory { 0.85 } else { 0.0 };
            body.set_load(LoadSource::Session(1), Load { duty: 1.0, memory_share, until: None });
            let draw = body.draw();
            Point { limit_watts: *limit, work_per_second: draw.throughput, watts: draw.watts }
        })
        .collect();
    judge(&points, economics).unwrap()
}

/// How much less than the best the found limit is really worth, in percent of the best.
fn regret(
    truth: &Judgement,
    found: u32,
    worth: fn(&nightjar_core::sweep::Judged) -> f64,
    best: usize,
) -> f64 {
    let of = |limit: u32| truth.judged.iter().find(|judged| judged.point.limit_watts == limit).unwrap();
    let best = worth(&truth.judged[best]);
    100.0 * (best - worth(of(found))) / best.abs()
}

#[test]
fn peers_16_the_sweet_spot_of_each_kind_of_work_is_the_cards_own() {
    let scene = Scene::set();
    let said =
        scene.host.around.owner(&["--json", "power", "sweep", "--limits", "7", "--seconds", "4"]).unwrap();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let spots: Vec<SweetSpot> = serde_json::from_value(said["cards"][0]["sweet_spots"].clone()).unwrap();
    let spots: BTreeMap<WorkKind, SweetSpot> = spots.into_iter().map(|spot| (spot.work, spot)).collect();
    assert_eq!(spots.len(), 2, "{said}");
    let economics = Economics {
        // Less the part that a market is taken to keep until it has said.
        income_per_hour_micros: 0.9 * PER_HOUR as f64,
        electricity_per_kwh_micros: PER_KWH as f64,
        overhead_watts: 0.0,
    };
    for (work, spot) in &spots {
        let judgement = &spot.judgement;
        let limits: Vec<u32> = judgement.judged.iter().map(|judged| judged.point.limit_watts).collect();
        let truth = truth(*work, &limits, &economics);
        let (income, efficient) = (limits[judgement.best_income], limits[judgement.most_efficient]);
        println!(
            "{work:?}: earns most at {income} W (truly {} W), most work per joule at {efficient} W (truly {} W)",
            limits[truth.best_income], limits[truth.most_efficient]
        );
        for (found, known) in judgement.judged.iter().zip(&truth.judged) {
            println!(
                "  {} W: {:.1} % of full speed (truly {:.1} %), draws {:.0} W (truly {:.0} W)",
                found.point.limit_watts,
                found.speed_percent,
                known.speed_percent,
                found.point.watts,
                known.point.watts
            );
            assert!((found.point.watts - known.point.watts).abs() < 0.04 * known.point.watts);
        }
        assert!(regret(&truth, income, |judged| judged.net_per_hour_micros, truth.best_income) < 5.0);
        assert!(regret(&truth, efficient, |judged| judged.work_per_joule, truth.most_efficient) < 3.0);
    }
    let slowest = |work| spots[&work].judgement.judged[0].speed_percent;
    assert!(
        slowest(WorkKind::Memory) > slowest(WorkKind::Compute) + 10.0,
        "one number would be wrong for both"
    );
    assert_eq!(scene.limit(), 450);
    wait_for("no load is left", SOON, || Ok(scene.stage.containers()?.is_empty().then_some(()))).unwrap();

    // The owner comes back in the middle of one.
    let mut sweep = Command::new(program("nightjar").unwrap());
    scene.host.around.enter(sweep.args(["power", "sweep", "--kind", "compute"]));
    let sweep = sweep.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    scene
        .watch
        .until("it measures", SOON, |view| {
            view.cards
                .iter()
                .filter_map(|tile| tile.card.sweep.as_ref())
                .any(|sweep| matches!(sweep.phase, SweepPhase::Measuring { limit_watts: Some(_) }))
        })
        .unwrap();
    scene.limited("the first limit", |watts| watts < 450);
    let moved = Instant::now();
    scene.stage.desktop.mouse().unwrap().twitch().unwrap();
    scene.limited("the owner's limit", |watts| watts == 450);
    let took = moved.elapsed();
    println!("input to the owner's own limit, in the middle of a sweep: {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let ended = sweep.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && words.contains("interrupted"), "{words}");
    wait_for("no load is left", SOON, || Ok(scene.stage.containers()?.is_empty().then_some(()))).unwrap();

    // What was found is kept, and told anew.
    let said = scene.host.around.owner(&["power", "status"]).unwrap();
    assert!(said.contains("earns most"), "{said}");
}
