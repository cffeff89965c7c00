//! From the state that the coordinator knows to the one that a host tells, by steps of the state machine alone: reports
//! between the two may have been lost with a connection.

use nightjar_core::lease::{LeaseEvent, LeaseState};

/// More steps than any way has.
const MOST_STEPS: usize = 7;

/// The events that lead from `from` to `to`; none when it is the same, `None` when `to` lies behind `from` and the report
/// has been overtaken.
pub(super) fn events_towards(from: &LeaseState, to: &LeaseState) -> Option<Vec<LeaseEvent>> {
    let end = |reason: &_| LeaseEvent::End { reason: Clone::clone(reason) };
    match (from, to) {
        (LeaseState::Ended { .. }, LeaseState::Ended { .. })
        | (LeaseState::Ending { .. }, LeaseState::Ending { .. }) => Some(Vec::new()),
        (LeaseState::Ended { .. }, _) => None,
        (LeaseState::Ending { .. }, LeaseState::Ended { .. }) => Some(vec![LeaseEvent::Gone]),
        (LeaseState::Offered, LeaseState::Ended { reason }) | (_, LeaseState::Ending { reason }) => {
            Some(vec![end(reason)])
        }
        (_, LeaseState::Ended { reason }) => Some(vec![end(reason), LeaseEvent::Gone]),
        _ => forward(from, to),
    }
}

/// Along the way that a lease goes by itself.
fn forward(from: &LeaseState, to: &LeaseState) -> Option<Vec<LeaseEvent>> {
    let mut at = from.clone();
    let mut events = Vec::new();
    while at != *to {
        let event = match at {
            LeaseState::Offered => LeaseEvent::Accept,
            LeaseState::Accepted => LeaseEvent::Prepare,
            LeaseState::Preparing => LeaseEvent::BecomeReady,
            LeaseState::Ready => LeaseEvent::Start,
            LeaseState::Running => LeaseEvent::Yield,
            LeaseState::Yielded => LeaseEvent::Resume,
            LeaseState::Ending { .. } | LeaseState::Ended { .. } => return None,
        };
        at = at.after(event.clone()).ok().filter(|_| events.len() < MOST_STEPS)?;
        events.push(event);
    }
    Some(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightjar_core::lease::EndReason;

    fn all() -> Vec<LeaseState> {
        let reason = EndReason::OwnerReturned;
        vec![
            LeaseState::Offered,
            LeaseState::Accepted,
            LeaseState::Preparing,
            LeaseState::Ready,
            LeaseState::Running,
            LeaseState::Yielded,
            LeaseState::Ending { reason: reason.clone() },
            LeaseState::Ended { reason },
        ]
    }

    #[test]
    fn every_way_is_one_of_the_state_machine_and_arrives() {
        for from in all() {
            for to in all() {
                let Some(events) = events_towards(&from, &to) else { continue };
                let arrived =
                    events.into_iter().try_fold(from.clone(), |state, event| state.after(event)).unwrap();
                let offered_ends_at_once =
                    from == LeaseState::Offered && matches!(to, LeaseState::Ending { .. });
                assert!(arrived == to || offered_ends_at_once && arrived.is_over(), "{from:?} → {to:?}");
            }
        }
    }

    #[test]
    fn a_report_from_the_past_leads_nowhere() {
        assert_eq!(events_towards(&LeaseState::Running, &LeaseState::Preparing), None);
        assert_eq!(events_towards(&LeaseState::Yielded, &LeaseState::Ready), None);
        let ending = LeaseState::Ending { reason: EndReason::RenterStopped };
        assert_eq!(events_towards(&ending, &LeaseState::Running), None);
    }
}
