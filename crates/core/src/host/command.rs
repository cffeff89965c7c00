//! What the owner says.

use super::Host;
use super::effect::{Effect, Notice, Outbox, Report};
use super::input::{CommandError, UserCommand};
use crate::lease::EndReason;
use crate::policy::{EarnNow, Overrides};
use crate::settings::Settings;
use crate::time::Timestamp;

/// Longest snooze that is taken: a week.
pub const MAX_OVERRIDE_MS: u64 = 7 * 86_400_000;

/// A snooze for a game ends with it, and after this in any case.
const LONGEST_GAME_MS: u64 = 86_400_000;

impl Host {
    /// Whether a command would be taken, for the answer to whoever gave it.
    ///
    /// # Errors
    /// Why it is not taken; nothing has changed.
    pub fn check_command(&self, command: &UserCommand) -> Result<(), CommandError> {
        match command {
            UserCommand::SetEarning { .. } if self.snapshot.settings_trouble.is_some() => {
                Err(CommandError::SettingsUnreadable)
            }
            UserCommand::Snooze { for_ms }
            | UserCommand::LastJob { for_ms }
            | UserCommand::EarnNow { for_ms, .. }
                if *for_ms == 0 || *for_ms > MAX_OVERRIDE_MS =>
            {
                Err(CommandError::Duration { most_ms: MAX_OVERRIDE_MS })
            }
            UserCommand::SnoozeForGame if self.game().is_none() => Err(CommandError::NoGame),
            UserCommand::SetPowerLimit { .. } if self.snapshot.settings_trouble.is_some() => {
                Err(CommandError::SettingsUnreadable)
            }
            UserCommand::SetPowerLimit { gpu, limit } => self.check_limit(gpu.as_ref(), *limit),
            UserCommand::Sweep(wish) => self.check_sweep(wish),
            UserCommand::StopSweep { gpu: Some(gpu) } | UserCommand::RetryCheck { gpu: Some(gpu) }
                if !self.cards.contains_key(gpu) =>
            {
                Err(CommandError::NoSuchCard { gpu: gpu.clone() })
            }
            UserCommand::ApplyPreset { .. } | UserCommand::ReckonIn { .. }
                if self.snapshot.settings_trouble.is_some() =>
            {
                Err(CommandError::SettingsUnreadable)
            }
            UserCommand::StopJob { lease } if self.job(lease).is_none() => {
                Err(CommandError::NoSuchJob { lease: lease.clone() })
            }
            UserCommand::Save { settings, base } => self.after_save(settings, base.as_deref()).map(drop),
            _ => Ok(()),
        }
    }

    pub(super) fn take_command(&mut self, command: UserCommand, now: Timestamp, out: &mut Outbox) {
        if self.check_command(&command).is_err() {
            return;
        }
        match command {
            UserCommand::SetEarning { on } => {
                self.settings.earn_while_idle = on;
                out.push(Effect::SaveSettings(Box::new(self.settings.clone())));
                if on {
                    self.overrides = Overrides::default();
                    self.allow_heat();
                }
            }
            UserCommand::Snooze { for_ms } => {
                self.overrides.snoozed_until = Some(now.plus_ms(for_ms));
                (self.overrides.snoozed_for_game, self.overrides.earn_now) = (None, None);
            }
            UserCommand::SnoozeForGame => {
                self.overrides.snoozed_for_game = self.game().map(str::to_owned);
                self.overrides.snoozed_until = Some(now.plus_ms(LONGEST_GAME_MS));
                self.overrides.earn_now = None;
            }
            UserCommand::EarnNow { for_ms, until_back } => {
                let until = now.plus_ms(for_ms);
                self.overrides = Overrides {
                    earn_now: Some(EarnNow { until, until_back, has_left: false }),
                    ..Overrides::default()
                };
                self.allow_heat();
            }
            UserCommand::ApplyPreset { preset } => {
                preset.apply(&mut self.settings);
                out.push(Effect::SaveSettings(Box::new(self.settings.clone())));
            }
            UserCommand::ReckonIn { currency } => {
                self.settings.reckon_in(currency);
                self.hours.forget();
                self.told_offers = None;
                out.push(Effect::SaveSettings(Box::new(self.settings.clone())));
            }
            UserCommand::SetPowerLimit { gpu, limit } => {
                self.choose_limit(gpu, limit);
                out.push(Effect::SaveSettings(Box::new(self.settings.clone())));
            }
            UserCommand::Sweep(wish) => self.begin_sweep(&wish, now),
            UserCommand::StopSweep { gpu } => self.cancel_sweep(gpu.as_ref(), now, out),
            UserCommand::RetryCheck { gpu } => out.push(Effect::Tell(Report::CheckWanted { gpu })),
            UserCommand::LastJob { for_ms } => self.overrides.last_job_until = Some(now.plus_ms(for_ms)),
            UserCommand::EndSnooze => self.overrides.end_snooze(),
            UserCommand::EndOverrides => {
                self.overrides = Overrides::default();
                self.allow_heat();
            }
            UserCommand::StopJob { lease } => {
                let Some(epoch) = self.job(&lease).map(|job| job.terms().epoch) else { return };
                if let Some((job, reading, settings)) = self.job_mut(&lease, epoch) {
                    let how = job.gentle(settings);
                    job.end(EndReason::OwnerStopped, how, reading.energy_millijoules, now, out);
                }
            }
            UserCommand::Save { settings, base } => {
                let Ok(settings) = self.after_save(&settings, base.as_deref()) else { return };
                // Settings that were chosen in full replace a file that could not be read.
                self.snapshot.settings_trouble = None;
                self.settings = settings.clone();
                self.hours.forget();
                self.note_cap();
                self.told_offers = None;
                out.push(Effect::SaveSettings(Box::new(settings)));
            }
        }
    }

    /// What is not in the file holds all the same, until the program ends.
    pub(super) fn take_saved(&mut self, trouble: Option<String>, out: &mut Outbox) {
        if let Some(detail) = trouble.clone() {
            out.push(Effect::Notify(Notice::SettingsUnsaved { detail }));
        }
        self.snapshot.settings_unsaved = trouble;
    }

    /// The settings that a save would leave.
    fn after_save(&self, settings: &Settings, base: Option<&Settings>) -> Result<Settings, CommandError> {
        let wanted = match base {
            Some(_) if self.snapshot.settings_trouble.is_some() => {
                return Err(CommandError::SettingsUnreadable);
            }
            Some(base) => self.settings.changed(base, settings).map_err(|_| CommandError::Overtaken)?,
            None => settings.clone(),
        };
        match wanted.check() {
            Ok(()) => Ok(wanted),
            Err(error) => Err(CommandError::Settings { detail: error.to_string(), fault: (&error).into() }),
        }
    }
}
