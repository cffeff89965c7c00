//! A process as the kernel tells of it. No question needs it to run.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Process 1 of every container of ours.
pub(crate) const GUEST_PROGRAM: &[u8] = b"nightjar-guest";
const LONGEST_PROC_FILE: u64 = 64 * 1024;
const ROOT: u32 = 0;

#[derive(Debug)]
pub(crate) struct Process {
    words: Vec<Vec<u8>>,
    /// Its numbers, from the outermost namespace to its own.
    numbers: Vec<i32>,
    pub parent: i32,
    /// Real, effective, saved and for files.
    users: Vec<u32>,
}

impl Process {
    /// `None` where there is none of that number any more.
    pub fn read(proc: &Path, number: i32) -> Option<Self> {
        let folder = proc.join(number.to_string());
        let status = text(&folder.join("status"))?;
        let status = String::from_utf8_lossy(&status);
        let command = text(&folder.join("cmdline"))?;
        let words = command.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        Some(Self {
            words,
            numbers: numbers(&status, "NSpid:"),
            parent: numbers(&status, "PPid:").first().copied().unwrap_or_default(),
            users: numbers(&status, "Uid:"),
        })
    }

    /// The words that it was started with; the last one is empty.
    pub fn words(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.words.iter().map(Vec::as_slice)
    }

    pub fn program(&self) -> &[u8] {
        base_name(self.words().next().unwrap_or_default())
    }

    /// In a namespace of its own, or of its container's.
    fn is_apart(&self) -> bool {
        self.numbers.len() > 1
    }

    pub fn is_first(&self) -> bool {
        self.is_apart() && self.numbers.last() == Some(&1)
    }

    /// One of the PC's own, or the first of its namespace.
    pub fn is_outermost(&self) -> bool {
        self.numbers.len() == 1 || self.is_first()
    }

    pub fn is_roots(&self) -> bool {
        !self.users.is_empty() && self.users.iter().all(|user| *user == ROOT)
    }

    /// The first process of its own namespace, and our program.
    pub fn is_guest(&self) -> bool {
        self.is_first() && self.program() == GUEST_PROGRAM
    }
}

pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn text(file: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    File::open(file).ok()?.take(LONGEST_PROC_FILE).read_to_end(&mut text).ok()?;
    Some(text)
}

fn numbers<T: std::str::FromStr>(status: &str, field: &str) -> Vec<T> {
    let rest = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    rest.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}
