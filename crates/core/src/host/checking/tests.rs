use proptest::prelude::*;

use super::*;
use crate::gpu::PowerLimits;
use crate::host::sample::{card, driver, terms};
use crate::host::{GpuReport, Input, MarketInput};
use crate::policy::Presence;
use crate::power::HelperStanding;
use crate::proof::{NONCE_BYTES, Proof};
use crate::settings::Settings;
use crate::signal::{Sign, SignalKind, Standing};
use crate::tariff::Tariff;

const GPU: &str = "GPU-1";

fn gpu() -> GpuUuid {
    GpuUuid(GPU.into())
}

fn nonce() -> Nonce {
    Nonce::of([7; NONCE_BYTES])
}

fn answered(answer: &CheckAnswer) -> Effect {
    Effect::Tell(Report::Checked { gpu: gpu(), answer: answer.clone() })
}

fn proof() -> CheckAnswer {
    CheckAnswer::Proof(Proof {
        nonce: nonce(),
        gpu: gpu(),
        device_name: "card".into(),
        vram_mib: 1,
        answer: "0".repeat(16),
        gflops: 1,
        memory_mib_per_s: 1,
        to_card_mib_per_s: 1,
        from_card_mib_per_s: 1,
        vram_checked_mib: 1,
        disk_write_mib_per_s: 0,
    })
}

/// A host with an idle card, of which each second takes 100 J while a check runs and 20 J otherwise.
struct Bench {
    host: Host,
    now: Timestamp,
    joules: u64,
    /// The container is there.
    loaded: bool,
}

impl Bench {
    fn new() -> Self {
        let tariff = Tariff { overhead_watts: 50, price_per_kwh_micros: 3_600_000, ..Tariff::default() };
        let mut settings = Settings { disk_reserve_mib: 0, tariff, ..Settings::default() };
        settings.power.limit_percent = Some(60);
        let mut bench =
            Self { host: Host::new(settings), now: Timestamp(10_000_000), joules: 5_000, loaded: false };
        bench.read();
        bench.put(Input::Runtime(Runtime::Ready {
            unsafe_versions: vec![],
            images: vec!["pytorch-cuda:lite".into()],
            engine: Default::default(),
        }));
        bench.put(Input::Disks(vec![crate::host::sample::disk("/", 100_000)]));
        bench.put(Input::Recovered(vec![]));
        bench.put(Input::Helper(HelperStanding::Available { version: "1".into() }));
        bench.put(Input::Market(MarketInput::Connected));
        bench.put(Input::Presence(Presence::Idle { since: Timestamp(0) }));
        bench
    }

    fn put(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.host.handle(input, self.now);
        if effects.iter().any(|effect| matches!(effect, Effect::StartCheck { .. })) {
            assert!(!self.loaded, "two at once");
            self.loaded = true;
        }
        effects
    }

    fn read(&mut self) -> Vec<Effect> {
        let mut reading = card(GPU);
        reading.power_limits = Some(PowerLimits {
            enforced_watts: 450.0,
            default_watts: 450.0,
            min_watts: 150.0,
            max_watts: 600.0,
        });
        reading.energy_millijoules = Some(self.joules * 1_000);
        self.put(Input::Gpus(GpuReport::Readings { driver: driver(), cards: vec![reading] }))
    }

    fn second(&mut self) -> Vec<Effect> {
        self.now = self.now.plus_ms(1_000);
        self.joules += if self.loaded { 100 } else { 20 };
        self.read()
    }

    fn ask(&mut self) -> Vec<Effect> {
        self.put(Input::Market(MarketInput::Check { gpu: gpu(), nonce: nonce(), within_ms: 120_000 }))
    }

    fn says(&mut self, event: LoadEvent) -> Vec<Effect> {
        if matches!(event, LoadEvent::Gone { .. }) {
            self.loaded = false;
        }
        self.put(Input::Load { gpu: gpu(), event })
    }

    fn gone(&mut self) -> Vec<Effect> {
        self.says(LoadEvent::Gone { cause: "told".into() })
    }

    fn is_free(&self) -> bool {
        self.host.cards[&gpu()].check.is_none()
    }

    fn asked() -> Self {
        let mut bench = Self::new();
        let effects = bench.ask();
        let image = "pytorch-cuda:lite".to_owned();
        assert!(effects.contains(&Effect::StartCheck { gpu: gpu(), nonce: nonce(), image }), "{effects:?}");
        bench
    }
}

fn offers(effects: &[Effect]) -> Option<usize> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Tell(Report::Offers { offers, .. }) => Some(offers.len()),
        _ => None,
    })
}

fn game() -> Input {
    let standing = Standing::Seen { name: "Factorio".into() };
    Input::Sign(Sign { kind: SignalKind::Game, source: "test".into(), standing })
}

#[test]
fn a_card_that_waits_answers_is_shown_to_and_costs_what_it_took() {
    let mut bench = Bench::asked();
    let view = bench.host.view(bench.now);
    assert!(view.cards[0].proving && bench.host.has_jobs());
    assert_eq!(view.state, crate::host::HostState::Waiting);
    assert_eq!(bench.host.cards[&gpu()].told_watts, Some(270), "as a tenant would find it");
    assert_eq!(offers(&bench.second()), None, "it stays on offer: a job is worth more");
    bench.second();
    let effects = bench.says(LoadEvent::Checked { answer: proof() });
    assert_eq!(effects, [answered(&proof())]);
    let effects = bench.gone();
    let off = Effect::Journal(JournalEntry::Proving { gpu: gpu(), at: bench.now, on: false });
    assert_eq!(effects, [off, Effect::RestorePowerLimit { gpu: gpu() }]);
    assert!(!bench.host.has_jobs() && bench.host.is_in_doubt(), "the last reading is waited for");
    let effects = bench.second();
    let cost = effects.iter().find_map(|effect| match effect {
        Effect::Journal(JournalEntry::CheckCost { energy, overhead_millijoules, electricity, .. }) => {
            Some((energy.millijoules, *overhead_millijoules, electricity.micros))
        }
        _ => None,
    });
    // 220 J of the card and 150 of the rest, at a millionth each.
    assert_eq!(cost, Some((220_000, 150_000, 370)));
    assert!(bench.is_free() && !bench.host.is_in_doubt());
    assert!(!bench.host.view(bench.now).cards[0].proving);
}

#[test]
fn the_owner_is_not_kept_waiting_for_a_check() {
    for input in [game(), Input::Presence(Presence::Active { since: Timestamp(10_000_000) })] {
        let mut bench = Bench::asked();
        let effects = bench.put(input);
        assert_eq!(effects[0], Effect::StopLoad { gpu: gpu() }, "{effects:?}");
        assert!(effects.contains(&answered(&CheckAnswer::NotNow)), "{effects:?}");
        // What the container says on its way out is no answer.
        assert_eq!(bench.says(LoadEvent::Checked { answer: proof() }), []);
        bench.gone();
        bench.second();
        assert!(bench.is_free());
    }
}

#[test]
fn a_card_on_which_nothing_may_run_says_so_and_starts_nothing() {
    let busy: [fn(&mut Bench); 6] = [
        |bench| drop(bench.put(Input::Presence(Presence::Active { since: bench.now }))),
        |bench| drop(bench.put(game())),
        |bench| {
            drop(bench.put(Input::Runtime(Runtime::Missing {
                why: crate::policy::EngineTrouble::Slow { within_ms: 1 },
            })))
        },
        |bench| drop(bench.put(Input::Market(MarketInput::Offer(Box::new(terms("lease", 1, GPU)))))),
        |bench| drop(bench.ask()),
        |bench| drop(bench.put(Input::Closing)),
    ];
    for make_busy in busy {
        let mut bench = Bench::new();
        make_busy(&mut bench);
        assert_eq!(bench.ask(), [answered(&CheckAnswer::NotNow)]);
    }
    let mut bench = Bench::new();
    let other = GpuUuid("GPU-other".into());
    let asked = MarketInput::Check { gpu: other.clone(), nonce: nonce(), within_ms: 1 };
    let answer = CheckAnswer::NotNow;
    assert_eq!(bench.put(Input::Market(asked)), [Effect::Tell(Report::Checked { gpu: other, answer })]);
}

#[test]
fn a_job_comes_before_a_check() {
    let mut bench = Bench::asked();
    let effects = bench.put(Input::Market(MarketInput::Offer(Box::new(terms("lease", 1, GPU)))));
    assert_eq!(effects[0], Effect::StopLoad { gpu: gpu() }, "{effects:?}");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Prepare { .. })), "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Tell(Report::Declined { .. }))));
    bench.gone();
    assert!(bench.host.cards[&gpu()].job.is_some());
}

#[test]
fn a_check_that_fails_hangs_or_never_comes_up_ends() {
    let mut bench = Bench::asked();
    let failed = CheckAnswer::Failed { cause: "no device".into() };
    assert_eq!(bench.says(LoadEvent::Checked { answer: failed.clone() }), [answered(&failed)]);
    bench.gone();

    let mut bench = Bench::asked();
    let effects = bench.gone();
    assert_eq!(effects[0], answered(&CheckAnswer::NotNow), "the Engine is no fault of the card's");

    let mut bench = Bench::asked();
    bench.now = bench.now.plus_ms(120_000);
    let effects = bench.put(Input::Deadline);
    assert_eq!(effects[0], Effect::StopLoad { gpu: gpu() });

    let mut bench = Bench::asked();
    let effects = bench.put(Input::Market(MarketInput::Unreachable { detail: "test".into() }));
    assert_eq!(effects[0], Effect::StopLoad { gpu: gpu() }, "nobody asks any more");

    let mut bench = Bench::asked();
    assert_eq!(bench.put(Input::Closing)[0], Effect::StopLoad { gpu: gpu() });
    let effects = bench.gone();
    let is_cost = |effect: &Effect| matches!(effect, Effect::Journal(JournalEntry::CheckCost { .. }));
    assert!(effects.iter().any(is_cost) && !bench.host.has_jobs(), "{effects:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Second,
    Ask,
    Answer,
    Gone,
    Here(bool),
    Connected(bool),
    Lease,
    LeaseOver,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Second),
        3 => Just(Step::Ask),
        2 => Just(Step::Answer),
        2 => Just(Step::Gone),
        2 => any::<bool>().prop_map(Step::Here),
        1 => any::<bool>().prop_map(Step::Connected),
        1 => Just(Step::Lease),
        1 => Just(Step::LeaseOver),
    ]
}

proptest! {
    /// Whatever happens, each question is answered once at most, no check goes on beside the owner or a job, and what
    /// began is written down to have ended, once.
    #[test]
    fn no_check_outlives_its_welcome(steps in prop::collection::vec(any_step(), 1..80)) {
        let mut bench = Bench::new();
        let (mut open, mut on, mut leases) = (0_i32, false, 0);
        for step in steps {
            let effects = match step {
                Step::Second => bench.second(),
                Step::Ask => { open += 1; bench.ask() }
                Step::Answer if bench.loaded => bench.says(LoadEvent::Checked { answer: proof() }),
                Step::Gone if bench.loaded => bench.gone(),
                Step::Answer | Step::Gone => vec![],
                Step::Here(true) => { let since = bench.now; bench.put(Input::Presence(Presence::Active { since })) }
                Step::Here(false) => bench.put(Input::Presence(Presence::Idle { since: Timestamp(0) })),
                Step::Connected(true) => bench.put(Input::Market(MarketInput::Connected)),
                Step::Connected(false) => bench.put(Input::Market(MarketInput::Unreachable { detail: "test".into() })),
                Step::Lease => { leases += 1; bench.put(Input::Market(MarketInput::Offer(Box::new(terms(&format!("lease-{leases}"), 1, GPU))))) }
                Step::LeaseOver => {
                    let cause = "told".to_owned();
                    let lease = bench.host.cards[&gpu()].job.as_ref().map(|job| job.terms().lease.clone());
                    lease.map_or(vec![], |lease| bench.put(Input::Worker {
                        lease,
                        epoch: crate::lease::Epoch(1),
                        event: crate::host::WorkerEvent::Gone { cause },
                    }))
                }
            };
            for effect in &effects {
                match effect {
                    Effect::Tell(Report::Checked { .. }) => open -= 1,
                    Effect::Journal(JournalEntry::Proving { on: begins, .. }) => {
                        prop_assert!(*begins != on);
                        on = *begins;
                    }
                    _ => {}
                }
            }
            prop_assert!(open >= 0, "an answer to no question");
            prop_assert_eq!(on, bench.loaded, "what is written down is what was there");
            let card = &bench.host.cards[&gpu()];
            let runs = card.check.as_ref().is_some_and(|check| check.phase == Phase::Runs);
            prop_assert!(!runs || (card.job.is_none() && card.verdict == Verdict::Earn));
            prop_assert_eq!(i32::from(runs), open, "a question is kept or answered");
        }
    }
}
