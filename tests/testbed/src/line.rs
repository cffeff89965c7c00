//! A home's line in network namespaces: a tenant behind the real gateway, the PC with a game, a narrow line, the internet.
//!
//! ```text
//! tenant (nightjar-guest gateway) ── home (the PC, a game) ══ narrow both ways ══ street ── net (a server)
//! ```
//!
//! The narrow place is a token bucket with a deep buffer in each direction, as modems have it. It never lies where bytes
//! are made: there the kernel keeps a sender from filling a queue, which no modem can. Everything is removed with
//! the value, also when a test fails; the names carry this process's id, so that runs do not meet.

pub mod flows;
mod gateway;
pub mod measure;
mod namespace;

use std::net::Ipv4Addr;

use anyhow::bail;

pub use gateway::{Gateway, Watching};
use namespace::Namespace;

/// The server beyond the line. These networks are somebody's, elsewhere: inside the namespaces nothing leaves, and the
/// gateway's fence lets no tenant reach the networks that are reserved for tests.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(11, 0, 3, 2);
/// The PC on the line's side, and on the tenant's.
const HOME: Ipv4Addr = Ipv4Addr::new(11, 0, 2, 1);
const HOME_INSIDE: Ipv4Addr = Ipv4Addr::new(11, 0, 1, 1);
const TENANT: Ipv4Addr = Ipv4Addr::new(11, 0, 1, 2);
const STREET: Ipv4Addr = Ipv4Addr::new(11, 0, 2, 2);
const STREET_BEYOND: Ipv4Addr = Ipv4Addr::new(11, 0, 3, 1);
/// What a modem lets wait.
const BUFFER_MS: u64 = 400;

/// See the module's text.
pub struct Line {
    tenant: Namespace,
    home: Namespace,
    street: Namespace,
    net: Namespace,
}

/// Who lives in which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Tenant,
    Home,
    Net,
}

impl Line {
    /// Lays it; `None` for a direction that is as wide as the machine.
    ///
    /// # Errors
    /// When this kernel lacks a part of it, or this is not root: [`Line::missing`] tells the first from a fault.
    pub fn lay(up_kbit: Option<u32>, down_kbit: Option<u32>) -> anyhow::Result<Self> {
        let line = Self {
            tenant: Namespace::make("tenant")?,
            home: Namespace::make("home")?,
            street: Namespace::make("street")?,
            net: Namespace::make("net")?,
        };
        line.home.join(&line.tenant, "inside", HOME_INSIDE, TENANT)?;
        line.home.join(&line.street, "line", HOME, STREET)?;
        line.street.join(&line.net, "beyond", STREET_BEYOND, SERVER)?;
        line.tenant.ip(&format!("route add default via {HOME_INSIDE}"))?;
        line.home.ip(&format!("route add default via {STREET}"))?;
        line.street.ip(&format!("route add default via {HOME}"))?;
        line.net.ip(&format!("route add default via {STREET_BEYOND}"))?;
        line.street.write("/proc/sys/net/ipv4/ip_forward", "1")?;
        line.home.write("/proc/sys/net/ipv4/ip_forward", "1")?;
        line.home.write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
        line.set_width(up_kbit, down_kbit)?;
        Ok(line)
    }

    /// Makes it as wide as said from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_width(&self, up_kbit: Option<u32>, down_kbit: Option<u32>) -> anyhow::Result<()> {
        narrow(&self.home, up_kbit)?;
        narrow(&self.street, down_kbit)
    }

    /// What this machine lacks, where it cannot lay a line: for a test that is skipped by name.
    #[must_use]
    pub fn missing() -> Option<String> {
        match Self::lay(Some(10_000), Some(10_000)) {
            Ok(_) => None,
            Err(error) => Some(format!("{error:#}")),
        }
    }

    /// Runs `work` on a thread of its own in one part of the line.
    ///
    /// # Errors
    /// When the part cannot be entered.
    pub fn within<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<std::thread::JoinHandle<T>> {
        self.part(place).within(work)
    }

    fn part(&self, place: Place) -> &Namespace {
        match place {
            Place::Tenant => &self.tenant,
            Place::Home => &self.home,
            Place::Net => &self.net,
        }
    }
}

fn narrow(namespace: &Namespace, kbit: Option<u32>) -> anyhow::Result<()> {
    let Some(kbit) = kbit else { return namespace.tc("qdisc replace dev line root pfifo limit 10000") };
    if kbit < 100 {
        bail!("a line of {kbit} kbit/s is no line");
    }
    let bytes = u64::from(kbit) * BUFFER_MS / 8;
    namespace.tc(&format!("qdisc replace dev line root tbf rate {kbit}kbit burst 6000 limit {bytes}"))
}
