//! Whether the PC stays with its owner meanwhile: how late a sleeping thread wakes, and how fast the Engine answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::engine::ping;
use crate::figures::percentile_ms;

/// As a program of the owner's sleeps between two frames of a screen with 200 Hz.
const NAP: Duration = Duration::from_millis(5);
const ASK_EVERY: Duration = Duration::from_millis(100);

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    pub wake_p99_ms: f64,
    pub wake_worst_ms: f64,
    pub engine_p99_ms: f64,
    pub engine_worst_ms: f64,
    /// The Engine did not answer at all so many times.
    pub unanswered: usize,
}

/// Two threads that measure.
pub struct Calm {
    over: Arc<AtomicBool>,
    naps: JoinHandle<Vec<Duration>>,
    answers: JoinHandle<(Vec<Duration>, usize)>,
}

impl Calm {
    #[must_use]
    pub fn watch(socket: PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (until, asking) = (over.clone(), over.clone());
        let naps = std::thread::spawn(move || {
            let mut late = Vec::new();
            while !until.load(Ordering::Relaxed) {
                let started = Instant::now();
                std::thread::sleep(NAP);
                late.push(started.elapsed().saturating_sub(NAP));
            }
            late
        });
        let answers = std::thread::spawn(move || {
            let (mut took, mut unanswered) = (Vec::new(), 0);
            while !asking.load(Ordering::Relaxed) {
                let started = Instant::now();
                match ping(&socket) {
                    Ok(()) => took.push(started.elapsed()),
                    Err(_) => unanswered += 1,
                }
                std::thread::sleep(ASK_EVERY);
            }
            (took, unanswered)
        });
        Self { over, naps, answers }
    }

    #[must_use]
    pub fn end(self) -> Measured {
        self.over.store(true, Ordering::Relaxed);
        let naps = self.naps.join().unwrap_or_default();
        let (answers, unanswered) = self.answers.join().unwrap_or_default();
        Measured {
            wake_p99_ms: percentile_ms(&naps, 0.99),
            wake_worst_ms: percentile_ms(&naps, 1.0),
            engine_p99_ms: percentile_ms(&answers, 0.99),
            engine_worst_ms: percentile_ms(&answers, 1.0),
            unanswered,
        }
    }
}
