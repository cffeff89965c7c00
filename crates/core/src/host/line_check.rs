//! The line to the market is measured when the market asks, for a second or two, while nothing else of ours is on it and
//! nobody is there.

use crate::policy::{Market, Verdict};

use super::Host;
use super::effect::{Effect, Outbox};

/// Longer than any that a market makes.
const LONGEST_TICKET: usize = 64;

impl Host {
    /// The market asks. A host that cannot now says nothing: the market asks again.
    pub(super) fn take_line_question(&mut self, ticket: String, out: &mut Outbox) {
        let is_plain = (1..=LONGEST_TICKET).contains(&ticket.len())
            && ticket.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_plain && !self.is_line_checked && self.may_check_line() {
            self.is_line_checked = true;
            out.push(Effect::CheckLine { ticket });
        }
    }

    /// Ends it as soon as somebody or something else wants the line.
    pub(super) fn reconcile_line_check(&mut self, out: &mut Outbox) {
        if self.is_line_checked && !self.may_check_line() {
            self.is_line_checked = false;
            out.push(Effect::StopLineCheck);
        }
    }

    fn may_check_line(&self) -> bool {
        let is_lent = |card: &super::Card| card.present && card.verdict == Verdict::Earn;
        self.snapshot.market == Market::Connected
            && !self.closing
            && !self.has_jobs()
            && self.cards.values().any(is_lent)
    }
}

#[cfg(test)]
mod tests {
    use crate::host::sample::{card, driver, terms};
    use crate::host::{Effect, GpuReport, Host, Input, MarketInput};
    use crate::policy::{Presence, Runtime};
    use crate::settings::Settings;
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp(10_000_000);

    fn host() -> Host {
        let mut host = Host::new(Settings { disk_reserve_mib: 0, ..Settings::default() });
        for input in [
            Input::Gpus(GpuReport::Readings { driver: driver(), cards: vec![card("GPU-1")] }),
            Input::Runtime(Runtime::Ready {
                unsafe_versions: vec![],
                images: vec!["pytorch-cuda:lite".into()],
                engine: Default::default(),
            }),
            Input::Recovered(vec![]),
            Input::Market(MarketInput::Connected),
            Input::Presence(Presence::Idle { since: Timestamp(0) }),
        ] {
            host.handle(input, NOW);
        }
        host
    }

    fn asked(host: &mut Host, ticket: &str) -> bool {
        let question = MarketInput::CheckLine { ticket: ticket.into() };
        let effects = host.handle(Input::Market(question), NOW);
        let wanted = Effect::CheckLine { ticket: ticket.into() };
        assert!(effects.iter().all(|effect| *effect == wanted), "{effects:?}");
        !effects.is_empty()
    }

    fn stops(host: &mut Host, input: Input) -> bool {
        host.handle(input, NOW).contains(&Effect::StopLineCheck)
    }

    #[test]
    fn one_check_at_a_time_and_whatever_else_wants_the_line_ends_it() {
        let back = || Input::Presence(Presence::Active { since: NOW });
        let mut idle = host();
        assert!(asked(&mut idle, "7a"));
        assert!(!asked(&mut idle, "7b"), "one is under way");
        idle.handle(Input::LineChecked, NOW);
        assert!(asked(&mut idle, "7c"));
        for reason in [
            back(),
            Input::Closing,
            Input::Market(MarketInput::Unreachable { detail: "gone".into() }),
            Input::Market(MarketInput::Offer(Box::new(terms("1", 1, "GPU-1")))),
        ] {
            let mut host = host();
            assert!(asked(&mut host, "7a"));
            assert!(stops(&mut host, reason.clone()), "{reason:?}");
            assert!(!asked(&mut host, "7b"), "{reason:?}");
            assert!(!stops(&mut host, Input::Deadline), "it has ended: {reason:?}");
        }
        let mut busy = host();
        busy.handle(back(), NOW);
        assert!(!asked(&mut busy, "7a"), "its owner is there");
    }

    #[test]
    fn a_ticket_that_is_none_starts_nothing() {
        for ticket in ["", "7/..", &"a".repeat(LONGEST + 1)] {
            assert!(!asked(&mut host(), ticket), "{ticket}");
        }
    }

    const LONGEST: usize = super::LONGEST_TICKET;
}
