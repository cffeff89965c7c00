//! Does somebody else use this card? A game or another program that computes on it does; a desktop that is merely drawn
//! does not, and neither do our own workers.

use crate::gpu::{GpuProcess, GpuReading};
use crate::settings::Settings;

/// The program that uses the card most, of those that are not ours and do more than draw a desktop.
#[must_use]
pub fn stranger_on<'a>(card: &'a GpuReading, settings: &Settings) -> Option<&'a GpuProcess> {
    card.processes
        .iter()
        .filter(|process| !process.ours && uses_the_card(process, settings))
        .max_by_key(|process| (process.sm_percent, process.vram_bytes))
}

fn uses_the_card(process: &GpuProcess, settings: &Settings) -> bool {
    let holds_memory = !process.graphics
        && process.vram_bytes.is_some_and(|bytes| bytes >> 20 >= settings.gpu_busy_vram_mib);
    holds_memory || process.sm_percent.is_some_and(|percent| percent >= settings.gpu_busy_percent)
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

    fn used_by(processes: Vec<GpuProcess>) -> Option<u32> {
        let card = GpuReading { processes, ..GpuReading::unread(GpuUuid("GPU-0".into())) };
        stranger_on(&card, &Settings::default()).map(|process| process.pid)
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
