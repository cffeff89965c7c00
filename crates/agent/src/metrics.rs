//! The host in OpenMetrics, for whoever keeps an eye on several machines. Off unless a port is chosen, and on this PC's
//! own address alone.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use nightjar_core::gpu::GpuReading;
use nightjar_core::money::Money;
use nightjar_core::policy::Verdict;
use nightjar_protocol::view::ViewModel;
use tokio::sync::watch;

use crate::loopback;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type View = watch::Receiver<Arc<ViewModel>>;

/// Serves on the port that is chosen, and follows the choice.
pub(crate) async fn run(mut port: watch::Receiver<Option<u16>>, view: View) {
    loop {
        let chosen = *port.borrow_and_update();
        if let Some(number) = chosen {
            match tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, number)).await {
                Ok(listener) => {
                    let mut changed = port.clone();
                    let until = async move { drop(changed.changed().await) };
                    let serving = axum::serve(listener, router(view.clone())).with_graceful_shutdown(until);
                    if let Err(error) = serving.await {
                        tracing::warn!(%error, "the metrics are no longer served");
                    }
                }
                Err(error) => tracing::warn!(%error, "the metrics cannot be served on port {number}"),
            }
        }
        if port.has_changed().is_ok_and(|changed| changed) {
            continue;
        }
        if port.changed().await.is_err() {
            return;
        }
    }
}

fn router(view: View) -> Router {
    Router::new().route("/metrics", get(answer)).with_state(view)
}

async fn answer(State(view): State<View>, headers: HeaderMap) -> Response {
    if !loopback::is_named(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let view = view.borrow().clone();
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&view)).into_response()
}

/// The exposition: each family with its type, unit and help, then its samples.
fn text(view: &ViewModel) -> String {
    let mut out = String::new();
    let readings = || view.cards.iter().map(|tile| &tile.card.reading);
    let mut gauge = |name: &str, help: &str, pick: fn(&GpuReading) -> Option<f64>| {
        let samples: Vec<String> = readings()
            .filter_map(|card| Some(format!("{name}{{{}}} {}\n", labels(card), pick(card)?)))
            .collect();
        if !samples.is_empty() {
            let _ = write!(out, "# TYPE {name} gauge\n# HELP {name} {help}\n{}", samples.concat());
        }
    };
    gauge("nightjar_gpu_temperature_celsius", "Core temperature.", |card| card.temperature_celsius);
    gauge("nightjar_gpu_memory_temperature_celsius", "Memory temperature.", |card| {
        card.memory_temperature_celsius
    });
    gauge("nightjar_gpu_power_watts", "Power draw.", |card| card.power_watts);
    gauge("nightjar_gpu_power_limit_watts", "Power limit in force.", |card| {
        card.power_limits.map(|limits| limits.enforced_watts)
    });
    gauge("nightjar_gpu_utilisation_ratio", "Share of time in which the card worked.", |card| {
        card.utilisation_percent.map(|percent| f64::from(percent) / 100.0)
    });
    gauge("nightjar_gpu_fan_ratio", "Fan speed.", |card| card.fan_percent.map(|fan| f64::from(fan) / 100.0));
    gauge("nightjar_gpu_vram_used_bytes", "VRAM in use.", |card| {
        (!card.asleep).then(|| bytes(card.vram_used_bytes))
    });
    gauge("nightjar_gpu_vram_total_bytes", "VRAM.", |card| Some(bytes(card.vram_total_bytes)));
    gauge("nightjar_gpu_asleep", "1 while the card sleeps and is left alone.", |card| {
        Some(f64::from(u8::from(card.asleep)))
    });
    host(view, &mut out);
    out.push_str("# EOF\n");
    out
}

fn host(view: &ViewModel, out: &mut String) {
    let cards = || view.cards.iter().map(|tile| &tile.card);
    let _ = out.write_str("# TYPE nightjar_gpu_may_earn gauge\n# HELP nightjar_gpu_may_earn 1 while nothing keeps the card from earning.\n");
    for card in cards() {
        let may = u8::from(card.verdict == Verdict::Earn);
        let _ = writeln!(out, "nightjar_gpu_may_earn{{{}}} {may}", labels(&card.reading));
    }
    let _ = out.write_str(
        "# TYPE nightjar_gpu_leased gauge\n# HELP nightjar_gpu_leased 1 while a job is on the card.\n",
    );
    for card in cards() {
        let leased = u8::from(card.job.is_some());
        let _ = writeln!(out, "nightjar_gpu_leased{{{}}} {leased}", labels(&card.reading));
    }
    let _ = out.write_str("# TYPE nightjar_gpu_block_reasons gauge\n# HELP nightjar_gpu_block_reasons Reasons that keep the card from earning.\n");
    for card in cards() {
        let reasons = match &card.verdict {
            Verdict::Earn => 0,
            Verdict::Blocked { reasons, .. } => reasons.len(),
        };
        let _ = writeln!(out, "nightjar_gpu_block_reasons{{{}}} {reasons}", labels(&card.reading));
    }
    for (name, help, money) in [
        ("nightjar_earned_today", "Earned since local midnight.", view.earnings.today),
        ("nightjar_earned", "Earned by this host.", view.earnings.all),
    ] {
        let _ = write!(out, "# TYPE {name} gauge\n# HELP {name} {help}\n");
        let _ = writeln!(out, "{name}{{currency=\"{}\"}} {}", money.currency.code(), whole(money));
    }
}

fn labels(card: &GpuReading) -> String {
    format!("uuid=\"{}\",name=\"{}\",index=\"{}\"", escaped(&card.uuid.0), escaped(&card.name), card.index)
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[expect(clippy::cast_precision_loss, reason = "no card has 2^53 bytes")]
fn bytes(bytes: u64) -> f64 {
    bytes as f64
}

/// Micro-units as a decimal, without a float in between.
fn whole(money: Money) -> String {
    let sign = if money.micros < 0 { "-" } else { "" };
    let micros = money.micros.unsigned_abs();
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use nightjar_core::money::Currency;

    use super::*;

    #[test]
    fn amounts_and_names_are_exact() {
        assert_eq!(whole(Money::new(1_500_001, Currency::CNY)), "1.500001");
        assert_eq!(whole(Money::new(-7, Currency::CNY)), "-0.000007");
        assert_eq!(escaped("a \"b\" \\\n"), "a \\\"b\\\" \\\\\\n");
    }
}
