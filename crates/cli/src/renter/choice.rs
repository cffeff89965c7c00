//! Which lease is meant, when its name is given in part or not at all.

use nightjar_protocol::market_api::Lease;

use crate::failure::{Exit, Failure};
use crate::output::printable;

use super::market::Market;

/// Length of a lease's name in its hyphenated form.
const WHOLE_NAME: usize = 36;

/// # Errors
/// When no lease matches, or more than one.
pub async fn find(market: &Market, named: Option<&str>) -> Result<Lease, Failure> {
    if let Some(name) = named.filter(|name| name.len() == WHOLE_NAME) {
        return market.lease(&nightjar_core::lease::LeaseId(name.to_owned())).await;
    }
    pick(market.leases().await?.leases, named)
}

/// It goes on, or waits to. One that already goes on as another is that other one, however long its host takes to end it.
pub fn is_active(lease: &Lease) -> bool {
    !lease.state.is_over() && lease.continued_by.is_none() || lease.waits.is_some()
}

fn pick(leases: Vec<Lease>, named: Option<&str>) -> Result<Lease, Failure> {
    let none = |what: String| Failure::new(Exit::NothingMatched, what);
    let fits = |lease: &Lease| match named {
        Some(name) => lease.lease.0.starts_with(name),
        None => is_active(lease),
    };
    let mut fit: Vec<Lease> = leases.into_iter().filter(fits).collect();
    if fit.len() > 1 {
        // A beginning that fits one active lease and old ones means the active one.
        let active = fit.iter().filter(|lease| is_active(lease)).count();
        if active == 1 {
            fit.retain(is_active);
        }
    }
    if fit.len() > 1 {
        let names: Vec<String> = fit.iter().take(8).map(|lease| printable(&lease.lease.0)).collect();
        return Err(Failure::usage(format!("{} leases match: {}", fit.len(), names.join(", ")))
            .advise("name one of them, or enough of its beginning"));
    }
    fit.pop().ok_or_else(|| match named {
        Some(name) => none(format!("you have no lease whose name begins with {name}"))
            .advise("`nightjar leases --all` lists yours"),
        None => none(String::from("you have no active lease")).advise("`nightjar rent` gets one"),
    })
}

#[cfg(test)]
mod tests {
    use nightjar_core::lease::{EndReason, LeaseId, LeaseState};

    use super::*;
    use crate::renter::sample::lease;

    fn over() -> LeaseState {
        LeaseState::Ended { reason: EndReason::RenterStopped }
    }

    #[test]
    fn a_lease_is_found_by_its_beginning_or_by_being_the_only_one() {
        let leases = || vec![lease("aa-1", LeaseState::Running), lease("ab-2", over()), lease("b-3", over())];
        let found = |named| pick(leases(), named).map(|lease| lease.lease.0);
        assert_eq!(found(None), Ok("aa-1".into()));
        assert_eq!(found(Some("ab")), Ok("ab-2".into()));
        assert_eq!(found(Some("a")), Ok("aa-1".into()));
        assert_eq!(found(Some("c")).unwrap_err().exit, Exit::NothingMatched);
    }

    #[test]
    fn one_that_goes_on_as_another_is_not_meant_while_its_host_does_not_end_it() {
        let ending = LeaseState::Ending { reason: EndReason::FrozenTooLong };
        let mut before = lease("aa-1", ending);
        assert!(is_active(&before));
        before.continued_by = Some(LeaseId("ab-2".into()));
        let leases = vec![before, lease("ab-2", LeaseState::Running)];
        assert_eq!(pick(leases, None).map(|lease| lease.lease.0), Ok("ab-2".into()));
    }

    #[test]
    fn two_that_match_are_named() {
        let leases = || vec![lease("aa-1", LeaseState::Running), lease("ab-2", LeaseState::Yielded)];
        for named in [None, Some("a")] {
            let failure = pick(leases(), named).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.what.contains("aa-1") && failure.what.contains("ab-2"), "{failure}");
        }
        assert_eq!(pick(Vec::new(), None).unwrap_err().exit, Exit::NothingMatched);
    }
}
