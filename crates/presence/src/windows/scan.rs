//! Programs that run, the processor, the battery and what the network costs: looked at every few seconds.

use std::collections::HashMap;
use std::time::Duration;

use nightjar_core::signal::{SignalKind, Standing};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use super::every::every;
use super::{network, system};
use crate::games::Games;
use crate::load::{Load, Spent};
use crate::process::{Process, Processes};
use crate::remote;
use crate::signals::{Guard, SignalOptions, Sink, tell};

const EVERY: Duration = Duration::from_secs(5);
/// While a tenant has the card.
const CLOSE: Duration = Duration::from_secs(1);
const PROGRAMS: &str = "processes";
const SOURCE: &str = "windows";

/// Nightjar, the Engine, and the machine within this one that containers run in.
const OURS: [&str; 8] = [
    "vmmem",
    "vmmemwsl",
    "wslservice.exe",
    "dockerd.exe",
    "docker.exe",
    "docker desktop.exe",
    "com.docker.backend.exe",
    "com.docker.build.exe",
];

pub(super) fn start(options: &SignalOptions, sink: Sink) -> Option<Guard> {
    let (games, told) = (Games::new(&options.games), Sink::clone(&sink));
    let started = System::new().map_err(|error| error.to_string()).and_then(|programs| {
        let mut watch = Watch { programs, games, load: Load::default(), spent: HashMap::new(), busy: 0 };
        let attention = options.attention.clone();
        let ask = move || {
            watch.look(&told);
            if attention.is_close() { CLOSE } else { EVERY }
        };
        every("presence-scan", ask).map_err(|error| error.to_string())
    });
    started.map_or_else(|detail| unavailable(&sink, &detail), Some)
}

fn unavailable(sink: &Sink, detail: &str) -> Option<Guard> {
    for (kind, source) in [
        (SignalKind::Game, PROGRAMS),
        (SignalKind::RemoteSession, PROGRAMS),
        (SignalKind::ForeignCpu, SOURCE),
        (SignalKind::OnBattery, SOURCE),
        (SignalKind::MeteredNetwork, SOURCE),
    ] {
        tell(sink, kind, source, Standing::Unavailable { detail: detail.to_owned() });
    }
    None
}

struct Watch {
    programs: System,
    games: Games,
    load: Load,
    /// What each program of the user had spent at the last look, in milliseconds, by its number and its start.
    spent: HashMap<(u32, u64), u64>,
    /// All that was seen to be spent by programs that are not ours.
    busy: u64,
}

impl Watch {
    fn look(&mut self, sink: &Sink) {
        // Arguments would have to be read from other programs' memory, which some games take for cheating.
        let kind = ProcessRefreshKind::nothing().with_cpu().with_exe(UpdateKind::OnlyIfNotSet);
        self.programs.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        let all = Processes::new(self.programs.processes().iter().map(|(pid, program)| Process {
            pid: pid.as_u32(),
            parent: program.parent().map_or(0, sysinfo::Pid::as_u32),
            name: program.name().to_string_lossy().into_owned(),
            file: program.exe().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default(),
            arguments: Vec::new(),
        }));
        let standing = |seen: Option<String>| seen.map_or(Standing::Quiet, |name| Standing::Seen { name });
        tell(sink, SignalKind::Game, PROGRAMS, standing(self.games.find(&all)));
        tell(
            sink,
            SignalKind::RemoteSession,
            PROGRAMS,
            standing(remote::viewed(&remote::servers(&all), system::sockets)),
        );
        self.look_at_load(sink, &all);
        let battery = match system::on_battery() {
            Ok(on_battery) => standing(on_battery.then(|| "Windows".to_owned())),
            Err(error) => Standing::Unavailable { detail: error.to_string() },
        };
        tell(sink, SignalKind::OnBattery, SOURCE, battery);
        tell(sink, SignalKind::MeteredNetwork, SOURCE, network::standing());
    }

    /// The programs that are not ours are added up, instead of taking ours off: the system does not let this program
    /// see what the containers' machine spends. What it hides beside that is its own, and not the user's either.
    fn look_at_load(&mut self, sink: &Sink, all: &Processes) {
        let own = std::process::id();
        let is_ours =
            |process: &Process| process.pid == own || OURS.iter().any(|name| process.is_called(name));
        let mut now = HashMap::with_capacity(self.spent.len());
        for (pid, program) in self.programs.processes() {
            let process = all.get(pid.as_u32());
            if process.is_none_or(|process| {
                is_ours(process) || all.ancestors(process).any(|other| other.pid == own)
            }) {
                continue;
            }
            let (key, spent) = ((pid.as_u32(), program.start_time()), program.accumulated_cpu_time());
            // At the first look everything is old.
            if !self.spent.is_empty() {
                self.busy += spent.saturating_sub(self.spent.get(&key).copied().unwrap_or(0));
            }
            now.insert(key, spent);
        }
        self.spent = now;
        match system::processor_time() {
            Ok(tenths_of_microseconds) => {
                let whole = tenths_of_microseconds / 10_000;
                if let Some(percent) = self.load.heard(Spent { whole, busy: self.busy, ours: 0 }) {
                    let name = percent.to_string();
                    tell(sink, SignalKind::ForeignCpu, SOURCE, Standing::Seen { name });
                }
            }
            Err(error) => {
                let detail = error.to_string();
                tell(sink, SignalKind::ForeignCpu, SOURCE, Standing::Unavailable { detail });
            }
        }
    }
}
