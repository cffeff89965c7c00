//! Reads every card that is awake, and leaves those asleep that sleep.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use nightjar_core::gpu::{DriverInfo, GpuReading};

use crate::{CardPower, GpuError, Gpus, Locator, Nvml, PowerStates};

/// Whether opening the driver may touch cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attach {
    AllCards,
    NoCard,
}

type Open = Box<dyn FnMut(Attach) -> Result<Box<dyn Gpus>, GpuError> + Send>;

/// Reads the cards again and again. It opens the driver when it first needs it, and anew after an error, so that a
/// driver that is installed, or a card that is plugged in again, is found without a restart.
pub struct Sampler {
    open: Open,
    /// With how it was opened.
    gpus: Option<(Attach, Box<dyn Gpus>)>,
    power: PowerStates,
    driver: Option<DriverInfo>,
    /// By bus id, as last seen awake.
    known: BTreeMap<String, GpuReading>,
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler")
            .field("power", &self.power)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    /// Asks nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_sysfs(Path::new("/sys"))
    }

    /// With the power states from another folder than `/sys`.
    #[must_use]
    pub fn with_sysfs(root: &Path) -> Self {
        Self::with(PowerStates::below(root), |attach| {
            let nvml = match attach {
                Attach::AllCards => Nvml::open()?,
                Attach::NoCard => Nvml::open_without_cards()?,
            };
            Ok(Box::new(nvml))
        })
    }

    fn with(
        power: PowerStates,
        open: impl FnMut(Attach) -> Result<Box<dyn Gpus>, GpuError> + Send + 'static,
    ) -> Self {
        Self { open: Box::new(open), gpus: None, power, driver: None, known: BTreeMap::new() }
    }

    /// One reading of each card, in the driver's order where all are awake. A sleeping card is told as it was last
    /// seen, and as asleep; one that was never seen awake is left out, or is the error where it is the only one.
    pub fn sample(&mut self) -> Result<(DriverInfo, Vec<GpuReading>), GpuError> {
        let power = self.power.read();
        let result = self.sample_in(&power);
        // An open driver keeps a card awake for as long as it is open, and after an error it may be a stale one.
        if result.is_err() || power.iter().any(|card| card.may_sleep) {
            self.gpus = None;
        }
        result
    }

    /// As [`Sampler::sample`], but wakes the cards that sleep: once, say, when their owner turns lending on, so that
    /// the market can be told what they are.
    pub fn wake_and_sample(&mut self) -> Result<(DriverInfo, Vec<GpuReading>), GpuError> {
        let result = self.sample_in(&[]);
        if result.is_err() || self.power.read().iter().any(|card| card.may_sleep) {
            self.gpus = None;
        }
        result
    }

    fn sample_in(&mut self, power: &[CardPower]) -> Result<(DriverInfo, Vec<GpuReading>), GpuError> {
        let (asleep, awake): (Vec<_>, Vec<_>) = power.iter().partition(|card| card.asleep);
        let asleep = self.asleep(&asleep);
        if awake.is_empty() && !power.is_empty() {
            return self.all_asleep(power, asleep);
        }
        let attach = if power.len() > awake.len() { Attach::NoCard } else { Attach::AllCards };
        // One that was opened without its cards is not asked for all of them.
        let reusable = self.gpus.take().filter(|(had, _)| *had == Attach::AllCards || *had == attach);
        let (attached, gpus) = match reusable {
            Some(open) => open,
            None => (attach, (self.open)(attach)?),
        };
        let driver = gpus.driver()?;
        self.driver = Some(driver.clone());
        let answers: Vec<_> = match attach {
            Attach::AllCards => (0..gpus.count()?).map(|index| gpus.read(Locator::Index(index))).collect(),
            Attach::NoCard => awake.iter().map(|card| gpus.read(Locator::BusId(&card.bus_id))).collect(),
        };
        let (readings, lost) = self.take(answers);
        match lost {
            Some(error) if readings.is_empty() && asleep.is_empty() => return Err(error),
            None if readings.is_empty() && asleep.is_empty() => self.none_missing()?,
            // Opened anew next time: a card that was plugged in again has no place in this one.
            Some(_) => {}
            None => self.gpus = Some((attached, gpus)),
        }
        Ok((driver, readings.into_iter().chain(asleep).collect()))
    }

    /// A driver without cards is as it should be only where there never was one.
    fn none_missing(&self) -> Result<(), GpuError> {
        match self.known.values().next() {
            Some(seen) => Err(GpuError::GpuLost { card: seen.name.clone() }),
            None => Ok(()),
        }
    }

    /// Nothing is asked of the driver: any question might wake a card.
    fn all_asleep(
        &mut self,
        power: &[CardPower],
        asleep: Vec<GpuReading>,
    ) -> Result<(DriverInfo, Vec<GpuReading>), GpuError> {
        let never_seen = || GpuError::Asleep {
            card: power.iter().map(|card| card.bus_id.as_str()).collect::<Vec<_>>().join(", "),
        };
        if asleep.is_empty() {
            return Err(never_seen());
        }
        let loaded = self.power.driver_version().map(|version| DriverInfo { version, cuda: None });
        let driver = self.driver.clone().or(loaded).ok_or_else(never_seen)?;
        Ok((driver, asleep))
    }

    fn asleep(&self, cards: &[&CardPower]) -> Vec<GpuReading> {
        cards.iter().filter_map(|card| self.known.get(&card.bus_id)).map(as_asleep).collect()
    }

    /// Remembers the readings, and tells the first error of those that could not be had.
    fn take(&mut self, answers: Vec<Result<GpuReading, GpuError>>) -> (Vec<GpuReading>, Option<GpuError>) {
        let (mut readings, mut lost) = (Vec::new(), None);
        for answer in answers {
            match answer {
                Ok(reading) => {
                    self.known.insert(reading.pci_bus_id.clone(), reading.clone());
                    readings.push(reading);
                }
                Err(error) => {
                    tracing::warn!(%error, "a card cannot be read");
                    lost.get_or_insert(error);
                }
            }
        }
        (readings, lost)
    }
}

/// What stays true of a card while it sleeps. Nothing is in its memory, or it would not.
fn as_asleep(seen: &GpuReading) -> GpuReading {
    GpuReading {
        name: seen.name.clone(),
        index: seen.index,
        pci_bus_id: seen.pci_bus_id.clone(),
        asleep: true,
        vram_total_bytes: seen.vram_total_bytes,
        power_limits: seen.power_limits,
        compute_capability: seen.compute_capability,
        display_attached: seen.display_attached,
        ..GpuReading::unread(seen.uuid.clone())
    }
}

#[cfg(test)]
mod tests;
