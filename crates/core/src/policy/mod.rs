//! May this card earn now? [`decide`] lists every reason against it, the most useful first.

mod facts;
mod gvisor;
mod kernel;
mod overrides;
mod reason;
#[cfg(test)]
mod tests;

pub use facts::{
    DiskSpace, EngineFacts, EngineTrouble, GatewayFailure, GatewayImage, ImagesLent, Market, OddContainer,
    Presence, Runtime, Snapshot, Toolkit, UnsafeVersion,
};
pub use gvisor::{Gvisor, RegisteredRuntime, Registration, Sandbox, Sandboxing};
pub use kernel::{KernelAnswer, KernelFacts, KernelHome, KernelInquiry, KernelPart, KernelQuestion};
pub use overrides::{EarnNow, Overrides};
pub use reason::{BlockReason, Impact, Verdict};

use crate::gpu::{GpuReading, GpuTrouble};
use crate::network::AtCap;
use crate::schedule::schedule_says;
use crate::settings::Settings;
use crate::signal::SignalKind;
use crate::time::Timestamp;

/// Oldest driver branch that serves CUDA 12.
pub const MIN_DRIVER_MAJOR: u32 = 525;

/// Whether a job is on the card: a frozen one goes on sooner than a new one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    None,
    Held,
}

/// Decides for one card. `card` is `None` when no card can be read at all; `stranger` is who uses it beside us.
#[must_use]
pub fn decide(
    snapshot: &Snapshot,
    settings: &Settings,
    overrides: &Overrides,
    card: Option<&GpuReading>,
    stranger: Option<&str>,
    job: Job,
    now: Timestamp,
) -> Verdict {
    let mut found = Findings::default();
    let rule = card.map(|card| settings.card(&card.uuid)).unwrap_or_default();
    owner_choice(snapshot, settings, overrides, now, &mut found);
    if !rule.lend {
        found.add(BlockReason::CardNotLent);
    }
    // A card that the desktop does not use may go on while the owner uses another, where the owner said so.
    let apart = rule.while_here && card.is_some_and(GpuReading::is_apart);
    if !apart {
        use_of_the_pc(snapshot, settings, overrides, card, job, now, &mut found);
    }
    if let Some(stranger) = stranger {
        found.add(BlockReason::GpuBusy { process: stranger.to_owned() });
    }
    surroundings(snapshot, &mut found);
    fitness(snapshot, settings, card, &mut found);
    market(snapshot, settings, &mut found);
    found.reasons.extend(snapshot.image_reason());
    if found.reasons.is_empty() {
        Verdict::Earn
    } else {
        Verdict::Blocked { reasons: found.reasons, next_change: found.next_change }
    }
}

#[derive(Default)]
struct Findings {
    reasons: Vec<BlockReason>,
    next_change: Option<Timestamp>,
}

impl Findings {
    fn add(&mut self, reason: BlockReason) {
        self.reasons.push(reason);
    }

    fn add_until(&mut self, reason: BlockReason, until: Timestamp) {
        self.reasons.push(reason);
        self.next_change = Some(self.next_change.map_or(until, |sooner| sooner.min(until)));
    }
}

fn owner_choice(
    snapshot: &Snapshot,
    settings: &Settings,
    overrides: &Overrides,
    now: Timestamp,
    found: &mut Findings,
) {
    if let Some(detail) = &snapshot.settings_trouble {
        found.add(BlockReason::SettingsUnreadable { detail: detail.clone() });
    }
    if !settings.earn_while_idle && overrides.earn_now.is_none() {
        found.add(BlockReason::TurnedOff);
    }
    if let Some(until) = overrides.snoozed_until.filter(|until| *until > now) {
        found.add_until(BlockReason::Snoozed { until }, until);
    }
    if let Some(until) = overrides.last_job_until.filter(|until| *until > now) {
        found.add_until(BlockReason::AfterLastJob { until }, until);
    }
    match schedule_says(&snapshot.schedule).filter(|_| overrides.earn_now.is_none()) {
        Some((reason, Some(until))) => found.add_until(reason, until),
        Some((reason, None)) => found.add(reason),
        None => {}
    }
}

fn use_of_the_pc(
    snapshot: &Snapshot,
    settings: &Settings,
    overrides: &Overrides,
    card: Option<&GpuReading>,
    job: Job,
    now: Timestamp,
    found: &mut Findings,
) {
    let sign =
        |kind, reason: fn(String) -> BlockReason, found: &mut Findings| match snapshot.signs.counted(kind) {
            Some((name, Some(until))) => found.add_until(reason(name.to_owned()), until),
            Some((name, None)) => found.add(reason(name.to_owned())),
            None => {}
        };
    // A game wants the whole card, whatever else was chosen.
    sign(SignalKind::Game, |name| BlockReason::GameRunning { name }, found);
    sign(SignalKind::FullScreen, |name| BlockReason::FullScreen { name }, found);
    let even_if_here = snapshot.schedule.is_even_if_here();
    // Whoever said "until I am back" said nothing of somebody else in the chair.
    let until_back = !even_if_here && overrides.earn_now.is_some_and(|earn| earn.until_back);
    let even_if_here = even_if_here || overrides.earn_now.is_some();
    let before = found.reasons.len();
    if until_back || !even_if_here {
        sign(SignalKind::OtherAccount, |name| BlockReason::OtherAccount { name }, found);
    }
    if !even_if_here {
        presence(snapshot, settings, job, now, found);
    }
    if found.reasons.len() > before && job == Job::Held {
        vram_of_the_desktop(settings, card, found);
    }
    if even_if_here {
        return;
    }
    sign(SignalKind::IdleInhibitor, |by| BlockReason::IdleInhibited { by }, found);
    sign(SignalKind::RemoteSession, |name| BlockReason::RemoteSession { name }, found);
    sign(SignalKind::Controller, |name| BlockReason::ControllerInUse { name }, found);
}

fn presence(snapshot: &Snapshot, settings: &Settings, job: Job, now: Timestamp, found: &mut Findings) {
    let mut needed_ms = match job {
        Job::None => settings.idle_after_ms,
        Job::Held => settings.resume_after_ms.min(settings.idle_after_ms),
    };
    // Whoever locks the screen has left; a switch to another account locks it too, and leaves nobody away.
    let switched = snapshot.signs.is_seen(SignalKind::OtherAccount);
    if !switched && snapshot.signs.counted(SignalKind::ScreenLocked).is_some() {
        needed_ms = needed_ms.min(settings.locked_idle_after_ms);
    }
    match &snapshot.presence {
        Presence::Active { .. } => found.add(BlockReason::UserHere { idle_ms: 0, needed_ms }),
        Presence::Idle { since } => {
            let until = since.plus_ms(needed_ms);
            if now < until {
                found.add_until(BlockReason::UserHere { idle_ms: now.since_ms(*since), needed_ms }, until);
            }
        }
        Presence::Unknown { detail } if !settings.without_presence => {
            found.add(BlockReason::PresenceUnknown { detail: detail.clone() });
        }
        Presence::Unknown { .. } => {}
    }
}

/// A frozen tenant keeps its memory. What it leaves to the desktop must be enough for that.
fn vram_of_the_desktop(settings: &Settings, card: Option<&GpuReading>, found: &mut Findings) {
    let Some(card) = card.filter(|card| card.vram_total_bytes > 0 && !card.asleep) else { return };
    let free_mib = card.vram_total_bytes.saturating_sub(card.vram_used_bytes) >> 20;
    let needed_mib = settings.vram_reserve_mib;
    if free_mib < needed_mib {
        found.add(BlockReason::VramScarce { free_mib, needed_mib });
    }
}

/// What holds for every card of the PC, wherever its owner is.
fn surroundings(snapshot: &Snapshot, found: &mut Findings) {
    if snapshot.signs.counted(SignalKind::Suspending).is_some() {
        found.add(BlockReason::Suspending);
    }
    if let Some((percent, until)) = snapshot.signs.counted(SignalKind::ForeignCpu) {
        let reason = BlockReason::CpuBusy { percent: percent.parse().unwrap_or(0) };
        match until {
            Some(until) => found.add_until(reason, until),
            None => found.add(reason),
        }
    }
    if snapshot.signs.counted(SignalKind::OnBattery).is_some() {
        found.add(BlockReason::OnBattery);
    }
    if snapshot.signs.counted(SignalKind::MeteredNetwork).is_some() {
        found.add(BlockReason::MeteredNetwork);
    }
}

fn fitness(snapshot: &Snapshot, settings: &Settings, card: Option<&GpuReading>, found: &mut Findings) {
    match (&snapshot.gpu_trouble, card) {
        (Some(trouble), _) => found.add(BlockReason::NoGpu { trouble: trouble.clone() }),
        (None, None) => found.add(BlockReason::NoGpu { trouble: GpuTrouble::NoCard }),
        (None, Some(card)) => {
            let ceiling_celsius = settings.temperature_ceiling_celsius;
            if let Some(celsius) = card.temperature_celsius.filter(|c| *c > f64::from(ceiling_celsius)) {
                found.add(BlockReason::TooHot { celsius: whole_degrees(celsius), ceiling_celsius });
            }
        }
    }
    if let Some(driver) = &snapshot.driver
        && driver.major().is_none_or(|major| major < MIN_DRIVER_MAJOR)
    {
        found.add(BlockReason::DriverTooOld { found: driver.version.clone(), needed: MIN_DRIVER_MAJOR });
    }
    match &snapshot.runtime {
        Runtime::Unknown => found.add(BlockReason::NoDocker { detail: String::new(), why: None }),
        Runtime::Missing { why } => found.add(BlockReason::no_docker(why)),
        Runtime::Ready { unsafe_versions, .. } => {
            found.reasons.extend(snapshot.gateway_reason());
            found.reasons.extend(snapshot.kernel_reason());
            for version in unsafe_versions.iter().filter(|v| !settings.accepted_versions.contains(&v.key())) {
                found.add(BlockReason::UnsafeVersion { version: version.clone() });
            }
        }
    }
    if let Some(disk) = snapshot.disk.as_ref().filter(|disk| disk.free_mib < settings.disk_reserve_mib) {
        found.add(BlockReason::disk_low(disk, settings.disk_reserve_mib));
    }
    found.reasons.extend(snapshot.files.as_ref().and_then(BlockReason::files_low));
    if let (Some((used_bytes, until)), Some(cap_bytes)) = (snapshot.data_used, settings.network.cap_bytes())
        && used_bytes >= cap_bytes
    {
        let stops = settings.network.at_cap == AtCap::Stop;
        let cap_mib = cap_bytes >> 20;
        found.add_until(BlockReason::DataCapReached { cap_mib, stops, until }, until);
    }
    if snapshot.update_waiting {
        found.add(BlockReason::UpdateWaiting);
    }
}

fn market(snapshot: &Snapshot, settings: &Settings, found: &mut Findings) {
    match &snapshot.market {
        Market::Connected => {}
        Market::NotEnrolled => found.add(BlockReason::NotEnrolled),
        Market::Unreachable { since, detail } => {
            found.add(BlockReason::CoordinatorUnreachable { since: *since, detail: detail.clone() });
        }
    }
    if let Some(market) = snapshot.other_currency(settings) {
        found.add(BlockReason::OtherCurrency { market, own: settings.price_per_hour.currency });
    }
}

/// Rounded up, since it is shown as "above the ceiling". Readings are far from either bound of the type.
pub(crate) fn whole_degrees(celsius: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped right before")]
    let degrees = celsius.ceil().clamp(0.0, 1_000.0) as u32;
    degrees
}
