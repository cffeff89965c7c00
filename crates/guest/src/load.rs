//! A steady load on the first card, and how much of it is done. It ends as every process 1 of ours does: when the agent's
//! line is silent.

use std::time::{Duration, Instant};

use nightjar_core::sweep::WorkKind;
use nightjar_protocol::guest::{GuestEvent, LoadBoot};

use crate::driver::{Buffer, Context, Driver, Failure, Kernel};
use crate::line::{End, Line};
use crate::report;

/// Compiled by the card's own driver.
const PTX: &str = include_str!("load/load.ptx");
/// Blocks and threads of a block, in each direction.
const SHAPE: (u32, u32) = (32, 16);
const THREADS: usize = 1024 * 256;
const WORD_BYTES: usize = size_of::<f32>();
/// Words of a thread in the memory's load.
const WORDS: usize = 256;
/// Of a thread in one round of the compute load: multiply-adds, each two operations.
const OPERATIONS: usize = 2 * 16;
/// How often it is told what was done.
const TELL_EACH: Duration = Duration::from_millis(100);
/// One launch should last so long: long enough that launching costs nothing, short enough to be told of in time.
const LAUNCH: Duration = Duration::from_millis(20);
const MOST_ROUNDS: u32 = 1 << 24;

/// Process 1.
pub fn run() -> End {
    let (mut line, boot) = match Line::open::<LoadBoot>() {
        Ok(opened) => opened,
        Err(end) => return end,
    };
    std::thread::spawn(move || {
        if let Err(failure) = work(boot.work) {
            let why =
                [Some(failure.detail), failure.error].into_iter().flatten().collect::<Vec<_>>().join(": ");
            report::event(&GuestEvent::Failed { what: "load".to_owned(), why });
        }
        // Without its work there is nothing to be process 1 of.
        std::process::exit(1);
    });
    loop {
        if let Err(end) = line.next() {
            return end;
        }
    }
}

/// One kind of load, ready to be launched.
pub struct Load<'context, 'driver> {
    kernel: Kernel<'context, 'driver>,
    buffers: [Buffer<'context, 'driver>; 3],
}

impl<'context, 'driver> Load<'context, 'driver> {
    pub fn new(context: &'context Context<'driver>, kind: WorkKind) -> Result<Self, Failure> {
        let (name, large) = match kind {
            WorkKind::Compute => ("nightjar_load_compute", WORD_BYTES),
            WorkKind::Memory => ("nightjar_load_memory", THREADS * WORDS * WORD_BYTES),
        };
        let results = context.allocate(THREADS * WORD_BYTES)?;
        let buffers = [context.allocate(large)?, context.allocate(large)?, results];
        Ok(Self { kernel: context.kernel(PTX, name)?, buffers })
    }

    /// How often the work is repeated in a launch that lasts long enough for launching to cost nothing, and how long it
    /// lasts.
    pub fn rounds(&self) -> Result<(u32, Duration), Failure> {
        let mut rounds = 1;
        loop {
            let took = self.best_launch(rounds)?;
            if took >= LAUNCH || rounds >= MOST_ROUNDS {
                return Ok((rounds, took));
            }
            rounds *= 2;
        }
    }

    /// The shorter of two: the first launch of all waits for the card to wake, and any may wait for a processor.
    fn best_launch(&self, rounds: u32) -> Result<Duration, Failure> {
        Ok(self.launch(rounds)?.min(self.launch(rounds)?))
    }

    /// How long a launch took.
    pub fn launch(&self, rounds: u32) -> Result<Duration, Failure> {
        let began = Instant::now();
        self.kernel.run(self.buffers.each_ref(), rounds, SHAPE)?;
        Ok(began.elapsed())
    }

    /// Of floating point, in so many rounds of the compute load.
    pub fn operations(&self, rounds: u32) -> f64 {
        f64::from(rounds) * (THREADS * OPERATIONS) as f64
    }

    /// Read and written in so many rounds of the memory load.
    pub fn bytes(&self, rounds: u32) -> f64 {
        f64::from(rounds) * (2 * THREADS * WORDS * WORD_BYTES) as f64
    }
}

/// Works until the process ends, or fails.
fn work(kind: WorkKind) -> Result<(), Failure> {
    let driver = Driver::load()?;
    driver.init()?;
    let context = driver.context()?;
    let load = Load::new(&context, kind)?;
    let (rounds, _) = load.rounds()?;
    let (mut done, mut told) = (0_u64, Instant::now());
    report::event(&GuestEvent::Work { done });
    loop {
        load.launch(rounds)?;
        done += u64::from(rounds);
        if told.elapsed() >= TELL_EACH {
            told = Instant::now();
            report::event(&GuestEvent::Work { done });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_and_its_kernels_agree() {
        assert_eq!(THREADS, (SHAPE.0 * SHAPE.0 * SHAPE.1 * SHAPE.1) as usize);
        // From one word of a thread to its next.
        assert!(PTX.contains(&format!("add.u64 %rd6, %rd6, {};", THREADS * WORD_BYTES)));
        assert!(PTX.contains(&format!("setp.lt.u32 %p1, %r11, {WORDS};")));
        assert_eq!(PTX.matches("fma.rn.f32").count() * 2, OPERATIONS);
        for name in ["nightjar_load_compute", "nightjar_load_memory"] {
            assert!(PTX.contains(&format!(".visible .entry {name}(")));
        }
    }
}
