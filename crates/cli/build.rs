//! Takes the window's page into the program, for `nightjar host --ui`. Without a built page the program is whole but for
//! that, and says so when it is asked for.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const PAGE: &str = "../../ui/dist";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={PAGE}");
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error=the window's page cannot be taken in: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A table of every file: its name in an address, and its content.
fn write() -> std::io::Result<()> {
    let folder = std::path::absolute(PAGE)?;
    let mut files = Vec::new();
    if folder.join("index.html").is_file() {
        collect(&folder, &mut files)?;
    }
    files.sort();
    let mut table = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(&folder).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        let _ = writeln!(table, "({name:?}, include_bytes!({:?}).as_slice()),", file.display().to_string());
    }
    table.push(']');
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    std::fs::write(out.join("page.rs"), table)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
