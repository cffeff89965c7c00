//! The WebSocket over which a market measures a host's line: `GET /v1/hosts/line`, opened by a host that was asked by
//! [`crate::host_session::ToHost::CheckLine`]. The host speaks first, with its ticket; then it does as it is told until
//! [`ToMeasured::Done`]. Words are JSON text frames; a block is binary frames of at most
//! [`nightjar_core::line_check::CHUNK_BYTES`], and nothing else comes before its last byte.

use nightjar_core::network::Rates;
use serde::{Deserialize, Serialize};

/// A frame longer than this ends it.
pub const MAX_LINE_FRAME_BYTES: usize = 32 * 1024;

/// From the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum FromMeasured {
    Here {
        ticket: String,
        /// The owner's limits at this moment.
        limits: Rates,
    },
    Echo {
        token: String,
    },
    /// The block came: [`nightjar_core::line_check::Sum`] of all of it.
    Took {
        sum: String,
    },
}

/// To the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum ToMeasured {
    /// Say it back.
    Echo {
        token: String,
    },
    /// A block follows.
    Take {
        bytes: u32,
    },
    /// Send so many bytes of [`nightjar_core::line_check::Stream`] of this seed, in hexadecimal.
    Give {
        bytes: u32,
        seed: String,
    },
    Done,
}
