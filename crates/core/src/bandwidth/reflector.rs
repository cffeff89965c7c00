//! What the probes to one address say of the line.

use std::collections::VecDeque;

use super::{Latency, TARGET_US};

/// Samples that are looked at together, and how many of them make bloat.
const WINDOW: usize = 6;
const MAKE_BLOAT: usize = 4;
/// A lower round trip is the line's nature at once; a higher one is believed slowly, from a line that is not ours to fill.
const FALL: f64 = 0.9;
const RISE_QUIET: f64 = 0.002;
const RISE_NOT_OURS: f64 = 0.005;
/// Of the idle line's own unrest, so much is believed a sample, and no more than this counts.
const JITTER_GAIN: f64 = 0.02;
const MOST_JITTER_US: f64 = 10_000.0;
const JITTERS: f64 = 2.0;
/// A lost probe says as much as one that waited so long.
const LOST_US: f64 = 4.0 * TARGET_US;

#[derive(Clone, Debug, Default)]
pub(super) struct Reflector {
    idle_us: Option<f64>,
    jitter_us: f64,
    /// Over the idle line, newest last.
    recent: VecDeque<f64>,
    last_us: u64,
    lost_in_row: u32,
}

impl Reflector {
    pub(super) fn take(&mut self, rtt_us: Option<u64>, is_quiet: bool, is_not_ours: bool) {
        let added = match (rtt_us, self.idle_us) {
            (Some(rtt), None) => {
                self.idle_us = Some(micros(rtt));
                0.0
            }
            (Some(rtt), Some(idle)) => self.learn(micros(rtt), idle, is_quiet, is_not_ours),
            // One that never answered, or has ceased to, says nothing.
            (None, None) => return,
            (None, Some(_)) if self.lost_in_row >= 10 => {
                self.recent.clear();
                return;
            }
            (None, Some(_)) => LOST_US + JITTERS * self.jitter_us,
        };
        self.lost_in_row = if rtt_us.is_none() { self.lost_in_row + 1 } else { 0 };
        self.last_us = rtt_us.unwrap_or(self.last_us);
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(added);
    }

    fn learn(&mut self, rtt: f64, idle: f64, is_quiet: bool, is_not_ours: bool) -> f64 {
        let added = rtt - idle;
        let gain = match (added < 0.0, is_quiet, is_not_ours) {
            (true, _, _) => FALL,
            (false, true, _) => RISE_QUIET,
            (false, false, true) => RISE_NOT_OURS,
            (false, false, false) => 0.0,
        };
        self.idle_us = Some(idle + gain * added);
        if is_quiet {
            self.jitter_us += JITTER_GAIN * (added.abs().min(MOST_JITTER_US) - self.jitter_us);
        }
        added.max(0.0)
    }

    fn threshold_us(&self) -> f64 {
        TARGET_US + JITTERS * self.jitter_us
    }

    /// How much too much it is, in the measure of the target; `None` while it is not.
    pub(super) fn bloat_us(&self) -> Option<f64> {
        let threshold = self.threshold_us();
        let over = self.recent.iter().filter(|added| **added > threshold);
        if over.clone().count() < MAKE_BLOAT {
            return None;
        }
        let least = over.copied().fold(f64::INFINITY, f64::min);
        Some(least - JITTERS * self.jitter_us)
    }

    /// Nothing of late was near too much.
    pub(super) fn is_clear(&self) -> bool {
        let near = 0.7 * self.threshold_us();
        self.recent.iter().filter(|added| **added > near).count() <= 1
    }

    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    pub(super) fn latency(&self) -> Option<Latency> {
        let idle = self.idle_us?;
        let idle_us = whole(idle);
        Some(Latency { rtt_us: self.last_us, idle_us, added_us: self.last_us.saturating_sub(idle_us) })
    }
}

fn micros(us: u64) -> f64 {
    // Round trips are far below what a double holds exactly.
    f64::from(u32::try_from(us).unwrap_or(u32::MAX))
}

fn whole(us: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a round trip, never negative"
    )]
    let us = us.max(0.0) as u64;
    us
}
