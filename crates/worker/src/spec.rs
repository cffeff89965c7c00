//! From a lease's terms and the owner's settings to what the Engine is asked for. Pure: the same input gives the same
//! containers, which a snapshot test keeps in sight.

mod volume;

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, DeviceRequest, EndpointSettings, HostConfig, HostConfigLogConfig,
    NetworkCreateRequest, NetworkingConfig, PortBinding, ResourcesUlimits,
};
use nightjar_core::gpu::GpuUuid;
use nightjar_core::images::TaskKind;
use nightjar_core::lease::{Epoch, LeaseId, LeaseTerms, check_model};
use nightjar_core::network::public_name_servers;
use nightjar_core::settings::{EgressMode, Settings, WorkerLimits};
use nightjar_protocol::guest::{
    API_PORT, GatewayBoot, JUPYTER_PORT, NAMES_ADDRESS, PROXY_CLIENTS, SSH_PORT, WorkerBoot,
};

use crate::catalogue::{Catalogue, Egress, Image};
pub(crate) use volume::{VolumeNames, VolumeSpec, remapped_root};

pub(crate) const LABEL_HOST: &str = "nightjar.host";
pub(crate) const LABEL_LEASE: &str = "nightjar.lease";
pub(crate) const LABEL_EPOCH: &str = "nightjar.epoch";
pub(crate) const LABEL_ROLE: &str = "nightjar.role";
/// On a worker that runs in a sandbox of its own, with the sandbox's kind: it is frozen and ended in its own way.
pub(crate) const LABEL_SANDBOX: &str = "nightjar.sandbox";
const GVISOR: &str = "gvisor";
pub(crate) const ROLE_WORKER: &str = "worker";
pub(crate) const ROLE_GATEWAY: &str = "gateway";
const ROLE_LOAD: &str = "load";
const ROLE_PROBE: &str = "probe";
const ROLE_NETWORK: &str = "network";
/// A renter's volume; what mounts it for a lease; the containers that see to that.
pub(crate) const ROLE_VOLUME: &str = "volume";
const ROLE_MOUNT: &str = "mount";
const ROLE_DISK: &str = "disk";
const ROLE_HOLDER: &str = "holder";

const MIB: u64 = 1024 * 1024;
/// The tenant's user and group in every image. No account of a PC has this number: what the kernel counts by user
/// (inotify's instances and watches, descriptors on their way through sockets) would else be the owner's too, and a tenant
/// could use it up even while it is frozen. Above the accounts of people, below those that systemd gives out, and within
/// the 65,536 that an Engine maps.
const TENANT: &str = "52814:52814";
const GATEWAY_MEMORY_MIB: u64 = 192;
/// CUDA's own needs on the host's side of a context, with room: a check that fails for want of it would be the card's
/// fault.
const LOAD_MEMORY_MIB: u64 = 2_048;
/// Root's in the container, of a tenant who asked for it and whose host allows it: owning and reading files whatever
/// their mode, becoming a service's user, and OpenSSH's own cage. None of them reaches beyond the container.
const ROOT: &str = "0:0";
const ROOT_CAPABILITIES: [&str; 8] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SYS_CHROOT"];
/// Rules and shaping.
const GATEWAY_CAPABILITIES: [&str; 1] = ["NET_ADMIN"];
/// So that a sandboxed tenant, whose packets are root's, is not taken for the proxy: that becomes a user of its own.
const SANDBOXED_GATEWAY_CAPABILITIES: [&str; 3] = ["NET_ADMIN", "SETGID", "SETUID"];
/// The Engine's word for none. The PC's own would tell a tenant the home's domain, or the company's.
const NO_SEARCH: &str = ".";
/// The proxy's connections, and as much again: while they are all taken, limits and rules can still be changed.
const GATEWAY_PIDS: i64 = 2 * PROXY_CLIENTS as i64;
const SANDBOX_THREADS_PER_PROCESS: i64 = 3;
/// Of 1024, which is what the owner's own programs have: where both want a core, the owner's have it.
const WORKER_CPU_SHARES: i64 = 64;
/// Where memory runs out, the tenant goes before anything of the owner's.
const WORKER_OOM_SCORE: i64 = 800;
/// Enough for data loaders, and below the hard limit that Engines themselves run with.
const WORKER_OPEN_FILES: i64 = 16_384;
/// Scratch space is memory of the worker; none of these may use all of it.
const LARGEST_TMP_MIB: u64 = 4_096;
const RUN_MIB: u64 = 64;
/// Each file in memory is memory of the kernel's beside its content: enough for building a large package.
const TMP_FILES: u64 = 131_072;
const RUN_FILES: u64 = 16_384;
/// A UUID has 36.
const LONGEST_CARD: usize = 64;
/// Longest authorised key: RSA with 16384 bits is below.
const LONGEST_KEY: usize = 4_096;

/// Why no worker can be made of these terms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnusableTerms {
    #[error("the lease's name is not a UUID")]
    Lease,
    #[error("the card's name is not one that NVIDIA's driver gives")]
    Card,
    #[error("the renter's key is not an ed25519 public key")]
    RenterKey,
    #[error("the renter's SSH key is not one line in OpenSSH's format")]
    SshKey,
    #[error("this host has no image {0}")]
    Image(String),
    #[error("the market's question to the card is not 32 hexadecimal digits")]
    Nonce,
    #[error("{0}")]
    Model(&'static str),
    #[error("the image {0} is not made to serve a language model")]
    ServesNothing(String),
    #[error("this host lets nobody be root inside, or not with this choice of network")]
    RootInside,
}

/// Names of everything that belongs to one placement of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub gateway: String,
    pub worker: String,
    /// Of the container that has the renter's disk.
    pub disk: String,
    /// Of the container that holds it until the worker does.
    pub holder: String,
    pub network: String,
}

impl Names {
    pub fn new(lease: &LeaseId, epoch: Epoch) -> Self {
        let stem = format!("nightjar-{lease}-{}", epoch.0);
        Self {
            gateway: format!("{stem}-gateway"),
            worker: format!("{stem}-worker"),
            disk: format!("{stem}-disk"),
            holder: format!("{stem}-holder"),
            network: stem,
        }
    }
}

/// The name ends up in names of containers and in filters.
pub(crate) fn check_lease(lease: &LeaseId) -> Result<(), UnusableTerms> {
    let plain = lease.0.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    (plain && (1..=64).contains(&lease.0.len())).then_some(()).ok_or(UnusableTerms::Lease)
}

/// The name of exactly one card: `all`, a number or a list of them would be another tenant's, or the owner's.
fn check_card(card: &GpuUuid) -> Result<(), UnusableTerms> {
    let rest = ["GPU-", "MIG-"].iter().find_map(|start| card.0.strip_prefix(start)).unwrap_or_default();
    let plain = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (plain && (1..=LONGEST_CARD).contains(&rest.len())).then_some(()).ok_or(UnusableTerms::Card)
}

/// What one lease asks of the Engine.
#[derive(Clone, Debug)]
pub(crate) struct WorkerSpec {
    pub names: Names,
    pub network: NetworkCreateRequest,
    pub gateway: ContainerCreateBody,
    pub gateway_boot: GatewayBoot,
    pub worker: ContainerCreateBody,
    pub worker_boot: WorkerBoot,
    pub volume: VolumeSpec,
    pub image: Image,
}

/// Everything that decides a worker beside its terms.
pub(crate) struct Surroundings<'a> {
    pub host: &'a str,
    pub catalogue: &'a Catalogue,
    /// The name by which the Engine knows the gateway's image.
    pub gateway: &'a str,
    pub egress: &'a Egress,
    pub seccomp: &'a str,
    /// The same for a tenant who is root inside.
    pub root_seccomp: &'a str,
    /// Whom this PC asks for names.
    pub name_servers: &'a [std::net::Ipv4Addr],
    pub settings: &'a Settings,
    /// Networks that this PC is in and that are not out of reach in any case, as `address/prefix`.
    pub own_networks: &'a [String],
    /// Addresses of this home as others see it.
    pub own_addresses: &'a [std::net::Ipv4Addr],
    /// Cores of the machine that runs the Engine, which refuses to give more.
    pub engine_cores: u32,
    /// Whom root in a container is outside, where the Engine maps users.
    pub engine_root: (u32, u32),
    /// The Engine's name for the gVisor that the tenant runs in, if it does.
    pub sandbox: Option<&'a str>,
}

impl WorkerSpec {
    /// # Errors
    /// What about the terms, which came from the market, is unusable.
    pub fn new(
        terms: &LeaseTerms,
        jupyter_token: String,
        around: &Surroundings<'_>,
    ) -> Result<Self, UnusableTerms> {
        check(terms)?;
        check_mode(terms, around.settings)?;
        let image =
            around.catalogue.find(&terms.image).ok_or_else(|| UnusableTerms::Image(terms.image.clone()))?;
        if terms.serve_model.is_some() && !image.task_kinds.contains(&TaskKind::Inference) {
            return Err(UnusableTerms::ServesNothing(terms.image.clone()));
        }
        let names = Names::new(&terms.lease, terms.epoch);
        let ports = ports(terms);
        // The hour is not known here; what it allows beyond this is told right after the start.
        let rates = around.settings.network.least();
        let labels = |role| labels(around.host, terms, role);
        Ok(Self {
            network: network(&names, labels(ROLE_NETWORK)),
            gateway: gateway(&names, around, &ports, name_servers(terms, around), labels(ROLE_GATEWAY)),
            gateway_boot: GatewayBoot {
                lease_id: terms.lease.0.clone(),
                egress: around.settings.egress,
                up_kbit: rates.up_kbit,
                down_kbit: rates.down_kbit,
                worker_ports: ports,
                allow_proxy_domains: around.egress.domains().to_vec(),
                // Among the networks too: a gateway of an earlier build knows no other place for them.
                blocked_networks: blocked(around),
                own_addresses: around.own_addresses.to_vec(),
                root_inside: terms.root_inside,
                sandboxed: around.sandbox.is_some(),
                name_servers: proxy_name_servers(terms, around),
            },
            worker: worker(&names, terms, image, around),
            worker_boot: WorkerBoot {
                lease_id: terms.lease.0.clone(),
                authorized_key: terms.ssh_public_key.clone(),
                jupyter_token,
                egress: around.settings.egress,
                root_inside: terms.root_inside,
                serve_model: terms.serve_model.clone(),
                await_check: true,
                sandboxed: around.sandbox.is_some(),
                env: Default::default(),
            },
            volume: volume::spec(terms, image, around),
            image: image.clone(),
            names,
        })
    }

    /// The name by which the Engine knows the tenant's image.
    pub fn use_image(&mut self, reference: String) {
        self.worker.image = Some(reference.clone());
        self.volume.holder.image = Some(reference);
    }

    /// For an Engine whose machine cannot give a volume a size.
    pub fn use_volume_without_quota(&mut self) {
        if let Some(host_config) = &mut self.worker.host_config {
            host_config.mounts = Some(vec![self.volume.plain_mount()]);
        }
    }
}

fn blocked(around: &Surroundings<'_>) -> Vec<String> {
    let own = around.own_addresses.iter().map(|address| format!("{address}/32"));
    around.own_networks.iter().cloned().chain(own).collect()
}

fn check(terms: &LeaseTerms) -> Result<(), UnusableTerms> {
    check_lease(&terms.lease)?;
    check_card(&terms.gpu)?;
    if terms.renter_key.len() != 64 || !terms.renter_key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(UnusableTerms::RenterKey);
    }
    let key = &terms.ssh_public_key;
    let one_line = key.len() <= LONGEST_KEY && !key.chars().any(char::is_control);
    // Options before the key would be the renter's word on how sshd treats it.
    let kind = key.split(' ').next().unwrap_or_default();
    let known =
        ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"].iter().any(|start| kind.starts_with(start));
    if !one_line || !known || key.split(' ').nth(1).is_none_or(str::is_empty) {
        return Err(UnusableTerms::SshKey);
    }
    if !terms.nonce.is_whole() {
        return Err(UnusableTerms::Nonce);
    }
    terms.serve_model.as_deref().map_or(Ok(()), check_model).map_err(UnusableTerms::Model)
}

/// The owner's choice counts at this moment, whatever it was when the market heard of it.
fn check_mode(terms: &LeaseTerms, settings: &Settings) -> Result<(), UnusableTerms> {
    let allowed = settings.root_inside && settings.egress != EgressMode::Curated;
    (!terms.root_inside || allowed).then_some(()).ok_or(UnusableTerms::RootInside)
}

fn labels(host: &str, terms: &LeaseTerms, role: &str) -> HashMap<String, String> {
    HashMap::from([
        (LABEL_HOST.to_owned(), host.to_owned()),
        (LABEL_LEASE.to_owned(), terms.lease.0.clone()),
        (LABEL_EPOCH.to_owned(), terms.epoch.0.to_string()),
        (LABEL_ROLE.to_owned(), role.to_owned()),
    ])
}

/// A network of its own: two tenants on one PC do not see each other.
fn network(names: &Names, labels: HashMap<String, String>) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: names.network.clone(),
        driver: Some("bridge".to_owned()),
        labels: Some(labels),
        ..NetworkCreateRequest::default()
    }
}

/// Of the worker, that the tunnel reaches.
fn ports(terms: &LeaseTerms) -> Vec<u16> {
    let api = terms.serve_model.is_some().then_some(API_PORT);
    [SSH_PORT, JUPYTER_PORT].into_iter().chain(api).collect()
}

/// Whom the Engine asks for both containers, where that is not to be whom it asks for the PC. The proxy of curated egress
/// asks as the PC does, and for nothing but names of its list.
fn name_servers(terms: &LeaseTerms, around: &Surroundings<'_>) -> Option<Vec<String>> {
    match (around.settings.egress, around.sandbox) {
        (EgressMode::Open, _) => Some(public(terms, around).iter().map(ToString::to_string).collect()),
        // What the Engine asks from here cannot be told from what a sandboxed tenant asks, so it asks the gateway, which
        // knows the proxy's names alone.
        (EgressMode::Curated, Some(_)) => Some(vec![NAMES_ADDRESS.to_string()]),
        (EgressMode::Curated | EgressMode::Off, _) => None,
    }
}

fn public(terms: &LeaseTerms, around: &Surroundings<'_>) -> Vec<std::net::Ipv4Addr> {
    public_name_servers(around.name_servers, &blocked(around), terms.price_per_hour.currency)
}

/// Whom the proxy's own name server asks: whom this PC asks, and public ones where that is not known.
fn proxy_name_servers(terms: &LeaseTerms, around: &Surroundings<'_>) -> Vec<std::net::Ipv4Addr> {
    match (around.settings.egress, around.sandbox, around.name_servers) {
        (EgressMode::Curated, Some(_), []) => public(terms, around),
        (EgressMode::Curated, Some(_), known) => known.to_vec(),
        _ => Vec::new(),
    }
}

fn gateway(
    names: &Names,
    around: &Surroundings<'_>,
    ports: &[u16],
    dns: Option<Vec<String>>,
    labels: HashMap<String, String>,
) -> ContainerCreateBody {
    let ports: Vec<String> = ports.iter().map(|port| format!("{port}/tcp")).collect();
    // The Engine picks free ports of this PC's loopback, so none can be taken.
    let binding = || PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some("0".to_owned()) };
    let bindings = ports.iter().map(|port| (port.clone(), Some(vec![binding()]))).collect();
    let host_config = HostConfig {
        network_mode: Some(names.network.clone()),
        port_bindings: Some(bindings),
        dns,
        dns_search: Some(vec![NO_SEARCH.to_owned()]),
        ..gateway_cell(around.sandbox.is_some())
    };
    let endpoints = HashMap::from([(names.network.clone(), EndpointSettings::default())]);
    ContainerCreateBody {
        image: Some(around.gateway.to_owned()),
        // The worker shares it, and it is what the tenant's prompt shows.
        hostname: Some("nightjar".to_owned()),
        cmd: Some(vec!["gateway".to_owned()]),
        exposed_ports: Some(ports),
        labels: Some(labels),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(endpoints) }),
        host_config: Some(host_config),
        ..with_line()
    }
}

/// What asks the kernel, as a gateway would, in a namespace without a network.
pub(crate) fn kernel_probe(host: &str, image: String) -> ContainerCreateBody {
    let labels = [(LABEL_HOST, host), (LABEL_ROLE, ROLE_PROBE)];
    ContainerCreateBody {
        image: Some(image),
        cmd: Some(vec!["probe".to_owned()]),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..gateway_cell(false) }),
        ..with_line()
    }
}

/// A gateway's rights and limits.
fn gateway_cell(sandboxed: bool) -> HostConfig {
    let capabilities: &[&str] = match sandboxed {
        true => &SANDBOXED_GATEWAY_CAPABILITIES,
        false => &GATEWAY_CAPABILITIES,
    };
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(capabilities.iter().map(|&name| name.to_owned()).collect()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        sysctls: Some(HashMap::from([("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned())])),
        readonly_rootfs: Some(true),
        tmpfs: Some(HashMap::from([
            ("/run".to_owned(), tmpfs(RUN_MIB, RUN_FILES, "0755", None)),
            ("/tmp".to_owned(), tmpfs(RUN_MIB, RUN_FILES, "1777", None)),
        ])),
        memory: Some(bytes(GATEWAY_MEMORY_MIB)),
        memory_swap: Some(bytes(GATEWAY_MEMORY_MIB)),
        nano_cpus: Some(nano_cpus(1)),
        pids_limit: Some(GATEWAY_PIDS),
        log_config: Some(log_config()),
        ..HostConfig::default()
    }
}

fn worker(
    names: &Names,
    terms: &LeaseTerms,
    image: &Image,
    around: &Surroundings<'_>,
) -> ContainerCreateBody {
    let limits = &around.settings.limits;
    let root = terms.root_inside;
    let seccomp = if root { around.root_seccomp } else { around.seccomp };
    let security = ["no-new-privileges".to_owned(), format!("seccomp={seccomp}")];
    let host_config = HostConfig {
        network_mode: Some(format!("container:{}", names.gateway)),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: root.then(|| ROOT_CAPABILITIES.map(str::to_owned).to_vec()),
        security_opt: Some(security.to_vec()),
        // Packages of the system go into the image's own folders, and are gone with the lease.
        readonly_rootfs: Some(!root),
        tmpfs: Some(scratch(limits)),
        mounts: Some(vec![volume::home_mount(terms)]),
        device_requests: Some(vec![gpu(&terms.gpu)]),
        memory: Some(bytes(limits.memory_mib)),
        // The same number means no swap: a tenant that swaps is felt by the owner.
        memory_swap: Some(bytes(limits.memory_mib)),
        nano_cpus: Some(nano_cpus(limits.cpu_cores.min(around.engine_cores).max(1))),
        cpu_shares: Some(WORKER_CPU_SHARES),
        pids_limit: Some(pids(limits, around.sandbox.is_some())),
        shm_size: Some(bytes(limits.shm_mib)),
        ipc_mode: Some("private".to_owned()),
        oom_score_adj: Some(WORKER_OOM_SCORE),
        ulimits: Some(vec![ulimit("nofile", WORKER_OPEN_FILES), ulimit("core", 0)]),
        log_config: Some(log_config()),
        runtime: around.sandbox.map(str::to_owned),
        ..HostConfig::default()
    };
    let mut labels = labels(around.host, terms, ROLE_WORKER);
    labels.extend(around.sandbox.map(|_| (LABEL_SANDBOX.to_owned(), GVISOR.to_owned())));
    ContainerCreateBody {
        image: Some(image.source().pinned_reference()),
        user: Some(if root { ROOT } else { TENANT }.to_owned()),
        cmd: Some(vec!["worker".to_owned()]),
        working_dir: Some("/workspace".to_owned()),
        labels: Some(labels),
        host_config: Some(host_config),
        ..with_line()
    }
}

/// What counts of a sandbox are threads of the PC's: two or three for each process inside. At the limit it ends as a whole,
/// where otherwise a fork fails.
fn pids(limits: &WorkerLimits, sandboxed: bool) -> i64 {
    i64::from(limits.pids) * if sandboxed { SANDBOX_THREADS_PER_PROCESS } else { 1 }
}

/// A container with a card, little memory and nothing else: no network, no volume, no capability. The label of a lease
/// makes it known as ours, and a left-over that is swept away.
pub(crate) fn load(
    name: &str,
    host: &str,
    card: &GpuUuid,
    image: &Image,
    seccomp: &str,
) -> ContainerCreateBody {
    let security = ["no-new-privileges".to_owned(), format!("seccomp={seccomp}")];
    let host_config = HostConfig {
        network_mode: Some("none".to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(security.to_vec()),
        readonly_rootfs: Some(true),
        // The driver keeps what it has compiled below the home folder, and does without where it cannot.
        tmpfs: Some(HashMap::from([("/tmp".to_owned(), tmpfs(RUN_MIB, RUN_FILES, "1777", None))])),
        device_requests: Some(vec![gpu(card)]),
        memory: Some(bytes(LOAD_MEMORY_MIB)),
        memory_swap: Some(bytes(LOAD_MEMORY_MIB)),
        nano_cpus: Some(nano_cpus(1)),
        cpu_shares: Some(WORKER_CPU_SHARES),
        pids_limit: Some(GATEWAY_PIDS),
        ipc_mode: Some("private".to_owned()),
        oom_score_adj: Some(WORKER_OOM_SCORE),
        log_config: Some(log_config()),
        ..HostConfig::default()
    };
    let labels = [(LABEL_HOST, host), (LABEL_LEASE, name), (LABEL_ROLE, ROLE_LOAD)];
    ContainerCreateBody {
        image: Some(image.source().pinned_reference()),
        user: Some(TENANT.to_owned()),
        cmd: Some(vec!["load".to_owned()]),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        host_config: Some(host_config),
        ..with_line()
    }
}

/// Standard input stays open over the agent's end, so that a restarted agent takes up the line again.
fn with_line() -> ContainerCreateBody {
    ContainerCreateBody {
        open_stdin: Some(true),
        stdin_once: Some(false),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(false),
        ..ContainerCreateBody::default()
    }
}

fn scratch(limits: &WorkerLimits) -> HashMap<String, String> {
    let tmp_mib = (limits.memory_mib / 4).clamp(RUN_MIB, LARGEST_TMP_MIB);
    HashMap::from([
        ("/tmp".to_owned(), tmpfs(tmp_mib, TMP_FILES, "1777", Some("exec"))),
        ("/var/tmp".to_owned(), tmpfs(tmp_mib, TMP_FILES, "1777", Some("exec"))),
        ("/run".to_owned(), tmpfs(RUN_MIB, RUN_FILES, "1777", None)),
    ])
}

/// The Engine adds `noexec`, which package builds in `/tmp` cannot live with, unless told otherwise.
fn tmpfs(size_mib: u64, files: u64, mode: &str, exec: Option<&str>) -> String {
    let exec = exec.unwrap_or("noexec");
    format!("rw,nosuid,nodev,{exec},size={size_mib}m,nr_inodes={files},mode={mode}")
}

/// As `docker run --gpus device=GPU-…` asks for it. By its own name: its number is another one after the next start.
fn gpu(card: &GpuUuid) -> DeviceRequest {
    DeviceRequest {
        device_ids: Some(vec![card.0.clone()]),
        capabilities: Some(vec![["gpu", "compute", "utility"].map(str::to_owned).to_vec()]),
        ..DeviceRequest::default()
    }
}

/// Process 1 writes events only; the Engine keeps the last of them for whoever looks for a fault.
fn log_config() -> HostConfigLogConfig {
    let config = [("max-size", "1m"), ("max-file", "1")];
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(config.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
    }
}

fn ulimit(name: &str, most: i64) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(most), hard: Some(most) }
}

fn bytes(mib: u64) -> i64 {
    i64::try_from(mib.saturating_mul(MIB)).unwrap_or(i64::MAX)
}

fn nano_cpus(cores: u32) -> i64 {
    i64::from(cores) * 1_000_000_000
}

#[cfg(test)]
pub(crate) mod tests;
