//! Checks that the window was built, and lets Tauri generate what it needs.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let page = Path::new("../ui/dist/index.html");
    println!("cargo::rerun-if-changed={}", page.display());
    // Tauri takes the files in at compile time and is silent about which are not there.
    if !page.is_file() {
        println!(
            "cargo::error=the window is not built (ui/dist/index.html is missing): run `cargo xtask ui`"
        );
        return ExitCode::FAILURE;
    }
    let commands = tauri_build::AppManifest::new().commands(&["view", "command", "enrol", "ask"]);
    let windows = tauri_build::WindowsAttributes::new().window_icon_path("../icons/app.ico");
    let attributes = tauri_build::Attributes::new().app_manifest(commands).windows_attributes(windows);
    match tauri_build::try_build(attributes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!(
                "cargo::error=the desktop shell cannot be prepared: {}",
                format!("{error:#}").replace('\n', " ")
            );
            ExitCode::FAILURE
        }
    }
}
