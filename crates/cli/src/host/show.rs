//! The host's view model on a terminal. Every sentence in it comes from the host.

use std::fmt::Write as _;

use nightjar_core::host::CardView;
use nightjar_protocol::text::Texts;
use nightjar_protocol::view::ViewModel;

use crate::output::{Table, printable};
use crate::quantity::spell_ms;

#[must_use]
pub fn status(view: &ViewModel) -> String {
    let texts = Texts::of(view.language);
    let mut text = printable(&view.sentence);
    let _ = write!(text, "\n{}", printable(&view.tray.today));
    if let Some(today) = &view.today {
        let _ = write!(text, "\n{}", printable(&today.sentence));
    }
    // The first sentence may name a worse trouble than the pause.
    if view.tray.snoozed {
        let _ = write!(text, "\nnightjar resume: {}", printable(&view.tray.snooze));
    }
    if let Some(choice) = view.choice.as_ref().filter(|_| !view.tray.snoozed) {
        let _ = write!(text, "\n{}", printable(choice));
    }
    if let Some(market) = &view.identity.coordinator {
        let _ = write!(text, "\n{}", printable(market));
    }
    if let Some(account) = &view.account {
        let _ = write!(text, "\n{}", printable(&account.sentence));
    }
    for tile in &view.cards {
        let _ = write!(text, "\n\n{}", card(&tile.card));
        let _ = write!(text, "\n  {}", printable(&tile.sentence));
        // The sentence is the first reason, unless a job says more.
        for reason in tile.reasons.iter().filter(|reason| **reason != tile.sentence) {
            let _ = write!(text, "\n  {}", printable(reason));
        }
        for sentence in &tile.demand {
            let _ = write!(text, "\n  {}", printable(sentence));
        }
        if let Some(job) = &tile.card.job {
            let mut table = Table::new(&["  LEASE", "IMAGE", "RAN", "EARNED", "NET", "PRICE/H"]);
            table.row(vec![
                format!("  {}", job.lease),
                job.image.clone(),
                spell_ms(job.running_ms),
                texts.money(job.earned),
                texts.money(job.account.net),
                texts.money(job.price_per_hour),
            ]);
            let _ = write!(text, "\n{table}");
        }
    }
    text
}

/// What each card may draw while it is rented, what it may draw now, and why that cannot be changed here.
#[must_use]
pub fn power(view: &ViewModel) -> String {
    let mut table = Table::new(&["CARD", "NOW", "DEFAULT", "FROM", "TO", "RENTED"]);
    for tile in &view.cards {
        let reading = &tile.card.reading;
        let watts = |watts: f64| format!("{watts:.0} W");
        let mut row = vec![format!("{} {}", reading.index, printable(&reading.name))];
        let rented = reading.power_limits.as_ref().map(|limits| {
            row.extend(
                [limits.enforced_watts, limits.default_watts, limits.min_watts, limits.max_watts].map(watts),
            );
            view.power.chosen.renting(&reading.uuid, limits)
        });
        row.resize(5, String::from("-"));
        row.push(
            rented.flatten().map_or_else(|| String::from("as found"), |chosen| watts(f64::from(chosen))),
        );
        table.row(row);
    }
    let mut text = format!("{table}\n{}", printable(&view.power.sentence));
    for tile in &view.cards {
        for sentence in tile.sweep.iter().chain(&tile.sweet_spots) {
            let _ = write!(text, "\n{} {}", tile.card.reading.index, printable(sentence));
        }
    }
    if let Some(command) = &view.power.command {
        let _ = write!(text, "\n  {command}");
    }
    text
}

/// What the driver does not tell is left out.
fn card(card: &CardView) -> String {
    let reading = &card.reading;
    let mut parts = vec![format!("{} {}", reading.index, printable(&reading.name))];
    if reading.asleep {
        parts.push(String::from("asleep"));
        return parts.join(" · ");
    }
    let gib = |bytes: u64| bytes as f64 / f64::from(1_u32 << 30);
    parts.push(format!("{:.1}/{:.1} GiB", gib(reading.vram_used_bytes), gib(reading.vram_total_bytes)));
    parts.extend(reading.temperature_celsius.map(|celsius| format!("{celsius:.0} °C")));
    parts.extend(reading.power_watts.map(|watts| format!("{watts:.0} W")));
    parts.extend(reading.utilisation_percent.map(|percent| format!("{percent} %")));
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use nightjar_core::economics::{Consumption, account, hour_estimate, outlook};
    use nightjar_core::gpu::{GpuReading, GpuUuid};
    use nightjar_core::host::{HostState, JobView};
    use nightjar_core::lease::{LeaseId, LeaseState};
    use nightjar_core::meter::owed;
    use nightjar_core::money::{Currency, Money};
    use nightjar_core::policy::Verdict;
    use nightjar_core::settings::Language;
    use nightjar_core::time::Timestamp;
    use nightjar_protocol::tray::TrayMenu;
    use nightjar_protocol::view::{AccountNote, CardTile, Earnings, Identity};

    use super::*;
    use nightjar_core::power::PowerSettings;
    use nightjar_protocol::view::PowerNote;

    fn tile(asleep: bool, job: Option<JobView>) -> CardTile {
        let nothing = Money::new(0, Currency::CNY);
        let free = hour_estimate(nothing, nothing, None, 0, 0, 0);
        let reading = GpuReading {
            name: "NVIDIA GeForce RTX 4090".into(),
            pci_bus_id: "00000000:01:00.0".into(),
            asleep,
            vram_total_bytes: 24 << 30,
            vram_used_bytes: 3 << 29,
            temperature_celsius: Some(61.4),
            power_watts: Some(311.7),
            ..GpuReading::unread(GpuUuid("GPU-1".into()))
        };
        CardTile {
            card: CardView {
                reading,
                verdict: Verdict::Earn,
                asking: Money::new(0, Currency::CNY),
                for_hour: outlook(1, &free, None, None),
                for_night: outlook(8, &free, None, None),
                chosen_limit_watts: None,
                hour: free,
                usual: None,
                job,
                waiting: None,
                demand: None,
                proving: false,
                sweep: None,
                sweet_spots: Vec::new(),
            },
            sweep: None,
            sweet_spots: Vec::new(),
            sentence: "You are here.".into(),
            reasons: vec!["You are here.".into(), "On battery.".into()],
            demand: if asleep {
                vec!["Of such cards on the market, 40 % are rented now.".into()]
            } else {
                Vec::new()
            },
        }
    }

    fn word() -> String {
        String::from("-")
    }

    fn tray() -> TrayMenu {
        TrayMenu {
            status: word(),
            tooltip: word(),
            earn_while_idle: word(),
            earn_while_idle_on: true,
            snooze: "End snooze (until 14:00)".into(),
            snooze_ms: 1,
            snoozed: true,
            snooze_menu: word(),
            snooze_tomorrow: word(),
            snooze_tomorrow_ms: 1,
            snooze_game: word(),
            can_snooze_game: false,
            finish_job: word(),
            finish_job_ms: 1,
            can_finish_job: true,
            power_menu: word(),
            can_set_power: false,
            power: Vec::new(),
            stop_job: word(),
            can_stop_job: true,
            today: "Today: CN¥0.04".into(),
            open: word(),
            quit: word(),
        }
    }

    #[test]
    fn status_shows_cards_with_their_reasons_and_jobs() {
        let nothing = Money::new(0, Currency::CNY);
        let job = JobView {
            lease: LeaseId("3f2a".into()),
            image: "pytorch-cuda:lite".into(),
            renter: "r1".into(),
            state: LeaseState::Running,
            state_since: Timestamp(0),
            since: Timestamp(0),
            running_ms: 95_000,
            price_per_hour: Money::new(1_500_000, Currency::CNY),
            earned: Money::new(37_604, Currency::CNY),
            account: account(
                owed(Money::new(1_500_000, Currency::CNY), 500, 95_000),
                &Consumption::default(),
            ),
            device_name: None,
            restrained: false,
        };
        let view = ViewModel {
            at: Timestamp(0),
            language: Language::English,
            time_zone: None,
            state: HostState::Earning,
            sentence: "Earning: a job is running.".into(),
            reason: None,
            next_change: None,
            earn_while_idle: true,
            choice: None,
            earn_now_ms: None,
            overrides: nightjar_core::policy::Overrides::default(),
            preset: None,
            sensors: Vec::new(),
            earnings: Earnings { today: nothing, today_net: nothing, all: nothing },
            account: Some(AccountNote {
                balance: Money::new(12_400_000, Currency::CNY),
                paid_out: nothing,
                payouts: Vec::new(),
                sentence: "The market holds CN¥12.40 for you.".into(),
            }),
            other_currency: None,
            restart_due: false,
            today: None,
            cards: vec![tile(false, Some(job)), tile(true, None)],
            power: PowerNote {
                can_be_set: true,
                sentence: word(),
                command: None,
                chosen: PowerSettings::default(),
            },
            driver: None,
            versions: nightjar_core::host::Versions::default(),
            pulls: Vec::new(),
            lent_images: Vec::new(),
            network: nightjar_protocol::network::NetworkNote::default(),
            tray: tray(),
            settings: None,
            identity: Identity {
                app_version: "0.1.0".into(),
                coordinator: Some("https://market.example".into()),
                host_key: "ab".repeat(32),
            },
        };
        insta::assert_snapshot!(status(&view));
    }
}
