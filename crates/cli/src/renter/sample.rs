//! A lease for tests.

use nightjar_core::gpu::GpuUuid;
use nightjar_core::lease::{Epoch, LeaseId, LeaseState, WorkerAccess};
use nightjar_core::market::AfterInterruption;
use nightjar_core::money::{Currency, Money};
use nightjar_core::time::Timestamp;
use nightjar_protocol::market_api::Lease;

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
        access: reachable.then(|| WorkerAccess {
            ssh_host_key: "ssh-ed25519 AAAAC3Nza".into(),
            jupyter_token: "secret".into(),
            device_name: "NVIDIA GeForce RTX 4090".into(),
            proof: None,
        }),
        relay: None,
    }
}
