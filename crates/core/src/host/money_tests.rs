//! A host is never out of pocket: what it asks for follows the tariff, and a job that has used up what it brought ends.

use jiff::tz::TimeZone;

use super::sample::{card, driver, terms};
use super::*;
use crate::demand::DemandFigures;
use crate::gpu::{GpuUuid, PowerLimits};
use crate::lease::{LeaseTerms, WorkerAccess};
use crate::market::MarketTerms;
use crate::money::{Currency, Money};
use crate::policy::{BlockReason, Presence};
use crate::tariff::{Tariff, TariffWindow};
use crate::week::Window;

/// Tuesday, 12:00 UTC; electricity is dear from 18:00 on.
const NOON: Timestamp = Timestamp(1_795_521_600_000);
const HOUR_MS: u64 = 3_600_000;

fn reading(watts: f64, counter: Option<u64>) -> GpuReading {
    let limits =
        PowerLimits { enforced_watts: 170.0, default_watts: 170.0, min_watts: 100.0, max_watts: 170.0 };
    GpuReading {
        power_watts: Some(watts),
        // A thermometer that did not follow would not be believed.
        temperature_celsius: Some(30.0 + watts / 10.0),
        power_limits: Some(limits),
        energy_millijoules: counter,
        ..card("GPU-0")
    }
}

struct World {
    host: Host,
    now: Timestamp,
    counter: u64,
    has_counter: bool,
    effects: Vec<Effect>,
}

impl World {
    fn new(price_micros: i64) -> Self {
        let Window { days, from, to } = "daily 18:00-22:00".parse().unwrap();
        let dear = TariffWindow { days, from, to, price_per_kwh_micros: 6_000_000 };
        let settings = Settings {
            price_per_hour: Money::new(price_micros, Currency::CNY),
            tariff: Tariff {
                price_per_kwh_micros: 600_000,
                windows: vec![dear],
                overhead_watts: 30,
                ..Tariff::default()
            },
            ..Settings::default()
        };
        let mut host = Host::new(settings);
        host.set_zone(TimeZone::UTC);
        let mut world = Self { host, now: NOON, counter: 5_000_000, has_counter: true, effects: Vec::new() };
        world.read(30.0);
        let images = vec!["pytorch-cuda:lite".into()];
        world.put(Input::Runtime(Runtime::Ready {
            unsafe_versions: vec![],
            images,
            engine: Default::default(),
        }));
        world.put(Input::Recovered(vec![]));
        world.put(Input::Presence(Presence::Idle { since: Timestamp(0) }));
        world.put(Input::Market(MarketInput::Connected));
        world
    }

    fn put(&mut self, input: Input) {
        self.effects.extend(self.host.handle(input, self.now));
    }

    fn read(&mut self, watts: f64) {
        let cards = vec![reading(watts, self.has_counter.then_some(self.counter))];
        self.put(Input::Gpus(GpuReport::Readings { driver: driver(), cards }));
    }

    /// Reads the card each ten seconds while it draws `watts`.
    fn work(&mut self, watts: u64, seconds: u64) {
        for _ in 0..seconds / 10 {
            self.now = self.now.plus_ms(10_000);
            self.counter += watts * 10_000;
            #[expect(clippy::cast_precision_loss, reason = "watts are few")]
            self.read(watts as f64);
        }
    }

    fn offer(&mut self, price_micros: i64) {
        let price_per_hour = Money::new(price_micros, Currency::CNY);
        let terms = LeaseTerms { price_per_hour, ..terms("lease", 1, "GPU-0") };
        self.put(Input::Market(MarketInput::Offer(Box::new(terms))));
    }

    fn rent(&mut self, price_micros: i64) {
        self.offer(price_micros);
        let access = WorkerAccess {
            ssh_host_key: "k".into(),
            jupyter_token: "t".into(),
            device_name: "d".into(),
            proof: None,
            volume: None,
        };
        let (lease, epoch) = (LeaseId("lease".into()), Epoch(1));
        self.put(Input::Worker { lease: lease.clone(), epoch, event: WorkerEvent::Ready { access } });
        self.put(Input::Market(MarketInput::Start { lease, epoch }));
        self.read(30.0);
    }

    fn asked(&self) -> Option<i64> {
        self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Tell(Report::Offers { offers, .. }) => offers.first().map(|o| o.price_per_hour.micros),
            _ => None,
        })
    }

    fn declined(&self) -> Option<&[BlockReason]> {
        self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Tell(Report::Declined { reasons, .. }) => Some(reasons.as_slice()),
            _ => None,
        })
    }
}

#[test]
fn what_is_asked_follows_the_tariff_by_the_hour() {
    // 200 W at 0.60 and a fee of a tenth: 0.133334 an hour; the owner asks for less.
    let mut world = World::new(100_000);
    assert_eq!(world.asked(), Some(133_334));
    let dear = NOON.plus_ms(6 * HOUR_MS);
    assert_eq!(world.host.next_deadline().map(|(at, _)| at), Some(dear));
    world.now = dear;
    world.put(Input::Deadline);
    assert_eq!(world.asked(), Some(1_333_334));
    // Where the owner asks for more, that holds.
    assert_eq!(World::new(2_000_000).asked(), Some(2_000_000));
}

#[test]
fn a_job_below_the_floor_is_declined_with_the_floor() {
    let mut world = World::new(0);
    // The offer's own fee is a twentieth: 0.126316.
    world.offer(126_315);
    let minimum = Money::new(126_316, Currency::CNY);
    assert_eq!(world.declined(), Some(&[BlockReason::BelowMinimumPrice { minimum }][..]));
    world.offer(126_316);
    assert!(world.host.has_jobs());
}

#[test]
fn a_job_has_its_account_and_ends_before_it_costs_more_than_it_brings() {
    let mut world = World::new(0);
    world.rent(500_000);
    world.work(170, 3_600);
    let account = world.host.view(world.now).cards[0].job.as_ref().unwrap().account;
    // 0.5 less a twentieth, and 200 W for an hour at 0.60.
    assert_eq!((account.gross.micros, account.fee.micros), (500_000, 25_000));
    assert_eq!((account.electricity.micros, account.net.micros), (120_000, 355_000));
    assert_eq!(account.energy.millijoules, 170 * 3_600_000);
    // From 18:00 on each hour costs 1.20: what was earned by then is used up, and no more.
    world.work(170, 5 * 3_600);
    assert!(world.host.has_jobs());
    world.effects.clear();
    let mut worst = i64::MAX;
    while world.now < NOON.plus_ms(10 * HOUR_MS) {
        world.work(170, 10);
        let Some(job) = world.host.view(world.now).cards[0].job.clone() else { break };
        worst = worst.min(job.account.net.micros);
        if matches!(job.state, LeaseState::Ending { .. }) {
            break;
        }
    }
    assert!(world.effects.iter().any(|effect| matches!(effect, Effect::Stop { .. })), "it was not ended");
    // Ten seconds at 1.20 an hour are 0.0034.
    assert!((-4_000..0).contains(&worst), "{worst}");
    let (lease, epoch) = (LeaseId("lease".into()), Epoch(1));
    world.put(Input::Worker { lease, epoch, event: WorkerEvent::Gone { cause: "test".into() } });
    let told = world.effects.iter().find_map(|effect| match effect {
        Effect::Notify(Notice::JobEnded { earned, electricity, net, .. }) => {
            Some((*earned, *electricity, *net))
        }
        _ => None,
    });
    let (earned, electricity, net) = told.unwrap();
    assert_eq!(earned.micros - electricity.micros, net.micros);
}

#[test]
fn an_agent_that_was_restarted_goes_on_with_the_bill() {
    let mut world = World::new(0);
    world.rent(500_000);
    world.work(170, 600);
    let bill = world.effects.iter().rev().find_map(|effect| match effect {
        Effect::Journal(JournalEntry::Account { bill, .. }) => Some(*bill),
        _ => None,
    });
    let bill = bill.unwrap();
    let stored = StoredLease {
        terms: terms("lease", 1, "GPU-0"),
        state: LeaseState::Running,
        last_sequence: 60,
        running_ms_total: 600_000,
        bill,
    };
    let mut again = World::new(0);
    (again.now, again.counter) = (world.now.plus_ms(3_000), world.counter);
    let survivor = Survivor { stored, fate: WorkerFate::Running };
    again.put(Input::Recovered(vec![survivor]));
    // Who takes it up says so at once.
    let (lease, epoch) = (LeaseId("lease".into()), Epoch(1));
    again.put(Input::Worker { lease, epoch, event: WorkerEvent::Thawed });
    again.counter += 3_000 * 170;
    again.work(170, 600);
    let account = again.host.view(again.now).cards[0].job.as_ref().unwrap().account;
    assert_eq!(account.energy.millijoules, 1_203_000 * 170);
}

#[test]
fn a_card_without_a_counter_is_billed_by_its_power() {
    let mut world = World::new(0);
    world.has_counter = false;
    world.rent(500_000);
    world.work(170, 60);
    world.work(160, 60);
    let records: Vec<u64> = world
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Journal(JournalEntry::Usage { record }) => Some(record.millijoules),
            _ => None,
        })
        .collect();
    assert!(records.len() >= 11, "{records:?}");
    let (sum, truth) = (records.iter().sum::<u64>(), 60 * 170_000 + 60 * 160_000);
    // Between two readings power goes from one to the other, ten seconds apart here.
    assert!(sum.abs_diff(truth) < 1_100_000, "{sum} of {truth}: {records:?}");
    let energy = world.host.view(world.now).cards[0].job.as_ref().unwrap().account.energy;
    assert!(energy.uncertain_millijoules > 0 && energy.uncertain_millijoules < truth / 10, "{energy:?}");
}

#[test]
fn the_floor_is_of_the_limit_that_a_tenant_will_have() {
    let mut world = World::new(0);
    // Another program holds the card at 110 W; a tenant may have 170.
    let mut low = reading(30.0, Some(world.counter));
    low.power_limits = low.power_limits.map(|limits| PowerLimits { enforced_watts: 110.0, ..limits });
    world.put(Input::Gpus(GpuReport::Readings { driver: driver(), cards: vec![low] }));
    // 140 W with the PC's own 30, at 0.60 and a fee of a tenth.
    assert_eq!(world.asked(), Some(93_334));
    let limit = Some(PowerWish::Watts { watts: 170 });
    world.put(Input::User(UserCommand::SetPowerLimit { gpu: None, limit }));
    assert_eq!(world.asked(), Some(93_334), "nobody could set it");
    world.put(Input::Helper(HelperStanding::Available { version: "1".into() }));
    assert_eq!(world.asked(), Some(133_334));
}

#[test]
fn a_market_in_another_currency_is_named_and_left_until_the_owner_takes_it_over() {
    let euro = Currency::new("EUR").unwrap();
    let mut world = World::new(500_000);
    world.effects.clear();
    world.put(Input::Market(MarketInput::Terms(MarketTerms { currency: euro, fee_basis_points: 500 })));
    let reason = BlockReason::OtherCurrency { market: euro, own: Currency::CNY };
    let view = world.host.view(world.now);
    assert_eq!((view.reason, view.other_currency), (Some(reason), Some(euro)));
    assert_eq!(world.asked(), None, "a card in another currency would be refused");

    world.put(Input::User(UserCommand::ReckonIn { currency: euro }));
    assert_eq!(world.host.settings().check(), Ok(()), "one currency everywhere");
    assert_eq!(world.host.view(world.now).other_currency, None);
    let offered = world.effects.iter().rev().find_map(|effect| match effect {
        Effect::Tell(Report::Offers { offers, .. }) => offers.first().map(|offer| offer.price_per_hour),
        _ => None,
    });
    assert_eq!(offered, Some(Money::new(500_000, euro)));
}

#[test]
fn the_markets_part_is_known_before_the_first_offer() {
    let mut world = World::new(100_000);
    let terms = MarketTerms { currency: Currency::CNY, fee_basis_points: 500 };
    world.put(Input::Market(MarketInput::Terms(terms)));
    world.put(Input::Market(MarketInput::Connected));
    // 200 W at 0.60 and a fee of a twentieth.
    assert_eq!(world.asked(), Some(126_316));
}

#[test]
fn the_estimate_at_the_markets_own_price_says_a_loss_where_there_is_one() {
    let mut world = World::new(500_000);
    assert_eq!(world.host.view(world.now).cards[0].usual, None, "the market says nothing");
    let tell = |world: &mut World, micros, currency| {
        let median_price_per_hour = Some(Money::new(micros, currency));
        let figures = DemandFigures { median_price_per_hour, ..DemandFigures::default() };
        world.put(Input::Market(MarketInput::Demand { cards: vec![(GpuUuid("GPU-0".into()), figures)] }));
        world.host.view(world.now).cards[0].usual
    };
    // 200 W for an hour at 0.60 are 0.12, and the market keeps a tenth.
    let usual = tell(&mut world, 400_000, Currency::CNY).unwrap();
    assert_eq!((usual.gross.micros, usual.net.micros), (400_000, 240_000));
    assert_eq!(tell(&mut world, 100_000, Currency::CNY).unwrap().net.micros, -30_000);
    assert_eq!(tell(&mut world, 100_000, Currency::new("EUR").unwrap()), None, "another money");
}
