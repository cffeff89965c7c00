//! What cannot be seen, or goes on where nobody should.

use super::*;
use crate::gpu::GpuProcess;
use crate::policy::BlockReason;
use crate::settings::Sharing;
use crate::thermal::Doubt;

const LEASE: &str = "lease-0";

fn lease() -> LeaseId {
    LeaseId(LEASE.into())
}

fn state(world: &World) -> Option<LeaseState> {
    world.host.job(&lease()).map(|job| job.state().clone())
}

/// A second later, a look at both cards, with the tenant's program at this share of the first.
fn look(world: &mut World, sm_percent: Option<u32>, utilisation: u32) {
    world.now = world.now.plus_ms(1_000);
    let mut busy = card("GPU-0");
    busy.utilisation_percent = Some(utilisation);
    busy.processes =
        vec![GpuProcess { ours: true, sm_percent, ..GpuProcess::listed(7, Some(1 << 30), false) }];
    let cards = vec![busy, card("GPU-1")];
    world.input(Input::Gpus(GpuReport::Readings { driver: driver(), cards }));
}

fn frozen_world() -> World {
    let mut world = running_world();
    world.put(Step::Active);
    world.put(Step::Hands { fail: false });
    assert_eq!(state(&world), Some(LeaseState::Yielded));
    world
}

fn looks_until_it_ends(
    world: &mut World,
    at_most: usize,
    sm: Option<u32>,
    utilisation: u32,
) -> Option<usize> {
    (1..=at_most).find(|_| {
        look(world, sm, utilisation);
        matches!(state(world), Some(LeaseState::Ending { .. }))
    })
}

#[test]
fn a_tenant_whose_work_goes_on_while_it_is_frozen_is_ended() {
    let mut world = frozen_world();
    assert_eq!(looks_until_it_ends(&mut world, 20, Some(97), 97), Some(5));
    let kill =
        |(_, _, effect): &(LeaseId, Epoch, Effect)| matches!(effect, Effect::Stop { how: StopHow::Kill, .. });
    assert!(world.pending.iter().any(kill));
}

#[test]
fn what_was_on_its_way_may_end_and_who_is_still_stays() {
    let mut world = frozen_world();
    assert_eq!(looks_until_it_ends(&mut world, 4, Some(97), 97), None);
    assert_eq!(looks_until_it_ends(&mut world, 60, Some(0), 80), None, "the load is somebody else's");
    assert_eq!(state(&world), Some(LeaseState::Yielded));
}

#[test]
fn where_the_driver_says_nothing_of_programs_the_card_alone_tells() {
    assert_eq!(looks_until_it_ends(&mut frozen_world(), 20, None, 60), Some(5));
    let mut world = frozen_world();
    let mut shared = card("GPU-0");
    shared.utilisation_percent = Some(60);
    shared.processes = vec![
        GpuProcess { ours: true, ..GpuProcess::listed(7, None, false) },
        GpuProcess::listed(8, None, true),
    ];
    for _ in 0..20 {
        world.now = world.now.plus_ms(1_000);
        let cards = vec![shared.clone(), card("GPU-1")];
        world.input(Input::Gpus(GpuReport::Readings { driver: driver(), cards }));
    }
    assert_eq!(state(&world), Some(LeaseState::Yielded), "the desktop draws on it");
}

#[test]
fn a_driver_that_hangs_freezes_the_tenant_and_stops_its_meter() {
    let mut world = running_world();
    world.input(Input::Gpus(GpuReport::Silent));
    assert_eq!(state(&world), Some(LeaseState::Yielded));
    let silent = BlockReason::TemperatureUnknown { doubt: Doubt::Silent };
    assert_eq!(world.host.view(world.now).cards[0].verdict.reasons(), [silent]);
    world.put(Step::Hands { fail: false });
    world.put(Step::Cards(true));
    world.put(Step::Hands { fail: false });
    assert_eq!(state(&world), Some(LeaseState::Running), "it answers again");
}

#[test]
fn a_driver_that_hangs_takes_no_lease() {
    let mut world = World::new();
    world.input(Input::Gpus(GpuReport::Silent));
    world.put(Step::Offer { lease: 0, epoch: 1 });
    assert_eq!(state(&world), None);
    world.put(Step::Cards(true));
    world.put(Step::Offer { lease: 0, epoch: 2 });
    assert_eq!(state(&world), Some(LeaseState::Preparing));
}

#[test]
fn one_list_without_the_card_ends_no_job_and_two_do() {
    let mut world = running_world();
    world.put(Step::Cards(false));
    assert_eq!(state(&world), Some(LeaseState::Running));
    world.put(Step::Cards(true));
    world.put(Step::Cards(false));
    assert_eq!(state(&world), Some(LeaseState::Running));
    world.put(Step::Cards(false));
    assert!(matches!(state(&world), Some(LeaseState::Ending { .. })));
}

#[test]
fn an_owner_who_comes_back_does_not_wait_for_a_grace_that_others_caused() {
    let kills = |world: &World| {
        let stops = world
            .pending
            .iter()
            .filter(|(_, _, effect)| matches!(effect, Effect::Stop { how: StopHow::Kill, .. }));
        stops.count()
    };
    let mut world = running_world();
    world.put(Step::Snooze);
    assert!(matches!(state(&world), Some(LeaseState::Ending { .. })));
    assert_eq!(kills(&world), 0, "nobody waits for the card");
    world.put(Step::Active);
    assert_eq!(kills(&world), 1, "the owner does");
    world.put(Step::Active);
    assert_eq!(kills(&world), 1, "once is enough");
}

#[test]
fn narrower_bounds_of_sharing_hold_at_once() {
    let settings = Settings { give_back: GiveBack::Share, ..Settings::default() };
    let mut world = running_world();
    let save = |settings: &Settings| {
        Input::User(UserCommand::Save { settings: Box::new(settings.clone()), base: None })
    };
    world.input(save(&settings));
    world.put(Step::Active);
    assert_eq!(state(&world), Some(LeaseState::Running));
    let sharing = Sharing { cpu_percent: 5, ..settings.sharing };
    assert_ne!(sharing, settings.sharing);
    let effects = world.host.handle(save(&Settings { sharing, ..settings }), world.now);
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Restrain { sharing, .. } => Some(*sharing),
        _ => None,
    });
    assert_eq!(told, Some(Some(sharing)), "{effects:?}");
}
