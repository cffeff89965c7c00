//! `nightjar power sweep`: asks the host to measure what each power limit yields, follows it, and shows the result.

use std::collections::BTreeSet;

use nightjar_core::gpu::GpuUuid;
use nightjar_core::host::{SweepEnd, SweepPhase, SweepWish, SweetSpot, UserCommand};
use nightjar_core::money::{Currency, Money};
use nightjar_core::sweep::WorkKind;
use nightjar_protocol::control::ControlRequest;
use nightjar_protocol::text::Texts;
use nightjar_protocol::view::{CardTile, ViewModel};
use serde_json::json;

use super::grip::{Grip, view};
use super::power_arguments::{PowerSweep, SweepKind};
use crate::failure::{Exit, Failure};
use crate::output::{Output, Table, note, printable, texts};

/// # Errors
/// When no host runs, it does not take the wish, or the sweep does not come to its end.
pub async fn sweep(arguments: &PowerSweep, output: Output) -> Result<(), Failure> {
    let gpu = arguments.gpu.clone().map(GpuUuid);
    if arguments.stop {
        let view = Grip::connect(&arguments.place).await?.command(UserCommand::StopSweep { gpu }).await?;
        return output
            .print(&result(&view, &view.cards.iter().collect::<Vec<_>>()), "no sweep is under way any more");
    }
    let kinds = match arguments.kind {
        Some(SweepKind::Compute) => vec![WorkKind::Compute],
        Some(SweepKind::Memory) => vec![WorkKind::Memory],
        None => vec![WorkKind::Compute, WorkKind::Memory],
    };
    let mut last = None;
    for kind in kinds {
        let wish = SweepWish {
            gpu: gpu.clone(),
            kind,
            limits: arguments.limits,
            measure_ms: arguments.seconds.map(|seconds| u64::from(seconds) * 1_000),
        };
        last = Some(one_kind(arguments, wish).await?);
    }
    let Some((view, swept)) = last else { return Ok(()) };
    let cards: Vec<&CardTile> =
        view.cards.iter().filter(|tile| swept.contains(&tile.card.reading.uuid)).collect();
    let currency = view.earnings.today.currency;
    let words: Vec<String> = cards.iter().map(|tile| card_words(tile, currency, texts())).collect();
    output.print(&result(&view, &cards), &words.join("\n\n"))
}

fn result(view: &ViewModel, cards: &[&CardTile]) -> serde_json::Value {
    let card = |tile: &&CardTile| {
        json!({
            "gpu": tile.card.reading.uuid,
            "name": tile.card.reading.name,
            "sweep": tile.card.sweep,
            "sweet_spots": tile.card.sweet_spots,
        })
    };
    let cards: Vec<serde_json::Value> = cards.iter().map(card).collect();
    json!({ "currency": view.earnings.today.currency, "cards": cards })
}

/// Follows one sweep to its end, on every card that it is about.
async fn one_kind(
    arguments: &PowerSweep,
    wish: SweepWish,
) -> Result<(Box<ViewModel>, BTreeSet<GpuUuid>), Failure> {
    let gpu = wish.gpu.clone();
    let mut grip = Grip::connect(&arguments.place).await?;
    let begun = grip.command(UserCommand::Sweep(wish)).await?;
    let is_open = |tile: &&CardTile| {
        tile.card.sweep.as_ref().is_some_and(|sweep| !matches!(sweep.phase, SweepPhase::Over { .. }))
    };
    let swept: BTreeSet<GpuUuid> =
        begun.cards.iter().filter(is_open).map(|tile| tile.card.reading.uuid.clone()).collect();
    let mut seen = view(grip.ask(ControlRequest::Watch).await?)?;
    let mut told = BTreeSet::new();
    loop {
        let cards = || seen.cards.iter().filter(|tile| swept.contains(&tile.card.reading.uuid));
        for tile in cards() {
            let mut said = format!("{}: {}", tile.card.reading.index, tile.sweep.clone().unwrap_or_default());
            if matches!(tile.card.sweep.as_ref().map(|sweep| &sweep.phase), Some(SweepPhase::Waiting { .. }))
            {
                said = format!("{said} {}", tile.reasons.first().cloned().unwrap_or_default());
            }
            // Idle minutes count up: each sentence once is enough.
            let words: String = said.chars().filter(|c| !c.is_ascii_digit()).collect();
            let key = format!("{} {words}", tile.card.reading.index);
            let is_measured = matches!(
                tile.card.sweep.as_ref().map(|sweep| &sweep.phase),
                Some(SweepPhase::Measuring { .. })
            );
            if told.insert(if is_measured { said.clone() } else { key }) {
                note(&printable(said.trim_end()));
            }
        }
        if cards().count() < swept.len() {
            return Err(Failure::failed("a card is not there any more"));
        }
        if !cards().any(|tile| is_open(&tile)) {
            break;
        }
        seen = tokio::select! {
            next = grip.next() => next?,
            _ = tokio::signal::ctrl_c() => {
                Grip::connect(&arguments.place).await?.command(UserCommand::StopSweep { gpu }).await?;
                return Err(Failure::failed("the sweep was ended; the limit is what it was before"));
            }
        };
    }
    let ends = seen.cards.iter().filter(|tile| swept.contains(&tile.card.reading.uuid));
    for tile in ends {
        match tile.card.sweep.as_ref().map(|sweep| &sweep.phase) {
            Some(SweepPhase::Over { end: SweepEnd::Done, .. }) => {}
            _ => {
                let said = tile.sweep.clone().unwrap_or_default();
                return Err(Failure::new(Exit::Failed, printable(&said)));
            }
        }
    }
    Ok((seen, swept))
}

fn card_words(tile: &CardTile, currency: Currency, texts: &Texts) -> String {
    let reading = &tile.card.reading;
    let mut text = format!("{} {}", reading.index, printable(&reading.name));
    for (spot, sentence) in tile.card.sweet_spots.iter().zip(&tile.sweet_spots) {
        text = format!("{text}\n\n{}\n{}", table(spot, currency, texts), printable(sentence));
        if let Some(best) = spot.judgement.judged.get(spot.judgement.best_income) {
            text = format!("{text}\n  nightjar power set {} --gpu {}", best.point.limit_watts, reading.uuid);
        }
    }
    text
}

fn table(spot: &SweetSpot, currency: Currency, texts: &Texts) -> String {
    let work = match spot.work {
        WorkKind::Compute => "COMPUTE",
        WorkKind::Memory => "MEMORY",
    };
    let mut table = Table::new(&[work, "DRAWS", "SPEED", "WORK/J", "NET/H", ""]);
    let judged = &spot.judgement.judged;
    let most = judged.iter().map(|judged| judged.work_per_joule).fold(0.0, f64::max);
    for (number, judged) in judged.iter().enumerate() {
        let best = [
            (number == spot.judgement.best_income, "earns most"),
            (number == spot.judgement.most_efficient, "most work per joule"),
        ];
        let best: Vec<&str> = best.into_iter().filter(|(is_it, _)| *is_it).map(|(_, word)| word).collect();
        let share = if most > 0.0 { 100.0 * judged.work_per_joule / most } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, reason = "micro-units of an hour's income")]
        let net = Money::new(judged.net_per_hour_micros.round() as i64, currency);
        table.row(vec![
            format!("{} W", judged.point.limit_watts),
            format!("{:.0} W", judged.point.watts),
            format!("{:.1} %", judged.speed_percent),
            format!("{share:.0} %"),
            texts.money(net),
            best.join(", "),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use nightjar_core::settings::Language;
    use nightjar_core::sweep::{Economics, Point, judge};
    use nightjar_core::time::Timestamp;

    use super::*;

    #[test]
    fn a_spot_is_a_table_with_its_best_limits_marked() {
        let points = [(150, 60.0), (300, 95.0), (450, 100.0)].map(|(limit_watts, work_per_second)| Point {
            limit_watts,
            work_per_second,
            watts: f64::from(limit_watts) - 2.0,
        });
        let economics = Economics {
            income_per_hour_micros: 900_000.0,
            electricity_per_kwh_micros: 600_000.0,
            overhead_watts: 50.0,
        };
        let judgement = judge(&points, &economics).unwrap();
        let spot = SweetSpot { work: WorkKind::Compute, measured_at: Timestamp(0), judgement };
        let text = table(&spot, Currency::CNY, Texts::of(Language::English));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("150 W") && lines[1].ends_with("most work per joule"), "{text}");
        assert!(lines[2].contains("95.0 %") && lines[2].ends_with("earns most"), "{text}");
    }
}
