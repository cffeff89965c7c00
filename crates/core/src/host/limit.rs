//! Which power limit each card is to have. The wish follows from the state alone and is told when it changes, so a helper
//! that comes late, or again, is told once more.

use crate::gpu::GpuUuid;
use crate::power::{HelperStanding, PowerSettings, least, most, shared};

use super::Host;
use super::effect::{Effect, Outbox};
use super::heat::lowered;
use super::input::{CommandError, PowerWish};
use super::job::Draw;

impl Host {
    /// Whether a card of this host can have this limit.
    pub(super) fn check_limit(
        &self,
        gpu: Option<&GpuUuid>,
        limit: Option<PowerWish>,
    ) -> Result<(), CommandError> {
        if let Some(gpu) = gpu.filter(|gpu| !self.cards.contains_key(gpu)) {
            return Err(CommandError::NoSuchCard { gpu: gpu.clone() });
        }
        let Some(limit) = limit else { return Ok(()) };
        let cards = self.cards.iter().filter(|(uuid, _)| gpu.is_none_or(|gpu| gpu == *uuid));
        let mut limits = cards.filter_map(|(_, card)| card.reading.power_limits).peekable();
        if limits.peek().is_none() {
            return Err(CommandError::NoPowerLimit);
        }
        for limits in limits {
            let watts = match limit {
                PowerWish::Watts { watts } => f64::from(watts),
                PowerWish::Percent { percent } => limits.default_watts * f64::from(percent) / 100.0,
            };
            if watts < limits.min_watts.floor() || watts > limits.max_watts.ceil() {
                return Err(CommandError::PowerLimit { least: least(&limits), most: most(&limits) });
            }
        }
        Ok(())
    }

    pub(super) fn choose_limit(&mut self, gpu: Option<GpuUuid>, limit: Option<PowerWish>) {
        let power = &mut self.settings.power;
        let chosen: Vec<GpuUuid> = match gpu {
            Some(gpu) => vec![gpu],
            None => {
                power.limit_percent = None;
                power.limit_watts.clear();
                self.cards.keys().cloned().collect()
            }
        };
        for uuid in chosen {
            match limit {
                None => drop(power.limit_watts.remove(&uuid)),
                Some(PowerWish::Watts { watts }) => drop(power.limit_watts.insert(uuid, watts)),
                Some(PowerWish::Percent { percent }) => {
                    let limits = self.cards.get(&uuid).and_then(|card| card.reading.power_limits);
                    if let Some(limits) = limits {
                        let all = PowerSettings { limit_percent: Some(percent), ..PowerSettings::default() };
                        power.limit_watts.extend(all.renting(&uuid, &limits).map(|watts| (uuid, watts)));
                    }
                }
            }
        }
    }

    pub(super) fn tell_limits(&mut self, out: &mut Outbox) {
        // Without its connection the helper has put everything back by itself.
        if !matches!(self.helper, HelperStanding::Available { .. }) {
            self.cards.values_mut().for_each(|card| card.told_watts = None);
            return;
        }
        for (gpu, card) in &mut self.cards {
            // A check is to find what a tenant would.
            let idle = if card.is_checked() { Draw::Renting } else { Draw::AsFound };
            let draw = card.job.as_ref().map_or(idle, super::job::Job::draw);
            let swept = card.sweep.as_ref().and_then(super::Sweeping::limit_watts);
            let wanted = swept.or_else(|| {
                let limits = card.reading.power_limits.as_ref()?;
                let renting = self.settings.power.renting(gpu, limits);
                match draw {
                    Draw::AsFound => None,
                    Draw::Renting => lowered(&card.thermal, renting, card.found_watts),
                    Draw::Shared => {
                        let share = shared(limits, self.settings.sharing.power_limit_percent, renting);
                        lowered(&card.thermal, Some(share), None)
                    }
                    Draw::Least => Some(least(limits)),
                }
            });
            // One reading that lacks the limits is no reason to change anything.
            let is_unread = card.reading.power_limits.is_none() && draw != Draw::AsFound && swept.is_none();
            if is_unread || card.told_watts == wanted {
                continue;
            }
            card.told_watts = wanted;
            let gpu = gpu.clone();
            out.push(match wanted {
                Some(watts) => Effect::SetPowerLimit { gpu, watts },
                None => Effect::RestorePowerLimit { gpu },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::PowerLimits;
    use crate::host::sample::{card, driver, terms};
    use crate::host::{GpuReport, Input, MarketInput, UserCommand, WorkerEvent};
    use crate::lease::{Epoch, LeaseId, WorkerAccess};
    use crate::policy::{Presence, Runtime};
    use crate::settings::{GiveBack, Settings};
    use crate::time::Timestamp;

    /// Nothing is asked of the helper.
    const NONE: [u32; 0] = [];

    struct Bench {
        host: Host,
        now: Timestamp,
    }

    impl Bench {
        /// A host with a job that runs, at 60 % of 450 W.
        fn new(give_back: GiveBack) -> Self {
            let mut settings = Settings { give_back, disk_reserve_mib: 0, ..Settings::default() };
            settings.power.limit_percent = Some(60);
            let mut bench = Self { host: Host::new(settings), now: Timestamp(10_000_000) };
            let mut reading = card("GPU-1");
            reading.power_limits = Some(PowerLimits {
                enforced_watts: 450.0,
                default_watts: 450.0,
                min_watts: 150.0,
                max_watts: 600.0,
            });
            bench.put(Input::Gpus(GpuReport::Readings { driver: driver(), cards: vec![reading] }));
            bench.put(Input::Runtime(Runtime::Ready {
                unsafe_versions: vec![],
                images: vec!["pytorch-cuda:lite".into()],
                engine: Default::default(),
            }));
            bench.put(Input::Disks(vec![crate::host::sample::disk("/", 100_000)]));
            bench.put(Input::Recovered(vec![]));
            bench.put(Input::Market(MarketInput::Connected));
            bench.put(Input::Presence(Presence::Idle { since: Timestamp(0) }));
            bench
        }

        /// What is said to the helper: the watts, or 0 to put back what was there.
        fn put(&mut self, input: Input) -> Vec<u32> {
            let effects = self.host.handle(input, self.now);
            let limits = effects.into_iter().filter_map(|effect| match effect {
                Effect::SetPowerLimit { gpu, watts } => Some((gpu, watts)),
                Effect::RestorePowerLimit { gpu } => Some((gpu, 0)),
                _ => None,
            });
            limits
                .inspect(|(gpu, _)| assert_eq!(gpu, &GpuUuid("GPU-1".into())))
                .map(|(_, watts)| watts)
                .collect()
        }

        fn helper(&mut self) -> Vec<u32> {
            self.put(Input::Helper(HelperStanding::Available { version: "1".into() }))
        }

        fn worker(&mut self, event: WorkerEvent) -> Vec<u32> {
            self.put(Input::Worker { lease: LeaseId("lease".into()), epoch: Epoch(1), event })
        }

        fn rent(&mut self) -> Vec<u32> {
            let said = self.put(Input::Market(MarketInput::Offer(Box::new(terms("lease", 1, "GPU-1")))));
            let access = WorkerAccess {
                ssh_host_key: "key".into(),
                jupyter_token: "token".into(),
                device_name: "card".into(),
                proof: None,
                volume: None,
            };
            assert_eq!(self.worker(WorkerEvent::Ready { access }), NONE);
            assert_eq!(
                self.put(Input::Market(MarketInput::Start {
                    lease: LeaseId("lease".into()),
                    epoch: Epoch(1)
                })),
                NONE
            );
            said
        }
    }

    #[test]
    fn the_limit_is_for_the_tenant_and_never_for_the_owner() {
        let mut bench = Bench::new(GiveBack::Instant);
        assert_eq!(bench.helper(), NONE);
        assert_eq!(bench.rent(), [270]);
        assert_eq!(bench.put(Input::Presence(Presence::Active { since: bench.now })), [0]);
        assert_eq!(bench.worker(WorkerEvent::Frozen { took_us: 9 }), NONE);
        bench.now = bench.now.plus_ms(400_000);
        assert_eq!(bench.put(Input::Presence(Presence::Idle { since: Timestamp(10_000_000) })), NONE);
        assert_eq!(bench.worker(WorkerEvent::Thawed), [270]);
        assert_eq!(bench.put(Input::User(UserCommand::SetPowerLimit { gpu: None, limit: None })), [0]);
        let wish = crate::host::PowerWish::Watts { watts: 300 };
        assert_eq!(
            bench.put(Input::User(UserCommand::SetPowerLimit { gpu: None, limit: Some(wish) })),
            [300]
        );
        assert_eq!(bench.put(Input::User(UserCommand::StopJob { lease: LeaseId("lease".into()) })), [0]);
    }

    #[test]
    fn a_friendly_give_back_begins_with_the_least_and_ends_with_what_was_found() {
        let mut bench = Bench::new(GiveBack::Friendly);
        bench.helper();
        bench.rent();
        bench.put(Input::Sign(crate::signal::Sign {
            kind: crate::signal::SignalKind::Game,
            source: "test".into(),
            standing: crate::signal::Standing::Seen { name: "a game".into() },
        }));
        bench.now = bench.now.plus_ms(60_000);
        // Told at the sign itself, or when its grace is over.
        bench.put(Input::Deadline);
        assert_eq!(bench.host.cards[&GpuUuid("GPU-1".into())].told_watts, Some(150));
        assert_eq!(bench.worker(WorkerEvent::Gone { cause: "told".into() }), [0]);
    }

    /// One second later the card has this temperature.
    fn read(bench: &mut Bench, celsius: f64) -> Vec<u32> {
        bench.now = bench.now.plus_ms(1_000);
        let mut reading = bench.host.cards[&GpuUuid("GPU-1".into())].reading.clone();
        reading.temperature_celsius = Some(celsius);
        bench.put(Input::Gpus(GpuReport::Readings { driver: driver(), cards: vec![reading] }))
    }

    #[test]
    fn peers_16_throttle_instead_of_stop_lowers_a_hot_tenants_limit_and_never_raises_it_over_the_owners() {
        let mut bench = Bench::new(GiveBack::Instant);
        bench.helper();
        assert_eq!(bench.rent(), [270]);
        assert_eq!(read(&mut bench, 70.0), NONE);
        let mut said: Vec<u32> = Vec::new();
        for celsius in [76.0, 78.0, 80.0, 81.0, 82.0, 82.0] {
            said.extend(read(&mut bench, celsius));
        }
        assert!(!said.is_empty() && said.iter().all(|watts| (150..270).contains(watts)), "{said:?}");
        assert!(said.windows(2).all(|two| two[1] < two[0]), "{said:?}");
        let cool: Vec<u32> = (0..300).flat_map(|_| read(&mut bench, 60.0)).collect();
        assert_eq!(cool.last(), Some(&270), "{cool:?}");
        assert!(cool.iter().all(|watts| *watts <= 270), "{cool:?}");
    }

    #[test]
    fn quiet_hours_lower_the_limit_while_they_last() {
        let mut bench = Bench::new(GiveBack::Instant);
        // The bench's clock says 02:46 UTC.
        let night = crate::thermal::QuietHours { from_minute: 1_320, to_minute: 170, limit_percent: 50 };
        bench.host.settings.heat.quiet_hours = vec![night];
        bench.helper();
        bench.rent();
        assert_eq!(read(&mut bench, 50.0), [225]);
        bench.now = bench.now.plus_ms(4 * 60_000);
        let morning: Vec<u32> = (0..60).flat_map(|_| read(&mut bench, 50.0)).collect();
        assert_eq!(morning.last(), Some(&270), "{morning:?}");
    }

    #[test]
    fn without_a_helper_renting_works_and_one_that_comes_again_is_told_again() {
        let mut bench = Bench::new(GiveBack::Instant);
        assert_eq!(bench.rent(), NONE);
        assert_eq!(bench.helper(), [270]);
        assert_eq!(bench.put(Input::Helper(HelperStanding::NotInstalled)), NONE);
        assert_eq!(bench.helper(), [270]);
    }
}
