//! Programs that process 1 keeps running, their logs, and the collecting of the dead.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use nightjar_protocol::guest::{GuestEvent, Service};
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, wait};

use crate::launch::{APART, CANNOT_START, KEEP, LAUNCH};
use crate::line::{End, Input};
use crate::report;

/// What the tenant may read of its services.
pub const LOG_FOLDER: &str = "/run/nightjar/log";
/// Of each service two files of this size, the older one with `.1` behind its name.
const LOG_LIMIT_BYTES: u64 = 256 * 1024;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A service that ran for so long is started again after the shortest pause.
const STEADY_AFTER: Duration = Duration::from_secs(60);
/// The agent waits half as long again.
const LISTENING_WITHIN: Duration = Duration::from_secs(60);
/// A service that ended so often before it answered once is not waited for.
const HOPELESS_AFTER: u32 = 3;
const ASK_EVERY: Duration = Duration::from_millis(20);
/// After that time.
const ASK_LATER_EVERY: Duration = Duration::from_secs(1);

/// How to start a service.
pub struct Recipe {
    pub service: Service,
    pub program: &'static str,
    pub arguments: Vec<String>,
    /// All of its environment.
    pub env: BTreeMap<String, String>,
    pub folder: PathBuf,
}

struct Running {
    recipe: Recipe,
    state: State,
    pause: Duration,
    /// How often it ended.
    ends: u32,
}

enum State {
    Runs { id: i32, since: Instant },
    Waits { until: Instant },
}

/// The services of a container.
pub struct Services {
    own_program: PathBuf,
    services: Vec<Running>,
    /// The word by which they are launched, if it is not the usual way.
    launch: Option<&'static str>,
    /// Whom they run as, where that is not whom process 1 does.
    user: Option<u32>,
    ending: bool,
}

impl Services {
    pub fn new() -> Result<Self, End> {
        let failed = |why: std::io::Error| End::Failed { what: "start", why: why.to_string() };
        fs::create_dir_all(LOG_FOLDER).map_err(failed)?;
        Ok(Self {
            own_program: std::env::current_exe().map_err(failed)?,
            services: Vec::new(),
            launch: None,
            user: None,
            ending: false,
        })
    }

    /// What is started from now on is this user's, with the group of the same number and no other.
    pub fn become_user(&mut self, user: u32) {
        self.user = Some(user);
    }

    /// What is started from now on keeps the container's capabilities.
    pub fn keep_capabilities(&mut self) {
        self.launch = Some(KEEP);
    }

    /// What is started from now on does not see process 1.
    pub fn set_apart(&mut self) {
        self.launch = Some(APART);
    }

    /// Whether what is started does not see process 1: what cannot be set apart does not start, see [`crate::apart::run`].
    pub fn are_apart(&self) -> bool {
        self.launch == Some(APART)
    }

    /// Starts a service and keeps it running.
    pub fn start(&mut self, recipe: Recipe) -> Result<(), End> {
        let id = self.spawn(&recipe).map_err(|error| End::Failed {
            what: recipe.service.name(),
            why: format!("{} cannot be started: {error}", recipe.program),
        })?;
        self.services.push(Running {
            recipe,
            state: State::Runs { id, since: Instant::now() },
            pause: FIRST_PAUSE,
            ends: 0,
        });
        Ok(())
    }

    /// It ends each time that it is started, though it is started again.
    pub fn is_hopeless(&self, service: Service) -> bool {
        self.services
            .iter()
            .any(|running| running.recipe.service == service && running.ends >= HOPELESS_AFTER)
    }

    /// SIGTERM to every process of the container but process 1. Nothing is started again.
    pub fn end_all(&mut self) {
        self.ending = true;
        // The group of process 1 stands for everybody; who is gone by now is no error.
        let _ = kill_process_group(Pid::INIT, Signal::TERM);
    }

    /// Collects the dead, also those that a service left behind, and starts again what shall run. `true` when the end
    /// was asked for and nothing runs any more. Fails when a service's program is not there.
    pub fn tend(&mut self) -> Result<bool, End> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((id, status))) => {
                    let code = status
                        .exit_status()
                        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
                        .unwrap_or(-1);
                    self.ended(id.as_raw_pid(), code)?;
                }
                Ok(None) => break,
                // No child at all.
                Err(_) => {
                    if self.ending {
                        return Ok(true);
                    }
                    break;
                }
            }
        }
        if !self.ending {
            self.revive();
        }
        Ok(false)
    }

    fn ended(&mut self, gone: i32, code: i32) -> Result<(), End> {
        let Some(service) = self
            .services
            .iter_mut()
            .find(|running| matches!(running.state, State::Runs { id, .. } if id == gone))
        else {
            return Ok(());
        };
        report::event(&GuestEvent::Exited { service: service.recipe.service, code });
        if code == i32::from(CANNOT_START) && !is_there(service.recipe.program) {
            return Err(End::Failed {
                what: service.recipe.service.name(),
                why: format!(
                    "{} cannot be started: is this one of Nightjar's images?",
                    service.recipe.program
                ),
            });
        }
        if let State::Runs { since, .. } = service.state
            && since.elapsed() > STEADY_AFTER
        {
            service.pause = FIRST_PAUSE;
        }
        service.ends += 1;
        service.state = State::Waits { until: Instant::now() + service.pause };
        service.pause = (service.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    fn revive(&mut self) {
        for index in 0..self.services.len() {
            let due = matches!(self.services[index].state, State::Waits { until } if until <= Instant::now());
            if !due {
                continue;
            }
            let started = self.spawn(&self.services[index].recipe);
            let running = &mut self.services[index];
            running.state = match started {
                Ok(id) => State::Runs { id, since: Instant::now() },
                Err(_) => State::Waits { until: Instant::now() + running.pause },
            };
        }
    }

    fn spawn(&self, recipe: &Recipe) -> std::io::Result<i32> {
        let (output, input) = std::io::pipe()?;
        let mut command = Command::new(&self.own_program);
        command.arg(LAUNCH).args(self.launch).args(["--", "tini", "-s", "--", recipe.program]);
        command.args(&recipe.arguments);
        command.env_clear().envs(&recipe.env).current_dir(&recipe.folder);
        command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
        if let Some(user) = self.user {
            // From root it also lets go of all other groups, and the kernel takes its capabilities.
            command.gid(user).uid(user);
        }
        // A group of its own, so that a signal to it is one to its processes alone.
        let child = command.process_group(0).spawn()?;
        drop(command);
        let log = Path::new(LOG_FOLDER).join(format!("{}.log", recipe.service.name()));
        std::thread::spawn(move || keep_log(output, &log));
        i32::try_from(child.id()).map_err(|_| ErrorKind::InvalidData.into())
    }
}

/// Copies a service's output to a file of bounded size until the output ends.
fn keep_log(mut output: impl Read, path: &Path) {
    let mut chunk = vec![0_u8; 8 * 1024];
    let open = || File::options().create(true).append(true).open(path);
    let (mut file, mut written) =
        (open().ok(), fs::metadata(path).map(|metadata| metadata.len()).unwrap_or(0));
    loop {
        let read = match output.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if written >= LOG_LIMIT_BYTES {
            let _ = fs::rename(path, path.with_extension("log.1"));
            (file, written) = (open().ok(), 0);
        }
        // A full disk loses the log and never stops the service, which would wait for its reader.
        if let Some(file) = &mut file {
            let _ = file.write_all(&chunk[..read]);
        }
        written += read as u64;
    }
}

/// A program that is there was started, whatever it ended with: what it says with its code may be the tenant's doing.
fn is_there(program: &str) -> bool {
    Path::new(program).is_absolute() && Path::new(program).exists()
}

/// Why a container ends whose service does not come up.
pub fn not_listening(service: Service) -> End {
    End::Failed { what: service.name(), why: format!("it does not answer; its log is in {LOG_FOLDER}") }
}

/// Tells process 1 when a service answers on a port of the loopback address, which it does when it listens; once, where it
/// does not soon, and then when it does after all.
pub fn await_listening(service: Service, port: u16, inputs: Sender<Input>) {
    await_listening_at(service, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), inputs);
}

/// The same on another address.
pub fn await_listening_at(service: Service, address: SocketAddr, inputs: Sender<Input>) {
    std::thread::spawn(move || listen_for(service, address, LISTENING_WITHIN, &inputs));
}

fn listen_for(service: Service, address: SocketAddr, within: Duration, inputs: &Sender<Input>) {
    let started = Instant::now();
    let mut is_late = false;
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        if !is_late && started.elapsed() >= within {
            is_late = true;
            if inputs.send(Input::NotListening { service }).is_err() {
                return;
            }
        }
        std::thread::sleep(if is_late { ASK_LATER_EVERY } else { ASK_EVERY });
    }
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let _ = inputs.send(Input::Listening { service, took_ms });
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_service_that_ends_each_time_is_hopeless_and_one_that_is_not_there_ends_the_container() {
        let recipe = |program| Recipe {
            service: Service::Jupyter,
            program,
            arguments: Vec::new(),
            env: BTreeMap::new(),
            folder: PathBuf::from("/"),
        };
        let running = |program, id| Running {
            recipe: recipe(program),
            state: State::Runs { id, since: Instant::now() },
            pause: FIRST_PAUSE,
            ends: 0,
        };
        let mut services = Services {
            own_program: PathBuf::new(),
            services: vec![running("/proc/self/exe", 7)],
            launch: None,
            user: None,
            ending: false,
        };
        for _ in 0..HOPELESS_AFTER {
            assert!(!services.is_hopeless(Service::Jupyter));
            assert!(services.ended(7, i32::from(CANNOT_START)).is_ok(), "the tenant chose that code");
            services.services[0].state = State::Runs { id: 7, since: Instant::now() };
        }
        assert!(services.is_hopeless(Service::Jupyter) && !services.is_hopeless(Service::Ssh));
        services.services = vec![running("/nowhere/jupyter", 8)];
        assert!(services.ended(9, 1).is_ok(), "somebody else's end");
        assert!(matches!(services.ended(8, i32::from(CANNOT_START)), Err(End::Failed { .. })));
    }

    #[test]
    fn a_service_that_is_late_is_told_to_be_so_once_and_is_heard_when_it_comes() {
        // No connection from this PC's usual address takes this one's port, so that nothing listens there in between.
        let address = TcpListener::bind((Ipv4Addr::new(127, 0, 7, 1), 0)).unwrap().local_addr().unwrap();
        let (sender, inbox) = std::sync::mpsc::channel();
        let asking =
            std::thread::spawn(move || listen_for(Service::Jupyter, address, Duration::ZERO, &sender));
        let first = inbox.recv().unwrap();
        assert!(matches!(first, Input::NotListening { service: Service::Jupyter }));
        let _service = TcpListener::bind(address).unwrap();
        let second = inbox.recv().unwrap();
        assert!(matches!(second, Input::Listening { service: Service::Jupyter, .. }));
        asking.join().unwrap();
        assert!(inbox.recv().is_err(), "nothing else is told");
    }

    #[test]
    fn log_stays_small() {
        let folder = std::env::temp_dir().join(format!("nightjar-guest-log-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("ssh.log");
        let many = vec![b'x'; 3 * 1024 * 1024];
        keep_log(&many[..], &path);
        let sizes = [&path, &folder.join("ssh.log.1")].map(|file| fs::metadata(file).unwrap().len());
        fs::remove_dir_all(&folder).unwrap();
        assert!(sizes.iter().all(|size| *size <= LOG_LIMIT_BYTES + 8 * 1024), "{sizes:?}");
    }
}
