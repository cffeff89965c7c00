//! The simulated machine: its cards, its driver, and the connections that use them. No I/O, no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::card::Card;
use crate::physics::{Fan, Load, LoadSource};
use crate::scenario::Scenario;
use crate::wire::{PROTOCOL, Reply, Request, cuda, nvml};

/// A card counts as busy this long after the work it was given ends: between two launches of a program
/// that keeps submitting it does not fall idle, and a frozen one's load is gone soon after.
pub const LOAD_HOLD: Duration = Duration::from_millis(120);
/// One submission never occupies the card longer, whatever it claims.
const LONGEST_LAUNCH_MICROS: u64 = 10_000_000;
/// A connection may have so many live allocations.
const MOST_ALLOCATIONS: usize = 65_536;

/// Who is at the other end of a connection, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub pid: u32,
    pub uid: u32,
}

#[derive(Debug)]
struct Session {
    peer: Peer,
    visible: Option<Vec<String>>,
    allocations: BTreeMap<u64, (usize, u64)>,
    /// Until when each card is busy with what this connection has submitted.
    queues: BTreeMap<usize, Duration>,
}

/// A call that is made to fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) code: i32,
    pub(crate) left: Option<u32>,
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    pub(crate) cards: Vec<Card>,
    pub(crate) driver_version: String,
    pub(crate) room_celsius: f64,
    /// By name of the call, and the card where it is meant for one.
    pub(crate) faults: BTreeMap<(String, Option<usize>), Fault>,
    scenario: Scenario,
    owner_uid: u32,
    sessions: BTreeMap<u64, Session>,
    last_session: u64,
    last_allocation: u64,
}

/// Why a request was not met.
pub(crate) struct Refusal {
    pub(crate) code: i32,
    pub(crate) why: String,
}

pub(crate) fn refuse<T>(code: i32, why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, why: why.into() })
}

fn is_cuda(call: &str) -> bool {
    !call.starts_with("nvml")
}

impl Machine {
    /// A machine as the scenario describes it. `owner_uid` is the user who may change it from outside.
    pub fn new(scenario: Scenario, owner_uid: u32, now: Duration) -> Self {
        let mut machine = Self {
            cards: Vec::new(),
            driver_version: scenario.driver_version.clone(),
            room_celsius: scenario.room_celsius,
            faults: BTreeMap::new(),
            scenario: Scenario::default(),
            owner_uid,
            sessions: BTreeMap::new(),
            last_session: 0,
            last_allocation: 0,
        };
        for (slot, setup) in scenario.cards.iter().enumerate() {
            let mut card = Card::new(slot, setup.model, scenario.room_celsius, now);
            for call in setup.model.unsupported {
                let fault = Fault { code: nvml::NOT_SUPPORTED, left: None };
                machine.faults.insert(((*call).to_owned(), Some(slot)), fault);
            }
            if let Some(connected) = setup.display_connected {
                card.display_connected = connected;
            }
            machine.cards.push(card);
        }
        machine.scenario = scenario;
        machine
    }

    /// Brings everything to `now`, with the scenario's events at their own moments.
    pub fn advance(&mut self, now: Duration) {
        while let Some((at, control)) = self.scenario.take_due(now) {
            self.advance_cards(at);
            // Events were checked when the scenario was read; one that no longer fits (VRAM that is
            // taken by now) is a matter of the run.
            if let Err(refusal) = self.control(&control, at) {
                eprintln!("event at {} ms had no effect: {}", at.as_millis(), refusal.why);
            }
        }
        self.advance_cards(now);
    }

    fn advance_cards(&mut self, now: Duration) {
        for card in &mut self.cards {
            card.advance(now);
        }
    }

    /// Somebody connects. The number stands for the connection until [`Machine::disconnect`].
    pub fn connect(&mut self, peer: Peer) -> u64 {
        self.last_session += 1;
        let session = Session { peer, visible: None, allocations: BTreeMap::new(), queues: BTreeMap::new() };
        self.sessions.insert(self.last_session, session);
        self.last_session
    }

    /// The connection ended, by itself or because its process did: everything it had is free.
    pub fn disconnect(&mut self, session: u64, now: Duration) {
        self.advance(now);
        self.sessions.remove(&session);
        for card in &mut self.cards {
            card.forget(session);
        }
    }

    /// Answers one request.
    pub fn handle(&mut self, session: u64, request: &Request, now: Duration) -> Reply {
        self.advance(now);
        let answer = match request {
            Request::Hello { protocol, visible } => self.hello(session, *protocol, visible.clone()),
            Request::Machine { call, wakes } => self.describe(session, call, *wakes, now),
            Request::Card { call, card } => self.read(session, call, *card, now),
            Request::SetPowerLimit { card, milliwatts } => {
                self.set_power_limit(session, *card, *milliwatts, now)
            }
            Request::SetPersistence { card, on } => {
                self.privileged(session, "nvmlDeviceSetPersistenceMode", *card, now).map(|card| {
                    card.persistence = *on;
                    Reply::Done
                })
            }
            Request::SetFan { card, percent } => self.set_fan(session, *card, *percent, now),
            Request::Context { card, create } => self.context(session, *card, *create),
            Request::Allocate { card, bytes } => self.allocate(session, *card, *bytes),
            Request::Free { allocation } => self.free(session, *allocation),
            Request::Launch { card, device_micros, memory_share, .. } => {
                self.launch(session, *card, *device_micros, *memory_share, now)
            }
            Request::Control { control } => {
                self.owner(session).and_then(|()| self.control(control, now)).map(|()| Reply::Done)
            }
            Request::Stats => Ok(Reply::Stats { stats: self.stats() }),
            Request::Shutdown => self.owner(session).map(|()| Reply::Done),
        };
        answer.unwrap_or_else(|Refusal { code, why }| Reply::Refused { code, why })
    }

    pub(crate) fn connections(&self) -> usize {
        self.sessions.len()
    }

    /// `power/runtime_status` of each card that is plugged in, by its slot.
    pub fn power_states(&self) -> Vec<(usize, Option<&'static str>)> {
        self.cards
            .iter()
            .enumerate()
            .map(|(slot, card)| (slot, card.present.then(|| card.runtime_status())))
            .collect()
    }

    /// The reading of every slot, plugged in or not.
    pub fn readings(&self) -> Vec<crate::wire::CardReading> {
        self.cards.iter().map(Card::reading).collect()
    }

    fn hello(&mut self, session: u64, protocol: u32, visible: Option<Vec<String>>) -> Result<Reply, Refusal> {
        if protocol != PROTOCOL {
            return refuse(
                nvml::ARGUMENT_VERSION_MISMATCH,
                format!(
                    "the library speaks protocol {protocol}, this daemon {PROTOCOL}: install both from one build"
                ),
            );
        }
        self.session(session)?.visible = visible;
        Ok(Reply::Done)
    }

    fn session(&mut self, session: u64) -> Result<&mut Session, Refusal> {
        match self.sessions.get_mut(&session) {
            Some(session) => Ok(session),
            None => refuse(nvml::UNKNOWN, "the connection has ended"),
        }
    }

    fn owner(&mut self, session: u64) -> Result<(), Refusal> {
        let (uid, owner) = (self.session(session)?.peer.uid, self.owner_uid);
        if uid == owner {
            return Ok(());
        }
        refuse(
            nvml::NO_PERMISSION,
            format!("only user {owner}, who started the stand-in, may change it; you are {uid}"),
        )
    }

    /// The code that a test wants this call to return, if any.
    fn check_fault(&mut self, call: &str, card: Option<usize>) -> Result<(), Refusal> {
        for key in [(call.to_owned(), card), (call.to_owned(), None)] {
            let Some(fault) = self.faults.get_mut(&key) else { continue };
            let code = fault.code;
            if let Some(left) = &mut fault.left {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.faults.remove(&key);
                }
            }
            return refuse(code, format!("{call} is set to fail"));
        }
        Ok(())
    }

    fn sees(&self, session: u64, slot: usize) -> bool {
        let Some(card) = self.cards.get(slot) else { return false };
        match self.sessions.get(&session).map(|session| &session.visible) {
            Some(Some(visible)) => visible.contains(&card.identity().uuid),
            Some(None) => true,
            None => false,
        }
    }

    fn describe(&mut self, session: u64, call: &str, wakes: bool, now: Duration) -> Result<Reply, Refusal> {
        self.check_fault(call, None)?;
        let slots: Vec<usize> = (0..self.cards.len())
            .filter(|slot| self.cards[*slot].present && self.sees(session, *slot))
            .collect();
        if wakes {
            for slot in &slots {
                self.cards[*slot].touched_by_nvml(now);
            }
        }
        Ok(Reply::Machine {
            driver_version: self.driver_version.clone(),
            cuda_version: cuda_version(&self.driver_version),
            cards: slots.iter().map(|slot| self.cards[*slot].identity()).collect(),
        })
    }

    /// The card, if this connection can see it and it is on the bus.
    fn card(&mut self, session: u64, call: &str, slot: usize) -> Result<&mut Card, Refusal> {
        if !self.sees(session, slot) {
            let code = if is_cuda(call) { cuda::INVALID_DEVICE } else { nvml::INVALID_ARGUMENT };
            return refuse(code, format!("there is no card {slot} for this process"));
        }
        self.check_fault(call, Some(slot))?;
        let card = &mut self.cards[slot];
        if !card.present {
            let code = if is_cuda(call) { cuda::UNKNOWN } else { nvml::GPU_IS_LOST };
            return refuse(code, format!("card {slot} has fallen off the bus"));
        }
        Ok(card)
    }

    fn read(&mut self, session: u64, call: &str, slot: usize, now: Duration) -> Result<Reply, Refusal> {
        let card = self.card(session, call, slot)?;
        if !is_cuda(call) {
            card.touched_by_nvml(now);
        }
        Ok(Reply::Card { reading: Box::new(card.reading()) })
    }

    /// The card for a change that the driver allows to root alone.
    fn privileged(
        &mut self,
        session: u64,
        call: &str,
        slot: usize,
        now: Duration,
    ) -> Result<&mut Card, Refusal> {
        let uid = self.session(session)?.peer.uid;
        let card = self.card(session, call, slot)?;
        card.touched_by_nvml(now);
        if uid != 0 {
            return refuse(nvml::NO_PERMISSION, format!("{call} needs root; the caller is user {uid}"));
        }
        Ok(card)
    }

    fn set_power_limit(
        &mut self,
        session: u64,
        slot: usize,
        milliwatts: u32,
        now: Duration,
    ) -> Result<Reply, Refusal> {
        let card = self.privileged(session, "nvmlDeviceSetPowerManagementLimit", slot, now)?;
        match card.body.set_limit_watts(f64::from(milliwatts) / 1000.0) {
            Ok(()) => Ok(Reply::Done),
            Err(why) => refuse(nvml::INVALID_ARGUMENT, why),
        }
    }

    fn set_fan(
        &mut self,
        session: u64,
        slot: usize,
        percent: Option<u32>,
        now: Duration,
    ) -> Result<Reply, Refusal> {
        let card = self.privileged(session, "nvmlDeviceSetFanSpeed_v2", slot, now)?;
        let fan = match percent {
            None => Fan::Auto,
            Some(percent) if percent <= 100 => Fan::Fixed(f64::from(percent)),
            Some(percent) => return refuse(nvml::INVALID_ARGUMENT, format!("{percent} % is no fan speed")),
        };
        card.body.set_fan(fan);
        Ok(Reply::Done)
    }

    fn context(&mut self, session: u64, slot: usize, create: bool) -> Result<Reply, Refusal> {
        let pid = self.session(session)?.peer.pid;
        let call = if create { "cuCtxCreate" } else { "cuCtxDestroy" };
        let card = self.card(session, call, slot)?;
        match (card.change_contexts(session, pid, create), create) {
            (true, true) => return Ok(Reply::Done),
            (true, false) => {}
            (false, true) => return refuse(cuda::OUT_OF_MEMORY, "no VRAM is left for a context"),
            (false, false) => {
                return refuse(cuda::INVALID_CONTEXT, "this process has no context on the card");
            }
        }
        // Memory lives no longer than the context that it was taken in.
        if !card.has_context(session) {
            card.forget(session);
            self.session(session)?.allocations.retain(|_, (on, _)| *on != slot);
        }
        Ok(Reply::Done)
    }

    fn allocate(&mut self, session: u64, slot: usize, bytes: u64) -> Result<Reply, Refusal> {
        if self.session(session)?.allocations.len() >= MOST_ALLOCATIONS {
            return refuse(cuda::OUT_OF_MEMORY, format!("more than {MOST_ALLOCATIONS} allocations"));
        }
        let card = self.card(session, "cuMemAlloc", slot)?;
        if !card.has_context(session) {
            return refuse(cuda::INVALID_CONTEXT, "this process has no context on the card");
        }
        if !card.allocate(session, bytes) {
            return refuse(cuda::OUT_OF_MEMORY, format!("{bytes} bytes are more than is free"));
        }
        self.last_allocation += 1;
        let allocation = self.last_allocation;
        self.session(session)?.allocations.insert(allocation, (slot, bytes));
        Ok(Reply::Allocated { allocation })
    }

    fn free(&mut self, session: u64, allocation: u64) -> Result<Reply, Refusal> {
        match self.session(session)?.allocations.remove(&allocation) {
            Some((slot, bytes)) => {
                self.cards[slot].free(session, bytes);
                Ok(Reply::Done)
            }
            None => refuse(cuda::INVALID_VALUE, "this was not allocated, or is free already"),
        }
    }

    fn launch(
        &mut self,
        session: u64,
        slot: usize,
        device_micros: u64,
        memory_share: f64,
        now: Duration,
    ) -> Result<Reply, Refusal> {
        let card = self.card(session, "cuLaunchKernel", slot)?;
        if !card.has_context(session) {
            return refuse(cuda::INVALID_CONTEXT, "this process has no context on the card");
        }
        let source = LoadSource::Session(session);
        let busy = Load { duty: 1.0, memory_share, until: Some(now + LOAD_HOLD) };
        card.body.set_load(source, busy);
        let speed = card.body.draw().throughput.max(0.01);
        let work = Duration::from_micros(device_micros.min(LONGEST_LAUNCH_MICROS)).div_f64(speed);
        let free_at = self.session(session)?.queues.get(&slot).copied().unwrap_or(now).max(now);
        let end = free_at + work;
        self.session(session)?.queues.insert(slot, end);
        self.cards[slot].body.set_load(source, Load { until: Some(end + LOAD_HOLD), ..busy });
        let queued = end.saturating_sub(now);
        Ok(Reply::Queued { micros: u64::try_from(queued.as_micros()).unwrap_or(u64::MAX) })
    }
}

/// The CUDA version that a driver brings, as NVML and CUDA encode it (12.8 is 12080).
fn cuda_version(driver_version: &str) -> i32 {
    let branch: u32 = driver_version.split('.').next().and_then(|part| part.parse().ok()).unwrap_or(0);
    match branch {
        580.. => 13000,
        575..=579 => 12090,
        570..=574 => 12080,
        565..=569 => 12070,
        560..=564 => 12060,
        555..=559 => 12050,
        550..=554 => 12040,
        545..=549 => 12030,
        535..=544 => 12020,
        530..=534 => 12010,
        525..=529 => 12000,
        520..=524 => 11080,
        515..=519 => 11070,
        510..=514 => 11060,
        _ => 11040,
    }
}

#[cfg(test)]
mod tests;
