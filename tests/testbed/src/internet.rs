//! An address that stands for one on the internet: what a lease's tenant sends there is turned to a listener on this PC.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::engine::Engine;
use crate::process::{output, output_with_input};

/// Routed nowhere else from here.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(11, 77, 8, 9);

/// As long as it is there.
pub struct Turned(String);

impl Turned {
    /// `port` of [`ADDRESS`], over TCP, is `here` of this PC.
    ///
    /// # Errors
    /// When this is not root, or the lease has no network.
    pub fn to_here(engine: &Engine, lease: &str, port: u16, here: u16) -> anyhow::Result<Self> {
        ensure!(is_possible(), "turning a tenant's traffic needs root");
        let label = format!("label=nightjar.lease={lease}");
        let id = engine.ask(["network", "ls", "--no-trunc", "--quiet", "--filter", &label])?;
        let bridge = id.trim().get(..12).context("the lease has no network")?;
        let turned = Self(format!("nightjar_turned_{bridge}_{port}"));
        turned.forget();
        let rules = format!(
            "table ip {} {{\n chain to_here {{\n  type nat hook prerouting priority -100;\n  iifname \"br-{bridge}\" \
             ip daddr {ADDRESS} tcp dport {port} redirect to :{here}\n }}\n}}\n",
            turned.0
        );
        output_with_input(Command::new("nft").args(["-f", "-"]), &rules)?;
        Ok(turned)
    }

    fn forget(&self) {
        let _ = output(Command::new("nft").args(["delete", "table", "ip", &self.0]).stderr(Stdio::null()));
    }
}

impl Drop for Turned {
    fn drop(&mut self) {
        self.forget();
    }
}

#[must_use]
pub fn is_possible() -> bool {
    rustix::process::geteuid().is_root()
}
