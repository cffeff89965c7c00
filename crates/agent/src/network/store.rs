//! What a month has carried, kept over restarts: one small file beside the journal, written whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nightjar_core::network::DataUse;
use tokio::time::Instant;

use crate::settings_file::write_atomically;

const FILE: &str = "traffic.json";
/// A crash forgets no more than this, and only until the gateways that still stand have said their counters again.
const WRITE_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Store {
    path: PathBuf,
    written: DataUse,
    written_at: Instant,
}

impl Store {
    /// A file that cannot be read is kept under another name: a month is then counted from now on.
    pub(super) fn open(data_dir: &Path) -> (Self, DataUse) {
        let path = data_dir.join(FILE);
        let read = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!("{} cannot be read ({error}); it is put aside", path.display());
                let _ = std::fs::rename(&path, path.with_extension("broken"));
                DataUse::default()
            }),
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    tracing::warn!("{} cannot be read: {error}", path.display());
                }
                DataUse::default()
            }
        };
        (Self { path, written: read.clone(), written_at: Instant::now() }, read)
    }

    /// Writes what changed, at most every ten seconds unless `is_last`.
    pub(super) async fn keep(&mut self, used: &DataUse, is_last: bool) {
        if *used == self.written || (!is_last && self.written_at.elapsed() < WRITE_EVERY) {
            return;
        }
        self.written_at = Instant::now();
        let Ok(bytes) = serde_json::to_vec(used) else { return };
        let path = self.path.clone();
        match tokio::task::spawn_blocking(move || write_atomically(&path, &bytes)).await {
            Ok(Ok(())) => self.written = used.clone(),
            Ok(Err(error)) => tracing::warn!("{} cannot be written: {error}", self.path.display()),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use nightjar_core::lease::LeaseId;
    use nightjar_core::network::{Month, Traffic};
    use nightjar_core::time::Timestamp;

    use super::*;

    #[tokio::test]
    async fn a_restart_goes_on_where_it_stood_and_a_broken_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, mut used) = Store::open(folder.path());
        let lease = LeaseId("a".into());
        used.turn_to(&Month { name: "2026-11".into(), ends_at: Timestamp(0) });
        used.take(&lease, Traffic { up_bytes: 5, down_bytes: 7 });
        store.keep(&used, false).await;
        assert!(!folder.path().join(FILE).exists(), "not every byte is a write");
        store.keep(&used, true).await;
        let (_, mut again) = Store::open(folder.path());
        assert_eq!(again, used);
        again.take(&lease, Traffic { up_bytes: 6, down_bytes: 7 });
        assert_eq!(again.used().sum(), 13);
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(Store::open(folder.path()).1, DataUse::default());
        assert!(folder.path().join("traffic.broken").exists());
    }
}
