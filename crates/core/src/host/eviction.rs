//! How a job leaves a card that it cannot stay on.

use crate::lease::EndReason;
use crate::policy::{BlockReason, Impact, Verdict};
use crate::settings::{GiveBack, Settings};

use super::effect::StopHow;
use super::job::CLOSING_GRACE_MS;

/// Why and how a job leaves a card that is needed or unfit.
pub(super) fn eviction(verdict: &Verdict, settings: &Settings, gentle: StopHow) -> (EndReason, StopHow) {
    let Verdict::Blocked { reasons, .. } = verdict else { return (EndReason::OwnerReturned, StopHow::Kill) };
    let Some(reason) = reasons.iter().find(|reason| reason.impact(settings.give_back) == Impact::Evict)
    else {
        return (EndReason::OwnerReturned, StopHow::Kill);
    };
    match reason {
        BlockReason::TurnedOff
        | BlockReason::Snoozed { .. }
        | BlockReason::SettingsUnreadable { .. }
        | BlockReason::CardNotLent
        | BlockReason::DataCapReached { .. }
        | BlockReason::OutsideSchedule { .. } => (EndReason::OwnerStopped, gentle),
        BlockReason::Suspending => (EndReason::OwnerStopped, gentle.within(CLOSING_GRACE_MS)),
        BlockReason::DiskLow { free_mib, .. } => {
            let cause = format!("the host's disk is nearly full ({free_mib} MiB are left)");
            (EndReason::WorkerDied { cause }, StopHow::Kill)
        }
        BlockReason::FilesLow { free, .. } => {
            let cause = format!("the host's disk can make hardly any files more ({free} are left)");
            (EndReason::WorkerDied { cause }, StopHow::Kill)
        }
        BlockReason::NoDocker { detail, .. } => {
            let cause = format!("the Docker Engine is not there: {detail}");
            (EndReason::WorkerDied { cause }, StopHow::Kill)
        }
        BlockReason::TooHotForGood { trips, .. } => {
            let cause = format!("the card reached its temperature ceiling {trips} times in an hour");
            (EndReason::WorkerDied { cause }, StopHow::Kill)
        }
        BlockReason::NoGpu { trouble } => {
            let cause = format!("the card cannot be read any more: {trouble:?}");
            (EndReason::WorkerDied { cause }, StopHow::Kill)
        }
        BlockReason::DriverTooOld { found, needed } => {
            let cause = format!("driver {found} is older than {needed}");
            (EndReason::WorkerDied { cause }, StopHow::Kill)
        }
        _ => match settings.give_back {
            GiveBack::Instant | GiveBack::Share => (EndReason::OwnerReturned, StopHow::Kill),
            GiveBack::Friendly => (EndReason::OwnerReturned, gentle),
        },
    }
}
