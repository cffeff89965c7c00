//! Whether a load works all the time, judged by when its reports come; they carry no time of their own. A late one has one of
//! two causes: the load stood still, and the card with it, since the PC was busy with something else; or the load worked on,
//! and its reports were held up on their way. Those come all at once then, and none of them is missing.

use crate::time::Timestamp;

/// A load reports so often, or after each piece of work where one lasts longer.
const REPORTS_EACH_MS: u64 = 100;
/// More than this beyond its pace is late.
const LATE_BY_MS: u64 = 150;
/// No load reports twice within so short a time: what comes so soon was held up.
const AT_ONCE_MS: u64 = 50;
/// Its pace is taken from so many reports, without the outermost of them on either side.
const RECENT: usize = 8;
const OUTERMOST: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    InTime,
    /// This one, or one before it in the same go. What was the matter is known with the first that comes in time.
    Late,
    /// This one is in time, and the load has stood still before it.
    Stood {
        for_ms: u64,
    },
}

/// Since the last report that was in time.
#[derive(Clone, Copy, Debug)]
struct Lateness {
    since: Timestamp,
    reports: u64,
    /// As it was before: a load that stands still sets no pace.
    pace_ms: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Pulse {
    last: Option<Timestamp>,
    recent_ms: [u64; RECENT],
    lateness: Option<Lateness>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { last: None, recent_ms: [REPORTS_EACH_MS; RECENT], lateness: None }
    }
}

impl Pulse {
    /// A report has come.
    pub fn hear(&mut self, now: Timestamp) -> Heard {
        let Some(last) = self.last.replace(now) else { return Heard::InTime };
        let (gap_ms, pace_ms) = (now.since_ms(last), self.pace_ms());
        let (is_late, is_at_once) = (gap_ms > pace_ms + LATE_BY_MS, gap_ms < AT_ONCE_MS);
        if !is_at_once {
            self.recent_ms.rotate_left(1);
            self.recent_ms[RECENT - 1] = gap_ms;
        }
        if is_late && self.lateness.is_none() {
            self.lateness = Some(Lateness { since: last, reports: 0, pace_ms });
        }
        let Some(lateness) = &mut self.lateness else { return Heard::InTime };
        lateness.reports += 1;
        if is_late || is_at_once {
            return Heard::Late;
        }
        let worked_ms = lateness.reports.saturating_mul(lateness.pace_ms);
        let for_ms = now.since_ms(lateness.since).saturating_sub(worked_ms);
        self.lateness = None;
        if for_ms > LATE_BY_MS { Heard::Stood { for_ms } } else { Heard::InTime }
    }

    fn pace_ms(&self) -> u64 {
        let mut sorted = self.recent_ms;
        sorted.sort_unstable();
        let middle = &sorted[OUTERMOST..RECENT - OUTERMOST];
        middle.iter().sum::<u64>() / (RECENT - 2 * OUTERMOST) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::Heard::{InTime, Late, Stood};
    use super::*;

    /// What is heard of reports that come so long after each other.
    fn heard(pulse: &mut Pulse, gaps_ms: &[u64]) -> Vec<Heard> {
        let hear = |gap_ms: &u64| {
            let now = pulse.last.unwrap_or_default().plus_ms(*gap_ms);
            pulse.hear(now)
        };
        gaps_ms.iter().map(hear).collect()
    }

    fn at_pace(pace_ms: u64) -> Pulse {
        let mut pulse = Pulse::default();
        heard(&mut pulse, &[pace_ms; 12]);
        pulse
    }

    #[test]
    fn a_load_that_stood_still_is_told_from_reports_that_were_held_up() {
        let mut steady = at_pace(100);
        assert_eq!(heard(&mut steady, &[110, 250, 90, 100]), [InTime; 4], "as a busy PC has it");
        assert_eq!(heard(&mut steady, &[400, 100, 100]), [Late, Stood { for_ms: 300 }, InTime]);
        // Four were held up for 370 ms.
        assert_eq!(
            heard(&mut steady, &[470, 1, 0, 1, 28, 100, 100]),
            [Late, Late, Late, Late, Late, InTime, InTime]
        );
        // And here the load stood still as well: two of them were never made.
        assert_eq!(heard(&mut steady, &[470, 1, 29, 100]), [Late, Late, Late, Stood { for_ms: 200 }]);
        // Held up again before all had come.
        assert_eq!(heard(&mut steady, &[400, 0, 300, 0, 0, 0, 0, 100]).last(), Some(&InTime));
    }

    #[test]
    fn the_pace_is_the_loads_own() {
        let mut slow = at_pace(190);
        assert_eq!(heard(&mut slow, &[190, 330, 190]), [InTime; 3]);
        // Five were held up for 900 ms.
        assert_eq!(heard(&mut slow, &[1_090, 0, 0, 0, 0, 50, 190]).last(), Some(&InTime));
        assert_eq!(heard(&mut slow, &[600, 190]), [Late, Stood { for_ms: 410 }]);
        // A limit that slows a load down for good is no stall for longer than it takes to see that.
        let mut slowed = at_pace(100);
        let all = heard(&mut slowed, &[400; 40]);
        assert_eq!(all.iter().filter(|heard| matches!(heard, Stood { .. })).count(), 1);
        assert_eq!(all[10..], [InTime; 30]);
    }
}
