//! What is shown, as data. Sentences are made from it in `nightjar-protocol`; no front end decides anything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::demand::DemandFigures;
use crate::economics::{Account, HourEstimate, NIGHT_HOURS, Outlook};
use crate::gpu::{DriverInfo, GpuReading, GpuUuid};
use crate::lease::{LeaseId, LeaseState};
use crate::line_check::LineFigures;
use crate::market::{HostAccount, WaitReason};
use crate::meter::owed;
use crate::money::{Currency, Money};
use crate::network::Standing;
use crate::policy::{BlockReason, Overrides, Runtime, Verdict};
use crate::power::HelperStanding;
use crate::preset::Preset;
use crate::settings::Settings;
use crate::signal::Sign;
use crate::thermal::Hold;
use crate::time::Timestamp;

use super::card::Card;
use super::sweeping::{SweepView, SweetSpot};
use super::{HelperWait, Host};

/// The one word for all of it: the tray's icon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// A job runs, or goes on or ends in a moment.
    Earning,
    /// Ready, and no job has come.
    Waiting,
    /// The owner uses the PC, or asked to be left alone.
    Yours,
    /// Something must be repaired before anything can be earned.
    Trouble,
}

/// A job as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct JobView {
    pub lease: LeaseId,
    pub image: String,
    pub renter: String,
    pub state: LeaseState,
    pub state_since: Timestamp,
    /// When the job came.
    pub since: Timestamp,
    #[ts(type = "number")]
    pub running_ms: u64,
    pub price_per_hour: Money,
    /// The host's part, up to now.
    pub earned: Money,
    /// With electricity, and what is left after it.
    pub account: Account,
    pub device_name: Option<String>,
    /// It shares the PC with its owner, within the owner's bounds.
    pub restrained: bool,
}

/// One card as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct CardView {
    pub reading: GpuReading,
    pub verdict: Verdict,
    /// What it takes a job for now: the owner's price, and never less than a job would cost.
    pub asking: Money,
    /// What an hour and a night of work would leave.
    pub for_hour: Outlook,
    pub for_night: Outlook,
    /// What the owner chose that it may draw while it is rented, within what it takes; `None` leaves it as it is.
    pub chosen_limit_watts: Option<u32>,
    /// What an hour at that price would bring at this hour's tariff.
    pub hour: HourEstimate,
    /// The same at the price that such cards had in the market's last week; `None` where the market does not tell it.
    pub usual: Option<HourEstimate>,
    pub job: Option<JobView>,
    /// Why no job comes, while nothing stands against one and the market says so.
    pub waiting: Option<WaitReason>,
    /// How much such cards are wanted; `None` where the market says nothing of it.
    pub demand: Option<DemandFigures>,
    /// It proves itself to its market at this moment.
    pub proving: bool,
    /// The last sweep that was asked for since the start, under way or over.
    pub sweep: Option<SweepView>,
    /// What sweeps have found, a line a kind of work; never one number for the card.
    pub sweet_spots: Vec<SweetSpot>,
}

/// The whole host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct HostView {
    pub at: Timestamp,
    pub state: HostState,
    /// The most useful reason of the card that needs its owner most; `None` while a card earns or may earn.
    pub reason: Option<BlockReason>,
    pub next_change: Option<Timestamp>,
    pub overrides: Overrides,
    /// What every sensor last said, those that cannot be had here too.
    pub signs: Vec<Sign>,
    /// The preset whose values the settings hold; `None` where the owner has chosen otherwise.
    pub preset: Option<Preset>,
    pub cards: Vec<CardView>,
    /// Of the first card that waits.
    pub waiting: Option<WaitReason>,
    pub settings: Settings,
    pub settings_readable: bool,
    pub helper: HelperStanding,
    /// The cards that wait for it.
    #[serde(default)]
    pub helper_waits: BTreeMap<GpuUuid, HelperWait>,
    /// The game that a snooze could end with.
    pub game: Option<String>,
    /// `None` until the driver has answered.
    pub driver: Option<DriverInfo>,
    pub network: NetworkView,
    /// As the market last told; `None` where it never did.
    pub account: Option<HostAccount>,
    /// What the market pays in, where the owner's prices are in another.
    pub other_currency: Option<Currency>,
    /// A newer version waits or the clock was set, and nothing runs here that a new start would disturb.
    pub restart_due: bool,
    /// The images that lie here and are offered to renters when a card is free.
    pub lent_images: Vec<String>,
    pub versions: Versions,
}

/// Of what a job stands on, as the Docker Engine says; `None` until it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Versions {
    pub engine: Option<String>,
    /// Of the kernel that containers run on: on Windows that is not the PC's own.
    pub kernel: Option<String>,
}

/// The line, as far as the host itself knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct NetworkView {
    pub standing: Standing,
    /// In this calendar month; `None` until it was counted.
    #[ts(type = "number | null")]
    pub used_bytes: Option<u64>,
    pub resets_at: Option<Timestamp>,
    /// As the market measured it; `None` where it did not.
    pub measured: Option<LineFigures>,
}

impl Host {
    fn restart_due(&self) -> bool {
        let is_free = |card: &Card| card.job.is_none() && !card.is_swept() && !card.is_checked();
        let is_wanted = self.snapshot.update_waiting || self.clock_off;
        // A new start would take back what is in no file.
        let is_saved = self.snapshot.settings_unsaved.is_none();
        // A snooze, a last job and a stop for heat are known to this run alone, and each of them passes by itself.
        let is_bound = self.overrides != Overrides::default()
            || self.cards.values().any(|card| matches!(card.thermal.hold(), Some(Hold::Stopped { .. })));
        is_wanted && is_saved && !self.closing && !is_bound && self.cards.values().all(is_free)
    }

    fn versions(&self) -> Versions {
        let Runtime::Ready { engine, .. } = &self.snapshot.runtime else { return Versions::default() };
        let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Versions { engine: said(&engine.version), kernel: said(&engine.kernel_version) }
    }

    #[must_use]
    pub fn view(&self, now: Timestamp) -> HostView {
        let cards: Vec<CardView> = self
            .cards
            .iter()
            .filter(|(_, card)| card.present || card.job.is_some())
            .map(|(gpu, card)| CardView {
                proving: card.is_checked(),
                sweep: card.sweep.as_ref().map(super::Sweeping::view),
                sweet_spots: self.sweet_spots(gpu, card),
                reading: card.reading.clone(),
                verdict: card.verdict.clone(),
                asking: self.least_price(card, self.fee_basis_points),
                for_hour: self.outlook(card, 1),
                for_night: self.outlook(card, NIGHT_HOURS),
                chosen_limit_watts: self.chosen_limit_watts(card),
                hour: self.hour_estimate(card),
                usual: self.usual_hour(card),
                waiting: card.waiting.filter(|_| card.verdict == Verdict::Earn && card.job.is_none()),
                demand: card.demand,
                job: card.job.as_ref().map(|job| JobView {
                    lease: job.terms().lease.clone(),
                    image: job.terms().image.clone(),
                    renter: job.terms().renter.clone(),
                    state: job.state().clone(),
                    state_since: job.state_since(),
                    since: job.since(),
                    running_ms: job.running_ms(now),
                    price_per_hour: job.terms().price_per_hour,
                    earned: owed(
                        job.terms().price_per_hour,
                        job.terms().fee_basis_points,
                        job.running_ms(now),
                    )
                    .host,
                    account: job.account(now),
                    device_name: job.device_name().map(str::to_owned),
                    restrained: job.is_restrained(),
                }),
            })
            .collect();
        let helper_waits = self.cards.iter().filter_map(|(gpu, card)| {
            let wait = self.helper_wait(card, now)?;
            Some((gpu.clone(), wait))
        });
        let helper_waits = helper_waits.collect();
        let (state, reason, next_change) = self.headline(&cards, &helper_waits, now);
        HostView {
            at: now,
            state,
            reason,
            next_change,
            overrides: self.overrides.clone(),
            signs: self.snapshot.signs.list(),
            preset: Preset::of(&self.settings),
            waiting: cards.iter().find_map(|card| card.waiting).filter(|_| state == HostState::Waiting),
            cards,
            settings: self.settings.clone(),
            settings_readable: self.snapshot.settings_trouble.is_none(),
            helper: self.helper.clone(),
            helper_waits,
            game: self.game().map(str::to_owned),
            driver: self.snapshot.driver.clone(),
            network: self.network_view(now),
            account: self.account.clone(),
            other_currency: self.snapshot.other_currency(&self.settings),
            restart_due: self.restart_due(),
            lent_images: self.lent_images(),
            versions: self.versions(),
        }
    }

    fn headline(
        &self,
        cards: &[CardView],
        helper_waits: &BTreeMap<GpuUuid, HelperWait>,
        now: Timestamp,
    ) -> (HostState, Option<BlockReason>, Option<Timestamp>) {
        let running = |card: &CardView| {
            card.job.as_ref().is_some_and(|job| {
                matches!(
                    job.state,
                    LeaseState::Accepted | LeaseState::Preparing | LeaseState::Ready | LeaseState::Running
                )
            })
        };
        if cards.iter().any(running) {
            return (HostState::Earning, None, None);
        }
        let may_earn = |card: &&CardView| card.verdict == Verdict::Earn;
        if cards.iter().filter(may_earn).any(|card| card.job.is_none()) {
            return (HostState::Waiting, None, None);
        }
        let hangs = |card: &CardView| helper_waits.get(&card.reading.uuid) == Some(&HelperWait::FrozenJob);
        // What asks the Engine's kernel waits for the end of that job, too.
        let else_free = |card: &&CardView| {
            card.verdict.reasons().iter().all(|reason| *reason == BlockReason::KernelAsked)
        };
        if cards.iter().filter(else_free).any(hangs) {
            return (HostState::Trouble, None, None);
        }
        // With no card at all the verdict is asked for without one, so that the cause is told all the same.
        let blocked = spoken_of(cards).map_or_else(
            || {
                let (settings, overrides) = (&self.settings, &self.overrides);
                crate::policy::decide(
                    &self.snapshot,
                    settings,
                    overrides,
                    None,
                    None,
                    crate::policy::Job::None,
                    now,
                )
            },
            |card| card.verdict.clone(),
        );
        let Verdict::Blocked { reasons, next_change } = blocked else {
            // Its job goes on in a moment, or ends.
            return (HostState::Earning, None, None);
        };
        match trouble(&reasons) {
            Some(reason) => (HostState::Trouble, Some(reason.clone()), next_change),
            None => (HostState::Yours, reasons.first().cloned(), next_change),
        }
    }
}

/// The card for which the headline is: of those that the owner lends the first that needs something, so that neither a
/// card kept back nor one in ordinary use hides it.
fn spoken_of(cards: &[CardView]) -> Option<&CardView> {
    let lent = || cards.iter().filter(|card| !card.verdict.reasons().contains(&BlockReason::CardNotLent));
    let in_trouble = |card: &&CardView| trouble(card.verdict.reasons()).is_some();
    lent().find(in_trouble).or_else(|| lent().next()).or_else(|| cards.first())
}

/// What the owner chose comes before what they could repair meanwhile.
fn trouble(reasons: &[BlockReason]) -> Option<&BlockReason> {
    let is_chosen = reasons.first().is_some_and(BlockReason::is_choice);
    reasons.iter().find(|reason| reason.is_trouble()).filter(|_| !is_chosen)
}

impl BlockReason {
    /// The owner asked for it and can take it back.
    #[must_use]
    pub fn is_choice(&self) -> bool {
        matches!(
            self,
            Self::TurnedOff
                | Self::Snoozed { .. }
                | Self::AfterLastJob { .. }
                | Self::CardNotLent
                | Self::NoImageLent
        )
    }

    /// The owner has to do something, or wait for a repair, before this passes.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        matches!(
            self,
            Self::SettingsUnreadable { .. }
                | Self::PresenceUnknown { .. }
                | Self::TooHot { .. }
                | Self::CoolingDown { .. }
                | Self::TemperatureUnknown { .. }
                | Self::TooHotForGood { .. }
                | Self::DiskLow { .. }
                | Self::FilesLow { .. }
                | Self::DataCapReached { .. }
                | Self::NoDocker { .. }
                | Self::GatewayFailed { .. }
                | Self::NoGateway { .. }
                | Self::KernelLacks { .. }
                | Self::NoImage
                | Self::UnsafeVersion { .. }
                | Self::DriverTooOld { .. }
                | Self::NoGpu { .. }
                | Self::CoordinatorUnreachable { .. }
                | Self::NotEnrolled
                | Self::OtherCurrency { .. }
        )
    }
}
