//! Tenant and renter are told why, and by when.

use super::*;
use crate::parting::{Cause, Parting, Step as Parted};

fn told(effects: &[Effect]) -> Vec<Parting> {
    let partings = effects.iter().filter_map(|effect| match effect {
        Effect::Freeze { parting, .. } | Effect::Stop { parting, .. } => Some(*parting),
        _ => None,
    });
    partings.collect()
}

/// What the market hears of the lease, the latest last.
fn reported(effects: &[Effect]) -> Vec<(LeaseState, Option<Cause>)> {
    let reports = effects.iter().filter_map(|effect| match effect {
        Effect::Tell(Report::Lease { state, cause, .. }) => Some((state.clone(), *cause)),
        _ => None,
    });
    reports.collect()
}

#[test]
fn a_freeze_says_why_and_until_when_and_going_on_takes_it_back() {
    let mut world = running_world();
    let now = world.now;
    let effects = world.host.handle(Input::Presence(Presence::Active { since: now }), now);
    let deadline = now.plus_ms(Settings::default().frozen_at_most_ms);
    assert_eq!(
        told(&effects),
        [Parting { step: Parted::Freeze, cause: Cause::OwnerBack, at: now, deadline }]
    );
    assert_eq!(reported(&effects), [(LeaseState::Yielded, Some(Cause::OwnerBack))]);

    // A tenant that stays frozen for another reason: the renter hears the new one, and no second freeze comes.
    let frozen = WorkerEvent::Frozen { took_us: 1 };
    let (lease, epoch) = (LeaseId("lease-0".into()), Epoch(1));
    world.host.handle(Input::Worker { lease: lease.clone(), epoch, event: frozen }, now);
    let unplugged = Input::Sign(Sign {
        kind: SignalKind::OnBattery,
        source: "test".into(),
        standing: Standing::Seen { name: String::new() },
    });
    world.host.handle(unplugged, now);
    let effects =
        world.host.handle(Input::Presence(Presence::Idle { since: Timestamp(0) }), now.plus_ms(1_000));
    assert_eq!(
        (told(&effects), reported(&effects)),
        (vec![], vec![(LeaseState::Yielded, Some(Cause::Trouble))])
    );

    let plugged =
        Input::Sign(Sign { kind: SignalKind::OnBattery, source: "test".into(), standing: Standing::Quiet });
    world.host.handle(plugged, now.plus_ms(100_000));
    // A sign lingers.
    let later = now.plus_ms(800_000);
    let effects = world.host.handle(Input::Deadline, later);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Thaw { .. })), "{effects:?}");
    let effects = world.host.handle(Input::Worker { lease, epoch, event: WorkerEvent::Thawed }, later);
    assert_eq!(reported(&effects), [(LeaseState::Running, None)]);
}

#[test]
fn an_end_says_why_and_leaves_the_time_that_the_owner_chose() {
    let mut world = running_world();
    world.host.settings.give_back = GiveBack::Friendly;
    let now = world.now;
    let effects = world.host.handle(game(true), now);
    let deadline = now.plus_ms(Settings::default().friendly_grace_ms);
    assert_eq!(told(&effects), [Parting { step: Parted::End, cause: Cause::Game, at: now, deadline }]);
    let ending = LeaseState::Ending { reason: EndReason::OwnerReturned };
    assert_eq!(reported(&effects), [(ending, Some(Cause::Game))]);
    // The first cause counts, also where the end is hurried.
    let effects = world.host.handle(Input::Closing, now.plus_ms(1_000_000));
    assert_eq!(told(&effects).iter().map(|parting| parting.cause).collect::<Vec<_>>(), [Cause::Game]);
}

#[test]
fn each_way_to_end_has_its_cause() {
    let lease = || LeaseId("lease-0".into());
    let ends: [(Input, Cause); 4] = [
        (Input::Closing, Cause::HostClosing),
        (Input::User(UserCommand::StopJob { lease: lease() }), Cause::OwnerStopped),
        (Input::User(UserCommand::SetEarning { on: false }), Cause::OwnerStopped),
        (
            Input::Market(MarketInput::End {
                lease: lease(),
                epoch: Epoch(1),
                reason: EndReason::BalanceExhausted,
            }),
            Cause::BalanceExhausted,
        ),
    ];
    for (input, cause) in ends {
        let mut world = running_world();
        let effects = world.host.handle(input.clone(), world.now);
        let causes: Vec<Cause> = told(&effects).iter().map(|parting| parting.cause).collect();
        assert_eq!(causes, [cause], "{input:?}");
    }
}

#[test]
fn who_was_frozen_too_long_is_told_for_what() {
    let mut world = running_world();
    world.put(Step::Active);
    world.put(Step::Hands { fail: false });
    let late = world.now.plus_ms(Settings::default().frozen_at_most_ms);
    let effects = world.host.handle(Input::Deadline, late);
    let ending = LeaseState::Ending { reason: EndReason::FrozenTooLong };
    assert_eq!(reported(&effects), [(ending, Some(Cause::OwnerBack))]);
}
