//! A stranger's PC: an Engine without any image. The gateway, which every job runs behind, is told as missing where it lies
//! in no registry; where it does, the host fetches it by itself before anything else, keeps it, and a lease runs behind it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use nightjar_core::images::ImageTrouble;
use nightjar_core::policy::{BlockReason, Verdict};
use nightjar_core::settings::Settings;
use nightjar_protocol::images::PullState;
use nightjar_protocol::view::ViewModel;
use nightjar_testbed::catalogue::{self, Entry};
use nightjar_testbed::host::{Host, Surroundings, quick_settings};
use nightjar_testbed::images::{Flavour, GATEWAY};
use nightjar_testbed::process::{LogsOfAFailure, wait_for};
use nightjar_testbed::registry::Registry;
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);
/// Some hundred megabytes are unpacked.
const IN_A_WHILE: Duration = Duration::from_secs(300);
const IMAGE: &str = "lite:test";
/// As the catalogue names the gateway.
const FENCE: &str = "gateway";
/// Half a megabyte a second: the gateway takes a minute of it, which nobody waits for.
const SLOW_KBIT: u32 = 4_000;

fn is_blocked_by(view: &ViewModel, is_it: impl Fn(&BlockReason) -> bool) -> bool {
    view.cards.iter().any(|tile| match &tile.card.verdict {
        Verdict::Blocked { reasons, .. } => reasons.iter().any(&is_it),
        Verdict::Earn => false,
    })
}

fn images(around: &Surroundings) -> Value {
    serde_json::from_str(&around.owner(&["--json", "images", "list"]).unwrap()).unwrap()
}

fn pulled(around: &Surroundings) -> Vec<String> {
    let said = images(around);
    let names = said["pulled"]["images"].as_array().unwrap().iter();
    names.map(|image| image["name"].as_str().unwrap().to_owned()).collect()
}

/// Two images of the stage's Engine in a registry, the gateway's first.
fn publish(stage: &Stage, registry: &Registry) -> [Entry; 2] {
    let lite = Flavour::Lite.reference();
    [(FENCE, GATEWAY, 600), ("lite", lite.as_str(), 1_500)].map(|(name, image, size_mib)| {
        let digest = registry.push(&stage.engine, image, &format!("nightjar/{name}")).unwrap();
        let repository = format!("127.0.0.1:{}/nightjar/{name}", registry.port());
        Entry { name: name.to_owned(), repository, digest, size_mib }
    })
}

fn what_is_missing_is_said(stage: &Stage) {
    let (mut host, _) = stage.host("without", &quick_settings()).unwrap();
    let is_missing =
        |reason: &BlockReason| matches!(reason, BlockReason::NoGateway { reference } if reference == GATEWAY);
    let told = wait_for("what is missing is said", SOON, || {
        Ok(Some(host.around.view()?).filter(|view| is_blocked_by(view, is_missing)))
    });
    assert!(told.unwrap().pulls.is_empty(), "there is nowhere to fetch it from");
    wait_for("the owner is away, and the tray says it", SOON, || {
        Ok(host.around.view()?.sentence.contains(GATEWAY).then_some(()))
    })
    .unwrap();
    let doctor = host.around.owner(&["doctor"]).unwrap_err().to_string();
    assert!(doctor.contains(GATEWAY) && doctor.contains("images/README.md"), "{doctor}");
    host.process.terminate(SOON).unwrap();
}

/// One that the registry has not is asked for again, and the owner reads why it is not here.
fn what_cannot_be_had_is_said(stage: &Stage, fence: &Entry, lite: &Entry) {
    let mut around = stage.place("refused");
    let fence = Entry { digest: format!("sha256:{}", "0".repeat(64)), ..fence.clone() };
    catalogue::give_with_gateway(&mut around, &fence, std::slice::from_ref(lite)).unwrap();
    let (mut host, _): (Host, _) = stage.join(around, &quick_settings()).unwrap();
    let is_refused = |reason: &BlockReason| {
        matches!(reason, BlockReason::GatewayFailed { why: ImageTrouble::Refused { .. }, .. })
    };
    let told = wait_for("why it cannot be had is said", SOON, || {
        Ok(Some(host.around.view()?).filter(|view| is_blocked_by(view, is_refused)))
    })
    .unwrap();
    assert!(told.pulls.iter().any(|pull| matches!(pull.state, PullState::Failed { .. })), "{:?}", told.pulls);
    let doctor = host.around.owner(&["doctor"]).unwrap_err().to_string();
    assert!(doctor.contains("tried again at"), "{doctor}");
    let absent = host.around.owner(&["images", "free", FENCE]).unwrap_err().to_string();
    assert!(absent.contains("nothing to remove"), "{absent}");
    host.process.terminate(SOON).unwrap();
}

#[test]
fn an_engine_without_images_gets_the_gateway_before_anything_else_and_a_lease_runs_behind_it() {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let registry = Registry::start(stage.folder()).unwrap();
    let [fence, lite] = publish(&stage, &registry);
    let stage = stage.with_empty_engine().unwrap();
    let _words = LogsOfAFailure(vec![stage.folder().join("host/host.log")]);
    assert_eq!(stage.engine.ask(["images", "--quiet"]).unwrap(), "");
    what_is_missing_is_said(&stage);
    what_cannot_be_had_is_said(&stage, &fence, &lite);

    let mut around = stage.place("host");
    catalogue::give_with_gateway(&mut around, &fence, &[lite]).unwrap();
    let mut settings: Settings = quick_settings();
    settings.network.day.down_kbit = SLOW_KBIT;
    let (host, _): (Host, _) = stage.join(around, &settings).unwrap();
    let around = &host.around;
    around.owner(&["images", "pull", IMAGE]).unwrap();
    let is_first = |view: &ViewModel| {
        let states: Vec<_> = view.pulls.iter().map(|pull| (pull.name.as_str(), &pull.state)).collect();
        matches!(states[..], [(FENCE, PullState::Fetching), (IMAGE, PullState::Queued)])
            && is_blocked_by(view, |reason| *reason == BlockReason::GatewayComing)
    };
    wait_for("the gateway comes first", SOON, || Ok(Some(around.view()?).filter(is_first))).unwrap();
    around.owner(&["network", "set", "--down", "1000M"]).unwrap();
    wait_for("the gateway alone", IN_A_WHILE, || Ok((pulled(around) == [FENCE]).then_some(()))).unwrap();
    wait_for("both", IN_A_WHILE, || Ok((pulled(around).len() == 2).then_some(()))).unwrap();

    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok().filter(|said| said.contains(IMAGE))))
        .unwrap();
    let lease = renter.rent(IMAGE).unwrap();
    assert_eq!(renter.ssh(&lease, &["echo", "here"]).unwrap().trim(), "here");
    let standing = ["ps", "--quiet", "--no-trunc", "--filter", "label=nightjar.role=gateway"];
    let gateway = stage.engine.ask(standing).unwrap();
    let image = stage.engine.ask(["inspect", "--format", "{{.Image}}", gateway.trim()]).unwrap();
    let fetched = ["images", "--quiet", "--no-trunc", "nightjar.local/gateway"];
    assert_eq!(image.trim(), stage.engine.ask(fetched).unwrap().trim(), "another gateway than was fetched");
    renter.run(&["stop", &lease, "--wait"]).unwrap();

    // It stays whatever its owner says of images, and comes back when somebody takes it out of the Engine.
    let refused = around.owner(&["images", "free", FENCE]).unwrap_err().to_string();
    assert!(refused.contains("needed by every job"), "{refused}");
    wait_for("no container holds it", SOON, || Ok(stage.containers()?.is_empty().then_some(()))).unwrap();
    // On a narrow line again it comes so slowly that it can be seen to be missed.
    around.owner(&["network", "set", "--down", "4M"]).unwrap();
    let is_slow = || Ok((around.view()?.network.in_force.down_kbit <= SLOW_KBIT).then_some(()));
    wait_for("the line is narrow again", SOON, is_slow).unwrap();
    stage.engine.ask(["rmi", "--force", image.trim()]).unwrap();
    wait_for("it is missed", SOON, || Ok((!pulled(around).contains(&FENCE.to_owned())).then_some(())))
        .unwrap();
    around.owner(&["network", "set", "--down", "1000M"]).unwrap();
    wait_for("it comes again", IN_A_WHILE, || Ok((pulled(around).len() == 2).then_some(()))).unwrap();
    let is_shown = || {
        let line = images(around)["images"][0].clone();
        assert_eq!((&line["name"], &line["is_needed"]), (&FENCE.into(), &true.into()));
        Ok((line["is_present"] == true).then_some(()))
    };
    wait_for("it is shown as there", SOON, is_shown).unwrap();
}
