//! What is made from the command line's own description: completions for shells and manual pages.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::arguments::Arguments;
use crate::failure::Failure;

const NAME: &str = "nightjar";

/// On standard output.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut text);
    // A reader such as `head` may have gone; the rest is then not missed.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), &text);
    Ok(())
}

/// `nightjar.1`, `nightjar-rent.1` and so on, one for each command that is listed.
pub fn pages(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
    let mut root = Arguments::command().name(NAME).display_name(NAME).disable_help_subcommand(true);
    root.build();
    write(&root, folder)
}

fn write(command: &Command, folder: &Path) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or(NAME).replace(' ', "-");
    let page = folder.join(format!("{name}.1"));
    let mut text = Vec::new();
    Man::new(command.clone())
        .render(&mut text)
        .and_then(|()| std::fs::write(&page, text))
        .map_err(|error| cannot_write(&page, &error))?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write(below, folder)?;
    }
    Ok(())
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{} cannot be written: {error}; choose a folder that is yours", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_that_is_listed_has_a_page_and_a_completion() {
        let folder = tempfile::tempdir().expect("a folder");
        pages(folder.path()).expect("pages");
        let command = Arguments::command();
        let listed: Vec<&str> =
            command.get_subcommands().filter(|below| !below.is_hide_set()).map(Command::get_name).collect();
        assert!(listed.len() > 20, "{listed:?}");
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Arguments::command(), NAME, &mut script);
        let script = String::from_utf8(script).expect("text");
        for name in listed {
            let page = std::fs::read_to_string(folder.path().join(format!("nightjar-{name}.1")));
            let page = page.unwrap_or_else(|error| panic!("no page for {name}: {error}"));
            assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
            assert!(script.contains(name), "{name} cannot be completed");
        }
        assert!(!folder.path().join("nightjar-manual.1").exists());
    }
}
