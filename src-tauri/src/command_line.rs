//! How Windows starts this program for somebody else: one line of text.
#![cfg_attr(not(windows), allow(dead_code, reason = "used on Windows, tested everywhere"))]

use std::path::{Path, PathBuf};

use anyhow::Context;

pub fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("where this program lies is not known")
}

/// The program in quotes, since its folder may have blanks in its name, and what it is told.
///
/// # Errors
/// When the path cannot be written so.
pub fn of(program: &Path, arguments: &str) -> anyhow::Result<String> {
    let program = program.to_str().context("this program's path is no text")?;
    let fits = !program.contains(|c: char| c == '"' || c.is_control());
    anyhow::ensure!(fits, "this program's path holds a quote or a control character");
    Ok(format!("\"{program}\" {arguments}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_blanks_stays_one_word() {
        let program = Path::new(r"C:\Program Files\Nightjar\nightjar-desktop.exe");
        let line = of(program, "--hidden").unwrap();
        assert_eq!(line, r#""C:\Program Files\Nightjar\nightjar-desktop.exe" --hidden"#);
        assert!(of(Path::new("C:\\a\" --evil"), "--hidden").is_err());
        assert!(of(Path::new("C:\\a\nb"), "--hidden").is_err());
    }
}
