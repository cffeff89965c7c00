//! Whether a program was started lately, for the price of reading one line.

use std::path::{Path, PathBuf};

/// A launcher's child becomes the game a moment after it was made, under the same number.
const LOOKS_AFTER_ONE: u32 = 4;

/// Asks the kernel which number it gave out last.
#[derive(Debug)]
pub(super) struct Newcomers {
    file: PathBuf,
    last: Option<u64>,
    looks_left: u32,
}

impl Newcomers {
    pub(super) fn new(proc: &Path) -> Self {
        Self { file: proc.join("loadavg"), last: None, looks_left: 0 }
    }

    /// Whether a look at the programs may find another one than the last.
    pub(super) fn came(&mut self) -> bool {
        // Without the line every look is worth it.
        let Some(last) = std::fs::read_to_string(&self.file).ok().as_deref().and_then(last_in) else {
            return true;
        };
        if self.last.replace(last) != Some(last) {
            self.looks_left = LOOKS_AFTER_ONE;
        }
        let came = self.looks_left > 0;
        self.looks_left = self.looks_left.saturating_sub(1);
        came
    }
}

/// `0.20 0.18 0.12 1/80 11206`: the last field is the number of the youngest program or thread.
fn last_in(line: &str) -> Option<u64> {
    line.split_whitespace().nth(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_number_is_worth_a_few_looks_and_an_old_one_none() {
        let folder = tempfile::tempdir().unwrap();
        let write = |number: u64| {
            std::fs::write(folder.path().join("loadavg"), format!("0.20 0.18 0.12 1/80 {number}\n")).unwrap();
        };
        write(700);
        let mut newcomers = Newcomers::new(folder.path());
        let looks = |newcomers: &mut Newcomers| (0..20).filter(|_| newcomers.came()).count();
        assert_eq!(looks(&mut newcomers), 4);
        assert_eq!(looks(&mut newcomers), 0);
        write(701);
        assert_eq!(looks(&mut newcomers), 4);
        assert_eq!(looks(&mut newcomers), 0);
    }

    #[test]
    fn this_systems_line_is_understood_and_tells_of_a_child() {
        let mut newcomers = Newcomers::new(Path::new("/proc"));
        newcomers.came();
        let before = newcomers.last.expect("this system has the line");
        let child = std::process::Command::new("true").status().unwrap();
        assert!(child.success());
        newcomers.came();
        assert_ne!(newcomers.last, Some(before));
    }

    #[test]
    fn without_the_line_every_look_is_worth_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut newcomers = Newcomers::new(folder.path());
        assert!((0..20).all(|_| newcomers.came()));
    }
}
