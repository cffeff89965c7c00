//! What happens to the simulated machine from outside, and what tests may ask about it.

use std::time::Duration;

use crate::card::{Card, External};
use crate::machine::{Fault, Machine, Refusal, refuse};
use crate::physics::{Fan, Load, LoadSource};
use crate::wire::{Control, Stats, nvml};

const MIB: u64 = 1024 * 1024;
/// Names of calls are bounded, as all outside input is.
const LONGEST_CALL: usize = 96;
const MOST_FAULTS: usize = 256;

/// Checks what can be checked of an event without a machine in some state.
pub fn check(control: &Control, cards: usize) -> Result<(), String> {
    let finite = |celsius: f64| {
        if (-50.0..=150.0).contains(&celsius) {
            Ok(())
        } else {
            Err(format!("{celsius} °C is no temperature"))
        }
    };
    let card = match control {
        Control::SetRoomTemp { celsius } => return finite(*celsius),
        Control::Driver { version } => {
            let fits = version.len() < 64 && version.split('.').all(|part| part.parse::<u32>().is_ok());
            return if fits {
                Ok(())
            } else {
                Err(format!("{version:?} is no driver version (like 560.35.03)"))
            };
        }
        Control::Fail { call, card, .. } => {
            if call.len() > LONGEST_CALL || !(call.starts_with("nvml") || call.starts_with("cu")) {
                return Err(format!("{call:?} is no call of NVML or of the CUDA driver API"));
            }
            match card {
                None => return Ok(()),
                Some(card) => *card,
            }
        }
        Control::SetTemp { card, celsius } => {
            finite(*celsius)?;
            *card
        }
        Control::SetFan { card, percent } => {
            if let Some(percent) = percent.filter(|percent| !(0.0..=100.0).contains(percent)) {
                return Err(format!("{percent} % is no fan speed"));
            }
            *card
        }
        Control::StickTemp { card, celsius } => {
            celsius.map_or(Ok(()), finite)?;
            *card
        }
        Control::ExternalLoad { card, util_percent, memory_percent, .. } => {
            for (percent, what) in [(*util_percent, "utilisation"), (memory_percent.unwrap_or(0.0), "share")]
            {
                if !(0.0..=100.0).contains(&percent) {
                    return Err(format!("{percent} % is no {what}"));
                }
            }
            *card
        }
        Control::Unplug { card }
        | Control::Replug { card }
        | Control::Sleep { card }
        | Control::Wake { card }
        | Control::SetPowerLimit { card, .. }
        | Control::SetDisplay { card, .. } => *card,
    };
    if card < cards {
        Ok(())
    } else {
        Err(format!("there is no card {card}: they are 0 to {}", cards.max(1) - 1))
    }
}

impl Machine {
    pub(crate) fn control(&mut self, control: &Control, now: Duration) -> Result<(), Refusal> {
        check(control, self.cards.len()).or_else(|why| refuse(nvml::INVALID_ARGUMENT, why))?;
        let done = match control {
            Control::SetRoomTemp { celsius } => {
                self.room_celsius = *celsius;
                for card in &mut self.cards {
                    card.body.set_room_celsius(*celsius);
                }
                Ok(())
            }
            Control::Driver { version } => {
                self.driver_version.clone_from(version);
                Ok(())
            }
            Control::Fail { call, code, card, times } => self.set_fault(call, *card, *code, *times),
            Control::SetTemp { card, celsius } => {
                self.cards[*card].body.set_temperature_celsius(*celsius);
                Ok(())
            }
            Control::StickTemp { card, celsius } => {
                self.cards[*card].body.stick_temperature(*celsius);
                Ok(())
            }
            Control::SetFan { card, percent } => {
                self.cards[*card].body.set_fan(percent.map_or(Fan::Auto, Fan::Fixed));
                Ok(())
            }
            Control::ExternalLoad { card, pid, util_percent, vram_mib, graphics, memory_percent } => {
                let external = External { vram_bytes: vram_mib.saturating_mul(MIB), graphics: *graphics };
                // A game waits for memory about as much as training does.
                let memory_share = memory_percent.map_or(0.5, |percent| percent / 100.0);
                let load = Load { duty: util_percent / 100.0, memory_share, until: None };
                set_external(&mut self.cards[*card], *pid, load, external)
            }
            Control::Unplug { card } => {
                self.cards[*card].unplug();
                Ok(())
            }
            Control::Replug { card } => {
                let model = self.cards[*card].body.model();
                if !self.cards[*card].present {
                    self.cards[*card] = Card::new(*card, model, self.room_celsius, now);
                }
                Ok(())
            }
            Control::Sleep { card } => {
                self.cards[*card].set_asleep(true);
                Ok(())
            }
            Control::Wake { card } => {
                self.cards[*card].set_asleep(false);
                Ok(())
            }
            Control::SetPowerLimit { card, watts } => self.cards[*card].body.set_limit_watts(*watts),
            Control::SetDisplay { card, connected } => {
                self.cards[*card].display_connected = *connected;
                Ok(())
            }
        };
        done.or_else(|why| refuse(nvml::INVALID_ARGUMENT, why))
    }

    fn set_fault(
        &mut self,
        call: &str,
        card: Option<usize>,
        code: Option<i32>,
        times: Option<u32>,
    ) -> Result<(), String> {
        let key = (call.to_owned(), card);
        match code {
            None | Some(0) => {
                self.faults.remove(&key);
            }
            Some(_) if times == Some(0) => return Err("a call cannot fail 0 times".to_owned()),
            Some(_) if self.faults.len() >= MOST_FAULTS => {
                return Err(format!("{MOST_FAULTS} calls are set to fail already"));
            }
            Some(code) => {
                self.faults.insert(key, Fault { code, left: times });
            }
        }
        Ok(())
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            driver_version: self.driver_version.clone(),
            room_celsius: self.room_celsius,
            connections: self.connections(),
            cards: self.cards.iter().map(Card::stats).collect(),
        }
    }
}

fn set_external(card: &mut Card, pid: u32, load: Load, external: External) -> Result<(), String> {
    if !card.present {
        return Err("the card is unplugged".to_owned());
    }
    let gone = load.duty <= 0.0 && external.vram_bytes == 0;
    card.set_external(pid, (!gone).then_some(external))?;
    let source = LoadSource::External(pid);
    if load.duty > 0.0 {
        card.body.set_load(source, load);
    } else {
        card.body.clear_load(source);
    }
    Ok(())
}
