//! Two tenants in their cages, as the product makes them; and the same cage with one bar less.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, InspectContainerOptions};
use nightjar_core::host::{StopHow, WorkerEvent};
use nightjar_core::lease::{Epoch, LeaseId, LeaseTerms};
use nightjar_core::money::{Currency, Money};
use nightjar_core::network::Teller;
use nightjar_core::parting::{Cause, Parting, Step};
use nightjar_core::proof::Nonce;
use nightjar_core::settings::{EgressMode, Settings, WorkerLimits};
use nightjar_core::time::Timestamp;
use nightjar_core::volume::VolumeTerms;
use nightjar_protocol::guest::PROXY_PORT;
use nightjar_worker::catalogue::Catalogue;
use nightjar_worker::{EngineAddress, WorkerReport, Workers, WorkersConfig};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::table::From;
use crate::engine::Engine;
use crate::images::Flavour;
use crate::place;
use crate::process::output;

const READY_WITHIN: Duration = Duration::from_secs(120);
const SAYS_WITHIN: Duration = Duration::from_secs(30);
/// A bomb takes its time.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(90);
const GLANCE: Duration = Duration::from_secs(2);
/// Of the stand-in's first card.
const CARD: &str = "GPU-51ade1ca-7a2d-4e57-9a00-000000000001";
const ATTEMPTS: &str = include_str!("attempts.py");
/// In a sandbox, where what is started as a service is has no input.
const ATTEMPTS_FILE: &str = "/tmp/escape-attempts.py";
const TABLE: &str = "nightjar";
pub(super) const OTHER_PROXY_PORT: u16 = 3_129;

/// What one renter may keep.
pub(super) const VOLUME_MIB: u64 = 192;

/// Narrow, so that what runs into a bound does so soon.
#[must_use]
pub fn limits() -> WorkerLimits {
    WorkerLimits { memory_mib: 768, shm_mib: 64, pids: 256, ..WorkerLimits::default() }
}

/// What came of one try.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Outcome {
    pub worked: bool,
    /// What this kernel has not, so that nothing is proven.
    pub lacks: Option<String>,
    pub said: String,
}

impl Outcome {
    #[must_use]
    pub fn of(worked: bool, said: impl Into<String>) -> Self {
        Self { worked, lacks: None, said: said.into() }
    }
}

/// Both tenants.
pub struct Cell<'a> {
    pub engine: &'a Engine,
    runtime: Runtime,
    workers: Workers,
    words: UnboundedSender<WorkerReport>,
    reports: UnboundedReceiver<WorkerReport>,
    /// What renters keep has a size here, as a machine with loop devices gives it.
    pub(super) has_quota: bool,
    made: u32,
    /// The Engine's name for what the tenants run in, if not for the usual.
    sandbox: Option<&'static str>,
}

impl<'a> Cell<'a> {
    /// Both leases, prepared by the product.
    ///
    /// # Errors
    /// When a worker is not ready in time; why is in the error.
    pub fn lock(engine: &'a Engine, sandbox: Option<&'static str>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (words, reports) = tokio::sync::mpsc::unbounded_channel();
        let workers = Workers::new(config(engine)?, None, words.clone())?;
        let mut cell = Self { engine, runtime, workers, words, reports, has_quota: true, made: 0, sandbox };
        for from in [From::Open, From::Curated] {
            cell.prepare(terms(from, Flavour::Lite.catalogue_name()), egress(from));
            match cell.hear(from, READY_WITHIN)? {
                WorkerEvent::Ready { access } => {
                    cell.has_quota &= access.volume.is_some_and(|footing| footing.has_quota);
                }
                other => bail!("the tenant's worker is not ready: {other:?}"),
            }
        }
        Ok(cell)
    }

    pub(super) fn prepare(&self, terms: LeaseTerms, egress: EgressMode) {
        let _inside = self.runtime.enter();
        self.workers.prepare(terms, self.sandbox.map(str::to_owned), &settings(egress));
    }

    /// The same lease where the catalogue has this image too: what it comes to, and what a program of the image's says.
    pub(super) fn listed(&mut self, terms: LeaseTerms, program: &[&str]) -> anyhow::Result<Outcome> {
        let own = std::fs::read_to_string(place::checkout().join("images/catalog.toml"))?;
        let (name, flavour) = terms.image.split_once(':').context("an image's name and flavour")?;
        let entry = format!(
            r#"
[[image]]
name = "{name}"
flavour = "{flavour}"
reference = "{}"
built_here = true
title = "A stranger's"
description = "Whatever its tenant likes."
size_mib = 1000
min_driver = "525"
min_compute_capability = "5.0"
min_vram_mib = 1
ports = [22]
licence = "none"
task_kinds = ["interactive"]
self_check = ["nightjar-guest", "self-check", "--json"]
"#,
            terms.image
        );
        let catalogue = Catalogue::parse(&(own + &entry))?;
        let workers =
            Workers::new(WorkersConfig { catalogue, ..config(self.engine)? }, None, self.words.clone())?;
        let lease = terms.lease.clone();
        let container = format!("nightjar-{lease}-{}-worker", terms.epoch.0);
        let _inside = self.runtime.enter();
        workers.prepare(terms, None, &settings(EgressMode::Open));
        drop(_inside);
        let event = self.hear_of(&lease, READY_WITHIN)?;
        if !matches!(event, WorkerEvent::Ready { .. }) {
            return Ok(Outcome::of(false, format!("{event:?}")));
        }
        let said = self.engine.ask(["exec", container.as_str()].iter().chain(program));
        let _inside = self.runtime.enter();
        workers.stop(&lease, StopHow::Kill, parting(Step::End));
        drop(_inside);
        let gone = self.hear_of(&lease, READY_WITHIN)?;
        anyhow::ensure!(matches!(gone, WorkerEvent::Gone { .. }), "{gone:?}");
        Ok(Outcome::of(said.is_ok(), said.unwrap_or_else(|error| error.to_string())))
    }

    /// The tenants are there already when it is told what this home is on the internet.
    pub(super) fn hear_own_address(&self, address: Ipv4Addr) -> anyhow::Result<()> {
        self.workers.hear_own_address(Teller::Market, address.into());
        crate::process::wait_for("the home's address in every gateway", SAYS_WITHIN, || {
            let mut known = Vec::new();
            for from in [From::Open, From::Curated] {
                known.push(self.rules(from)?.contains(&address.to_string()));
            }
            Ok((known == [true, true]).then_some(()))
        })
    }

    pub(super) fn freeze(&mut self, from: From) -> anyhow::Result<WorkerEvent> {
        self.workers.freeze(&lease(from), parting(Step::Freeze));
        self.hear(from, SAYS_WITHIN)
    }

    pub(super) fn thaw(&mut self, from: From) -> anyhow::Result<WorkerEvent> {
        self.workers.thaw(&lease(from));
        self.hear(from, SAYS_WITHIN)
    }

    /// What the tenant is to expect; `false` takes it back.
    pub(super) fn tell(&self, from: From, expects: bool) {
        self.workers.tell(&lease(from), expects.then(|| parting(Step::End)));
    }

    pub(super) fn hear(&mut self, from: From, within: Duration) -> anyhow::Result<WorkerEvent> {
        self.hear_of(&lease(from), within)
    }

    pub(super) fn hear_of(&mut self, lease: &LeaseId, within: Duration) -> anyhow::Result<WorkerEvent> {
        let reports = &mut self.reports;
        self.runtime.block_on(async {
            let heard = tokio::time::timeout(within, async {
                while let Some(report) = reports.recv().await {
                    // What it moves is told each minute, whatever else goes on.
                    if report.lease == *lease && !matches!(report.event, WorkerEvent::Moved { .. }) {
                        return Some(report.event);
                    }
                }
                None
            });
            heard.await.context("nothing was reported of the worker in time")?.context("no more reports")
        })
    }

    /// Process id on the PC of a tenant's gateway.
    ///
    /// # Errors
    /// When it does not run.
    pub fn gateway_process(&self, from: From) -> anyhow::Result<u32> {
        self.engine.process(&gateway(from))
    }

    /// The bridge of a tenant's network on the PC, and the PC's address on it.
    ///
    /// # Errors
    /// When there is no such network.
    pub fn bridge(&self, from: From) -> anyhow::Result<(String, String)> {
        let format = "{{.Id}} {{(index .IPAM.Config 0).Gateway}}";
        let said = self.engine.ask(["network", "inspect", "--format", format, &stem(from)])?;
        let (id, address) = said.split_once(' ').context("the network has no address")?;
        Ok((format!("br-{}", id.get(..12).context("a short id")?), address.to_owned()))
    }

    /// Address of a tenant's container in its network.
    ///
    /// # Errors
    /// When it has none.
    pub fn address(&self, from: From) -> anyhow::Result<String> {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        self.engine.ask(["inspect", "--format", format, &gateway(from)])
    }

    /// What the Engine was given for the worker: its profile.
    ///
    /// # Errors
    /// When it has none.
    pub fn seccomp(&self) -> anyhow::Result<String> {
        let body = self.configuration(From::Open)?;
        let options = body["HostConfig"]["SecurityOpt"].as_array().cloned().unwrap_or_default();
        let mut profile = options.iter().filter_map(|option| option.as_str()?.strip_prefix("seccomp="));
        Ok(profile.next_back().context("the worker has no seccomp profile")?.to_owned())
    }

    /// Runs a function of `attempts.py` in a container.
    ///
    /// # Errors
    /// When it gives no outcome.
    pub fn attempt(&self, container: &str, function: &str, world: &Value) -> anyhow::Result<Outcome> {
        let world = world.to_string();
        let seconds = ATTEMPT_WITHIN.as_secs().to_string();
        let file = self.attempts_in(container)?;
        let words = ["timeout", &seconds, "/usr/bin/python3", file, function, &world];
        let entered = ["exec", "-i", container];
        let mut command = self.engine.docker(entered.iter().chain(self.entering()).chain(&words));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().context("input was asked for")?;
        if self.sandbox.is_none() {
            input.write_all(ATTEMPTS.as_bytes())?;
        }
        drop(input);
        let (heard, outcomes) = std::sync::mpsc::channel();
        let said = BufReader::new(child.stdout.take().context("output was asked for")?);
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if let Ok(outcome) = serde_json::from_str::<Outcome>(&line) {
                    let _ = heard.send(outcome);
                }
            }
        });
        let started = Instant::now();
        let outcome = loop {
            match outcomes.recv_timeout(GLANCE) {
                Ok(outcome) => break Some(outcome),
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let state = self.engine.ask(["inspect", "--format", "{{.State.Running}}", container]);
            if state.is_ok_and(|running| running == "false") {
                break Some(Outcome::of(true, "the container's process 1 is gone"));
            }
            if started.elapsed() > ATTEMPT_WITHIN + GLANCE {
                break None;
            }
        };
        // The client would wait for what the end of process 1 has ended.
        if outcome.is_some() || started.elapsed() > ATTEMPT_WITHIN {
            let _ = child.kill();
        }
        let out = child.wait_with_output()?;
        match outcome {
            Some(outcome) => Ok(outcome),
            // A filter or a lack of memory may end the one who tries, which is a refusal too.
            None if matches!(out.status.code(), Some(137 | 159)) => {
                Ok(Outcome::of(false, format!("it was ended ({})", out.status)))
            }
            None => {
                bail!("no outcome of {function} ({}): {}", out.status, String::from_utf8_lossy(&out.stderr))
            }
        }
    }

    /// Where Python finds them in a container.
    fn attempts_in(&self, container: &str) -> anyhow::Result<&'static str> {
        if self.sandbox.is_none() {
            return Ok("-");
        }
        let put = format!("cat > {ATTEMPTS_FILE}");
        let mut command = self.engine.docker(["exec", "-i", container, "sh", "-c", &put]);
        crate::process::output_with_input(&mut command, ATTEMPTS)?;
        Ok(ATTEMPTS_FILE)
    }

    /// How a program comes to where the tenant's are: in a sandbox the Engine would put it beside process 1.
    pub(super) fn entering(&self) -> &'static [&'static str] {
        match self.sandbox {
            Some(_) => &["nightjar-guest", "launch", "--apart", "--", "tini", "-s", "--"],
            None => &[],
        }
    }

    /// What the product asked the Engine for, as the Engine tells it; only that its process 1 is `sleep`.
    fn configuration(&self, from: From) -> anyhow::Result<Value> {
        let docker = self.docker()?;
        let name = worker(from);
        let found =
            self.runtime.block_on(docker.inspect_container(&name, None::<InspectContainerOptions>))?;
        let mut body = serde_json::to_value(found.config.context("no configuration")?)?;
        body["HostConfig"] = serde_json::to_value(found.host_config.context("no host configuration")?)?;
        let own = json!({
            "Labels": null, "Hostname": null, "Domainname": null, "ExposedPorts": null, "OpenStdin": false, "AttachStdin": false,
            "Entrypoint": ["/bin/sleep", "infinity"], "Cmd": null,
        });
        merge(&mut body, &own);
        Ok(body)
    }

    /// A container like a tenant's, after these patches; started. It goes away with the value.
    ///
    /// # Errors
    /// When the Engine does not take it.
    pub fn altered(&mut self, from: From, patches: &[Value]) -> anyhow::Result<Altered> {
        let made = self.created(from, patches)?;
        self.engine.ask(["start", &made.name])?;
        Ok(made)
    }

    /// The same, not started.
    ///
    /// # Errors
    /// When the Engine does not take it.
    pub fn created(&mut self, from: From, patches: &[Value]) -> anyhow::Result<Altered> {
        let mut body = self.configuration(from)?;
        for patch in patches {
            merge(&mut body, patch);
        }
        self.made += 1;
        let name = format!("escape-{}", self.made);
        let body: ContainerCreateBody = serde_json::from_value(body)?;
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        self.runtime.block_on(self.docker()?.create_container(Some(options), body))?;
        Ok(Altered { name, address: self.engine.address() })
    }

    fn docker(&self) -> anyhow::Result<Docker> {
        let socket = self.engine.socket();
        Ok(Docker::connect_with_unix(&socket.to_string_lossy(), 120, bollard::API_DEFAULT_VERSION)?)
    }

    /// The rules of a tenant's gateway.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn rules(&self, from: From) -> anyhow::Result<String> {
        self.engine.ask(["exec", &gateway(from), "nft", "list", "table", "inet", TABLE])
    }

    /// Puts rules in the place of those that are there.
    ///
    /// # Errors
    /// When the kernel does not take them.
    pub fn set_rules(&self, from: From, rules: &str) -> anyhow::Result<()> {
        let text = format!("delete table inet {TABLE}\n{rules}\n");
        let mut command = self.engine.docker(["exec", "-i", &gateway(from), "nft", "-f", "-"]);
        crate::process::output_with_input(&mut command, &text).map(drop)
    }

    /// A second proxy beside the first, at [`OTHER_PROXY_PORT`], with these lines replaced in its configuration.
    ///
    /// # Errors
    /// When a line is not there, or it does not come up.
    pub fn other_proxy(&self, lines: &[(&str, &str)]) -> anyhow::Result<OtherProxy> {
        const OTHER: &str = "/run/nightjar/other.conf";
        let gateway = gateway(From::Curated);
        let mut text = self.engine.ask(["exec", &gateway, "cat", "/run/nightjar/proxy.conf"])?;
        text = replace(&text, &format!("Port {PROXY_PORT}"), &format!("Port {OTHER_PROXY_PORT}"))?;
        for (find, put) in lines {
            text = replace(&text, find, put)?;
        }
        let mut command = self.engine.docker(["exec", "-i", &gateway, "sh", "-c", &format!("cat > {OTHER}")]);
        crate::process::output_with_input(&mut command, &text)?;
        let words =
            ["exec", "--detach", &gateway, "nightjar-guest", "launch", "--", "tinyproxy", "-d", "-c", OTHER];
        self.engine.ask(words)?;
        crate::process::wait_for("the other proxy", SAYS_WITHIN, || {
            let listed = self.engine.ask(["top", &gateway, "-eo", "pid,args"])?;
            let found = listed.lines().find(|line| line.contains(OTHER) && line.contains("tinyproxy -d"));
            let process = found.and_then(|line| line.split_whitespace().next()?.parse().ok());
            let listening =
                process.and_then(Pid::from_raw).filter(|process| listens(*process, OTHER_PROXY_PORT));
            Ok(listening.map(OtherProxy))
        })
    }

    /// Ends both leases and waits until nothing of them is left.
    ///
    /// # Errors
    /// When something of them is left.
    pub fn unlock(mut self) -> anyhow::Result<()> {
        for from in [From::Open, From::Curated] {
            let _inside = self.runtime.enter();
            self.workers.stop(&lease(from), StopHow::Kill, parting(Step::End));
        }
        let mut left = vec![lease(From::Open), lease(From::Curated)];
        let reports = &mut self.reports;
        self.runtime.block_on(async {
            let heard = tokio::time::timeout(READY_WITHIN, async {
                while !left.is_empty() {
                    let Some(report) = reports.recv().await else { return };
                    if matches!(report.event, WorkerEvent::Gone { .. }) {
                        left.retain(|lease| *lease != report.lease);
                    }
                }
            });
            heard.await.context("a tenant is not gone in time")
        })
    }
}

/// Whether this port is listened at where that process is, by the kernel's table.
fn listens(process: Pid, port: u16) -> bool {
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", process.as_raw_nonzero()));
    let port = format!(":{port:04X}");
    table.unwrap_or_default().lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|own| own.ends_with(&port)) && words.nth(1) == Some("0A")
    })
}

/// It ends with this value.
pub struct OtherProxy(Pid);

impl Drop for OtherProxy {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// A container that was made from a tenant's.
pub struct Altered {
    pub name: String,
    address: String,
}

impl Drop for Altered {
    fn drop(&mut self) {
        let _ = output(Command::new("docker").args(["--host", &self.address, "rm", "--force", &self.name]));
    }
}

/// Where nothing is put in its place, the whole line goes.
pub(super) fn replace(text: &str, find: &str, put: &str) -> anyhow::Result<String> {
    anyhow::ensure!(text.contains(find), "the fence no longer has {find:?}:\n{text}");
    if put.is_empty() {
        let kept = text.lines().filter(|line| !line.contains(find));
        return Ok(kept.map(|line| format!("{line}\n")).collect());
    }
    Ok(text.replace(find, put))
}

/// RFC 7396.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            if let Some(object) = target.as_object_mut() {
                object.remove(name);
            }
        } else {
            merge(&mut target[name], value);
        }
    }
}

pub(super) fn lease(from: From) -> LeaseId {
    let last = match from {
        From::Open => 1,
        From::Curated => 2,
    };
    LeaseId(format!("e5ca9e00-0000-4000-8000-{last:012}"))
}

fn config(engine: &Engine) -> anyhow::Result<WorkersConfig> {
    let mut config = WorkersConfig::shipped(EngineAddress::Unix(engine.socket()))?;
    config.host = "escapes".to_owned();
    Ok(config)
}

fn settings(egress: EgressMode) -> Settings {
    let volume = VolumeTerms { quota_mib: VOLUME_MIB, ..VolumeTerms::default() };
    Settings { egress, limits: limits(), volume, ..Settings::default() }
}

fn parting(step: Step) -> Parting {
    Parting { step, cause: Cause::OwnerBack, at: Timestamp(0), deadline: Timestamp(0) }
}

fn egress(from: From) -> EgressMode {
    match from {
        From::Open => EgressMode::Open,
        From::Curated => EgressMode::Curated,
    }
}

fn stem(from: From) -> String {
    format!("nightjar-{}-1", lease(from))
}

/// Name of a tenant's container.
#[must_use]
pub fn worker(from: From) -> String {
    format!("{}-worker", stem(from))
}

fn gateway(from: From) -> String {
    format!("{}-gateway", stem(from))
}

pub(super) fn terms(from: From, image: String) -> LeaseTerms {
    let digit = match from {
        From::Open => "a",
        From::Curated => "b",
    };
    LeaseTerms {
        lease: lease(from),
        epoch: Epoch(1),
        gpu: nightjar_core::gpu::GpuUuid(CARD.to_owned()),
        image,
        renter: "escapes".to_owned(),
        renter_key: digit.repeat(64),
        ssh_public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl t"
            .to_owned(),
        root_inside: false,
        no_sandbox: false,
        serve_model: None,
        volume: Default::default(),
        volume_key: None,
        price_per_hour: Money::new(0, Currency::CNY),
        fee_basis_points: 0,
        offered_at: Timestamp(0),
        nonce: Nonce::of([7; 16]),
    }
}

/// Where a file of the test's lies that a tenant must not read.
pub(super) fn secret_in(folder: &std::path::Path) -> PathBuf {
    folder.join("secret")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_merged_and_takes_away() {
        let mut body = json!({"User": "52814", "HostConfig": {"CapDrop": ["ALL"], "Memory": 5}});
        merge(&mut body, &json!({"User": null, "HostConfig": {"Memory": 7, "CapAdd": ["X"]}}));
        assert_eq!(body, json!({"HostConfig": {"CapDrop": ["ALL"], "Memory": 7, "CapAdd": ["X"]}}));
    }

    #[test]
    fn a_rule_that_is_gone_is_told() {
        assert_eq!(replace("a b\nc", "b", "").unwrap(), "c\n");
        assert_eq!(replace("a b\nc", "b", "d").unwrap(), "a d\nc");
        assert!(replace("a b", "c", "").is_err());
    }
}
