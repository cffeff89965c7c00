//! What is on the line: a tenant that takes all it gets, and a game that sends a small packet fifty times a second.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{Line, Place, SERVER};

const DATA_PORT: u16 = 5001;
pub(super) const GAME_PORT: u16 = 5002;
const GAME_EVERY: Duration = Duration::from_millis(20);
const GAME_PACKET: usize = 120;
/// A packet that is away for longer is lost to a game.
const GAME_LOST: Duration = Duration::from_secs(1);
const WAKE_EVERY: Duration = Duration::from_millis(200);

/// Which way the tenant's bytes go, seen from the PC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

/// The server beyond the line: it sends or takes bytes without end, and answers the game.
pub struct Server {
    over: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
}

impl Server {
    /// # Errors
    /// When a port cannot be opened.
    pub fn start(line: &Line) -> anyhow::Result<Self> {
        let (over, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (own_over, own_taken) = (Arc::clone(&over), Arc::clone(&taken));
        line.within(Place::Net, move || {
            let opened = TcpListener::bind((SERVER, DATA_PORT))
                .and_then(|data| Ok((data, UdpSocket::bind((SERVER, GAME_PORT))?)));
            match opened {
                Ok((data, game)) => {
                    let _ = ready.send(Ok(()));
                    // Sockets stay in the namespace in which they were made.
                    let game_over = Arc::clone(&own_over);
                    std::thread::spawn(move || echo(&game, &game_over));
                    serve(&data, &own_over, &own_taken);
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
        is_ready.recv()?.context("the server cannot listen")?;
        Ok(Self { over, taken })
    }

    /// Bytes that reached it.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn serve(listener: &TcpListener, over: &Arc<AtomicBool>, taken: &Arc<AtomicU64>) {
    if listener.set_nonblocking(true).is_err() {
        return;
    }
    while !over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let (over, taken) = (Arc::clone(over), Arc::clone(taken));
                std::thread::spawn(move || {
                    let _ = stream.set_nonblocking(false).and_then(|()| transfer(stream, &over, &taken));
                });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The first byte says which way.
fn transfer(mut stream: TcpStream, over: &AtomicBool, taken: &AtomicU64) -> std::io::Result<()> {
    let mut wish = [0];
    stream.read_exact(&mut wish)?;
    if wish == *b"D" { give(stream, over) } else { take(stream, over, taken) }
}

fn give(mut stream: TcpStream, over: &AtomicBool) -> std::io::Result<()> {
    let bytes = vec![0x5a; 32 << 10];
    stream.set_write_timeout(Some(WAKE_EVERY))?;
    while !over.load(Ordering::Relaxed) {
        match stream.write(&bytes) {
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn take(mut stream: TcpStream, over: &AtomicBool, taken: &AtomicU64) -> std::io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    stream.set_read_timeout(Some(WAKE_EVERY))?;
    while !over.load(Ordering::Relaxed) {
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(length) => drop(taken.fetch_add(length as u64, Ordering::Relaxed)),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn echo(socket: &UdpSocket, over: &AtomicBool) {
    let mut packet = [0; 1_500];
    let _ = socket.set_read_timeout(Some(WAKE_EVERY));
    while !over.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut packet) {
            let _ = socket.send_to(&packet[..length], from);
        }
    }
}

/// A tenant that takes all it gets, over several connections. Ends with this value.
pub struct Greedy {
    over: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
}

impl Greedy {
    /// # Errors
    /// When the server is not reached.
    pub fn start(line: &Line, way: Way, connections: usize) -> anyhow::Result<Self> {
        let (over, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        for _ in 0..connections {
            let (own_over, own_taken) = (Arc::clone(&over), Arc::clone(&taken));
            let (ready, is_ready) = std::sync::mpsc::channel();
            line.within(Place::Tenant, move || {
                let opened = TcpStream::connect_timeout(&(SERVER, DATA_PORT).into(), Duration::from_secs(5))
                    .and_then(|mut stream| {
                        stream.write_all(if way == Way::Down { b"D" } else { b"U" })?;
                        Ok(stream)
                    });
                let stream = match opened {
                    Ok(stream) => stream,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                let _ = ready.send(Ok(()));
                let _ = match way {
                    Way::Down => take(stream, &own_over, &own_taken),
                    Way::Up => give(stream, &own_over),
                };
            })?;
            is_ready.recv()?.context("the tenant does not reach the server")?;
        }
        Ok(Self { over, taken })
    }

    /// Bytes that reached the tenant.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Greedy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A game on the PC: what its packets' round trips took. Ends with this value.
pub struct Game {
    over: Arc<AtomicBool>,
    trips: Arc<Mutex<Vec<Duration>>>,
}

impl Game {
    /// # Errors
    /// When its socket cannot be had.
    pub fn start(line: &Line) -> anyhow::Result<Self> {
        let (over, trips) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (own_over, own_trips) = (Arc::clone(&over), Arc::clone(&trips));
        let (ready, is_ready) = std::sync::mpsc::channel();
        line.within(Place::Home, move || {
            let opened = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
                socket.connect((SERVER, GAME_PORT))?;
                socket.set_read_timeout(Some(GAME_LOST))?;
                Ok((socket.try_clone()?, socket))
            });
            match opened {
                Ok((sender, receiver)) => {
                    let _ = ready.send(Ok(()));
                    let began = Instant::now();
                    let sender_over = Arc::clone(&own_over);
                    std::thread::spawn(move || play(&sender, began, &sender_over));
                    hear(&receiver, began, &own_over, &own_trips);
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
        is_ready.recv()?.context("the game has no socket")?;
        Ok(Self { over, trips })
    }

    /// The round trips of the time from now on, waited for here.
    #[must_use]
    pub fn trips_of(&self, time: Duration) -> Vec<Duration> {
        let before = self.lock().len();
        std::thread::sleep(time);
        self.lock().split_off(before)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Duration>> {
        self.trips.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Game {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Each packet carries the moment at which it was sent.
fn play(socket: &UdpSocket, began: Instant, over: &AtomicBool) {
    let mut packet = [0; GAME_PACKET];
    while !over.load(Ordering::Relaxed) {
        let sent = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        packet[..8].copy_from_slice(&sent.to_le_bytes());
        let _ = socket.send(&packet);
        std::thread::sleep(GAME_EVERY);
    }
}

fn hear(socket: &UdpSocket, began: Instant, over: &AtomicBool, trips: &Mutex<Vec<Duration>>) {
    let mut packet = [0; GAME_PACKET];
    while !over.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut packet) else { continue };
        let arrived = began.elapsed();
        if let Some(sent) = packet[..length].first_chunk::<8>() {
            let trip = arrived.saturating_sub(Duration::from_nanos(u64::from_le_bytes(*sent)));
            trips.lock().unwrap_or_else(PoisonError::into_inner).push(trip);
        }
    }
}
