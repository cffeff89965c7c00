//! See the module.

use nightjar_core::gpu::{DriverInfo, GpuReading, GpuUuid};
use nightjar_core::host::{Effect, GpuReport, Host, Input, MarketInput, WorkerEvent};
use nightjar_core::lease::{EndReason, Epoch, LeaseId, LeaseTerms, WorkerAccess};
use nightjar_core::money::{Currency, Money};
use nightjar_core::policy::{EngineFacts, Gvisor, Presence, Runtime, Sandbox};
use nightjar_core::power::HelperStanding;
use nightjar_core::settings::{Language, Settings};

use super::*;

const DRIVER: &str = "550.54.14";

fn helper(is_there: bool) -> Input {
    Input::Helper(match is_there {
        true => HelperStanding::Available { version: "1".into() },
        false => HelperStanding::NotAnswering { detail: "its connection broke".into() },
    })
}

fn terms(now: Timestamp) -> LeaseTerms {
    LeaseTerms {
        lease: LeaseId("lease".into()),
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
        price_per_hour: Money::new(9_000_000, Currency::CNY),
        fee_basis_points: 500,
        offered_at: now,
        nonce: Default::default(),
    }
}

fn reading(celsius: f64) -> Input {
    let mut card = GpuReading::unread(GpuUuid("GPU-0".into()));
    card.vram_total_bytes = 12 << 30;
    card.temperature_celsius = Some(celsius);
    let driver = DriverInfo { version: DRIVER.into(), cuda: None };
    Input::Gpus(GpuReport::Readings { driver, cards: vec![card] })
}

/// A host with one card, a gVisor and a helper, whose owner has been away for long.
struct Bench {
    host: Host,
    now: Timestamp,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self { host: Host::new(Settings::default()), now: Timestamp(1_000_000_000) };
        let sandbox =
            Sandbox { runtime: "runsc".into(), drivers: vec![DRIVER.into()], changes_limits: false };
        let engine = EngineFacts { gvisor: Gvisor::Told(sandbox), ..EngineFacts::default() };
        let images = vec!["pytorch-cuda:lite".into()];
        for input in [
            reading(45.0),
            Input::Runtime(Runtime::Ready { unsafe_versions: vec![], images, engine }),
            Input::Recovered(vec![]),
            helper(true),
            Input::Market(MarketInput::Connected),
            Input::Presence(Presence::Idle { since: Timestamp(0) }),
        ] {
            bench.put(input);
        }
        bench
    }

    fn put(&mut self, input: Input) {
        self.host.handle(input, self.now);
    }

    fn worker(&mut self, event: WorkerEvent) {
        self.put(Input::Worker { lease: LeaseId("lease".into()), epoch: Epoch(1), event });
    }

    /// Its tenant is at work.
    fn running() -> Self {
        let mut bench = Self::new();
        bench.put(Input::Market(MarketInput::Offer(Box::new(terms(bench.now)))));
        let access = WorkerAccess {
            ssh_host_key: "k".into(),
            jupyter_token: "t".into(),
            device_name: "d".into(),
            proof: None,
            volume: None,
        };
        bench.worker(WorkerEvent::Ready { access });
        bench.put(Input::Market(MarketInput::Start { lease: LeaseId("lease".into()), epoch: Epoch(1) }));
        assert!(bench.says("state-earning", "lease-running"));
        bench
    }

    /// Its tenant was frozen for an owner who has gone since.
    fn frozen() -> Self {
        let mut bench = Self::running();
        bench.put(Input::Presence(Presence::Active { since: bench.now }));
        bench.worker(WorkerEvent::Frozen { took_us: 50_000 });
        assert_eq!(bench.words(Language::English).1, "The job is frozen while you are here.");
        bench.put(Input::Presence(Presence::Idle { since: bench.now }));
        bench.now = bench.now.plus_ms(600_000);
        bench.put(Input::Deadline);
        bench
    }

    /// Of the host, and of its card.
    fn words(&self, language: Language) -> (String, String) {
        let (view, texts) = (self.host.view(self.now), Texts::of(language));
        let clock = |_: Timestamp| String::from("12:00");
        let card = super::super::tile(&view.cards[0], &view, texts, &clock).sentence;
        (headline(&view, texts, &clock), card)
    }

    fn says(&self, headline: &str, card: &str) -> bool {
        [Language::English, Language::SimplifiedChinese].into_iter().all(|language| {
            let texts = Texts::of(language);
            self.words(language) == (texts.plain(headline), texts.plain(card))
        })
    }
}

#[test]
fn a_job_that_the_heat_froze_is_not_told_as_frozen_for_its_owner() {
    let mut bench = Bench::running();
    let effects = bench.host.handle(reading(99.0), bench.now);
    let notice = effects.iter().find_map(|effect| match effect {
        Effect::Notify(notice) => Some(notice),
        _ => None,
    });
    let [english, chinese] = [Language::English, Language::SimplifiedChinese];
    let told = |language| crate::view::notification(notice.unwrap(), language);
    assert_eq!(
        told(english).1,
        "The card is too hot. The job (pytorch-cuda:lite) goes on once it has cooled down."
    );
    assert_eq!(told(chinese).1, "显卡过热，任务（pytorch-cuda:lite）在降温后继续。");
    bench.worker(WorkerEvent::Frozen { took_us: 50_000 });
    assert_eq!(bench.words(english).1, "The job is frozen. The card is at 99 °C; your ceiling is 83 °C.");
    assert_eq!(bench.words(chinese).1, "任务已冻结。显卡 99 °C，超过你设定的上限 83 °C。");
}

#[test]
fn a_frozen_job_that_goes_on_is_not_told_as_waiting_for_one() {
    let bench = Bench::frozen();
    assert!(bench.says("lease-resuming", "lease-resuming"), "{:?}", bench.words(Language::English));
}

#[test]
fn a_job_that_ends_is_told_as_that() {
    let mut bench = Bench::frozen();
    bench.put(Input::Market(MarketInput::End {
        lease: LeaseId("lease".into()),
        epoch: Epoch(1),
        reason: EndReason::RenterStopped,
    }));
    let (headline, card) = bench.words(Language::English);
    assert_eq!(headline, "The job is ending: The renter stopped it.");
    assert_eq!(card, headline);
    bench.worker(WorkerEvent::Gone { cause: "test".into() });
    assert!(bench.says("state-waiting", "state-waiting"));
}

#[test]
fn a_frozen_job_that_waits_for_the_helper_says_so_and_what_mends_it() {
    let mut bench = Bench::frozen();
    bench.put(helper(false));
    for is_ended in [false, true] {
        if is_ended {
            let lease = LeaseId("lease".into());
            bench.put(Input::User(nightjar_core::host::UserCommand::StopJob { lease }));
            bench.now = bench.now.plus_ms(5_000);
        }
        for (language, helper) in [(Language::English, "helper"), (Language::SimplifiedChinese, "辅助服务")]
        {
            let (headline, card) = bench.words(language);
            assert!(card.contains(helper) && card.contains(super::super::START_AGAIN), "{card}");
            assert_eq!(headline, card);
        }
    }
    bench.put(Input::Helper(HelperStanding::Unsupported));
    assert!(bench.says("lease-waits-for-helper", "lease-waits-for-helper"));
}

#[test]
fn who_takes_no_job_until_the_helper_is_back_says_so() {
    let mut bench = Bench::new();
    assert!(bench.says("state-waiting", "state-waiting"), "{:?}", bench.words(Language::English));
    bench.put(helper(false));
    assert!(bench.says("state-awaits-helper", "state-awaits-helper"));
    bench.now = bench.now.plus_ms(60_000);
    bench.put(Input::Deadline);
    assert!(bench.says("state-waiting", "state-waiting"));
}
