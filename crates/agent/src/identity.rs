//! The host's ed25519 key: its name towards the coordinator and in the tunnel. Kept in the keyring of the operating
//! system, or, where there is none (a server), in a file that only its owner can read.

use std::path::Path;

use anyhow::{Context, bail};
use iroh_base::SecretKey;

use crate::settings_file::write_atomically;

const SERVICE: &str = "nightjar";
const FILE: &str = "host-key";

/// Finds the key, or makes one on the first start. A key that is there and cannot be read is an error, never replaced:
/// with it the host would lose its name and its earnings.
///
/// # Errors
/// When a stored key cannot be read or a new one cannot be kept.
pub fn load_or_create(data_dir: &Path, use_keyring: bool) -> anyhow::Result<SecretKey> {
    let path = data_dir.join(FILE);
    if path.exists() {
        return read_file(&path);
    }
    if use_keyring {
        // The account's name in the keyring is the data folder, so that two hosts on one PC have a key each.
        let account = data_dir.display().to_string();
        match in_keyring(&account) {
            Ok(key) => return Ok(key),
            Err(error) => tracing::warn!(%error, "no keyring can be used: the host key is kept in a file"),
        }
    }
    let key = SecretKey::generate();
    write_atomically(&path, hex::encode(key.to_bytes()).as_bytes())
        .with_context(|| format!("the host key cannot be written to {}", path.display()))?;
    Ok(key)
}

fn read_file(path: &Path) -> anyhow::Result<SecretKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    decode(text.trim().as_bytes())
        .with_context(|| format!("{} holds no key; restore it from a backup or move it away", path.display()))
}

fn decode(text: &[u8]) -> anyhow::Result<SecretKey> {
    let mut bytes = [0_u8; 32];
    if text.len() != 64 {
        bail!("64 hexadecimal digits are wanted, {} bytes were found", text.len());
    }
    hex::decode_to_slice(text, &mut bytes)?;
    Ok(SecretKey::from_bytes(&bytes))
}

/// The keyring's client blocks on a bus of its own, which must not happen inside an async runtime.
fn in_keyring(account: &str) -> anyhow::Result<SecretKey> {
    let account = account.to_owned();
    let asked = std::thread::spawn(move || -> anyhow::Result<SecretKey> {
        let entry = keyring::Entry::new(SERVICE, &account)?;
        match entry.get_password() {
            Ok(text) => decode(text.as_bytes()),
            Err(keyring::Error::NoEntry) => {
                let key = SecretKey::generate();
                entry.set_password(&hex::encode(key.to_bytes()))?;
                Ok(key)
            }
            Err(error) => Err(error.into()),
        }
    });
    asked.join().map_err(|_| anyhow::anyhow!("the keyring's client failed"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_a_file_stays_the_same_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_create(folder.path(), false).unwrap();
        let second = load_or_create(folder.path(), false).unwrap();
        assert_eq!(first.to_bytes(), second.to_bytes());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(folder.path().join(FILE), "short").unwrap();
        assert!(load_or_create(folder.path(), false).is_err(), "a broken key was replaced");
    }
}
