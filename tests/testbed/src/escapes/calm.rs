//! Whether the PC stays with its owner meanwhile: how late a sleeping thread wakes, and how fast the Engine answers. A
//! machine that itself stands still for a moment is no doing of the tenants: a witness that comes before every tenant sees
//! it, and its lateness is taken off.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::engine::ping;
use crate::figures::percentile_ms;
use crate::process::output;

/// As a program of the owner's sleeps between two frames of a screen with 200 Hz.
const NAP: Duration = Duration::from_millis(5);
const ASK_EVERY: Duration = Duration::from_millis(100);
/// So late nothing makes the witness but a machine that stands still.
const STANDSTILL: Duration = Duration::from_millis(100);

/// From one moment to another.
type Span = (Instant, Instant);

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Of the time, how much the machine itself stood still. Is taken off the others.
    pub stood_still_percent: f64,
    pub wake_p99_ms: f64,
    pub wake_worst_ms: f64,
    pub engine_p99_ms: f64,
    pub engine_worst_ms: f64,
    /// The Engine did not answer at all so many times.
    pub unanswered: usize,
}

/// Two threads that measure, and their witness, which outlives them.
pub struct Calm {
    began: Instant,
    over: Arc<AtomicBool>,
    naps: JoinHandle<Vec<Span>>,
    answers: JoinHandle<(Vec<Span>, usize)>,
    is_heard: Arc<AtomicBool>,
    witness: JoinHandle<Vec<Span>>,
}

impl Calm {
    #[must_use]
    pub fn watch(socket: PathBuf) -> Self {
        let is_heard = Arc::new(AtomicBool::new(false));
        let witness = witness(&is_heard);
        let over = Arc::new(AtomicBool::new(false));
        let (until, asking) = (over.clone(), over.clone());
        let naps = std::thread::spawn(move || {
            let mut late = Vec::new();
            while !until.load(Ordering::Relaxed) {
                late.push(nap());
            }
            late
        });
        let answers = std::thread::spawn(move || {
            let (mut took, mut unanswered) = (Vec::new(), 0);
            while !asking.load(Ordering::Relaxed) {
                let started = Instant::now();
                match ping(&socket) {
                    Ok(()) => took.push((started, Instant::now())),
                    Err(_) => unanswered += 1,
                }
                std::thread::sleep(ASK_EVERY);
            }
            (took, unanswered)
        });
        Self { began: Instant::now(), over, naps, answers, is_heard, witness }
    }

    #[must_use]
    pub fn end(self) -> Measured {
        self.over.store(true, Ordering::Relaxed);
        let naps = self.naps.join().unwrap_or_default();
        let (answers, unanswered) = self.answers.join().unwrap_or_default();
        self.is_heard.store(true, Ordering::Relaxed);
        let standstills = self.witness.join().unwrap_or_default();
        let whole = (self.began, Instant::now());
        let stood_still = (whole.1 - whole.0) - held_up(whole, &standstills);
        let by_tenants = |spans: &[Span]| -> Vec<Duration> {
            spans.iter().map(|span| held_up(*span, &standstills)).collect()
        };
        let (naps, answers) = (by_tenants(&naps), by_tenants(&answers));
        Measured {
            stood_still_percent: stood_still.as_secs_f64() / (whole.1 - whole.0).as_secs_f64() * 100.0,
            wake_p99_ms: percentile_ms(&naps, 0.99),
            wake_worst_ms: percentile_ms(&naps, 1.0),
            engine_p99_ms: percentile_ms(&answers, 0.99),
            engine_worst_ms: percentile_ms(&answers, 1.0),
            unanswered,
        }
    }
}

/// From the moment at which a sleeper was due to the one at which it woke.
fn nap() -> Span {
    let due = Instant::now() + NAP;
    std::thread::sleep(NAP);
    (due, Instant::now())
}

/// Sleeps as the other does until it is heard, and tells of the machine's standstills. Where it cannot come first, it has
/// seen none.
fn witness(is_heard: &Arc<AtomicBool>) -> JoinHandle<Vec<Span>> {
    let is_heard = is_heard.clone();
    let (ready, is_ready) = channel();
    let thread = std::thread::spawn(move || {
        let comes_first = comes_first();
        let _ = ready.send(());
        let mut seen = Vec::new();
        while comes_first && !is_heard.load(Ordering::Relaxed) {
            let (due, woke) = nap();
            if woke - due > STANDSTILL {
                seen.push((due, woke));
            }
        }
        seen
    });
    let _ = is_ready.recv();
    thread
}

/// Has the kernel run this thread before everything that no such word was given for, which no tenant gets.
fn comes_first() -> bool {
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    output(Command::new("chrt").args(["--fifo", "--pid", "1", &own])).is_ok()
}

/// How long a span is without the machine's own standstills in it.
fn held_up((from, to): Span, standstills: &[Span]) -> Duration {
    let within = standstills.iter().map(|(began, ended)| {
        let (began, ended) = ((*began).max(from), (*ended).min(to));
        ended.saturating_duration_since(began)
    });
    let stood_still: Duration = within.sum();
    to.saturating_duration_since(from).saturating_sub(stood_still)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_machine_itself_stood_still_is_taken_off() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let standstills = [(at(100), at(200)), (at(1_000), at(2_000))];
        let cases = [
            ((0, 50), 50),
            ((0, 300), 200),
            ((150, 300), 100),
            ((1_100, 1_900), 0),
            ((900, 1_500), 100),
            ((0, 3_000), 1_900),
            ((2_000, 3_500), 1_500),
        ];
        for ((from, to), left) in cases {
            let span = (at(from), at(to));
            assert_eq!(held_up(span, &standstills), Duration::from_millis(left), "{from} to {to}");
            assert_eq!(held_up(span, &[]), Duration::from_millis(to - from), "without a witness");
        }
    }
}
