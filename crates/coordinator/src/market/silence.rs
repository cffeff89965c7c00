//! When a host counts as lost.

use nightjar_core::time::Timestamp;

/// A host may lose its network or restart for this long, and its tenants go on.
pub(super) const LOST_AFTER_MS: u64 = 600_000;

/// Whether a host that is not connected, and was last heard at `heard`, is lost at `now`. Nobody could hear it before
/// `listening_since`.
pub(super) fn is_lost(heard: Timestamp, listening_since: Timestamp, now: Timestamp) -> bool {
    now.since_ms(heard.max(listening_since)) >= LOST_AFTER_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_silence_that_could_be_heard_counts() {
        let (long_ago, lately) = (Timestamp(0), Timestamp(10_000_000));
        assert!(!is_lost(long_ago, lately, lately.plus_ms(LOST_AFTER_MS - 1)));
        assert!(is_lost(long_ago, lately, lately.plus_ms(LOST_AFTER_MS)));
        assert!(!is_lost(lately.plus_ms(5), lately, lately.plus_ms(LOST_AFTER_MS)));
        // A clock that was set back makes nobody lost.
        assert!(!is_lost(lately, long_ago, long_ago));
    }
}
