//! A tenant under gVisor, in a whole lease: it works as any other, reaches no more than any other, and is off the card as fast.
//! Where gVisor is not to be used, it is not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nightjar_core::host::{HostState, UserCommand};
use nightjar_core::lease::{LeaseId, LeaseState};
use nightjar_core::settings::{EgressMode, GiveBack, Settings};
use nightjar_core::signal::{SignalRule, SignalRules};
use nightjar_protocol::view::ViewModel;
use nightjar_sim::wire::Control;
use nightjar_testbed::engine::as_root;
use nightjar_testbed::gvisor::{self, RUNC, Runsc, SANDBOX};
use nightjar_testbed::helper::Helper;
use nightjar_testbed::host::{Host, Watch, job_state, lingering_settings};
use nightjar_testbed::images::Flavour;
use nightjar_testbed::internet::{self, ADDRESS, Names, Turned};
use nightjar_testbed::night::{HELD_MIB, start_work};
use nightjar_testbed::notebook;
use nightjar_testbed::place::program;
use nightjar_testbed::process::{LogsOfAFailure, Process, gone, output, wait_for};
use nightjar_testbed::processor::Processor;
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);
const IMAGE: &str = "pytorch-cuda:lite";
/// Far below the ten seconds after which Docker kills by itself what gVisor did not.
const OFF_THE_CARD_WITHIN: Duration = Duration::from_secs(3);
/// As for a tenant without gVisor.
const GONE_WITH_ITS_AGENT_WITHIN: Duration = Duration::from_millis(5_500);
const FROZEN_GONE_WITH_ITS_AGENT_WITHIN: Duration = Duration::from_secs(3);
/// Of one core, over [`LOOK`]: what a sandbox may use whose tenant is frozen, and what a tenant that works uses at least.
const STILL: f64 = 0.1;
const BUSY: f64 = 0.2;
const LOOK: Duration = Duration::from_millis(600);
/// Longer than a host of these tests takes its owner for being there, shorter than a frozen tenant waits to be thawed.
const AWAY: Duration = Duration::from_secs(15);
/// No runsc lists it.
const UNLISTED_DRIVER: &str = "570.0.0";
const LISTED: &str = "pypi.org";
const UNLISTED: &str = "data-in-a-name.example.com";
const PACKAGE: &str = "nightjar_probe-1-py3-none-any.whl";

/// What a tenant tries: one line of JSON with what came of each.
const ATTEMPTS: &str = include_str!("sandboxed/attempts.py");
const GAME: &str = "sham-game";
/// Nobody waits for it to be over: it ends with the tenant's programs.
const GRACE_MS: u64 = 20_000;
const SAVER: &str = r"
cd /workspace
trap 'echo asked >> saved.log; sleep 2; echo saved >> saved.log; exit' TERM
echo runs > saved.log
while :; do sleep 0.1; done
";
/// Looks for process 1, which is started as `nightjar-guest worker`: as it is, below the /proc that lies on another, with
/// namespaces of its own, and through its relatives' doors.
const SIGHT: &str = include_str!("sandboxed/sight.py");
/// Made on this PC, as an index has it.
const WHEEL: &str = r#"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    about = "nightjar_probe-1.dist-info"
    wheel.writestr("nightjar_probe.py", "print('fetched by pip')\n")
    wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: nightjar-probe\nVersion: 1\n")
    wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{about}/RECORD", "nightjar_probe.py,,\n")
"#;

/// A stage whose Engine has gVisor, or nothing where this machine has none that can be used.
fn stage() -> Option<(Stage, Runsc)> {
    let runsc = match Runsc::find() {
        Ok(runsc) => runsc,
        Err(why) => {
            println!("SKIPPED: {why}");
            return None;
        }
    };
    let wish = Wish { gvisor: Some(runsc.clone()), ..Wish::default() };
    let stage = Stage::set(&wish, &mut |step| println!("{step}")).unwrap();
    match gvisor::lacks(&stage.engine, &Flavour::Lite.reference()) {
        None => Some((stage, runsc)),
        Some(why) => {
            println!("SKIPPED: {why}");
            None
        }
    }
}

fn curated() -> Settings {
    Settings { egress: EgressMode::Curated, ..lingering_settings() }
}

/// What the Engine runs the worker of a lease with.
fn runtime(stage: &Stage, lease: &str) -> String {
    let worker = stage.worker(lease).unwrap();
    stage.engine.ask(["inspect", "--format", "{{.HostConfig.Runtime}}", &worker]).unwrap()
}

/// Of the card's memory, as its driver says.
fn used_mib(stage: &Stage) -> u64 {
    stage.cards.simulated().unwrap().client().stats().unwrap().cards[0].reading.vram_used_bytes >> 20
}

/// Everything here ends in this order, also when the test fails.
struct Running {
    _words: LogsOfAFailure,
    work: Option<Process>,
    watch: Watch,
    host: Host,
    renter: Renter,
    lease: String,
    helper: Helper,
    stage: Stage,
}

/// A lease that runs under gVisor.
fn running() -> Option<Running> {
    running_with(&curated())
}

fn running_with(settings: &Settings) -> Option<Running> {
    let (stage, _) = stage()?;
    let (host, helper) = stage.host_with_helper("host", settings).unwrap();
    let words = ["helper.log", "host/host.log"].map(|log| stage.folder().join(log)).to_vec();
    let words = LogsOfAFailure(words);
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
    let lease = renter.rent(IMAGE).unwrap();
    watch.until("the lease runs", SOON, |view| job_state(view) == Some(LeaseState::Running)).unwrap();
    assert_eq!(runtime(&stage, &lease), SANDBOX);
    Some(Running { _words: words, work: None, watch, host, renter, lease, helper, stage })
}

impl Running {
    /// The renter's job holds memory of the card, and another program of the renter's keeps the processor busy.
    fn work(&mut self) {
        let (work, device) = start_work(&self.renter, &self.lease, &self.stage).unwrap();
        self.work = Some(work);
        assert!(device.contains("(simulated)"), "{device}");
        let busy = "setsid python3 -c 'while True: pass' >/dev/null 2>&1 </dev/null &";
        self.renter.ssh(&self.lease, &[busy]).unwrap();
        wait_for("the job holds memory", SOON, || {
            Ok((used_mib(&self.stage) >= u64::from(HELD_MIB)).then_some(()))
        })
        .unwrap();
    }

    /// The sandbox's first process on this PC.
    fn process(&self) -> u32 {
        self.stage.process(&self.lease).unwrap()
    }

    /// Moves the mouse, and waits until the job is shown as frozen, and the kernel says that it is: it is shown as soon as
    /// that is ordered.
    fn owner_is_back(&self) {
        let freezer = self.stage.freezer(&self.lease).unwrap();
        let mut mouse = self.stage.desktop.mouse().unwrap();
        let moved = Instant::now();
        mouse.twitch().unwrap();
        let frozen = freezer.until(true, SOON).unwrap();
        let is_frozen = |view: &ViewModel| job_state(view) == Some(LeaseState::Yielded);
        let (shown, _) = self.watch.until("the job is frozen", SOON, is_frozen).unwrap();
        let [shown, frozen] = [shown, frozen].map(|at| at.saturating_duration_since(moved));
        println!("input to shown as frozen {shown:?}, to frozen {frozen:?}");
        assert!(frozen < OFF_THE_CARD_WITHIN, "{frozen:?}");
    }

    fn goes_on(&self) {
        self.watch
            .until("the job goes on", SOON, |view| job_state(view) == Some(LeaseState::Running))
            .unwrap();
    }

    /// How long until the Engine has the worker as running no more.
    fn gone(&self, worker: &str, since: Instant) -> Duration {
        let id = format!("id={worker}");
        wait_for("the tenant is gone", SOON, || {
            let alive = self.stage.engine.ask(["ps", "-q", "--filter", &id])?;
            Ok(alive.trim().is_empty().then(|| since.elapsed()))
        })
        .unwrap()
    }
}

#[test]
fn a_lease_under_gvisor_is_a_lease_like_any_other() {
    let Some(mut running) = running() else { return };
    let kernel = running.renter.ssh(&running.lease, &["dmesg"]).unwrap();
    assert!(kernel.contains("gVisor"), "{kernel}");
    assert_eq!(running.renter.ssh(&running.lease, &["id", "-u"]).unwrap().trim(), "52814");
    running.work();
    let jupyter = running.renter.jupyter(&running.lease).unwrap();
    let said = notebook::run(&jupyter, "night.ipynb", &["print(sum(n * n for n in range(1000)))"]).unwrap();
    assert_eq!(said[0].trim(), "332833500");
    // The program on the card is the tenant's, however the driver names it: a stranger's would end the lease.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(job_state(&running.host.around.view().unwrap()), Some(LeaseState::Running));
    process_1_is_out_of_sight(&running);
    if internet::is_possible() {
        only_the_list_is_reached(&running);
    } else {
        println!("SKIPPED: an internet of the test's own needs root");
    }
    running.renter.run(&["stop", &running.lease, "--wait"]).unwrap();
    wait_for("nothing is left", SOON, || Ok(running.stage.containers()?.is_empty().then_some(()))).unwrap();
}

/// gVisor does not shield it from its own user, so a tenant's programs must not come to see it by any of these ways.
fn process_1_is_out_of_sight(running: &Running) {
    let Running { renter, lease, .. } = running;
    renter.ssh_with_input(lease, &["cat > sight.py"], SIGHT).unwrap();
    let said = renter.ssh(lease, &["python3 sight.py"]).unwrap();
    let said: Value = serde_json::from_str(said.trim()).unwrap();
    println!("what of process 1 a tenant sees: {said}");
    for (way, seen) in said.as_object().unwrap() {
        assert_eq!(seen, &Value::Array(Vec::new()), "{way}: {said:#}");
    }
}

/// What curated egress lets a sandboxed tenant reach, on an internet that answers to everything.
fn only_the_list_is_reached(running: &Running) {
    let Running { stage, renter, lease, .. } = running;
    let names = Names::start().unwrap();
    let web = internet::serve(pages(stage.folder())).unwrap();
    let mut turned = vec![Turned::names(&stage.engine, lease, &names).unwrap()];
    turned.extend([80, 443, 53].map(|port| Turned::to_here(&stage.engine, lease, port, web).unwrap()));
    renter.ssh_with_input(lease, &["cat > attempts.py"], ATTEMPTS).unwrap();
    let tried = format!("python3 attempts.py {ADDRESS} {LISTED} {UNLISTED}");
    let said = renter.ssh(lease, &[&tried]).unwrap();
    let said: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(said["fetched"], "the internet", "{said:#}");
    assert_eq!(said["tunnelled"], "HTTP/1.1 200 OK", "{said:#}");
    assert_eq!(said["resolved"], ADDRESS.to_string(), "{said:#}");
    for refused in [
        "fetched-unlisted",
        "tunnelled-unlisted",
        "straight-443",
        "straight-53",
        "asked",
        "resolved-unlisted",
    ] {
        assert!(said[refused].as_str().unwrap().starts_with("refused"), "{refused}: {said:#}");
    }
    let pip = format!(
        "/opt/nightjar/bin/pip install -q --disable-pip-version-check --no-deps --target packages --index-url http://{LISTED}/simple/ --trusted-host \
         {LISTED} nightjar-probe && PYTHONPATH=packages python3 -m nightjar_probe"
    );
    assert_eq!(renter.ssh(lease, &[&pip]).unwrap().trim(), "fetched by pip");
    // Nobody outside hears of a name that is not on the list.
    let asked = names.asked();
    assert!(asked.iter().any(|name| name == LISTED), "{asked:?}");
    assert!(!asked.iter().any(|name| name.contains("example.com") || name == "x.org"), "{asked:?}");
}

/// An index with one package.
fn pages(folder: &Path) -> internet::Pages {
    let wheel = folder.join(PACKAGE);
    output(Command::new("python3").args(["-c", WHEEL]).arg(&wheel)).unwrap();
    let index = format!("<!DOCTYPE html><html><body><a href=\"/{PACKAGE}\">{PACKAGE}</a></body></html>");
    vec![
        ("/".to_owned(), b"the internet".to_vec()),
        ("/simple/nightjar-probe/".to_owned(), index.into_bytes()),
        (format!("/{PACKAGE}"), std::fs::read(&wheel).unwrap()),
    ]
}

/// Frozen, thawed, frozen again, and then ended while it is frozen: what gVisor by itself loses.
#[test]
fn a_sandboxed_tenant_is_off_the_card_at_once() {
    let Some(mut running) = running() else { return };
    running.work();
    let processor = Processor::of(running.process()).unwrap();
    let share = |what: &str| {
        let share = processor.share(LOOK).unwrap();
        println!("{what}: {share:.2} of a core");
        share
    };
    let works = |what: &str| wait_for(what, SOON, || Ok((share(what) > BUSY).then_some(()))).unwrap();
    works("at work");
    running.owner_is_back();
    assert!(share("frozen") < STILL);
    running.goes_on();
    works("thawed");
    let worker = running.stage.worker(&running.lease).unwrap();
    let process = running.process();
    running.owner_is_back();
    let ordered = Instant::now();
    let stop = UserCommand::StopJob { lease: LeaseId(running.lease.clone()) };
    running.host.around.command(stop).unwrap();
    let is_free = || Ok((used_mib(&running.stage) < u64::from(HELD_MIB)).then(|| ordered.elapsed()));
    let free = wait_for("the card's memory is free", SOON, is_free).unwrap();
    let gone = gone(process, SOON).unwrap() - ordered;
    println!("from the order to free memory {free:?}, to no process {gone:?}");
    assert!(free < OFF_THE_CARD_WITHIN && gone < OFF_THE_CARD_WITHIN, "{free:?}, {gone:?}");
    running.gone(&worker, ordered);
    let Running { renter, lease, stage, .. } = &running;
    wait_for("the lease is over", SOON, || Ok((renter.state(lease)? == "ended").then_some(()))).unwrap();
    wait_for("nothing is left", SOON, || Ok(stage.containers()?.is_empty().then_some(()))).unwrap();
}

/// A program of the tenant's that saves its work when it is asked to end, which takes it a while.
#[test]
fn a_sandboxed_tenant_has_the_grace_to_save_its_work() {
    let game = SignalRule { linger_ms: 0, ..SignalRules::default().game };
    let settings = Settings {
        signals: SignalRules { game, ..lingering_settings().signals },
        give_back: GiveBack::Friendly,
        friendly_grace_ms: GRACE_MS,
        games: vec![GAME.to_owned()],
        ..curated()
    };
    let Some(running) = running_with(&settings) else { return };
    let Running { stage, renter, lease, .. } = &running;
    renter.ssh_with_input(lease, &["cat > saver.sh"], SAVER).unwrap();
    renter.ssh(lease, &["setsid bash saver.sh >/dev/null 2>&1 </dev/null &"]).unwrap();
    wait_for("the program runs", SOON, || Ok(renter.ssh(lease, &["cat saved.log"]).ok())).unwrap();
    let game = stage.folder().join(GAME);
    std::fs::copy("/bin/sleep", &game).unwrap();
    let game = Process::start(stage.folder(), "game", Command::new(&game).arg("600")).unwrap();
    wait_for("the lease is over", SOON, || Ok((renter.state(lease)? == "ended").then_some(()))).unwrap();
    wait_for("nothing is left", SOON, || Ok(stage.containers()?.is_empty().then_some(()))).unwrap();
    drop(game);
    let next = wait_for("a lease on the same disk", SOON, || Ok(renter.rent(IMAGE).ok())).unwrap();
    let said = wait_for("its work", SOON, || Ok(renter.ssh(&next, &["cat saved.log"]).ok())).unwrap();
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["runs", "asked", "saved"]);
}

#[test]
fn a_killed_agent_leaves_no_sandbox_behind() {
    let Some(mut running) = running() else { return };
    let worker = running.stage.worker(&running.lease).unwrap();
    // All that the tenant's programs can reach is stopped first, this session too.
    let stop = "setsid sh -c 'sleep 6; kill -STOP -1' >/dev/null 2>&1 </dev/null &";
    running.renter.ssh(&running.lease, &[stop]).unwrap();
    std::thread::sleep(Duration::from_secs(8));
    let process = running.process();
    let killed = Instant::now();
    running.host.process.kill();
    // The kernel's word: what Docker says comes a while after it.
    let gone = gone(process, SOON).unwrap() - killed;
    println!("sandboxed tenant gone {:.1} s after the agent was killed", gone.as_secs_f64());
    assert!(gone < GONE_WITH_ITS_AGENT_WITHIN, "{gone:?}");
    running.gone(&worker, killed);
    let Running { host, renter, lease, stage, .. } = running;
    let _host = Host::start(host.around).unwrap();
    wait_for("the lease is over", SOON, || Ok((renter.state(&lease)? == "ended").then_some(()))).unwrap();
    wait_for("nothing is left", SOON, || Ok(stage.containers()?.is_empty().then_some(()))).unwrap();
}

#[test]
fn a_frozen_sandbox_does_not_outlive_its_host() {
    let Some(mut running) = running() else { return };
    let process = running.process();
    running.owner_is_back();
    let killed = Instant::now();
    running.host.process.kill();
    let gone = gone(process, SOON).unwrap() - killed;
    println!("frozen sandboxed tenant gone {gone:?} after its host was killed");
    assert!(gone < FROZEN_GONE_WITH_ITS_AGENT_WITHIN, "{gone:?}");
}

/// As in an update of the package, and then in its removal.
#[test]
fn a_sandbox_that_stands_frozen_waits_for_its_helper_and_does_not_outlast_the_package() {
    let Some(mut running) = running() else { return };
    running.owner_is_back();
    running.helper.process.terminate(SOON).unwrap();
    // The owner has gone by now, and nobody is there to thaw it.
    std::thread::sleep(AWAY);
    assert_eq!(job_state(&running.host.around.view().unwrap()), Some(LeaseState::Yielded));
    running.helper = Helper::start(running.stage.folder(), &running.stage.cards).unwrap();
    running.goes_on();
    assert_eq!(running.renter.ssh(&running.lease, &["echo", "still", "here"]).unwrap().trim(), "still here");
    let worker = running.stage.worker(&running.lease).unwrap();
    running.owner_is_back();
    running.helper.process.terminate(SOON).unwrap();
    let removed = Instant::now();
    output(as_root("env").arg(program("nightjar-helper").unwrap()).arg("--end-frozen")).unwrap();
    let gone = running.gone(&worker, removed);
    println!("a frozen sandbox was gone {gone:?} after the package's last word");
    let Running { renter, lease, stage, host: _host, .. } = &running;
    wait_for("the lease is over", SOON, || Ok((renter.state(lease)? == "ended").then_some(()))).unwrap();
    wait_for("nothing is left", SOON, || Ok(stage.containers()?.is_empty().then_some(()))).unwrap();
}

#[test]
fn a_sandbox_that_may_stand_frozen_goes_on_once_its_helper_is_back_and_is_not_paid_for_until_then() {
    let Some(mut running) = running() else { return };
    let freezer = running.stage.freezer(&running.lease).unwrap();
    running.owner_is_back();
    running.helper.process.terminate(SOON).unwrap();
    // Docker has it as running all the while.
    running.host.process.kill();
    let Running { host, renter, lease, stage, .. } = running;
    let host = Host::start(host.around).unwrap();
    let watch = host.watch().unwrap();
    let is_frozen = |view: &ViewModel| job_state(view) == Some(LeaseState::Yielded);
    watch.until("the lease is known", SOON, is_frozen).unwrap();
    std::thread::sleep(AWAY);
    assert!(is_frozen(&host.around.view().unwrap()) && freezer.is_frozen().unwrap());
    assert_eq!(renter.state(&lease).unwrap(), "yielded");
    let back = Instant::now();
    let _helper = Helper::start(stage.folder(), &stage.cards).unwrap();
    let goes_on = |view: &ViewModel| job_state(view) == Some(LeaseState::Running);
    watch.until("the job goes on", SOON, goes_on).unwrap();
    println!("it went on {:?} after the helper was back", back.elapsed());
    assert_eq!(renter.ssh(&lease, &["echo", "still", "here"]).unwrap().trim(), "still here");
}

/// The same, ended meanwhile: nobody else can end it.
#[test]
fn a_sandbox_that_is_ended_while_it_stands_frozen_ends_once_its_helper_is_back() {
    let Some(mut running) = running() else { return };
    let freezer = running.stage.freezer(&running.lease).unwrap();
    running.owner_is_back();
    running.helper.process.terminate(SOON).unwrap();
    running.host.around.command(UserCommand::StopJob { lease: LeaseId(running.lease.clone()) }).unwrap();
    let Running { host: _host, renter, lease, stage, watch, .. } = &running;
    let is_ending = |view: &ViewModel| matches!(job_state(view), Some(LeaseState::Ending { .. }));
    watch.until("the lease ends", SOON, is_ending).unwrap();
    std::thread::sleep(AWAY);
    assert!(freezer.is_frozen().unwrap());
    let back = Instant::now();
    let _helper = Helper::start(stage.folder(), &stage.cards).unwrap();
    wait_for("the lease is over", SOON, || Ok((renter.state(lease)? == "ended").then_some(()))).unwrap();
    wait_for("nothing is left", SOON, || Ok(stage.containers()?.is_empty().then_some(()))).unwrap();
    println!("nothing was left {:?} after the helper was back", back.elapsed());
}

/// Its gateway ends with its agent, and Docker has the frozen one as running.
#[test]
fn what_stands_frozen_has_its_card_after_its_hosts_next_start_too() {
    let Some(mut running) = running() else { return };
    let freezer = running.stage.freezer(&running.lease).unwrap();
    running.owner_is_back();
    running.helper.process.terminate(SOON).unwrap();
    running.host.process.kill();
    let Running { host, renter, lease, stage, .. } = running;
    let gateways = ["ps", "-q", "--filter", "label=nightjar.role=gateway"];
    let is_alone = || Ok(stage.engine.ask(gateways)?.is_empty().then_some(()));
    wait_for("the gateway has ended", SOON, is_alone).unwrap();
    let host = Host::start(host.around).unwrap();
    let watch = host.watch().unwrap();
    let is_told = |view: &ViewModel| {
        let says = |sentence: &str| sentence.contains("helper runs again");
        view.state == HostState::Trouble && says(&view.sentence) && says(&view.cards[0].sentence)
    };
    watch.until("its owner is told", SOON, is_told).unwrap();
    std::thread::sleep(AWAY);
    let view = host.around.view().unwrap();
    assert!(matches!(job_state(&view), Some(LeaseState::Ending { .. })), "{:?}", job_state(&view));
    assert!(is_told(&view) && freezer.is_frozen().unwrap());
    assert!(renter.run(&["offers"]).is_err(), "its card is on offer");
    let back = Instant::now();
    let _helper = Helper::start(stage.folder(), &stage.cards).unwrap();
    wait_for("the lease is over", SOON, || Ok((renter.state(&lease)? == "ended").then_some(()))).unwrap();
    wait_for("nothing is left", SOON, || Ok(stage.containers()?.is_empty().then_some(()))).unwrap();
    println!("nothing was left {:?} after the helper was back", back.elapsed());
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
}

/// This gVisor changes no limits of what runs.
#[test]
fn who_chooses_to_share_while_a_sandbox_runs_has_it_frozen() {
    let Some(running) = running() else { return };
    let share = Settings { give_back: GiveBack::Share, ..curated() };
    let save = UserCommand::Save { settings: Box::new(share), base: None };
    running.host.around.command(save).unwrap();
    for _ in 0..2 {
        running.owner_is_back();
        running.goes_on();
    }
    assert_eq!(running.renter.ssh(&running.lease, &["echo", "still", "here"]).unwrap().trim(), "still here");
}

#[test]
fn who_has_no_helper_or_does_not_want_gvisor_or_whose_driver_it_does_not_know_rents_out_without() {
    let Some((stage, _)) = stage() else { return };
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    let off = Settings { gvisor: false, ..curated() };
    let cases = [
        ("helpless", curated(), false, None),
        ("off", off, true, None),
        ("unlisted", curated(), true, Some(UNLISTED_DRIVER)),
    ];
    for (name, settings, has_helper, driver) in cases {
        if let Some(version) = driver {
            let other = Control::Driver { version: version.to_owned() };
            stage.cards.simulated().unwrap().client().control(other).unwrap();
        }
        let (mut host, _helper) = match has_helper {
            true => {
                stage.host_with_helper(name, &settings).map(|(host, helper)| (host, Some(helper))).unwrap()
            }
            false => (stage.host(name, &settings).unwrap().0, None),
        };
        let _words = LogsOfAFailure(vec![stage.folder().join(name).join("host.log")]);
        let watch = host.watch().unwrap();
        watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
        let lease = wait_for("a lease", SOON, || Ok(renter.rent(IMAGE).ok())).unwrap();
        assert_eq!(runtime(&stage, &lease), RUNC, "{name}");
        let kernel = renter.ssh(&lease, &["dmesg 2>&1; true"]).unwrap();
        assert!(!kernel.contains("gVisor"), "{name}: {kernel}");
        renter.run(&["stop", &lease, "--wait"]).unwrap();
        host.process.terminate(SOON).unwrap();
    }
}
