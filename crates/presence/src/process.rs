//! What is known of a running program, as far as the signs need it.

use std::collections::HashMap;

/// One program, as the system tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// The system's short name: on Linux at most 15 bytes of it.
    pub(crate) name: String,
    /// Whole path of the file, empty where the system does not tell it.
    pub(crate) file: String,
    pub(crate) arguments: Vec<String>,
}

impl Process {
    /// The names that it goes by, in lower case: its file's, the first argument's, and the system's short one.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> + '_ {
        let first = self.arguments.first().map_or("", String::as_str);
        [base_name(&self.file), base_name(first), self.name.as_str()]
            .into_iter()
            .filter(|name| !name.is_empty())
            .map(str::to_lowercase)
    }

    /// Whether it goes by this name, which is in lower case. The system cuts long names.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.names().any(|own| own == name) || cut(name).is_some_and(|cut| self.name.to_lowercase() == cut)
    }
}

/// What Linux leaves of a name; nothing where it leaves all.
fn cut(name: &str) -> Option<&str> {
    const KEPT: usize = 15;
    (name.len() > KEPT).then(|| name.get(..KEPT)).flatten()
}

/// The last part of a path of either system.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// All programs at one moment, without those in containers.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    by_pid: HashMap<u32, Process>,
}

impl Processes {
    pub(crate) fn new(all: impl IntoIterator<Item = Process>) -> Self {
        Self { by_pid: all.into_iter().map(|process| (process.pid, process)).collect() }
    }

    /// The oldest first, as far as their numbers tell, so that an answer stays the same while its cause does.
    pub(crate) fn sorted(&self) -> Vec<&Process> {
        let mut all: Vec<&Process> = self.by_pid.values().collect();
        all.sort_unstable_by_key(|process| process.pid);
        all
    }

    pub(crate) fn get(&self, pid: u32) -> Option<&Process> {
        self.by_pid.get(&pid)
    }

    /// Its parent, that one's parent, and so on. Numbers are given out anew, so a circle is possible and ends it.
    pub(crate) fn ancestors<'a>(&'a self, process: &Process) -> impl Iterator<Item = &'a Process> {
        const DEEPEST: usize = 64;
        let mut next = process.parent;
        std::iter::from_fn(move || {
            let found = self.get(next)?;
            next = found.parent;
            Some(found)
        })
        .take(DEEPEST)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Process, Processes, base_name};

    pub(crate) fn process(pid: u32, parent: u32, file: &str, arguments: &[&str]) -> Process {
        let name = base_name(file).chars().take(15).collect();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Process { pid, parent, name, file: file.to_owned(), arguments }
    }

    #[test]
    fn a_name_that_the_system_cut_is_known() {
        let long = Process { name: "gnome-remote-de".into(), ..Process::default() };
        assert!(long.is_called("gnome-remote-desktop-daemon"));
        assert!(!long.is_called("gnome-remote"));
        let windows = process(1, 0, r"C:\Games\Elden Ring\eldenring.exe", &[]);
        assert!(windows.is_called("eldenring.exe"));
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let circle = Processes::new([process(1, 2, "a", &[]), process(2, 1, "b", &[])]);
        assert_eq!(circle.ancestors(circle.get(1).unwrap()).count(), 64);
    }
}
