//! A renter's folder on its disk, encrypted by the file system itself with a key that comes with the lease.
//!
//! This container runs as the tenant's user without a capability, and before the tenant does; the key stays in the
//! kernel, with the mounted disk, and is gone with it. Names and contents are unreadable then; sizes are not.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nightjar_core::volume::VolumeKey;
use nightjar_protocol::guest::{GuestEvent, PLAIN_FOLDER, VolumeBoot};
use rustix::io::Errno;

use crate::kernel::{self, KEY_BYTES, KeyIdentifier};
use crate::line::{End, Line};
use crate::report;

/// Where the disk's top folder is in this container.
const DISK: &str = "/volume";
/// What the image has in its tenant's home.
const HOME: &str = "/workspace";
/// Process 1.
pub fn run() -> End {
    serve().unwrap_or_else(|end| end)
}

fn serve() -> Result<End, End> {
    let (mut line, boot) = Line::open::<VolumeBoot>()?;
    let (folder, encrypted) =
        prepare(Path::new(DISK), boot.key).map_err(|why| End::Failed { what: "volume", why })?;
    report::event(&GuestEvent::VolumeReady { folder, encrypted });
    loop {
        line.next()?;
    }
}

/// The folder's name, and whether it is encrypted. Each key has a folder of its own.
fn prepare(disk: &Path, key: Option<VolumeKey>) -> Result<(String, bool), String> {
    let opened = File::open(disk).map_err(|error| format!("{}: {error}", disk.display()))?;
    let identifier = match &key {
        Some(key) => add_key(&opened, key)?,
        None => None,
    };
    let name = identifier.map_or_else(|| PLAIN_FOLDER.to_owned(), |identifier| spelled(&identifier));
    let folder = disk.join(&name);
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let is_new = match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(failed(error)),
    };
    if let Some(identifier) = identifier {
        let opened = File::open(&folder).map_err(failed)?;
        kernel::encrypt(&opened, identifier)
            .map_err(|error| format!("{} cannot be encrypted: {error}", folder.display()))?;
    }
    if is_new {
        greet(Path::new(HOME), &folder).map_err(failed)?;
    }
    Ok((name, identifier.is_some()))
}

fn spelled(identifier: &[u8]) -> String {
    identifier.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `None` where this kernel encrypts no files.
fn add_key(disk: &File, key: &VolumeKey) -> Result<Option<KeyIdentifier>, String> {
    let mut raw = [0; KEY_BYTES];
    for (byte, digits) in raw.iter_mut().zip(key.as_str().as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).map_err(|_| "the volume's key is no key".to_owned())?;
    }
    match kernel::add_key(disk, raw) {
        Ok(identifier) => Ok(Some(identifier)),
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(format!("the volume's key is not taken: {error}")),
    }
}

/// A new home begins as the image's own.
fn greet(home: &Path, folder: &Path) -> std::io::Result<()> {
    let Ok(entries) = fs::read_dir(home) else { return Ok(()) };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())) {
        fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_without_a_key_begins_as_the_images_and_stays() {
        let folder = std::env::temp_dir().join(format!("nightjar-guest-volume-{}", std::process::id()));
        let (disk, home) = (folder.join("disk"), folder.join("home"));
        fs::create_dir_all(&disk).unwrap();
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join(".profile"), "first").unwrap();
        assert_eq!(prepare(&disk, None), Ok((PLAIN_FOLDER.to_owned(), false)));
        greet(&home, &disk.join(PLAIN_FOLDER)).unwrap();
        fs::write(disk.join("plain/.profile"), "mine").unwrap();
        assert_eq!(prepare(&disk, None), Ok((PLAIN_FOLDER.to_owned(), false)));
        assert_eq!(fs::read_to_string(disk.join("plain/.profile")).unwrap(), "mine");
        fs::remove_dir_all(&folder).unwrap();
    }
}
