//! A tenant that goes past what it is held to: told, then ended.

use std::mem::discriminant;

use crate::conduct::{Breach, LoadWatch, MinerRule, MiningSign, disk_breach, vram_breach};
use crate::gpu::GpuReading;
use crate::lease::{EndReason, LeaseState};
use crate::parting::{Cause, Parting, Step};
use crate::settings::Settings;
use crate::time::Timestamp;

use super::effect::{Effect, Notice, Outbox};
use super::input::WorkerEvent;
use super::job::Job;

/// How a tenant behaves, as far as it was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Conduct {
    /// Of its container's own files.
    disk_mib: u64,
    /// One of a kind, those that are there now.
    mining: Vec<MiningSign>,
    mining_is_told: bool,
    load: LoadWatch,
    load_is_told: bool,
    warned: Option<Warned>,
}

#[derive(Clone, Copy, Debug)]
struct Warned {
    cause: Cause,
    deadline: Timestamp,
}

impl Conduct {
    pub(super) fn take(&mut self, event: &WorkerEvent, now: Timestamp) {
        match event {
            WorkerEvent::Moved { bytes } => self.load.moved(*bytes, now),
            WorkerEvent::DiskUsed { mib } => self.disk_mib = *mib,
            WorkerEvent::Mining { sign } => {
                self.forget(sign);
                self.mining.push(sign.clone());
            }
            WorkerEvent::MiningOver { sign } => self.forget(sign),
            _ => {}
        }
    }

    fn forget(&mut self, sign: &MiningSign) {
        self.mining.retain(|known| discriminant(known) != discriminant(sign));
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.warned.map(|warned| warned.deadline)
    }

    fn breach(&self, card: &GpuReading, settings: &Settings) -> Option<Breach> {
        let mining = || {
            let sign = self.mining.first().cloned().filter(|_| settings.miners == MinerRule::Stop)?;
            Some(Breach::Mining { sign })
        };
        vram_breach(card, settings).or_else(|| disk_breach(self.disk_mib, settings)).or_else(mining)
    }

    /// What the owner has not heard of and nobody is ended for.
    fn untold(&mut self, rule: MinerRule, is_hinted: bool) -> Option<MiningSign> {
        match self.mining.first() {
            Some(sign) if rule == MinerRule::Tell && !self.mining_is_told => {
                self.mining_is_told = true;
                Some(sign.clone())
            }
            None if rule != MinerRule::Allow && is_hinted && !self.load_is_told => {
                self.load_is_told = true;
                Some(MiningSign::Load)
            }
            _ => None,
        }
    }
}

impl Job {
    /// Warns, takes a warning back, or ends what was warned in vain.
    pub(super) fn watch_conduct(
        &mut self,
        card: &GpuReading,
        settings: &Settings,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        if *self.state() != LeaseState::Running {
            // A frozen tenant can give nothing back, and is told anew when it goes on.
            self.conduct.warned = None;
            return;
        }
        let (lease, image) = (self.terms().lease.clone(), self.terms().image.clone());
        let renter = self.terms().renter.clone();
        let tell = |breach, stops| Effect::Notify(Notice::Conduct { image, renter, breach, stops });
        let breach = self.conduct.breach(card, settings);
        let is_hinted = self.conduct.load.look(card.utilisation_percent, now);
        if breach.is_none()
            && let Some(sign) = self.conduct.untold(settings.miners, is_hinted)
        {
            out.push(tell(Breach::Mining { sign }, false));
            return;
        }
        match (breach, self.conduct.warned) {
            (None, None) => {}
            (None, Some(_)) => {
                self.conduct.warned = None;
                out.push(Effect::Unwarn { lease });
            }
            (Some(breach), None) => {
                let (cause, deadline) = (breach.cause(), now.plus_ms(settings.warning_ms));
                self.conduct.warned = Some(Warned { cause, deadline });
                out.push(Effect::Warn {
                    lease,
                    parting: Parting { step: Step::End, cause, at: now, deadline },
                });
                out.push(tell(breach, true));
            }
            (Some(_), Some(warned)) if warned.deadline <= now => {
                let (how, energy) = (self.gentle(settings), card.energy_millijoules);
                self.end_for(warned.cause, EndReason::OwnerStopped, how, energy, now, out);
            }
            (Some(_), Some(_)) => {}
        }
    }
}
