//! The settings file: TOML, written whole and atomically. A file that cannot be read is never overwritten: renting is
//! off and the owner is told why.

use std::io::{self, Write};
use std::path::Path;

use nightjar_core::settings::Settings;
use serde::Deserialize;

/// A settings file longer than this is none of ours.
const MAX_BYTES: u64 = 256 * 1024;

/// What was found.
#[derive(Debug, PartialEq)]
pub enum Loaded {
    /// There is no file yet.
    Fresh,
    Read(Box<Settings>),
    /// There is one, and it cannot be used; the sentence says where it is wrong.
    Unreadable(String),
}

#[must_use]
pub fn load(path: &Path) -> Loaded {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Loaded::Fresh,
        Ok(found) if found.len() > MAX_BYTES => {
            return Loaded::Unreadable(format!("{} is larger than {MAX_BYTES} bytes", path.display()));
        }
        _ => {}
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return Loaded::Unreadable(format!("{}: {error}", path.display())),
    };
    match toml::from_str::<Settings>(&text) {
        Ok(mut settings) => {
            Before::in_file(&text).carry_into(&mut settings);
            match settings.check() {
                Ok(()) => Loaded::Read(Box::new(settings)),
                Err(error) => Loaded::Unreadable(format!("{}: {error}", path.display())),
            }
        }
        // The parser's text spans lines and quotes the source; one line of it is a sentence.
        Err(error) => {
            let before = error.span().map_or("", |span| &text[..span.start.min(text.len())]);
            let line = before.matches('\n').count() + 1;
            Loaded::Unreadable(format!("{}, line {line}: {}", path.display(), error.message()))
        }
    }
}

/// What an earlier version wrote elsewhere: the line's limits stood among those of the worker.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Before {
    limits: LineBefore,
    network: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LineBefore {
    upload_kbit: Option<u32>,
    download_kbit: Option<u32>,
}

impl Before {
    fn in_file(text: &str) -> Self {
        toml::from_str(text).unwrap_or_default()
    }

    /// What stands at today's place comes first.
    fn carry_into(self, settings: &mut Settings) {
        if self.network.is_none() {
            let day = &mut settings.network.day;
            day.up_kbit = self.limits.upload_kbit.unwrap_or(day.up_kbit);
            day.down_kbit = self.limits.download_kbit.unwrap_or(day.down_kbit);
        }
    }
}

/// # Errors
/// When the folder or the file cannot be written; the old file is then still whole.
pub fn save(path: &Path, settings: &Settings) -> io::Result<()> {
    let text = toml::to_string_pretty(settings).map_err(io::Error::other)?;
    write_atomically(path, text.as_bytes())
}

/// Writes beside, makes it durable, and renames; only this account can read it, from its first moment on.
///
/// # Errors
/// What the system says; `path` is then as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("a file needs a folder"))?;
    std::fs::create_dir_all(folder)?;
    // Two programs at once must not write into one file, so each has its own.
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = private_file(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// A file that only its owner can read, from its first moment on.
fn private_file(path: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").join("settings.toml");
        assert_eq!(load(&path), Loaded::Fresh);
        let settings = Settings { idle_after_ms: 42_000, ..Settings::default() };
        save(&path, &settings).unwrap();
        assert_eq!(load(&path), Loaded::Read(Box::new(settings)));
    }

    #[test]
    fn limits_of_the_line_in_a_file_of_before_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, "[limits]\ncpu_cores = 3\nupload_kbit = 5000\ndownload_kbit = 70000\n")
            .unwrap();
        let Loaded::Read(settings) = load(&path) else { panic!("it cannot be read") };
        assert_eq!((settings.network.day.up_kbit, settings.network.day.down_kbit), (5_000, 70_000));
        save(&path, &settings).unwrap();
        assert_eq!(load(&path), Loaded::Read(settings));
    }

    /// As the README shows it, written by hand.
    #[test]
    fn a_schedule_and_a_tariff_are_written_by_hand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        let text = r#"
            [schedule]
            only_below_per_kwh_micros = 500000
            [[schedule.windows]]
            days = ["mon", "tue", "wed", "thu", "fri"]
            from = "22:00"
            to = "08:00"
            [[schedule.exceptions]]
            date = "2026-12-24"
            [[schedule.exceptions]]
            date = "2026-12-31"
            windows = [{ from = "10:00", to = "12:00" }]
            [tariff]
            price_per_kwh_micros = 600000
            overhead_watts = 40
            [[tariff.windows]]
            days = ["sat", "sun"]
            from = "00:00"
            to = "24:00"
            price_per_kwh_micros = 300000
        "#;
        std::fs::write(&path, text).unwrap();
        let Loaded::Read(settings) = load(&path) else { panic!("{:?}", load(&path)) };
        assert_eq!(settings.schedule.windows[0].to_string(), "mon,tue,wed,thu,fri 22:00-08:00");
        assert_eq!(settings.schedule.exceptions[1].windows[0].to_string(), "10:00-12:00");
        assert_eq!(settings.tariff.windows[0].price_per_kwh_micros, 300_000);
        save(&path, &settings).unwrap();
        assert_eq!(load(&path), Loaded::Read(settings));
    }

    #[test]
    fn a_file_that_is_wrong_is_told_with_its_line_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        for (text, said) in [
            ("idle_after_ms = 1000\nidel = 2\n", "line 2"),
            ("idle_after_ms = \"soon\"\n", "line 1"),
            ("idle_after_ms = 5\n", "between 1000"),
            ("version = 99\n", "version 99"),
            ("[[schedule.windows]]\ndays = [\"mon\"]\nfrom = \"8\"\nto = \"9:00\"\n", "HH:MM"),
            ("[[schedule.windows]]\ndays = []\nfrom = \"8:00\"\nto = \"9:00\"\n", "at least one day"),
            ("[schedule]\nonly_below_per_kwh_micros = 1\n", "[tariff]"),
            ("\u{0}\u{1}", "line 1"),
        ] {
            std::fs::write(&path, text).unwrap();
            let Loaded::Unreadable(detail) = load(&path) else { panic!("{text:?} was read") };
            assert!(detail.contains(said), "{detail}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
        assert!(matches!(load(&path), Loaded::Unreadable(_)));
    }
}
