//! The cards of this PC: from the host that runs here, or else from the driver itself.

use std::fmt::Write as _;
use std::time::Duration;

use nightjar_core::gpu::{DriverInfo, GpuReading, GpuUuid, ThrottleReason};
use nightjar_core::history::{CardHistory, Spread};
use nightjar_core::host::UserCommand;
use nightjar_core::time::Timestamp;
use nightjar_gpu::{Dump, PowerStates, Sampler};
use nightjar_history::History;
use nightjar_protocol::control::{ControlAnswer, ControlRequest};
use serde_json::json;

use super::gpu_arguments::{Gpu, GpuCommand, GpuHistory, GpuRetry};
use super::grip::{Grip, view};
use crate::arguments::HostPlace;
use crate::failure::{Exit, Failure};
use crate::moment::{self, clock};
use crate::output::{Output, Table, note, printable};

/// Between two looks at the driver.
const EACH: Duration = Duration::from_secs(1);

/// # Errors
/// When neither a host nor the driver answers.
pub async fn gpu(arguments: &Gpu, output: Output) -> Result<(), Failure> {
    match &arguments.command {
        None => readings(arguments, output).await,
        Some(GpuCommand::History(wanted)) => history(&wanted.place, wanted, output).await,
        Some(GpuCommand::Retry(wanted)) => retry(wanted, output).await,
        Some(GpuCommand::Dump) => dump().await,
    }
}

async fn retry(wanted: &GpuRetry, output: Output) -> Result<(), Failure> {
    let gpu = wanted.gpu.clone().map(GpuUuid);
    let view = Grip::connect(&wanted.place).await?.command(UserCommand::RetryCheck { gpu }).await?;
    output.print(&json!({ "asked": true, "state": view.state }), "the market is asked to look again")
}

async fn readings(arguments: &Gpu, output: Output) -> Result<(), Failure> {
    let mut source = Source::find(&arguments.place).await;
    if source.is_driver() {
        note("no host runs here: the driver is asked");
    }
    loop {
        let (driver, cards);
        (source, driver, cards) = source.next().await?;
        let from = if source.is_driver() { "driver" } else { "host" };
        let object = json!({ "from": from, "driver": driver, "cards": cards });
        output.print(&object, &words(driver.as_ref(), &cards))?;
        if !arguments.watch {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(EACH) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// Where readings come from. The driver's calls block, so the sampler goes to a thread and comes back.
enum Source {
    Host(Box<Grip>),
    Driver(Box<Sampler>),
}

type Readings = (Source, Option<DriverInfo>, Vec<GpuReading>);

impl Source {
    async fn find(place: &HostPlace) -> Self {
        match Grip::connect(place).await {
            Ok(grip) => Self::Host(Box::new(grip)),
            Err(_) => Self::Driver(Box::new(Sampler::new())),
        }
    }

    fn is_driver(&self) -> bool {
        matches!(self, Self::Driver(_))
    }

    async fn next(self) -> Result<Readings, Failure> {
        match self {
            Self::Host(mut grip) => {
                let now = view(grip.ask(ControlRequest::Status).await?)?;
                let cards = now.cards.into_iter().map(|tile| tile.card.reading).collect();
                Ok((Self::Host(grip), now.driver, cards))
            }
            Self::Driver(mut sampler) => {
                let asked = tokio::task::spawn_blocking(move || (sampler.sample(), sampler));
                let (sampled, sampler) =
                    asked.await.map_err(|error| Failure::failed(format!("the driver: {error}")))?;
                let (driver, cards) = sampled.map_err(|error| Failure::failed(error.to_string()))?;
                Ok((Self::Driver(sampler), Some(driver), cards))
            }
        }
    }
}

fn words(driver: Option<&DriverInfo>, cards: &[GpuReading]) -> String {
    let mut text = match driver {
        Some(driver) => match driver.cuda {
            Some(cuda) => {
                format!("driver {}, CUDA {}.{}", printable(&driver.version), cuda / 1000, cuda % 1000 / 10)
            }
            None => format!("driver {}", printable(&driver.version)),
        },
        None => String::from("from the host that runs here"),
    };
    if cards.is_empty() {
        text.push_str("\nno card");
    }
    for card in cards {
        let _ = write!(text, "\n\n{}", one(card));
    }
    text
}

/// What a card does not tell is a dash: it is no error, and no secret either.
fn one(card: &GpuReading) -> String {
    let head = format!("{} {}", card.index, printable(&card.name));
    if card.asleep {
        return format!("{head}\n  asleep, and left so");
    }
    let dash = || String::from("–");
    let degrees = |celsius: Option<f64>| celsius.map_or_else(dash, |celsius| format!("{celsius:.0} °C"));
    let percent = |percent: Option<u32>| percent.map_or_else(dash, |percent| format!("{percent} %"));
    let mhz = |mhz: Option<u32>| mhz.map_or_else(dash, |mhz| format!("{mhz} MHz"));
    let yes =
        |flag: Option<bool>| flag.map_or_else(dash, |flag| String::from(if flag { "yes" } else { "no" }));
    let power = card.power_watts.map_or_else(dash, |watts| format!("{watts:.0} W"));
    let limits = card.power_limits.map_or_else(dash, |limits| {
        format!(
            "{:.0} W (default {:.0}, {:.0} to {:.0})",
            limits.enforced_watts, limits.default_watts, limits.min_watts, limits.max_watts
        )
    });
    let link = card.pcie.map_or_else(dash, |link| {
        let most = link.max_generation.zip(link.max_width);
        let most =
            most.map_or_else(String::new, |(generation, width)| format!(" (of {generation} x{width})"));
        format!("{} x{}{most}", link.generation, link.width)
    });
    let ecc = card.ecc.map_or_else(dash, |ecc| match (ecc.enabled, ecc.uncorrected_errors) {
        (false, _) => String::from("off"),
        (true, errors) => errors.map_or_else(|| String::from("on"), |n| format!("on, {n} uncorrected")),
    });
    let mib = |bytes: u64| bytes >> 20;
    let rows = [
        ("temperature", degrees(card.temperature_celsius)),
        ("hotspot", degrees(card.hotspot_celsius)),
        ("memory temperature", degrees(card.memory_temperature_celsius)),
        ("power", power),
        ("power limit", limits),
        ("held back by", card.throttle_reasons.as_deref().map_or_else(dash, held_back)),
        ("utilisation", percent(card.utilisation_percent)),
        ("fan", percent(card.fan_percent)),
        ("clocks", format!("{}, memory {}", mhz(card.sm_clock_mhz), mhz(card.memory_clock_mhz))),
        ("VRAM", format!("{} of {} MiB", mib(card.vram_used_bytes), mib(card.vram_total_bytes))),
        ("PCIe", link),
        ("compute capability", card.compute_capability.map_or_else(dash, |it| it.to_string())),
        ("ECC", ecc),
        ("display", format!("attached {}, active {}", yes(card.display_attached), yes(card.display_active))),
        ("UUID", printable(&card.uuid.0)),
    ];
    let mut text = head;
    for (name, value) in rows {
        let _ = write!(text, "\n  {name:<19} {value}");
    }
    for process in &card.processes {
        let vram = process.vram_bytes.map_or_else(dash, |bytes| format!("{} MiB", mib(bytes)));
        let kind = if process.graphics { "draws" } else { "computes" };
        let ours = if process.ours { ", ours" } else { "" };
        let name = printable(&process.label());
        let _ = write!(
            text,
            "\n  program {} {name}: {kind}, {vram}, {}{ours}",
            process.pid,
            percent(process.sm_percent)
        );
    }
    text
}

fn held_back(reasons: &[ThrottleReason]) -> String {
    use ThrottleReason as R;
    let word = |reason: &ThrottleReason| match reason {
        R::Idle => "nothing to do",
        R::PowerCap => "power limit",
        R::Thermal => "heat (driver)",
        R::HardwareThermal => "heat (hardware)",
        R::PowerBrake => "power supply",
        R::HardwareSlowdown => "hardware slowdown",
        R::ClockSetting => "clock setting",
        R::SyncBoost => "the slowest of its group",
    };
    match reasons {
        [] => String::from("nothing"),
        reasons => reasons.iter().map(word).collect::<Vec<_>>().join(", "),
    }
}

async fn history(place: &HostPlace, wanted: &GpuHistory, output: Output) -> Result<(), Failure> {
    let cards = match Grip::connect(place).await {
        Ok(mut grip) => {
            let request = ControlRequest::History { since_ms: wanted.since, points: wanted.points };
            match grip.ask(request).await? {
                ControlAnswer::History(Ok(cards)) => cards,
                ControlAnswer::History(Err(why)) => return Err(Failure::failed(why)),
                _ => return Err(Failure::failed("the host answered something else")),
            }
        }
        Err(_) => stored(place, wanted).await?,
    };
    if cards.is_empty() {
        return Err(Failure::new(Exit::NothingMatched, "there is no history on this PC yet")
            .advise("it begins when the desktop app or `nightjar host` first runs"));
    }
    output.print(&json!({ "cards": cards }), &history_words(&cards))
}

/// From the file, when no host has it open.
async fn stored(place: &HostPlace, wanted: &GpuHistory) -> Result<Vec<CardHistory>, Failure> {
    let config = super::config(place)?;
    if !nightjar_history::path(&config.data_dir).exists() {
        return Ok(Vec::new());
    }
    note("no host runs here: its history is read from the file");
    let now = moment::now();
    let from = Timestamp(now.0.saturating_sub(i64::try_from(wanted.since).unwrap_or(i64::MAX)));
    let mut history = History::open(&config.data_dir).await?;
    let cards = history.query(from, now, wanted.points, now).await?;
    history.close(now).await;
    Ok(cards)
}

fn history_words(cards: &[CardHistory]) -> String {
    let mut text = String::new();
    for card in cards {
        let gap = if text.is_empty() { "" } else { "\n\n" };
        let _ = write!(text, "{gap}{}", printable(&card.name));
        let mut table = Table::new(&["FROM", "°C", "W", "LIMIT W", "BUSY %", "VRAM MiB"]);
        let cell = |spread: &Option<Spread>| match spread {
            None => String::from("–"),
            Some(spread) if spread.min >= spread.max => format!("{:.0}", spread.mean),
            Some(spread) => format!("{:.0} ({:.0}–{:.0})", spread.mean, spread.min, spread.max),
        };
        for point in &card.points {
            table.row(vec![
                clock(point.at),
                cell(&point.temperature_celsius),
                cell(&point.power_watts),
                cell(&point.power_limit_watts),
                cell(&point.utilisation_percent),
                cell(&point.vram_used_mib),
            ]);
        }
        let _ = write!(text, "\n{table}");
    }
    text
}

async fn dump() -> Result<(), Failure> {
    let record = || Dump::record(env!("CARGO_PKG_VERSION"), &PowerStates::system());
    let dump = tokio::task::spawn_blocking(record)
        .await
        .map_err(|error| Failure::failed(format!("the driver: {error}")))?;
    let text = serde_json::to_string_pretty(&dump)
        .map_err(|error| Failure::failed(format!("the dump cannot be written: {error}")))?;
    crate::output::line(&text)
}

#[cfg(test)]
mod tests {
    use nightjar_core::gpu::{GpuProcess, GpuUuid, PcieLink, PowerLimits};
    use nightjar_core::history::HistoryPoint;

    use super::*;

    #[test]
    fn a_card_that_says_little_and_one_that_says_all() {
        let quiet = GpuReading { name: "a card".into(), ..GpuReading::unread(GpuUuid("GPU-1".into())) };
        let asleep = GpuReading { asleep: true, ..quiet.clone() };
        let limits =
            PowerLimits { enforced_watts: 300.0, default_watts: 450.0, min_watts: 150.0, max_watts: 600.0 };
        let full = GpuReading {
            index: 1,
            temperature_celsius: Some(61.4),
            power_watts: Some(299.6),
            power_limits: Some(limits),
            throttle_reasons: Some(vec![ThrottleReason::PowerCap]),
            pcie: Some(PcieLink { generation: 4, width: 16, max_generation: Some(4), max_width: Some(16) }),
            processes: vec![GpuProcess {
                sm_percent: Some(70),
                name: Some("game\u{1b}[2J".into()),
                ..GpuProcess::listed(4242, Some(3 << 30), true)
            }],
            ..quiet.clone()
        };
        let text = words(None, &[quiet, asleep, full]);
        for part in [
            "temperature         –",
            "asleep, and left so",
            "power limit         300 W (default 450, 150 to 600)",
            "held back by        power limit",
            "PCIe                4 x16 (of 4 x16)",
            "program 4242 game\u{fffd}[2J: draws, 3072 MiB, 70 %",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_history_is_a_table() {
        let spread = |min, mean, max| Some(Spread { min, mean, max });
        let point = HistoryPoint {
            at: Timestamp(0),
            temperature_celsius: spread(40.0, 50.4, 61.0),
            power_watts: spread(300.0, 300.0, 300.0),
            utilisation_percent: None,
            vram_used_mib: spread(0.0, 0.0, 0.0),
            power_limit_watts: None,
        };
        let card = CardHistory {
            uuid: GpuUuid("GPU-1".into()),
            name: "a card".into(),
            span_ms: 1,
            points: vec![point],
        };
        let text = history_words(&[card]);
        assert!(text.contains("50 (40–61)  300  –") && text.starts_with("a card\nFROM"), "{text}");
    }
}
