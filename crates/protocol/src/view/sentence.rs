//! What is going on: on the whole host, and on one card.

use nightjar_core::host::{CardView, HelperWait, HostState, HostView, JobView};
use nightjar_core::lease::LeaseState;
use nightjar_core::market::WaitReason;
use nightjar_core::parting::Cause;
use nightjar_core::policy::Verdict;
use nightjar_core::time::Timestamp;

use super::power_note;
use crate::text::Texts;

pub(super) fn headline(host: &HostView, texts: &Texts, clock: &dyn Fn(Timestamp) -> String) -> String {
    let state = match (&host.reason, host.state) {
        (Some(reason), _) => return texts.reason(reason, clock),
        (None, HostState::Waiting) => return waiting(&host.cards, host.waiting, host, texts),
        (None, HostState::Yours) => "state-yours",
        (None, HostState::Earning) => "state-earning",
        (None, HostState::Trouble) => "state-trouble",
    };
    let mut jobs = host.cards.iter().filter_map(|card| Some((card, card.job.as_ref()?)));
    let spoken_of = jobs.find(|(card, job)| match host.state {
        HostState::Trouble => awaits(card, host) == Some(HelperWait::FrozenJob),
        _ => card.verdict == Verdict::Earn && !is_at_work(job),
    });
    // One job that is at work is the news, whatever becomes of others.
    let works = host.state == HostState::Earning
        && host.cards.iter().filter_map(|card| card.job.as_ref()).any(is_at_work);
    match spoken_of.filter(|_| !works) {
        Some((card, of)) => job(card, of, host, texts, clock),
        None => texts.plain(state),
    }
}

/// Ready, and why no job comes, where that is known.
pub(super) fn waiting(cards: &[CardView], why: Option<WaitReason>, host: &HostView, texts: &Texts) -> String {
    let mut free = cards.iter().filter(|card| card.verdict == Verdict::Earn && card.job.is_none()).peekable();
    if cards.iter().any(|card| card.proving) {
        return texts.plain("state-proving");
    }
    if free.peek().is_some() && free.all(|card| awaits(card, host).is_some()) {
        return texts.plain("state-awaits-helper");
    }
    match why {
        Some(why) => texts.with("state-waiting-why", &[("why", texts.wait_reason(why))]),
        None => texts.plain("state-waiting"),
    }
}

/// What becomes of a card's job.
pub(super) fn job(
    card: &CardView,
    job: &JobView,
    host: &HostView,
    texts: &Texts,
    clock: &dyn Fn(Timestamp) -> String,
) -> String {
    match (awaits(card, host), &job.state) {
        (Some(_), _) => match power_note(&host.helper, &host.settings, texts).command {
            Some(command) => texts.with("lease-waits-for-helper-command", &[("command", command)]),
            None => texts.plain("lease-waits-for-helper"),
        },
        (None, LeaseState::Yielded) => match card.verdict.gravest(host.settings.give_back) {
            None => texts.plain("lease-resuming"),
            Some(reason) if Cause::of_block(reason) == Cause::OwnerBack => texts.plain("lease-yielded-here"),
            Some(reason) => texts.with("lease-yielded-why", &[("reason", texts.reason(reason, clock))]),
        },
        (None, state) => texts.lease_state(state),
    }
}

fn awaits(card: &CardView, host: &HostView) -> Option<HelperWait> {
    host.helper_waits.get(&card.reading.uuid).copied()
}

fn is_at_work(job: &JobView) -> bool {
    !matches!(job.state, LeaseState::Yielded | LeaseState::Ending { .. } | LeaseState::Ended { .. })
}

#[cfg(test)]
mod tests;
