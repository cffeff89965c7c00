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
/// A file of the home's beginning on its way.
const UNFINISHED: &str = ".nightjar-unfinished";

/// Process 1.
pub fn run() -> End {
    serve().unwrap_or_else(|end| end)
}

fn serve() -> Result<End, End> {
    let (mut line, boot) = Line::open::<VolumeBoot>()?;
    let (folder, encrypted) = prepare(Path::new(DISK), Path::new(HOME), boot.key)
        .map_err(|why| End::Failed { what: "volume", why })?;
    report::event(&GuestEvent::VolumeReady { folder, encrypted });
    loop {
        line.next()?;
    }
}

/// The folder's name, and whether it is encrypted. Each key has a folder of its own.
fn prepare(disk: &Path, home: &Path, key: Option<VolumeKey>) -> Result<(String, bool), String> {
    let opened = File::open(disk).map_err(|error| format!("{}: {error}", disk.display()))?;
    let identifier = match &key {
        Some(key) => add_key(&opened, key)?,
        None => None,
    };
    let name = identifier.map_or_else(|| PLAIN_FOLDER.to_owned(), |identifier| spelled(&identifier));
    let folder = disk.join(&name);
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    if let Some(identifier) = identifier {
        let opened = File::open(&folder).map_err(failed)?;
        kernel::encrypt(&opened, identifier)
            .map_err(|error| format!("{} cannot be encrypted: {error}", folder.display()))?;
    }
    // Beside the folder, where no tenant gets at it. Folders from before there were marks are greeted once more, which
    // takes nothing from them.
    let mark = disk.join(format!("{name}.greeted"));
    if !mark.exists() {
        greet(home, &folder).and_then(|()| File::create(&mark)?.sync_all()).map_err(failed)?;
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

/// A new home begins as the image's own. What is there already stays, and each file is there whole or not at all: this
/// may be cut off anywhere and is then done again.
fn greet(home: &Path, folder: &Path) -> std::io::Result<()> {
    let Ok(entries) = fs::read_dir(home) else { return Ok(()) };
    let part = folder.join(UNFINISHED);
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())) {
        fs::copy(entry.path(), &part)?;
        File::open(&part)?.sync_all()?;
        match fs::hard_link(&part, folder.join(entry.file_name())) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs::remove_file(&part)?,
        }
    }
    match fs::remove_file(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => File::open(folder)?.sync_all(),
    }
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
        let plain = Ok((PLAIN_FOLDER.to_owned(), false));
        assert_eq!(prepare(&disk, &home, None), plain);
        assert_eq!(fs::read_to_string(disk.join("plain/.profile")).unwrap(), "first");
        fs::write(disk.join("plain/.profile"), "mine").unwrap();
        fs::write(home.join(".later"), "of a newer image").unwrap();
        assert_eq!(prepare(&disk, &home, None), plain);
        assert_eq!(fs::read_to_string(disk.join("plain/.profile")).unwrap(), "mine");
        assert!(!disk.join("plain/.later").exists(), "a home is greeted once");
        // Cut off after the folder was made, in the middle of a copy.
        fs::remove_file(disk.join("plain.greeted")).unwrap();
        fs::write(disk.join("plain").join(UNFINISHED), "of a new").unwrap();
        assert_eq!(prepare(&disk, &home, None), plain);
        assert_eq!(fs::read_to_string(disk.join("plain/.profile")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(disk.join("plain/.later")).unwrap(), "of a newer image");
        assert!(!disk.join("plain").join(UNFINISHED).exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
