//! The first bytes of a stream: what the renter wants, and the host's one-byte answer.
//!
//! Request: two bytes of length (big-endian), then that many bytes of JSON. Answer: one byte, 0 for "open", otherwise a
//! [`Refusal`]'s number. Whatever follows is the service's own.

use iroh::endpoint::{RecvStream, SendStream};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use crate::error::{LinkError, Refusal};

/// Enough for the two names; nothing longer is read.
const HEADER_LIMIT: usize = 512;
const NAME_LIMIT: usize = 128;
const OPEN: u8 = 0;

/// What a stream is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub lease_id: String,
    pub service: String,
}

impl Header {
    pub fn new(lease_id: &str, service: &str) -> Result<Self, LinkError> {
        let header = Self { lease_id: lease_id.to_owned(), service: service.to_owned() };
        if header.is_sound() {
            Ok(header)
        } else {
            Err(LinkError::local(
                "the lease or the service has no usable name",
                format!("{lease_id:?}, {service:?}"),
            ))
        }
    }

    /// Names go into logs and lookups of the host: bounded, and of letters that need no escaping anywhere.
    fn is_sound(&self) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        [&self.lease_id, &self.service]
            .into_iter()
            .all(|name| !name.is_empty() && name.len() <= NAME_LIMIT && name.bytes().all(plain))
    }

    pub async fn send(&self, send: &mut SendStream) -> Result<(), LinkError> {
        let json = serde_json::to_vec(self).map_err(|error| LinkError::Protocol(error.to_string()))?;
        let length = u16::try_from(json.len()).map_err(|error| LinkError::Protocol(error.to_string()))?;
        // One write, so that the header leaves in one packet.
        let framed = [&length.to_be_bytes()[..], &json].concat();
        send.write_all(&framed).await.map_err(|error| LinkError::Broken(error.to_string()))
    }

    /// Reads a header; every fault of it is a [`Refusal::BadHeader`].
    pub async fn receive(recv: &mut RecvStream) -> Result<Self, Refusal> {
        let length = usize::from(recv.read_u16().await.map_err(|_| Refusal::BadHeader)?);
        if length == 0 || length > HEADER_LIMIT {
            return Err(Refusal::BadHeader);
        }
        let mut json = vec![0; length];
        recv.read_exact(&mut json).await.map_err(|_| Refusal::BadHeader)?;
        serde_json::from_slice::<Self>(&json).ok().filter(Self::is_sound).ok_or(Refusal::BadHeader)
    }
}

/// Tells the renter how it went.
pub(crate) async fn answer(send: &mut SendStream, outcome: Result<(), Refusal>) -> bool {
    let byte = outcome.map_or_else(Refusal::wire, |()| OPEN);
    send.write_all(&[byte]).await.is_ok()
}

/// Reads the host's answer.
pub(crate) async fn await_answer(recv: &mut RecvStream) -> Result<(), LinkError> {
    use iroh::endpoint::{ReadError, ReadExactError};
    let mut byte = [0];
    match recv.read_exact(&mut byte).await {
        Ok(()) if byte[0] == OPEN => Ok(()),
        Ok(()) => Err(Refusal::from_wire(byte[0])
            .map_or_else(|| LinkError::Protocol(format!("answer {}", byte[0])), LinkError::Refused)),
        Err(ReadExactError::ReadError(ReadError::Reset(code))) => Err(Refusal::from_reset_code(code)
            .map_or_else(|| LinkError::Protocol(format!("reset {code}")), LinkError::Refused)),
        Err(ReadExactError::FinishedEarly(_)) => Err(LinkError::Protocol("no answer".to_owned())),
        Err(ReadExactError::ReadError(error)) => Err(LinkError::Broken(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_printable() {
        assert!(Header::new("lease-1", "ssh").is_ok());
        let long = "x".repeat(NAME_LIMIT + 1);
        for (lease, service) in
            [("", "ssh"), ("lease", ""), ("a b", "ssh"), ("a\"", "ssh"), (long.as_str(), "ssh")]
        {
            assert_eq!(Header::new(lease, service).unwrap_err().code(), "local");
        }
    }

    #[test]
    fn the_longest_sound_header_fits() {
        let longest = Header { lease_id: "l".repeat(NAME_LIMIT), service: "s".repeat(NAME_LIMIT) };
        assert!(longest.is_sound());
        assert!(serde_json::to_vec(&longest).unwrap().len() <= HEADER_LIMIT);
    }
}
