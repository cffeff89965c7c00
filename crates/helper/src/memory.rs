//! What survives the helper: a small file that is replaced as a whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::limits::Remembered;

/// Larger than any file that this program writes.
const LONGEST: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub struct Memory {
    folder: PathBuf,
}

impl Memory {
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn file(&self) -> PathBuf {
        self.folder.join("limits.json")
    }

    /// A file that cannot be read is set aside and said: nothing can be put back from it, and a new one is needed.
    #[must_use]
    pub fn load(&self) -> Remembered {
        let read = || -> anyhow::Result<Option<Remembered>> {
            let length = match fs::metadata(self.file()) {
                Ok(found) => found.len(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            anyhow::ensure!(length <= LONGEST, "it is {length} bytes long");
            Ok(Some(serde_json::from_slice(&fs::read(self.file())?)?))
        };
        match read() {
            Ok(remembered) => remembered.unwrap_or_default(),
            Err(error) => {
                tracing::error!(
                    "{} cannot be read, so limits of an earlier run are not put back; it is kept as limits.broken: {error:#}",
                    self.file().display()
                );
                let _ = fs::rename(self.file(), self.folder.join("limits.broken"));
                Remembered::default()
            }
        }
    }

    /// On the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written; the former file stays then.
    pub fn save(&self, remembered: &Remembered) -> anyhow::Result<()> {
        let fresh = self.folder.join("limits.json.new");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(remembered)?)?;
        file.sync_all()?;
        fs::rename(&fresh, self.file())?;
        // Elsewhere the name is as durable as the file.
        #[cfg(unix)]
        File::open(&self.folder)?.sync_all()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RememberedCard;
    use nightjar_core::gpu::GpuUuid;

    #[test]
    fn what_was_saved_is_loaded_and_a_broken_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(&folder.path().join("state")).unwrap();
        assert_eq!(memory.load(), Remembered::default());
        let card = RememberedCard { found: 1, ours: [2, 3].into() };
        let saved = Remembered { held: [(GpuUuid("GPU-1".into()), card)].into(), ..Remembered::default() };
        memory.save(&saved).unwrap();
        assert_eq!(memory.load(), saved);
        fs::write(memory.file(), "{\"held\":").unwrap();
        assert_eq!(memory.load(), Remembered::default());
        assert!(folder.path().join("state/limits.broken").exists() && !memory.file().exists());
    }
}
