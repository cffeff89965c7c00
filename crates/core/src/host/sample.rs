//! Values that tests share.

use crate::gpu::{DriverInfo, GpuReading, GpuUuid};
use crate::lease::{Epoch, LeaseId, LeaseTerms};
use crate::money::{Currency, Money};
use crate::policy::DiskSpace;
use crate::time::Timestamp;

pub(crate) fn card(uuid: &str) -> GpuReading {
    let mut reading = GpuReading::unread(GpuUuid(uuid.into()));
    reading.name = "NVIDIA GeForce RTX 3060 (simulated)".into();
    reading.vram_total_bytes = 12 << 30;
    reading.temperature_celsius = Some(45.0);
    reading
}

pub(crate) fn disk(folder: &str, free_mib: u64) -> DiskSpace {
    DiskSpace { folder: folder.into(), free_mib, free_files: None }
}

pub(crate) fn driver() -> DriverInfo {
    DriverInfo { version: "550.54.14".into(), cuda: Some(12_080) }
}

pub(crate) fn terms(lease: &str, epoch: u64, gpu: &str) -> LeaseTerms {
    LeaseTerms {
        lease: LeaseId(lease.into()),
        epoch: Epoch(epoch),
        gpu: GpuUuid(gpu.into()),
        image: "pytorch-cuda:lite".into(),
        renter: "renter-1".into(),
        renter_key: "ab".repeat(32),
        ssh_public_key: "ssh-ed25519 AAAA".into(),
        root_inside: false,
        no_sandbox: false,
        serve_model: None,
        volume: Default::default(),
        volume_key: None,
        price_per_hour: Money::new(1_500_000, Currency::CNY),
        fee_basis_points: 500,
        offered_at: Timestamp(0),
        nonce: Default::default(),
    }
}
