//! A renter's word for an endpoint.
//!
//! A relay gives the packets for a key to the newest connection of that key alone. Were a renter's lasting key the identity
//! of its endpoints, `nightjar jupyter` would cut off the `nightjar ssh` that runs beside it. So each program has an
//! identity of its own, and shows with a signature for whom it acts. The signature is of no use to anyone else: TLS proves
//! that the peer holds the secret of the endpoint that it names.

use iroh::{EndpointId, PublicKey, SecretKey, Signature};

const STATEMENT: &[u8] = b"nightjar: this endpoint acts for me\0";
const KEY_BYTES: usize = 32;
const BYTES: usize = KEY_BYTES + Signature::LENGTH;

/// Writes that `endpoint` acts for the owner of `secret_key`.
pub(crate) fn write(secret_key: &SecretKey, endpoint: &EndpointId) -> String {
    let signature = secret_key.sign(&statement(endpoint));
    hex::encode([&secret_key.public().as_bytes()[..], &signature.to_bytes()].concat())
}

/// The key for which `endpoint` acts, if `text` says so and its signature is right.
pub(crate) fn read(text: &str, endpoint: &EndpointId) -> Option<[u8; KEY_BYTES]> {
    let mut bytes = [0; BYTES];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    let (key, signature) = bytes.split_at(KEY_BYTES);
    let key: [u8; KEY_BYTES] = key.try_into().ok()?;
    let signature = Signature::from_bytes(signature.try_into().ok()?);
    PublicKey::from_bytes(&key).ok()?.verify(&statement(endpoint), &signature).ok()?;
    Some(key)
}

fn statement(endpoint: &EndpointId) -> Vec<u8> {
    [STATEMENT, endpoint.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_for_one_endpoint_and_one_key() {
        let renter = SecretKey::from_bytes(&[1; 32]);
        let (endpoint, other) =
            (SecretKey::from_bytes(&[2; 32]).public(), SecretKey::from_bytes(&[3; 32]).public());
        let word = write(&renter, &endpoint);
        assert_eq!(read(&word, &endpoint), Some(*renter.public().as_bytes()));
        assert_eq!(read(&word, &other), None);
        let foreign = write(&SecretKey::from_bytes(&[4; 32]), &endpoint);
        let mixed = format!("{}{}", &word[..64], &foreign[64..]);
        for bad in [mixed.as_str(), "", "zz", &word[..190], &format!("{word}00")] {
            assert_eq!(read(bad, &endpoint), None, "{bad}");
        }
    }
}
