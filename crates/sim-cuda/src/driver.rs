//! What one process has of the driver: contexts, memory, modules. All of it is lost with the process, and
//! the daemon sees the end of the connection.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nightjar_sim::client::{Client, Failure, default_socket};
use nightjar_sim::wire::{CardIdentity, CardReading, Reply, Request, cuda};

use crate::exports::Mapping;
use crate::matmul;
use crate::ptx::Image;

/// A result whose error is CUDA's result code.
pub type Outcome<T> = Result<T, i32>;

/// Work whose cost is unknown occupies a card at full clock for this long.
const LAUNCH: Duration = Duration::from_millis(5);
/// Of unknown work half waits for memory, as in training; a matrix product keeps the cores busy.
const MEMORY_SHARE: f64 = 0.5;
/// A program that submits faster than the card works is held here, as by the driver's full queue.
const DEEPEST_QUEUE: Duration = Duration::from_millis(200);
/// Handles start here, so that a forgotten initialisation does not look like one.
const FIRST_HANDLE: usize = 0x6e6a_0000;

/// What a kernel asks of a card.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// At full clock.
    pub lasts: Duration,
    /// How much of it waits for memory, 0 to 1.
    pub memory_share: f64,
}

struct Context {
    ordinal: usize,
}

/// How long a card that was there is taken to be there still.
const LOOK_EACH: Duration = Duration::from_millis(1);

struct Block {
    mapping: Mapping,
    bytes: usize,
    allocation: u64,
    context: usize,
}

struct Primary {
    context: usize,
    users: u32,
}

/// The driver after `cuInit`.
pub struct Driver {
    pid: u32,
    client: Client,
    cuda_version: i32,
    cards: Vec<CardIdentity>,
    contexts: BTreeMap<usize, Context>,
    primaries: BTreeMap<usize, Primary>,
    blocks: BTreeMap<u64, Block>,
    modules: BTreeMap<usize, Image>,
    functions: BTreeMap<usize, String>,
    busy_until: BTreeMap<usize, Instant>,
    /// When each card was last there.
    seen: BTreeMap<usize, Instant>,
    last_handle: usize,
}

// A C library has nowhere else to keep its state.
static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

thread_local! {
    /// Each thread's own stack of contexts; the last one is current.
    static CURRENT: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

fn slot() -> MutexGuard<'static, Option<Driver>> {
    DRIVER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn code(failure: &Failure) -> i32 {
    match failure {
        Failure::Refused { code, .. } => *code,
        Failure::Unreachable(_) => cuda::UNKNOWN,
    }
}

fn describe(client: &Client, call: &str) -> Outcome<(i32, Vec<CardIdentity>)> {
    let request = Request::Machine { call: call.to_owned(), wakes: false };
    match client.ask(&request).map_err(|failure| code(&failure))? {
        Reply::Machine { cuda_version, cards, .. } => Ok((cuda_version, cards)),
        _ => Err(cuda::UNKNOWN),
    }
}

/// `cuInit`
pub fn init(flags: u32) -> Outcome<()> {
    if flags != 0 {
        return Err(cuda::INVALID_VALUE);
    }
    let mut slot = slot();
    if slot.as_ref().is_some_and(|driver| driver.pid == process::id()) {
        return Ok(());
    }
    let client = Client::connect(&default_socket()).map_err(|_| cuda::NO_DEVICE)?;
    let (cuda_version, cards) = describe(&client, "cuInit")?;
    if cards.is_empty() {
        return Err(cuda::NO_DEVICE);
    }
    *slot = Some(Driver {
        pid: process::id(),
        client,
        cuda_version,
        cards,
        contexts: BTreeMap::new(),
        primaries: BTreeMap::new(),
        blocks: BTreeMap::new(),
        modules: BTreeMap::new(),
        functions: BTreeMap::new(),
        busy_until: BTreeMap::new(),
        seen: BTreeMap::new(),
        last_handle: FIRST_HANDLE,
    });
    Ok(())
}

/// `cuDriverGetVersion`, which works before `cuInit` too.
pub fn version() -> Outcome<i32> {
    if let Ok(version) = with(|driver| Ok(driver.cuda_version)) {
        return Ok(version);
    }
    let client = Client::connect(&default_socket()).map_err(|_| cuda::NO_DEVICE)?;
    describe(&client, "cuDriverGetVersion").map(|(version, _)| version)
}

/// Runs `work` with the driver. A forked child has none until it initialises its own.
pub fn with<T>(work: impl FnOnce(&mut Driver) -> Outcome<T>) -> Outcome<T> {
    match slot().as_mut().filter(|driver| driver.pid == process::id()) {
        Some(driver) => work(driver),
        None => Err(cuda::NOT_INITIALIZED),
    }
}

/// The calling thread's stack of contexts.
pub fn with_stack<T>(work: impl FnOnce(&mut Vec<usize>) -> T) -> T {
    CURRENT.with_borrow_mut(work)
}

/// The calling thread's context, if it has one.
pub fn current() -> Outcome<usize> {
    with_stack(|stack| stack.last().copied()).ok_or(cuda::INVALID_CONTEXT)
}

/// Waits until the current context's card has done what this process gave it.
pub fn synchronize() -> Outcome<()> {
    let context = current()?;
    let until = with(|driver| {
        let ordinal = driver.ordinal_of(context)?;
        driver.look(ordinal)?;
        Ok(driver.busy_until.get(&ordinal).copied())
    })?;
    sleep_until(until);
    Ok(())
}

fn sleep_until(until: Option<Instant>) {
    if let Some(until) = until {
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

impl Driver {
    fn ask(&self, request: &Request) -> Outcome<Reply> {
        self.client.ask(request).map_err(|failure| code(&failure))
    }

    /// Tells of a card that was lost meanwhile, within [`LOOK_EACH`]: a program that copies many small pieces would
    /// otherwise wait for the daemon far longer than it would for a card.
    fn look(&mut self, ordinal: usize) -> Outcome<()> {
        if self.seen.get(&ordinal).is_none_or(|seen| seen.elapsed() >= LOOK_EACH) {
            self.reading("cuCtxSynchronize", ordinal)?;
            self.seen.insert(ordinal, Instant::now());
        }
        Ok(())
    }

    fn handle(&mut self) -> usize {
        self.last_handle += 1;
        self.last_handle
    }

    fn card(&self, ordinal: usize) -> Outcome<usize> {
        self.cards.get(ordinal).map(|card| card.slot).ok_or(cuda::INVALID_DEVICE)
    }

    pub fn device_count(&self) -> usize {
        self.cards.len()
    }

    /// The device as it is now, for the call of that name.
    pub fn reading(&self, call: &str, ordinal: usize) -> Outcome<CardReading> {
        match self.ask(&Request::Card { call: call.to_owned(), card: self.card(ordinal)? })? {
            Reply::Card { reading } => Ok(*reading),
            _ => Err(cuda::UNKNOWN),
        }
    }

    /// The device that a context is on.
    pub fn ordinal_of(&self, context: usize) -> Outcome<usize> {
        self.contexts.get(&context).map(|context| context.ordinal).ok_or(cuda::INVALID_CONTEXT)
    }

    pub fn create_context(&mut self, ordinal: usize) -> Outcome<usize> {
        self.ask(&Request::Context { card: self.card(ordinal)?, create: true })?;
        let handle = self.handle();
        self.contexts.insert(handle, Context { ordinal });
        Ok(handle)
    }

    /// Ends a context and everything that was allocated in it.
    pub fn destroy_context(&mut self, context: usize) -> Outcome<()> {
        let ordinal = self.ordinal_of(context)?;
        let owned: Vec<u64> =
            self.blocks.iter().filter(|(_, block)| block.context == context).map(|(at, _)| *at).collect();
        let freed: Outcome<()> = owned.into_iter().try_for_each(|at| self.free(at));
        self.contexts.remove(&context);
        let ended = self.ask(&Request::Context { card: self.card(ordinal)?, create: false });
        freed.and(ended.map(drop))
    }

    pub fn retain_primary(&mut self, ordinal: usize) -> Outcome<usize> {
        if let Some(primary) = self.primaries.get_mut(&ordinal) {
            primary.users += 1;
            return Ok(primary.context);
        }
        let context = self.create_context(ordinal)?;
        self.primaries.insert(ordinal, Primary { context, users: 1 });
        Ok(context)
    }

    pub fn release_primary(&mut self, ordinal: usize) -> Outcome<()> {
        let primary = self.primaries.get_mut(&ordinal).ok_or(cuda::INVALID_CONTEXT)?;
        primary.users -= 1;
        if primary.users > 0 {
            return Ok(());
        }
        let context = primary.context;
        self.primaries.remove(&ordinal);
        self.destroy_context(context)
    }

    pub fn allocate(&mut self, context: usize, bytes: usize) -> Outcome<u64> {
        let card = self.card(self.ordinal_of(context)?)?;
        if bytes == 0 {
            return Err(cuda::INVALID_VALUE);
        }
        let Reply::Allocated { allocation } = self.ask(&Request::Allocate { card, bytes: bytes as u64 })?
        else {
            return Err(cuda::UNKNOWN);
        };
        let Some(mapping) = Mapping::new(bytes) else {
            self.ask(&Request::Free { allocation })?;
            return Err(cuda::OUT_OF_MEMORY);
        };
        let at = mapping.address();
        self.blocks.insert(at, Block { mapping, bytes, allocation, context });
        Ok(at)
    }

    pub fn free(&mut self, at: u64) -> Outcome<()> {
        let block = self.blocks.remove(&at).ok_or(cuda::INVALID_VALUE)?;
        self.ask(&Request::Free { allocation: block.allocation }).map(drop)
    }

    /// The block that holds these bytes, and where in it they are.
    fn find(&self, at: u64, bytes: usize) -> Outcome<(&Mapping, usize)> {
        let (base, block) = self.blocks.range(..=at).next_back().ok_or(cuda::INVALID_VALUE)?;
        let offset = usize::try_from(at - base).map_err(|_| cuda::INVALID_VALUE)?;
        let end = offset.checked_add(bytes).ok_or(cuda::INVALID_VALUE)?;
        if end > block.bytes { Err(cuda::INVALID_VALUE) } else { Ok((&block.mapping, offset)) }
    }

    pub fn write(&self, at: u64, data: &[u8]) -> Outcome<()> {
        let (mapping, offset) = self.find(at, data.len())?;
        mapping.write(offset, data);
        Ok(())
    }

    pub fn read(&self, at: u64, data: &mut [u8]) -> Outcome<()> {
        let (mapping, offset) = self.find(at, data.len())?;
        mapping.read(offset, data);
        Ok(())
    }

    /// Writes `value` so many times, one after the other.
    pub fn fill(&self, at: u64, value: &[u8], times: usize) -> Outcome<()> {
        const CHUNK: usize = 16 * 1024;
        let total = value.len().checked_mul(times).ok_or(cuda::INVALID_VALUE)?;
        let (mapping, start) = self.find(at, total)?;
        let chunk = value.repeat(CHUNK.min(times));
        let mut done = 0;
        while done < total {
            let part = chunk.len().min(total - done);
            mapping.write(start + done, &chunk[..part]);
            done += part;
        }
        Ok(())
    }

    pub fn load_module(&mut self, image: Image) -> usize {
        let handle = self.handle();
        self.modules.insert(handle, image);
        handle
    }

    pub fn unload_module(&mut self, module: usize) -> Outcome<()> {
        self.modules.remove(&module).map(drop).ok_or(cuda::INVALID_HANDLE)
    }

    pub fn function(&mut self, module: usize, name: &str) -> Outcome<usize> {
        let image = self.modules.get(&module).ok_or(cuda::INVALID_HANDLE)?;
        if !image.has(name) {
            return Err(cuda::NOT_FOUND);
        }
        let handle = self.handle();
        self.functions.insert(handle, name.to_owned());
        Ok(handle)
    }

    pub fn function_name(&self, function: usize) -> Outcome<&str> {
        self.functions.get(&function).map(String::as_str).ok_or(cuda::INVALID_HANDLE)
    }

    /// Computes `nightjar_matmul_f32`, and says how long a card of so many teraflops takes for it.
    pub fn multiply(&self, [a, b, c]: [u64; 3], n: u32, teraflops: f64) -> Outcome<Work> {
        if n == 0 || n > matmul::LARGEST {
            return Err(cuda::INVALID_VALUE);
        }
        let size = n as usize;
        let product = matmul::multiply(&self.floats(a, size * size)?, &self.floats(b, size * size)?, size);
        let bytes: Vec<u8> = product.iter().flat_map(|value| value.to_ne_bytes()).collect();
        self.write(c, &bytes)?;
        let lasts = Duration::from_secs_f64(2.0 * f64::from(n).powi(3) / (teraflops * 1e12));
        Ok(Work { lasts, memory_share: 0.0 })
    }

    fn floats(&self, at: u64, count: usize) -> Outcome<Vec<f32>> {
        let mut bytes = vec![0; count * size_of::<f32>()];
        self.read(at, &mut bytes)?;
        Ok(bytes.as_chunks().0.iter().map(|value| f32::from_ne_bytes(*value)).collect())
    }

    /// Occupies the context's card with one kernel. The answer says until when to hold the caller.
    pub fn submit(&mut self, context: usize, kernel: &str, known: Option<Work>) -> Outcome<Option<Instant>> {
        let ordinal = self.ordinal_of(context)?;
        let known = known.unwrap_or(Work { lasts: LAUNCH, memory_share: MEMORY_SHARE });
        let request = Request::Launch {
            card: self.card(ordinal)?,
            kernel: kernel.to_owned(),
            device_micros: u64::try_from(known.lasts.as_micros()).unwrap_or(u64::MAX),
            memory_share: known.memory_share,
        };
        let Reply::Queued { micros } = self.ask(&request)? else { return Err(cuda::UNKNOWN) };
        let queued = Duration::from_micros(micros);
        let now = Instant::now();
        self.busy_until.insert(ordinal, now + queued);
        Ok(queued.checked_sub(DEEPEST_QUEUE).map(|excess| now + excess))
    }
}

/// Holds the caller of a launch while the card's queue is full.
pub fn hold(until: Option<Instant>) {
    sleep_until(until);
}
