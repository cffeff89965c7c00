//! `nightjar why`: where the time of this PC's cards went.

use std::fmt::Write as _;

use jiff::ZonedDateTime;
use jiff::tz::TimeZone;
use nightjar_core::time::Timestamp;
use nightjar_protocol::control::{ControlAnswer, ControlRequest};
use nightjar_protocol::night::{GivenBack, Night};

use crate::arguments::Why;
use crate::failure::Failure;
use crate::output::{Output, Table, note, printable};

use super::grip::Grip;

/// # Errors
/// When no host has ever run here, or its journal cannot be read.
pub async fn why(arguments: &Why, output: Output) -> Result<(), Failure> {
    let now = ZonedDateTime::now();
    let resolve = |moment: crate::moment::Moment| {
        moment.resolve(&now).map_err(|error| Failure::usage(format!("there is no such moment: {error}")))
    };
    let since = resolve(arguments.since)?;
    let until = arguments.until.map(resolve).transpose()?;
    if since.0 >= now.timestamp().as_millisecond() {
        return Err(Failure::usage("the span lies ahead").advise("give a --since that has been"));
    }
    if until.is_some_and(|until| until <= since) {
        return Err(Failure::usage("the span ends before it begins").advise("give --since an earlier moment"));
    }
    let night = match Grip::connect(&arguments.place).await {
        Ok(mut grip) => match grip.ask(ControlRequest::Why { since, until }).await? {
            ControlAnswer::Night(night) => *night,
            _ => return Err(Failure::failed("the host answered with something else")),
        },
        Err(not_running) => {
            let config = super::config(&arguments.place)?;
            let night = nightjar_agent::look_back(&config, since, until).await?;
            let night = night.ok_or(not_running)?;
            note("no host runs here; this is from its journal");
            night
        }
    };
    output.print(&night, &words(&night, &TimeZone::system()))
}

fn words(night: &Night, zone: &TimeZone) -> String {
    let clock = |at: Timestamp, pattern: &str| {
        jiff::Timestamp::from_millisecond(at.0).map_or_else(
            |_| format!("{} ms", at.0),
            |at| at.to_zoned_datetime(zone.clone()).strftime(pattern).to_string(),
        )
    };
    let mut text = printable(&night.summary.sentence);
    for card in &night.cards {
        let _ = write!(text, "\n  {}: {}", printable(&card.gpu.0), printable(&card.sentence));
    }
    text.push_str("\n\n");
    let mut table = Table::new(&["FROM", "TO", "WHAT"]);
    for entry in &night.timeline {
        let day = "%Y-%m-%d %H:%M:%S";
        table.row(vec![clock(entry.from, day), clock(entry.to, "%H:%M:%S"), entry.text.clone()]);
    }
    let _ = write!(text, "{table}");
    if night.timeline_is_cut {
        text.push_str("\n(only the latest; a shorter span shows all)");
    }
    if !night.give_backs.is_empty() {
        let mut table =
            Table::new(&["GIVEN BACK", "LEASE", "INPUT TO FROZEN", "DECISION TO FROZEN", "VRAM FREE"]);
        for given in &night.give_backs {
            table.row(given_back(given, clock(given.at, "%Y-%m-%d %H:%M:%S")));
        }
        let _ = write!(text, "\n\n{table}");
    }
    text
}

fn given_back(given: &GivenBack, at: String) -> Vec<String> {
    let ms = |ms: Option<u64>| ms.map_or_else(|| String::from("-"), |ms| format!("{ms} ms"));
    let frozen = given.frozen_us.map(|us| format!("{:.1} ms", us as f64 / 1_000.0));
    let lease = given.lease.0.chars().take(8).collect();
    vec![at, lease, ms(given.input_ms), frozen.unwrap_or_else(|| String::from("-")), ms(given.vram_free_ms)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightjar_core::lease::LeaseId;
    use nightjar_core::market::WaitReason;
    use nightjar_core::night::{Account, Block, Part, Spent, Stretch};
    use nightjar_core::settings::{GiveBack, Language};

    #[test]
    fn a_night_on_a_terminal() {
        let waiting = Spent::Waiting { why: Some(WaitReason::NoDemand { vram_gib: 12 }) };
        let here = Spent::Blocked { by: Block::UserHere };
        let stretches = [(Spent::Earned, 0, 312), (here, 312, 352), (waiting, 352, 412)];
        let account = Account {
            since: Timestamp(0),
            until: Timestamp(412 * 60_000),
            parts: stretches.map(|(spent, from, to)| Part { spent, ms: (to - from) * 60_000 }).to_vec(),
            stretches: stretches
                .map(|(spent, from, to)| Stretch {
                    from: Timestamp(0).plus_ms(from * 60_000),
                    to: Timestamp(0).plus_ms(to * 60_000),
                    spent,
                })
                .to_vec(),
            cards: Vec::new(),
        };
        let frozen = GivenBack {
            lease: LeaseId("3f2a0000-0000".into()),
            at: Timestamp(18_720_000),
            frozen_us: Some(21_400),
            input_ms: Some(24),
            vram_free_ms: None,
            mode: None,
        };
        let freed = GivenBack {
            frozen_us: None,
            input_ms: None,
            vram_free_ms: Some(640),
            mode: Some(GiveBack::Instant),
            ..frozen.clone()
        };
        let night = Night::of(&account, vec![frozen, freed], Language::English);
        insta::assert_snapshot!(words(&night, &TimeZone::UTC));
    }
}
