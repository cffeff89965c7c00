//! Names of the programs that run in the tenant's container. Of a sandbox nobody outside sees them, so process 1 looks.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use nightjar_core::conduct::{MinerNews, MinerWatch};
use nightjar_protocol::guest::{GuestEvent, LONGEST_PROGRAM_NAME};

use crate::report;

const PROCESSES: &str = "/proc";
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// What was told is told again at each of so many.
const AGAIN_AT_LOOKS: u32 = 6;
/// More than a tenant's container may have.
const MOST_PROCESSES: usize = 16_384;

/// Tells of miners' programs from now on. Nothing depends on it.
pub fn watch() {
    std::thread::spawn(|| {
        let (mut miner, mut last) = (MinerWatch::default(), None);
        for look in 0_u32.. {
            std::thread::sleep(LOOK_EVERY);
            let news = miner.look(running(Path::new(PROCESSES))).map(event);
            // An agent that came later has not heard it.
            let is_told = news.is_some() || look.is_multiple_of(AGAIN_AT_LOOKS);
            last = news.or(last);
            last.iter().filter(|_| is_told).for_each(report::event);
        }
    });
}

fn event(news: MinerNews) -> GuestEvent {
    match news {
        MinerNews::Runs(name) => GuestEvent::MinerRuns { name },
        MinerNews::Over(_) => GuestEvent::NoMiner,
    }
}

/// One that ends while it is looked at has no name any more.
fn running(processes: &Path) -> impl Iterator<Item = String> {
    let folders = fs::read_dir(processes).into_iter().flatten().flatten();
    let numbered = folders.filter(|folder| folder.file_name().to_string_lossy().parse::<u32>().is_ok());
    numbered.take(MOST_PROCESSES).filter_map(|folder| name(&folder.path().join("comm")))
}

fn name(file: &Path) -> Option<String> {
    let mut read = Vec::new();
    File::open(file).ok()?.take(LONGEST_PROGRAM_NAME as u64).read_to_end(&mut read).ok()?;
    let text = String::from_utf8_lossy(&read);
    Some(text.chars().filter(|letter| !letter.is_control()).take(LONGEST_PROGRAM_NAME).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_listed_by_name_and_a_name_is_short_and_one_line() {
        let folder = std::env::temp_dir().join(format!("nightjar-guest-programs-{}", std::process::id()));
        let names = [("1", "nightjar-guest\n"), ("27", "xm\u{1b}[31mrig\n\n"), ("self", "no number\n")];
        let long = "x".repeat(1_000);
        for (number, name) in names.into_iter().chain([("300", long.as_str())]) {
            fs::create_dir_all(folder.join(number)).unwrap();
            fs::write(folder.join(number).join("comm"), name).unwrap();
        }
        fs::create_dir(folder.join("4")).unwrap();
        let mut found: Vec<String> = running(&folder).collect();
        fs::remove_dir_all(&folder).unwrap();
        found.sort();
        let long = "x".repeat(LONGEST_PROGRAM_NAME);
        assert_eq!(found, ["nightjar-guest", "xm[31mrig", &long]);
        assert_eq!(running(&folder).count(), 0, "it is gone");
    }

    #[test]
    fn this_programs_own_name_is_found_where_the_kernel_tells_it() {
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        assert!(running(Path::new(PROCESSES)).any(|name| name == own.trim()), "{own}");
    }

    #[test]
    fn a_miner_is_told_of_by_its_name_and_its_end_without() {
        let runs = event(MinerNews::Runs("xmrig".to_owned()));
        assert_eq!(runs, GuestEvent::MinerRuns { name: "xmrig".to_owned() });
        assert_eq!(event(MinerNews::Over("xmrig".to_owned())), GuestEvent::NoMiner);
    }
}
