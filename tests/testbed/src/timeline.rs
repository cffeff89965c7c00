//! What happened when, printed as it happens.

use std::time::{Duration, Instant};

pub struct Timeline {
    started: Instant,
    entries: Vec<(Duration, String)>,
    prints: bool,
}

impl Timeline {
    /// `prints`: each entry is shown as it comes.
    #[must_use]
    pub fn start(prints: bool) -> Self {
        Self { started: Instant::now(), entries: Vec::new(), prints }
    }

    pub fn note(&mut self, text: &str) {
        let at = self.started.elapsed();
        if self.prints {
            println!("{:>8.2} s  {text}", at.as_secs_f64());
        }
        self.entries.push((at, text.to_owned()));
    }

    #[must_use]
    pub fn entries(&self) -> &[(Duration, String)] {
        &self.entries
    }
}

/// `12.3 ms` or `4.56 s`.
#[must_use]
pub fn spell(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}
