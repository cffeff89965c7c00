//! Blobs on their way: a file each, named by its digest. One that is not whole is only ever added to, so that whatever
//! ends this program leaves a beginning behind that the next run goes on from.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::fs;
use tokio::task::JoinHandle;

const PIECE: usize = 1024 * 1024;
/// What of a blob is written at a time, and is lost when this program is killed.
const BATCH: usize = 256 * 1024;

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

    /// Whether all of it is here. It was checked before it got this name, but may have been on its way to the disk when
    /// the power failed, so it is checked again, and taken away if it is wrong.
    pub async fn check(&self, digest: &str) -> io::Result<bool> {
        let path = self.whole(digest);
        let hasher = match blocking(move || hash(&path)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            found => found?.0,
        };
        let is_right = digest_by(hasher) == digest;
        if !is_right {
            self.remove(digest).await?;
        }
        Ok(is_right)
    }

    /// What of one that is not whole is here.
    pub fn have_bytes(&self, digest: &str) -> u64 {
        std::fs::metadata(self.partial(digest)).map_or(0, |found| found.len())
    }

    /// Opens what there is of it, to add to.
    pub async fn go_on(&self, digest: &str) -> io::Result<Growing> {
        let path = self.partial(digest);
        let (writer, have_bytes) = blocking({
            let path = path.clone();
            move || {
                let file = OpenOptions::new().create(true).append(true).open(&path)?;
                let (hasher, have_bytes) = hash(&path)?;
                Ok((Writer { file, hasher }, have_bytes))
            }
        })
        .await?;
        let whole = self.whole(digest);
        Ok(Growing { path, whole, writer: Writing::Idle(writer), batch: Vec::new(), have_bytes })
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn digest_by(hasher: Sha256) -> String {
    format!("sha256:{}", hex::encode(hasher.finalize()))
}

struct Writer {
    file: File,
    hasher: Sha256,
}

impl Writer {
    fn add(mut self, bytes: &[u8]) -> io::Result<Self> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(self)
    }
}

/// A batch is written and hashed while the next one comes.
enum Writing {
    Idle(Writer),
    Busy(JoinHandle<io::Result<Writer>>),
    Failed,
}

impl Writing {
    async fn end(&mut self) -> io::Result<Writer> {
        match std::mem::replace(self, Self::Failed) {
            Self::Idle(writer) => Ok(writer),
            Self::Busy(writing) => writing.await.map_err(io::Error::other)?,
            Self::Failed => Err(io::Error::other("an earlier write failed")),
        }
    }
}

/// A blob that is added to.
pub(super) struct Growing {
    path: PathBuf,
    whole: PathBuf,
    writer: Writing,
    /// What is not given to the writer yet.
    batch: Vec<u8>,
    have_bytes: u64,
}

impl Growing {
    pub fn have_bytes(&self) -> u64 {
        self.have_bytes
    }

    pub async fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.batch.extend_from_slice(bytes);
        self.have_bytes += bytes.len() as u64;
        if self.batch.len() >= BATCH {
            let writer = self.writer.end().await?;
            let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH + bytes.len()));
            self.writer = Writing::Busy(tokio::task::spawn_blocking(move || writer.add(&batch)));
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<Writer> {
        let writer = self.writer.end().await?;
        let batch = std::mem::take(&mut self.batch);
        blocking(move || writer.add(&batch)).await
    }

    /// What was added is in the file, as far as this program goes.
    pub async fn pause(mut self) -> io::Result<()> {
        self.flush().await.map(drop)
    }

    /// Gives it its name if its digest is right; else nothing of it is left. Gives whether it was. An earlier attempt that
    /// was called off in the middle of a batch may have written that into the file after all, unseen by the digest.
    pub async fn finish(mut self, digest: &str) -> io::Result<bool> {
        let Writer { file, hasher } = self.flush().await?;
        let (file, length) = blocking(move || file.metadata().map(|found| (file, found.len()))).await?;
        drop(file);
        if digest_by(hasher) != digest || length != self.have_bytes {
            fs::remove_file(&self.path).await?;
            return Ok(false);
        }
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
        assert!(!blobs.check(&digest).await.unwrap());

        let mut growing = blobs.go_on(&digest).await.unwrap();
        assert_eq!(growing.have_bytes(), 6);
        growing.add(b"world").await.unwrap();
        assert!(growing.finish(&digest).await.unwrap());
        assert!(blobs.check(&digest).await.unwrap());

        let other = digest_of(b"other");
        let mut growing = blobs.go_on(&other).await.unwrap();
        growing.add(b"wrong").await.unwrap();
        assert!(!growing.finish(&other).await.unwrap());
        assert_eq!(blobs.have_bytes(&other), 0);
        blobs.remove(&digest).await.unwrap();
        blobs.remove(&digest).await.unwrap();
        assert!(!blobs.check(&digest).await.unwrap());
        let mut growing = blobs.go_on(&other).await.unwrap();
        growing.add(b"o").await.unwrap();
        growing.pause().await.unwrap();
        assert_eq!(blobs.have_bytes(&other), 1);
        blobs.clear().unwrap();
        assert_eq!(blobs.have_bytes(&other), 0);
    }

    #[tokio::test]
    async fn what_an_attempt_that_was_called_off_wrote_late_is_not_taken_for_the_blob() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().to_owned()).unwrap();
        let digest = digest_of(b"hello world");
        let mut growing = blobs.go_on(&digest).await.unwrap();
        let late = std::fs::OpenOptions::new().append(true).open(blobs.partial(&digest));
        late.unwrap().write_all(b"of the attempt before").unwrap();
        growing.add(b"hello world").await.unwrap();
        assert!(!growing.finish(&digest).await.unwrap());
        assert!(!blobs.whole(&digest).exists() && blobs.have_bytes(&digest) == 0);
    }

    #[tokio::test]
    async fn a_whole_one_that_the_disk_lost_does_not_count_and_many_batches_make_one() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().to_owned()).unwrap();
        let content: Vec<u8> = (0..3 * BATCH + 7).map(|index| (index % 251) as u8).collect();
        let digest = digest_of(&content);
        let mut growing = blobs.go_on(&digest).await.unwrap();
        for piece in content.chunks(50_000) {
            growing.add(piece).await.unwrap();
        }
        assert!(growing.finish(&digest).await.unwrap());
        assert!(blobs.check(&digest).await.unwrap());
        std::fs::write(blobs.whole(&digest), vec![0; content.len()]).unwrap();
        assert!(!blobs.check(&digest).await.unwrap());
        assert!(!blobs.whole(&digest).exists());
    }
}
