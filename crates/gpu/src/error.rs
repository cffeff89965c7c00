//! Why the driver gave no readings.

use nightjar_core::gpu::GpuTrouble;
use nightjar_core::policy::MIN_DRIVER_MAJOR;
use nvml_wrapper::error::NvmlError;

use crate::Refused;

/// Why there are no readings. Each is a sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    #[error(
        "NVIDIA's driver is not installed (its library was not found: {detail}): install it, then start Nightjar again"
    )]
    LibraryMissing { detail: String },
    #[error(
        "NVIDIA's driver is installed but not running: restart the PC; if that does not help, install the driver again"
    )]
    DriverNotLoaded,
    #[error(
        "NVIDIA's driver {found} is too old, at least {needed} is needed: install a newer one from \
         https://www.nvidia.com/drivers"
    )]
    DriverTooOld { found: String, needed: u32 },
    #[error("NVIDIA's driver was updated while the PC was running: restart the PC to finish the update")]
    VersionMismatch,
    #[error("this user may not talk to the graphics card: check the permissions of /dev/nvidia*")]
    NoPermission,
    #[error("the graphics card {card} does not answer any more: restart the PC, and check its power cables")]
    GpuLost { card: String },
    #[error(
        "the graphics card {card} sleeps and has not been seen awake yet: it is left asleep until a program uses it"
    )]
    Asleep { card: String },
    /// `code` is NVML's own number for it.
    #[error("NVIDIA's driver answered with an error ({text}, code {code}): restart the PC if this stays")]
    Other { code: u32, text: String },
}

impl GpuError {
    /// As the policy knows it.
    #[must_use]
    pub fn trouble(&self) -> GpuTrouble {
        match self {
            Self::LibraryMissing { .. } => GpuTrouble::LibraryMissing,
            Self::DriverNotLoaded => GpuTrouble::DriverNotLoaded,
            Self::VersionMismatch => GpuTrouble::VersionMismatch,
            Self::GpuLost { .. } => GpuTrouble::Lost,
            Self::DriverTooOld { .. } | Self::NoPermission | Self::Asleep { .. } | Self::Other { .. } => {
                GpuTrouble::Other { detail: self.to_string() }
            }
        }
    }

    /// From an answer of NVML that concerned the driver, or `card` where it concerned one. `driver` is its version
    /// where that is known.
    pub(crate) fn from_nvml(error: NvmlError, card: Option<&str>, driver: Option<&str>) -> Self {
        match error {
            NvmlError::LibloadingError(error) => Self::from_loader(&error.to_string()),
            NvmlError::LibraryNotFound => Self::LibraryMissing { detail: error.to_string() },
            NvmlError::DriverNotLoaded => Self::DriverNotLoaded,
            NvmlError::LibRmVersionMismatch => Self::VersionMismatch,
            NvmlError::NoPermission => Self::NoPermission,
            NvmlError::GpuLost | NvmlError::ResetRequired => {
                Self::GpuLost { card: card.unwrap_or("(which one is not known)").to_owned() }
            }
            NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => Self::DriverTooOld {
                found: driver.unwrap_or("(of an unknown version)").to_owned(),
                needed: MIN_DRIVER_MAJOR,
            },
            error => {
                let text = error.to_string();
                Self::Other { code: error.into(), text }
            }
        }
    }

    /// From an answer that was recorded.
    pub(crate) fn from_refused(refused: Refused, card: Option<&str>, driver: Option<&str>) -> Self {
        match Self::from_nvml(refused.nvml(), card, driver) {
            Self::LibraryMissing { .. } => Self::LibraryMissing { detail: refused.text },
            // What cannot be told by its number can be told by what the driver said.
            Self::Other { .. } => Self::Other { code: refused.code, text: refused.text },
            error => error,
        }
    }

    /// A library that is there but does not load is another matter than one that is missing.
    fn from_loader(text: &str) -> Self {
        let missing = ["No such file", "os error 126", "not find the specified", "could not be found"];
        if missing.iter().any(|sign| text.contains(sign)) {
            return Self::LibraryMissing { detail: text.to_owned() };
        }
        Self::Other { code: NvmlError::LibraryNotFound.into(), text: text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_nvml_has_its_sentence() {
        let error = |nvml| GpuError::from_nvml(nvml, Some("RTX 4090"), Some("470.82"));
        assert_eq!(error(NvmlError::LibRmVersionMismatch).trouble(), GpuTrouble::VersionMismatch);
        assert_eq!(error(NvmlError::DriverNotLoaded).trouble(), GpuTrouble::DriverNotLoaded);
        assert_eq!(error(NvmlError::GpuLost), GpuError::GpuLost { card: "RTX 4090".into() });
        let old = error(NvmlError::FailedToLoadSymbol("nvmlDeviceGetCount_v2".into()));
        assert_eq!(old, GpuError::DriverTooOld { found: "470.82".into(), needed: 525 });
        let GpuTrouble::Other { detail } = old.trouble() else { panic!("{old:?}") };
        assert!(
            detail.contains("470.82") && detail.contains("525") && detail.contains("https://"),
            "{detail}"
        );
        assert_eq!(
            error(NvmlError::Timeout),
            GpuError::Other { code: 10, text: "the provided timeout was reached".into() }
        );
    }

    #[test]
    fn a_library_that_does_not_load_is_not_called_missing() {
        let missing = "libnvidia-ml.so.1: cannot open shared object file: No such file or directory";
        assert!(matches!(GpuError::from_loader(missing), GpuError::LibraryMissing { .. }));
        let broken = "libnvidia-ml.so.1: wrong ELF class: ELFCLASS32";
        assert!(matches!(GpuError::from_loader(broken), GpuError::Other { text, .. } if text == broken));
    }
}
