//! Addresses, bridge and NAT of a private Engine.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};

use super::as_root;
use crate::process::output;

/// Second numbers of 10.x.0.0/16 that are tried.
const CHOICES: std::ops::RangeInclusive<u8> = 201..=239;
const CHOICE_FILE: &str = "network";

/// One of the networks 10.x.0.0/16, kept by an Engine's folder from run to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    second: u8,
}

impl Network {
    /// The one that the folder had before, or the first that nothing on this machine uses.
    pub(super) fn choose(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join(CHOICE_FILE);
        if let Some(second) = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()) {
            return Ok(Self { second });
        }
        let routes = output(as_root("ip").args(["-4", "route", "show", "table", "all"]))?;
        let second = CHOICES
            .into_iter()
            .find(|second| !routes.contains(&format!("10.{second}.")))
            .context("no free network among 10.201.0.0/16 to 10.239.0.0/16 for the private Engine")?;
        fs::write(&file, second.to_string())?;
        Ok(Self { second })
    }

    pub(super) fn bridge(self) -> String {
        format!("njtest{}", self.second)
    }

    pub(super) fn cgroup(self) -> String {
        format!("nightjar-test-{}", self.second)
    }

    fn table(self) -> String {
        format!("nightjar_test_{}", self.second)
    }

    pub(super) fn flags(self) -> Vec<String> {
        let pool = format!("base=10.{}.128.0/17,size=26", self.second);
        let cgroup = format!("/{}", self.cgroup());
        vec![
            "--bridge".to_owned(),
            self.bridge(),
            "--default-address-pool".to_owned(),
            pool,
            "--cgroup-parent".to_owned(),
            cgroup,
        ]
    }

    /// Makes bridge and NAT. That packets are forwarded at all is the Engine's own doing.
    pub(super) fn set_up(self) -> anyhow::Result<()> {
        let (bridge, second, table) = (self.bridge(), self.second, self.table());
        output(as_root("ip").args(["link", "add", &bridge, "type", "bridge"]))?;
        output(as_root("ip").args(["address", "add", &format!("10.{second}.0.1/24"), "dev", &bridge]))?;
        output(as_root("ip").args(["link", "set", &bridge, "up"]))?;
        let rules = format!(
            "table ip {table} {{\n\
             chain nat {{ type nat hook postrouting priority 100; policy accept;\n\
             ip saddr 10.{second}.0.0/16 ip daddr != 10.{second}.0.0/16 masquerade\n}}\n}}\n"
        );
        let mut nft = as_root("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .context("nft cannot be started")?;
        nft.stdin.take().context("nft's input was asked for")?.write_all(rules.as_bytes())?;
        ensure!(nft.wait()?.success(), "nft did not take the private Engine's NAT table");
        Ok(())
    }

    /// Takes away bridges, those of networks in the Engine too, and the NAT. What is not there is no error.
    pub(super) fn take_down(self) {
        let _ = output(as_root("nft").args(["delete", "table", "ip", &self.table()]));
        let prefix = format!(" 10.{}.", self.second);
        let addresses = output(as_root("ip").args(["-o", "-4", "address", "show"])).unwrap_or_default();
        let stale = addresses.lines().filter(|line| line.contains(&prefix)).filter_map(|line| {
            let name = line.split_whitespace().nth(1)?;
            (name == self.bridge() || name.starts_with("br-")).then(|| name.to_owned())
        });
        for name in stale.chain([self.bridge()]) {
            let _ = output(as_root("ip").args(["link", "delete", &name]));
        }
    }
}
