//! What the tenant is told before its card is taken, as a file in the worker and as an address in the gateway.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nightjar_core::time::Timestamp;
use nightjar_protocol::guest::Notice;

use crate::shared_folder;

/// By this machine's clock, which is the agent's too.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A reader sees the old notice or the new one and no part of either.
pub fn write(path: &Path, notice: &Notice) {
    let fresh = path.with_extension("new");
    // The tenant may have taken the folder's place; it harms only itself.
    let _ = shared_folder::write(&fresh, &notice.shown(now()).to_string())
        .and_then(|()| fs::rename(&fresh, path));
}

pub fn remove(path: &Path) {
    // It is not there where nothing was to be told.
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use nightjar_core::parting::{Cause, Parting, Step};

    use super::*;
    use crate::shared_folder::tests::{in_time, put_pipe};

    #[test]
    fn a_notice_comes_whole_and_goes() {
        let folder = std::env::temp_dir().join(format!("nightjar-guest-notice-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("notice.json");
        let at = now();
        for cause in [Cause::OwnerBack, Cause::Game] {
            let parting = Parting { step: Step::Freeze, cause, at, deadline: at.plus_ms(9_500) };
            // What a tenant of ill will has ready for process 1.
            put_pipe(&path.with_extension("new"));
            let place = path.clone();
            in_time(move || write(&place, &Notice::of(&parting)));
            let read: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(read["cause"], cause.as_str());
            assert!(read["seconds_left"].as_u64().is_some_and(|left| left <= 9), "{read}");
        }
        remove(&path);
        remove(&path);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "something is left beside it");
        fs::remove_dir_all(&folder).unwrap();
    }
}
