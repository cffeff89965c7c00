//! Whether a tenant runs in gVisor is what its renter was offered.

use super::*;
use crate::lease::LeaseTerms;
use crate::policy::{EngineFacts, Gvisor, Sandbox};
use crate::power::HelperStanding;
use crate::settings::EgressMode;

fn engine_that_knows(driver: &str) -> Input {
    let sandbox =
        Sandbox { runtime: "runsc".into(), drivers: vec![driver.to_owned()], changes_limits: false };
    let engine = EngineFacts { gvisor: Gvisor::Told(sandbox), ..EngineFacts::default() };
    let images = vec!["pytorch-cuda:lite".into()];
    Input::Runtime(Runtime::Ready { unsafe_versions: vec![], images, engine })
}

/// What stands in the latest offers, and what a lease of them would be prepared with.
fn offered(world: &World) -> bool {
    let offers = world.host.told_offers.as_ref().unwrap();
    assert!(offers.iter().all(|offer| offer.sandbox == offers[0].sandbox), "{offers:?}");
    offers[0].sandbox
}

fn prepared(world: &mut World, lease: &str, gpu: &str) -> Option<String> {
    let offer = Input::Market(MarketInput::Offer(Box::new(terms(lease, 1, gpu))));
    let effects = world.host.handle(offer, world.now);
    let found = effects.into_iter().find_map(|effect| match effect {
        Effect::Prepare { sandbox, .. } => Some(sandbox),
        _ => None,
    });
    found.unwrap()
}

#[test]
fn the_offer_says_what_a_lease_is_prepared_with_and_is_told_anew_when_that_changes() {
    let mut world = World::new();
    world.input(Input::Helper(HelperStanding::Available { version: "1".into() }));
    assert!(!offered(&world));
    world.input(engine_that_knows("535.54.03"));
    assert!(!offered(&world), "the driver is none that it knows");
    world.input(engine_that_knows(&driver().version));
    assert!(offered(&world));
    assert_eq!(prepared(&mut world, "first", "GPU-0").as_deref(), Some("runsc"));
    world.input(Input::Helper(HelperStanding::NotInstalled));
    assert!(!offered(&world), "nobody could end one that hangs");
    world.input(Input::Helper(HelperStanding::Available { version: "1".into() }));
    assert!(offered(&world));
    let settings = Settings { gvisor: false, ..world.host.settings.clone() };
    world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
    assert!(!offered(&world), "the owner turned it off");
    assert_eq!(prepared(&mut world, "second", "GPU-1"), None);
}

fn answer_to(world: &mut World, terms: LeaseTerms) -> Vec<Effect> {
    world.host.handle(Input::Market(MarketInput::Offer(Box::new(terms))), world.now)
}

fn prepared_bare(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Prepare { sandbox: None, .. }))
}

#[test]
fn a_lease_that_wants_none_is_declined_where_gvisor_came_into_use_after_the_offer() {
    let mut world = World::new();
    world.input(Input::Helper(HelperStanding::Available { version: "1".into() }));
    let wish = |lease, gpu| LeaseTerms { no_sandbox: true, ..terms(lease, 1, gpu) };
    assert!(!offered(&world));
    let effects = answer_to(&mut world, wish("before", "GPU-0"));
    assert!(prepared_bare(&effects), "{effects:?}");
    // The market has not read the next offers yet.
    world.input(engine_that_knows(&driver().version));
    assert!(offered(&world));
    let effects = answer_to(&mut world, wish("late", "GPU-1"));
    let told = Report::Declined {
        lease: LeaseId("late".into()),
        epoch: Epoch(1),
        reasons: vec![policy::BlockReason::SandboxUnwanted],
        no_room: None,
    };
    assert!(effects.contains(&Effect::Tell(told)), "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Prepare { .. })), "{effects:?}");
    // The owner's word, and nobody else's, takes the wall away.
    let settings = Settings { gvisor: false, ..world.host.settings.clone() };
    world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
    let effects = answer_to(&mut world, wish("again", "GPU-1"));
    assert!(prepared_bare(&effects), "{effects:?}");
}

#[test]
fn who_is_root_inside_and_wants_none_has_none_anyhow() {
    let mut world = World::new();
    world.input(Input::Helper(HelperStanding::Available { version: "1".into() }));
    world.input(engine_that_knows(&driver().version));
    let settings = Settings { root_inside: true, egress: EgressMode::Off, ..world.host.settings.clone() };
    world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
    let root = LeaseTerms { root_inside: true, no_sandbox: true, ..terms("root", 1, "GPU-0") };
    let effects = answer_to(&mut world, root);
    assert!(prepared_bare(&effects), "{effects:?}");
}
