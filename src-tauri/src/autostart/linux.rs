//! A desktop entry in the session's own folder for what starts with it.

use std::path::{Path, PathBuf};

use anyhow::Context;

const FILE: &str = "nightjar.desktop";

fn folder() -> Option<PathBuf> {
    directories::BaseDirs::new().map(|dirs| dirs.config_dir().join("autostart"))
}

pub fn is_on() -> Option<bool> {
    let path = folder()?.join(FILE);
    Some(std::fs::read_to_string(path).is_ok_and(|text| starts(&text)))
}

/// Whether a desktop starts an entry. Some switch one off by leaving it in place with a word in it.
fn starts(entry: &str) -> bool {
    let own = entry.lines().map(str::trim).skip_while(|line| *line != "[Desktop Entry]").skip(1);
    let mut keys = own
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim_end(), value.trim_start()));
    !keys.any(|line| matches!(line, ("Hidden", "true") | ("X-GNOME-Autostart-enabled", "false")))
}

/// # Errors
/// When the desktop's folder cannot be written.
pub fn set(on: bool) -> anyhow::Result<()> {
    let folder = folder().context("this account has no home folder")?;
    let path = folder.join(FILE);
    let failed = || format!("{} cannot be written", path.display());
    if !on {
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(failed),
            _ => Ok(()),
        };
    }
    let program = nightjar_agent::update::program().context("where this program lies is not known")?;
    std::fs::create_dir_all(&folder).with_context(failed)?;
    std::fs::write(&path, entry(&program)?).with_context(failed)
}

/// The entry's own quoting: what stands in quotes needs a backslash before these.
fn entry(program: &Path) -> anyhow::Result<String> {
    let program = program.to_str().context("this program's path is no text")?;
    anyhow::ensure!(!program.contains(char::is_control), "this program's path holds a control character");
    let mut quoted = String::new();
    for c in program.chars() {
        if "\"`$\\".contains(c) {
            quoted.push_str("\\\\");
        }
        quoted.push(c);
    }
    let quoted = quoted.replace('%', "%%");
    // A plain string, not a command line; without the program a desktop passes the entry over.
    let try_exec = program.replace('\\', "\\\\");
    Ok(format!(
        "[Desktop Entry]\nType=Application\nName=Nightjar\nExec=\"{quoted}\" --hidden\nTryExec={try_exec}\nIcon=nightjar\n\
         X-GNOME-Autostart-enabled=true\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_space_and_signs_is_quoted() {
        let text = entry(Path::new("/opt/my apps/100%/nightjar-desktop")).unwrap();
        assert!(text.contains("Exec=\"/opt/my apps/100%%/nightjar-desktop\" --hidden\n"), "{text}");
        assert!(entry(Path::new("/a$b")).unwrap().contains("/a\\\\$b"));
        assert!(entry(Path::new("/a\nExec=evil")).is_err());
    }

    #[test]
    fn an_entry_that_a_desktop_switched_off_is_off() {
        let own = entry(Path::new("/usr/bin/nightjar-desktop")).unwrap();
        assert!(starts(&own));
        for off in ["Hidden=true", "Hidden = true ", "X-GNOME-Autostart-enabled=false"] {
            let told = own.replace("X-GNOME-Autostart-enabled=true", off);
            assert!(!starts(&told), "{told}");
        }
        for on in ["NotHidden=true", "Hidden=false", "#Hidden=true", "[Desktop Action off]\nHidden=true"] {
            assert!(starts(&format!("{own}{on}\n")), "{on}");
        }
    }

    #[test]
    fn without_the_program_a_desktop_passes_the_entry_over() {
        let text = entry(Path::new("/opt/my apps/nightjar-desktop")).unwrap();
        assert!(text.contains("\nTryExec=/opt/my apps/nightjar-desktop\n"), "{text}");
    }
}
