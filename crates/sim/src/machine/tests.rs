use super::*;
use crate::card::CONTEXT_BYTES;
use crate::wire::{CardReading, Control};

const OWNER: u32 = 0;
const USER: u32 = 1000;

struct Rig {
    machine: Machine,
    now: Duration,
}

impl Rig {
    fn new(cards: &[&str]) -> Self {
        let scenario = Scenario::with_cards(cards).unwrap();
        Self { machine: Machine::new(scenario, OWNER, Duration::ZERO), now: Duration::ZERO }
    }

    fn join(&mut self, pid: u32, uid: u32, visible: Option<Vec<String>>) -> u64 {
        let session = self.machine.connect(Peer { pid, uid });
        assert_eq!(self.ask(session, Request::Hello { protocol: PROTOCOL, visible }), Reply::Done);
        session
    }

    fn ask(&mut self, session: u64, request: Request) -> Reply {
        self.machine.handle(session, &request, self.now)
    }

    fn code(&mut self, session: u64, request: Request) -> i32 {
        match self.ask(session, request) {
            Reply::Refused { code, .. } => code,
            _ => 0,
        }
    }

    fn control(&mut self, control: Control) {
        let session = self.join(1, OWNER, None);
        assert_eq!(self.ask(session, Request::Control { control }), Reply::Done);
        self.machine.disconnect(session, self.now);
    }

    fn reading(&mut self, session: u64, card: usize) -> CardReading {
        match self.ask(session, Request::Card { call: "nvmlDeviceGetName".to_owned(), card }) {
            Reply::Card { reading } => *reading,
            other => panic!("no reading: {other:?}"),
        }
    }
}

fn launch(card: usize, millis: u64) -> Request {
    Request::Launch { card, kernel: "train".to_owned(), device_micros: millis * 1000, memory_share: 0.5 }
}

#[test]
fn memory_of_a_process_shows_and_goes_with_it() {
    let mut rig = Rig::new(&["rtx4090"]);
    let (eye, tenant) = (rig.join(10, USER, None), rig.join(4321, USER, None));
    assert_eq!(rig.code(tenant, Request::Allocate { card: 0, bytes: 1 << 30 }), cuda::INVALID_CONTEXT);
    rig.ask(tenant, Request::Context { card: 0, create: true });
    rig.ask(tenant, Request::Allocate { card: 0, bytes: 1 << 30 });
    let reading = rig.reading(eye, 0);
    assert_eq!(reading.processes[0].pid, 4321);
    assert_eq!(reading.vram_used_bytes, (1 << 30) + CONTEXT_BYTES);
    rig.machine.disconnect(tenant, rig.now);
    assert_eq!(rig.reading(eye, 0).vram_used_bytes, 0);
}

#[test]
fn a_destroyed_context_takes_its_memory_along() {
    let mut rig = Rig::new(&["rtx3060"]);
    let tenant = rig.join(5, USER, None);
    rig.ask(tenant, Request::Context { card: 0, create: true });
    let Reply::Allocated { allocation } = rig.ask(tenant, Request::Allocate { card: 0, bytes: 4096 }) else {
        panic!("nothing allocated")
    };
    rig.ask(tenant, Request::Context { card: 0, create: false });
    assert_eq!(rig.reading(tenant, 0).vram_used_bytes, 0);
    assert_eq!(rig.code(tenant, Request::Free { allocation }), cuda::INVALID_VALUE);
}

#[test]
fn load_lasts_while_work_is_submitted_and_then_falls_away() {
    let mut rig = Rig::new(&["rtx4090"]);
    let tenant = rig.join(5, USER, None);
    rig.ask(tenant, Request::Context { card: 0, create: true });
    for _ in 0..20 {
        rig.now += Duration::from_millis(50);
        rig.ask(tenant, launch(0, 5));
        assert_eq!(rig.reading(tenant, 0).gpu_percent, 100);
    }
    rig.now += Duration::from_millis(200);
    let reading = rig.reading(tenant, 0);
    assert_eq!((reading.gpu_percent, reading.power_milliwatts), (0, 18_000));
}

#[test]
fn a_lower_limit_makes_the_same_work_take_longer() {
    let mut rig = Rig::new(&["rtx4090"]);
    let tenant = rig.join(5, USER, None);
    rig.ask(tenant, Request::Context { card: 0, create: true });
    let Reply::Queued { micros: free } = rig.ask(tenant, launch(0, 100)) else { panic!("not queued") };
    rig.now += Duration::from_secs(1);
    rig.control(Control::SetPowerLimit { card: 0, watts: 150.0 });
    let Reply::Queued { micros: limited } = rig.ask(tenant, launch(0, 100)) else { panic!("not queued") };
    assert!(free == 100_000 && limited > 115_000, "{free} and {limited} microseconds");
}

#[test]
fn only_root_sets_a_limit_and_only_the_owner_the_world() {
    let mut rig = Rig::new(&["rtx3060"]);
    let (user, root) = (rig.join(5, USER, None), rig.join(6, 0, None));
    let limit = |milliwatts| Request::SetPowerLimit { card: 0, milliwatts };
    assert_eq!(rig.code(user, limit(120_000)), nvml::NO_PERMISSION);
    assert_eq!(rig.code(root, limit(99_999)), nvml::INVALID_ARGUMENT);
    assert_eq!(rig.code(root, limit(120_000)), 0);
    assert_eq!(rig.reading(user, 0).limit_milliwatts, 120_000);
    let control = Control::SetRoomTemp { celsius: 40.0 };
    assert_eq!(rig.code(user, Request::Control { control }), nvml::NO_PERMISSION);
    assert_eq!(rig.code(user, Request::Shutdown), nvml::NO_PERMISSION);
}

#[test]
fn a_container_sees_its_own_card_alone() {
    let mut rig = Rig::new(&["rtx4090", "rtx3060"]);
    let second = rig.machine.readings()[1].identity.uuid.clone();
    let tenant = rig.join(5, USER, Some(vec![second.clone()]));
    let describe = Request::Machine { call: "cuInit".to_owned(), wakes: false };
    let Reply::Machine { cards, .. } = rig.ask(tenant, describe) else { panic!("no answer") };
    assert_eq!(cards.iter().map(|card| &card.uuid).collect::<Vec<_>>(), [&second]);
    assert_eq!(rig.code(tenant, Request::Context { card: 0, create: true }), cuda::INVALID_DEVICE);
    assert_eq!(rig.code(tenant, Request::Context { card: 1, create: true }), 0);
}

#[test]
fn an_unplugged_card_is_lost_and_comes_back_empty() {
    let mut rig = Rig::new(&["rtx4090"]);
    let tenant = rig.join(5, USER, None);
    let read = || Request::Card { call: "nvmlDeviceGetTemperature".to_owned(), card: 0 };
    rig.ask(tenant, Request::Context { card: 0, create: true });
    rig.control(Control::Unplug { card: 0 });
    assert_eq!(rig.code(tenant, read()), nvml::GPU_IS_LOST);
    assert_eq!(rig.code(tenant, launch(0, 1)), cuda::UNKNOWN);
    rig.control(Control::Replug { card: 0 });
    assert_eq!(rig.reading(tenant, 0).vram_used_bytes, 0);
    assert_eq!(rig.code(tenant, launch(0, 1)), cuda::INVALID_CONTEXT);
}

#[test]
fn calls_fail_as_told_and_as_often() {
    let mut rig = Rig::new(&["rtx4090", "rtx4060-laptop"]);
    let user = rig.join(5, USER, None);
    let read = |call: &str, card| Request::Card { call: call.to_owned(), card };
    let call = "nvmlDeviceGetFanSpeed_v2".to_owned();
    rig.control(Control::Fail { call, code: Some(999), card: Some(0), times: Some(2) });
    let codes = [0; 3].map(|_: i32| rig.code(user, read("nvmlDeviceGetFanSpeed_v2", 0)));
    assert_eq!(codes, [999, 999, 0]);
    assert_eq!(rig.code(user, read("nvmlDeviceGetFanSpeed_v2", 1)), nvml::NOT_SUPPORTED);
}

#[test]
fn events_happen_at_their_own_moment() {
    let text = "[[card]]\nmodel = \"rtx3060\"\n[[event]]\nat_ms = 1000\ndo = \"external_load\"\n\
                card = 0\npid = 7\nutil_percent = 100.0\nvram_mib = 512\ngraphics = true\n";
    let scenario = Scenario::parse(text).unwrap();
    let mut rig = Rig { machine: Machine::new(scenario, OWNER, Duration::ZERO), now: Duration::from_secs(3) };
    let user = rig.join(5, USER, None);
    assert_eq!(rig.reading(user, 0).processes[0].vram_bytes, 512 << 20);
    let Reply::Stats { stats } = rig.ask(user, Request::Stats) else { panic!("no stats") };
    assert_eq!(stats.cards[0].work_millis, 2000);
}

#[test]
fn driver_versions_bring_their_cuda() {
    assert_eq!(
        ["470.1", "525.60.13", "570.124.06", "580.82.07"].map(cuda_version),
        [11040, 12000, 12080, 13000]
    );
}
