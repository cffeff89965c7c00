//! Power limits on their way to the helper: in order, one at a time, beside everything else. A value that the card never
//! had before is confirmed when the driver still reports it after a moment of work.

use std::time::Duration;

use nightjar_core::gpu::GpuUuid;
use nightjar_core::host::Input;
use nightjar_protocol::helper::{HelperAnswer, HelperRequest};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::helper::Helper;
use crate::owner::Message;

/// A card that does not bear a limit shows it by then.
const WORKS_AFTER: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub(crate) enum PowerOrder {
    Set { gpu: GpuUuid, watts: u32 },
    Restore { gpu: GpuUuid },
}

/// Runs until the owner is gone.
pub(crate) async fn run(
    helper: Helper,
    mut orders: mpsc::UnboundedReceiver<PowerOrder>,
    owner: mpsc::UnboundedSender<Message>,
) {
    let mut standing = helper.standing();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => perform(&helper, order).await,
                None => return,
            },
            changed = standing.changed() => {
                if changed.is_err() { return }
                let now = standing.borrow_and_update().clone();
                let _ = owner.send(Message::Input(Input::Helper(now)));
            }
        }
    }
}

/// A refusal is in the log, with the helper's own words; renting goes on with the limit that there is.
async fn perform(helper: &Helper, order: PowerOrder) {
    match order {
        PowerOrder::Restore { gpu } => {
            let _ = helper.ask(HelperRequest::Restore { gpu_uuid: Some(gpu) }).await;
        }
        PowerOrder::Set { gpu, watts } => {
            let asked = helper.ask(HelperRequest::SetPowerLimit { gpu_uuid: gpu.clone(), watts }).await;
            if let Ok(HelperAnswer::PowerSet { confirm_within_ms: Some(_), .. }) = asked {
                let helper = helper.clone();
                tokio::spawn(async move {
                    sleep(WORKS_AFTER).await;
                    confirm(&helper, gpu, watts).await;
                });
            }
        }
    }
}

async fn confirm(helper: &Helper, gpu: GpuUuid, watts: u32) {
    let Ok(HelperAnswer::Status { cards, .. }) = helper.ask(HelperRequest::Status).await else { return };
    let works = cards.iter().any(|card| {
        card.gpu_uuid == gpu && card.awaits_confirmation && card.current_watts == Some(f64::from(watts))
    });
    if works {
        let _ = helper.ask(HelperRequest::Confirm { gpu_uuid: gpu }).await;
    }
}
