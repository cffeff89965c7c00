//! What a job costs its host while it has the card.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::economics::Consumption;
use crate::energy::{EnergySample, between};
use crate::tariff::Tariff;

/// Kept with the lease in the journal, so that a restarted agent goes on with it: what the counter gained meanwhile is
/// the tenant's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bill {
    pub consumption: Consumption,
    /// What the card last said; nothing before its first reading with the job, which is asked for as soon as it comes.
    last: Option<EnergySample>,
}

impl Bill {
    /// One that begins with what the card said last.
    pub(super) fn since(sample: EnergySample) -> Self {
        Self { last: Some(sample), ..Self::default() }
    }

    /// Takes a reading of the card; what was drawn since the last one is the job's where `on_the_card`.
    pub(super) fn take(&mut self, sample: EnergySample, on_the_card: bool, tariff: &Tariff, zone: &TimeZone) {
        if let Some(last) = self.last.replace(sample)
            && on_the_card
        {
            let energy = between(&last, &sample);
            self.consumption.add(energy, last.at, sample.at, tariff, zone);
        }
    }
}
