//! The kernels of Nightjar's steady loads: nothing is computed, but what they ask of a card is known.

use std::time::Duration;

use nightjar_sim::wire::CardReading;

use crate::driver::Work;

/// Multiply-adds of a thread in one round; each is two operations.
const OPERATIONS: f64 = 2.0 * 16.0;
/// A word of a thread is read and written.
const BYTES: f64 = 2.0 * 256.0 * 4.0;
/// Of what waits for memory a little is the cores' own work, as in decoding.
const MEMORY_SHARE: f64 = 0.85;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    Compute,
    Memory,
}

impl Load {
    pub fn named(kernel: &str) -> Option<Self> {
        match kernel {
            "nightjar_load_compute" => Some(Self::Compute),
            "nightjar_load_memory" => Some(Self::Memory),
            _ => None,
        }
    }

    pub fn work(self, card: &CardReading, rounds: u32, threads: f64) -> Work {
        let (amount, per_second) = match self {
            Self::Compute => (OPERATIONS, card.teraflops * 1e12),
            Self::Memory => {
                let transfers = 2.0 * f64::from(card.max_memory_clock_mhz) * 1e6;
                (BYTES, f64::from(card.memory_bus_bits) / 8.0 * transfers)
            }
        };
        let seconds = f64::from(rounds) * threads * amount / per_second.max(1.0);
        let memory_share = if self == Self::Memory { MEMORY_SHARE } else { 0.0 };
        Work { lasts: Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0)), memory_share }
    }
}
