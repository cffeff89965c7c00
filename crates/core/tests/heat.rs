//! Heat as the owner's host sees it: readings in, freezes and their reasons out.

use nightjar_core::gpu::{DriverInfo, GpuReading, GpuUuid};
use nightjar_core::host::{Effect, GpuReport, Host, Input, MarketInput, Report, UserCommand, WorkerEvent};
use nightjar_core::lease::{EndReason, Epoch, LeaseId, LeaseState, LeaseTerms, WorkerAccess};
use nightjar_core::money::{Currency, Money};
use nightjar_core::policy::{BlockReason, Presence, Runtime, Verdict};
use nightjar_core::settings::Settings;
use nightjar_core::time::Timestamp;

const GPU: &str = "GPU-0";
const IMAGE: &str = "pytorch-cuda:lite";

/// A host of which one card is rented, and nobody is there.
struct Rented {
    host: Host,
    now: Timestamp,
    lease: LeaseId,
}

impl Rented {
    fn new() -> Self {
        let mut rented = Self {
            host: Host::new(Settings { disk_reserve_mib: 0, ..Settings::default() }),
            now: Timestamp(100_000_000),
            lease: LeaseId(String::new()),
        };
        rented.put(Input::Presence(Presence::Idle { since: Timestamp(0) }));
        rented.put(Input::Runtime(Runtime::Ready {
            unsafe_versions: vec![],
            images: vec![IMAGE.into()],
            engine: Default::default(),
        }));
        rented.put(Input::Recovered(vec![]));
        rented.put(Input::Market(MarketInput::Connected));
        rented.read(Some(45.0));
        rented.rent("lease-1");
        rented
    }

    fn put(&mut self, input: Input) -> Vec<Effect> {
        self.host.handle(input, self.now)
    }

    /// One second later the thermometer says this. Whatever is asked of the worker is done at once.
    fn read(&mut self, celsius: Option<f64>) -> Vec<Effect> {
        self.now = self.now.plus_ms(1_000);
        let mut card = GpuReading::unread(GpuUuid(GPU.into()));
        card.vram_total_bytes = 12 << 30;
        card.temperature_celsius = celsius;
        let driver = DriverInfo { version: "550.54.14".into(), cuda: None };
        let effects = self.put(Input::Gpus(GpuReport::Readings { driver, cards: vec![card] }));
        for effect in &effects {
            match effect {
                Effect::Freeze { .. } => drop(self.worker(WorkerEvent::Frozen { took_us: 20_000 })),
                Effect::Thaw { .. } => drop(self.worker(WorkerEvent::Thawed)),
                Effect::Stop { .. } => drop(self.worker(WorkerEvent::Gone { cause: String::new() })),
                _ => {}
            }
        }
        effects
    }

    fn read_for(&mut self, seconds: u64, celsius: f64) -> Vec<Effect> {
        (0..seconds).flat_map(|_| self.read(Some(celsius))).collect()
    }

    fn worker(&mut self, event: WorkerEvent) -> Vec<Effect> {
        self.put(Input::Worker { lease: self.lease.clone(), epoch: Epoch(1), event })
    }

    fn rent(&mut self, lease: &str) {
        self.lease = LeaseId(lease.into());
        let terms = LeaseTerms {
            lease: self.lease.clone(),
            epoch: Epoch(1),
            gpu: GpuUuid(GPU.into()),
            image: IMAGE.into(),
            renter: "renter-1".into(),
            renter_key: "ab".repeat(32),
            ssh_public_key: "ssh-ed25519 AAAA".into(),
            root_inside: false,
            no_sandbox: false,
            serve_model: None,
            volume: Default::default(),
            volume_key: None,
            price_per_hour: Money::new(1_500_000, Currency::CNY),
            fee_basis_points: 500,
            offered_at: Timestamp(0),
            nonce: Default::default(),
        };
        self.put(Input::Market(MarketInput::Offer(Box::new(terms))));
        let access = WorkerAccess {
            ssh_host_key: "key".into(),
            jupyter_token: "token".into(),
            device_name: "card".into(),
            proof: None,
            volume: None,
        };
        self.worker(WorkerEvent::Ready { access });
        self.put(Input::Market(MarketInput::Start { lease: self.lease.clone(), epoch: Epoch(1) }));
    }

    fn state(&self) -> Option<LeaseState> {
        self.host.view(self.now).cards.first()?.job.as_ref().map(|job| job.state.clone())
    }

    fn reasons(&self) -> Vec<BlockReason> {
        match self.host.view(self.now).cards.first().map(|card| card.verdict.clone()) {
            Some(Verdict::Blocked { reasons, .. }) => reasons,
            _ => vec![],
        }
    }
}

#[test]
fn peers_15_pause_by_temperature_freezes_the_tenant_and_goes_on_when_it_is_cool() {
    let mut rented = Rented::new();
    rented.read_for(60, 80.0);
    assert_eq!(rented.state(), Some(LeaseState::Running));
    let effects = rented.read(Some(83.0));
    assert!(matches!(effects.first(), Some(Effect::Freeze { .. })), "{effects:?}");
    assert_eq!(rented.reasons(), [BlockReason::CoolingDown { celsius: 83, resume_celsius: 75 }]);
    rented.read_for(10, 70.0);
    assert_eq!(rented.state(), Some(LeaseState::Yielded), "cool, and not for long enough");
    rented.read_for(15, 70.0);
    assert_eq!(rented.state(), Some(LeaseState::Running));
}

#[test]
fn peers_15_the_third_trip_in_an_hour_ends_the_job_and_says_so_until_the_owner_does() {
    let mut rented = Rented::new();
    for _ in 0..2 {
        rented.read(Some(84.0));
        rented.read_for(30, 60.0);
        assert_eq!(rented.state(), Some(LeaseState::Running));
    }
    let effects = rented.read(Some(84.0));
    let ended = effects.iter().any(|effect| matches!(effect, Effect::Stop { .. }));
    assert!(ended, "{effects:?}");
    let reasons = rented.reasons();
    assert!(matches!(reasons[..], [BlockReason::TooHotForGood { trips: 3, .. }, ..]), "{reasons:?}");
    rented.read_for(60, 40.0);
    assert!(!rented.reasons().is_empty(), "cool, and still stopped");
    rented.put(Input::User(UserCommand::EndOverrides));
    rented.read(Some(40.0));
    assert_eq!(rented.reasons(), []);
}

#[test]
fn a_stop_for_heat_passes_in_an_hour_by_the_clock_alone() {
    let mut rented = Rented::new();
    for _ in 0..3 {
        rented.read(Some(84.0));
        rented.read_for(30, 60.0);
    }
    let (at, why) = rented.host.next_deadline().unwrap();
    assert!(at > rented.now && !why.is_empty());
    rented.now = rented.now.plus_ms(3_600_000);
    rented.put(Input::Deadline);
    rented.read_for(30, 60.0);
    assert_eq!(rented.reasons(), []);
}

#[test]
fn a_game_that_heats_the_card_while_the_tenant_is_frozen_is_no_trip() {
    let mut rented = Rented::new();
    rented.put(Input::Presence(Presence::Active { since: rented.now }));
    rented.worker(WorkerEvent::Frozen { took_us: 20_000 });
    for _ in 0..5 {
        rented.read(Some(90.0));
        rented.read_for(30, 60.0);
    }
    assert_eq!(rented.state(), Some(LeaseState::Yielded));
    assert!(!rented.reasons().iter().any(|reason| matches!(reason, BlockReason::TooHotForGood { .. })));
}

#[test]
fn a_thermometer_that_does_not_answer_freezes_a_tenant_whose_power_cannot_be_lowered() {
    let mut rented = Rented::new();
    for _ in 0..11 {
        rented.read(None);
    }
    assert_eq!(rented.state(), Some(LeaseState::Yielded));
    assert!(
        matches!(rented.reasons()[..], [BlockReason::TemperatureUnknown { .. }]),
        "{:?}",
        rented.reasons()
    );
    rented.read_for(40, 50.0);
    assert_eq!(rented.state(), Some(LeaseState::Running));
}

#[test]
fn a_job_that_is_stopped_for_heat_tells_the_renter_so() {
    let mut rented = Rented::new();
    let mut ends = Vec::new();
    for _ in 0..3 {
        ends.extend(rented.read(Some(84.0)));
        rented.read_for(30, 60.0);
    }
    let told = ends.iter().any(|effect| {
        let Effect::Tell(Report::Lease { state: LeaseState::Ending { reason }, .. }) = effect else {
            return false;
        };
        matches!(reason, EndReason::WorkerDied { cause } if cause.contains("temperature"))
    });
    assert!(told, "{ends:?}");
}
