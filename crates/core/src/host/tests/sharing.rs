//! A tenant that shares the PC pays for what it has, whatever becomes of the orders that give and take it.

use super::*;
use crate::settings::Sharing;

const WHOLE: Option<Sharing> = None;

fn lease() -> LeaseId {
    LeaseId("lease-0".into())
}

fn narrow() -> Option<Sharing> {
    Some(Sharing::default())
}

/// A host that shares, with a tenant and its owner away.
fn sharing_world() -> World {
    let mut world = running_world();
    let settings = Settings { give_back: GiveBack::Share, ..world.host.settings.clone() };
    world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
    world
}

/// What the worker is asked to be kept to.
fn asked(world: &mut World, input: Input) -> Vec<Option<Sharing>> {
    let effects = world.host.handle(input, world.now);
    let found = effects.iter().filter_map(|effect| match effect {
        Effect::Restrain { sharing, .. } => Some(*sharing),
        _ => None,
    });
    let found = found.collect();
    effects.into_iter().for_each(|effect| world.perform(effect));
    found
}

fn says(event: WorkerEvent) -> Input {
    Input::Worker { lease: lease(), epoch: Epoch(1), event }
}

fn does(sharing: Option<Sharing>) -> Input {
    says(WorkerEvent::Restrained { sharing })
}

fn refuses(sharing: Option<Sharing>) -> Input {
    says(WorkerEvent::RestrainFailed { sharing, cause: "Docker is busy".into() })
}

fn owner_comes(world: &mut World) -> Vec<Option<Sharing>> {
    asked(world, Input::Presence(Presence::Active { since: world.now }))
}

fn owner_leaves(world: &mut World) -> Vec<Option<Sharing>> {
    world.put(Step::Idle);
    world.now = world.now.plus_ms(Settings::default().idle_after_ms);
    asked(world, Input::Deadline)
}

/// Of so long, what is paid for.
fn paid_ms(world: &mut World, ms: u64) -> u64 {
    let paid = |world: &World| world.host.job(&lease()).unwrap().running_ms(world.now);
    let before = paid(world);
    world.wait(ms);
    paid(world) - before
}

fn share_of(ms: u64) -> u64 {
    ms * u64::from(Sharing::default().share_percent()) / 100
}

#[test]
fn what_is_not_given_back_is_not_paid_for_and_is_asked_for_again() {
    let mut world = sharing_world();
    assert_eq!(owner_comes(&mut world), [narrow()]);
    world.input(does(narrow()));
    assert_eq!(owner_leaves(&mut world), [WHOLE]);
    assert_eq!(paid_ms(&mut world, 1_000), share_of(1_000), "it is not there yet");
    for _ in 0..3 {
        assert!(
            asked(&mut world, refuses(WHOLE)).is_empty(),
            "not at once, or it would be asked without end"
        );
        assert_eq!(paid_ms(&mut world, 9_000), share_of(9_000));
        assert_eq!(paid_ms(&mut world, 600_000), share_of(600_000));
    }
    world.now = world.now.plus_ms(1_000);
    world.input(refuses(WHOLE));
    let (at, why) = world.host.next_deadline().unwrap();
    assert!(at > world.now, "{why}");
    world.input(does(WHOLE));
    assert_eq!(paid_ms(&mut world, 100_000), 100_000);
    world.check_records();
}

#[test]
fn it_is_asked_for_again_at_its_time_and_not_while_the_owner_is_back() {
    let mut world = sharing_world();
    owner_comes(&mut world);
    world.input(does(narrow()));
    owner_leaves(&mut world);
    world.input(refuses(WHOLE));
    world.now = world.now.plus_ms(9_999);
    assert!(asked(&mut world, Input::Deadline).is_empty());
    world.now = world.now.plus_ms(1);
    assert_eq!(asked(&mut world, Input::Deadline), [WHOLE]);
    assert!(asked(&mut world, Input::Deadline).is_empty());
    world.input(refuses(WHOLE));
    assert_eq!(owner_comes(&mut world), [narrow()]);
    world.wait(60_000);
    assert!(asked(&mut world, Input::Deadline).is_empty());
}

#[test]
fn a_refusal_that_comes_when_the_owner_is_back_takes_sharing_from_nobody() {
    let mut world = sharing_world();
    owner_comes(&mut world);
    world.input(does(narrow()));
    assert_eq!(owner_leaves(&mut world), [WHOLE]);
    assert_eq!(owner_comes(&mut world), [narrow()]);
    for answer in [refuses(WHOLE), does(narrow())] {
        world.input(answer);
        assert_eq!(world.host.job(&lease()).unwrap().state(), &LeaseState::Running);
    }
    assert_eq!(paid_ms(&mut world, 100_000), share_of(100_000));
}

/// The agent may have ended between the two.
#[test]
fn who_may_have_been_left_within_bounds_pays_for_them_until_they_are_lifted() {
    for (give_back, paid) in [(GiveBack::Share, share_of(10_000)), (GiveBack::Instant, 10_000)] {
        let mut world = World::new();
        let settings = Settings { give_back, ..world.host.settings.clone() };
        world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
        let stored = StoredLease {
            terms: terms("lease-0", 1, "GPU-0"),
            state: LeaseState::Running,
            last_sequence: 0,
            running_ms_total: 0,
            bill: Bill::default(),
        };
        let survivor = Survivor { stored, fate: WorkerFate::Running };
        assert_eq!(asked(&mut world, Input::Recovered(vec![survivor])), [WHOLE]);
        world.input(says(WorkerEvent::Thawed));
        world.input(refuses(WHOLE));
        assert_eq!(paid_ms(&mut world, 10_000), paid);
        world.input(does(WHOLE));
        assert_eq!(paid_ms(&mut world, 10_000), 10_000);
        world.check_records();
    }
}
