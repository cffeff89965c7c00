//! Secrets that are shown once and kept as a hash: renters' tokens and hosts' pairing codes. Both are random and long,
//! so a plain SHA-256 is enough, and looking one up by its hash tells nothing by the time it takes.

use nightjar_core::volume::VolumeKey;
use nightjar_protocol::market_api::VolumeSecret;
use sha2::{Digest, Sha256};

/// Crockford's alphabet: nothing in it is mistaken for something else when it is read out.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// 80 random bits as `ABCD-EFGH-JKMN-PQRS`.
pub(crate) fn new_pairing_code() -> String {
    let symbols = random_symbols(16);
    let groups: Vec<&str> =
        symbols.as_bytes().chunks(4).filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join("-")
}

/// 256 random bits; the prefix lets a scanner of leaked secrets know what it found.
pub(crate) fn new_renter_token() -> String {
    format!("nightjar_renter_{}", hex::encode(rand::random::<[u8; 32]>()))
}

/// What hosts see of a renter, the same in all of the renter's leases.
pub(crate) fn new_pseudonym() -> String {
    format!("renter-{}", random_symbols(10).to_ascii_lowercase())
}

pub(crate) fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// What a renter keeps on one host is encrypted with. Another host of the same renter learns nothing of it.
pub(crate) fn volume_key(secret: &VolumeSecret, host_id: &str) -> VolumeKey {
    let text = format!("nightjar-volume/1\n{host_id}\n{}\n", secret.0.to_ascii_lowercase());
    VolumeKey::from_bytes(Sha256::digest(text.as_bytes()).into())
}

/// However the code was typed: case, hyphens and blanks do not count, and what reads alike is alike.
pub(crate) fn pairing_code_hash(typed: &str) -> String {
    let plain: String = typed
        .chars()
        .filter(|c| !matches!(c, '-' | ' '))
        .map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        })
        .collect();
    hash(&plain)
}

fn random_symbols(count: usize) -> String {
    // 256 is a multiple of 32, so no symbol is more likely than another.
    (0..count).map(|_| char::from(ALPHABET[usize::from(rand::random::<u8>() % 32)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_a_key_of_its_own_and_always_the_same() {
        let secret = VolumeSecret("ab".repeat(64));
        let key = volume_key(&secret, "h1");
        assert_eq!(key, volume_key(&VolumeSecret("AB".repeat(64)), "h1"));
        assert_ne!(key, volume_key(&secret, "h2"));
        assert_ne!(key, volume_key(&VolumeSecret("ac".repeat(64)), "h1"));
    }

    #[test]
    fn a_code_is_known_however_it_is_typed() {
        let code = new_pairing_code();
        assert_eq!(code.len(), 19);
        assert_eq!(pairing_code_hash(&code), pairing_code_hash(&code.to_lowercase().replace('-', " ")));
        assert_eq!(pairing_code_hash("O0I1-LLLL"), pairing_code_hash("00111111"));
        assert_ne!(pairing_code_hash(&code), pairing_code_hash(&new_pairing_code()));
        assert_ne!(new_renter_token(), new_renter_token());
    }
}
