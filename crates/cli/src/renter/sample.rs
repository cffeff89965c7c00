//! A lease for tests.

use nightjar_core::gpu::GpuUuid;
use nightjar_core::lease::{Epoch, LeaseId, LeaseState, WorkerAccess};
use nightjar_core::line_check::LineFigures;
use nightjar_core::market::AfterInterruption;
use nightjar_core::money::{Currency, Money};
use nightjar_core::network::Rates;
use nightjar_core::time::Timestamp;
use nightjar_protocol::market_api::Lease;

/// What a market measured of a line whose owner allows 20 Mbit/s up.
pub(crate) fn line(down_kbit: u32, up_kbit: u32) -> LineFigures {
    let limits = Rates { up_kbit: 20_000, down_kbit: 2_000_000 };
    LineFigures { at: Timestamp(30_000), down_kbit, up_kbit, rtt_us: 12_340, limits }
}

pub(crate) fn lease(name: &str, state: LeaseState) -> Lease {
    let reachable = state.is_reachable();
    Lease {
        lease: LeaseId(name.into()),
        epoch: Epoch(1),
        state,
        state_since: Timestamp(60_000),
        created_at: Timestamp(0),
        serve_model: None,
        image: "pytorch-cuda:lite".into(),
        model: "NVIDIA GeForce RTX 4090".into(),
        gpu: GpuUuid("GPU-1".into()),
        host_id: "h1".into(),
        host_key: "ab".repeat(32),
        region: "cn-east".into(),
        price_per_hour: Money::new(1_500_000, Currency::CNY),
        running_ms: 90_000,
        charged: Money::new(37_500, Currency::CNY),
        interruption: None,
        after_interruption: AfterInterruption::End,
        continues: None,
        continued_by: None,
        waits: None,
        volume: Default::default(),
        footing: None,
        line: Some(line(940_000, 20_000)),
        access: reachable.then(|| WorkerAccess {
            ssh_host_key: "ssh-ed25519 AAAAC3Nza".into(),
            jupyter_token: "secret".into(),
            device_name: "NVIDIA GeForce RTX 4090".into(),
            proof: None,
            volume: None,
        }),
        relay: None,
    }
}
