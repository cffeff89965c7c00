//! The line in words: limits, the automatic, what a month has carried.

use nightjar_core::bandwidth::Mood;
use nightjar_core::host::HostView;
use nightjar_core::line_check::LineFigures;
use nightjar_core::network::{CapLevel, Night, Rates};
use nightjar_core::settings::EgressMode;
use nightjar_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::text::Texts;

/// Samples that are kept for display: two minutes of one a second.
pub const MOST_SAMPLES: usize = 120;

/// The line at one moment, as the automatic saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PingSample {
    pub at: Timestamp,
    #[ts(type = "number")]
    pub rtt_us: u64,
    /// Over the idle line.
    #[ts(type = "number")]
    pub added_us: u64,
    pub rates: Rates,
}

/// What only the program that shapes knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkNow {
    /// `None` until the first limits were set.
    pub in_force: Option<Rates>,
    /// What Nightjar's traffic carries.
    pub carried: Option<Rates>,
    /// `None` while the automatic is off or nothing is lent.
    pub mood: Option<Mood>,
    /// Why the automatic cannot be had here.
    pub no_probe: Option<String>,
    pub samples: Vec<PingSample>,
}

/// How far a month's cap is used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CapNote {
    #[ts(type = "number")]
    pub used_mib: u64,
    /// `None`: no cap is set.
    #[ts(type = "number | null")]
    pub cap_mib: Option<u64>,
    pub used_percent: Option<u32>,
    pub is_near: bool,
    pub is_reached: bool,
    pub resets_at: Option<Timestamp>,
    pub sentence: String,
}

/// What the window's page and `nightjar network show` draw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, TS)]
pub struct NetworkNote {
    pub egress: EgressMode,
    pub day: Rates,
    pub night: Option<Night>,
    pub at_night: bool,
    /// When the other limits begin to hold.
    pub changes_at: Option<Timestamp>,
    pub automatic: bool,
    /// Why the rates are what they are; `None` where the limits simply hold.
    pub mood: Option<Mood>,
    pub in_force: Rates,
    pub carried: Option<Rates>,
    /// Newest last, at most [`MOST_SAMPLES`].
    pub samples: Vec<PingSample>,
    /// `None` until it was counted.
    pub cap: Option<CapNote>,
    /// Which limits hold, until when.
    pub sentence: String,
    /// What the automatic does; `None` while it is off.
    pub automatic_sentence: Option<String>,
    /// How fast the line is, as the market measured it; `None` where it did not.
    pub measured: Option<String>,
}

/// `20 Mbit/s`, `512 kbit/s`, `1.5 Gbit/s`.
#[must_use]
pub fn spell_kbit(kbit: u32) -> String {
    let (unit, name) = match kbit {
        1_000_000.. => (1_000_000, "Gbit/s"),
        1_000.. => (1_000, "Mbit/s"),
        _ => return format!("{kbit} kbit/s"),
    };
    let tenths = (u64::from(kbit) * 10 + unit / 2) / unit;
    let whole = tenths / 10;
    match tenths % 10 {
        0 => format!("{whole} {name}"),
        rest => format!("{whole}.{rest} {name}"),
    }
}

/// `500.0` of as many mebibytes as are 500 GB (10^9 bytes): traffic is counted as providers count it.
#[must_use]
pub fn traffic_gb(mib: u64) -> String {
    let tenths = (u128::from(mib) * (1 << 20) + 50_000_000) / 100_000_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Makes it.
pub(crate) fn network_note(
    host: &HostView,
    now: &NetworkNow,
    texts: &Texts,
    clock: &dyn Fn(Timestamp) -> String,
) -> NetworkNote {
    let settings = &host.settings.network;
    let standing = host.network.standing;
    let in_force = now.in_force.unwrap_or(standing.limits);
    let mut values =
        vec![("up", spell_kbit(standing.limits.up_kbit)), ("down", spell_kbit(standing.limits.down_kbit))];
    let key = match (standing.at_night, standing.changes_at) {
        (_, None) => "network-limits",
        (true, Some(_)) => "network-limits-night",
        (false, Some(_)) => "network-limits-day",
    };
    values.extend(standing.changes_at.map(|at| ("time", clock(at))));
    NetworkNote {
        egress: host.settings.egress,
        day: settings.day,
        night: settings.night,
        at_night: standing.at_night,
        changes_at: standing.changes_at,
        automatic: settings.automatic,
        mood: now.mood,
        in_force,
        carried: now.carried,
        samples: now.samples.clone(),
        cap: cap_note(host, texts),
        sentence: texts.with(key, &values),
        automatic_sentence: settings.automatic.then(|| automatic(now, in_force, texts)),
        measured: host.network.measured.map(|figures| measured(&figures, texts, clock)),
    }
}

fn measured(figures: &LineFigures, texts: &Texts, clock: &dyn Fn(Timestamp) -> String) -> String {
    let key = if figures.is_at_limit() { "network-measured-at-limit" } else { "network-measured" };
    let values = [
        ("up", spell_kbit(figures.up_kbit)),
        ("down", spell_kbit(figures.down_kbit)),
        ("ms", format!("{}.{}", figures.rtt_us / 1_000, figures.rtt_us % 1_000 / 100)),
        ("time", clock(figures.at)),
    ];
    texts.with(key, &values)
}

fn automatic(now: &NetworkNow, in_force: Rates, texts: &Texts) -> String {
    if let Some(detail) = &now.no_probe {
        return texts.with("network-automatic-no-probe", &[("detail", detail.clone())]);
    }
    let key = match now.mood {
        None => "network-automatic-ready",
        Some(Mood::Resting) => "network-automatic-resting",
        Some(Mood::Growing) => "network-automatic-growing",
        Some(Mood::Holding) => "network-automatic-holding",
        Some(Mood::BackingOff) => "network-automatic-backing-off",
        Some(Mood::AtLimit) => "network-automatic-at-limit",
        Some(Mood::Blind) => "network-automatic-blind",
    };
    let values = [("up", spell_kbit(in_force.up_kbit)), ("down", spell_kbit(in_force.down_kbit))];
    texts.with(key, &values)
}

fn cap_note(host: &HostView, texts: &Texts) -> Option<CapNote> {
    let used_bytes = host.network.used_bytes?;
    let used_mib = used_bytes >> 20;
    let cap_mib = host.settings.network.monthly_cap_mib;
    let level = host.settings.network.cap_bytes().map(|cap| CapLevel::of(used_bytes, cap));
    let percent =
        cap_mib.map(|cap| u32::try_from(used_mib.saturating_mul(100) / cap.max(1)).unwrap_or(u32::MAX));
    let mut values = vec![("used", traffic_gb(used_mib))];
    values.extend(cap_mib.map(|cap| ("cap", traffic_gb(cap))));
    values.extend(percent.map(|percent| ("percent", percent.to_string())));
    let key = match level {
        None => "network-used",
        Some(CapLevel::Free | CapLevel::Near) => "network-used-of",
        Some(CapLevel::Reached) => "network-used-up",
    };
    Some(CapNote {
        used_mib,
        cap_mib,
        used_percent: percent,
        is_near: level >= Some(CapLevel::Near),
        is_reached: level == Some(CapLevel::Reached),
        resets_at: host.network.resets_at,
        sentence: texts.with(key, &values),
    })
}

#[cfg(test)]
mod tests {
    use nightjar_core::host::{Host, Input};
    use nightjar_core::network::NetworkSettings;
    use nightjar_core::settings::{Language, Settings};

    use super::*;

    #[test]
    fn traffic_is_told_as_it_was_typed() {
        // 500 GB, rounded down to whole MiB, as the command line stores it.
        assert_eq!(traffic_gb(500_000_000_000 >> 20), "500.0");
        assert_eq!(traffic_gb(0), "0.0");
    }

    #[test]
    fn rates_are_spelled_in_the_unit_that_fits() {
        let spelled = [64, 999, 1_000, 1_550, 20_000, 1_000_000, 2_500_000].map(spell_kbit);
        let wanted =
            ["64 kbit/s", "999 kbit/s", "1 Mbit/s", "1.6 Mbit/s", "20 Mbit/s", "1 Gbit/s", "2.5 Gbit/s"];
        assert_eq!(spelled, wanted);
    }

    #[test]
    fn every_standing_has_its_sentence_in_both_languages() {
        let night =
            Night { hours: "23:00-07:00".parse().unwrap(), rates: Rates { up_kbit: 64, down_kbit: 64 } };
        let moods = [
            None,
            Some(Mood::Resting),
            Some(Mood::Growing),
            Some(Mood::Holding),
            Some(Mood::BackingOff),
            Some(Mood::AtLimit),
            Some(Mood::Blind),
        ];
        let clock = |_: Timestamp| String::from("23:00");
        for language in [Language::English, Language::SimplifiedChinese] {
            let mut seen = std::collections::BTreeSet::new();
            for (night, cap, used_mib) in
                [(None, None, 1), (Some(night), Some(1_000), 999), (None, Some(1_000), 1_000)]
            {
                let network = NetworkSettings {
                    night,
                    monthly_cap_mib: cap,
                    automatic: true,
                    ..NetworkSettings::default()
                };
                let mut host = Host::new(Settings { network, ..Settings::default() });
                host.handle(Input::DataUsed { bytes: used_mib << 20, resets_at: Timestamp(9) }, Timestamp(1));
                let texts = Texts::of(language);
                for mood in moods {
                    let in_force = Some(NetworkSettings::default().day);
                    let now = NetworkNow { mood, in_force, ..NetworkNow::default() };
                    let note = network_note(&host.view(Timestamp(1)), &now, texts, &clock);
                    seen.insert(note.automatic_sentence.unwrap());
                    seen.insert(note.sentence);
                    seen.insert(note.cap.unwrap().sentence);
                }
                let now = NetworkNow { no_probe: Some("x".into()), ..NetworkNow::default() };
                seen.insert(
                    network_note(&host.view(Timestamp(1)), &now, texts, &clock).automatic_sentence.unwrap(),
                );
            }
            // By day without a night is said twice; eight of the automatic, two of the limits, three of the month.
            assert_eq!(seen.len(), 8 + 2 + 3, "{seen:?}");
            assert!(seen.iter().all(|text| !text.contains("network-") && !text.contains('{')), "{seen:?}");
        }
    }
}
