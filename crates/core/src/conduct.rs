//! What a tenant is held to beside the limits that the kernel keeps: memory of the card for the desktop, the space that
//! its container's own files take, and the owner's word on mining. Who goes past one of these is warned, has a while to
//! go back, and is ended then.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::gpu::GpuReading;
use crate::parting::Cause;
use crate::settings::Settings;

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
