//! Leases, offers and bookings in words.

use std::fmt::Write as _;

use nightjar_core::ledger::Account as BookAccount;
use nightjar_core::line_check::LineFigures;
use nightjar_core::money::Money;
use nightjar_core::settings::EgressMode;
use nightjar_core::time::Timestamp;
use nightjar_protocol::market_api::{Account, Lease, OfferedCard, RenterVolume, Statement};
use nightjar_protocol::network::spell_kbit;
use nightjar_protocol::text::Texts;
use serde_json::Value;

use crate::output::{Table, printable};
use crate::quantity::{spell_encrypted, spell_mib, spell_ms, spell_quota};

/// How much of a lease's name is shown in tables; enough to name it again.
pub const SHORT_NAME: usize = 8;

#[must_use]
pub fn short(name: &str) -> &str {
    name.get(..SHORT_NAME).unwrap_or(name)
}

/// What a lease's state means for the renter.
#[must_use]
pub fn state(lease: &Lease, texts: &Texts) -> String {
    printable(&texts.rented(lease))
}

#[must_use]
pub fn offers(offers: &[OfferedCard], texts: &Texts) -> String {
    let mut table = Table::new(&[
        "CARD", "VRAM", "PRICE/H", "REGION", "DRIVER", "DOWN/UP", "NETWORK", "ROOT", "SANDBOX", "IMAGES",
    ]);
    for offer in offers {
        let card = &offer.card;
        table.row(vec![
            card.model.clone(),
            spell_mib(card.vram_mib),
            texts.money(card.price_per_hour),
            offer.region.clone(),
            card.driver.clone(),
            offer.line.map_or_else(|| "-".to_owned(), |line| both(&line, "/")),
            egress(card.egress).to_owned(),
            if card.root_inside { "inside" } else { "no" }.to_owned(),
            if card.sandbox { "gVisor" } else { "no" }.to_owned(),
            card.images.join(" "),
        ]);
    }
    table.to_string()
}

/// The slower of what the owner allows and what the line does, as the market measured it.
fn both(line: &LineFigures, between: &str) -> String {
    let (down, up) = (spell_kbit(line.down_kbit), spell_kbit(line.up_kbit));
    // One unit is enough where both have the same.
    match (down.split_once(' '), up.split_once(' ')) {
        (Some((number, of_down)), Some((_, of_up))) if of_down == of_up => format!("{number}{between}{up}"),
        _ => format!("{down}{between}{up}"),
    }
}

fn egress(mode: EgressMode) -> &'static str {
    match mode {
        EgressMode::Off => "tunnel only",
        EgressMode::Curated => "curated",
        EgressMode::Open => "internet",
    }
}

#[must_use]
pub fn leases(leases: &[Lease], texts: &Texts) -> String {
    let mut table = Table::new(&["LEASE", "CARD", "PRICE/H", "RAN", "CHARGED", "STATE"]);
    for lease in leases {
        table.row(vec![
            short(&lease.lease.0).to_owned(),
            lease.model.clone(),
            texts.money(lease.price_per_hour),
            spell_ms(lease.running_ms),
            texts.money(lease.charged),
            state(lease, texts),
        ]);
    }
    table.to_string()
}

#[must_use]
pub fn lease(lease: &Lease, clock: &dyn Fn(Timestamp) -> String, texts: &Texts) -> String {
    let mut table = Table::new(&["Lease", &lease.lease.0]);
    let mut add = |name: &str, value: String| table.row(vec![name.to_owned(), value]);
    add("State", format!("{} (since {})", state(lease, texts), clock(lease.state_since)));
    let card = lease.access.as_ref().map_or(&lease.model, |access| &access.device_name);
    add("Card", card.clone());
    if let Some(proof) = lease.access.as_ref().and_then(|access| access.proof.as_ref()) {
        let teraflops = format!("{}.{} TFLOP/s", proof.gflops / 1_000, proof.gflops % 1_000 / 100);
        let memory =
            format!("{} GiB/s over {}", proof.memory_mib_per_s / 1_024, spell_mib(proof.vram_checked_mib));
        add("Measured", format!("{teraflops}, memory {memory}, volume {} MiB/s", proof.disk_write_mib_per_s));
    }
    if let Some(line) = &lease.line {
        let why = if line.is_at_limit() { ", the owner's limit" } else { "" };
        let ms = format!("{}.{}", line.rtt_us / 1_000, line.rtt_us % 1_000 / 100);
        let found = format!("{} down/up{why}, {ms} ms to the market ({})", both(line, "/"), clock(line.at));
        add("Line", found);
    }
    add("Image", lease.image.clone());
    if let Some(model) = &lease.serve_model {
        add("Serves", model.clone());
    }
    add("Host", format!("{} in {}", lease.host_id, lease.region));
    add("Price", format!("{} an hour", texts.money(lease.price_per_hour)));
    add("Ran", spell_ms(lease.running_ms));
    add("Charged", texts.money(lease.charged));
    add("Rented", clock(lease.created_at));
    let mut text = table.to_string();
    let _ = write!(text, "\n{}", volume(lease, texts));
    for sentence in texts.succession(lease, clock) {
        let _ = write!(text, "\n{}", printable(&sentence));
    }
    if lease.state.is_reachable() {
        let name = short(&lease.lease.0);
        let api = lease.serve_model.as_ref().map(|_| format!("nightjar api {name}\n")).unwrap_or_default();
        let _ = write!(text, "\n\nnightjar ssh {name}\nnightjar jupyter {name}\n{api}nightjar stop {name}");
    }
    text
}

/// What may be kept on its host, and how long.
#[must_use]
pub fn volume(lease: &Lease, texts: &Texts) -> String {
    let days = lease.volume.keep_ms.div_ceil(86_400_000);
    printable(&texts.kept(&spell_mib(lease.volume.quota_mib), days, lease.footing))
}

#[must_use]
pub fn volumes(volumes: &[RenterVolume], clock: &dyn Fn(Timestamp) -> String) -> String {
    let mut table =
        Table::new(&["HOST", "REGION", "AT MOST", "ENCRYPTED", "ROOT", "LAST LEASE", "KEPT UNTIL"]);
    for volume in volumes {
        table.row(vec![
            volume.host_id.clone(),
            volume.region.clone(),
            spell_quota(volume.quota_mib, volume.footing),
            spell_encrypted(volume.footing).to_owned(),
            if volume.root_inside { "inside" } else { "no" }.to_owned(),
            short(&volume.lease.0).to_owned(),
            volume.expires_at.map_or_else(|| "in use".to_owned(), clock),
        ]);
    }
    table.to_string()
}

#[must_use]
pub fn account(account: &Account, coordinator: &str, texts: &Texts) -> String {
    let mut table = Table::new(&["Market", &printable(coordinator)]);
    table.row(vec!["Renter".into(), account.renter.clone()]);
    table.row(vec!["Balance".into(), texts.money(account.balance)]);
    table.to_string()
}

#[must_use]
pub fn statement(
    statement: &Statement,
    renter: &str,
    clock: &dyn Fn(Timestamp) -> String,
    texts: &Texts,
) -> String {
    let money = |micros: i64| texts.exact_money(Money::new(micros, statement.currency));
    let mut table = Table::new(&["AT", "RECORD", "RAN IN ALL", "YOU", "HOST", "FEE"]);
    let mut sums = [0_i64; 3];
    for booking in &statement.bookings {
        let mut parts = [0_i64; 3];
        for leg in &booking.legs {
            let part = match &leg.account {
                BookAccount::Renter { .. } => &mut parts[0],
                BookAccount::Host { .. } => &mut parts[1],
                BookAccount::Fees => &mut parts[2],
                BookAccount::World => continue,
            };
            *part = part.saturating_add(leg.micros);
        }
        for (sum, part) in sums.iter_mut().zip(parts) {
            *sum = sum.saturating_add(part);
        }
        let mut row = vec![clock(booking.at), booking.sequence.to_string(), spell_ms(booking.running_ms)];
        row.extend(parts.map(money));
        table.row(row);
    }
    let mut row = vec![String::from("Sum"), String::new(), String::new()];
    row.extend(sums.map(money));
    table.row(row);
    format!("Lease {}, renter {}\n{table}", printable(&statement.lease.0), printable(renter))
}

/// A lease as an object for scripts. The Jupyter token stays out: such output ends in logs, and `nightjar jupyter`
/// has it for who needs it.
#[must_use]
pub fn lease_object(lease: &Lease) -> Value {
    let mut object = serde_json::to_value(lease).unwrap_or_default();
    if let Some(access) = object.get_mut("access").and_then(Value::as_object_mut) {
        access.remove("jupyter_token");
    }
    object
}

#[cfg(test)]
mod tests {
    use nightjar_core::lease::{EndReason, LeaseId, LeaseState};
    use nightjar_core::ledger::Transfer;
    use nightjar_core::market::CardOffer;
    use nightjar_core::money::Currency;
    use nightjar_core::parting::Cause;
    use nightjar_core::settings::Language;
    use nightjar_core::volume::Footing;
    use nightjar_protocol::market_api::{Booking, Interruption, Waits};

    use super::*;
    use crate::renter::sample;

    fn clock(at: Timestamp) -> String {
        format!("t{}", at.0)
    }

    #[test]
    fn offers_are_a_table() {
        let card = |model: &str, vram_mib, price| OfferedCard {
            host_id: "h1".into(),
            region: "cn-east".into(),
            line: (price > 1_000_000).then(|| sample::line(940_000, 38_400)),
            card: CardOffer {
                gpu: nightjar_core::gpu::GpuUuid("GPU-1".into()),
                model: model.into(),
                vram_mib,
                driver: "550.54.14".into(),
                price_per_hour: Money::new(price, Currency::CNY),
                images: vec!["pytorch-cuda:full".into(), "pytorch-cuda:lite".into()],
                egress: EgressMode::Curated,
                root_inside: false,
                sandbox: price > 1_000_000,
                volume: Default::default(),
            },
        };
        let all =
            [card("NVIDIA GeForce RTX 3060", 12_288, 600_000), card("RTX\u{1b}[31m", 24_564, 12_345_678)];
        insta::assert_snapshot!(offers(&all, Texts::of(Language::English)));
    }

    #[test]
    fn leases_are_a_table_and_one_is_a_page() {
        let reason = EndReason::WorkerDied { cause: "out of\nmemory".into() };
        let all = [
            sample::lease("3f2a91bc-0000", LeaseState::Running),
            sample::lease("77", LeaseState::Ended { reason }),
        ];
        let texts = Texts::of(Language::English);
        insta::assert_snapshot!(format!("{}\n\n{}", leases(&all, texts), lease(&all[0], &clock, texts)));
    }

    #[test]
    fn both_rates_are_told_in_one_unit_where_they_have_the_same() {
        assert_eq!(both(&sample::line(94_000, 38_400), "/"), "94/38.4 Mbit/s");
        assert_eq!(both(&sample::line(1_000_000, 512), "/"), "1 Gbit/s/512 kbit/s");
    }

    #[test]
    fn what_a_volume_stands_on_is_told_in_both_languages() {
        let footings = [
            None,
            Some(Footing { has_quota: true, is_encrypted: true, was_mended: false }),
            Some(Footing { has_quota: true, ..Footing::FOLDER }),
            Some(Footing::FOLDER),
            Some(Footing { has_quota: true, is_encrypted: true, was_mended: true }),
        ];
        let mut told: Vec<String> = Vec::new();
        for texts in [Language::English, Language::SimplifiedChinese].map(Texts::of) {
            for footing in footings {
                let mut lease = sample::lease("3f2a91bc-0000", LeaseState::Running);
                lease.footing = footing;
                told.push(volume(&lease, texts));
            }
        }
        let kept = footings.map(|footing| RenterVolume {
            host_id: "h1".into(),
            region: "cn-east".into(),
            lease: LeaseId("3f2a91bc-0000".into()),
            root_inside: false,
            in_use: false,
            used_at: Timestamp(0),
            expires_at: Some(Timestamp(60_000)),
            quota_mib: 51_200,
            footing,
        });
        told.push(volumes(&kept, &clock));
        insta::assert_snapshot!(told.join("\n\n"));
    }

    #[test]
    fn an_interruption_is_told_in_both_languages() {
        let mut frozen = sample::lease("3f2a91bc-0000", LeaseState::Yielded);
        frozen.interruption = Some(Interruption { cause: Cause::Game, since: Timestamp(60_000) });
        frozen.continues = Some(LeaseId("12345678-0000".into()));
        let reason = EndReason::OwnerReturned;
        let mut over = sample::lease("77", LeaseState::Ended { reason });
        over.interruption = Some(Interruption { cause: Cause::OwnerBack, since: Timestamp(60_000) });
        over.waits =
            Some(Waits { since: Timestamp(1), until: Timestamp(3), any_host_from: Some(Timestamp(2)) });
        let told = [Language::English, Language::SimplifiedChinese]
            .map(Texts::of)
            .map(|texts| [lease(&frozen, &clock, texts), lease(&over, &clock, texts)].join("\n\n"));
        insta::assert_snapshot!(told.join("\n\n"));
    }

    #[test]
    fn a_statement_adds_up() {
        let price = Money::new(3_600_000, Currency::CNY);
        let booking = |sequence, from, to| Booking {
            at: Timestamp(to as i64),
            sequence,
            running_ms: to,
            legs: Transfer::usage("r1", "h1", price, 500, from, to).legs().to_vec(),
        };
        let whole = Statement {
            lease: nightjar_core::lease::LeaseId("3f2a".into()),
            currency: Currency::CNY,
            bookings: vec![booking(1, 0, 10_000), booking(2, 10_000, 20_000)],
        };
        insta::assert_snapshot!(statement(&whole, "r1", &clock, Texts::of(Language::English)));
    }

    #[test]
    fn the_jupyter_token_is_not_in_objects() {
        let object = lease_object(&sample::lease("3f2a", LeaseState::Running));
        assert!(!object.to_string().contains("secret"));
        assert_eq!(object["access"]["device_name"], "NVIDIA GeForce RTX 4090");
    }
}
