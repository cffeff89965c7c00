//! Probes and controller together: rates that follow the line.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nightjar_core::bandwidth::{Controller, Latency, Mood, Vantage};
use nightjar_core::network::Rates;

use crate::clock::Clock;

use super::near::Host;
use super::probe::{Answer, Probes};

/// Above this something of ours is on the line, and it is looked at closely.
const CARRIES_KBIT: u32 = 64;

/// Rates of a line that is watched. Runs inside a Tokio runtime; dropping it ends the probes.
pub struct Automatic {
    probes: Probes,
    controller: Controller,
    clock: Clock,
}

impl Automatic {
    /// `addresses` are asked for the line's latency: best the first hop and one behind it. Without one behind the line it
    /// stays blind, and careful.
    ///
    /// # Errors
    /// When none of them can be asked from this account.
    pub fn start(addresses: &[(IpAddr, Vantage)], limits: Rates) -> io::Result<Self> {
        let alone = |(address, vantage): &(IpAddr, Vantage)| vec![(SocketAddr::new(*address, 0), *vantage)];
        Self::over(&addresses.iter().map(alone).collect::<Vec<_>>(), limits)
    }

    pub(super) fn over(hosts: &[Host], limits: Rates) -> io::Result<Self> {
        let (probes, clock) = (Probes::start(hosts)?, Clock::start());
        let controller = Controller::new(limits, probes.vantages(), clock.now());
        Ok(Self { probes, controller, clock })
    }

    /// Asks others from now on; what is known of the line stays.
    pub(super) fn ask(&mut self, hosts: &[Host]) -> io::Result<()> {
        self.probes = Probes::start(hosts)?;
        self.controller.look_by(self.probes.vantages());
        Ok(())
    }

    pub(super) fn vantages(&self) -> &[Vantage] {
        self.probes.vantages()
    }

    pub fn set_limits(&mut self, limits: Rates) {
        self.controller.set_limits(limits);
    }

    /// What all of Nightjar's traffic carries now.
    pub fn carried(&mut self, rates: Rates) {
        self.probes.hurry(rates.up_kbit.max(rates.down_kbit) > CARRIES_KBIT);
        self.controller.carried(rates, self.clock.now());
    }

    /// Waits for what a probe says and heeds it. Can be called off and called again.
    pub async fn heed(&mut self) {
        match self.probes.next().await {
            Some(Answer { reflector, rtt_us }) => {
                let now = self.clock.now();
                self.controller.probed(reflector, rtt_us, now);
                self.controller.tick(now);
            }
            None => std::future::pending().await,
        }
    }

    /// To be called some times a second, also where no probe says anything.
    pub fn tick(&mut self) {
        self.controller.tick(self.clock.now());
    }

    #[must_use]
    pub fn rates(&self) -> Rates {
        self.controller.rates()
    }

    #[must_use]
    pub fn mood(&self) -> Mood {
        self.controller.mood()
    }

    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        self.controller.latency()
    }
}
