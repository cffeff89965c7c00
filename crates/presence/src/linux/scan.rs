//! What no event tells of: one thread looks every few seconds at the programs that run, the processor and the power
//! supply, and says what has changed. While a tenant has the card it also looks as soon as a program was started.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nightjar_core::signal::{SignalKind, Standing};

use super::newcomers::Newcomers;
use super::proc::{Proc, Scan};
use super::supply;
use crate::attention::Attention;
use crate::games::Games;
use crate::load::Load;
use crate::remote::{self, Server};
use crate::signals::{Guard, SignalOptions, Sink, tell};

const EVERY: Duration = Duration::from_secs(5);
/// The processor's load is a difference: its first word needs a second look, which comes soon.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(1);
/// While a tenant has the card: how often it is asked whether a program was started.
const CLOSE: Duration = Duration::from_millis(250);

const PROC: &str = "/proc";
const SUPPLIES: &str = "/sys/class/power_supply";

const PROGRAMS: &str = "processes";
const PROCESSOR: &str = "proc";
const SUPPLY: &str = "sysfs";

pub(super) fn start(options: &SignalOptions, sink: Sink) -> Option<Guard> {
    let ended = Arc::new(AtomicBool::new(false));
    let guard = Ends { ended: Arc::clone(&ended), attention: options.attention.clone() };
    let mut watch = Watch {
        proc: proc_of_this_system(),
        supplies: SUPPLIES.into(),
        games: Games::new(&options.games),
        servers: Vec::new(),
        load: Load::default(),
        sink: Sink::clone(&sink),
    };
    let attention = options.attention.clone();
    let thread = std::thread::Builder::new().name("presence-scan".into()).spawn(move || {
        let mut newcomers = Newcomers::new(Path::new(PROC));
        let mut pause = SECOND_LOOK_AFTER;
        loop {
            watch.look();
            let next = Instant::now() + pause;
            pause = EVERY;
            while let Some(left) = next.checked_duration_since(Instant::now()) {
                let is_close = attention.is_close();
                let span = if is_close { left.min(CLOSE) } else { left };
                attention.sleep(span, is_close, || ended.load(Ordering::SeqCst));
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                if attention.is_close() && newcomers.came() {
                    watch.look_at_programs();
                }
            }
        }
    });
    match thread {
        Ok(_) => Some(Box::new(guard)),
        Err(error) => {
            unavailable(&sink, &error.to_string());
            None
        }
    }
}

/// Ends the thread when it is dropped, without waiting for it.
struct Ends {
    ended: Arc<AtomicBool>,
    attention: Attention,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        self.attention.wake();
    }
}

fn proc_of_this_system() -> Proc {
    Proc::new(Path::new(PROC), std::process::id())
}

fn unavailable(sink: &Sink, detail: &str) {
    for (kind, source) in [
        (SignalKind::Game, PROGRAMS),
        (SignalKind::RemoteSession, PROGRAMS),
        (SignalKind::ForeignCpu, PROCESSOR),
    ] {
        tell(sink, kind, source, Standing::Unavailable { detail: detail.to_owned() });
    }
}

struct Watch {
    proc: Proc,
    supplies: PathBuf,
    games: Games,
    servers: Vec<&'static Server>,
    load: Load,
    sink: Sink,
}

impl Watch {
    fn look(&mut self) {
        if let Some(scan) = self.look_at_programs() {
            self.say(&scan);
        }
        let supply = supply::on_battery(&self.supplies);
        tell(&self.sink, SignalKind::OnBattery, SUPPLY, standing(supply));
    }

    /// Says which game runs, which cannot wait for the next full look.
    fn look_at_programs(&mut self) -> Option<Scan> {
        let scan = self.proc.scan().inspect_err(|error| {
            unavailable(&self.sink, &format!("the running programs cannot be listed ({error})"));
        });
        let Ok(scan) = scan else {
            // Everything is new again at the next look, and said again.
            self.proc = proc_of_this_system();
            return None;
        };
        if scan.changed {
            tell(&self.sink, SignalKind::Game, PROGRAMS, standing(self.games.find(self.proc.processes())));
            self.servers = remote::servers(self.proc.processes());
        }
        Some(scan)
    }

    fn say(&mut self, scan: &Scan) {
        let viewed = remote::viewed(&self.servers, || self.proc.sockets());
        tell(&self.sink, SignalKind::RemoteSession, PROGRAMS, standing(viewed));
        match scan.spent {
            Some(spent) => {
                if let Some(percent) = self.load.heard(spent) {
                    let name = percent.to_string();
                    tell(&self.sink, SignalKind::ForeignCpu, PROCESSOR, Standing::Seen { name });
                }
            }
            None => {
                let detail = "the kernel does not say how busy the processor is".to_owned();
                tell(&self.sink, SignalKind::ForeignCpu, PROCESSOR, Standing::Unavailable { detail });
            }
        }
    }
}

pub(super) fn standing(seen: Option<String>) -> Standing {
    seen.map_or(Standing::Quiet, |name| Standing::Seen { name })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::{SignalKind, SignalOptions, Standing, start};

    /// Generous: the machine may be busy building.
    const COMES_WITHIN: Duration = Duration::from_secs(30);

    #[test]
    fn peers_03_a_real_program_on_the_owners_list_is_seen_and_its_end_too() {
        let folder = tempfile::tempdir().unwrap();
        let game = folder.path().join("NightjarTestGame");
        std::fs::copy("/bin/sleep", &game).unwrap();
        std::fs::set_permissions(&game, std::fs::Permissions::from_mode(0o755)).unwrap();
        let options = SignalOptions { games: vec!["nightjartestgame".into()], ..SignalOptions::default() };
        let (sender, signs) = channel();
        let guard = start(&options, Arc::new(move |sign| drop(sender.send(sign)))).unwrap();
        let until = |wanted: &dyn Fn(&Standing) -> bool| {
            let deadline = std::time::Instant::now() + COMES_WITHIN;
            while std::time::Instant::now() < deadline {
                let sign = signs.recv_timeout(COMES_WITHIN).expect("no sign came");
                if sign.kind == SignalKind::Game && wanted(&sign.standing) {
                    return;
                }
            }
            panic!("the sign did not come");
        };
        let mut child = Command::new(&game).arg("60").spawn().unwrap();
        until(&|standing| *standing == Standing::Seen { name: "nightjartestgame".into() });
        child.kill().unwrap();
        child.wait().unwrap();
        until(&|standing| !matches!(standing, Standing::Seen { name } if name == "nightjartestgame"));
        drop(guard);
        // The thread ends, and with it its sender.
        let ends = std::time::Instant::now() + COMES_WITHIN;
        while signs.recv_timeout(COMES_WITHIN).is_ok() {
            assert!(std::time::Instant::now() < ends, "the sensor goes on after its end");
        }
    }
}
