//! What Nightjar's traffic may use of the line, and what it has used: the owner's limits or the automatic's, told to every
//! gateway that stands.
//!
//! All of a tenant's traffic passes its gateway's device, the tunnel's too (the tunnel reaches a worker through the
//! gateway's published ports), so this one place shapes and counts both. Images that are pulled pass no gateway: they have
//! a share of their own, which their puller keeps to.

mod automatic;
mod line;
mod near;
mod probe;
mod pulls;
mod sight;
mod store;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nightjar_core::host::Input;
use nightjar_core::lease::LeaseId;
use nightjar_core::network::{DataUse, LEAST_KBIT, Month, NetworkSettings, Rates, divide};
use nightjar_core::time::Timestamp;
use nightjar_protocol::network::{MOST_SAMPLES, NetworkNow, PingSample};
use nightjar_worker::{Gateways, Workers};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use automatic::Automatic;
use line::LineShare;
use pulls::PullShare;
use sight::Sight;
use store::Store;

use crate::clock::{self, Clock};
use crate::line_check::LinePaces;
use crate::owner::Message;

/// How often rates are thought over while a gateway stands, and how often anybody is told.
const STEP: Duration = Duration::from_millis(200);
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Without a gateway only the hour and the month move.
const IDLE_STEP: Duration = Duration::from_secs(60);
/// A gateway that has said nothing for so long carries nothing.
const SILENT: Duration = Duration::from_millis(600);
/// A rate that rises by less is not worth telling.
const RISE_PERCENT: u32 = 1;

pub(crate) struct Network {
    pub workers: Workers,
    pub clock: Clock,
    pub data_dir: PathBuf,
    pub chosen: watch::Receiver<NetworkSettings>,
    pub coordinator: watch::Receiver<Option<String>>,
    pub line: Arc<LinePaces>,
    pub owner: mpsc::UnboundedSender<Message>,
    /// Ends it, with the last count on the disk.
    pub stop: CancellationToken,
}

impl Network {
    pub(crate) async fn run(self) {
        let Self { workers, clock, data_dir, mut chosen, coordinator, line, owner, stop } = self;
        let mut gateways = workers.traffic();
        let share = PullShare::new(workers.puller().pace().clone());
        let mut pulling = share.active();
        let line = LineShare::new(line);
        let mut measuring = line.active();
        let (mut store, used) = Store::open(&data_dir);
        let settings = *chosen.borrow_and_update();
        let mut shaper = Shaper::new(workers, clock, owner, settings, used, share, line);
        let mut step_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                changed = chosen.changed() => match changed {
                    Ok(()) => shaper.settings = *chosen.borrow_and_update(),
                    Err(_) => break,
                },
                () = shaper.heed() => {}
                changed = pulling.changed() => if changed.is_err() { break },
                changed = measuring.changed() => if changed.is_err() { break },
                changed = gateways.changed() => if changed.is_err() { break },
                () = tokio::time::sleep_until(step_at) => {}
            }
            let standing = gateways.borrow_and_update().clone();
            shaper.prepare(&standing, &coordinator);
            step_at = Instant::now() + shaper.step(&standing);
            store.keep(&shaper.used, false).await;
        }
        store.keep(&shaper.used, true).await;
    }
}

struct Shaper {
    workers: Workers,
    clock: Clock,
    owner: mpsc::UnboundedSender<Message>,
    settings: NetworkSettings,
    used: DataUse,
    pulls: PullShare,
    line: LineShare,
    month: Option<Month>,
    sight: Sight,
    /// What each gateway was told.
    told: BTreeMap<LeaseId, Rates>,
    samples: VecDeque<PingSample>,
    shown: Shown,
}

/// What the owner's loop was last told.
#[derive(Default)]
struct Shown {
    at: Option<Instant>,
    now: Option<Arc<NetworkNow>>,
    data: Option<(u64, Timestamp)>,
}

impl Shaper {
    fn new(
        workers: Workers,
        clock: Clock,
        owner: mpsc::UnboundedSender<Message>,
        settings: NetworkSettings,
        mut used: DataUse,
        pulls: PullShare,
        line: LineShare,
    ) -> Self {
        pulls.begin(&mut used);
        line.begin(&mut used);
        Self {
            workers,
            sight: Sight::new(clock.clone()),
            clock,
            owner,
            settings,
            used,
            pulls,
            line,
            month: None,
            told: BTreeMap::new(),
            samples: VecDeque::new(),
            shown: Shown::default(),
        }
    }

    async fn heed(&mut self) {
        let limits = self.settings.standing_at(self.clock.now(), &clock::zone()).limits;
        self.sight.heed(limits).await;
    }

    /// Something of ours may use the line.
    fn is_busy(&self, gateways: &Gateways) -> bool {
        !gateways.is_empty() || self.pulls.is_active()
    }

    /// Probes are there exactly while something may use the line and the owner wants them.
    fn prepare(&mut self, gateways: &Gateways, coordinator: &watch::Receiver<Option<String>>) {
        if self.settings.automatic && self.is_busy(gateways) {
            self.sight.open(&|| coordinator.borrow().clone());
        } else {
            self.sight.close(self.settings.automatic);
        }
    }

    /// Returns how long nothing needs to be thought over.
    fn step(&mut self, gateways: &Gateways) -> Duration {
        let (now, zone) = (self.clock.now(), clock::zone());
        let standing = self.settings.standing_at(now, &zone);
        self.count(gateways, now, &zone);
        let carried: Vec<Rates> = gateways
            .values()
            .map(|gateway| {
                let nothing = Rates::default();
                let is_fresh = gateway.heard.is_some_and(|at| at.elapsed() < SILENT);
                if is_fresh { gateway.rates } else { nothing }
            })
            .collect();
        self.pulls.look(Instant::now());
        let sum = carried.iter().chain([&self.pulls.carried()]).fold(Rates::default(), |sum, rates| Rates {
            up_kbit: sum.up_kbit.saturating_add(rates.up_kbit),
            down_kbit: sum.down_kbit.saturating_add(rates.down_kbit),
        });
        let total = self.sight.rates(standing.limits, sum);
        self.tell_gateways(gateways, &carried, total);
        // It begins only while nothing else is on the line, and has all of it then.
        self.line.set(total);
        let is_busy = self.is_busy(gateways);
        self.tell_owner(total, is_busy.then_some(sum), now);
        if is_busy {
            return STEP;
        }
        let next =
            standing.changes_at.into_iter().chain(self.month.as_ref().map(|month| month.ends_at)).min();
        next.map_or(IDLE_STEP, |at| self.clock.until(at).min(IDLE_STEP)).max(STEP)
    }

    fn count(&mut self, gateways: &Gateways, now: Timestamp, zone: &jiff::tz::TimeZone) {
        if self.month.as_ref().is_none_or(|month| now >= month.ends_at) {
            self.month = Month::of(now, zone);
        }
        if let Some(month) = &self.month {
            self.used.turn_to(month);
        }
        for (lease, gateway) in gateways {
            gateway.count(lease, &mut self.used);
        }
        for gone in self.told.keys().filter(|lease| !gateways.contains_key(*lease)) {
            self.used.forget(gone);
        }
        self.pulls.count(&mut self.used);
        self.line.count(&mut self.used);
        let is_ours = |lease: &LeaseId| pulls::is_pulls(lease) || line::is_line(lease);
        self.used.tidy(|lease| gateways.contains_key(lease) || is_ours(lease));
    }

    fn tell_gateways(&mut self, gateways: &Gateways, carried: &[Rates], total: Rates) {
        self.told.retain(|lease, _| gateways.contains_key(lease));
        let of = |pick: fn(&Rates) -> u32| carried.iter().map(pick).collect::<Vec<_>>();
        let up = divide(total.up_kbit, &of(|rates| rates.up_kbit), LEAST_KBIT);
        let mut down = of(|rates| rates.down_kbit);
        // One that begins finds the limit there already.
        down.push(self.pulls.carried().down_kbit);
        let mut down = divide(total.down_kbit, &down, LEAST_KBIT);
        let of_pulls = down.pop();
        self.pulls.set(if self.pulls.is_active() { of_pulls } else { Some(total.down_kbit) });
        if !self.pulls.is_active() {
            down = divide(total.down_kbit, &of(|rates| rates.down_kbit), LEAST_KBIT);
        }
        let shares = up.into_iter().zip(down).map(|(up_kbit, down_kbit)| Rates { up_kbit, down_kbit });
        for (lease, share) in gateways.keys().zip(shares) {
            let known = self.told.get(lease).copied();
            if known.is_none_or(|known| is_worth_telling(known, share, total)) {
                self.workers.set_bandwidth(lease, share);
                self.told.insert(lease.clone(), share);
            }
        }
    }

    fn tell_owner(&mut self, total: Rates, carried: Option<Rates>, now: Timestamp) {
        if self.shown.at.is_some_and(|at| at.elapsed() < TELL_EVERY)
            && self.shown.now.as_ref().is_some_and(|shown| shown.carried.is_some() == carried.is_some())
        {
            return;
        }
        self.shown.at = Some(Instant::now());
        if let Some(latency) = self.sight.latency() {
            if self.samples.len() == MOST_SAMPLES {
                self.samples.pop_front();
            }
            let (rtt_us, added_us) = (latency.rtt_us, latency.added_us);
            self.samples.push_back(PingSample { at: now, rtt_us, added_us, rates: total });
        }
        let fresh = Arc::new(NetworkNow {
            in_force: Some(total),
            carried,
            mood: self.sight.mood(),
            no_probe: self.sight.no_probe(),
            samples: self.samples.iter().copied().collect(),
        });
        if self.shown.now.as_ref() != Some(&fresh) {
            self.shown.now = Some(Arc::clone(&fresh));
            let _ = self.owner.send(Message::Network(fresh));
        }
        let data = self.month.as_ref().map(|month| (self.used.used().sum(), month.ends_at));
        if let Some((bytes, resets_at)) = data.filter(|data| self.shown.data != Some(*data)) {
            self.shown.data = data;
            let _ = self.owner.send(Message::Input(Input::DataUsed { bytes, resets_at }));
        }
    }
}

/// A fall always is, and so is what the owner allows in full.
fn is_worth_telling(known: Rates, new: Rates, total: Rates) -> bool {
    let rises = |known: u32, new: u32, total: u32| {
        new < known
            || (new > known
                && (new == total || u64::from(new) * 100 >= u64::from(known) * u64::from(100 + RISE_PERCENT)))
    };
    rises(known.up_kbit, new.up_kbit, total.up_kbit) || rises(known.down_kbit, new.down_kbit, total.down_kbit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_are_told_at_once_and_small_rises_are_saved_up() {
        let rates = |kbit| Rates { up_kbit: kbit, down_kbit: kbit };
        let total = rates(50_000);
        assert!(is_worth_telling(rates(10_000), rates(9_999), total));
        assert!(!is_worth_telling(rates(10_000), rates(10_000), total));
        assert!(!is_worth_telling(rates(10_000), rates(10_050), total));
        assert!(is_worth_telling(rates(10_000), rates(10_100), total));
        assert!(is_worth_telling(rates(49_900), rates(50_000), total));
    }
}
