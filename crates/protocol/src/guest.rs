//! Agent and process 1 of a lease's two containers, or of a load's one. The agent writes lines to a container's standard input, process 1
//! writes lines to its standard output.
//!
//! The first line is the container's configuration ([`WorkerBoot`], [`GatewayBoot`] or [`LoadBoot`]), every further one is empty (a
//! heartbeat) or a [`GuestCommand`]. Where no byte comes for [`SILENCE_SECS`], process 1 exits, and the kernel ends
//! everything in the container.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use nightjar_core::parting::{Cause, Parting, Step};
use nightjar_core::policy::KernelPart;
use nightjar_core::proof::Proof;
use nightjar_core::settings::{EgressMode, Language};
use nightjar_core::sweep::WorkKind;
use nightjar_core::time::Timestamp;
use nightjar_core::volume::VolumeKey;
use serde::{Deserialize, Serialize};

use crate::text::Texts;

/// Seconds without a byte after which a container ends itself. The agent writes once a second.
pub const SILENCE_SECS: u32 = 5;
/// Longest line in either direction, without its end.
pub const LINE_LIMIT_BYTES: usize = 64 * 1024;
/// OpenSSH in the worker.
pub const SSH_PORT: u16 = 22;
/// JupyterLab in the worker.
pub const JUPYTER_PORT: u16 = 8888;
/// OpenAI's API, where the lease serves a language model.
pub const API_PORT: u16 = 8000;
/// Forward proxy in the gateway, on the loopback address that both containers share.
pub const PROXY_PORT: u16 = 3128;
/// Connections that the proxy has at once; each is a thread of its own in the gateway.
pub const PROXY_CLIENTS: u32 = 256;
/// The gateway's own name server, where the tenant is sandboxed and egress is curated.
pub const NAMES_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub const NAMES_PORT: u16 = 53;
/// What the tenant may read of its lease, on the proxy's address: `GET /v1/lease` and `GET /v1/notice`.
pub const NOTICE_PORT: u16 = 8008;
/// How often a gateway says what has passed it.
pub const TRAFFIC_EVERY_MS: u64 = 200;
/// The kernel's short names of programs have 15.
pub const LONGEST_PROGRAM_NAME: usize = 64;
/// Folder on a renter's disk of what is not encrypted.
pub const PLAIN_FOLDER: &str = "plain";
/// Version of the self-check's result.
pub const SELF_CHECK_VERSION: u32 = 1;

/// First line to a worker's process 1.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerBoot {
    pub lease_id: String,
    /// The renter's public key: one line in OpenSSH's format.
    pub authorized_key: String,
    /// 16 to 128 letters and digits.
    pub jupyter_token: String,
    /// Decides whether the tenant's programs are pointed to the proxy, and what the greeting says.
    #[serde(default)]
    pub egress: EgressMode,
    /// The tenant is root, with the container's few capabilities; process 1 runs as root too.
    #[serde(default)]
    pub root_inside: bool,
    /// A language model to serve at [`API_PORT`], with the Jupyter token as its API key: see `core::lease::check_model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve_model: Option<String>,
    /// Nothing that reads the tenant's home is started before [`GuestCommand::CardChecked`]: an earlier lease may have left
    /// there what would disturb the check.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub await_check: bool,
    /// It runs in gVisor: it tells of miners' programs, whose names nobody outside sees, and hides from the tenant, from whom
    /// gVisor does not shield it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sandboxed: bool,
    /// Names as in a shell; values of one line.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

impl std::fmt::Debug for WorkerBoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token opens the tenant's Jupyter, and values of the environment are often secrets.
        f.debug_struct("WorkerBoot")
            .field("lease_id", &self.lease_id)
            .field("egress", &self.egress)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

/// First line to a gateway's process 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayBoot {
    pub lease_id: String,
    #[serde(default)]
    pub egress: EgressMode,
    /// What leaves the PC, in kbit/s; at least 64.
    pub up_kbit: u32,
    /// What comes to the PC, in kbit/s; at least 64.
    pub down_kbit: u32,
    /// Ports of the worker that the Engine may reach.
    #[serde(default = "worker_ports")]
    pub worker_ports: Vec<u16>,
    /// Domains, each with all below it, that the proxy reaches where `egress` is `curated`.
    #[serde(default)]
    pub allow_proxy_domains: Vec<String>,
    /// The tenant may have any user's number, so no rule goes by it.
    #[serde(default)]
    pub root_inside: bool,
    /// The tenant runs in gVisor, which opens its sockets as root, whoever it is inside: the proxy has a user of its own
    /// then, and asks `name_servers` itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sandboxed: bool,
    /// Whom the PC asks for names, for a proxy that asks by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_servers: Vec<Ipv4Addr>,
    /// Networks that are out of reach beside those that always are, as `address/prefix`: the host's own public ones.
    #[serde(default)]
    pub blocked_networks: Vec<String>,
    /// Addresses of this home as others see it; more may come by [`GuestCommand::OwnAddresses`].
    #[serde(default)]
    pub own_addresses: Vec<Ipv4Addr>,
}

fn worker_ports() -> Vec<u16> {
    vec![SSH_PORT, JUPYTER_PORT]
}

/// First line to a load's process 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBoot {
    pub work: WorkKind,
}

/// First line to the container that makes a renter's disk, a file of the quota's size, into a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskBoot {
    pub quota_mib: u64,
    /// Who owns the disk's top folder, as the Engine's machine counts users and groups.
    pub owner: u32,
    pub group: u32,
}

/// First line to the container that holds a renter's disk until the worker has taken it up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeBoot {
    /// `None` leaves what is written there readable.
    #[serde(default)]
    pub key: Option<VolumeKey>,
}

/// Later lines to a process 1. Both take a notice; the rest is for the one that it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum GuestCommand {
    /// Gateway: other limits from now on, in kbit/s.
    SetBandwidth { up_kbit: u32, down_kbit: u32 },
    /// Gateway: these are the home's own too, and out of reach from now on, also for connections that stand.
    OwnAddresses { addresses: Vec<Ipv4Addr> },
    /// The tenant is told that its time ends: a file in the worker, an address in the gateway.
    Notice(Notice),
    /// What the last notice said does not hold any more: the tenant goes on.
    NoticeOver,
    /// Worker: the checks of the card are over.
    CardChecked,
    /// Worker: SIGTERM to everything of the tenant's; the container ends when all of it has.
    Terminate,
}

/// What a tenant is told before its card is taken. Of the owner it says the class of the cause and no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub step: Step,
    pub cause: Cause,
    /// What it means, by language: `en`, `zh-CN`.
    pub sentences: BTreeMap<String, String>,
    pub at_utc_ms: Timestamp,
    /// When the tenant is ended at the latest.
    pub deadline_utc_ms: Timestamp,
}

impl Notice {
    #[must_use]
    pub fn of(parting: &Parting) -> Self {
        let languages = [("en", Language::English), ("zh-CN", Language::SimplifiedChinese)];
        let sentences = languages.map(|(tag, language)| {
            (tag.to_owned(), Texts::of(language).parting(parting.step, parting.cause))
        });
        Self {
            step: parting.step,
            cause: parting.cause,
            sentences: BTreeMap::from(sentences),
            at_utc_ms: parting.at,
            deadline_utc_ms: parting.deadline,
        }
    }

    /// As the tenant reads it: with the time that is left at `now`.
    #[must_use]
    pub fn shown(&self, now: Timestamp) -> serde_json::Value {
        let mut shown = serde_json::to_value(self).unwrap_or_default();
        shown["seconds_left"] = (self.deadline_utc_ms.since_ms(now) / 1_000).into();
        shown
    }
}

/// What a worker's process 1 runs for the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    Ssh,
    Jupyter,
    /// OpenAI's API of a language model.
    Api,
    Proxy,
    /// Names for the proxy.
    Names,
}

impl Service {
    /// Name as in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Service::Ssh => "ssh",
            Service::Jupyter => "jupyter",
            Service::Api => "api",
            Service::Proxy => "proxy",
            Service::Names => "names",
        }
    }
}

/// How incoming traffic is held to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shaping {
    /// A queue on an intermediate device: smooth.
    Queue,
    /// The kernel has no such device: what is too much is dropped.
    Police,
}

/// Something that the kernel did not do when it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelLack {
    pub part: KernelPart,
    /// What the tool said.
    pub why: String,
}

/// Lines from a process 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum GuestEvent {
    /// The fence stands: the worker may be started.
    GatewayReady { shaping: Shaping },
    /// One service of the worker answers.
    Listening { service: Service, took_ms: u64 },
    /// SSH answers. Jupyter comes up beside it, or not: what the tenant has in its home may keep it from that.
    WorkerReady {
        /// The server's public key: one line in OpenSSH's format.
        ssh_host_key: String,
        /// What is the tenant's runs apart from process 1 (see [`WorkerBoot::sandboxed`]). A guest of before does not say it,
        /// since it does not do it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_apart: bool,
    },
    /// A load has done so much since its start, in a unit that belongs to the kind of work and to nothing else.
    Work { done: u64 },
    /// What has passed the gateway's device since it began; said while it changes, at most every [`TRAFFIC_EVERY_MS`].
    Traffic {
        up_bytes: u64,
        down_bytes: u64,
        /// Since the gateway's start, so that a rate needs no clock of the hearer's.
        at_ms: u64,
    },
    /// Something of the tenant's speaks the language of mining pools.
    PoolProtocol,
    /// Nothing of it does any more. One of these two is said whenever it changes, and each minute once there was the first.
    PoolSilent,
    /// A program of a miner's runs in the sandbox: its short name, of at most [`LONGEST_PROGRAM_NAME`] letters.
    MinerRuns { name: String },
    /// It does no more, nor does another. One of these two is said whenever it changes, and each minute once there was the first.
    NoMiner,
    /// A tool makes, mends or grows the renter's disk; said each second while it does.
    DiskAtWork,
    /// The renter's disk is there as a block device of the Engine's machine, as long as it is held or mounted.
    DiskReady {
        device: String,
        /// It was damaged, and files of it may be gone.
        #[serde(default)]
        was_mended: bool,
        /// Nothing is on it yet.
        #[serde(default)]
        is_new: bool,
    },
    /// The Engine's machine has no such device. Not followed by an end.
    NoDisk { why: String },
    /// The renter's folder on its disk can be used.
    VolumeReady { folder: String, encrypted: bool },
    /// What of a gateway's fence the kernel lacks, each in its own words.
    Kernel { lacks: Vec<KernelLack> },
    /// A service ended and is started again, unless the tenant is being ended.
    Exited { service: Service, code: i32 },
    /// The container cannot do its work; process 1 ends after this.
    Failed { what: String, why: String },
}

/// Result of `nightjar-guest self-check --json` and of an image's framework check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelfCheck {
    pub version: u32,
    pub passed: bool,
    /// NVIDIA's driver, e.g. `570.86.15`.
    pub driver_version: Option<String>,
    /// Highest CUDA that the driver speaks, e.g. `12.8`.
    pub cuda_version: Option<String>,
    pub devices: Vec<CheckedDevice>,
    /// In the order of their making; after the first that failed there is none.
    pub steps: Vec<CheckStep>,
    /// What the card was seen to do, where that was asked for.
    #[serde(default)]
    pub proof: Option<Proof>,
}

impl SelfCheck {
    /// The step that failed, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<&CheckStep> {
        self.steps.iter().find(|step| !step.passed)
    }
}

/// A card as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedDevice {
    pub index: u32,
    pub name: String,
    /// As NVML writes it: `GPU-` and a UUID.
    pub uuid: Option<String>,
    pub memory_mib: Option<u64>,
    /// E.g. `8.9`.
    pub compute_capability: Option<String>,
}

/// One step of a check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckStep {
    /// `driver_loaded`, `driver_version`, `initialised`, `devices`, `context`, `memory`, `copy`, `matmul`, `measure`,
    /// `framework`.
    pub step: String,
    pub passed: bool,
    /// A short sentence: what was found, or what failed and what to do.
    pub detail: String,
    /// The driver's name of the error, e.g. `CUDA_ERROR_NO_DEVICE`.
    #[serde(default)]
    pub error: Option<String>,
    pub took_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_the_other_side_expects_them() {
        let boot: GatewayBoot =
            serde_json::from_str(r#"{"lease_id":"l","up_kbit":1000,"down_kbit":2000}"#).unwrap();
        assert_eq!((boot.egress, boot.worker_ports.as_slice()), (EgressMode::Curated, &[22, 8888][..]));
        let parting =
            Parting { step: Step::End, cause: Cause::Game, at: Timestamp(5), deadline: Timestamp(10_005) };
        let notice = Notice::of(&parting);
        let command = serde_json::to_string(&GuestCommand::Notice(notice.clone())).unwrap();
        assert!(command.starts_with(r#"{"command":"notice","step":"end","cause":"game","#), "{command}");
        assert!(command.len() < LINE_LIMIT_BYTES);
        assert_eq!(
            serde_json::from_str::<GuestCommand>(&command).unwrap(),
            GuestCommand::Notice(notice.clone())
        );
        let shown = notice.shown(Timestamp(4_000));
        assert_eq!((&shown["deadline_utc_ms"], &shown["seconds_left"]), (&10_005.into(), &6.into()));
        assert!(shown["sentences"]["en"].as_str().unwrap().contains("/workspace"), "{shown}");
        assert_eq!(notice.shown(Timestamp(20_000))["seconds_left"], 0);
        let over: GuestCommand = serde_json::from_str(r#"{"command":"notice_over"}"#).unwrap();
        assert_eq!(over, GuestCommand::NoticeOver);
        let event = serde_json::to_string(&GuestEvent::Exited { service: Service::Ssh, code: 255 }).unwrap();
        assert_eq!(event, r#"{"event":"exited","service":"ssh","code":255}"#);
        let of_before = r#"{"event":"worker_ready","ssh_host_key":"k"}"#;
        let ready = |is_apart| GuestEvent::WorkerReady { ssh_host_key: "k".to_owned(), is_apart };
        assert_eq!(serde_json::from_str::<GuestEvent>(of_before).unwrap(), ready(false));
        assert_eq!(serde_json::to_string(&ready(false)).unwrap(), of_before);
        assert_eq!(
            serde_json::to_string(&ready(true)).unwrap(),
            r#"{"event":"worker_ready","ssh_host_key":"k","is_apart":true}"#
        );
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let boot = WorkerBoot {
            lease_id: "l".to_owned(),
            authorized_key: "ssh-ed25519 AAAA".to_owned(),
            jupyter_token: "topsecret0123456".to_owned(),
            egress: EgressMode::Off,
            root_inside: false,
            serve_model: None,
            await_check: false,
            sandboxed: false,
            env: BTreeMap::from([("HF_TOKEN".to_owned(), "hush".to_owned())]),
        };
        let shown = format!("{boot:?}");
        assert!(!shown.contains("topsecret") && !shown.contains("hush") && shown.contains("HF_TOKEN"));
    }
}
