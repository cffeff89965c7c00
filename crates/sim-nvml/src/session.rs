//! What `nvmlInit` makes and `nvmlShutdown` ends.

use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nightjar_sim::client::{Client, Failure, default_socket};
use nightjar_sim::wire::{CardIdentity, CardReading, Reply, Request, nvml};

/// A result whose error is NVML's return code.
pub type Outcome<T> = Result<T, i32>;

/// What the library knows after `nvmlInit`.
struct State {
    /// The process that connected: after a fork the child must not speak on its parent's connection.
    pid: u32,
    inits: u32,
    client: Option<Arc<Client>>,
    cards: Vec<CardIdentity>,
}

// A C library with the names that NVML has cannot keep its state anywhere else. It is locked for moments
// only, never while the daemon is asked.
static STATE: Mutex<Option<State>> = Mutex::new(None);

/// The driver as the daemon describes it.
pub struct Driver {
    pub version: String,
    pub cuda_version: i32,
}

fn state() -> MutexGuard<'static, Option<State>> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects, or counts one more user where that is done already.
pub fn init(call: &str, wakes: bool) -> Outcome<()> {
    let pid = process::id();
    if let Some(state) = state().as_mut()
        && state.pid == pid
        && state.client.is_some()
    {
        state.inits += 1;
        return Ok(());
    }
    let client = connect().map_err(|_| nvml::DRIVER_NOT_LOADED)?;
    let (_, cards) = machine(&client, call, wakes)?;
    let mut state = state();
    let inits = state.as_ref().map_or(0, |state| state.inits) + 1;
    *state = Some(State { pid, inits, client: Some(client), cards });
    Ok(())
}

/// Counts one user less; the last one closes the connection.
pub fn shutdown() -> Outcome<()> {
    let mut slot = state();
    let Some(state) = slot.as_mut() else { return Err(nvml::UNINITIALIZED) };
    state.inits -= 1;
    if state.inits == 0 {
        *slot = None;
    }
    Ok(())
}

fn connect() -> Outcome<Arc<Client>> {
    Client::connect(&default_socket()).map(Arc::new).map_err(|failure| code(&failure))
}

fn code(failure: &Failure) -> i32 {
    match failure {
        Failure::Refused { code, .. } => *code,
        Failure::Unreachable(_) => nvml::UNKNOWN,
    }
}

/// The connection, made anew after a fork or after the daemon went away.
fn client() -> Outcome<Arc<Client>> {
    let pid = process::id();
    match state().as_ref() {
        None => return Err(nvml::UNINITIALIZED),
        Some(State { client: Some(client), pid: owner, .. }) if *owner == pid => {
            return Ok(Arc::clone(client));
        }
        Some(_) => {}
    }
    let client = connect()?;
    let mut slot = state();
    let state = slot.as_mut().ok_or(nvml::UNINITIALIZED)?;
    (state.pid, state.client) = (pid, Some(Arc::clone(&client)));
    Ok(client)
}

/// Asks the daemon. Where it does not answer, the next call tries to find it again.
pub fn ask(request: &Request) -> Outcome<Reply> {
    let client = client()?;
    client.ask(request).map_err(|failure| {
        if matches!(failure, Failure::Unreachable(_))
            && let Some(state) = state().as_mut()
        {
            state.client = None;
        }
        code(&failure)
    })
}

fn machine(client: &Client, call: &str, wakes: bool) -> Outcome<(Driver, Vec<CardIdentity>)> {
    let request = Request::Machine { call: call.to_owned(), wakes };
    match client.ask(&request).map_err(|failure| code(&failure))? {
        Reply::Machine { driver_version, cuda_version, cards } => {
            Ok((Driver { version: driver_version, cuda_version }, cards))
        }
        _ => Err(nvml::UNKNOWN),
    }
}

/// The driver's versions, for the call of that name.
pub fn driver(call: &str) -> Outcome<Driver> {
    machine(&*client()?, call, false).map(|(driver, _)| driver)
}

/// The cards as they were when the library was initialised: what is unplugged later is lost, but keeps
/// its number.
pub fn cards(call: &str) -> Outcome<Vec<CardIdentity>> {
    driver(call)?;
    state().as_ref().map(|state| state.cards.clone()).ok_or(nvml::UNINITIALIZED)
}

/// The card in `slot` as it is now, for the call of that name.
pub fn reading(call: &str, slot: usize) -> Outcome<CardReading> {
    match ask(&Request::Card { call: call.to_owned(), card: slot })? {
        Reply::Card { reading } => Ok(*reading),
        _ => Err(nvml::UNKNOWN),
    }
}
