//! Blobs on their way: a file each, named by its digest. One that is not whole is only ever added to, so that whatever
//! ends this program leaves a beginning behind that the next run goes on from.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt;

const PIECE: usize = 1024 * 1024;

/// The folder of all of them.
#[derive(Clone, Debug)]
pub(super) struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    fn file_of(&self, digest: &str, ending: &str) -> PathBuf {
        // A digest was checked to be `sha256:` and 64 hexadecimal digits.
        self.folder.join(format!("{}{ending}", digest.replace(':', "-")))
    }

    pub fn whole(&self, digest: &str) -> PathBuf {
        self.file_of(digest, "")
    }

    fn partial(&self, digest: &str) -> PathBuf {
        self.file_of(digest, ".partial")
    }

    /// Whether all of it is here; it was checked before it got this name.
    pub fn has(&self, digest: &str, size_bytes: u64) -> bool {
        std::fs::metadata(self.whole(digest)).is_ok_and(|found| found.len() == size_bytes)
    }

    /// What of one that is not whole is here.
    pub fn have_bytes(&self, digest: &str) -> u64 {
        std::fs::metadata(self.partial(digest)).map_or(0, |found| found.len())
    }

    /// Opens what there is of it, to add to.
    pub async fn go_on(&self, digest: &str) -> io::Result<Growing> {
        let path = self.partial(digest);
        let file = OpenOptions::new().create(true).append(true).open(&path).await?;
        let read = path.clone();
        let (hasher, have_bytes) =
            tokio::task::spawn_blocking(move || hash(&read)).await.map_err(io::Error::other)??;
        Ok(Growing { file, path, whole: self.whole(digest), hasher, have_bytes })
    }

    /// Forgets what there is of one that is not whole.
    pub async fn throw_away(&self, digest: &str) -> io::Result<()> {
        gone(fs::remove_file(self.partial(digest)).await)
    }

    /// Takes a whole one away: the Engine has what is in it.
    pub async fn remove(&self, digest: &str) -> io::Result<()> {
        gone(fs::remove_file(self.whole(digest)).await)
    }

    /// Takes everything away.
    pub fn clear(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(())
    }
}

/// What was not there is gone, too.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn hash(path: &Path) -> io::Result<(Sha256, u64)> {
    let (mut hasher, mut have_bytes) = (Sha256::new(), 0);
    let mut file = std::fs::File::open(path)?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok((hasher, have_bytes));
        }
        hasher.update(&piece[..read]);
        have_bytes += read as u64;
    }
}

/// A blob that is added to.
pub(super) struct Growing {
    file: File,
    path: PathBuf,
    whole: PathBuf,
    hasher: Sha256,
    have_bytes: u64,
}

impl Growing {
    pub fn have_bytes(&self) -> u64 {
        self.have_bytes
    }

    pub async fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await?;
        self.hasher.update(bytes);
        self.have_bytes += bytes.len() as u64;
        Ok(())
    }

    /// What was added is in the file, as far as this program goes.
    pub async fn pause(mut self) -> io::Result<()> {
        self.file.flush().await
    }

    /// Gives it its name if its digest is right; else nothing of it is left. Gives whether it was.
    pub async fn finish(mut self, digest: &str) -> io::Result<bool> {
        self.file.flush().await?;
        if format!("sha256:{}", hex::encode(self.hasher.finalize())) != digest {
            drop(self.file);
            fs::remove_file(&self.path).await?;
            return Ok(false);
        }
        // Its name says that it was checked, so it must not have it before it is on the disk.
        self.file.sync_data().await?;
        drop(self.file);
        fs::rename(&self.path, &self.whole).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull::registry::digest_of;

    #[tokio::test]
    async fn a_beginning_is_gone_on_from_and_only_the_right_content_gets_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().join("blobs")).unwrap();
        let digest = digest_of(b"hello world");
        let mut growing = blobs.go_on(&digest).await.unwrap();
        growing.add(b"hello ").await.unwrap();
        growing.pause().await.unwrap();
        assert_eq!(blobs.have_bytes(&digest), 6);
        assert!(!blobs.has(&digest, 11));

        let mut growing = blobs.go_on(&digest).await.unwrap();
        assert_eq!(growing.have_bytes(), 6);
        growing.add(b"world").await.unwrap();
        assert!(growing.finish(&digest).await.unwrap());
        assert!(blobs.has(&digest, 11) && !blobs.has(&digest, 12));

        let other = digest_of(b"other");
        let mut growing = blobs.go_on(&other).await.unwrap();
        growing.add(b"wrong").await.unwrap();
        assert!(!growing.finish(&other).await.unwrap());
        assert_eq!(blobs.have_bytes(&other), 0);
        blobs.remove(&digest).await.unwrap();
        blobs.remove(&digest).await.unwrap();
        assert!(!blobs.has(&digest, 11));
        blobs.go_on(&other).await.unwrap().add(b"o").await.unwrap();
        blobs.clear().unwrap();
        assert_eq!(blobs.have_bytes(&other), 0);
    }
}
