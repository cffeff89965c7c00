//! What a card was seen to do when its market asked: the product of two matrices that only this question has, and rates
//! that were measured beside it. The host signs the whole with its key.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::gpu::GpuUuid;
use crate::time::Timestamp;

/// Rows and columns of the matrices.
pub const SIZE: usize = 256;
/// Whole numbers from minus to plus this: every sum of products is exact in 32-bit floats, in whatever order.
const LARGEST: u64 = 8;
/// Of the memory that a card was offered with, what a desktop and the check itself may have had.
const LEAST_VRAM_PERCENT: u64 = 50;

/// Bytes of a question.
pub const NONCE_BYTES: usize = 16;
/// An answer that comes later than this is none: a worker is prepared within five minutes.
const ANSWER_WITHIN_MS: u64 = 600_000;
/// What a card says of its own memory, in hundredths of what it was offered with: CUDA leaves out what the driver keeps.
const OWN_WORD_PERCENT: std::ops::RangeInclusive<u64> = 85..=105;
/// Slower than one part in so many of what the same card did before is another card, or a sick one. A lower power limit
/// alone does not do that.
const SLOWER_BY: u64 = 3;

/// A market's question: 32 hexadecimal digits, never used twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(transparent)]
pub struct Nonce(pub String);

impl Nonce {
    #[must_use]
    pub fn of(bytes: [u8; NONCE_BYTES]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(bytes)))
    }

    /// Spelled as one.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.len() == 2 * NONCE_BYTES && self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// What a market asked of a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub nonce: Nonce,
    pub asked_at: Timestamp,
    pub gpu: GpuUuid,
    /// As it was offered.
    pub model: String,
    pub vram_mib: u64,
}

/// Results of a self-check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Proof {
    /// Which question it answers.
    pub nonce: Nonce,
    /// The card as CUDA names it.
    pub gpu: GpuUuid,
    pub device_name: String,
    #[ts(type = "number")]
    pub vram_mib: u64,
    /// [`answer`] to the matrices of this question's [`seed`], as the card computed it: 16 hexadecimal digits.
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
    /// Memory of the card in which a mark that was written into each page was found again.
    #[ts(type = "number")]
    pub vram_checked_mib: u64,
    /// Of the renter's volume; 0 where there is none.
    #[ts(type = "number")]
    pub disk_write_mib_per_s: u64,
}

/// Rates of a card by which it is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub gflops: u64,
    pub memory_mib_per_s: u64,
}

impl Known {
    /// With a proof that holds: what is faster counts at once, what is slower by and by.
    #[must_use]
    pub fn after(known: Option<Self>, proof: &Proof) -> Self {
        let before = known.map_or(Self { gflops: 0, memory_mib_per_s: 0 }, Self::fading);
        Self {
            gflops: before.gflops.max(proof.gflops),
            memory_mib_per_s: before.memory_mib_per_s.max(proof.memory_mib_per_s),
        }
    }

    #[must_use]
    pub fn fading(self) -> Self {
        let less = |rate: u64| rate - rate / 10;
        Self { gflops: less(self.gflops), memory_mib_per_s: less(self.memory_mib_per_s) }
    }
}

/// Why a proof is none.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS, thiserror::Error,
)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProofFault {
    #[error("the host sent no measurements of the card")]
    Missing,
    #[error("the measurements are not signed with the host's key")]
    Unsigned,
    #[error("the measurements answer another question than the one that was asked")]
    OtherQuestion,
    #[error("the measurements came too late")]
    Late,
    #[error("another card was measured than the one that was offered")]
    OtherCard,
    #[error("the card calls itself another model than the one that was offered")]
    OtherModel,
    #[error("the card says that it has {found_mib} MiB where {offered_mib} MiB were offered")]
    OtherMemory {
        #[ts(type = "number")]
        found_mib: u64,
        #[ts(type = "number")]
        offered_mib: u64,
    },
    #[error("the card's answer to the market's question is wrong")]
    Answer,
    #[error("{checked_mib} MiB of the card's memory could be used where {offered_mib} MiB were offered")]
    Vram {
        #[ts(type = "number")]
        checked_mib: u64,
        #[ts(type = "number")]
        offered_mib: u64,
    },
    #[error("the card computes {found} GFLOP/s; before it was {before}")]
    Slower {
        #[ts(type = "number")]
        found: u64,
        #[ts(type = "number")]
        before: u64,
    },
    #[error("the card's memory does {found} MiB/s; before it was {before}")]
    SlowerMemory {
        #[ts(type = "number")]
        found: u64,
        #[ts(type = "number")]
        before: u64,
    },
    /// The host itself says that its check failed.
    #[error("the card did not pass the host's own check")]
    OwnCheck,
    /// Of two hosts that say they have it, the other showed it first.
    #[error("another host has shown the same card before")]
    SameCard,
}

/// What the matrices of a question are made of. Nobody knows it before the question.
#[must_use]
pub fn seed(nonce: &Nonce, gpu: &GpuUuid) -> u64 {
    // FNV-1a: that each question to each card has another is all that is asked of it.
    let mut seed = 0xcbf2_9ce4_8422_2325_u64;
    for byte in nonce.0.bytes().chain(gpu.0.bytes()) {
        seed = (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    seed
}

/// SplitMix64: the next word of a stream that its seed alone decides.
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Two matrices, row by row.
#[must_use]
pub fn matrices(seed: u64) -> [Vec<f32>; 2] {
    let mut state = seed;
    let mut small = || {
        let number = i16::try_from(split_mix(&mut state) % (2 * LARGEST + 1)).unwrap_or_default();
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

/// The same model, whichever of the driver's libraries spelled it.
fn is_same_model(a: &str, b: &str) -> bool {
    let plain = |name: &str| {
        let name = name.trim().to_lowercase();
        name.strip_prefix("nvidia ").unwrap_or(&name).to_owned()
    };
    plain(a) == plain(b)
}

impl Proof {
    /// What the host signs.
    #[must_use]
    pub fn signing_bytes(&self) -> Vec<u8> {
        let names =
            [&self.nonce.0, &self.gpu.0, &self.device_name, &self.answer].map(|name| name.escape_debug());
        let numbers = [
            self.vram_mib,
            self.gflops,
            self.memory_mib_per_s,
            self.to_card_mib_per_s,
            self.from_card_mib_per_s,
            self.vram_checked_mib,
            self.disk_write_mib_per_s,
        ];
        let mut text = String::from("nightjar-proof/1\n");
        names.iter().for_each(|name| text.push_str(&format!("{name}\n")));
        numbers.iter().for_each(|number| text.push_str(&format!("{number}\n")));
        text.into_bytes()
    }

    /// Whether it answers `question` at `now`, and the card does about what it did before.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self, question: &Question, known: Option<Known>, now: Timestamp) -> Result<(), ProofFault> {
        if self.nonce != question.nonce {
            return Err(ProofFault::OtherQuestion);
        }
        if now.since_ms(question.asked_at) > ANSWER_WITHIN_MS {
            return Err(ProofFault::Late);
        }
        if self.gpu != question.gpu {
            return Err(ProofFault::OtherCard);
        }
        if !is_same_model(&self.device_name, &question.model) {
            return Err(ProofFault::OtherModel);
        }
        let offered_mib = question.vram_mib;
        let percent = |part: u64| part.saturating_mul(100) / offered_mib.max(1);
        if !OWN_WORD_PERCENT.contains(&percent(self.vram_mib)) {
            return Err(ProofFault::OtherMemory { found_mib: self.vram_mib, offered_mib });
        }
        let [a, b] = matrices(seed(&question.nonce, &question.gpu));
        if self.answer != answer(&product(&a, &b)) {
            return Err(ProofFault::Answer);
        }
        if percent(self.vram_checked_mib) < LEAST_VRAM_PERCENT {
            return Err(ProofFault::Vram { checked_mib: self.vram_checked_mib, offered_mib });
        }
        let Some(before) = known else { return Ok(()) };
        let is_slower = |found: u64, before: u64| found.saturating_mul(SLOWER_BY) < before;
        if is_slower(self.gflops, before.gflops) {
            return Err(ProofFault::Slower { found: self.gflops, before: before.gflops });
        }
        if is_slower(self.memory_mib_per_s, before.memory_mib_per_s) {
            let (found, before) = (self.memory_mib_per_s, before.memory_mib_per_s);
            return Err(ProofFault::SlowerMemory { found, before });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(5_000_000);

    fn question() -> Question {
        Question {
            nonce: Nonce::of([7; NONCE_BYTES]),
            asked_at: Timestamp(NOW.0 - 5_000),
            gpu: GpuUuid("GPU-a".into()),
            model: "NVIDIA GeForce RTX 3060".into(),
            vram_mib: 12_288,
        }
    }

    fn proof() -> Proof {
        let Question { nonce, gpu, .. } = question();
        let [a, b] = matrices(seed(&nonce, &gpu));
        Proof {
            nonce,
            gpu,
            device_name: "GeForce RTX 3060".into(),
            vram_mib: 12_050,
            answer: answer(&product(&a, &b)),
            gflops: 12_000,
            memory_mib_per_s: 330_000,
            to_card_mib_per_s: 1,
            from_card_mib_per_s: 1,
            vram_checked_mib: 9_000,
            disk_write_mib_per_s: 0,
        }
    }

    #[test]
    fn a_proof_answers_one_question_of_one_card_in_time() {
        let known = Some(Known { gflops: 12_500, memory_mib_per_s: 340_000 });
        assert_eq!(proof().check(&question(), known, NOW), Ok(()));
        let wrong = |spoil: fn(&mut Proof)| {
            let mut proof = proof();
            spoil(&mut proof);
            proof.check(&question(), known, NOW).unwrap_err()
        };
        assert_eq!(wrong(|proof| proof.nonce = Nonce::of([8; NONCE_BYTES])), ProofFault::OtherQuestion);
        assert_eq!(wrong(|proof| proof.gpu.0.push('b')), ProofFault::OtherCard);
        assert_eq!(
            wrong(|proof| proof.device_name = "NVIDIA GeForce GTX 1660".into()),
            ProofFault::OtherModel
        );
        let other = ProofFault::OtherMemory { found_mib: 6_144, offered_mib: 12_288 };
        assert_eq!(wrong(|proof| proof.vram_mib = 6_144), other);
        assert_eq!(wrong(|proof| proof.answer = "0".repeat(16)), ProofFault::Answer);
        let little = ProofFault::Vram { checked_mib: 6_000, offered_mib: 12_288 };
        assert_eq!(wrong(|proof| proof.vram_checked_mib = 6_000), little);
        assert_eq!(proof().check(&question(), None, NOW.plus_ms(ANSWER_WITHIN_MS)), Err(ProofFault::Late));
        // The same question to another card has another answer.
        let other = GpuUuid("GPU-b".into());
        assert_ne!(seed(&question().nonce, &other), seed(&question().nonce, &question().gpu));
    }

    #[test]
    fn a_card_that_is_much_slower_than_before_is_told_from_one_with_less_power() {
        let known = Known::after(None, &proof());
        assert_eq!(known, Known { gflops: 12_000, memory_mib_per_s: 330_000 });
        let half = Proof { gflops: 6_000, memory_mib_per_s: 165_000, ..proof() };
        assert_eq!(half.check(&question(), Some(known), NOW), Ok(()));
        assert_eq!(Known::after(Some(known), &half), Known { gflops: 10_800, memory_mib_per_s: 297_000 });
        let slow = Proof { gflops: 3_999, ..proof() };
        let fault = ProofFault::Slower { found: 3_999, before: 12_000 };
        assert_eq!(slow.check(&question(), Some(known), NOW), Err(fault));
        let slow = Proof { memory_mib_per_s: 100_000, ..proof() };
        let fault = ProofFault::SlowerMemory { found: 100_000, before: 330_000 };
        assert_eq!(slow.check(&question(), Some(known), NOW), Err(fault));
    }

    #[test]
    fn what_is_signed_holds_every_field_and_no_name_can_pass_for_two() {
        let spoils: [fn(&mut Proof); 11] = [
            |proof| proof.nonce.0.push('0'),
            |proof| proof.gpu.0.push('0'),
            |proof| proof.device_name.push('\n'),
            |proof| proof.answer.push('0'),
            |proof| proof.vram_mib += 1,
            |proof| proof.gflops += 1,
            |proof| proof.memory_mib_per_s += 1,
            |proof| proof.to_card_mib_per_s += 1,
            |proof| proof.from_card_mib_per_s += 1,
            |proof| proof.vram_checked_mib += 1,
            |proof| proof.disk_write_mib_per_s += 1,
        ];
        let lines = |proof: &Proof| String::from_utf8(proof.signing_bytes()).unwrap().lines().count();
        for spoil in spoils {
            let mut other = proof();
            spoil(&mut other);
            assert_ne!(other.signing_bytes(), proof().signing_bytes());
            assert_eq!(lines(&other), lines(&proof()));
        }
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
