//! What a tenant is held to beside the limits that the kernel keeps: memory of the card for the desktop, the space that
//! its container's own files take, and the owner's word on mining. Who goes past one of these is warned, has a while to
//! go back, and is ended then.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::gpu::GpuReading;
use crate::parting::Cause;
use crate::settings::Settings;
use crate::time::Timestamp;

/// What becomes of a tenant that mines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum MinerRule {
    /// The owner is told.
    #[default]
    Tell,
    /// It is warned and ended.
    Stop,
    Allow,
}

/// By what mining is seen. Whoever wants to hide it can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "sign", rename_all = "snake_case")]
pub enum MiningSign {
    /// A program of this name runs.
    Program { name: String },
    /// Something speaks the language of mining pools.
    Protocol,
    /// The card was fully loaded for long, and next to nothing came in or went out. Other work can look the same, so this
    /// is told and nobody is ended for it.
    Load,
}

/// What a tenant goes past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Breach {
    /// The desktop on this card has less memory of it left than the owner keeps.
    Vram {
        #[ts(type = "number")]
        free_mib: u64,
        #[ts(type = "number")]
        reserve_mib: u64,
    },
    /// Files beside those in the volume.
    Disk {
        #[ts(type = "number")]
        used_mib: u64,
        #[ts(type = "number")]
        limit_mib: u64,
    },
    Mining {
        sign: MiningSign,
    },
}

impl Breach {
    /// For whoever rents.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Vram { .. } => Cause::VramReserve,
            Self::Disk { .. } => Cause::DiskLimit,
            Self::Mining { .. } => Cause::Mining,
        }
    }
}

/// The desktop's share of a card on which a tenant holds memory. A card that no desktop uses is the tenant's whole.
#[must_use]
pub fn vram_breach(card: &GpuReading, settings: &Settings) -> Option<Breach> {
    let is_shared = card.vram_total_bytes > 0 && !card.asleep && !card.is_apart();
    if !is_shared || !card.processes.iter().any(|process| process.ours) {
        return None;
    }
    let free_mib = card.vram_total_bytes.saturating_sub(card.vram_used_bytes) >> 20;
    let reserve_mib = settings.vram_reserve_mib;
    (free_mib < reserve_mib).then_some(Breach::Vram { free_mib, reserve_mib })
}

/// `used_mib`: what the container has written outside of its volume and its memory.
#[must_use]
pub fn disk_breach(used_mib: u64, settings: &Settings) -> Option<Breach> {
    let limit_mib = settings.limits.disk_mib;
    (used_mib > limit_mib).then_some(Breach::Disk { used_mib, limit_mib })
}

/// A card that works so much is fully loaded.
const FULL_PERCENT: u32 = 90;
/// A moment without load, e.g. between two blocks, is no change of work.
const LAPSE_MS: u64 = 15_000;
/// Load without anything to work on is a sign from here on.
const LASTS_MS: u64 = 30 * 60 * 1_000;
/// What a miner's talk with its pool, and its log, come to in that time; training reads data, writes its state, or is looked
/// at by somebody.
const NEXT_TO_NOTHING_BYTES: u64 = 4 << 20;
/// Older news of what came in and went out is none.
const FRESH_MS: u64 = 3 * 60 * 1_000;

/// Looks out for [`MiningSign::Load`].
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadWatch {
    moved: Option<Moved>,
    /// When the card was last fully loaded.
    full_at: Option<Timestamp>,
    began: Option<Moved>,
}

#[derive(Clone, Copy, Debug)]
struct Moved {
    at: Timestamp,
    bytes: u64,
}

impl LoadWatch {
    /// What the tenant has read, written, sent and received since its start.
    pub fn moved(&mut self, bytes: u64, now: Timestamp) {
        if self.moved.is_some_and(|known| bytes < known.bytes) {
            // Counted anew: how much it was in between is not known.
            self.began = None;
        }
        self.moved = Some(Moved { at: now, bytes });
    }

    /// Whether there is the sign now, by a reading of the card.
    pub fn look(&mut self, utilisation_percent: Option<u32>, now: Timestamp) -> bool {
        if utilisation_percent.is_some_and(|percent| percent >= FULL_PERCENT) {
            self.full_at = Some(now);
        }
        let is_full = self.full_at.is_some_and(|at| now.since_ms(at) <= LAPSE_MS);
        let Some(moved) = self.moved.filter(|moved| is_full && now.since_ms(moved.at) <= FRESH_MS) else {
            self.began = None;
            return false;
        };
        match self.began {
            Some(began) if moved.bytes.saturating_sub(began.bytes) <= NEXT_TO_NOTHING_BYTES => {
                now.since_ms(began.at) >= LASTS_MS
            }
            _ => {
                self.began = Some(Moved { at: now, bytes: moved.bytes });
                false
            }
        }
    }
}

/// Names of miners' programs, in small letters.
const MINERS: [&str; 35] = [
    "bfgminer",
    "bminer",
    "bzminer",
    "ccminer",
    "cgminer",
    "claymore",
    "cpuminer",
    "cryptodredge",
    "cudo-miner",
    "ethdcrminer64",
    "ethminer",
    "ewbf",
    "excavator",
    "gminer",
    "kawpowminer",
    "lolminer",
    "minerd",
    "miniz",
    "nanominer",
    "nbminer",
    "nheqminer",
    "nicehashquickminer",
    "onezerominer",
    "phoenixminer",
    "progpowz",
    "rigel",
    "sgminer",
    "srbminer-multi",
    "t-rex",
    "teamredminer",
    "tt-miner",
    "wildrig-multi",
    "xmr-stak",
    "xmrig",
    "z-enemy",
];
/// Of a program's name the kernel keeps so much.
const KERNEL_NAME_CHARS: usize = 15;

/// Whether a program is called as a miner is, with or without what follows a dot or a version.
#[must_use]
pub fn is_miner(program: &str) -> bool {
    let name = program.rsplit(['/', '\\']).next().unwrap_or_default().to_ascii_lowercase();
    MINERS.iter().any(|miner| {
        let known: String = miner.chars().take(KERNEL_NAME_CHARS).collect();
        let rest = name.strip_prefix(&known);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()))
    })
}

/// What a look at the programs tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MinerNews {
    /// One of a miner's runs.
    Runs(String),
    /// The one that was told of does no more, nor does another.
    Over(String),
}

/// What is known of a miner's program among the tenant's.
#[derive(Clone, Debug, Default)]
pub struct MinerWatch(Option<String>);

impl MinerWatch {
    /// What there is to tell by a list of all programs that run.
    pub fn look(&mut self, programs: impl IntoIterator<Item = String>) -> Option<MinerNews> {
        let name = programs.into_iter().find(|name| is_miner(name));
        match (name, self.0.is_some()) {
            (Some(name), false) => {
                self.0 = Some(name.clone());
                Some(MinerNews::Runs(name))
            }
            (None, true) => self.0.take().map(MinerNews::Over),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{GpuProcess, GpuUuid};

    #[test]
    fn miners_are_known_by_their_names_and_others_are_not_taken_for_them() {
        for name in [
            "xmrig",
            "/opt/T-Rex",
            "lolMiner",
            "nbminer.exe",
            "xmrig-6.21",
            "srbminer-multi",
            "nicehashquickm",
        ] {
            let known = is_miner(name);
            assert_eq!(known, name != "nicehashquickm", "{name}");
        }
        assert!(is_miner("nicehashquickmi"), "the kernel's name of a long one");
        for name in ["python3", "rigelscope", "minerva", "xmrigging", "datalogger", "", "train"] {
            assert!(!is_miner(name), "{name}");
        }
    }

    #[test]
    fn a_miners_program_is_told_of_when_it_comes_and_when_it_is_gone() {
        let mut miner = MinerWatch::default();
        let mut look = |names: &[&str]| miner.look(names.iter().map(|&name| name.to_owned()));
        let (runs, over) = (MinerNews::Runs("xmrig".to_owned()), MinerNews::Over("xmrig".to_owned()));
        assert_eq!(look(&["tini", "python3"]), None);
        assert_eq!(look(&["tini", "xmrig", "python3"]), Some(runs.clone()));
        // Another one in its place is the same tenant's doing.
        assert_eq!(look(&["tini", "xmrig"]), None);
        assert_eq!(look(&["tini", "t-rex"]), None);
        assert_eq!(look(&["tini"]), Some(over));
        assert_eq!(look(&["tini"]), None);
        assert_eq!(look(&["xmrig"]), Some(runs));
    }

    /// Three hours, a reading a second and news each minute; when the sign was first there, in minutes.
    fn first_sign(percent: impl Fn(u64) -> u32, bytes: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let mut watch = LoadWatch::default();
        (0..3 * 3_600_u64).find_map(|second| {
            let now = Timestamp(0).plus_ms(second * 1_000);
            if let (0, Some(bytes)) = (second % 60, bytes(second)) {
                watch.moved(bytes, now);
            }
            watch.look(Some(percent(second)), now).then_some(second / 60)
        })
    }

    #[test]
    fn load_that_nothing_feeds_is_a_sign_after_half_an_hour_and_not_before() {
        // A pool is told of a share now and then.
        let pool = |second| Some(200 * second);
        assert_eq!(first_sign(|_| 99, pool), Some(30));
        // The owner came back for a while, or there was a moment between two blocks.
        assert_eq!(first_sign(|second| if second % 600 < 10 { 40 } else { 99 }, pool), Some(30));
        assert_eq!(first_sign(|second| if (900..960).contains(&second) { 0 } else { 99 }, pool), Some(46));
        assert_eq!(first_sign(|second| if second % 600 < 30 { 0 } else { 99 }, pool), None);
        assert_eq!(first_sign(|_| 85, pool), None);
    }

    #[test]
    fn work_that_reads_writes_or_talks_gives_no_sign_and_neither_does_what_nobody_could_see() {
        // Pictures from the disk, or a state that is saved each twenty minutes.
        assert_eq!(first_sign(|_| 99, |second| Some(50_000 * second)), None);
        assert_eq!(first_sign(|_| 99, |second| Some((second / 1_200) * (500 << 20))), None);
        assert_eq!(first_sign(|_| 99, |_| None), None);
        // The Engine told nothing any more after a while.
        assert_eq!(first_sign(|_| 99, |second| (second < 1_200).then_some(0)), None);
        // A counter that began anew after twenty minutes: half an hour from there.
        assert_eq!(first_sign(|_| 99, |second| Some(if second < 1_200 { 1 << 30 } else { 0 })), Some(50));
    }

    #[test]
    fn the_desktop_keeps_its_memory_and_a_card_without_one_is_the_tenants() {
        let ours = GpuProcess { ours: true, ..GpuProcess::listed(7, None, false) };
        let card = GpuReading {
            vram_total_bytes: 8 << 30,
            vram_used_bytes: (8 << 30) - (100 << 20),
            processes: vec![ours],
            ..GpuReading::unread(GpuUuid("GPU-1".into()))
        };
        let settings = Settings::default();
        let breach = vram_breach(&card, &settings);
        assert_eq!(breach, Some(Breach::Vram { free_mib: 100, reserve_mib: 512 }));
        assert_eq!(breach.unwrap().cause(), Cause::VramReserve);
        assert_eq!(vram_breach(&GpuReading { vram_used_bytes: 1 << 30, ..card.clone() }, &settings), None);
        assert_eq!(
            vram_breach(&GpuReading { display_attached: Some(false), ..card.clone() }, &settings),
            None
        );
        // What the desktop itself takes is no tenant's doing.
        assert_eq!(vram_breach(&GpuReading { processes: Vec::new(), ..card }, &settings), None);
        assert_eq!(disk_breach(settings.limits.disk_mib, &settings), None);
        assert!(disk_breach(settings.limits.disk_mib + 1, &settings).is_some());
    }
}
