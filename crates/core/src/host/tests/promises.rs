//! What the users of today's programs complain of, each as a test that bears its number in the list of peers.

use super::*;
use crate::gpu::GpuProcess;
use crate::policy::{BlockReason, EngineFacts};
use crate::settings::{CardRule, Sharing};

/// A host with these settings, idle for long, with its market.
fn waiting_host(settings: Settings) -> World {
    let mut world = World::new();
    world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
    world
}

fn effects_of(world: &mut World, input: Input) -> Vec<Effect> {
    let effects = world.host.handle(input, world.now);
    effects.iter().for_each(|effect| world.perform(effect.clone()));
    effects
}

fn owner_comes(world: &mut World) -> Vec<Effect> {
    let since = world.now;
    effects_of(world, Input::Presence(Presence::Active { since }))
}

fn run_on(world: &mut World, lease: &str, gpu: &str) {
    world.input(Input::Market(MarketInput::Offer(Box::new(terms(lease, 1, gpu)))));
    world.hands(false);
    let (lease, epoch) = (LeaseId(lease.into()), Epoch(1));
    world.input(Input::Market(MarketInput::Start { lease: lease.clone(), epoch }));
    assert_eq!(world.host.job(&lease).map(|job| job.state().clone()), Some(LeaseState::Running));
}

fn verdict_of(world: &World, gpu: &str) -> Verdict {
    world.host.cards[&GpuUuid(gpu.into())].verdict.clone()
}

#[test]
fn peers_01_lending_begins_by_itself_once_nobody_is_there() {
    let mut world = World::new();
    world.put(Step::Active);
    world.put(Step::Idle);
    assert!(matches!(verdict_of(&world, "GPU-0"), Verdict::Blocked { .. }));
    // Nobody presses anything.
    world.wait(Settings::default().idle_after_ms);
    assert_eq!(verdict_of(&world, "GPU-0"), Verdict::Earn);
    assert_eq!(world.host.told_offers.as_ref().map(Vec::len), Some(2));
}

#[test]
fn peers_02_no_choice_of_a_moment_turns_idle_mode_off() {
    let day_ms = 86_400_000;
    let choices = [
        UserCommand::Snooze { for_ms: MAX_OVERRIDE_MS },
        UserCommand::LastJob { for_ms: MAX_OVERRIDE_MS },
        UserCommand::EarnNow { for_ms: MAX_OVERRIDE_MS, until_back: false },
        UserCommand::EarnNow { for_ms: MAX_OVERRIDE_MS, until_back: true },
        UserCommand::StopJob { lease: LeaseId("lease-0".into()) },
        UserCommand::SnoozeForGame,
        UserCommand::EndSnooze,
        UserCommand::EndOverrides,
    ];
    for choice in choices {
        let mut world = running_world();
        world.input(game(true));
        world.input(Input::User(choice.clone()));
        world.input(game(false));
        while !world.pending.is_empty() {
            world.hands(false);
        }
        world.wait(8 * day_ms);
        assert_eq!(world.host.overrides, Overrides::default(), "{choice:?} did not pass");
        assert_eq!(verdict_of(&world, "GPU-0"), Verdict::Earn, "{choice:?} turned idle mode off");
        assert!(world.host.settings.earn_while_idle);
    }
}

#[test]
fn the_end_of_a_snooze_leaves_the_last_job_the_last() {
    let hour_ms = 3_600_000;
    for snooze in [UserCommand::Snooze { for_ms: hour_ms }, UserCommand::SnoozeForGame] {
        let mut world = World::new();
        world.input(game(true));
        world.input(Input::User(UserCommand::LastJob { for_ms: 12 * hour_ms }));
        let last_job =
            Overrides { last_job_until: Some(world.now.plus_ms(12 * hour_ms)), ..Overrides::default() };
        world.input(Input::User(snooze.clone()));
        assert_ne!(world.host.overrides, last_job, "{snooze:?} did nothing");
        world.input(Input::User(UserCommand::EndSnooze));
        assert_eq!(world.host.overrides, last_job, "{snooze:?}");
        world.input(Input::User(UserCommand::EndOverrides));
        assert_eq!(world.host.overrides, Overrides::default());
    }
}

#[test]
fn peers_04_a_game_gets_the_memory_and_not_a_frozen_tenant() {
    let mut world = running_world();
    let effects = effects_of(&mut world, game(true));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Freeze { .. })), "{effects:?}");
    assert!(matches!(&effects[0], Effect::Stop { how: StopHow::Kill, .. }), "{effects:?}");
    // Also when it was frozen already, since then it still holds its memory.
    let mut world = running_world();
    world.put(Step::Active);
    world.hands(false);
    let effects = effects_of(&mut world, game(true));
    assert!(matches!(effects[0], Effect::Stop { how: StopHow::Kill, .. }), "{effects:?}");
}

#[test]
fn peers_04_a_frozen_tenant_that_leaves_the_desktop_too_little_memory_ends() {
    let mut world = running_world();
    let mut full = card("GPU-0");
    full.vram_used_bytes = full.vram_total_bytes - (256 << 20);
    let readings = GpuReport::Readings { driver: driver(), cards: vec![full, card("GPU-1")] };
    assert!(effects_of(&mut world, Input::Gpus(readings)).is_empty(), "nobody is there to need it");
    let effects = owner_comes(&mut world);
    assert!(matches!(effects[0], Effect::Stop { .. }), "{effects:?}");
}

#[test]
fn peers_06_a_game_on_one_card_leaves_the_other_earning() {
    let rule = CardRule { while_here: true, ..CardRule::default() };
    let cards = [(GpuUuid("GPU-1".into()), rule)].into();
    let mut world = waiting_host(Settings { cards, ..Settings::default() });
    let mut second = card("GPU-1");
    second.display_attached = Some(false);
    let cards = vec![card("GPU-0"), second];
    world.input(Input::Gpus(GpuReport::Readings { driver: driver(), cards }));
    run_on(&mut world, "first", "GPU-0");
    run_on(&mut world, "second", "GPU-1");
    world.input(game(true));
    world.input(Input::Presence(Presence::Active { since: world.now }));
    let state = |lease: &str| world.host.job(&LeaseId(lease.into())).map(|job| job.state().clone());
    assert!(matches!(state("first"), Some(LeaseState::Ending { reason: EndReason::OwnerReturned })));
    assert_eq!(state("second"), Some(LeaseState::Running));
    assert_eq!(verdict_of(&world, "GPU-1"), Verdict::Earn);
}

#[test]
fn a_card_that_is_not_lent_says_so_and_its_job_ends() {
    let mut world = running_world();
    let rule = CardRule { lend: false, ..CardRule::default() };
    let cards = [(GpuUuid("GPU-0".into()), rule)].into();
    let settings = Settings { cards, ..Settings::default() };
    world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
    let Verdict::Blocked { reasons, .. } = verdict_of(&world, "GPU-0") else { panic!("it is lent") };
    assert_eq!(reasons, [BlockReason::CardNotLent]);
    assert_eq!(verdict_of(&world, "GPU-1"), Verdict::Earn);
}

/// Its jobs may use two images, and both are good for what the owner agrees to.
fn host_with_two_images() -> World {
    let mut world = World::new();
    let images = vec!["pytorch-cuda:lite".to_owned(), "pytorch-cuda:full".to_owned()];
    let kinds = images.iter().map(|image| (image.clone(), vec![TaskKind::Interactive])).collect();
    world.input(Input::TaskKinds(kinds));
    let (unsafe_versions, engine) = (Vec::new(), Default::default());
    world.input(Input::Runtime(Runtime::Ready { unsafe_versions, images, engine }));
    world
}

fn refuse(world: &mut World, names: &[&str]) {
    let mut settings = world.host.settings.clone();
    settings.images.refused = names.iter().map(|name| (*name).to_owned()).collect();
    world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
}

fn offered_images(world: &World) -> Vec<String> {
    world.host.told_offers.as_ref().unwrap()[0].images.clone()
}

#[test]
fn an_image_that_the_owner_refuses_is_neither_offered_nor_leased_and_its_job_goes_on() {
    let mut world = host_with_two_images();
    assert_eq!(offered_images(&world), ["pytorch-cuda:lite", "pytorch-cuda:full"]);
    run_on(&mut world, "first", "GPU-0");
    refuse(&mut world, &["pytorch-cuda:lite"]);
    assert_eq!(offered_images(&world), ["pytorch-cuda:full"]);
    assert_eq!(world.host.view(world.now).lent_images, ["pytorch-cuda:full"]);
    // Who rented it in good faith keeps it.
    let state = world.host.job(&LeaseId("first".into())).map(|job| job.state().clone());
    assert_eq!(state, Some(LeaseState::Running));
    // A lease that was on its way when the owner said so.
    let late = Input::Market(MarketInput::Offer(Box::new(terms("late", 1, "GPU-1"))));
    let effects = effects_of(&mut world, late.clone());
    let told = Report::Declined {
        lease: LeaseId("late".into()),
        epoch: Epoch(1),
        reasons: vec![BlockReason::ImageNotLent.unnamed()],
        no_room: Default::default(),
    };
    assert!(effects.contains(&Effect::Tell(told)), "{effects:?}");
    refuse(&mut world, &[]);
    assert_eq!(offered_images(&world), ["pytorch-cuda:lite", "pytorch-cuda:full"]);
    assert!(effects_of(&mut world, late).iter().any(|effect| matches!(effect, Effect::Prepare { .. })));
}

#[test]
fn with_no_image_to_lend_the_owner_is_told_and_a_job_that_runs_goes_on() {
    let mut world = host_with_two_images();
    let why = |world: &World| world.host.view(world.now).cards[0].verdict.clone();
    let blocked = |reason| Verdict::Blocked { reasons: vec![reason], next_change: None };
    assert_eq!(why(&world), Verdict::Earn);
    run_on(&mut world, "first", "GPU-0");
    refuse(&mut world, &["pytorch-cuda:lite", "pytorch-cuda:full"]);
    assert_eq!(why(&world), blocked(BlockReason::NoImageLent));
    assert!(world.host.told_offers.as_ref().unwrap().is_empty());
    let state = world.host.job(&LeaseId("first".into())).map(|job| job.state().clone());
    assert_eq!(state, Some(LeaseState::Running));
    refuse(&mut world, &[]);
    assert_eq!(why(&world), Verdict::Earn);
    let engine = EngineFacts::default();
    world.input(Input::Runtime(Runtime::Ready { unsafe_versions: vec![], images: vec![], engine }));
    assert_eq!(why(&world), blocked(BlockReason::NoImage));
    assert_eq!(world.host.pull_hold(world.now), None, "it would never come");
    world.input(Input::ImageComing { is_coming: true });
    assert_eq!(why(&world), blocked(BlockReason::ImageComing));
    assert!(!BlockReason::ImageComing.is_trouble(), "what the owner chose is on its way");
    assert_eq!(world.host.pull_hold(world.now), None, "it would never come");
    // Without the gateway's nobody knows of the others, and it is the reason.
    let engine = EngineFacts { gateway: policy::GatewayImage::Coming, ..EngineFacts::default() };
    world.input(Input::Runtime(Runtime::Ready { unsafe_versions: vec![], images: vec![], engine }));
    assert_eq!(why(&world), blocked(BlockReason::GatewayComing));
}

/// Only what lies here is offered, and nothing but the gateway comes here by itself.
#[test]
fn an_image_that_is_new_in_the_catalogue_is_not_offered_before_the_owner_has_it_here() {
    let mut world = host_with_two_images();
    let names = ["pytorch-cuda:lite", "pytorch-cuda:full", "new:full"];
    let kinds = names.iter().map(|name| ((*name).to_owned(), vec![TaskKind::Interactive])).collect();
    world.input(Input::TaskKinds(kinds));
    assert!(!offered_images(&world).contains(&"new:full".to_owned()));
    let effects = effects_of(&mut world, Input::Deadline);
    assert!(effects.is_empty(), "{effects:?}");
}

#[test]
fn ten_twitches_of_the_mouse_are_one_freeze() {
    let mut world = running_world();
    let mut freezes = 0;
    for _ in 0..10 {
        let effects = owner_comes(&mut world);
        freezes += effects.iter().filter(|effect| matches!(effect, Effect::Freeze { .. })).count();
        while !world.pending.is_empty() {
            world.hands(false);
        }
        world.put(Step::Idle);
        world.wait(20_000);
    }
    assert_eq!(freezes, 1);
}

#[test]
fn a_shared_card_is_bounded_while_its_owner_is_there_and_given_to_a_game_at_once() {
    let settings = Settings { give_back: GiveBack::Share, ..Settings::default() };
    let mut world = waiting_host(settings);
    run_on(&mut world, "lease-0", "GPU-0");
    let restraints = |effects: &[Effect]| -> Vec<Option<Sharing>> {
        let found = effects.iter().filter_map(|effect| match effect {
            Effect::Restrain { sharing, .. } => Some(*sharing),
            _ => None,
        });
        found.collect()
    };
    let effects = owner_comes(&mut world);
    assert_eq!(restraints(&effects), [Some(Sharing::default())]);
    let ran = |world: &World| world.host.job(&LeaseId("lease-0".into())).unwrap().running_ms(world.now);
    assert_eq!(world.host.job(&LeaseId("lease-0".into())).unwrap().state(), &LeaseState::Running);
    // The renter pays for the share that it keeps.
    let before = ran(&world);
    world.wait(100_000);
    assert_eq!(ran(&world) - before, 100_000 * u64::from(Sharing::default().share_percent()) / 100);
    world.put(Step::Idle);
    let effects = {
        world.now = world.now.plus_ms(Settings::default().idle_after_ms);
        effects_of(&mut world, Input::Deadline)
    };
    assert_eq!(restraints(&effects), [None]);
    let effects = effects_of(&mut world, game(true));
    assert!(matches!(effects[0], Effect::Stop { how: StopHow::Kill, .. }));
}

/// As with a tenant in a gVisor that changes no limits, when its owner chooses to share while it runs.
#[test]
fn who_cannot_be_bounded_is_frozen_while_the_owner_is_there_and_goes_on_afterwards() {
    let settings = Settings { give_back: GiveBack::Share, ..Settings::default() };
    let mut world = waiting_host(settings);
    run_on(&mut world, "lease-0", "GPU-0");
    let lease = LeaseId("lease-0".into());
    let state = |world: &World| world.host.job(&lease).unwrap().state().clone();
    owner_comes(&mut world);
    let refused = Input::Worker {
        lease: lease.clone(),
        epoch: Epoch(1),
        event: WorkerEvent::RestrainFailed {
            sharing: Some(Sharing::default()),
            cause: "no such command".into(),
        },
    };
    let effects = effects_of(&mut world, refused.clone());
    let frozen = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Freeze { .. }));
    assert!(frozen(&effects), "{effects:?}");
    assert_eq!(state(&world), LeaseState::Yielded);
    while !world.pending.is_empty() {
        world.hands(false);
    }
    world.put(Step::Idle);
    world.wait(Settings::default().idle_after_ms);
    while !world.pending.is_empty() {
        world.hands(false);
    }
    assert_eq!(state(&world), LeaseState::Running);
    // Known from now on; and what is refused to nobody's harm ends nothing.
    world.input(refused);
    assert_eq!(state(&world), LeaseState::Running);
    assert!(frozen(&owner_comes(&mut world)));
}

/// As with a sandbox that stands frozen and whose helper is away: it may be there for long.
#[test]
fn what_failed_is_not_paid_for_while_it_is_removed() {
    let mut world = running_world();
    let id = LeaseId("lease-0".into());
    let paid = |world: &World| world.host.job(&id).unwrap().running_ms(world.now);
    let cause = String::from("its helper is away");
    let event = WorkerEvent::Failed { cause: cause.clone() };
    let effects = effects_of(&mut world, Input::Worker { lease: id.clone(), epoch: Epoch(1), event });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::CloseGate { .. })), "{effects:?}");
    let reason = EndReason::WorkerDied { cause };
    assert_eq!(world.host.job(&id).unwrap().state(), &LeaseState::Ending { reason });
    let before = paid(&world);
    world.wait(60_000);
    assert_eq!(paid(&world), before);
}

#[test]
fn earn_now_ends_when_the_owner_comes_back_after_having_left() {
    let mut world = World::new();
    world.put(Step::Active);
    world.input(Input::User(UserCommand::EarnNow { for_ms: 3_600_000, until_back: true }));
    assert_eq!(verdict_of(&world, "GPU-0"), Verdict::Earn, "whoever pressed it is still there");
    world.put(Step::Idle);
    world.wait(31_000);
    assert!(world.host.overrides.earn_now.is_some_and(|earn| earn.has_left));
    world.put(Step::Active);
    assert!(matches!(verdict_of(&world, "GPU-0"), Verdict::Blocked { .. }));
    // It does not make a game wait, whatever was chosen.
    world.input(Input::User(UserCommand::EarnNow { for_ms: 3_600_000, until_back: false }));
    world.input(game(true));
    assert_eq!(verdict_of(&world, "GPU-0").impact(GiveBack::Instant), Some(Impact::Evict));
}

#[test]
fn peers_04_memory_is_back_when_the_driver_says_so_and_not_before() {
    let mut world = running_world();
    let reading = |holds: bool| {
        let mut first = card("GPU-0");
        let program = GpuProcess { ours: true, ..GpuProcess::listed(42, Some(9 << 30), false) };
        first.processes = if holds { vec![program] } else { vec![] };
        Input::Gpus(GpuReport::Readings { driver: driver(), cards: vec![first, card("GPU-1")] })
    };
    let freed = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match effect {
            Effect::Journal(JournalEntry::VramFree { took_ms, mode, .. }) => Some((*took_ms, *mode)),
            _ => None,
        })
    };
    world.input(reading(true));
    assert!(!world.host.awaits_memory());
    world.input(game(true));
    assert!(world.host.awaits_memory());
    world.now = world.now.plus_ms(50);
    assert_eq!(freed(&effects_of(&mut world, reading(true))), None);
    // The Engine says that the worker is gone; the driver still lists its memory.
    world.hands(false);
    world.now = world.now.plus_ms(50);
    assert_eq!(freed(&effects_of(&mut world, reading(true))), None);
    world.now = world.now.plus_ms(40);
    assert_eq!(freed(&effects_of(&mut world, reading(false))), Some((140, GiveBack::Instant)));
    assert!(!world.host.awaits_memory());
}

#[test]
fn memory_that_a_tenant_gives_back_before_its_end_comes_back_once() {
    let mut world = running_world();
    world.host.settings.give_back = GiveBack::Friendly;
    let free =
        || Input::Gpus(GpuReport::Readings { driver: driver(), cards: vec![card("GPU-0"), card("GPU-1")] });
    effects_of(&mut world, game(true));
    let mut times = Vec::new();
    for _ in 0..10 {
        world.now = world.now.plus_ms(50);
        times.extend(effects_of(&mut world, free()).into_iter().filter_map(|effect| match effect {
            Effect::Journal(JournalEntry::VramFree { took_ms, .. }) => Some(took_ms),
            _ => None,
        }));
    }
    assert_eq!(times, [50]);
    assert!(!world.host.awaits_memory());
    assert!(world.host.has_jobs(), "the tenant still has its grace");
}
