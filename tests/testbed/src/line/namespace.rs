//! A network namespace that goes with its value.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::output;

pub(super) struct Namespace {
    pub name: String,
}

impl Namespace {
    pub fn make(role: &str) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("nightjar-{}-{number}-{role}", std::process::id());
        output(Command::new("ip").args(["netns", "add", &name]))
            .context("network namespaces cannot be made")?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// A cable to another namespace: a device of the same name at both ends.
    pub fn join(&self, other: &Self, device: &str, own: Ipv4Addr, theirs: Ipv4Addr) -> anyhow::Result<()> {
        self.ip(&format!("link add {device} type veth peer name {device} netns {}", other.name))?;
        for (namespace, address) in [(self, own), (other, theirs)] {
            namespace.ip(&format!("address add {address}/24 dev {device}"))?;
            namespace.ip(&format!("link set {device} up"))?;
        }
        Ok(())
    }

    pub fn ip(&self, arguments: &str) -> anyhow::Result<()> {
        let mut ip = Command::new("ip");
        ip.args(["-n", &self.name]).args(arguments.split_whitespace());
        output(&mut ip).map(drop)
    }

    pub fn tc(&self, arguments: &str) -> anyhow::Result<()> {
        let mut tc = Command::new("tc");
        tc.args(["-n", &self.name]).args(arguments.split_whitespace());
        output(&mut tc).map(drop)
    }

    /// A file of the kernel's that differs from namespace to namespace.
    pub fn write(&self, path: &'static str, text: &'static str) -> anyhow::Result<()> {
        let written = self.within(move || std::fs::write(path, text))?.join();
        written
            .map_err(|_| anyhow::anyhow!("a thread ended"))?
            .with_context(|| format!("{path} cannot be written"))
    }

    /// Takes away what an earlier gateway left: a container of its own would be gone with it.
    pub fn clear(&self, device: &str) {
        let _ = self.tc(&format!("qdisc delete dev {device} root"));
        let _ = self.tc(&format!("qdisc delete dev {device} ingress"));
        let _ = self.ip("link delete nightjar-in");
        let _ = self.command(std::path::Path::new("nft")).args(["flush", "ruleset"]).output();
    }

    /// A program in it.
    pub fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    pub fn within<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<std::thread::JoinHandle<T>> {
        let path = format!("/run/netns/{}", self.name);
        let door = File::open(&path).with_context(|| path.clone())?;
        let (entered, has_entered) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let moved = move_into_link_name_space(door.as_fd(), Some(LinkNameSpaceType::Network));
            let may = moved.is_ok();
            let _ = entered.send(moved);
            may.then(work)
        });
        has_entered.recv()?.with_context(|| format!("{path} cannot be entered"))?;
        // It is inside, so it has run `work`, or panicked as it did.
        Ok(std::thread::spawn(move || match thread.join() {
            Ok(Some(done)) => done,
            Ok(None) => unreachable!("a thread that is not inside has said so"),
            Err(panic) => std::panic::resume_unwind(panic),
        }))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What runs in it keeps it alive until it ends; its name goes now.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}
