//! When the program may begin anew.

use super::*;

fn is_due(world: &World) -> bool {
    world.host.view(world.now).restart_due
}

#[test]
fn a_run_whose_clock_is_off_begins_anew_once_no_job_is_there() {
    let mut world = running_world();
    world.input(Input::ClockOff { is_off: true });
    let job = |world: &World| world.host.job(&LeaseId("lease-0".into())).map(|job| job.state().clone());
    assert_eq!(job(&world), Some(LeaseState::Running), "no job pays for a clock");
    assert!(!is_due(&world));
    world.put(Step::Active);
    assert!(!is_due(&world), "a frozen job is one too");
    world.put(Step::MarketEnds);
    while !world.pending.is_empty() {
        world.hands(false);
    }
    assert_eq!(job(&world), None);
    assert!(is_due(&world));
    world.input(Input::ClockOff { is_off: false });
    assert!(!is_due(&world), "the wall was set back");
    world.input(Input::ClockOff { is_off: true });
    world.input(Input::Closing);
    assert!(!is_due(&world), "it ends");
}

#[test]
fn what_only_this_run_knows_is_not_lost_for_an_update() {
    let mut world = World::new();
    world.input(Input::UpdateWaiting { is_waiting: true });
    assert!(is_due(&world));
    for choice in [UserCommand::Snooze { for_ms: 3_600_000 }, UserCommand::LastJob { for_ms: 3_600_000 }] {
        world.input(Input::User(choice));
        assert!(!is_due(&world), "the owner's word would be forgotten");
        world.wait(3_600_000);
        assert!(is_due(&world), "it has passed");
    }
}

#[test]
fn settings_that_cannot_be_written_are_told_at_each_change_and_no_new_start_takes_them_back() {
    let mut world = World::new();
    world.input(Input::ClockOff { is_off: true });
    assert!(is_due(&world));
    let told = |effects: &[Effect]| {
        let is_told = |effect: &&Effect| matches!(effect, Effect::Notify(Notice::SettingsUnsaved { .. }));
        effects.iter().filter(is_told).count()
    };
    let saved = |world: &mut World, trouble: Option<&str>| {
        let trouble = trouble.map(str::to_owned);
        world.host.handle(Input::SettingsSaved { trouble }, world.now)
    };
    for _ in 0..2 {
        assert_eq!(told(&saved(&mut world, Some("read-only"))), 1);
        assert_eq!(world.host.snapshot().settings_unsaved.as_deref(), Some("read-only"));
        assert!(!is_due(&world));
    }
    assert_eq!(told(&saved(&mut world, None)), 0);
    assert!(is_due(&world));
}
