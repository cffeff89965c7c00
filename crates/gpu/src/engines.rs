//! What Windows counts for each program and engine of a card, where its driver model (WDDM) leaves NVML without an answer.

use std::collections::BTreeMap;

use nightjar_core::gpu::GpuProcess;

/// The engines on which a game or a computation runs. A film that is decoded, or a desktop that is copied, is neither.
const WORKING: [&str; 4] = ["3D", "Compute", "Cuda", "Graphics"];

/// One program's use of the PC's cards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Use {
    busiest_percent: f64,
    dedicated_bytes: Option<u64>,
}

/// Every program's use. A program that uses two cards counts on both with the whole of it: the system names cards by a
/// number that NVML does not know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineUse {
    by_pid: BTreeMap<u32, Use>,
}

impl EngineUse {
    /// Adds one counter of "GPU Engine", in percent. `instance` is e.g.
    /// `pid_1234_luid_0x00000000_0x0000C5B3_phys_0_eng_0_engtype_3D`; what is none of these is passed over.
    pub fn engine(&mut self, instance: &str, percent: f64) {
        let Some(pid) = pid_of(instance) else { return };
        let works = instance.rsplit_once("engtype_").is_some_and(|(_, kind)| {
            WORKING.iter().any(|working| {
                kind.get(..working.len()).is_some_and(|start| start.eq_ignore_ascii_case(working))
            })
        });
        if works && percent.is_finite() {
            let known = self.by_pid.entry(pid).or_default();
            known.busiest_percent = known.busiest_percent.max(percent);
        }
    }

    /// Adds one counter of "GPU Process Memory": bytes of the card's own memory.
    pub fn memory(&mut self, instance: &str, bytes: u64) {
        let Some(pid) = pid_of(instance) else { return };
        let known = self.by_pid.entry(pid).or_default();
        known.dedicated_bytes = Some(known.dedicated_bytes.unwrap_or(0).saturating_add(bytes));
    }

    /// Completes what the driver lists. What the driver itself has told stays.
    pub fn complete(&self, process: &mut GpuProcess) {
        let Some(known) = self.by_pid.get(&process.pid) else { return };
        process.vram_bytes = process.vram_bytes.or(known.dedicated_bytes);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
        let percent = known.busiest_percent.clamp(0.0, 100.0).round() as u32;
        process.sm_percent = process.sm_percent.or(Some(percent));
    }
}

fn pid_of(instance: &str) -> Option<u32> {
    instance.strip_prefix("pid_")?.split('_').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(pid: u32, engine: &str) -> String {
        format!("pid_{pid}_luid_0x00000000_0x0000C5B3_phys_0_eng_0_engtype_{engine}")
    }

    #[test]
    fn the_busiest_engine_that_works_counts_and_decoding_a_film_does_not() {
        let mut engines = EngineUse::default();
        engines.engine(&instance(7, "3D"), 41.6);
        engines.engine(&instance(7, "Compute_0"), 12.0);
        engines.engine(&instance(7, "VideoDecode"), 90.0);
        engines.engine(&instance(8, "Copy"), 55.0);
        engines.engine("_Total", 99.0);
        engines.engine("pid_x_engtype_3D", 99.0);
        engines.engine(&instance(9, "3d"), f64::NAN);
        engines.memory("pid_7_luid_0x00000000_0x0000C5B3_phys_0", 3 << 30);
        engines.memory("pid_7_luid_0x00000000_0x0000D000_phys_0", 1 << 30);
        let completed = |pid| {
            let mut process = GpuProcess::listed(pid, None, true);
            engines.complete(&mut process);
            (process.vram_bytes, process.sm_percent)
        };
        assert_eq!(completed(7), (Some(4 << 30), Some(42)));
        assert_eq!((completed(8), completed(9)), ((None, None), (None, None)));
    }

    #[test]
    fn what_the_driver_tells_stays() {
        let mut engines = EngineUse::default();
        engines.engine(&instance(7, "3D"), 250.0);
        engines.memory(&instance(7, "3D"), 9);
        let listed = GpuProcess { sm_percent: Some(3), ..GpuProcess::listed(7, Some(5), false) };
        let mut process = listed.clone();
        engines.complete(&mut process);
        assert_eq!(process, listed);
    }
}
