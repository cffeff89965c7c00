//! What the market and the host say to one another: offers out, leases in.

use super::card::Card;
use super::effect::{Effect, Outbox, Report, StopHow};
use super::input::MarketInput;
use super::job::Job;
use super::{Host, heat};
use crate::lease::{EndReason, LeaseState, LeaseTerms};
use crate::market::CardOffer;
use crate::policy::{self, Job as JobPresence, Market, Runtime, Verdict};
use crate::time::Timestamp;
use crate::volume::{self, NoRoom};

impl Host {
    pub(super) fn take_market(&mut self, input: MarketInput, now: Timestamp, out: &mut Outbox) {
        match input {
            MarketInput::Terms(terms) => {
                self.fee_basis_points = terms.fee_basis_points.min(10_000);
                self.snapshot.market_currency = Some(terms.currency);
            }
            MarketInput::Connected => {
                self.snapshot.market = Market::Connected;
                self.told_offers = None;
                self.take_waiting(&[], now, out);
                self.take_demand(&[]);
                let jobs = self.cards.values().filter_map(|card| card.job.as_ref());
                let leases =
                    jobs.map(|job| (job.terms().lease.clone(), job.terms().epoch, job.state().clone()));
                let leases = leases.chain(std::mem::take(&mut self.untold)).collect();
                out.push(Effect::Tell(Report::Leases { leases }));
                // What a renter needs to reach a worker may not have arrived before the line broke.
                for job in self.cards.values().filter_map(|card| card.job.as_ref()) {
                    if *job.state() == LeaseState::Ready {
                        out.push(job.report());
                    }
                }
            }
            MarketInput::Unreachable { detail } => {
                let since = match &self.snapshot.market {
                    Market::Unreachable { since, .. } => *since,
                    _ => now,
                };
                self.snapshot.market = Market::Unreachable { since, detail };
                // It was of that hour.
                self.take_demand(&[]);
            }
            MarketInput::NotEnrolled => {
                self.snapshot.market = Market::NotEnrolled;
                (self.account, self.line, self.snapshot.market_currency) = (None, None, None);
                self.take_demand(&[]);
            }
            MarketInput::Account(account) => self.account = Some(account.bounded()),
            MarketInput::Waiting { cards } => self.take_waiting(&cards, now, out),
            MarketInput::Demand { cards } => self.take_demand(&cards),
            MarketInput::CheckLine { ticket } => self.take_line_question(ticket, out),
            MarketInput::Line(figures) => self.line = Some(figures),
            MarketInput::Check { gpu, nonce, within_ms } => {
                self.take_question(&gpu, nonce, within_ms, now, out)
            }
            MarketInput::Offer(terms) => self.take_offer(*terms, now, out),
            MarketInput::Start { lease, epoch } => {
                if let Some((job, reading, _)) = self.job_mut(&lease, epoch) {
                    job.start(reading.energy_millijoules, now, out);
                }
            }
            MarketInput::End { lease, epoch, reason } => match self.job_mut(&lease, epoch) {
                Some((job, reading, settings)) => {
                    job.end(reason, job.gentle(settings), reading.energy_millijoules, now, out);
                }
                // Nothing of it is here (any more): say so, or the coordinator would ask for ever.
                None => out.push(Effect::Tell(Report::Lease {
                    lease,
                    epoch,
                    state: LeaseState::Ended { reason },
                    cause: None,
                })),
            },
        }
    }

    fn take_offer(&mut self, mut terms: LeaseTerms, now: Timestamp, out: &mut Outbox) {
        if let Some(job) = self.job(&terms.lease) {
            let held = job.terms().epoch;
            if held == terms.epoch {
                out.push(job.report());
                return;
            }
            if held < terms.epoch
                && let Some((old, reading, _)) = self.job_mut(&terms.lease, held)
            {
                old.end(EndReason::Superseded, StopHow::Kill, reading.energy_millijoules, now, out);
            }
            out.push(Effect::Tell(Report::Declined {
                lease: terms.lease,
                epoch: terms.epoch,
                reasons: vec![],
                no_room: None,
            }));
            return;
        }
        self.fee_basis_points = terms.fee_basis_points;
        let reasons = self.objections(&terms, now);
        let granted = match &reasons {
            None => self.room_for(&terms),
            Some(_) => Ok(0),
        };
        match (reasons, granted, self.cards.get_mut(&terms.gpu)) {
            (None, Ok(granted_mib), Some(card)) => {
                terms.volume.quota_mib = granted_mib;
                let sandboxing = self.snapshot.sandboxing(&self.settings, &self.helper);
                let sandbox = sandboxing.sandbox_for(&terms);
                card.job = Some(Job::accept(terms, sandbox, now, out));
            }
            (reasons, granted, _) => {
                let reasons = reasons.into_iter().flatten().map(policy::BlockReason::unnamed).collect();
                let (lease, epoch, no_room) = (terms.lease, terms.epoch, granted.err());
                out.push(Effect::Tell(Report::Declined { lease, epoch, reasons, no_room }));
            }
        }
    }

    /// How much this renter may keep, beside what others were promised, those of the jobs that are held among them.
    fn room_for(&self, terms: &LeaseTerms) -> Result<u64, NoRoom> {
        let named = |terms: &LeaseTerms| volume::name(&terms.renter_key, terms.root_inside);
        let mut promises = self.promises.clone();
        for held in self.cards.values().filter_map(|card| card.job.as_ref()).map(Job::terms) {
            promises.add(named(held), held.volume.quota_mib);
        }
        let asked_mib = terms.volume.quota_mib.min(self.settings.volume.quota_mib);
        promises.grant(&named(terms), asked_mib, self.settings.volumes_at_most_mib())
    }

    /// Why an offer is not taken; `None` when it is.
    fn objections(&self, terms: &LeaseTerms, now: Timestamp) -> Option<Vec<policy::BlockReason>> {
        let is_free = |card: &&Card| card.present && card.job.is_none() && !card.is_swept();
        let card = self.cards.get(&terms.gpu).filter(is_free);
        let Some(card) = card.filter(|_| !self.closing) else { return Some(vec![]) };
        let minimum = self.least_price(card, terms.fee_basis_points);
        if terms.price_per_hour.currency != minimum.currency || terms.price_per_hour.micros < minimum.micros {
            return Some(vec![policy::BlockReason::BelowMinimumPrice { minimum }]);
        }
        let image_is_here = matches!(&self.snapshot.runtime,
            Runtime::Ready { images, .. } if images.contains(&terms.image));
        // The owner's choice may have changed since the market was told.
        if image_is_here && !self.may_offer(&terms.image) {
            return Some(vec![policy::BlockReason::ImageNotLent]);
        }
        if !image_is_here || (terms.root_inside && !self.settings.root_inside) {
            return Some(vec![]);
        }
        // The helper may have left since the market was told, or another gVisor have come.
        if self.awaits_sandbox(&terms.gpu) {
            return Some(vec![]);
        }
        // It may have begun to be used since the market was told.
        if self.snapshot.sandboxing(&self.settings, &self.helper).is_unwanted_by(terms) {
            return Some(vec![policy::BlockReason::SandboxUnwanted]);
        }
        let verdict = self.verdict_for(card, JobPresence::None, now);
        let hold = card.heat_hold(self.is_driver_silent, now);
        match heat::with_heat(verdict, hold, &card.reading, &self.settings) {
            Verdict::Earn => None,
            Verdict::Blocked { reasons, .. } => Some(reasons),
        }
    }

    pub(super) fn tell_offers(&mut self, out: &mut Outbox) {
        if self.snapshot.market != Market::Connected {
            return;
        }
        let (Runtime::Ready { .. }, Some(driver)) = (&self.snapshot.runtime, &self.snapshot.driver) else {
            return;
        };
        let free = self
            .cards
            .values()
            .filter(|card| !self.closing && card.job.is_none() && !card.is_swept())
            .filter(|card| card.verdict == Verdict::Earn && !self.awaits_sandbox(&card.reading.uuid));
        let images = self.lent_images();
        let sandboxing = self.snapshot.sandboxing(&self.settings, &self.helper);
        let offers: Vec<CardOffer> = free
            .map(|card| CardOffer {
                gpu: card.reading.uuid.clone(),
                model: card.reading.name.clone(),
                vram_mib: card.reading.vram_total_bytes >> 20,
                driver: driver.version.clone(),
                price_per_hour: self.least_price(card, self.fee_basis_points),
                images: images.clone(),
                egress: self.settings.egress,
                root_inside: self.settings.root_inside,
                sandbox: sandboxing.takes(&card.reading.uuid),
                volume: self.settings.volume,
            })
            .collect();
        if self.told_offers.as_ref() != Some(&offers) {
            out.push(Effect::Tell(Report::Offers {
                region: self.settings.region.clone(),
                offers: offers.clone(),
            }));
            self.told_offers = Some(offers);
        }
    }
}
