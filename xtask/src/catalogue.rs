//! The catalogue's signature: ed25519 over the file, by OpenSSL's command line, so that an operator needs nothing of ours to
//! sign a catalogue of their own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::packages;
use crate::shell::{Done, program, root, step};

/// Names the file with the secret key, PEM.
const SECRET: &str = "NIGHTJAR_CATALOGUE_SECRET";
/// What stands before the 32 bytes of an ed25519 key in DER.
const DER_HEAD_BYTES: usize = 12;

pub(crate) fn sign() -> Done {
    packages::openssl()?;
    let secret = secret()?;
    let catalogue = root().join("images/catalog.toml");
    let scratch = std::env::temp_dir().join(format!("nightjar-catalogue-{}", std::process::id()));
    fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let signed = sign_with(&secret, &catalogue, &scratch);
    let cleared = fs::remove_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()));
    signed.and(cleared)
}

fn sign_with(secret: &Path, catalogue: &Path, scratch: &Path) -> Done {
    let (signature, public) = (scratch.join("signature"), scratch.join("public"));
    let mut sign = program("openssl", &["pkeyutl", "-sign", "-rawin"]);
    sign.arg("-inkey").arg(secret).arg("-in").arg(catalogue).arg("-out").arg(&signature);
    step("sign the catalogue", &mut sign)?;
    let mut tell = program("openssl", &["pkey", "-pubout", "-outform", "DER"]);
    tell.arg("-in").arg(secret).arg("-out").arg(&public);
    step("the key's public part", &mut tell)?;
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let public = read(&public)?;
    let public = public.get(DER_HEAD_BYTES..).filter(|key| key.len() == 32);
    let public = public
        .ok_or("the secret key is not an ed25519 key: make one with `openssl genpkey -algorithm ed25519`")?;
    let write = |path: PathBuf, bytes: &[u8]| {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(&path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    };
    write(catalogue.with_extension("toml.sig"), &read(&signature)?)?;
    write(catalogue.with_extension("pub"), public)
}

/// The operator's, or one that is made for this account. It never lies in the checkout.
fn secret() -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os(SECRET) {
        return Ok(given.into());
    }
    let home = std::env::var_os("HOME").ok_or(format!("name the file with the secret key in {SECRET}"))?;
    let path = Path::new(&home).join(".config/nightjar/catalogue.pem");
    if !path.exists() {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        // OpenSSL lets nobody else read it.
        let mut make = program("openssl", &["genpkey", "-algorithm", "ed25519"]);
        step("a key of your own for catalogues", make.arg("-out").arg(&path))?;
    }
    Ok(path)
}
