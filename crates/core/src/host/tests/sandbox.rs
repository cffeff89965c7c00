//! Whether a tenant runs in gVisor is what its renter was offered.

use super::*;
use crate::lease::LeaseTerms;
use crate::policy::{EngineFacts, Gvisor, Sandbox};
use crate::power::HelperStanding;
use crate::settings::EgressMode;

/// So long a helper that went away is waited for.
const AWAITED_MS: u64 = 60_000;

fn engine_that_knows(driver: &str) -> Input {
    engine_that(driver, false)
}

fn engine_that(driver: &str, changes_limits: bool) -> Input {
    let drivers = vec![driver.to_owned()];
    engine_with(Gvisor::Told(Sandbox { runtime: "runsc".into(), drivers, changes_limits }))
}

fn engine_with(gvisor: Gvisor) -> Input {
    let engine = EngineFacts { gvisor, ..EngineFacts::default() };
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
    world.wait(AWAITED_MS);
    assert!(!offered(&world), "nobody could end one that hangs");
    world.input(Input::Helper(HelperStanding::Available { version: "1".into() }));
    assert!(offered(&world));
    let settings = Settings { gvisor: false, ..world.host.settings.clone() };
    world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
    assert!(!offered(&world), "the owner turned it off");
    assert_eq!(prepared(&mut world, "second", "GPU-1"), None);
}

fn offers(world: &World) -> usize {
    world.host.told_offers.as_ref().unwrap().len()
}

fn is_declined(effects: &[Effect]) -> bool {
    let declined = |effect: &Effect| matches!(effect, Effect::Tell(Report::Declined { .. }));
    effects.iter().any(declined) && !effects.iter().any(|effect| matches!(effect, Effect::Prepare { .. }))
}

/// As in an update of its package.
#[test]
fn a_helper_that_is_away_for_seconds_takes_the_wall_from_nobody() {
    let there = || Input::Helper(HelperStanding::Available { version: "1".into() });
    let broke = || Input::Helper(HelperStanding::NotAnswering { detail: "its connection broke".into() });
    let mut world = World::new();
    world.input(there());
    world.input(engine_that_knows(&driver().version));
    assert_eq!(offers(&world), 2);
    world.input(broke());
    assert_eq!(offers(&world), 0, "nobody is to come now");
    // How it is missed does not begin the wait anew.
    world.wait(AWAITED_MS / 2);
    world.input(Input::Helper(HelperStanding::NotInstalled));
    for no_sandbox in [true, false] {
        let early = LeaseTerms { no_sandbox, ..terms("early", 1, "GPU-0") };
        let effects = answer_to(&mut world, early);
        assert!(is_declined(&effects), "the market has not read that yet: {effects:?}");
    }
    world.input(there());
    assert!(offered(&world));
    world.input(broke());
    world.wait(AWAITED_MS - 1);
    assert_eq!(offers(&world), 0);
    world.wait(1);
    assert_eq!((offers(&world), offered(&world)), (2, false), "there is none any more");
    let effects = answer_to(&mut world, LeaseTerms { no_sandbox: true, ..terms("late", 1, "GPU-0") });
    assert!(prepared_bare(&effects), "{effects:?}");
}

#[test]
fn at_the_start_the_helper_is_asked_before_anybody_comes() {
    for (answer, in_gvisor) in [
        (HelperStanding::Available { version: "1".into() }, true),
        (HelperStanding::NotInstalled, false),
        (HelperStanding::NotAllowed, false),
    ] {
        let mut world = new_run();
        world.input(engine_that_knows(&driver().version));
        assert_eq!(offers(&world), 0);
        world.input(Input::Helper(answer));
        assert_eq!((offers(&world), offered(&world)), (2, in_gvisor));
    }
    let mut world = new_run();
    world.input(engine_that_knows(&driver().version));
    world.wait(AWAITED_MS);
    assert_eq!((offers(&world), offered(&world)), (2, false), "it never answered");
}

/// As on a PC that is busy with its own start.
#[test]
fn a_gvisor_that_was_too_slow_to_answer_takes_the_wall_from_nobody() {
    let there = || Input::Helper(HelperStanding::Available { version: "1".into() });
    let mut world = new_run();
    world.input(engine_with(Gvisor::Pending));
    world.input(there());
    assert_eq!(offers(&world), 0);
    assert!(world.host.view(world.now).helper_waits.is_empty(), "the helper is there");
    let early = LeaseTerms { no_sandbox: true, ..terms("early", 1, "GPU-0") };
    let effects = answer_to(&mut world, early);
    assert!(is_declined(&effects), "{effects:?}");
    world.input(engine_that_knows(&driver().version));
    assert_eq!((offers(&world), offered(&world)), (2, true));
    // One that was installed anew is asked anew.
    world.input(engine_with(Gvisor::Pending));
    assert_eq!(offers(&world), 0);
    world.input(engine_with(Gvisor::Silent));
    assert_eq!((offers(&world), offered(&world)), (2, false), "it was asked often enough");
    // Where it would not be used anyhow, nobody waits for it.
    world.input(engine_with(Gvisor::Pending));
    world.input(Input::Helper(HelperStanding::NotInstalled));
    assert_eq!(offers(&world), 0, "the helper may be back soon");
    assert!(!world.host.view(world.now).helper_waits.is_empty());
    world.wait(AWAITED_MS);
    assert_eq!((offers(&world), offered(&world)), (2, false));
    world.input(there());
    assert_eq!(offers(&world), 0);
    let settings = Settings { gvisor: false, ..world.host.settings.clone() };
    world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
    assert_eq!((offers(&world), offered(&world)), (2, false));
}

/// A host that was started a moment ago, with everybody away for long.
fn new_run() -> World {
    let mut world = World::new();
    let (mut host, now) = (Host::new(Settings::default()), world.now);
    std::mem::swap(&mut world.host.snapshot, &mut host.snapshot);
    host.snapshot.market = Market::Connected;
    std::mem::swap(&mut world.host.cards, &mut host.cards);
    host.handle(Input::Recovered(vec![]), now);
    World { host, ..world }
}

#[test]
fn who_has_no_gvisor_or_does_not_want_it_waits_for_no_helper() {
    let there = || Input::Helper(HelperStanding::Available { version: "1".into() });
    for (engine, gvisor) in
        [(engine_that_knows("535.54.03"), true), (engine_that_knows(&driver().version), false)]
    {
        let mut world = World::new();
        let settings = Settings { gvisor, ..world.host.settings.clone() };
        world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
        world.input(there());
        world.input(engine);
        world.input(Input::Helper(HelperStanding::NotInstalled));
        assert_eq!((offers(&world), offered(&world)), (2, false));
        assert!(prepared(&mut world, "first", "GPU-0").is_none());
    }
}

proptest! {
    /// Whatever the helper does: who comes within a minute of it has what was offered while it was there.
    #[test]
    fn a_lease_is_bare_only_where_the_helper_has_been_away_for_long(
        steps in prop::collection::vec((0_usize..4, 0_u64..90_000), 1..30),
        no_sandbox: bool,
    ) {
        let mut world = World::new();
        world.input(engine_that_knows(&driver().version));
        world.input(Input::Helper(HelperStanding::Available { version: "1".into() }));
        let mut left = None;
        for (which, ms) in steps {
            let standing = [
                HelperStanding::Available { version: "1".into() },
                HelperStanding::NotInstalled,
                HelperStanding::NotAllowed,
                HelperStanding::NotAnswering { detail: "test".into() },
            ][which].clone();
            left = if which == 0 { None } else { left.or(Some(world.now)) };
            world.input(Input::Helper(standing));
            world.wait(ms);
            let away_ms = left.map(|since| world.now.since_ms(since));
            let is_awaited = away_ms.is_some_and(|away_ms| away_ms < AWAITED_MS);
            prop_assert_eq!(offers(&world), if is_awaited { 0 } else { 2 });
            let mut other = world.host.clone();
            let terms = LeaseTerms { no_sandbox, ..terms("lease", 1, "GPU-0") };
            let effects = other.handle(Input::Market(MarketInput::Offer(Box::new(terms))), world.now);
            let is_bare = away_ms.is_some_and(|away_ms| away_ms >= AWAITED_MS);
            prop_assert_eq!(prepared_bare(&effects), is_bare, "{:?} {:?}", away_ms, effects);
        }
    }
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
fn who_cannot_be_narrowed_is_frozen_at_once_where_the_owner_turned_to_sharing_since() {
    for changes_limits in [false, true] {
        let mut world = World::new();
        world.input(Input::Helper(HelperStanding::Available { version: "1".into() }));
        world.input(engine_that(&driver().version, changes_limits));
        world.put(Step::Offer { lease: 0, epoch: 1 });
        world.put(Step::Hands { fail: false });
        world.put(Step::Start);
        let settings = Settings { give_back: GiveBack::Share, ..world.host.settings.clone() };
        world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
        let effects = world.host.handle(Input::Presence(Presence::Active { since: world.now }), world.now);
        let is_frozen = effects.iter().any(|effect| matches!(effect, Effect::Freeze { .. }));
        let is_asked = effects.iter().any(|effect| matches!(effect, Effect::Restrain { .. }));
        assert_eq!((is_frozen, is_asked), (!changes_limits, changes_limits), "{effects:?}");
        effects.into_iter().for_each(|effect| world.perform(effect));
        if changes_limits {
            continue;
        }
        world.put(Step::Hands { fail: false });
        world.put(Step::Idle);
        world.wait(Settings::default().idle_after_ms);
        world.put(Step::Hands { fail: false });
        let job = world.host.job(&LeaseId("lease-0".into())).unwrap();
        assert_eq!((job.state(), job.is_restrained()), (&LeaseState::Running, false), "it goes on, whole");
    }
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
