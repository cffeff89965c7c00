//! A market asks a card that waits for a job to prove itself: our own check runs in a real container without a tenant,
//! the owner sees it, and the owner's hand ends it. The card is the stand-in's.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use nightjar_core::host::HostState;
use nightjar_protocol::view::ViewModel;
use nightjar_testbed::host::{Host, Watch, lingering_settings};
use nightjar_testbed::process::{LogsOfAFailure, wait_for};
use nightjar_testbed::stage::{Stage, Wish};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);
/// A new card is asked within forty seconds of being on offer.
const ASKED_WITHIN: Duration = Duration::from_secs(120);

fn is_proving(view: &ViewModel) -> bool {
    view.cards.first().is_some_and(|tile| tile.card.proving)
}

fn held_mib(view: &ViewModel) -> u64 {
    view.cards[0].card.reading.vram_used_bytes >> 20
}

/// The one card of the only host that has ever been asked something, as the operator sees it.
fn card(stage: &Stage, host: usize) -> Value {
    let told: Value =
        serde_json::from_str(&stage.market.operator(&["host", "list", "--json"]).unwrap()).unwrap();
    told["hosts"][host]["cards"][0].clone()
}

fn host(stage: &Stage, name: &str) -> (Host, Watch) {
    let (host, _) = stage.host(name, &lingering_settings()).unwrap();
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    (host, watch)
}

#[test]
fn peers_19_a_card_proves_itself_while_it_waits_and_its_owner_comes_first() {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let logs = ["first/host.log", "second/host.log", "coordinator.log"].map(|log| stage.folder().join(log));
    let _words = LogsOfAFailure(logs.into());

    // Nobody rents, nobody presses anything.
    let (mut first, watch) = host(&stage, "first");
    let (began, view) = watch.until("the card is asked", ASKED_WITHIN, is_proving).unwrap();
    let said = "This card is proving itself to the market; that takes some seconds.";
    assert_eq!((view.sentence.as_str(), view.cards[0].sentence.as_str()), (said, said));
    assert_eq!(view.state, HostState::Waiting, "it stays on offer");
    let (ended, _) = watch.until("the check is over", SOON, |view| !is_proving(view)).unwrap();
    println!("the check took {} ms", (ended - began).as_millis());
    let checked = wait_for("the market's judgement", SOON, || {
        Ok(Some(card(&stage, 0)).filter(|card| card["last_check"].is_object()))
    });
    let checked = checked.unwrap();
    assert_eq!(checked["last_check"]["passed"], true, "{checked}");
    assert_eq!((&checked["last_check"]["kind"], &checked["left_out_for"]), (&"waiting".into(), &Value::Null));
    let shown = stage.market.operator(&["host", "list"]).unwrap();
    assert!(shown.contains("passed its last check, while it waited"), "{shown}");
    wait_for("nothing of it is left", SOON, || Ok(stage.containers()?.is_empty().then_some(()))).unwrap();
    let why: Value = serde_json::from_str(&first.around.owner(&["--json", "why"]).unwrap()).unwrap();
    let parts = why["summary"]["parts"].as_array().unwrap();
    let of = |wanted: &str| parts.iter().filter(|part| part["spent"]["spent"] == wanted).collect::<Vec<_>>();
    let proving: u64 = of("proving").iter().filter_map(|part| part["ms"].as_u64()).sum();
    assert!(proving > 0, "{why}");
    let whole: u64 = parts.iter().filter_map(|part| part["ms"].as_u64()).sum();
    let span = why["summary"]["until"].as_u64().unwrap() - why["summary"]["since"].as_u64().unwrap();
    assert_eq!(whole, span, "the account adds up");
    drop(watch);
    first.process.terminate(SOON).unwrap();

    // Another host, and its owner's hand while the check runs.
    let (_second, watch) = host(&stage, "second");
    watch.until("the card is asked", ASKED_WITHIN, is_proving).unwrap();
    let mouse = stage.desktop.mouse().unwrap();
    wait_for("the check's container runs", SOON, || {
        let running = ["ps", "-q", "--filter", "label=nightjar.role=load", "--filter", "status=running"];
        Ok(Some(stage.engine.ask(running)?).filter(|said| !said.trim().is_empty()))
    })
    .unwrap();
    let moved = Instant::now();
    // They stay, or the card would be on offer again by the time that it is shown.
    let _staying = mouse.stays().unwrap();
    let is_back = |view: &ViewModel| !is_proving(view) && held_mib(view) < 1_024;
    let (back, view) = watch.until("the card is the owner's", SOON, is_back).unwrap();
    println!("the card was back {} ms after the hand", back.saturating_duration_since(moved).as_millis());
    assert_eq!(view.state, HostState::Yours);
    wait_for("nothing of it is left", SOON, || Ok(stage.containers()?.is_empty().then_some(()))).unwrap();
    let asked = card(&stage, 1);
    assert_eq!(
        (&asked["last_check"], &asked["left_out_for"]),
        (&Value::Null, &Value::Null),
        "nobody is blamed"
    );
}
