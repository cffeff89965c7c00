//! What the host knows of one card.

use crate::demand::DemandFigures;
use crate::gpu::GpuReading;
use crate::gpu_use::Strangers;
use crate::market::WaitReason;
use crate::policy::Verdict;
use crate::thermal::Thermal;

use super::checking::Checking;
use super::job::Job;
use super::memory::Reclaim;
use super::sweeping::Sweeping;

/// One card and what runs on it.
#[derive(Clone, Debug)]
pub(super) struct Card {
    pub(super) reading: GpuReading,
    /// The driver still lists it. A card with a job is kept until the job is over.
    pub(super) present: bool,
    /// Lists in a row that it was not in.
    pub(super) missed_looks: u32,
    pub(super) verdict: Verdict,
    pub(super) job: Option<Job>,
    /// The power limit that the helper was told, and holds.
    pub(super) told_watts: Option<u32>,
    /// The limit that was there while the helper held none.
    pub(super) found_watts: Option<f64>,
    pub(super) thermal: Thermal,
    /// A tenant's memory that is waited for.
    pub(super) reclaim: Option<Reclaim>,
    /// Highest power that was seen.
    pub(super) peak_watts: Option<f64>,
    /// What the market says of a card that waits.
    pub(super) waiting: Option<WaitReason>,
    /// What the market says of the demand for such cards.
    pub(super) demand: Option<DemandFigures>,
    /// Who uses it beside us.
    pub(super) strangers: Strangers,
    /// The last one that was asked for, under way or over.
    pub(super) sweep: Option<Sweeping>,
    /// It proves itself to its market.
    pub(super) check: Option<Checking>,
}

impl Card {
    pub(super) fn new(reading: GpuReading, present: bool) -> Self {
        Self {
            reading,
            present,
            missed_looks: 0,
            verdict: undecided(),
            job: None,
            told_watts: None,
            found_watts: None,
            thermal: Thermal::default(),
            reclaim: None,
            peak_watts: None,
            waiting: None,
            demand: None,
            strangers: Strangers::default(),
            sweep: None,
            check: None,
        }
    }

    /// The load of a sweep is on it, or on its way there or off it.
    pub(super) fn is_swept(&self) -> bool {
        self.sweep.as_ref().is_some_and(Sweeping::is_on_the_card)
    }
}

/// Of a card that was not looked at yet. It differs from every verdict, so the first one is always written down.
fn undecided() -> Verdict {
    Verdict::Blocked { reasons: Vec::new(), next_change: None }
}
