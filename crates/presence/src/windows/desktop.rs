//! Full screen, the locked screen, a session that is shown elsewhere or another that is used: asked every second, since a game wants the card
//! soon. And what Windows does not tell to programs without its administrator's rights, said once.

use std::io::Error;
use std::time::Duration;

use nightjar_core::signal::{SignalKind, Standing};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::every::every;
use super::system;
use crate::signals::{Guard, SignalOptions, Sink, tell};

const EVERY: Duration = Duration::from_secs(1);
const SOURCE: &str = "windows";

pub(super) fn start(_options: &SignalOptions, sink: Sink) -> Option<Guard> {
    let detail =
        "Windows tells only its administrator which programs keep the screen from sleeping; films and calls \
                  that fill the screen are seen by that"
            .to_owned();
    tell(&sink, SignalKind::IdleInhibitor, SOURCE, Standing::Unavailable { detail });
    let told = Sink::clone(&sink);
    let started = System::new().map_err(|error| error.to_string()).and_then(|mut programs| {
        let ask = move || {
            look(&told, &mut programs);
            EVERY
        };
        every("presence-desktop", ask).map_err(|error| error.to_string())
    });
    started.map_or_else(|detail| unavailable(&sink, &detail), Some)
}

fn unavailable(sink: &Sink, detail: &str) -> Option<Guard> {
    use SignalKind as K;
    for kind in [K::FullScreen, K::ScreenLocked, K::RemoteSession, K::OtherAccount] {
        tell(sink, kind, SOURCE, Standing::Unavailable { detail: detail.to_owned() });
    }
    None
}

fn look(sink: &Sink, programs: &mut System) {
    let standing = |answer: Result<bool, Error>, name: &str| match answer {
        Ok(true) => Standing::Seen { name: name.to_owned() },
        Ok(false) => Standing::Quiet,
        Err(error) => Standing::Unavailable { detail: error.to_string() },
    };
    let in_front = system::full_screen().map(|full| full.then(|| foreground(programs)));
    let full_screen = match in_front {
        Ok(Some(name)) => Standing::Seen { name },
        Ok(None) => Standing::Quiet,
        Err(error) => Standing::Unavailable { detail: error.to_string() },
    };
    tell(sink, SignalKind::FullScreen, SOURCE, full_screen);
    // Before the locked screen, which another one's session takes the meaning from.
    let another = match system::session_in_use() {
        Ok(Some(name)) => Standing::Seen { name },
        Ok(None) => Standing::Quiet,
        Err(error) => Standing::Unavailable { detail: error.to_string() },
    };
    tell(sink, SignalKind::OtherAccount, SOURCE, another);
    tell(sink, SignalKind::ScreenLocked, SOURCE, standing(system::locked(), "Windows"));
    let elsewhere = standing(Ok(system::shown_elsewhere()), "Remote Desktop");
    tell(sink, SignalKind::RemoteSession, SOURCE, elsewhere);
}

/// The name of the program in front.
fn foreground(programs: &mut System) -> String {
    let Some(pid) = system::foreground().map(Pid::from_u32) else { return "full screen".to_owned() };
    let kind = ProcessRefreshKind::nothing();
    programs.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kind);
    let program = programs.process(pid);
    program.map_or_else(|| "full screen".to_owned(), |program| program.name().to_string_lossy().into_owned())
}
