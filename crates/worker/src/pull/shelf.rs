//! What was pulled and what is wished for, in a file: images that were pulled have no name of the registry in the Engine,
//! so which of them is which digest is known here alone.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nightjar_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::catalogue::Source;

const LARGEST_FILE_BYTES: u64 = 1024 * 1024;

/// An image that was pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pulled {
    /// As in the catalogue, e.g. `pytorch-cuda:full`.
    pub name: String,
    /// Registry, repository and digest.
    pub reference: String,
    /// Of the catalogue.
    pub digest: String,
    /// The Engine's id of it, which was checked against what the digest names.
    pub image_id: String,
    /// Its name in the Engine.
    pub tag: String,
    pub size_bytes: u64,
    pub pulled_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    /// Names, the next one first.
    wishes: Vec<String>,
    pulled: Vec<Pulled>,
    /// In whose place another of the same name has come, and which are still to be removed.
    #[serde(default)]
    superseded: Vec<Pulled>,
}

/// See the module's text. Without a file it holds nothing and keeps nothing.
#[derive(Debug)]
pub(crate) struct Shelf {
    path: Option<PathBuf>,
    content: Mutex<Content>,
    changed: Notify,
}

impl Shelf {
    /// What the file holds. One that cannot be read is as good as none: what it knew is pulled again.
    pub fn open(path: Option<PathBuf>) -> Self {
        let content = path.as_deref().map_or_else(Content::default, |path| {
            read(path).unwrap_or_else(|error| {
                tracing::warn!("{} cannot be read, so it is begun anew: {error:#}", path.display());
                Content::default()
            })
        });
        Self { path, content: Mutex::new(content), changed: Notify::new() }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Content)) {
        let mut content = self.content();
        let before = content.clone();
        change(&mut content);
        if *content == before {
            return;
        }
        if content.pulled != before.pulled {
            self.changed.notify_one();
        }
        if let Some(path) = &self.path
            && let Err(error) = write(path, &content)
        {
            tracing::warn!("{} cannot be written: {error:#}", path.display());
        }
    }

    /// Waits until other images are on it than before. For one listener.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    pub fn wishes(&self) -> Vec<String> {
        self.content().wishes.clone()
    }

    pub fn wish(&self, name: &str) {
        self.change(|content| {
            if !content.wishes.iter().any(|known| known == name) {
                content.wishes.push(name.to_owned());
            }
        });
    }

    /// The same before all others.
    pub fn wish_first(&self, name: &str) {
        self.change(|content| {
            if content.wishes.first().is_none_or(|first| first != name) {
                content.wishes.retain(|known| known != name);
                content.wishes.insert(0, name.to_owned());
            }
        });
    }

    /// It is here, or no longer wished for.
    pub fn drop_wish(&self, name: &str) {
        self.change(|content| content.wishes.retain(|known| known != name));
    }

    pub fn pulled(&self) -> Vec<Pulled> {
        self.content().pulled.clone()
    }

    /// Takes the place of an earlier one of that name, which is to be removed then.
    pub fn put(&self, pulled: Pulled) {
        self.change(|content| {
            let earlier = content.pulled.extract_if(.., |known| known.name == pulled.name);
            content.superseded.extend(earlier);
            content.superseded.retain(|old| old.tag != pulled.tag);
            content.wishes.retain(|known| *known != pulled.name);
            content.pulled.push(pulled);
        });
    }

    pub fn superseded(&self) -> Vec<Pulled> {
        self.content().superseded.clone()
    }

    /// One that was superseded is removed.
    pub fn forget(&self, tag: &str) {
        self.change(|content| content.superseded.retain(|old| old.tag != tag));
    }

    pub fn take(&self, name: &str) {
        self.change(|content| content.pulled.retain(|known| known.name != name));
    }

    pub fn note_use(&self, name: &str, at: Timestamp) {
        self.change(|content| {
            for known in content.pulled.iter_mut().filter(|known| known.name == name) {
                known.last_used_at = Some(at);
            }
        });
    }

    /// The Engine's ids by the catalogue's digests.
    pub fn ids(&self) -> HashMap<String, String> {
        let content = self.content();
        content.pulled.iter().map(|known| (known.digest.clone(), known.image_id.clone())).collect()
    }

    /// What a container of an image is made from: exactly what was checked, where it was pulled.
    pub fn reference_of(&self, image: &Source) -> String {
        let id = image.digest.as_ref().and_then(|digest| self.ids().remove(digest));
        id.unwrap_or_else(|| image.pinned_reference())
    }
}

fn read(path: &Path) -> anyhow::Result<Content> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Content::default()),
        Err(error) => return Err(error.into()),
        Ok(found) => anyhow::ensure!(found.len() <= LARGEST_FILE_BYTES, "it is too large to be ours"),
    }
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

fn write(path: &Path, content: &Content) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec_pretty(content)?)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_there_is_there_after_a_restart_and_a_broken_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images").join("pulled.json");
        let shelf = Shelf::open(Some(path.clone()));
        shelf.wish("a:b");
        shelf.wish("a:b");
        shelf.wish("c:d");
        shelf.wish_first("gateway");
        shelf.wish("gateway");
        assert_eq!(shelf.wishes(), ["gateway", "a:b", "c:d"]);
        shelf.drop_wish("gateway");
        let pulled = Pulled {
            name: "a:b".into(),
            reference: "r".into(),
            digest: "sha256:aa".into(),
            image_id: "sha256:bb".into(),
            tag: "t".into(),
            size_bytes: 1,
            pulled_at: Timestamp(1),
            last_used_at: None,
        };
        shelf.put(Pulled { tag: "earlier".into(), digest: "sha256:00".into(), ..pulled.clone() });
        shelf.put(pulled.clone());
        let tags =
            |shelf: &Shelf| -> Vec<String> { shelf.superseded().into_iter().map(|old| old.tag).collect() };
        assert_eq!(tags(&shelf), ["earlier"]);
        // What comes once more is the same one.
        shelf.put(pulled);
        assert_eq!(tags(&shelf), ["earlier"]);
        shelf.note_use("a:b", Timestamp(7));
        let again = Shelf::open(Some(path.clone()));
        assert_eq!(tags(&again), ["earlier"]);
        again.forget("earlier");
        assert!(tags(&again).is_empty());
        assert_eq!(again.wishes(), ["c:d"]);
        assert_eq!(again.pulled()[0].last_used_at, Some(Timestamp(7)));
        assert_eq!(again.ids()["sha256:aa"], "sha256:bb");
        again.take("a:b");
        assert!(Shelf::open(Some(path.clone())).pulled().is_empty());
        std::fs::write(&path, "no json").unwrap();
        assert!(Shelf::open(Some(path)).wishes().is_empty());
    }
}
