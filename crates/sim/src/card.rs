//! One simulated card: its physics, who has its memory, and whether it is there and awake.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{CardModel, NAME_SUFFIX};
use crate::physics::{Body, LoadSource};
use crate::wire::{CardIdentity, CardReading, CardStats, ProcessReading};

/// VRAM that a CUDA context takes before the first allocation, so that a program never sees the whole card.
pub const CONTEXT_BYTES: u64 = 256 * 1024 * 1024;
/// How long an NVML call keeps a sleeping card awake.
pub const WOKEN_FOR: Duration = Duration::from_secs(20);
const WOKEN_WATTS: f64 = 22.0;

const REASON_IDLE: u64 = 0x1;
const REASON_POWER_CAP: u64 = 0x4;
const REASON_THERMAL: u64 = 0x20;

/// A process that a test invented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct External {
    pub vram_bytes: u64,
    pub graphics: bool,
}

/// Memory of one connection on this card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holding {
    pub pid: u32,
    pub contexts: u64,
    pub bytes: u64,
}

impl Holding {
    fn total_bytes(self) -> u64 {
        self.bytes + if self.contexts > 0 { CONTEXT_BYTES } else { 0 }
    }
}

/// A card in its slot.
#[derive(Debug)]
pub struct Card {
    slot: usize,
    pub body: Body,
    pub present: bool,
    pub persistence: bool,
    pub display_connected: bool,
    pub nvml_calls: u64,
    pub nvml_calls_while_asleep: u64,
    asleep: bool,
    woken_until: Option<Duration>,
    externals: BTreeMap<u32, External>,
    holdings: BTreeMap<u64, Holding>,
}

impl Card {
    pub fn new(slot: usize, model: &'static CardModel, room_celsius: f64, now: Duration) -> Self {
        Self {
            slot,
            body: Body::new(model, room_celsius, now),
            present: true,
            persistence: false,
            display_connected: slot == 0,
            nvml_calls: 0,
            nvml_calls_while_asleep: 0,
            asleep: false,
            woken_until: None,
            externals: BTreeMap::new(),
            holdings: BTreeMap::new(),
        }
    }

    /// Brings the card to `now`, and to sleep again where nobody has asked it anything for a while.
    pub fn advance(&mut self, now: Duration) {
        if let Some(until) = self.woken_until.filter(|until| *until <= now) {
            self.body.advance(until);
            self.woken_until = None;
            self.park();
        }
        self.body.advance(now);
    }

    fn park(&mut self) {
        let watts = match (self.asleep, self.woken_until) {
            (false, _) => None,
            (true, Some(_)) => Some(WOKEN_WATTS),
            (true, None) => Some(0.0),
        };
        self.body.set_parked_watts(watts);
    }

    pub fn set_asleep(&mut self, asleep: bool) {
        self.asleep = asleep;
        self.woken_until = None;
        self.park();
    }

    /// Notes that NVML touched the card: this is what wakes a sleeping one.
    pub fn touched_by_nvml(&mut self, now: Duration) {
        self.nvml_calls += 1;
        if self.asleep {
            self.nvml_calls_while_asleep += 1;
            self.woken_until = Some(now + WOKEN_FOR);
            self.park();
        }
    }

    /// What the kernel reports in `power/runtime_status`.
    pub fn runtime_status(&self) -> &'static str {
        if self.asleep && self.woken_until.is_none() && self.holdings.is_empty() {
            "suspended"
        } else {
            "active"
        }
    }

    /// Off the bus: whatever ran on it is gone.
    pub fn unplug(&mut self) {
        self.present = false;
        self.externals.clear();
        self.holdings.clear();
        self.body.clear_loads();
    }

    /// A process outside Nightjar takes what it wants, or (with `None`) goes away.
    pub fn set_external(&mut self, pid: u32, external: Option<External>) -> Result<(), String> {
        let before = self.externals.remove(&pid);
        let Some(external) = external else { return Ok(()) };
        let free = self.free_bytes();
        if external.vram_bytes > free {
            if let Some(before) = before {
                self.externals.insert(pid, before);
            }
            return Err(format!("{} bytes of VRAM asked for, {free} are free", external.vram_bytes));
        }
        self.externals.insert(pid, external);
        Ok(())
    }

    /// A connection makes (or drops) a context; the first takes [`CONTEXT_BYTES`].
    /// False where the card is full or there is none to drop.
    pub fn change_contexts(&mut self, session: u64, pid: u32, create: bool) -> bool {
        let free = self.free_bytes();
        let holding = self.holdings.entry(session).or_insert(Holding { pid, ..Holding::default() });
        let enough = holding.contexts > 0 || free >= CONTEXT_BYTES;
        let changed = match create {
            true if enough => holding.contexts.checked_add(1),
            true => None,
            false => holding.contexts.checked_sub(1),
        };
        if let Some(contexts) = changed {
            holding.contexts = contexts;
        }
        self.holdings.retain(|_, holding| holding.contexts > 0 || holding.bytes > 0);
        changed.is_some()
    }

    /// Takes memory for a connection that has a context. False where there is not so much.
    pub fn allocate(&mut self, session: u64, bytes: u64) -> bool {
        let free = self.free_bytes();
        match self.holdings.get_mut(&session) {
            Some(holding) if bytes <= free => {
                holding.bytes += bytes;
                true
            }
            _ => false,
        }
    }

    pub fn has_context(&self, session: u64) -> bool {
        self.holdings.get(&session).is_some_and(|holding| holding.contexts > 0)
    }

    pub fn free(&mut self, session: u64, bytes: u64) {
        if let Some(holding) = self.holdings.get_mut(&session) {
            holding.bytes = holding.bytes.saturating_sub(bytes);
        }
    }

    /// The connection is gone, and with it everything it had.
    pub fn forget(&mut self, session: u64) {
        self.holdings.remove(&session);
        self.body.clear_load(LoadSource::Session(session));
    }

    fn used_bytes(&self) -> u64 {
        let external: u64 = self.externals.values().map(|external| external.vram_bytes).sum();
        external + self.holdings.values().map(|holding| holding.total_bytes()).sum::<u64>()
    }

    fn free_bytes(&self) -> u64 {
        self.body.model().usable_bytes().saturating_sub(self.used_bytes())
    }

    pub fn identity(&self) -> CardIdentity {
        CardIdentity {
            slot: self.slot,
            uuid: format!("GPU-51ade1ca-7a2d-4e57-9a00-{:012x}", self.slot + 1),
            bus_id: format!("{:08X}:{:02X}:00.0", 0, self.pci_bus()),
        }
    }

    fn pci_bus(&self) -> u32 {
        u32::try_from(self.slot).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn processes(&self) -> Vec<ProcessReading> {
        let percent = |source| (self.body.duty_of(source) * 100.0).round() as u32;
        let mut by_pid: BTreeMap<(u32, bool), ProcessReading> = BTreeMap::new();
        let external = self.externals.iter().map(|(pid, external)| ProcessReading {
            pid: *pid,
            graphics: external.graphics,
            vram_bytes: external.vram_bytes,
            gpu_percent: percent(LoadSource::External(*pid)),
        });
        let own = self.holdings.iter().map(|(session, holding)| ProcessReading {
            pid: holding.pid,
            graphics: false,
            vram_bytes: holding.total_bytes(),
            gpu_percent: percent(LoadSource::Session(*session)),
        });
        for process in external.chain(own) {
            by_pid
                .entry((process.pid, process.graphics))
                .and_modify(|sum| {
                    sum.vram_bytes += process.vram_bytes;
                    sum.gpu_percent = (sum.gpu_percent + process.gpu_percent).min(100);
                })
                .or_insert(process);
        }
        by_pid.into_values().collect()
    }

    /// The card as NVML shows it now.
    pub fn reading(&self) -> CardReading {
        let (model, draw) = (self.body.model(), self.body.draw());
        let milli = |watts: f64| (watts * 1000.0).round() as u32;
        let busy = draw.utilisation > 0.0;
        let reasons = [
            (draw.restraint.idle, REASON_IDLE),
            (draw.restraint.power, REASON_POWER_CAP),
            (draw.restraint.thermal, REASON_THERMAL),
        ];
        CardReading {
            identity: self.identity(),
            name: format!("{}{NAME_SUFFIX}", model.name),
            compute_capability: model.compute_capability,
            architecture: model.architecture,
            multiprocessors: model.multiprocessors,
            cores: model.cores,
            memory_bus_bits: model.memory_bus_bits,
            teraflops: model.teraflops,
            pci_bus: self.pci_bus(),
            pci_device_id: model.pci_device_id,
            pci_subsystem_id: model.pci_subsystem_id,
            // An idle link falls back to the first generation.
            pcie_generation: if busy { model.pcie_generation } else { 1 },
            pcie_max_generation: model.pcie_generation,
            pcie_width: model.pcie_width,
            temperature_celsius: self.body.shown_celsius().round().max(0.0) as u32,
            slowdown_celsius: model.slowdown_celsius as u32,
            shutdown_celsius: model.shutdown_celsius as u32,
            max_operating_celsius: model.max_operating_celsius as u32,
            power_milliwatts: milli(draw.watts),
            limit_milliwatts: milli(self.body.limit_watts()),
            default_limit_milliwatts: milli(model.default_limit_watts),
            min_limit_milliwatts: milli(model.min_limit_watts),
            max_limit_milliwatts: milli(model.max_limit_watts),
            energy_millijoules: (self.body.energy_joules() * 1000.0).round() as u64,
            persistence: self.persistence,
            display_connected: self.display_connected,
            gpu_percent: (draw.utilisation * 100.0).round() as u32,
            memory_percent: (draw.utilisation * (20.0 + 75.0 * draw.memory_share)).round() as u32,
            clock_mhz: (f64::from(model.boost_clock_mhz) * draw.clock_share).round() as u32,
            max_clock_mhz: model.boost_clock_mhz,
            memory_clock_mhz: if busy { model.memory_clock_mhz } else { model.idle_memory_clock_mhz },
            max_memory_clock_mhz: model.memory_clock_mhz,
            fans: model.fans,
            fan_percent: self.body.fan_percent().round() as u32,
            throttle_reasons: reasons.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum(),
            performance_state: if busy { 2 } else { 8 },
            vram_bytes: model.vram_bytes,
            vram_reserved_bytes: model.reserved_bytes,
            vram_used_bytes: self.used_bytes(),
            processes: self.processes(),
        }
    }

    pub fn stats(&self) -> CardStats {
        CardStats {
            present: self.present,
            asleep: self.asleep,
            runtime_status: self.runtime_status().to_owned(),
            nvml_calls: self.nvml_calls,
            nvml_calls_while_asleep: self.nvml_calls_while_asleep,
            work_millis: (self.body.work_seconds() * 1000.0) as u64,
            true_celsius: self.body.temperature_celsius(),
            reading: self.reading(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Card {
        Card::new(0, CardModel::find("rtx3060").unwrap(), 22.0, Duration::ZERO)
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let mut card = card();
        let usable = card.body.model().usable_bytes();
        assert!(!card.allocate(1, 1), "without a context there is no memory");
        assert!(card.change_contexts(1, 500, true));
        assert!(card.allocate(1, usable - CONTEXT_BYTES));
        assert!(!card.allocate(1, 1));
        assert!(!card.change_contexts(2, 501, true), "a second context finds the card full");
        let reading = card.reading();
        assert_eq!((reading.vram_free_bytes(), reading.processes.len()), (0, 1));
        assert_eq!(reading.processes[0].pid, 500);
        card.forget(1);
        assert_eq!(card.reading().vram_used_bytes, 0);
    }

    #[test]
    fn only_an_nvml_call_wakes_a_sleeping_card_and_not_for_good() {
        let mut card = card();
        card.set_asleep(true);
        card.advance(Duration::from_secs(10));
        assert_eq!((card.runtime_status(), card.reading().power_milliwatts), ("suspended", 0));
        card.touched_by_nvml(Duration::from_secs(10));
        assert_eq!((card.runtime_status(), card.reading().power_milliwatts), ("active", 22_000));
        assert_eq!(card.nvml_calls_while_asleep, 1);
        card.advance(Duration::from_secs(31));
        assert_eq!((card.runtime_status(), card.reading().power_milliwatts), ("suspended", 0));
        assert_eq!(card.reading().energy_millijoules, 20 * 22_000);
    }

    #[test]
    fn a_game_that_does_not_fit_keeps_what_it_had() {
        let mut card = card();
        let game = External { vram_bytes: 1 << 30, graphics: true };
        card.set_external(77, Some(game)).unwrap();
        assert!(card.set_external(77, Some(External { vram_bytes: 1 << 40, ..game })).is_err());
        assert_eq!(card.reading().vram_used_bytes, 1 << 30);
        card.set_external(77, None).unwrap();
        assert!(card.reading().processes.is_empty());
    }
}
