//! The daemon: one thread a connection around one [`Machine`].

use std::fs;
use std::io::{self, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};

use crate::machine::{Machine, Peer};
use crate::scenario::Scenario;
use crate::sysfs::Sysfs;
use crate::wire::{Reply, Request, receive, send};

const MOST_CONNECTIONS: usize = 512;
/// How often time passes by itself, for events and for the power states in the sysfs folder.
const TICK: Duration = Duration::from_millis(200);
/// The rest of a line that has begun comes within this time.
const LINE_WITHIN: Duration = Duration::from_secs(5);

struct Shared {
    machine: Mutex<Machine>,
    started: Instant,
    connections: AtomicUsize,
    socket: PathBuf,
}

impl Shared {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Serves `scenario` on `socket` until it is told to shut down, which ends the process.
/// With `sysfs`, the cards' power states are kept up to date there.
pub fn serve(socket: &Path, scenario: Scenario, sysfs: Option<&Path>) -> anyhow::Result<()> {
    let listener = listen(socket)?;
    let shared = Arc::new(Shared {
        machine: Mutex::new(Machine::new(scenario, geteuid().as_raw(), Duration::ZERO)),
        started: Instant::now(),
        connections: AtomicUsize::new(0),
        socket: socket.to_owned(),
    });
    let mut sysfs = sysfs.map(Sysfs::new);
    tick(&shared, sysfs.as_mut())?;
    let ticking = Arc::clone(&shared);
    thread::spawn(move || {
        loop {
            thread::sleep(TICK);
            if let Err(error) = tick(&ticking, sysfs.as_mut()) {
                eprintln!("the power states could not be written: {error}");
            }
        }
    });
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                // Out of file descriptors, say: the next attempt may find some.
                eprintln!("a connection was not accepted: {error}");
                thread::sleep(TICK);
                continue;
            }
        };
        if shared.connections.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            eprintln!("more than {MOST_CONNECTIONS} connections: one was refused");
            continue;
        }
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            if let Err(error) = attend(&shared, stream) {
                eprintln!("a connection ended: {error}");
            }
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}

fn listen(socket: &Path) -> anyhow::Result<UnixListener> {
    if let Some(folder) = socket.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    if UnixStream::connect(socket).is_ok() {
        bail!("{} is in use by another daemon: end that one first", socket.display());
    }
    // Left over by a daemon that was killed.
    if let Err(error) = fs::remove_file(socket)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("cannot replace {}", socket.display()));
    }
    let listener =
        UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    // A card may be used by everyone, like /dev/nvidia0; what only its owner may do is checked by peer.
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666))
        .with_context(|| format!("cannot open {} to everyone", socket.display()))?;
    Ok(listener)
}

fn tick(shared: &Shared, sysfs: Option<&mut Sysfs>) -> io::Result<()> {
    let (readings, states) = {
        let mut machine = shared.machine();
        machine.advance(shared.now());
        (machine.readings(), machine.power_states())
    };
    sysfs.map_or(Ok(()), |sysfs| sysfs.update(&readings, &states))
}

fn attend(shared: &Shared, stream: UnixStream) -> io::Result<()> {
    let credentials = rustix::net::sockopt::socket_peercred(&stream)?;
    let peer = Peer { pid: Pid::as_raw(Some(credentials.pid)).unsigned_abs(), uid: credentials.uid.as_raw() };
    // A child that was forked keeps the connection open after its parent died, but the memory was the
    // parent's. A process that cannot be watched is gone already.
    let process = pidfd_open(credentials.pid, PidfdFlags::empty())?;
    stream.set_read_timeout(Some(LINE_WITHIN))?;
    stream.set_write_timeout(Some(LINE_WITHIN))?;
    let session = shared.machine().connect(peer);
    let ended = converse(shared, session, &process, &mut BufReader::new(stream));
    shared.machine().disconnect(session, shared.now());
    ended
}

fn converse(
    shared: &Shared,
    session: u64,
    process: &OwnedFd,
    stream: &mut BufReader<UnixStream>,
) -> io::Result<()> {
    loop {
        if stream.buffer().is_empty() && !wait(stream.get_ref(), process)? {
            return Ok(());
        }
        let Some(request) = receive::<Request>(stream)? else { return Ok(()) };
        let reply = shared.machine().handle(session, &request, shared.now());
        send(stream.get_mut(), &reply)?;
        if request == Request::Shutdown && reply == Reply::Done {
            // Best effort: a socket that is left behind is replaced by the next daemon.
            let _ = fs::remove_file(&shared.socket);
            std::process::exit(0);
        }
    }
}

/// Waits for a request. False where the process has ended.
fn wait(stream: &UnixStream, process: &OwnedFd) -> io::Result<bool> {
    let mut watched = [
        PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN),
    ];
    loop {
        match poll(&mut watched, None) {
            Ok(_) => return Ok(watched[1].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
