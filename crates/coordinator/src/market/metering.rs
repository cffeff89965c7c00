//! Whether a usage record is booked. A host is paid for what it signs, so it is believed only as far as the coordinator
//! can see for itself: in order, once, and never more time than has passed. The host's own moments count only beside each
//! other: a PC whose clock is a day off is paid like any other.

use nightjar_core::meter::{METERING_INTERVAL_MS, UsageRecord, UsageRefusal};
use nightjar_core::time::Timestamp;

/// How much more than the wall clock's time may be running time: the interval that is open when a lease ends, and what
/// two clocks differ by over a long lease.
const SLACK_MS: u64 = METERING_INTERVAL_MS + 5_000;

/// What the coordinator knows of the placement that a record is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// `None`: the host was never told to start.
    pub(super) started_at: Option<Timestamp>,
    /// When the end was decided.
    pub(super) closed_at: Option<Timestamp>,
    pub(super) last_sequence: u64,
    pub(super) running_ms_total: u64,
    pub(super) metered_to: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    Book,
    /// It was booked before: it is acknowledged again, for the acknowledgement may have been lost.
    StoredBefore,
    Refuse(Fault),
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the lease was never started")]
    NotStarted,
    #[error("records before it are missing")]
    Gap,
    #[error("it covers no time, or a number in it is out of bounds")]
    Malformed,
    #[error("it overlaps the record before it")]
    Overlap,
    #[error("its total does not follow from the record before it")]
    Total,
    #[error("it counts more running time than has passed since the start")]
    TooMuch,
}

impl Fault {
    /// Why a record with it is never booked, of a lease that is `closed`, or not; `None` where the same record may be
    /// right later: the one before it may come, more time has passed, or the start is yet to be booked.
    pub(super) fn for_good(self, closed: bool) -> Option<UsageRefusal> {
        match self {
            Self::NotStarted | Self::TooMuch => closed.then_some(UsageRefusal::LeaseOver),
            Self::Gap => closed.then_some(UsageRefusal::Other),
            Self::Malformed | Self::Overlap | Self::Total => Some(UsageRefusal::Other),
        }
    }
}

pub(super) fn rule(record: &UsageRecord, known: &Known, now: Timestamp) -> Ruling {
    let Some(started_at) = known.started_at else { return Ruling::Refuse(Fault::NotStarted) };
    if record.sequence <= known.last_sequence {
        return Ruling::StoredBefore;
    }
    let passed_ms = known.closed_at.unwrap_or(now).min(now).since_ms(started_at);
    let too_large = |number: u64| i64::try_from(number).is_err();
    let fault = if record.sequence - known.last_sequence > 1 {
        Fault::Gap
    } else if record.running_ms() == 0 || too_large(record.millijoules) || too_large(record.running_ms_total)
    {
        Fault::Malformed
    } else if record.from < known.metered_to {
        Fault::Overlap
    } else if known.running_ms_total.checked_add(record.running_ms()) != Some(record.running_ms_total) {
        Fault::Total
    } else if record.running_ms_total > passed_ms.saturating_add(SLACK_MS) {
        Fault::TooMuch
    } else {
        return Ruling::Book;
    };
    Ruling::Refuse(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightjar_core::lease::{Epoch, LeaseId};

    const START: Timestamp = Timestamp(1_000_000);

    fn known() -> Known {
        Known {
            started_at: Some(START),
            closed_at: None,
            last_sequence: 2,
            running_ms_total: 20_000,
            metered_to: START.plus_ms(20_000),
        }
    }

    fn record(sequence: u64, from_ms: u64, to_ms: u64, total: u64) -> UsageRecord {
        UsageRecord {
            lease: LeaseId("l".into()),
            epoch: Epoch(1),
            sequence,
            from: START.plus_ms(from_ms),
            to: START.plus_ms(to_ms),
            running_ms_total: total,
            millijoules: 0,
        }
    }

    #[test]
    fn what_follows_is_booked_and_what_was_booked_is_not_booked_again() {
        let now = START.plus_ms(30_000);
        assert_eq!(rule(&record(3, 20_000, 30_000, 30_000), &known(), now), Ruling::Book);
        assert_eq!(rule(&record(2, 10_000, 20_000, 20_000), &known(), now), Ruling::StoredBefore);
        assert_eq!(rule(&record(0, 0, 0, 0), &known(), now), Ruling::StoredBefore);
    }

    #[test]
    fn every_way_to_be_paid_too_much_is_refused() {
        let now = START.plus_ms(30_000);
        let faults = [
            (record(4, 30_000, 40_000, 30_000), Fault::Gap),
            (record(u64::MAX, 30_000, 40_000, 30_000), Fault::Gap),
            (record(3, 20_000, 20_000, 20_000), Fault::Malformed),
            (record(3, 20_000, 30_000, u64::MAX), Fault::Malformed),
            (record(3, 19_999, 30_000, 30_001), Fault::Overlap),
            (record(3, 20_000, 30_000, 31_000), Fault::Total),
            (record(3, 20_000, 80_000, 80_000), Fault::TooMuch),
        ];
        for (record, fault) in faults {
            assert_eq!(rule(&record, &known(), now), Ruling::Refuse(fault), "{record:?}");
        }
        let never_started = Known { started_at: None, ..known() };
        assert_eq!(
            rule(&record(3, 20_000, 30_000, 30_000), &never_started, now),
            Ruling::Refuse(Fault::NotStarted)
        );
    }

    #[test]
    fn nothing_that_ran_after_the_end_is_charged() {
        let closed = Known { closed_at: Some(START.plus_ms(25_000)), ..known() };
        let now = START.plus_ms(900_000);
        assert_eq!(rule(&record(3, 20_000, 30_000, 30_000), &closed, now), Ruling::Book);
        let fifty_in_twenty_five = record(3, 30_000, 60_000, 50_000);
        assert_eq!(rule(&fifty_in_twenty_five, &closed, now), Ruling::Refuse(Fault::TooMuch));
    }

    /// What time or another record may mend is sent again; what nothing mends is said, or it would be sent for ever.
    #[test]
    fn only_what_nothing_can_mend_is_refused_for_good() {
        use Fault as F;
        for fault in [F::NotStarted, F::Gap, F::TooMuch] {
            assert_eq!(fault.for_good(false), None, "{fault}");
            assert!(fault.for_good(true).is_some(), "{fault}");
        }
        for fault in [F::Malformed, F::Overlap, F::Total] {
            assert!(fault.for_good(false).is_some() && fault.for_good(true).is_some(), "{fault}");
        }
        assert_eq!(F::TooMuch.for_good(true), Some(UsageRefusal::LeaseOver));
    }

    #[test]
    fn a_host_whose_clock_is_wrong_is_paid_all_the_same() {
        let now = START.plus_ms(30_000);
        let day = 86_400_000;
        assert_eq!(rule(&record(3, day + 20_000, day + 30_000, 30_000), &known(), now), Ruling::Book);
        let first = Known { last_sequence: 0, running_ms_total: 0, metered_to: Timestamp(0), ..known() };
        let behind = UsageRecord { from: Timestamp(1_000), to: Timestamp(11_000), ..record(1, 0, 0, 10_000) };
        assert_eq!(rule(&behind, &first, now), Ruling::Book);
    }
}
