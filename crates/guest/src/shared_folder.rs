//! Files that are written where the tenant can write too.

use std::fs::{self, File};
use std::io::{ErrorKind, Result, Write};
use std::path::Path;

/// A new file in the place of whatever is there. That is removed and never opened: a pipe that nobody reads would hold up
/// whoever opens it for ever, and a link would lead elsewhere.
pub fn create(path: &Path) -> Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().write(true).create_new(true).open(path)
}

/// The same with a text in it.
pub fn write(path: &Path, text: &str) -> Result<()> {
    create(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
pub mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A pipe that nobody reads, as a tenant puts it in a file's place.
    pub fn put_pipe(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    /// What the work gives, where it does not wait for ever.
    pub fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, over) = channel();
        std::thread::spawn(move || done.send(work()));
        over.recv_timeout(SOON).expect("it waits for who never comes")
    }

    #[test]
    fn what_a_tenant_put_in_its_place_is_not_opened() {
        let folder = std::env::temp_dir().join(format!("nightjar-guest-shared-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, other) = (folder.join("file"), folder.join("other"));
        fs::write(&other, "kept").unwrap();
        put_pipe(&path);
        let place = path.clone();
        in_time(move || write(&place, "one")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        write(&path, "two").unwrap();
        assert_eq!(
            (fs::read_to_string(&path).unwrap(), fs::read_to_string(&other).unwrap()),
            ("two".into(), "kept".into())
        );
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(write(&path, "three").is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
