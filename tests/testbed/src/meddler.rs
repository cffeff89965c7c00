//! A bad line: passes TCP on to a port of this machine, counts what comes back, and cuts or changes it where it was told.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};

const BUFFER_BYTES: usize = 64 * 1024;

/// What happens to what comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is gone.
    Cut,
    /// A bit is another one.
    Flip,
}

#[derive(Default)]
struct State {
    /// Bytes that came back, over all connections.
    passed: AtomicU64,
    /// At which byte of all, and what.
    faults: Mutex<Vec<(u64, Fault)>>,
    line: Mutex<Line>,
    is_over: AtomicBool,
}

/// How much it carries, over all connections.
struct Line {
    bytes_per_s: Option<u32>,
    /// When what was taken so far has passed.
    free_at: Instant,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes_per_s: None, free_at: Instant::now() }
    }
}

pub struct Meddler {
    port: u16,
    state: Arc<State>,
}

impl Meddler {
    /// Listens on a free port of the loopback.
    ///
    /// # Errors
    /// When there is none.
    pub fn before(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let own = listener.local_addr()?.port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let state = shared.clone();
                std::thread::spawn(move || drop(pass(stream, port, &state)));
            }
        });
        Ok(Self { port: own, state })
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Bytes that came back so far.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::Relaxed)
    }

    /// Once so many more bytes have come back.
    pub fn after(&self, bytes: u64, fault: Fault) {
        self.faults().push((self.passed() + bytes, fault));
    }

    /// No more than this from now on. What who asks takes is then what the line brings, and next to nothing waits in the buffers
    /// of this machine, which have any size.
    pub fn carries(&self, bytes_per_s: u32) {
        self.state.line().bytes_per_s = Some(bytes_per_s);
    }

    /// Everything passes as it is.
    pub fn behave(&self) {
        self.faults().clear();
    }

    fn faults(&self) -> MutexGuard<'_, Vec<(u64, Fault)>> {
        self.state.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until so many bytes have had their time.
    fn take_time(&self, bytes: usize) {
        let until = {
            let mut line = self.line();
            let Some(bytes_per_s) = line.bytes_per_s else { return };
            let cost = Duration::from_secs_f64(bytes as f64 / f64::from(bytes_per_s));
            line.free_at = line.free_at.max(Instant::now()) + cost;
            line.free_at
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn pass(client: TcpStream, port: u16, state: &State) -> std::io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    // What lies in a buffer of this machine was counted, and is lost with a cut.
    set_socket_send_buffer_size(&client, BUFFER_BYTES)?;
    set_socket_recv_buffer_size(&server, BUFFER_BYTES)?;
    let (mut asks, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut asks, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let (mut from_server, mut to_client) = (server, client);
    let mut piece = vec![0; 16 * 1024];
    loop {
        let read = from_server.read(&mut piece)?;
        if read == 0 {
            return to_client.shutdown(Shutdown::Both);
        }
        state.take_time(read);
        let from = state.passed.fetch_add(read as u64, Ordering::Relaxed);
        match due(state, from + read as u64) {
            Some(Fault::Cut) => {
                return to_client.shutdown(Shutdown::Both).and(from_server.shutdown(Shutdown::Both));
            }
            // In the middle, where no header is.
            Some(Fault::Flip) => piece[read / 2] ^= 1,
            None => {}
        }
        to_client.write_all(&piece[..read])?;
    }
}

fn due(state: &State, passed: u64) -> Option<Fault> {
    let mut faults = state.faults.lock().unwrap_or_else(PoisonError::into_inner);
    let index = faults.iter().position(|(at, _)| *at <= passed)?;
    Some(faults.remove(index).1)
}
