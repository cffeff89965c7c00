//! What a card was seen to do right before a lease, bound to that lease: the product of two matrices that only this
//! placement has, and rates that were measured beside it.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::lease::{Epoch, LeaseId};

/// Rows and columns of the matrices.
pub const SIZE: usize = 256;
/// Whole numbers from minus to plus this: every sum of products is exact in 32-bit floats, in whatever order.
const LARGEST: u64 = 8;
/// Of the memory that a card was offered with, what a desktop and the check itself may have had.
const LEAST_VRAM_PERCENT: u64 = 50;

/// Results of a worker's self-check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Proof {
    /// [`answer`] to this placement's [`seed`], as the card computed it: 16 hexadecimal digits.
    pub answer: String,
    /// Multiply-adds in 32-bit floats, each two operations, 10^9 a second.
    #[ts(type = "number")]
    pub gflops: u64,
    /// Read and written.
    #[ts(type = "number")]
    pub memory_mib_per_s: u64,
    #[ts(type = "number")]
    pub to_card_mib_per_s: u64,
    #[ts(type = "number")]
    pub from_card_mib_per_s: u64,
    /// Memory of the card in which a mark that was written into each MiB was found again.
    #[ts(type = "number")]
    pub vram_checked_mib: u64,
    /// Of the renter's volume.
    #[ts(type = "number")]
    pub disk_write_mib_per_s: u64,
}

/// Why a proof is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the card's answer to this lease's question is wrong")]
    Answer,
    #[error("{checked_mib} MiB of the card's memory could be used where {offered_mib} MiB were offered")]
    Vram { checked_mib: u64, offered_mib: u64 },
}

/// What the matrices of a placement are made of. Nobody knows it before the offer.
#[must_use]
pub fn seed(lease: &LeaseId, epoch: Epoch) -> u64 {
    // FNV-1a: that each placement has another is all that is asked of it.
    let mut seed = 0xcbf2_9ce4_8422_2325_u64;
    for byte in lease.0.bytes().chain(epoch.0.to_be_bytes()) {
        seed = (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    seed
}

/// Two matrices, row by row.
#[must_use]
pub fn matrices(seed: u64) -> [Vec<f32>; 2] {
    let mut state = seed;
    // SplitMix64.
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    let mut small = || {
        let number = i16::try_from(next() % (2 * LARGEST + 1)).unwrap_or_default();
        f32::from(number) - 8.0
    };
    [(); 2].map(|()| (0..SIZE * SIZE).map(|_| small()).collect())
}

/// Their product, by the processor.
#[must_use]
pub fn product(a: &[f32], b: &[f32]) -> Vec<f32> {
    let mut product = vec![0.0; SIZE * SIZE];
    for (row, sums) in a.chunks_exact(SIZE).zip(product.chunks_exact_mut(SIZE)) {
        for (factor, line) in row.iter().zip(b.chunks_exact(SIZE)) {
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum += factor * value;
            }
        }
    }
    product
}

/// A short word for a whole product.
#[must_use]
pub fn answer(product: &[f32]) -> String {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for value in product {
        for byte in value.to_be_bytes() {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{sum:016x}")
}

impl Proof {
    /// Whether it is one of this placement, on a card that was offered with so much memory.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, lease: &LeaseId, epoch: Epoch, offered_mib: u64) -> Result<(), ProofError> {
        let [a, b] = matrices(seed(lease, epoch));
        if self.answer != answer(&product(&a, &b)) {
            return Err(ProofError::Answer);
        }
        let checked_mib = self.vram_checked_mib;
        if checked_mib.saturating_mul(100) < offered_mib.saturating_mul(LEAST_VRAM_PERCENT) {
            return Err(ProofError::Vram { checked_mib, offered_mib });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(lease: &str, epoch: u64) -> Proof {
        let [a, b] = matrices(seed(&LeaseId(lease.into()), Epoch(epoch)));
        Proof {
            answer: answer(&product(&a, &b)),
            gflops: 1,
            memory_mib_per_s: 1,
            to_card_mib_per_s: 1,
            from_card_mib_per_s: 1,
            vram_checked_mib: 9_000,
            disk_write_mib_per_s: 1,
        }
    }

    #[test]
    fn an_answer_is_of_one_placement_and_memory_must_be_there() {
        let (lease, epoch) = (LeaseId("l".into()), Epoch(1));
        assert_eq!(proof("l", 1).check(&lease, epoch, 12_288), Ok(()));
        for other in [proof("l", 2), proof("m", 1)] {
            assert_eq!(other.check(&lease, epoch, 12_288), Err(ProofError::Answer));
        }
        let little = proof("l", 1).check(&lease, epoch, 24_576);
        assert_eq!(little, Err(ProofError::Vram { checked_mib: 9_000, offered_mib: 24_576 }));
    }

    #[test]
    fn matrices_are_small_whole_and_differ() {
        let [a, b] = matrices(7);
        assert_ne!(a, b);
        assert_ne!(product(&a, &b), product(&b, &a));
        assert!(a.iter().chain(&b).all(|value| value.fract() == 0.0 && value.abs() <= 8.0));
        assert!(a.contains(&8.0) && a.contains(&-8.0));
    }
}
