//! Between the host and `nightjar-helper`, the only program of ours with rights of its own: length-delimited JSON over a
//! local socket.
//!
//! A request is an intent with bounded values, never a path, a command or a process id. One answer comes to each request,
//! in order. What a connection has set and guards ends with it: that is how the helper learns of the host's end.

use std::fmt;
use std::io::{self, Read, Write};

use nightjar_core::gpu::GpuUuid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of this conversation. Since 2 a container in gVisor is known by its bundle, and may be guarded.
pub const HELPER_VERSION: u32 = 2;
/// The helper serves apps from this version on: one that has a job goes on as it was after an update, until the job is over.
/// An app wants a helper of its own version.
pub const OLDEST_APP_VERSION: u32 = 1;
/// Longest frame, without its four bytes of length.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;
/// Where the helper listens.
#[cfg(not(windows))]
pub const HELPER_SOCKET: &str = "/run/nightjar/helper.sock";
/// Where the helper listens: a named pipe.
#[cfg(windows)]
pub const HELPER_SOCKET: &str = r"\\.\pipe\nightjar-helper";
/// Names another socket, for tests and for a helper that is started by hand.
pub const HELPER_SOCKET_ENV: &str = "NIGHTJAR_HELPER";
/// Bounds on what may be asked for; the card's own are narrower.
pub const LEAST_WATTS: u32 = 1;
pub const MOST_WATTS: u32 = 2_000;
/// A value that a card never had before is taken back unless it is confirmed within this time.
pub const CONFIRM_WITHIN_MS: u64 = 15_000;
/// After the host's end a guarded container that still runs is ended: process 1 gives up after five seconds by itself,
/// and a host that is back by then guards it anew.
pub const GUARD_GRACE_MS: u64 = 6_000;

const LONGEST_UUID: usize = 96;
const CONTAINER_ID_LENGTH: usize = 64;

/// Full id of a container: 64 hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// A text that is no container's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a container's full id is {CONTAINER_ID_LENGTH} digits of 0-9 and a-f")]
pub struct NotAnId;

impl TryFrom<String> for ContainerId {
    type Error = NotAnId;

    fn try_from(text: String) -> Result<Self, NotAnId> {
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == CONTAINER_ID_LENGTH && is_hex { Ok(Self(text)) } else { Err(NotAnId) }
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl ContainerId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What may be asked. The first one must be `Hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum HelperRequest {
    Hello {
        protocol_version: u32,
        app_version: String,
    },
    /// Until `Restore` or the end of this connection. Answered by `PowerSet`.
    SetPowerLimit {
        gpu_uuid: GpuUuid,
        watts: u32,
    },
    /// The card works with the limit that was set last.
    Confirm {
        gpu_uuid: GpuUuid,
    },
    /// Of one card, or of all; what another tool has set meanwhile stays.
    Restore {
        gpu_uuid: Option<GpuUuid>,
    },
    Status,
    /// This container is ours: it may be frozen, thawed and ended, and ends with this connection.
    Guard {
        container_id: ContainerId,
    },
    /// It is over, or no longer ours.
    Release {
        container_id: ContainerId,
    },
    FreezeContainer {
        container_id: ContainerId,
    },
    ThawContainer {
        container_id: ContainerId,
    },
    EndContainer {
        container_id: ContainerId,
    },
}

impl HelperRequest {
    /// Bounds that the types do not hold by themselves.
    ///
    /// # Errors
    /// What is out of its bounds.
    pub fn check(&self) -> Result<(), HelperRefusal> {
        let unusable = |detail: String| Err(HelperRefusal { code: HelperErrorCode::BadRequest, detail });
        match self {
            Self::Hello { app_version, .. } if app_version.len() > 64 => {
                unusable("the app's version has more than 64 bytes".to_owned())
            }
            Self::SetPowerLimit { watts, .. } if !(LEAST_WATTS..=MOST_WATTS).contains(watts) => unusable(
                format!("{watts} W is not between {LEAST_WATTS} and {MOST_WATTS} W; give another limit"),
            ),
            Self::SetPowerLimit { gpu_uuid, .. }
            | Self::Confirm { gpu_uuid }
            | Self::Restore { gpu_uuid: Some(gpu_uuid) }
                if !is_uuid(gpu_uuid) =>
            {
                unusable("a card is named by its UUID, e.g. GPU-4f2a…, of at most 96 characters".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn is_uuid(uuid: &GpuUuid) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/');
    !uuid.0.is_empty() && uuid.0.len() <= LONGEST_UUID && uuid.0.bytes().all(plain)
}

/// The answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum HelperAnswer {
    Welcome {
        protocol_version: u32,
        helper_version: String,
    },
    Done,
    PowerSet {
        gpu_uuid: GpuUuid,
        watts: u32,
        /// This card never had this limit before: unless `Confirm` comes in time, the former one comes back.
        confirm_within_ms: Option<u64>,
    },
    Status {
        cards: Vec<HeldLimit>,
        guarded: Vec<ContainerId>,
    },
    /// The kernel says so.
    Frozen {
        took_us: u64,
    },
    Refused(HelperRefusal),
}

/// A card whose limit is ours for the time being.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldLimit {
    pub gpu_uuid: GpuUuid,
    /// What comes back.
    pub found_watts: f64,
    pub set_watts: f64,
    /// What the driver says now, where it answers.
    pub current_watts: Option<f64>,
    pub awaits_confirmation: bool,
}

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HelperErrorCode {
    /// The first frame was not a `Hello` of a known version.
    Version,
    NotAllowed,
    BadRequest,
    NoSuchCard,
    /// The card's limit cannot be changed.
    NotSupported,
    OutOfRange,
    /// Nothing is waiting for a confirmation.
    NothingToConfirm,
    /// The container was not named by `Guard` on this connection.
    NotYours,
    NoSuchContainer,
    /// The kernel did not do it in time.
    NotFrozen,
    Driver,
    Kernel,
    /// The helper cannot write what it must remember.
    State,
    Busy,
}

/// A closed code for who must branch, and a sentence: what failed, why, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct HelperRefusal {
    pub code: HelperErrorCode,
    pub detail: String,
}

impl HelperRefusal {
    #[must_use]
    pub fn new(code: HelperErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a frame of {0} bytes was announced; at most {MAX_FRAME_BYTES} are taken")]
    TooLong(usize),
    #[error("a frame is not a message of this conversation: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// Length and text of one message.
///
/// # Errors
/// When it is too long.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).ok().filter(|_| text.len() <= MAX_FRAME_BYTES);
    let length = length.ok_or(FrameError::TooLong(text.len()))?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(text);
    Ok(frame)
}

/// # Errors
/// When it is too long or cannot be written.
pub fn write_frame(to: &mut impl Write, message: &impl Serialize) -> Result<(), FrameError> {
    Ok(to.write_all(&encode(message)?)?)
}

/// `None` where the other side has closed between two frames.
///
/// # Errors
/// When a frame breaks off, is too long, or is none. Nothing is allocated for a length that is not allowed.
pub fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut length = [0_u8; 4];
    match from.read(&mut length)? {
        0 => return Ok(None),
        read => from.read_exact(&mut length[read..])?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong(length));
    }
    let mut text = vec![0_u8; length];
    from.read_exact(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_wire() {
        let asked = HelperRequest::SetPowerLimit { gpu_uuid: GpuUuid("GPU-1".into()), watts: 250 };
        let bytes = encode(&asked).unwrap();
        assert_eq!(read_frame::<HelperRequest>(&mut bytes.as_slice()).unwrap(), Some(asked));
        assert!(read_frame::<HelperRequest>(&mut [].as_slice()).unwrap().is_none());
        for cut in 1..bytes.len() {
            assert!(read_frame::<HelperRequest>(&mut &bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn only_full_ids_name_a_container() {
        for bad in ["", "../../etc", &"A".repeat(64), &"a".repeat(63), &"a/".repeat(32)] {
            assert_eq!(ContainerId::try_from(bad.to_owned()), Err(NotAnId), "{bad}");
        }
        assert!(ContainerId::try_from("0f".repeat(32)).is_ok());
    }

    #[test]
    fn values_are_bounded() {
        let card = |text: &str| GpuUuid(text.into());
        let set = |uuid: &str, watts| HelperRequest::SetPowerLimit { gpu_uuid: card(uuid), watts };
        assert!(set("GPU-1", 250).check().is_ok());
        for bad in [set("GPU-1", 0), set("GPU-1", 100_000), set("../x", 250), set("", 250)] {
            assert_eq!(bad.check().unwrap_err().code, HelperErrorCode::BadRequest);
        }
    }
}
