//! A tenant that goes past its bounds is warned, and has a while to go back.

use super::*;
use crate::conduct::{Breach, MinerRule, MiningSign};
use crate::gpu::GpuProcess;
use crate::parting::{Cause, Parting, Step as Parted};

fn reading(free_mib: u64) -> Input {
    let mut reading = card("GPU-0");
    reading.processes = vec![GpuProcess { ours: true, ..GpuProcess::listed(7, None, false) }];
    reading.vram_used_bytes = reading.vram_total_bytes - (free_mib << 20);
    Input::Gpus(GpuReport::Readings { driver: driver(), cards: vec![reading] })
}

fn says(event: WorkerEvent) -> Input {
    Input::Worker { lease: LeaseId("lease-0".into()), epoch: Epoch(1), event }
}

fn warnings(effects: &[Effect]) -> Vec<Option<Parting>> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Warn { parting, .. } => Some(Some(*parting)),
        Effect::Unwarn { .. } => Some(None),
        _ => None,
    });
    told.collect()
}

fn to_owner(effects: &[Effect]) -> Vec<(Cause, bool)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Notify(Notice::Conduct { breach, stops, .. }) => Some((breach.cause(), *stops)),
        _ => None,
    });
    told.collect()
}

fn ends(effects: &[Effect]) -> Vec<Cause> {
    let ended = effects.iter().filter_map(|effect| match effect {
        Effect::Stop { parting, .. } => Some(parting.cause),
        _ => None,
    });
    ended.collect()
}

#[test]
fn memory_of_the_desktop_is_asked_back_once_and_taken_at_the_deadline() {
    let mut world = running_world();
    let now = world.now;
    let deadline = now.plus_ms(Settings::default().warning_ms);
    let effects = world.host.handle(reading(100), now);
    let parting = Parting { step: Parted::End, cause: Cause::VramReserve, at: now, deadline };
    assert_eq!(warnings(&effects), [Some(parting)]);
    assert_eq!(to_owner(&effects), [(Cause::VramReserve, true)]);
    // Less of it is no second warning; all of it back is none any more.
    assert_eq!(warnings(&world.host.handle(reading(50), now.plus_ms(1_000))), []);
    assert_eq!(warnings(&world.host.handle(reading(2_000), now.plus_ms(2_000))), [None]);
    let again = now.plus_ms(3_000);
    world.host.handle(reading(100), again);
    let over = again.plus_ms(Settings::default().warning_ms);
    assert!(world.host.next_deadline().is_some_and(|(at, _)| at <= over));
    assert_eq!(ends(&world.host.handle(Input::Deadline, Timestamp(over.0 - 1))), []);
    assert_eq!(ends(&world.host.handle(Input::Deadline, over)), [Cause::VramReserve]);
}

#[test]
fn a_container_that_grows_is_warned_and_may_shrink_again() {
    let mut world = running_world();
    let limit = Settings::default().limits.disk_mib;
    let effects = world.host.handle(says(WorkerEvent::DiskUsed { mib: limit + 1 }), world.now);
    assert_eq!(to_owner(&effects), [(Cause::DiskLimit, true)]);
    let effects = world.host.handle(says(WorkerEvent::DiskUsed { mib: limit }), world.now.plus_ms(1));
    assert_eq!(warnings(&effects), [None]);
}

#[test]
fn a_miner_is_told_of_once_or_ended_or_left_alone_as_the_owner_chooses() {
    let mining = || says(WorkerEvent::Mining { sign: MiningSign::Program { name: "xmrig".into() } });
    for (miners, told, ended) in [
        (MinerRule::Tell, vec![(Cause::Mining, false)], vec![]),
        (MinerRule::Stop, vec![(Cause::Mining, true)], vec![Cause::Mining]),
        (MinerRule::Allow, vec![], vec![]),
    ] {
        let mut world = running_world();
        let settings = Box::new(Settings { miners, ..world.host.settings().clone() });
        world.host.handle(Input::User(UserCommand::Save { settings, base: None }), world.now);
        let effects = world.host.handle(mining(), world.now);
        assert_eq!(to_owner(&effects), told, "{miners:?}");
        assert_eq!(to_owner(&world.host.handle(mining(), world.now.plus_ms(1))), []);
        let over = world.now.plus_ms(Settings::default().warning_ms);
        assert_eq!(ends(&world.host.handle(Input::Deadline, over)), ended, "{miners:?}");
    }
    assert_eq!(Breach::Mining { sign: MiningSign::Protocol }.cause(), Cause::Mining);
}

#[test]
fn a_miner_that_is_ended_within_the_warning_ends_nobody_unless_another_sign_stays() {
    let program = || MiningSign::Program { name: "xmrig".into() };
    let mut world = running_world();
    let settings = Box::new(Settings { miners: MinerRule::Stop, ..world.host.settings().clone() });
    world.host.handle(Input::User(UserCommand::Save { settings, base: None }), world.now);
    let (now, wait_ms) = (world.now, Settings::default().warning_ms);
    assert_eq!(warnings(&world.host.handle(says(WorkerEvent::Mining { sign: program() }), now)).len(), 1);
    // The program is gone while its connection still stands, and that is the sign then.
    for (sign, over, told) in [
        (MiningSign::Protocol, false, vec![]),
        (program(), true, vec![]),
        (MiningSign::Protocol, true, vec![None]),
    ] {
        let event = if over { WorkerEvent::MiningOver { sign } } else { WorkerEvent::Mining { sign } };
        assert_eq!(warnings(&world.host.handle(says(event), now.plus_ms(1_000))), told);
    }
    assert_eq!(ends(&world.host.handle(Input::Deadline, now.plus_ms(wait_ms))), []);
    // Who begins again is warned again, and is given that time again.
    let again = now.plus_ms(2 * wait_ms);
    let effects = world.host.handle(says(WorkerEvent::Mining { sign: program() }), again);
    assert!(matches!(warnings(&effects)[..], [Some(parting)] if parting.deadline == again.plus_ms(wait_ms)));
    assert_eq!(ends(&world.host.handle(Input::Deadline, again.plus_ms(wait_ms))), [Cause::Mining]);
}

#[test]
fn load_that_nothing_feeds_is_told_once_and_ends_nobody() {
    for (miners, told) in [
        (MinerRule::Tell, vec![(Cause::Mining, false)]),
        (MinerRule::Stop, vec![(Cause::Mining, false)]),
        (MinerRule::Allow, vec![]),
    ] {
        let mut world = running_world();
        let settings = Box::new(Settings { miners, ..world.host.settings().clone() });
        world.host.handle(Input::User(UserCommand::Save { settings, base: None }), world.now);
        let mut heard = Vec::new();
        for minute in 0..90 {
            let now = world.now.plus_ms(minute * 60_000);
            let mut effects = world.host.handle(says(WorkerEvent::Moved { bytes: minute * 10_000 }), now);
            for second in (0..60).step_by(10) {
                let mut reading = card("GPU-0");
                reading.utilisation_percent = Some(100);
                let cards = vec![reading];
                let report = Input::Gpus(GpuReport::Readings { driver: driver(), cards });
                effects.extend(world.host.handle(report, now.plus_ms(second * 1_000)));
            }
            assert_eq!((warnings(&effects), ends(&effects)), (vec![], vec![]), "{miners:?}");
            heard.extend(to_owner(&effects));
        }
        assert_eq!(heard, told, "{miners:?}");
    }
}
