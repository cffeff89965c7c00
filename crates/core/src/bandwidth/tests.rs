//! A line as a bucket: what comes in beyond its capacity waits in front of it, and everybody's packets wait with it.

use proptest::prelude::*;

use super::*;

const STEP: u64 = 10;
const PROBE: u64 = 50;
const TOLD_EVERY: i64 = 200;

#[derive(Clone, Copy, Debug)]
struct Line {
    capacity_kbit: [f64; 2],
    /// What others in the home carry.
    others_kbit: [f64; 2],
    idle_us: f64,
    jitter_us: f64,
}

struct Home {
    line: Line,
    /// Waiting in front of the line, in ms.
    queue_ms: [f64; 2],
    controller: Controller,
    now: Timestamp,
    /// What the tenant wants, of the rate that it is given.
    greed: [bool; 2],
    seed: u64,
    /// As it was last told, and what passed since.
    carried: [f64; 2],
    passed: [f64; 2],
    /// What comes towards the line: who sends from afar hears of a cut when packets are lost behind the line, and slows
    /// down some round trips later.
    sent: [f64; 2],
    lag_ms: f64,
    /// Every ten seconds those who send pause together, and come back in one burst.
    pauses: bool,
    /// What they hold back meanwhile and then send on top, in kbit.
    held_back: [f64; 2],
}

impl Home {
    fn new(line: Line, limits: Rates) -> Self {
        let now = Timestamp(1_000_000);
        let controller = Controller::new(limits, &[Vantage::Beyond], now);
        Self {
            line,
            queue_ms: [0.0; 2],
            controller,
            now,
            greed: [true; 2],
            seed: 7,
            carried: [0.0; 2],
            passed: [0.0; 2],
            sent: [0.0; 2],
            lag_ms: 200.0,
            pauses: false,
            held_back: [0.0; 2],
        }
    }

    fn random(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.seed >> 33).unwrap()) / f64::from(1_u32 << 31)
    }

    /// What arrives of senders that pause: a third of it in the pause, and after that most of the rest on top, a little
    /// faster than the line.
    fn paused(&mut self, way: usize) -> f64 {
        let (sent, seconds) = (self.sent[way], STEP as f64 / 1_000.0);
        if self.now.0 % 10_000 < 200 {
            self.held_back[way] += 0.4 * sent * seconds;
            return 0.3 * sent;
        }
        let more = (self.held_back[way] / seconds).min((1.06 * self.line.capacity_kbit[way] - sent).max(0.0));
        self.held_back[way] -= more * seconds;
        sent + more
    }

    /// Milliseconds that a game's packets wait, at each probe, and what was carried in the mean.
    fn run(&mut self, ms: u64) -> (Vec<f64>, f64) {
        let (mut waits, mut mean) = (Vec::new(), 0.0);
        for step in 0..ms / STEP {
            self.now = self.now.plus_ms(STEP);
            let rates = self.controller.rates();
            let before = self.passed[1];
            for (way, rate) in [f64::from(rates.up_kbit), f64::from(rates.down_kbit)].into_iter().enumerate()
            {
                let wanted = if self.greed[way] { rate } else { 0.0 };
                let lag_ms = if way == 1 { self.lag_ms } else { 0.0 };
                let gone = if wanted < self.sent[way] { 1.0 - (-(STEP as f64) / lag_ms).exp() } else { 1.0 };
                self.sent[way] += gone * (wanted - self.sent[way]);
                let ours = if self.pauses { self.paused(way) } else { self.sent[way] };
                let offered = ours + self.line.others_kbit[way];
                let capacity = self.line.capacity_kbit[way];
                let queue = self.queue_ms[way] + STEP as f64 * (offered / capacity - 1.0);
                // A modem's buffer is deep, and not endless.
                self.queue_ms[way] = queue.clamp(0.0, 800.0);
                // Everybody gets what the line bears of what they offer.
                let share =
                    if self.queue_ms[way] > 0.0 { (capacity / offered.max(1.0)).min(1.0) } else { 1.0 };
                self.passed[way] += ours * share;
            }
            mean += self.passed[1] - before;
            // The gateway's counter is read now and then.
            if self.now.0 % TOLD_EVERY == TOLD_EVERY / 2 {
                let steps = (TOLD_EVERY as u64 / STEP) as f64;
                (self.carried, self.passed) = (self.passed.map(|sum| sum / steps), [0.0; 2]);
            }
            if step % (PROBE / STEP) == 0 {
                let wait = self.queue_ms[0] + self.queue_ms[1];
                waits.push(wait);
                let noise = self.random() * self.line.jitter_us;
                let rtt = self.line.idle_us + wait * 1_000.0 + noise;
                let carried = Rates { up_kbit: whole(self.carried[0]), down_kbit: whole(self.carried[1]) };
                self.controller.carried(carried, self.now);
                self.controller.probed(0, Some(rtt as u64), self.now);
                self.controller.tick(self.now);
            }
        }
        (waits, mean / (ms / STEP) as f64)
    }
}

fn at(share: f64, mut waits: Vec<f64>) -> f64 {
    waits.sort_by(f64::total_cmp);
    waits[((waits.len() - 1) as f64 * share) as usize]
}

fn limits(kbit: u32) -> Rates {
    Rates { up_kbit: kbit, down_kbit: kbit }
}

fn line(up: f64, down: f64) -> Line {
    Line { capacity_kbit: [up, down], others_kbit: [0.0; 2], idle_us: 15_000.0, jitter_us: 1_000.0 }
}

#[test]
fn a_greedy_tenant_leaves_the_ping_alone_and_gets_most_of_the_line() {
    let mut home = Home::new(line(1e9, 40_000.0), limits(1_000_000));
    home.greed = [false, true];
    home.run(30_000);
    let (waits, mean) = home.run(120_000);
    println!("{:.1} ms at 95 %, {:.1} at 99, {mean:.0}", at(0.95, waits.clone()), at(0.99, waits.clone()));
    assert!(at(0.99, waits.clone()) <= 5.0, "{:.1} ms", at(0.99, waits));
    assert!(mean > 0.85 * 40_000.0, "{mean:.0} of 40000 kbit/s");
}

/// As BBR does in every connection of a download that began at once. For a game it is some milliseconds every ten seconds,
/// at nearly any rate; it says little of what the line bears.
#[test]
fn senders_that_pause_together_are_not_taken_for_a_narrow_line() {
    let mut home = Home::new(line(1e9, 40_000.0), limits(1_000_000));
    (home.greed, home.pauses) = ([false, true], true);
    home.run(60_000);
    let (waits, mean) = home.run(300_000);
    println!("{:.1} ms at 95 %, {:.1} at 99, {mean:.0}", at(0.95, waits.clone()), at(0.99, waits.clone()));
    assert!(at(0.95, waits.clone()) <= 5.0, "{:.1} ms", at(0.95, waits));
    assert!(mean > 0.68 * 40_000.0, "{mean:.0} of 40000 kbit/s");
}

/// What was carried is told every fifth of a second: the last word before a burst is of the pause before it.
#[test]
fn a_burst_after_a_pause_costs_a_cut_and_not_the_rate() {
    let mut home = Home::new(line(1e9, 1e9), limits(1_000_000));
    home.greed = [false, true];
    while home.controller.rates().down_kbit < 30_000 {
        home.run(1_000);
    }
    let before = f64::from(home.controller.rates().down_kbit);
    home.controller.carried(Rates { up_kbit: 0, down_kbit: whole(0.4 * before) }, home.now);
    for _ in 0..6 {
        home.now = home.now.plus_ms(PROBE);
        home.controller.probed(0, Some(30_000), home.now);
    }
    let cut = f64::from(home.controller.rates().down_kbit);
    assert!(cut < 0.95 * before && cut > 0.7 * before, "{cut} of {before}");
    home.run(3_000);
    let after = f64::from(home.controller.rates().down_kbit);
    assert!(after > 0.99 * NEAR * before, "{after} of {before}");
    // One that comes again at once is believed.
    for _ in 0..40 {
        home.now = home.now.plus_ms(PROBE);
        home.controller.probed(0, Some(30_000), home.now);
    }
    home.run(3_000);
    let after = f64::from(home.controller.rates().down_kbit);
    assert!(after < 0.6 * before, "{after} of {before}");
}

#[test]
fn a_line_that_becomes_half_as_wide_is_cleared_within_two_seconds_and_won_back_later() {
    let mut home = Home::new(line(1e9, 40_000.0), limits(100_000));
    home.greed = [false, true];
    home.run(60_000);
    home.line.capacity_kbit[1] = 20_000.0;
    home.run(2_000);
    let (waits, _) = home.run(30_000);
    assert!(at(0.95, waits.clone()) <= 5.0, "{:.1} ms", at(0.95, waits));
    home.line.capacity_kbit[1] = 40_000.0;
    home.run(180_000);
    let (_, mean) = home.run(30_000);
    assert!(mean > 0.8 * 40_000.0, "{mean:.0}");
}

#[test]
fn whoever_fills_the_line_beside_us_gets_it() {
    let mut home = Home::new(line(1e9, 40_000.0), limits(100_000));
    home.greed = [false, true];
    home.run(60_000);
    home.line.others_kbit[1] = 30_000.0;
    home.run(3_000);
    let (waits, _) = home.run(20_000);
    assert!(at(0.9, waits.clone()) <= 5.0, "{:.1} ms", at(0.9, waits));
}

#[test]
fn a_longer_way_is_not_taken_for_a_full_line_for_ever() {
    let mut home = Home::new(line(1e9, 40_000.0), limits(100_000));
    home.greed = [false, true];
    home.run(60_000);
    home.line.idle_us += 20_000.0;
    home.run(60_000);
    let (_, mean) = home.run(60_000);
    assert!(mean > 0.6 * 40_000.0, "{mean:.0}");
}

/// A limit of the owner's may lie where a line that is somebody else's would: being there says nothing of the line then.
#[test]
fn a_low_limit_one_way_takes_nothing_from_what_is_known_of_the_other() {
    let mut home = Home::new(line(1e9, 40_000.0), Rates { up_kbit: 200, down_kbit: 50_000 });
    home.run(60_000);
    let (waits, mean) = home.run(120_000);
    assert!(at(0.99, waits.clone()) <= 5.0, "{:.1} ms", at(0.99, waits));
    assert!(mean > 0.85 * 40_000.0, "{mean:.0} of 40000 kbit/s");
    assert!(home.controller.down.bore.is_some(), "the line's bounds were forgotten");
    let idle_us = home.controller.latency().unwrap().idle_us;
    assert!(idle_us < 17_000, "a queue was taken for the line: {idle_us} us");
    assert_eq!(home.controller.rates().up_kbit, 200);
    // And a longer way is still told from a full line.
    home.line.idle_us += 20_000.0;
    home.run(60_000);
    let (_, mean) = home.run(60_000);
    assert!(mean > 0.6 * 40_000.0, "{mean:.0}");
}

#[test]
fn at_its_limit_it_stays_and_without_load_it_rests() {
    let mut home = Home::new(line(1e9, 1e9), limits(10_000));
    home.run(60_000);
    assert_eq!(home.controller.rates(), limits(10_000));
    assert_eq!(home.controller.mood(), Mood::AtLimit);
    home.controller.set_limits(limits(5_000));
    assert_eq!(home.controller.rates(), limits(5_000));
    home.greed = [false; 2];
    home.run(90_000);
    assert_eq!(home.controller.rates(), limits(2_000));
    assert_eq!(home.controller.mood(), Mood::Resting);
}

#[test]
fn probes_that_cease_make_it_blind_and_small() {
    let mut home = Home::new(line(1e9, 1e9), limits(50_000));
    home.run(60_000);
    let mut now = home.now;
    for _ in 0..600 {
        now = now.plus_ms(50);
        home.controller.probed(0, None, now);
        home.controller.tick(now);
    }
    assert_eq!(home.controller.mood(), Mood::Blind);
    // Half of what the line last bore.
    assert!(home.controller.rates().up_kbit <= 25_000, "{:?}", home.controller.rates());
    home.run(120_000);
    assert_eq!(home.controller.mood(), Mood::AtLimit);
}

/// A router that answers at once says nothing of the queue behind it.
#[test]
fn an_answer_from_in_front_of_the_line_alone_leaves_it_blind_and_small() {
    let limit = limits(50_000);
    let mut now = Timestamp(1_000_000);
    let mut controller = Controller::new(limit, &[Vantage::Near, Vantage::Beyond], now);
    let step = |controller: &mut Controller, now: &mut Timestamp, market| {
        *now = now.plus_ms(PROBE);
        controller.carried(controller.rates(), *now);
        controller.probed(0, Some(600), *now);
        controller.probed(1, market, *now);
        controller.tick(*now);
    };
    for _ in 0..1_200 {
        step(&mut controller, &mut now, None);
        assert!(f64::from(controller.rates().down_kbit) <= START_KBIT, "{:?} at {now:?}", controller.rates());
    }
    assert_eq!(controller.mood(), Mood::Blind);
    // The market answers: it sees again, and grows.
    for _ in 0..1_200 {
        step(&mut controller, &mut now, Some(20_000));
    }
    assert_eq!((controller.rates(), controller.mood()), (limit, Mood::AtLimit));
    // And ceases to.
    for _ in 0..1_200 {
        step(&mut controller, &mut now, None);
    }
    assert_eq!(controller.mood(), Mood::Blind);
    assert!(controller.rates().down_kbit <= 25_000, "{:?}", controller.rates());
}

/// The market was found after all, or has another address.
#[test]
fn other_reflectors_end_blindness_only_when_they_answer() {
    let mut now = Timestamp(1_000_000);
    let mut controller = Controller::new(limits(50_000), &[Vantage::Near], now);
    let run = |controller: &mut Controller, now: &mut Timestamp, reflector, rtt_us| {
        for _ in 0..200 {
            *now = now.plus_ms(PROBE);
            controller.carried(controller.rates(), *now);
            controller.probed(reflector, rtt_us, *now);
            controller.tick(*now);
        }
    };
    run(&mut controller, &mut now, 0, Some(600));
    assert_eq!(controller.mood(), Mood::Blind);
    controller.look_by(&[Vantage::Near, Vantage::Beyond]);
    run(&mut controller, &mut now, 1, None);
    assert_eq!(controller.mood(), Mood::Blind);
    assert!(f64::from(controller.rates().down_kbit) <= START_KBIT);
    run(&mut controller, &mut now, 1, Some(20_000));
    assert!(f64::from(controller.rates().down_kbit) > START_KBIT, "{:?}", controller.rates());
}

#[test]
fn one_late_answer_changes_nothing() {
    let mut home = Home::new(line(1e9, 1e9), limits(10_000));
    home.run(60_000);
    home.controller.probed(0, Some(900_000), home.now);
    home.controller.probed(0, None, home.now);
    assert_eq!(home.controller.rates(), limits(10_000));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Over lines of every kind: the ping, the use of the line, and the owner's limit.
    #[test]
    fn lines_of_every_kind(
        capacity in 2_000_f64..500_000.0,
        idle_us in 1_000_f64..80_000.0,
        jitter_us in 0_f64..4_000.0,
        is_down in any::<bool>(),
    ) {
        let mut line = Line { idle_us, jitter_us, ..line(1e9, 1e9) };
        let way = usize::from(is_down);
        line.capacity_kbit[way] = capacity;
        let mut home = Home::new(line, limits(1_000_000));
        home.greed = [!is_down, is_down];
        // The idle line is seen before a tenant comes.
        let greed = std::mem::take(&mut home.greed);
        home.run(10_000);
        home.greed = greed;
        home.run(90_000);
        let (waits, _) = home.run(90_000);
        let late = at(0.95, waits);
        prop_assert!(late <= 5.0 + jitter_us / 1_000.0, "{late:.1} ms");
        let rate = if is_down { home.controller.rates().down_kbit } else { home.controller.rates().up_kbit };
        prop_assert!(f64::from(rate) > 0.6 * capacity, "{rate} of {capacity:.0}");
    }

    /// However slowly those who send hear of a cut, it is one cut's worth that is lost.
    #[test]
    fn senders_that_hear_late_cost_neither_the_game_nor_the_line(
        capacity in 10_000_f64..200_000.0,
        lag_ms in 20_f64..600.0,
    ) {
        let mut home = Home::new(line(1e9, capacity), limits(1_000_000));
        (home.greed, home.lag_ms) = ([false, true], lag_ms);
        home.run(60_000);
        let (waits, mean) = home.run(120_000);
        let late = at(0.99, waits);
        prop_assert!(late <= 5.0, "{late:.1} ms");
        prop_assert!(mean > 0.75 * capacity, "{mean:.0} of {capacity:.0}");
    }

    /// However the router answers, and whatever is carried, nothing is won by it.
    #[test]
    fn no_rate_grows_on_the_word_of_the_near_side(
        limit in 64_u32..10_000_000,
        told in prop::collection::vec((prop::option::of(0_u64..5_000_000), 0_u32..20_000_000, 0_u64..1_000), 1..200),
    ) {
        let mut now = Timestamp(0);
        let mut controller = Controller::new(limits(limit), &[Vantage::Near, Vantage::Beyond, Vantage::Near], now);
        for (index, (rtt_us, carried, ms)) in told.into_iter().enumerate() {
            now = now.plus_ms(ms);
            controller.carried(limits(carried), now);
            controller.probed(if index % 2 == 0 { 0 } else { 2 }, rtt_us, now);
            controller.probed(1, None, now);
            controller.tick(now);
            let rates = controller.rates();
            prop_assert!(f64::from(rates.up_kbit.max(rates.down_kbit)) <= START_KBIT, "{rates:?}");
        }
    }

    /// Whatever it is told, the rates stay within the owner's limits and above the floor.
    #[test]
    fn rates_stay_in_bounds(
        limit in 64_u32..10_000_000,
        told in prop::collection::vec((0_usize..3, prop::option::of(0_u64..5_000_000), 0_u32..20_000_000, 0_u64..5_000), 1..200),
    ) {
        let mut now = Timestamp(0);
        let mut controller = Controller::new(limits(limit), &[Vantage::Near, Vantage::Beyond], now);
        for (reflector, rtt_us, carried, ms) in told {
            now = now.plus_ms(ms);
            controller.carried(limits(carried), now);
            controller.probed(reflector, rtt_us, now);
            controller.tick(now);
            let rates = controller.rates();
            for kbit in [rates.up_kbit, rates.down_kbit] {
                prop_assert!(kbit <= limit && kbit >= limit.min(256), "{rates:?}");
            }
        }
    }
}
