//! The first bytes of a stream: what the renter wants, and the host's one-byte answer.
//!
//! Request: two bytes of length (big-endian), then that many bytes of JSON. Answer: one byte, 0 for "open", otherwise a
//! [`Refusal`]'s number. Whatever follows is the service's own.

use iroh::EndpointId;
use iroh::endpoint::{RecvStream, SendStream};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use crate::delegation;
use crate::error::{LinkError, Refusal};

/// Enough for two names and a signature; nothing longer is read.
const HEADER_LIMIT: usize = 1024;
const NAME_LIMIT: usize = 128;
const OPEN: u8 = 0;

/// What a stream is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub lease_id: String,
    pub service: String,
    /// Whose lease it is, where that is not the endpoint's own key (see [`delegation`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_for: Option<String>,
}

impl Header {
    pub fn new(lease_id: &str, service: &str, acts_for: &str) -> Result<Self, LinkError> {
        let (lease_id, service) = (lease_id.to_owned(), service.to_owned());
        let header = Self { lease_id, service, acts_for: Some(acts_for.to_owned()) };
        if header.is_sound() {
            Ok(header)
        } else {
            let names = format!("{:?}, {:?}", header.lease_id, header.service);
            Err(LinkError::local("the lease or the service has no usable name", names))
        }
    }

    /// Names go into logs and lookups of the host: bounded, and of letters that need no escaping anywhere.
    fn is_sound(&self) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        [&self.lease_id, &self.service]
            .into_iter()
            .all(|name| !name.is_empty() && name.len() <= NAME_LIMIT && name.bytes().all(plain))
    }

    /// The key for which `endpoint` opened the stream.
    pub fn renter_key(&self, endpoint: &EndpointId) -> Result<[u8; 32], Refusal> {
        match &self.acts_for {
            None => Ok(*endpoint.as_bytes()),
            Some(word) => delegation::read(word, endpoint).ok_or(Refusal::BadHeader),
        }
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
        assert!(Header::new("lease-1", "ssh", "00").is_ok());
        let long = "x".repeat(NAME_LIMIT + 1);
        for (lease, service) in
            [("", "ssh"), ("lease", ""), ("a b", "ssh"), ("a\"", "ssh"), (long.as_str(), "ssh")]
        {
            assert_eq!(Header::new(lease, service, "00").unwrap_err().code(), "local");
        }
    }

    #[test]
    fn the_longest_sound_header_fits() {
        let renter = iroh::SecretKey::from_bytes(&[1; 32]);
        let word = delegation::write(&renter, &renter.public());
        let longest = Header::new(&"l".repeat(NAME_LIMIT), &"s".repeat(NAME_LIMIT), &word).unwrap();
        assert!(serde_json::to_vec(&longest).unwrap().len() <= HEADER_LIMIT);
    }
}
