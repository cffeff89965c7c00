//! Whether a tenant runs in gVisor is what its renter was offered.

use super::*;
use crate::policy::{EngineFacts, Gvisor, Sandbox};
use crate::power::HelperStanding;

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
