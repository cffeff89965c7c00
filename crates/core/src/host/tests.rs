//! Whatever comes in whatever order: no tenant runs while the owner needs the card, no second is metered twice, every
//! lease ends.

mod anew;
mod headline;
mod parting;
mod promises;
mod sandbox;
mod sharing;
mod unseen;
mod warning;

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::sample::{card, disk, driver, terms};
use super::*;
use crate::demand::DemandFigures;
use crate::lease::{LeaseEvent, WorkerAccess};
use crate::market::WaitReason;
use crate::meter::UsageRecord;
use crate::policy::{Impact, Presence};
use crate::signal::{Sign, Standing};
use crate::volume::Footing;

/// What the world may do next. The hands answer late, out of step with everything else, and sometimes fail.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Active,
    Idle,
    Game(bool),
    Docker(bool),
    Cards(bool),
    Connected(bool),
    Offer { lease: u8, epoch: u8 },
    Start,
    MarketEnds,
    Earning(bool),
    Snooze,
    StopJob,
    Hands { fail: bool },
    WorkerDies,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_u64..200_000).prop_map(Step::Wait),
        2 => Just(Step::Active),
        4 => Just(Step::Idle),
        1 => any::<bool>().prop_map(Step::Game),
        1 => prop::bool::weighted(0.8).prop_map(Step::Docker),
        1 => prop::bool::weighted(0.8).prop_map(Step::Cards),
        1 => prop::bool::weighted(0.8).prop_map(Step::Connected),
        4 => (0_u8..3, 1_u8..4).prop_map(|(lease, epoch)| Step::Offer { lease, epoch }),
        4 => Just(Step::Start),
        1 => Just(Step::MarketEnds),
        1 => prop::bool::weighted(0.8).prop_map(Step::Earning),
        1 => Just(Step::Snooze),
        1 => Just(Step::StopJob),
        10 => prop::bool::weighted(0.1).prop_map(|fail| Step::Hands { fail }),
        1 => Just(Step::WorkerDies),
    ]
}

fn game(on: bool) -> Input {
    let standing = if on { Standing::Seen { name: "Factorio".into() } } else { Standing::Quiet };
    Input::Sign(Sign { kind: SignalKind::Game, source: "test".into(), standing })
}

/// A world around one host: pending work of the hands, and what was written down.
struct World {
    host: Host,
    now: Timestamp,
    pending: VecDeque<(LeaseId, Epoch, Effect)>,
    epochs: BTreeMap<LeaseId, Epoch>,
    records: Vec<UsageRecord>,
    states: BTreeMap<(LeaseId, Epoch), LeaseState>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            host: Host::new(Settings::default()),
            now: Timestamp(1_000_000_000),
            pending: VecDeque::new(),
            epochs: BTreeMap::new(),
            records: Vec::new(),
            states: BTreeMap::new(),
        };
        world.put(Step::Cards(true));
        world.put(Step::Docker(true));
        world.input(Input::Recovered(vec![]));
        world.input(Input::Market(MarketInput::Connected));
        world.put(Step::Idle);
        world.put(Step::Wait(700_000));
        world
    }

    fn input(&mut self, input: Input) {
        let effects = self.host.handle(input, self.now);
        let first_calm =
            effects.iter().position(|e| !matches!(e, Effect::Freeze { .. } | Effect::Stop { .. }));
        let urgent_after = effects
            .iter()
            .skip(first_calm.unwrap_or(0))
            .any(|e| matches!(e, Effect::Freeze { .. } | Effect::Stop { .. }));
        assert!(first_calm.is_none() || !urgent_after, "an urgent effect waits: {effects:?}");
        for effect in effects {
            self.perform(effect);
        }
        self.check();
    }

    fn perform(&mut self, effect: Effect) {
        match &effect {
            Effect::Journal(JournalEntry::Lease { terms, state, .. }) => {
                self.epochs.insert(terms.lease.clone(), terms.epoch);
                let key = (terms.lease.clone(), terms.epoch);
                let before = self.states.insert(key, state.clone());
                assert!(before.is_none_or(|before| !before.is_over()), "a lease came back from its end");
            }
            Effect::Journal(JournalEntry::Usage { record }) => self.records.push(record.clone()),
            Effect::Prepare { terms, .. } => {
                self.pending.push_back((terms.lease.clone(), terms.epoch, effect.clone()));
            }
            Effect::Freeze { lease, .. } | Effect::Thaw { lease } | Effect::Stop { lease, .. } => {
                let epoch = self.host.job(lease).map_or_else(|| self.epochs[lease], |job| job.terms().epoch);
                self.pending.push_back((lease.clone(), epoch, effect.clone()));
            }
            _ => {}
        }
    }

    /// The hands finish the oldest thing that they were asked for.
    fn hands(&mut self, fail: bool) {
        let Some((lease, epoch, effect)) = self.pending.pop_front() else { return };
        let cause = String::from("test");
        let event = match (effect, fail) {
            (Effect::Prepare { .. }, false) => WorkerEvent::Ready {
                access: WorkerAccess {
                    ssh_host_key: "k".into(),
                    jupyter_token: "t".into(),
                    device_name: "d".into(),
                    proof: None,
                    volume: None,
                },
            },
            (Effect::Prepare { .. }, true) => WorkerEvent::SelfCheckFailed { cause },
            (Effect::Freeze { .. }, false) => WorkerEvent::Frozen { took_us: 12_000 },
            (Effect::Freeze { .. }, true) => WorkerEvent::FreezeFailed { cause },
            (Effect::Thaw { .. }, false) => WorkerEvent::Thawed,
            (Effect::Thaw { .. }, true) => WorkerEvent::ThawFailed { cause },
            (Effect::Stop { .. }, false) => WorkerEvent::Gone { cause },
            // A stop that never answers: the host must ask again.
            _ => return,
        };
        self.input(Input::Worker { lease, epoch, event });
    }

    fn put(&mut self, step: Step) {
        let job = self.host.cards.values().find_map(|c| c.job.as_ref()).map(|j| j.terms().clone());
        match step {
            Step::Wait(ms) => self.wait(ms),
            Step::Active => self.input(Input::Presence(Presence::Active { since: self.now })),
            Step::Idle => self.input(Input::Presence(Presence::Idle { since: self.now })),
            Step::Game(on) => {
                self.input(game(on));
            }
            Step::Docker(true) => self.input(Input::Runtime(Runtime::Ready {
                unsafe_versions: vec![],
                images: vec!["pytorch-cuda:lite".into()],
                engine: Default::default(),
            })),
            Step::Docker(false) => self.input(Input::Runtime(Runtime::Missing {
                why: crate::policy::EngineTrouble::Slow { within_ms: 1 },
            })),
            Step::Cards(present) => {
                let cards = if present { vec![card("GPU-0"), card("GPU-1")] } else { vec![] };
                self.input(Input::Gpus(GpuReport::Readings { driver: driver(), cards }));
            }
            Step::Connected(true) => self.input(Input::Market(MarketInput::Connected)),
            Step::Connected(false) => {
                self.input(Input::Market(MarketInput::Unreachable { detail: "test".into() }));
            }
            Step::Offer { lease, epoch } => {
                let terms = terms(&format!("lease-{lease}"), u64::from(epoch), "GPU-0");
                let stale = self.epochs.get(&terms.lease).is_some_and(|known| *known >= terms.epoch);
                let held = self.host.job(&terms.lease).is_some();
                // A coordinator never gives the same epoch out twice; to a lease that is held it may repeat itself.
                if !stale || held {
                    self.input(Input::Market(MarketInput::Offer(Box::new(terms))));
                }
            }
            Step::Start => {
                if let Some(terms) = job {
                    self.input(Input::Market(MarketInput::Start { lease: terms.lease, epoch: terms.epoch }));
                }
            }
            Step::MarketEnds => {
                if let Some(terms) = job {
                    let reason = EndReason::RenterStopped;
                    let (lease, epoch) = (terms.lease, terms.epoch);
                    self.input(Input::Market(MarketInput::End { lease, epoch, reason }));
                }
            }
            Step::Earning(on) => self.input(Input::User(UserCommand::SetEarning { on })),
            Step::Snooze => self.input(Input::User(UserCommand::Snooze { for_ms: 3_600_000 })),
            Step::StopJob => {
                if let Some(terms) = job {
                    self.input(Input::User(UserCommand::StopJob { lease: terms.lease }));
                }
            }
            Step::Hands { fail } => self.hands(fail),
            Step::WorkerDies => {
                if let Some(terms) = job {
                    let event = WorkerEvent::Gone { cause: "killed".into() };
                    self.input(Input::Worker { lease: terms.lease, epoch: terms.epoch, event });
                }
            }
        }
    }

    /// Time passes; the agent wakes the host at each of its deadlines.
    fn wait(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        for _ in 0..10_000 {
            match self.host.next_deadline() {
                Some((at, _)) if at <= until => {
                    self.now = self.now.max(at);
                    self.input(Input::Deadline);
                    let again = self.host.next_deadline();
                    assert!(
                        again.is_none_or(|(next, _)| next > self.now),
                        "a deadline that stays: {again:?}"
                    );
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("deadlines without end");
    }

    fn check(&self) {
        for card in self.host.cards.values() {
            let Some(job) = &card.job else { continue };
            let seen = card.present.then_some(&card.reading);
            let host = &self.host;
            let verdict = decide(
                &host.snapshot,
                &host.settings,
                &host.overrides,
                seen,
                None,
                policy::Job::Held,
                self.now,
            );
            let stopped =
                verdict.impact(host.settings.give_back).is_some_and(|impact| impact >= Impact::Freeze);
            assert!(!(stopped && *job.state() == LeaseState::Running), "runs although {verdict:?}");
            assert_eq!(job.is_metered(), *job.state() == LeaseState::Running, "metered in {:?}", job.state());
        }
    }

    fn check_records(&self) {
        let mut by_lease: BTreeMap<_, Vec<&UsageRecord>> = BTreeMap::new();
        for record in &self.records {
            by_lease.entry((&record.lease, record.epoch)).or_default().push(record);
        }
        for records in by_lease.values() {
            let mut total = 0;
            for (number, record) in records.iter().enumerate() {
                total += record.running_ms();
                assert_eq!(record.sequence, number as u64 + 1);
                assert_eq!(record.running_ms_total, total);
            }
            assert!(records.windows(2).all(|pair| pair[0].to <= pair[1].from), "a second is metered twice");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn promises_hold_whatever_happens(steps in prop::collection::vec(any_step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.put(step);
        }
        world.check_records();
        // Every lease ends: the market goes away, nobody does anything any more but the hands.
        let bound = 200;
        let mut rounds = 0;
        while let Some(terms) = world.host.cards.values().find_map(|c| c.job.as_ref()).map(|j| j.terms().clone()) {
            world.input(Input::Market(MarketInput::End {
                lease: terms.lease,
                epoch: terms.epoch,
                reason: EndReason::RenterStopped,
            }));
            world.hands(false);
            world.wait(1_000);
            rounds += 1;
            prop_assert!(rounds < bound, "a lease does not end");
        }
        world.check_records();
        for ((lease, epoch), state) in &world.states {
            prop_assert!(state.is_over(), "{lease} {epoch:?} is left {state:?}");
        }
    }

    /// A frozen tenant is not kept for ever, and an unanswered stop is asked again until it is answered.
    #[test]
    fn a_lease_ends_without_anybodys_word(wait_ms in 1_u64..500_000) {
        let mut world = running_world();
        world.put(Step::Active);
        world.put(Step::Hands { fail: false });
        world.wait(wait_ms);
        world.wait(Settings::default().frozen_at_most_ms);
        let stops = world.pending.iter().filter(|(_, _, e)| matches!(e, Effect::Stop { .. })).count();
        prop_assert!(stops >= 1);
        world.wait(60_000);
        let again = world.pending.iter().filter(|(_, _, e)| matches!(e, Effect::Stop { .. })).count();
        prop_assert!(again > stops, "the stop was not asked again");
        world.hands(false);
        prop_assert!(world.host.job(&LeaseId("lease-0".into())).is_none());
    }
}

fn running_world() -> World {
    let mut world = World::new();
    world.put(Step::Offer { lease: 0, epoch: 1 });
    world.put(Step::Hands { fail: false });
    world.put(Step::Start);
    assert_eq!(world.host.job(&LeaseId("lease-0".into())).unwrap().state(), &LeaseState::Running);
    world
}

#[test]
fn what_a_volume_stands_on_is_written_down_once_the_worker_is_ready() {
    let mut world = World::new();
    world.put(Step::Offer { lease: 0, epoch: 1 });
    let (lease, epoch) = (LeaseId("lease-0".into()), Epoch(1));
    let footing = Footing { has_quota: true, ..Footing::FOLDER };
    let access = WorkerAccess {
        ssh_host_key: "k".into(),
        jupyter_token: "t".into(),
        device_name: "d".into(),
        proof: None,
        volume: Some(footing),
    };
    let ready = Input::Worker { lease: lease.clone(), epoch, event: WorkerEvent::Ready { access } };
    let effects = world.host.handle(ready, world.now);
    let stands = Effect::Journal(JournalEntry::Volume { lease, epoch, footing });
    assert!(effects.contains(&stands), "{effects:?}");
    assert!(effects.iter().any(|effect| matches!(effect,
        Effect::Tell(Report::Ready { access, .. }) if access.volume == Some(footing))));
}

#[test]
fn input_freezes_first_and_stops_the_meter() {
    let mut world = running_world();
    world.wait(25_000);
    let effects = world.host.handle(Input::Presence(Presence::Active { since: world.now }), world.now);
    assert!(matches!(&effects[0], Effect::Freeze { lease, .. } if lease.0 == "lease-0"), "{effects:?}");
    let last = effects.iter().find_map(|e| match e {
        Effect::Journal(JournalEntry::Usage { record }) => Some(record.clone()),
        _ => None,
    });
    assert_eq!(last.unwrap().running_ms_total, 25_000);
    assert!(effects.iter().any(|e| matches!(e, Effect::Notify(Notice::JobFrozen { .. }))));
}

#[test]
fn a_frozen_job_goes_on_sooner_than_a_new_one_starts() {
    let mut world = running_world();
    world.put(Step::Active);
    world.put(Step::Hands { fail: false });
    world.put(Step::Idle);
    world.wait(Settings::default().resume_after_ms - 1);
    assert!(world.pending.is_empty());
    world.wait(1);
    assert!(matches!(world.pending.front(), Some((_, _, Effect::Thaw { .. }))));
    world.hands(false);
    let job = world.host.job(&LeaseId("lease-0".into())).unwrap();
    assert_eq!(job.state(), &LeaseState::Running);
    // It is shown since it came, not since its last step.
    let shown = world.host.view(world.now).cards.into_iter().find_map(|card| card.job).unwrap();
    assert_eq!((shown.since, shown.state_since), (job.since(), job.state_since()));
    assert!(shown.since.plus_ms(Settings::default().resume_after_ms) <= shown.state_since, "{shown:?}");
}

#[test]
fn a_newer_epoch_supersedes_and_an_older_is_declined() {
    let mut world = running_world();
    let effects = world
        .host
        .handle(Input::Market(MarketInput::Offer(Box::new(terms("lease-0", 2, "GPU-0")))), world.now);
    assert!(matches!(effects[0], Effect::Stop { how: StopHow::Kill, .. }));
    assert!(effects.iter().any(|e| matches!(e, Effect::Tell(Report::Declined { epoch: Epoch(2), .. }))));
    let effects = world.host.handle(
        Input::Market(MarketInput::Start { lease: LeaseId("lease-0".into()), epoch: Epoch(7) }),
        world.now,
    );
    assert!(effects.is_empty(), "a foreign epoch moved something: {effects:?}");
}

#[test]
fn where_the_disk_is_short_no_renter_begins_and_the_market_learns_of_no_folder() {
    let mut world = World::new();
    let offer = || Input::Market(MarketInput::Offer(Box::new(terms("lease-0", 1, "GPU-0"))));
    world.input(Input::Disks(vec![disk("/home/alice", 10_239), disk("/var/lib/docker", 90_000)]));
    let effects = world.host.handle(offer(), world.now);
    let reasons = effects.iter().find_map(|effect| match effect {
        Effect::Tell(Report::Declined { reasons, .. }) => Some(reasons.clone()),
        _ => None,
    });
    let low = policy::BlockReason::DiskLow { free_mib: 10_239, needed_mib: 10_240, folder: String::new() };
    assert_eq!(reasons, Some(vec![low]));
    world.input(Input::Disks(vec![disk("/home/alice", 10_240), disk("/var/lib/docker", 90_000)]));
    let effects = world.host.handle(offer(), world.now);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Prepare { .. })), "{effects:?}");
}

#[test]
fn a_restart_adopts_what_runs_and_ends_what_does_not() {
    for (fate, state, goes_on) in [
        (WorkerFate::Running, LeaseState::Running, true),
        (WorkerFate::Running, LeaseState::Yielded, true),
        (WorkerFate::Running, LeaseState::Preparing, false),
        (WorkerFate::Frozen, LeaseState::Yielded, false),
        (WorkerFate::Frozen, LeaseState::Running, false),
        (WorkerFate::Gone, LeaseState::Running, false),
    ] {
        let mut world = World::new();
        let stored = StoredLease {
            terms: terms("old", 1, "GPU-0"),
            state,
            last_sequence: 3,
            running_ms_total: 30_000,
            bill: Bill::default(),
        };
        let mut host = Host::new(Settings::default());
        std::mem::swap(&mut world.host.snapshot, &mut host.snapshot);
        std::mem::swap(&mut world.host.cards, &mut host.cards);
        let world_cards = host.cards.clone();
        let again = Survivor { stored: stored.clone(), fate };
        let effects = host.handle(Input::Recovered(vec![Survivor { stored, fate }]), world.now);
        let adopted = effects.iter().any(|e| matches!(e, Effect::Adopt { .. }));
        assert_eq!(adopted, goes_on, "{fate:?}");
        let mut unseen = Host::new(Settings::default());
        unseen.snapshot =
            Snapshot { presence: Presence::Active { since: world.now }, ..host.snapshot.clone() };
        unseen.cards.clone_from(&world_cards);
        let effects = unseen.handle(Input::Recovered(vec![again]), world.now);
        let place = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted);
        let frozen = place(|e| matches!(e, Effect::Freeze { .. }));
        // A worker that nobody has taken up again cannot be frozen.
        assert_eq!(frozen.is_some(), goes_on);
        assert!(frozen.is_none() || place(|e| matches!(e, Effect::Adopt { .. })) < frozen);
        if goes_on {
            // It may stand frozen.
            assert_eq!(host.job(&LeaseId("old".into())).unwrap().state(), &LeaseState::Yielded);
            let (lease, epoch) = (LeaseId("old".into()), Epoch(1));
            host.handle(Input::Worker { lease, epoch, event: WorkerEvent::Thawed }, world.now);
        }
        let job = host.job(&LeaseId("old".into())).map(|job| job.state().clone());
        // It is as old as it was, whatever step it took last.
        let since = host.job(&LeaseId("old".into())).map(Job::since);
        assert!(since.is_none_or(|since| since == terms("old", 1, "GPU-0").offered_at), "{since:?}");
        match fate {
            WorkerFate::Gone => assert_eq!(job, None),
            _ if goes_on => assert_eq!(job, Some(LeaseState::Running)),
            _ => assert!(matches!(job, Some(LeaseState::Ending { reason: EndReason::HostRestarted }))),
        }
        assert!(matches!(effects.iter().find(|e| matches!(e, Effect::Sweep { .. })),
            Some(Effect::Sweep { keep }) if keep.is_empty() == (fate == WorkerFate::Gone)));
    }
}

#[test]
fn a_card_on_which_a_game_runs_leaves_nothing_behind() {
    let mut world = running_world();
    let effects = world.host.handle(game(true), world.now);
    assert!(matches!(&effects[0], Effect::Stop { how: StopHow::Kill, .. }), "{effects:?}");
    assert!(LeaseState::Offered.after(LeaseEvent::Resume).is_err());
}

#[test]
fn unreadable_settings_lend_nothing_and_are_not_overwritten() {
    let mut world = World::new();
    world.input(Input::SettingsUnreadable { detail: "line 3".into() });
    let command = UserCommand::SetEarning { on: true };
    assert_eq!(world.host.check_command(&command), Err(CommandError::SettingsUnreadable));
    let effects = world.host.handle(Input::User(command), world.now);
    assert!(!effects.iter().any(|e| matches!(e, Effect::SaveSettings(_))));
    assert_eq!(world.host.view(world.now).state, HostState::Trouble);
}

#[test]
fn an_end_that_the_market_missed_is_told_when_it_is_back() {
    let mut world = running_world();
    world.put(Step::Connected(false));
    world.put(Step::StopJob);
    world.hands(false);
    let effects = world.host.handle(Input::Market(MarketInput::Connected), world.now);
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Tell(Report::Leases { leases }) => Some(leases.clone()),
        _ => None,
    });
    let ended = LeaseState::Ended { reason: EndReason::OwnerStopped };
    assert_eq!(told, Some(vec![(LeaseId("lease-0".into()), Epoch(1), ended)]));
}

#[test]
fn peers_13_waiting_says_why() {
    let mut world = World::new();
    assert_eq!(world.host.view(world.now).waiting, None);
    let gpu = world.host.view(world.now).cards[0].reading.uuid.clone();
    let why = WaitReason::NoDemand { vram_gib: 12 };
    let said = Input::Market(MarketInput::Waiting { cards: vec![(gpu.clone(), why)] });
    let effects = world.host.handle(said.clone(), world.now);
    let noted = |why| Effect::Journal(JournalEntry::Waiting { gpu: gpu.clone(), at: world.now, why });
    assert!(effects.contains(&noted(Some(why))), "{effects:?}");
    let view = world.host.view(world.now);
    assert_eq!((view.state, view.waiting, view.cards[0].waiting), (HostState::Waiting, Some(why), Some(why)));
    assert!(world.host.handle(said, world.now).is_empty(), "the same word is not written twice");
    // Another line to the market: what was said on the last one does not hold any more.
    let effects = world.host.handle(Input::Market(MarketInput::Connected), world.now);
    assert!(effects.contains(&noted(None)), "{effects:?}");
    assert_eq!(world.host.view(world.now).waiting, None);
}

#[test]
fn what_the_market_says_of_demand_is_shown_as_long_as_it_is_there_to_say_it() {
    let mut world = World::new();
    let demand = |world: &World| world.host.view(world.now).cards[0].demand;
    assert_eq!(demand(&world), None);
    let gpu = world.host.view(world.now).cards[0].reading.uuid.clone();
    let figures = DemandFigures { requests_last_hour: Some(3), ..DemandFigures::default() };
    let said = |figures| Input::Market(MarketInput::Demand { cards: vec![(gpu.clone(), figures)] });
    let wild = DemandFigures { rented_percent: Some(4_000), ..figures };
    assert!(world.host.handle(said(wild), world.now).is_empty(), "it decides nothing");
    assert_eq!(demand(&world), Some(figures), "within its bounds");
    world.host.handle(said(DemandFigures::default()), world.now);
    assert_eq!(demand(&world), None, "a market that says nothing is not shown");
    for gone in
        [MarketInput::Connected, MarketInput::Unreachable { detail: "x".into() }, MarketInput::NotEnrolled]
    {
        world.host.handle(said(figures), world.now);
        assert_eq!(demand(&world), Some(figures));
        world.host.handle(Input::Market(gone), world.now);
        assert_eq!(demand(&world), None);
    }
}
