//! What was carried in each calendar month. Counters of gateways only rise, begin at nothing with each placement, and
//! outlive this program: what was already counted of each is kept beside the sum, so nothing counts twice or is lost.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::lease::LeaseId;
use crate::time::Timestamp;
use crate::week::{beginning, wall_date};

/// So many months are kept: a clock that is wrong for a while shows another, and what was counted must be there when it is
/// right again.
const MONTHS_KEPT: usize = 12;

/// More leases than a PC has at once; what ended while nobody looked is forgotten beyond it.
const MOST_COUNTED: usize = 256;

/// Bytes, seen from the PC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(rename = "LineTraffic")]
pub struct Traffic {
    #[ts(type = "number")]
    pub up_bytes: u64,
    #[ts(type = "number")]
    pub down_bytes: u64,
}

impl Traffic {
    #[must_use]
    pub fn sum(self) -> u64 {
        self.up_bytes.saturating_add(self.down_bytes)
    }

    /// What was added since `earlier`; a counter that fell began anew.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        if self.up_bytes < earlier.up_bytes || self.down_bytes < earlier.down_bytes {
            return self;
        }
        Self { up_bytes: self.up_bytes - earlier.up_bytes, down_bytes: self.down_bytes - earlier.down_bytes }
    }

    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            up_bytes: self.up_bytes.saturating_add(more.up_bytes),
            down_bytes: self.down_bytes.saturating_add(more.down_bytes),
        }
    }
}

/// A calendar month on the wall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Month {
    /// `2026-11`.
    pub name: String,
    pub ends_at: Timestamp,
}

impl Month {
    /// `None` outside of the calendar.
    #[must_use]
    pub fn of(now: Timestamp, zone: &TimeZone) -> Option<Self> {
        let today = wall_date(now, zone)?;
        let next = today.last_of_month().tomorrow().ok()?;
        let ends_at = beginning(next.to_datetime(jiff::civil::Time::midnight()), zone)?;
        let name = format!("{:04}-{:02}", today.year(), today.month());
        Some(Self { name, ends_at })
    }
}

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct DataUse {
    /// The one that is counted now.
    month: String,
    months: BTreeMap<String, Traffic>,
    counted: BTreeMap<LeaseId, Traffic>,
}

/// As it lies in a file. An earlier version kept one month alone.
#[derive(Deserialize)]
struct Stored {
    month: String,
    used: Option<Traffic>,
    #[serde(default)]
    months: BTreeMap<String, Traffic>,
    counted: BTreeMap<LeaseId, Traffic>,
}

impl From<Stored> for DataUse {
    fn from(stored: Stored) -> Self {
        let Stored { month, used, mut months, counted } = stored;
        if let Some(used) = used {
            months.entry(month.clone()).or_insert(used);
        }
        Self { month, months, counted }
    }
}

impl DataUse {
    /// In the month that was last named.
    #[must_use]
    pub fn used(&self) -> Traffic {
        self.months.get(&self.month).copied().unwrap_or_default()
    }

    /// Counts in this month from now on, and goes on where it was known. Returns whether it is another.
    pub fn turn_to(&mut self, month: &Month) -> bool {
        let before = std::mem::replace(&mut self.month, month.name.clone());
        // Only a later one makes the earliest old.
        if before < month.name {
            while self.months.len() > MONTHS_KEPT {
                self.months.pop_first();
            }
        }
        before != month.name
    }

    /// The counters of a lease's gateway as they stand. Returns what was added.
    pub fn take(&mut self, lease: &LeaseId, total: Traffic) -> Traffic {
        let known = self.counted.get(lease).copied().unwrap_or_default();
        let added = total.since(known);
        if added != Traffic::default() {
            let used = self.months.entry(self.month.clone()).or_default();
            *used = used.plus(added);
        }
        if known != total {
            self.counted.insert(lease.clone(), total);
        }
        added
    }

    /// A lease that is over for certain.
    pub fn forget(&mut self, lease: &LeaseId) {
        self.counted.remove(lease);
    }

    /// Keeps the memory bounded: of leases that are not `alive`, none stays beyond it.
    pub fn tidy(&mut self, alive: impl Fn(&LeaseId) -> bool) {
        if self.counted.len() > MOST_COUNTED {
            self.counted.retain(|lease, _| alive(lease));
        }
    }
}
