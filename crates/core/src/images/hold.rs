//! When an image is not fetched, although it is wanted.

use crate::policy::BlockReason;

/// Whether nothing is fetched for this reason: the owner is there, or what a pull takes (line, disk) is not to be had.
/// What only speaks against a tenant, such as a hot card or the hour, does not speak against a download.
#[must_use]
pub fn holds_pulls(reason: &BlockReason) -> bool {
    use BlockReason as R;
    match reason {
        R::UserHere { .. }
        | R::PresenceUnknown { .. }
        | R::GameRunning { .. }
        | R::FullScreen { .. }
        | R::IdleInhibited { .. }
        | R::RemoteSession { .. }
        | R::OtherAccount { .. }
        | R::ControllerInUse { .. }
        | R::CpuBusy { .. }
        | R::Snoozed { .. }
        | R::OnBattery
        | R::MeteredNetwork
        | R::DiskLow { .. }
        | R::FilesLow { .. }
        | R::DataCapReached { .. }
        | R::NoDocker { .. }
        | R::SettingsUnreadable { .. }
        | R::Suspending => true,
        R::TurnedOff
        | R::OutsideSchedule { .. }
        | R::GpuBusy { .. }
        | R::TooHot { .. }
        | R::CoolingDown { .. }
        | R::TemperatureUnknown { .. }
        | R::TooHotForGood { .. }
        | R::GatewayComing
        | R::GatewayFailed { .. }
        | R::NoGateway { .. }
        | R::KernelAsked
        | R::KernelLacks { .. }
        | R::UnsafeVersion { .. }
        | R::DriverTooOld { .. }
        | R::NoGpu { .. }
        | R::CoordinatorUnreachable { .. }
        | R::NotEnrolled
        | R::NotVerified
        | R::OtherCurrency { .. }
        | R::BelowMinimumPrice { .. }
        | R::UpdateWaiting
        | R::CardNotLent
        | R::ImageNotLent
        | R::SandboxUnwanted
        | R::NoImage
        | R::ImageComing
        | R::NoImageLent
        | R::VramScarce { .. }
        | R::AfterLastJob { .. } => false,
    }
}
