//! A host's life in fast motion: months of an owner who comes, plays, watches films and leaves, of a market with jobs,
//! and of hands that take their time. What is asserted is physical: when the tenant really ran, beside when the owner
//! was really there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use nightjar_core::gpu::{DriverInfo, GpuReading, GpuUuid};
use nightjar_core::host::{
    Effect, GpuReport, Host, Input, JournalEntry, MarketInput, Report, StopHow, WorkerEvent,
};
use nightjar_core::lease::{EndReason, Epoch, LeaseId, LeaseTerms, WorkerAccess};
use nightjar_core::money::{Currency, Money};
use nightjar_core::policy::{Presence, Runtime};
use nightjar_core::settings::Settings;
use nightjar_core::signal::{Sign, SignalKind, Standing};
use nightjar_core::time::Timestamp;
use proptest::prelude::*;
use serde::Deserialize;

const MINUTE: i64 = 60_000;
const DAY: i64 = 1_440 * MINUTE;
const WEEK: i64 = 7 * DAY;
const START: i64 = 1_700_000_000_000;
/// The input sensor says "idle" after this long without input.
const SETTLED_MS: i64 = 1_000;
/// The slowest freeze of these hands.
const SLOWEST_FREEZE_MS: i64 = 60;
/// A kill, from the order to the last process gone.
const KILL_MS: i64 = 200;
/// An evening as the sensors told it on a real X server (`crates/presence/tests/recording.rs`).
const EVENING: &str = include_str!("data/evening.jsonl");
/// It is lived through each night at this minute, and nothing else happens in the half hour.
const EVENING_AT_MINUTE: i64 = 270;
/// What the recorded sensor took to find the game.
const GAME_FOUND_MS: i64 = 550;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A hand on the mouse, for this many milliseconds without a pause.
    Input(i64),
    Settled {
        last: i64,
    },
    Game(bool),
    Film(bool),
    /// The owner's hands, of which the recorded sensors tell in their own time.
    Spell(i64),
    /// What a recorded sensor says: the line of the record.
    Told(usize),
    OfferComes,
    RenterLeaves(u64),
    Hands(Order),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Ready(u64),
    Frozen(u64),
    Thawed(u64),
    Gone(u64),
}

/// A line of the recorded evening.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    at_ms: i64,
    hand: bool,
    game: Option<bool>,
    active: bool,
    idle_since_ms_ago: Option<i64>,
    sign: Option<Sign>,
}

fn evening() -> Vec<Line> {
    EVENING.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A small generator of our own, so that a life is the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }
}

struct Life {
    host: Host,
    now: i64,
    queue: BinaryHeap<Reverse<(i64, u64, Event)>>,
    number: u64,
    dice: Dice,
    lease: u64,
    offered: bool,
    /// The tenant's processes run, since then.
    runs_since: Option<i64>,
    ran_ms: i64,
    /// The owner's hands are on it until then; this spell of use began at `use_since`.
    use_since: i64,
    used_until: i64,
    game_since: Option<i64>,
    hands_free_at: i64,
    /// Leases up to this one are over: what the hands still had to do for them is void.
    over: u64,
    /// What the renter pays for, by lease.
    billed_ms: BTreeMap<u64, u64>,
    evening: Vec<Line>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut life = Self {
            host: Host::new(Settings::default()),
            now: START,
            queue: BinaryHeap::new(),
            number: 0,
            dice: Dice(seed | 1),
            lease: 0,
            offered: false,
            runs_since: None,
            ran_ms: 0,
            use_since: START,
            used_until: START,
            game_since: None,
            hands_free_at: START,
            over: 0,
            billed_ms: BTreeMap::new(),
            evening: evening(),
        };
        let mut card = GpuReading::unread(GpuUuid("GPU-0".into()));
        card.vram_total_bytes = 12 << 30;
        card.temperature_celsius = Some(50.0);
        let driver = DriverInfo { version: "550.54.14".into(), cuda: Some(12_080) };
        life.input(Input::Gpus(GpuReport::Readings { driver, cards: vec![card] }));
        let images = vec!["pytorch-cuda:lite".into()];
        life.input(Input::Runtime(Runtime::Ready {
            unsafe_versions: vec![],
            images,
            engine: Default::default(),
        }));
        life.input(Input::Recovered(vec![]));
        life.input(Input::Market(MarketInput::Connected));
        life.input(Input::Presence(Presence::Idle { since: Timestamp(START) }));
        life
    }

    fn at(&mut self, when: i64, event: Event) {
        self.number += 1;
        self.queue.push(Reverse((when, self.number, event)));
    }

    /// Orders for one lease are carried out one after the other.
    fn in_turn(&mut self, takes: i64, order: Order) {
        self.hands_free_at = self.hands_free_at.max(self.now) + takes;
        self.at(self.hands_free_at, Event::Hands(order));
    }

    fn input(&mut self, input: Input) {
        let effects = self.host.handle(input, Timestamp(self.now));
        for effect in effects {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        let lease = self.lease;
        match effect {
            Effect::Prepare { .. } => self.at(self.now + 2_000, Event::Hands(Order::Ready(lease))),
            Effect::Freeze { .. } => {
                let takes = 5 + self.dice.below(SLOWEST_FREEZE_MS - 5);
                self.in_turn(takes, Order::Frozen(lease));
            }
            Effect::Thaw { .. } => self.in_turn(14, Order::Thawed(lease)),
            Effect::Stop { how, .. } => {
                let grace = match how {
                    StopHow::Kill => KILL_MS,
                    StopHow::Graceful { grace_ms } => i64::try_from(grace_ms).unwrap(),
                };
                self.at(self.now + grace, Event::Hands(Order::Gone(lease)));
            }
            Effect::Tell(Report::Offers { offers, .. }) if !offers.is_empty() && !self.offered => {
                self.offered = true;
                let wait = MINUTE + self.dice.below(20 * MINUTE);
                self.at(self.now + wait, Event::OfferComes);
            }
            Effect::Tell(Report::Ready { epoch, lease, .. }) => {
                self.input(Input::Market(MarketInput::Start { lease, epoch }));
            }
            Effect::Journal(JournalEntry::Usage { record }) => {
                self.billed_ms.insert(lease, record.running_ms_total);
            }
            _ => {}
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(for_ms) => {
                if self.now > self.used_until {
                    self.use_since = self.now;
                    self.input(Input::Presence(Presence::Active { since: Timestamp(self.now) }));
                }
                self.used_until = self.used_until.max(self.now + for_ms);
                self.at(self.used_until + SETTLED_MS, Event::Settled { last: self.used_until });
            }
            Event::Settled { last } if last == self.used_until => {
                self.input(Input::Presence(Presence::Idle { since: Timestamp(last) }));
            }
            Event::Settled { .. } => {}
            Event::Game(on) => {
                self.game_since = on.then_some(self.now);
                self.sign(SignalKind::Game, on);
            }
            Event::Film(on) => self.sign(SignalKind::IdleInhibitor, on),
            Event::Spell(for_ms) => {
                self.use_since = self.now;
                self.used_until = self.now + for_ms;
            }
            Event::Told(line) => self.told(line),
            Event::OfferComes => {
                self.offered = false;
                self.lease += 1;
                let terms = terms(self.lease, self.now);
                self.input(Input::Market(MarketInput::Offer(Box::new(terms))));
                let stays = 10 * MINUTE + self.dice.below(9 * 60 * MINUTE);
                self.at(self.now + stays, Event::RenterLeaves(self.lease));
            }
            Event::RenterLeaves(lease) => {
                let (lease, epoch) = (LeaseId(lease.to_string()), Epoch(1));
                self.input(Input::Market(MarketInput::End {
                    lease,
                    epoch,
                    reason: EndReason::RenterStopped,
                }));
            }
            Event::Hands(order) => self.hands(order),
        }
    }

    fn told(&mut self, line: usize) {
        let line = self.evening[line].clone();
        if line.active {
            self.input(Input::Presence(Presence::Active { since: Timestamp(self.now) }));
        }
        if let Some(ago) = line.idle_since_ms_ago {
            self.input(Input::Presence(Presence::Idle { since: Timestamp(self.now - ago) }));
        }
        if let Some(sign) = line.sign {
            self.input(Input::Sign(sign));
        }
        if let Some(on) = line.game {
            self.game_since = on.then_some(self.now);
        }
    }

    fn sign(&mut self, kind: SignalKind, on: bool) {
        let standing = if on { Standing::Seen { name: "x".into() } } else { Standing::Quiet };
        self.input(Input::Sign(Sign { kind, source: "sensor".into(), standing }));
    }

    fn hands(&mut self, order: Order) {
        let access = || WorkerAccess {
            ssh_host_key: "k".into(),
            jupyter_token: "t".into(),
            device_name: "d".into(),
            proof: None,
            volume: None,
        };
        let (lease, event, runs) = match order {
            Order::Ready(lease) => (lease, WorkerEvent::Ready { access: access() }, true),
            Order::Frozen(lease) => (lease, WorkerEvent::Frozen { took_us: 1_000 }, false),
            Order::Thawed(lease) => (lease, WorkerEvent::Thawed, true),
            Order::Gone(lease) => (lease, WorkerEvent::Gone { cause: "told to".into() }, false),
        };
        if lease <= self.over {
            return;
        }
        if matches!(event, WorkerEvent::Gone { .. }) {
            self.over = lease;
        }
        self.set_running(runs);
        self.input(Input::Worker { lease: LeaseId(lease.to_string()), epoch: Epoch(1), event });
    }

    fn set_running(&mut self, runs: bool) {
        match (self.runs_since, runs) {
            (None, true) => self.runs_since = Some(self.now),
            (Some(since), false) => {
                self.ran_ms += self.now - since;
                self.runs_since = None;
            }
            _ => {}
        }
    }

    /// Lives until `end`, the host woken at each of its deadlines.
    fn live(&mut self, end: i64) {
        loop {
            let event = self.queue.peek().map(|Reverse((at, ..))| *at);
            let deadline = self.host.next_deadline().map(|(at, _)| at.0.max(self.now));
            let next = event.into_iter().chain(deadline).min().unwrap_or(end);
            if next >= end {
                self.now = end;
                return;
            }
            self.now = next;
            self.check();
            if event == Some(next)
                && let Some(Reverse((.., event))) = self.queue.pop()
            {
                self.happen(event);
            } else {
                self.input(Input::Deadline);
            }
        }
    }

    /// No tenant runs beside its owner for longer than a freeze takes, or beside a game for longer than a kill.
    fn check(&self) {
        if self.runs_since.is_none() {
            return;
        }
        if self.now <= self.used_until {
            let overlap = self.now - self.use_since;
            assert!(
                overlap <= SLOWEST_FREEZE_MS.max(KILL_MS),
                "the tenant ran {overlap} ms beside its owner"
            );
        }
        if let Some(since) = self.game_since {
            assert!(
                self.now - since <= GAME_FOUND_MS + KILL_MS,
                "the tenant ran {} ms beside a game",
                self.now - since
            );
        }
    }

    /// One spell of use from `from` on: bursts of input with pauses of up to two minutes.
    fn plan_use(&mut self, from: i64, minutes: i64) {
        let mut at = from;
        while at < from + minutes * MINUTE {
            let burst = 500 + self.dice.below(30_000);
            self.at(at, Event::Input(burst));
            at += burst + 200 + self.dice.below(120_000);
        }
    }

    fn plan_week(&mut self, monday: i64) {
        for line in include_str!("data/week.trace").lines().filter(|line| !line.starts_with('#')) {
            let word = |number: usize| line.split(' ').nth(number).unwrap();
            let (minute, what, minutes) =
                (word(0).parse::<i64>().unwrap(), word(1), word(2).parse::<i64>().unwrap());
            let from = monday + minute * MINUTE + self.dice.below(50 * MINUTE) - 25 * MINUTE;
            let until = from + minutes * MINUTE;
            match what {
                "use" => self.plan_use(from, minutes),
                "game" => {
                    self.plan_use(from, minutes);
                    self.at(from + 5_000, Event::Game(true));
                    self.at(until, Event::Game(false));
                }
                _ => {
                    self.at(from, Event::Input(2_000));
                    self.at(from, Event::Film(true));
                    self.at(until, Event::Film(false));
                }
            }
        }
        for day in 0..7 {
            self.plan_evening(monday + day * DAY + EVENING_AT_MINUTE * MINUTE);
        }
        // A cat on the keyboard, a mouse that slips: now and then a twitch at night.
        for _ in 0..10 {
            let at = self.dice.below(WEEK);
            let evening = EVENING_AT_MINUTE - 5..EVENING_AT_MINUTE + 25;
            if !evening.contains(&(at % DAY / MINUTE)) {
                self.at((monday + at).max(self.now), Event::Input(30));
            }
        }
    }

    /// The recorded evening, its hands in spells: moves with less than the sensor's second between them.
    fn plan_evening(&mut self, from: i64) {
        let from = from + self.dice.below(10 * MINUTE);
        let mut spells: Vec<(i64, i64)> = Vec::new();
        for (number, line) in self.evening.clone().iter().enumerate() {
            if !line.hand {
                self.at(from + line.at_ms, Event::Told(number));
                continue;
            }
            match spells.last_mut().filter(|spell| line.at_ms - spell.1 < SETTLED_MS) {
                Some(spell) => spell.1 = line.at_ms,
                None => spells.push((line.at_ms, line.at_ms)),
            }
        }
        for (first, last) in spells {
            self.at(from + first, Event::Spell(last - first));
        }
    }
}

fn terms(lease: u64, now: i64) -> LeaseTerms {
    LeaseTerms {
        lease: LeaseId(lease.to_string()),
        epoch: Epoch(1),
        gpu: GpuUuid("GPU-0".into()),
        image: "pytorch-cuda:lite".into(),
        renter: "renter".into(),
        renter_key: "ab".repeat(32),
        ssh_public_key: "ssh-ed25519 AAAA".into(),
        root_inside: false,
        no_sandbox: false,
        serve_model: None,
        volume: Default::default(),
        volume_key: None,
        price_per_hour: Money::new(1_500_000, Currency::CNY),
        fee_basis_points: 500,
        offered_at: Timestamp(now),
        nonce: Default::default(),
    }
}

/// Billed and really run, in hours.
fn weeks_of_life(seed: u64, weeks: i64) -> (f64, f64) {
    let mut life = Life::new(seed);
    for week in 0..weeks {
        life.plan_week(START + week * WEEK + 30 * MINUTE);
        life.live(START + (week + 1) * WEEK);
    }
    life.set_running(false);
    let hours = |ms: f64| ms / 3_600_000.0;
    #[expect(clippy::cast_precision_loss, reason = "hours of a year, for a message")]
    let (billed, ran) = (life.billed_ms.values().sum::<u64>() as f64, life.ran_ms as f64);
    (hours(billed), hours(ran))
}

#[test]
fn a_year_without_a_tenants_second_in_an_owners() {
    let (billed, ran) = weeks_of_life(0x9e37_79b9_7f4a_7c15, 52);
    println!("a year: the tenants ran {ran:.0} h, {billed:.0} h of them were billed");
    assert!(billed > 2_000.0, "the host hardly earned ({billed} h): the test shows nothing");
    // Between ready and start, and between the decision and the freeze, a tenant runs for nothing; never the reverse.
    assert!(billed <= ran, "more was billed ({billed} h) than had run ({ran} h)");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_fortnight_keeps_the_promise(seed in any::<u64>()) {
        let (billed, ran) = weeks_of_life(seed, 2);
        prop_assert!(billed <= ran);
    }
}
