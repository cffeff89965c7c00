//! The other end of the daemon's socket: used by both libraries, the hook, `nightjar-sim ctl` and tests.

use std::fmt;
use std::fs;
use std::io::{self, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::wire::{
    Control, PROTOCOL, Reply, Request, SOCKET_DEFAULT, SOCKET_ENV, Stats, VISIBLE_FILE, receive, send,
};

/// The daemon answers within microseconds; a caller is never held longer than this.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const VISIBLE_LIMIT_BYTES: u64 = 4096;

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug)]
pub enum Failure {
    /// The daemon is not there, or went away.
    Unreachable(io::Error),
    /// It refused, with a code of NVML or CUDA.
    Refused { code: i32, why: String },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable(error) => {
                write!(
                    f,
                    "the simulated hardware does not answer ({error}): is `nightjar-sim serve` running?"
                )
            }
            Failure::Refused { code, why } => write!(f, "{why} (code {code})"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Unreachable(error)
    }
}

/// One connection, usable by many threads. What the daemon keeps for it lives as long as it does.
#[derive(Debug)]
pub struct Client {
    stream: Mutex<Option<BufReader<UnixStream>>>,
}

/// The socket that a library in this process is to use.
pub fn default_socket() -> PathBuf {
    std::env::var_os(SOCKET_ENV).map_or_else(|| PathBuf::from(SOCKET_DEFAULT), PathBuf::from)
}

impl Client {
    /// Connects and says hello, with the cards that the file beside the socket allows, if there is one.
    pub fn connect(socket: &Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        let client = Self { stream: Mutex::new(Some(BufReader::new(stream))) };
        client.ask(&Request::Hello { protocol: PROTOCOL, visible: visible_beside(socket)? })?;
        Ok(client)
    }

    /// Asks and waits for the answer. After a failure of the connection it stays unusable, because the
    /// daemon has forgotten what belonged to it.
    pub fn ask(&self, request: &Request) -> Result<Reply, Failure> {
        let mut slot = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = slot.as_mut() else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        let answer = send(stream.get_mut(), request).and_then(|()| receive(stream));
        match answer {
            Ok(Some(Reply::Refused { code, why })) => Err(Failure::Refused { code, why }),
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => {
                *slot = None;
                Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
            }
            Err(error) => {
                *slot = None;
                Err(error.into())
            }
        }
    }

    /// Makes something happen to the simulated machine.
    pub fn control(&self, control: Control) -> Result<(), Failure> {
        self.ask(&Request::Control { control }).map(|_| ())
    }

    /// What the daemon knows, as tests want it.
    pub fn stats(&self) -> Result<Stats, Failure> {
        match self.ask(&Request::Stats)? {
            Reply::Stats { stats } => Ok(stats),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends the daemon.
    pub fn shutdown(&self) -> Result<(), Failure> {
        self.ask(&Request::Shutdown).map(|_| ())
    }
}

/// An answer of the wrong kind: a daemon of another build.
pub fn unexpected(reply: &Reply) -> Failure {
    io::Error::new(io::ErrorKind::InvalidData, format!("an answer of the wrong kind: {reply:?}")).into()
}

fn visible_beside(socket: &Path) -> io::Result<Option<Vec<String>>> {
    let file = match fs::File::open(socket.with_file_name(VISIBLE_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(VISIBLE_LIMIT_BYTES).read_to_string(&mut text)?;
    Ok(Some(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()))
}
