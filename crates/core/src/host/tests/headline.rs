//! What the one sentence speaks of, on a PC with several cards.

use super::*;
use crate::policy::{BlockReason, EngineFacts, Gvisor, KernelFacts, Sandbox};
use crate::settings::CardRule;

/// A card as its owner has it.
#[derive(Clone, Copy, Debug)]
struct Kept {
    lent: bool,
    hot: bool,
    /// The desktop is on another one, and it may go on while the owner is there.
    apart: bool,
}

fn kept() -> impl Strategy<Value = Kept> {
    any::<(bool, bool, bool)>().prop_map(|(lent, hot, apart)| Kept { lent, hot, apart })
}

/// The host of a PC with these cards, idle for long or with its owner there.
fn host_of(cards: &[Kept], owner_is_there: bool) -> World {
    let mut world = World::new();
    let uuid = |number: usize| GpuUuid(format!("GPU-{number}"));
    let rule = |card: &Kept| CardRule { lend: card.lent, while_here: card.apart };
    let rules = cards.iter().enumerate().map(|(number, card)| (uuid(number), rule(card)));
    let settings = Settings { cards: rules.collect(), ..Settings::default() };
    let ceiling = f64::from(settings.temperature_ceiling_celsius);
    world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
    let reading = |(number, kept): (usize, &Kept)| {
        let mut reading = card(&uuid(number).0);
        reading.display_attached = Some(!kept.apart);
        reading.temperature_celsius = Some(if kept.hot { ceiling + 5.0 } else { 45.0 });
        reading
    };
    let readings = cards.iter().enumerate().map(reading).collect();
    world.input(Input::Gpus(GpuReport::Readings { driver: driver(), cards: readings }));
    if owner_is_there {
        world.put(Step::Active);
    }
    world
}

/// Of an owner who has gone, with a job in gVisor that stands frozen.
fn frozen_in_gvisor() -> World {
    let mut world = World::new();
    world.input(helper(true));
    world.input(engine_with_gvisor(KernelFacts::default()));
    // The only card.
    let cards = vec![card("GPU-0")];
    world.input(Input::Gpus(GpuReport::Readings { driver: driver(), cards }));
    world.put(Step::Offer { lease: 0, epoch: 1 });
    world.put(Step::Hands { fail: false });
    world.put(Step::Start);
    world.put(Step::Active);
    world.put(Step::Hands { fail: false });
    world.put(Step::Idle);
    world
}

fn engine_with_gvisor(kernel: KernelFacts) -> Input {
    let sandbox = Sandbox { runtime: "runsc".into(), drivers: vec![driver().version], changes_limits: false };
    let engine = EngineFacts { gvisor: Gvisor::Told(sandbox), kernel, ..EngineFacts::default() };
    let images = vec!["pytorch-cuda:lite".into()];
    Input::Runtime(Runtime::Ready { unsafe_versions: vec![], images, engine })
}

fn helper(is_there: bool) -> Input {
    Input::Helper(match is_there {
        true => HelperStanding::Available { version: "1".into() },
        false => HelperStanding::NotInstalled,
    })
}

fn wait_of(world: &World) -> Option<HelperWait> {
    world.host.view(world.now).helper_waits.get(&GpuUuid("GPU-0".into())).copied()
}

#[test]
fn a_frozen_job_that_waits_for_the_helper_needs_its_owner() {
    let mut world = frozen_in_gvisor();
    world.input(helper(false));
    assert_eq!(wait_of(&world), None, "it waits for its owner to go");
    world.wait(Settings::default().resume_after_ms);
    for is_ended in [false, true] {
        if is_ended {
            world.put(Step::MarketEnds);
            world.wait(5_000);
        }
        let view = world.host.view(world.now);
        assert_eq!(
            (view.state, view.reason, wait_of(&world)),
            (HostState::Trouble, None, Some(HelperWait::FrozenJob))
        );
        world.input(helper(true));
        assert_eq!((world.host.view(world.now).state, wait_of(&world)), (HostState::Earning, None));
        world.input(helper(false));
    }
    let event = WorkerEvent::Gone { cause: "test".into() };
    world.input(Input::Worker { lease: LeaseId("lease-0".into()), epoch: Epoch(1), event });
    world.input(helper(true));
    world.wait(Settings::default().idle_after_ms);
    assert_eq!((world.host.view(world.now).state, wait_of(&world)), (HostState::Waiting, None));
    world.input(helper(false));
    assert_eq!(
        (world.host.view(world.now).state, wait_of(&world)),
        (HostState::Waiting, Some(HelperWait::NextJob))
    );
    world.wait(60_000);
    assert_eq!((world.host.view(world.now).state, wait_of(&world)), (HostState::Waiting, None));
}

/// Docker alone has it.
#[test]
fn a_job_that_is_in_no_gvisor_waits_for_no_helper() {
    let mut world = running_world();
    world.input(helper(false));
    world.put(Step::Active);
    world.put(Step::Hands { fail: false });
    world.put(Step::Idle);
    world.wait(Settings::default().resume_after_ms);
    assert_eq!(wait_of(&world), None);
    world.put(Step::MarketEnds);
    world.wait(60_000);
    assert_eq!(wait_of(&world), None);
}

/// Of one that an earlier run began it is not known; where there is a gVisor, it may be in it.
#[test]
fn a_job_of_an_earlier_run_may_wait_for_the_helper_where_there_is_a_gvisor() {
    for has_gvisor in [false, true] {
        let mut world = if has_gvisor { frozen_in_gvisor() } else { World::new() };
        world.host.cards.values_mut().for_each(|card| card.job = None);
        world.input(helper(false));
        let stored = StoredLease {
            terms: terms("old", 1, "GPU-0"),
            state: LeaseState::Yielded,
            last_sequence: 0,
            running_ms_total: 0,
            bill: Bill::default(),
        };
        world.input(Input::Recovered(vec![Survivor { stored, fate: WorkerFate::Frozen }]));
        assert_eq!(wait_of(&world), None, "Docker may end it");
        world.wait(5_000);
        assert_eq!(wait_of(&world), has_gvisor.then_some(HelperWait::FrozenJob));
        if has_gvisor {
            // Nobody asks the kernel anything before that job is gone.
            world.input(engine_with_gvisor(KernelFacts::Asking));
            world.wait(Settings::default().idle_after_ms);
            let view = world.host.view(world.now);
            assert!(view.cards[0].verdict.reasons().contains(&BlockReason::KernelAsked), "{view:?}");
            assert_eq!((view.state, view.reason), (HostState::Trouble, None));
        }
    }
}

proptest! {
    #[test]
    fn who_waits_for_a_job_has_a_card_for_it(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            world.put(step);
            let view = world.host.view(world.now);
            let at_work = |job: &JobView| {
                !matches!(job.state, LeaseState::Yielded | LeaseState::Ending { .. })
            };
            let is_free = |card: &CardView| card.verdict == Verdict::Earn && card.job.is_none();
            let works = view.cards.iter().filter_map(|card| card.job.as_ref()).any(at_work);
            let is_waiting = !works && view.cards.iter().any(is_free);
            prop_assert_eq!(view.state == HostState::Waiting, is_waiting, "{:?}", view.cards);
        }
    }

    #[test]
    fn the_trouble_of_a_lent_card_is_told_whatever_the_others_are(
        cards in prop::collection::vec(kept(), 1..5),
        owner_is_there in any::<bool>(),
    ) {
        let world = host_of(&cards, owner_is_there);
        let view = world.host.view(world.now);
        let blocked = |card: &&Kept| card.hot || (owner_is_there && !card.apart);
        let lent: Vec<&Kept> = cards.iter().filter(|card| card.lent).collect();
        if lent.is_empty() {
            prop_assert_eq!((view.state, &view.reason), (HostState::Yours, &Some(BlockReason::CardNotLent)));
        } else if !lent.iter().all(blocked) {
            prop_assert_eq!((view.state, &view.reason), (HostState::Waiting, &None));
        } else if lent.iter().any(|card| card.hot) {
            prop_assert_eq!(view.state, HostState::Trouble);
            prop_assert!(view.reason.as_ref().is_some_and(BlockReason::is_trouble), "{:?}", view.reason);
        } else {
            prop_assert_eq!(view.state, HostState::Yours);
            prop_assert!(matches!(view.reason, Some(BlockReason::UserHere { .. })), "{:?}", view.reason);
        }
        // When that changes is said of the same card.
        let is_its = |card: &CardView| matches!(&card.verdict, Verdict::Blocked { reasons, next_change }
            if view.reason.as_ref().is_some_and(|reason| reasons.contains(reason)) && *next_change == view.next_change);
        prop_assert!(view.reason.is_none() || view.cards.iter().any(is_its), "{:?}", view.next_change);
    }
}
