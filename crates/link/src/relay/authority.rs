//! The certificate authority that the relay is trusted by. Hosts and renters get its certificate from the coordinator and
//! trust it for the relay alone.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ED25519,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::LinkError;

const KEY_FILE: &str = "relay-authority.key.pem";
const KEY_FILE_LIMIT_BYTES: u64 = 16 << 10;

/// The key is all that is kept: the certificate follows from it and is the same at every start, because an ed25519
/// signature is. So hosts that hold it need not be told anew.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn load_or_make(data_dir: &Path) -> Result<Self, LinkError> {
        let path = data_dir.join(KEY_FILE);
        let key = match read(&path)? {
            Some(pem) => KeyPair::from_pem(&pem).map_err(|error| {
                let way_out = "restore it, or delete it to make a new one (hosts and renters learn of it by themselves)";
                LinkError::local(format!("{} holds no usable key", path.display()), format!("{error}; {way_out}"))
            })?,
            None => make(data_dir, &path)?,
        };
        let issuer = CertifiedIssuer::self_signed(authority_params(), key)
            .map_err(|error| LinkError::local("the relay's authority could not be made", error))?;
        Ok(Self { issuer })
    }

    /// Its certificate.
    pub fn der(&self) -> &[u8] {
        self.issuer.der()
    }

    /// TLS for a server with these names and addresses, with a key that lives as long as the process.
    pub fn server_config(&self, names: &[&str]) -> Result<rustls::ServerConfig, LinkError> {
        let fault = |error: &dyn std::fmt::Display| {
            LinkError::local("the relay's certificate could not be made", error)
        };
        let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        names.dedup();
        let mut params = CertificateParams::new(names).map_err(|error| fault(&error))?;
        params.distinguished_name.push(DnType::CommonName, "Nightjar relay");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(|error| fault(&error))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|error| fault(&error))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| fault(&error))?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .map_err(|error| fault(&error))
    }
}

/// Changing anything here changes the certificate that hosts hold.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Nightjar relay authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn read(path: &Path) -> Result<Option<String>, LinkError> {
    let fault = |error: std::io::Error| LinkError::local(format!("{} cannot be read", path.display()), error);
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error)),
        Ok(metadata) if metadata.len() > KEY_FILE_LIMIT_BYTES => {
            return Err(fault(std::io::Error::other("it is too large to be a key")));
        }
        Ok(_) => {}
    }
    owner_only(path).map_err(fault)?;
    fs::read_to_string(path).map(Some).map_err(fault)
}

/// Writes a new key so that a crash leaves the whole file or none.
fn make(data_dir: &Path, path: &Path) -> Result<KeyPair, LinkError> {
    let key = KeyPair::generate_for(&PKCS_ED25519)
        .map_err(|error| LinkError::local("the relay's authority could not be made", error))?;
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(data_dir)?;
        // Readable by its owner alone from the first moment.
        let mut file = tempfile::NamedTempFile::new_in(data_dir)?;
        file.write_all(key.serialize_pem().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)?;
        owner_only(path)
    };
    write().map_err(|error| LinkError::local(format!("{} cannot be written", path.display()), error))?;
    Ok(key)
}

#[cfg(unix)]
fn owner_only(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

/// The data folder is in the user's profile, which Windows keeps from other users.
#[cfg(not(unix))]
fn owner_only(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_the_same_at_every_start() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::load_or_make(folder.path()).unwrap();
        let second = Authority::load_or_make(folder.path()).unwrap();
        assert_eq!(first.der(), second.der());
    }

    #[cfg(unix)]
    #[test]
    fn the_key_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KEY_FILE);
        Authority::load_or_make(folder.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        Authority::load_or_make(folder.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_spoilt_key_is_said_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KEY_FILE);
        fs::write(&path, "nothing").unwrap();
        let error = Authority::load_or_make(folder.path()).err().unwrap();
        assert!(error.to_string().contains("holds no usable key"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "nothing");
    }
}
