//! The view model: what every front end draws, with its sentences in the owner's language.
//!
//! Tray, window, notification and `nightjar status` are all made from [`ViewModel`]; none of them holds a rule.

use nightjar_core::conduct::{Breach, MiningSign};
use nightjar_core::gpu::DriverInfo;
use nightjar_core::host::{
    CardView, HostState, HostView, Notice, SweepEnd, SweepPhase, SweepView, SweetSpot, Versions,
};
use nightjar_core::market::{HostAccount, Payout};
use nightjar_core::money::{Currency, Money};
use nightjar_core::night::Account;
use nightjar_core::parting::Cause;
use nightjar_core::policy::{BlockReason, Overrides, Verdict};
use nightjar_core::power::{HelperStanding, PowerSettings};
use nightjar_core::preset::Preset;
use nightjar_core::settings::{Language, Settings};
use nightjar_core::signal::Sign;
use nightjar_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

mod sentence;

use crate::images::{PullLine, PullNow};
use crate::local_time::LocalTime;
use crate::network::{NetworkNote, NetworkNow, network_note, traffic_gb};
use crate::night::Summary;
use crate::text::Texts;
use crate::tray::{TrayMenu, tray_menu};

/// Money of the host, from its own journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Earnings {
    /// Since local midnight, after the market's part.
    pub today: Money,
    /// After electricity too, where the tariff is told.
    pub today_net: Money,
    pub all: Money,
}

/// The owner's money at the market, by the market's own books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct AccountNote {
    pub balance: Money,
    pub paid_out: Money,
    /// The latest first.
    pub payouts: Vec<Payout>,
    pub sentence: String,
}

impl AccountNote {
    fn new(account: &HostAccount, texts: &Texts) -> Self {
        let HostAccount { balance, paid_out, payouts } = account.clone();
        let key = if payouts.is_empty() { "account-held" } else { "account-held-and-paid" };
        let values = [("balance", texts.money(balance)), ("paid", texts.money(paid_out))];
        Self { balance, paid_out, payouts, sentence: texts.with(key, &values) }
    }
}

/// Which programme this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Identity {
    pub app_version: String,
    /// `None` until the host belongs to a market.
    pub coordinator: Option<String>,
    /// ed25519 public key in hexadecimal.
    pub host_key: String,
}

/// A card with its sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct CardTile {
    pub card: CardView,
    /// Why this card earns or does not.
    pub sentence: String,
    /// Every reason, the most useful first.
    pub reasons: Vec<String>,
    /// How the last search for the sweet spot stands.
    pub sweep: Option<String>,
    /// What was found, a sentence for each of `card.sweet_spots`.
    pub sweet_spots: Vec<String>,
    /// What the market says of the demand for such cards, a sentence for each figure that it gives.
    pub demand: Vec<String>,
}

/// What one sensor says, for the owner who asks what Nightjar sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SensorLine {
    pub sign: Sign,
    /// What it watches.
    pub what: String,
    /// What it says.
    pub sentence: String,
}

impl SensorLine {
    fn new(sign: &Sign, texts: &Texts) -> Self {
        Self { what: texts.signal(sign.kind), sentence: texts.standing(&sign.standing), sign: sign.clone() }
    }
}

/// Whether the power limit can be set here, and what is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct PowerNote {
    pub can_be_set: bool,
    /// Why it cannot, or that it can.
    pub sentence: String,
    /// The one command that mends it.
    pub command: Option<String>,
    pub chosen: PowerSettings,
}

/// All that is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct ViewModel {
    pub at: Timestamp,
    pub language: Language,
    /// In which the sentences' hours are, by its name in the IANA's list; `None` where this PC's zone has no name.
    pub time_zone: Option<String>,
    pub state: HostState,
    /// The one sentence: what is going on, and when that changes.
    pub sentence: String,
    /// For who must branch; the sentence says the same.
    pub reason: Option<BlockReason>,
    pub next_change: Option<Timestamp>,
    pub earn_while_idle: bool,
    /// A choice that passes by itself, in words: an "earn now", a snooze, a last job.
    pub choice: Option<String>,
    /// So long the window's "earn now" lasts at most; `None` where there is nothing that it would change.
    #[ts(type = "number | null")]
    pub earn_now_ms: Option<u64>,
    pub overrides: Overrides,
    /// `None` where the owner has chosen otherwise than any preset.
    pub preset: Option<Preset>,
    pub sensors: Vec<SensorLine>,
    pub earnings: Earnings,
    /// The owner's money at the market; `None` where the market says nothing of it.
    pub account: Option<AccountNote>,
    /// What the market pays in, where the owner's prices are in another.
    pub other_currency: Option<Currency>,
    /// A newer version waits or the clock was set, nothing runs here that a new start would disturb, and no window is open.
    pub restart_due: bool,
    /// Where the time since local midnight went; `None` until the journal was read.
    pub today: Option<Summary>,
    pub cards: Vec<CardTile>,
    pub power: PowerNote,
    /// `None` until the driver has answered.
    pub driver: Option<DriverInfo>,
    pub versions: Versions,
    pub network: NetworkNote,
    /// Images on their way here, in their order.
    pub pulls: Vec<PullLine>,
    /// The images that lie here and are offered to renters when a card is free.
    pub lent_images: Vec<String>,
    pub tray: TrayMenu,
    /// What the owner has chosen, as it is in force; `None` where the file cannot be read and nothing can be changed.
    pub settings: Option<Box<Settings>>,
    pub identity: Identity,
}

/// Facts that the host machine does not hold itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Surroundings {
    pub earnings: Earnings,
    pub identity: Identity,
    pub local_time: LocalTime,
    /// Since local midnight.
    pub today: Option<Account>,
    pub network: NetworkNow,
    pub pulls: Vec<PullNow>,
    /// What the system speaks, where the owner has not chosen.
    pub system_language: Language,
}

/// Makes the view model.
#[must_use]
pub fn view_model(host: &HostView, around: &Surroundings) -> ViewModel {
    let language = host.settings.language.unwrap_or(around.system_language);
    let texts = Texts::of(language);
    let clock = |at: Timestamp| around.local_time.moment(at, host.at, texts);
    let cards: Vec<CardTile> = host.cards.iter().map(|card| tile(card, host, texts, &clock)).collect();
    let sentence = sentence::headline(host, texts, &clock);
    let on = host.settings.earn_while_idle && host.settings_readable;
    let tray = tray_menu(host, around, &sentence, texts);
    ViewModel {
        at: host.at,
        language,
        time_zone: around.local_time.zone.iana_name().map(str::to_owned),
        state: host.state,
        sentence,
        reason: host.reason.clone(),
        next_change: host.next_change,
        earn_while_idle: on,
        earn_now_ms: earn_now(&host.overrides, host.state, !host.cards.is_empty()),
        choice: choice(&host.overrides, texts, &clock),
        overrides: host.overrides.clone(),
        preset: host.preset,
        sensors: host.signs.iter().map(|sign| SensorLine::new(sign, texts)).collect(),
        earnings: around.earnings,
        account: host.account.as_ref().map(|account| AccountNote::new(account, texts)),
        other_currency: host.other_currency,
        restart_due: host.restart_due,
        today: around.today.as_ref().map(|account| Summary::of(account, language)),
        cards,
        power: power_note(&host.helper, &host.settings, texts),
        driver: host.driver.clone(),
        versions: host.versions.clone(),
        network: network_note(host, &around.network, texts, &clock),
        pulls: around.pulls.iter().map(|pull| PullLine::new(pull, texts, &clock)).collect(),
        lent_images: host.lent_images.clone(),
        tray,
        settings: host.settings_readable.then(|| Box::new(host.settings.clone())),
        identity: around.identity.clone(),
    }
}

/// What turns the helper on, starts it again, and lets this account use it. On Windows an administrator's commands.
#[cfg(not(windows))]
const TURN_ON: &str = "sudo systemctl enable --now nightjar-helper.socket";
#[cfg(windows)]
const TURN_ON: &str = "nightjar-helper install";
#[cfg(not(windows))]
const START_AGAIN: &str = "sudo systemctl restart nightjar-helper.socket";
#[cfg(windows)]
const START_AGAIN: &str = "sc.exe start NightjarHelper";
#[cfg(not(windows))]
const JOIN: Option<&str> = Some("sudo usermod --append --groups nightjar \"$USER\"");
/// Who sits at the PC is let in; there is no group to join.
#[cfg(windows)]
const JOIN: Option<&str> = None;

pub(crate) fn power_note(helper: &HelperStanding, settings: &Settings, texts: &Texts) -> PowerNote {
    let note = |key: &str, command: Option<&str>| PowerNote {
        can_be_set: false,
        sentence: texts.plain(key),
        command: command.map(str::to_owned),
        chosen: settings.power.clone(),
    };
    match helper {
        HelperStanding::Available { .. } => PowerNote { can_be_set: true, ..note("power-available", None) },
        HelperStanding::Unknown => note("power-unknown", None),
        HelperStanding::NotInstalled => note("power-not-installed", Some(TURN_ON)),
        HelperStanding::NotAllowed => note("power-not-allowed", JOIN),
        HelperStanding::NotAnswering { detail } => PowerNote {
            sentence: texts.with("power-not-answering", &[("detail", detail.clone())]),
            ..note("power-not-answering", Some(START_AGAIN))
        },
        HelperStanding::Unsupported => note("power-unsupported", None),
    }
}

/// A night, in case the owner does not come back.
const EARN_NOW_MS: u64 = 8 * 3_600_000;

/// Only what the owner's own use holds up, and no other choice of theirs.
fn earn_now(overrides: &Overrides, state: HostState, has_cards: bool) -> Option<u64> {
    let wanted = *overrides == Overrides::default() && state == HostState::Yours && has_cards;
    wanted.then_some(EARN_NOW_MS)
}

fn choice(overrides: &Overrides, texts: &Texts, clock: &dyn Fn(Timestamp) -> String) -> Option<String> {
    if let Some(earn) = &overrides.earn_now {
        let key = if earn.until_back { "choice-earn-now-until-back" } else { "choice-earn-now" };
        return Some(texts.with(key, &[("time", clock(earn.until))]));
    }
    if let Some(game) = &overrides.snoozed_for_game {
        return Some(texts.with("choice-snoozed-for-game", &[("name", game.clone())]));
    }
    if let Some(until) = overrides.snoozed_until {
        return Some(texts.with("reason-snoozed", &[("time", clock(until))]));
    }
    overrides.last_job_until.map(|until| texts.with("choice-last-job", &[("time", clock(until))]))
}

fn tile(card: &CardView, host: &HostView, texts: &Texts, clock: &dyn Fn(Timestamp) -> String) -> CardTile {
    let reasons: Vec<String> = match &card.verdict {
        Verdict::Earn => Vec::new(),
        Verdict::Blocked { reasons, .. } => {
            reasons.iter().map(|reason| texts.reason(reason, clock)).collect()
        }
    };
    let sentence = match (&card.job, reasons.first()) {
        (Some(job), _) => sentence::job(card, job, host, texts, clock),
        (None, Some(reason)) => reason.clone(),
        (None, None) => sentence::waiting(std::slice::from_ref(card), card.waiting, host, texts),
    };
    CardTile {
        card: card.clone(),
        sentence,
        reasons,
        sweep: card.sweep.as_ref().map(|sweep| sweep_words(sweep, texts, clock)),
        sweet_spots: card.sweet_spots.iter().map(|spot| spot_words(spot, card, texts)).collect(),
        demand: card.demand.as_ref().map(|figures| texts.demand(figures)).unwrap_or_default(),
    }
}

fn sweep_words(sweep: &SweepView, texts: &Texts, clock: &dyn Fn(Timestamp) -> String) -> String {
    let work = ("work", texts.work_kind(sweep.work));
    let end = |end: &SweepEnd| match end {
        SweepEnd::Done => texts.with("sweep-done", std::slice::from_ref(&work)),
        SweepEnd::Interrupted { reason: Some(reason) } => {
            texts.with("sweep-interrupted-why", &[work.clone(), ("reason", texts.reason(reason, clock))])
        }
        SweepEnd::Interrupted { reason: None } => {
            texts.with("sweep-interrupted", std::slice::from_ref(&work))
        }
        SweepEnd::Cancelled => texts.with("sweep-cancelled", std::slice::from_ref(&work)),
        SweepEnd::NeverFree => texts.with("sweep-never-free", std::slice::from_ref(&work)),
        SweepEnd::Failed { cause } => texts.with("sweep-failed", &[work.clone(), ("cause", cause.clone())]),
    };
    match &sweep.phase {
        SweepPhase::Waiting { .. } => texts.with("sweep-waiting", &[work]),
        SweepPhase::Starting { .. } => texts.with("sweep-starting", &[work]),
        SweepPhase::Measuring { limit_watts } => {
            let values = [
                work,
                ("watts", limit_watts.unwrap_or(0).to_string()),
                ("done", sweep.points.len().to_string()),
                ("all", sweep.limits.len().to_string()),
            ];
            texts.with("sweep-measuring", &values)
        }
        SweepPhase::Ending { end: how } | SweepPhase::Over { end: how, .. } => end(how),
    }
}

fn spot_words(spot: &SweetSpot, card: &CardView, texts: &Texts) -> String {
    let judgement = &spot.judgement;
    let of = |index: usize| judgement.judged.get(index);
    let (Some(best), Some(efficient)) = (of(judgement.best_income), of(judgement.most_efficient)) else {
        return String::new();
    };
    #[expect(clippy::cast_possible_truncation, reason = "micro-units of an hour's income")]
    let net = Money::new(best.net_per_hour_micros.round() as i64, card.asking.currency);
    let values = [
        ("work", texts.work_kind(spot.work)),
        ("watts", best.point.limit_watts.to_string()),
        ("net", texts.money(net)),
        ("speed", format!("{:.0}", best.speed_percent)),
        ("efficient", efficient.point.limit_watts.to_string()),
    ];
    texts.with("sweet-spot", &values)
}

/// Of a tenant that goes past what it is held to.
fn conduct(
    texts: &Texts,
    (image, renter): (&String, &String),
    breach: &Breach,
    stops: bool,
) -> (String, String) {
    let (title, body) = match (breach, stops) {
        (Breach::Vram { .. }, _) => ("notice-warned-title", "notice-vram-body"),
        (Breach::Disk { .. }, _) => ("notice-warned-title", "notice-disk-body"),
        (Breach::Mining { sign: MiningSign::Load }, _) => {
            ("notice-mining-load-title", "notice-mining-load-body")
        }
        (Breach::Mining { .. }, true) => ("notice-warned-title", "notice-mining-body-stops"),
        (Breach::Mining { .. }, false) => ("notice-mining-title", "notice-mining-body"),
    };
    let (used, limit) = match breach {
        Breach::Vram { free_mib, reserve_mib } => (*free_mib, *reserve_mib),
        Breach::Disk { used_mib, limit_mib } => (*used_mib, *limit_mib),
        Breach::Mining { .. } => (0, 0),
    };
    let sign = match breach {
        Breach::Mining { sign: MiningSign::Program { name } } => {
            texts.with("mining-program", &[("name", name.clone())])
        }
        _ => texts.plain("mining-protocol"),
    };
    let values = [
        ("image", image.clone()),
        ("renter", renter.clone()),
        ("used", used.to_string()),
        ("limit", limit.to_string()),
        ("sign", sign),
    ];
    (texts.plain(title), texts.with(body, &values))
}

/// Title and body of a desktop notification.
#[must_use]
pub fn notification(notice: &Notice, language: Language) -> (String, String) {
    let texts = Texts::of(language);
    match notice {
        Notice::JobArrived { image, renter } => (
            texts.plain("notice-arrived-title"),
            texts.with("notice-arrived-body", &[("image", image.clone()), ("renter", renter.clone())]),
        ),
        Notice::JobFrozen { image, cause } => {
            let (title, body) = match cause {
                Cause::OwnerBack | Cause::Game => ("notice-frozen-title", "notice-frozen-body"),
                Cause::TooHot => ("notice-frozen-why-title", "notice-frozen-hot-body"),
                _ => ("notice-frozen-why-title", "notice-frozen-why-body"),
            };
            (texts.plain(title), texts.with(body, &[("image", image.clone())]))
        }
        Notice::DataCapNear { used_mib, cap_mib } => (
            texts.plain("notice-data-near-title"),
            texts.with(
                "notice-data-near-body",
                &[("used", traffic_gb(*used_mib)), ("cap", traffic_gb(*cap_mib))],
            ),
        ),
        Notice::DataCapReached { cap_mib, stops } => {
            let body = if *stops { "notice-data-reached-body-stops" } else { "notice-data-reached-body" };
            (texts.plain("notice-data-reached-title"), texts.with(body, &[("cap", traffic_gb(*cap_mib))]))
        }
        Notice::JobResumed { image } => (
            texts.plain("notice-resumed-title"),
            texts.with("notice-resumed-body", &[("image", image.clone())]),
        ),
        Notice::JobEnded { image: _, reason, earned, electricity, net } => {
            // A tariff that was not told makes no account.
            let body = if electricity.micros > 0 { "notice-ended-body-net" } else { "notice-ended-body" };
            let values = [
                ("reason", texts.end_reason(reason)),
                ("earned", texts.money(*earned)),
                ("electricity", texts.money(*electricity)),
                ("net", texts.money(*net)),
            ];
            (texts.plain("notice-ended-title"), texts.with(body, &values))
        }
        Notice::Conduct { image, renter, breach, stops } => conduct(texts, (image, renter), breach, *stops),
        Notice::SettingsUnsaved { detail } => (
            texts.plain("notice-unsaved-title"),
            texts.with("notice-unsaved-body", &[("detail", detail.clone())]),
        ),
        Notice::WeekOver { net, running_ms, jobs, .. } => {
            let values = [
                ("net", texts.money(*net)),
                ("time", texts.duration(*running_ms)),
                ("jobs", jobs.to_string()),
            ];
            (texts.plain("notice-week-title"), texts.with("notice-week-body", &values))
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use nightjar_core::host::Host;

    use super::*;

    #[test]
    fn earning_now_is_offered_where_only_the_owners_use_holds_it_up() {
        let none = Overrides::default();
        assert_eq!(earn_now(&none, HostState::Yours, true), Some(EARN_NOW_MS));
        assert_eq!(earn_now(&none, HostState::Yours, false), None);
        let snoozed = Overrides { snoozed_until: Some(Timestamp(1)), ..Overrides::default() };
        assert_eq!(earn_now(&snoozed, HostState::Yours, true), None);
        for state in [HostState::Earning, HostState::Waiting, HostState::Trouble] {
            assert_eq!(earn_now(&none, state, true), None, "{state:?}");
        }
    }

    /// For a page in a browser that stands elsewhere than the host: its hours have to be those of the sentences.
    #[test]
    fn the_zone_of_the_sentences_hours_is_told_where_it_has_a_name() {
        let nothing = Money::new(0, Currency::CNY);
        let told = |zone: TimeZone| {
            let around = Surroundings {
                earnings: Earnings { today: nothing, today_net: nothing, all: nothing },
                identity: Identity { app_version: "1".into(), coordinator: None, host_key: "00".into() },
                local_time: LocalTime { zone },
                today: None,
                network: NetworkNow::default(),
                pulls: Vec::new(),
                system_language: Language::English,
            };
            view_model(&Host::new(Settings::default()).view(Timestamp(0)), &around).time_zone
        };
        assert_eq!(told(TimeZone::get("Asia/Shanghai").unwrap()).as_deref(), Some("Asia/Shanghai"));
        assert_eq!(told(TimeZone::UTC).as_deref(), Some("UTC"));
        assert_eq!(told(TimeZone::fixed(jiff::tz::offset(8))), None);
    }
}
