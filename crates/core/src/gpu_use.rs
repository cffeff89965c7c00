//! Does somebody else use this card? A game or another program that computes on it does; a desktop that is merely drawn
//! does not, and neither do our own workers.
//!
//! Who holds much memory to compute uses the card. Who is busy on it must be so for more than a moment: a desktop that
//! opens a window is as busy as a game in the one sample that happens to see it.

use std::collections::BTreeMap;

use crate::gpu::{GpuProcess, GpuReading};
use crate::settings::Settings;
use crate::time::Timestamp;

/// Two samples of a watched card are a second apart, give or take what a busy PC adds.
const BUSY_FOR_MS: u64 = 900;
/// Who was not busy for so long begins anew, and counts no more; shorter than that is a game's loading screen.
const QUIET_FOR_MS: u64 = 3_000;

/// Programs that were busy on one card lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strangers {
    busy: BTreeMap<u32, Busy>,
    /// The one that is named.
    counted: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Busy {
    since: Timestamp,
    last: Timestamp,
}

impl Busy {
    fn counts(self) -> bool {
        self.last.since_ms(self.since) >= BUSY_FOR_MS
    }
}

impl Strangers {
    /// Takes the next look at the card.
    pub fn look(&mut self, card: &GpuReading, settings: &Settings, now: Timestamp) {
        let others = || card.processes.iter().filter(|process| !process.ours);
        self.busy.retain(|pid, busy| {
            now.since_ms(busy.last) < QUIET_FOR_MS && others().any(|process| process.pid == *pid)
        });
        for process in others().filter(|process| is_busy(process, settings)) {
            self.busy.entry(process.pid).or_insert(Busy { since: now, last: now }).last = now;
        }
        let uses = |process: &&GpuProcess| {
            holds_memory(process, settings) || self.busy.get(&process.pid).is_some_and(|busy| busy.counts())
        };
        let most = others().filter(uses).max_by_key(|process| (process.sm_percent, process.vram_bytes));
        self.counted = most.map(GpuProcess::label);
    }

    /// The program that uses the card most, of those that are not ours and do more than draw a desktop.
    #[must_use]
    pub fn counted(&self) -> Option<&str> {
        self.counted.as_deref()
    }

    /// Some program was busy, and the next look will tell whether it counts.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.busy.values().any(|busy| !busy.counts())
    }
}

fn holds_memory(process: &GpuProcess, settings: &Settings) -> bool {
    !process.graphics && process.vram_bytes.is_some_and(|bytes| bytes >> 20 >= settings.gpu_busy_vram_mib)
}

fn is_busy(process: &GpuProcess, settings: &Settings) -> bool {
    process.sm_percent.is_some_and(|percent| percent >= settings.gpu_busy_percent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gpu::GpuUuid;

    const MIB: u64 = 1 << 20;

    fn process(pid: u32, vram_mib: u64, graphics: bool, sm_percent: u32) -> GpuProcess {
        GpuProcess {
            sm_percent: Some(sm_percent),
            name: Some(format!("program-{pid}")),
            ..GpuProcess::listed(pid, Some(vram_mib * MIB), graphics)
        }
    }

    /// One look a second.
    fn looked_at(looks: &[Vec<GpuProcess>]) -> Strangers {
        let mut strangers = Strangers::default();
        for (processes, second) in looks.iter().zip(0..) {
            let processes = processes.clone();
            let card = GpuReading { processes, ..GpuReading::unread(GpuUuid("GPU-0".into())) };
            strangers.look(&card, &Settings::default(), Timestamp(second * 1_000));
        }
        strangers
    }

    /// For whoever stays as it is.
    fn used_by(processes: Vec<GpuProcess>) -> Option<u32> {
        let strangers = looked_at(&[processes.clone(), processes]);
        strangers.counted().map(|name| name.trim_start_matches("program-").parse().unwrap())
    }

    #[test]
    fn a_lone_sample_is_no_reason_and_a_lone_pause_is_no_end() {
        let (busy, quiet) = (vec![process(9, 100, true, 80)], vec![process(9, 100, true, 1)]);
        let lone = looked_at(&[quiet.clone(), busy.clone()]);
        assert_eq!((lone.counted(), lone.is_in_doubt()), (None, true));
        let over = looked_at(&[busy.clone(), quiet.clone(), quiet.clone(), quiet.clone()]);
        assert_eq!((over.counted(), over.is_in_doubt()), (None, false));
        let plays = looked_at(&[busy.clone(), quiet.clone(), busy.clone()]);
        assert_eq!((plays.counted(), plays.is_in_doubt()), (Some("program-9"), false));
        let loads = looked_at(&[busy.clone(), busy.clone(), quiet.clone(), quiet.clone()]);
        assert_eq!(loads.counted(), Some("program-9"));
        let ended = looked_at(&[busy.clone(), busy.clone(), vec![]]);
        assert_eq!(ended.counted(), None, "a program that is gone uses nothing");
        let stopped = looked_at(&[busy.clone(), busy, quiet.clone(), quiet.clone(), quiet]);
        assert_eq!(stopped.counted(), None);
        // Memory that is held to compute is no twitch.
        assert_eq!(looked_at(&[vec![process(9, 9_000, false, 0)]]).counted(), Some("program-9"));
    }

    #[test]
    fn a_desktop_does_not_count_and_what_plays_or_computes_does() {
        let desktop = || vec![process(1, 900, true, 3), process(2, 300, true, 19), process(3, 90, false, 1)];
        assert_eq!(used_by(desktop()), None);
        for stranger in [process(9, 100, true, 20), process(9, 600, false, 0), process(9, 0, false, 90)] {
            let with = [desktop(), vec![stranger]].concat();
            assert_eq!(used_by(with), Some(9));
        }
    }

    #[test]
    fn the_one_that_uses_it_most_is_named() {
        let busiest = vec![process(1, 9000, false, 30), process(2, 100, true, 60), process(3, 800, false, 0)];
        assert_eq!(used_by(busiest), Some(2));
    }

    #[test]
    fn what_the_driver_does_not_tell_is_no_use() {
        assert_eq!(used_by(vec![GpuProcess::listed(1, None, false)]), None);
    }

    proptest! {
        /// Point 10 of the peers' complaints: the app's own load must not count as the user's.
        #[test]
        fn peers_10_own_load_never_counts(
            loads in proptest::collection::vec((0_u64..90_000, any::<bool>(), 0_u32..=100), 0..9)
        ) {
            let ours = loads.into_iter().zip(1..).map(|((vram_mib, graphics, percent), pid)| GpuProcess {
                ours: true,
                ..process(pid, vram_mib, graphics, percent)
            });
            prop_assert_eq!(used_by(ours.collect()), None);
        }
    }
}
