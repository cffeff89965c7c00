//! Figures of a bench: a table for people, one JSON object for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// One figure, with what it is measured against.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub name: String,
    pub unit: &'static str,
    pub value: f64,
    /// What it should be at most, or at least.
    pub aim: Option<f64>,
    pub better: Better,
    /// The same work by somebody else, measured in the same run.
    pub peers: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Lower,
    Higher,
}

/// All figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub bench: String,
    pub commit: String,
    pub machine: String,
    pub figures: Vec<Figure>,
}

impl Figures {
    #[must_use]
    pub fn new(bench: &str) -> Self {
        let commit = crate::process::output(
            std::process::Command::new("git")
                .args(["rev-parse", "--short=12", "HEAD"])
                .current_dir(crate::place::checkout()),
        );
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            bench: bench.to_owned(),
            commit: commit.map_or_else(|_| String::from("unknown"), |text| text.trim().to_owned()),
            machine: format!("{cores} cores, Linux {}", kernel.trim()),
            figures: Vec::new(),
        }
    }

    /// A figure of which less is better.
    pub fn lower(&mut self, name: &str, unit: &'static str, value: f64, aim: Option<f64>) -> &mut Figure {
        self.add(name, unit, value, aim, Better::Lower)
    }

    /// A figure of which more is better.
    pub fn higher(&mut self, name: &str, unit: &'static str, value: f64, aim: Option<f64>) -> &mut Figure {
        self.add(name, unit, value, aim, Better::Higher)
    }

    fn add(
        &mut self,
        name: &str,
        unit: &'static str,
        value: f64,
        aim: Option<f64>,
        better: Better,
    ) -> &mut Figure {
        let peers = BTreeMap::new();
        self.figures.push(Figure { name: name.to_owned(), unit, value, aim, better, peers });
        let last = self.figures.len() - 1;
        &mut self.figures[last]
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!("{} at {} on {}\n", self.bench, self.commit, self.machine);
        for figure in &self.figures {
            let is_met = figure.aim.is_none_or(|aim| match figure.better {
                Better::Lower => figure.value <= aim,
                Better::Higher => figure.value >= aim,
            });
            let aim = figure
                .aim
                .map_or(String::new(), |aim| format!("aim {aim:.2}{}", if is_met { "" } else { " MISSED" }));
            let peers: Vec<String> =
                figure.peers.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
            table += &format!(
                "  {:<34} {:>10.2} {:<8} {:<18} {}\n",
                figure.name,
                figure.value,
                figure.unit,
                aim,
                peers.join(", ")
            );
        }
        table
    }
}

impl Figure {
    pub fn beside(&mut self, peer: &str, value: f64) -> &mut Self {
        self.peers.insert(peer.to_owned(), value);
        self
    }
}

/// The time below which `share` (0 to 1) of the samples lie, in milliseconds.
#[must_use]
pub fn percentile_ms(samples: &[Duration], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into a short list")]
    let rank = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(rank - 1).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_samples() {
        let samples: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert!((percentile_ms(&samples, 0.5) - 50.0).abs() < 1e-9);
        assert!((percentile_ms(&samples, 0.99) - 99.0).abs() < 1e-9);
        assert!((percentile_ms(&samples[..1], 0.99) - 1.0).abs() < 1e-9);
    }
}
