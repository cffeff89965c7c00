//! What a tenant might reach: a device of a home network, services of this PC, an address that stands for the internet.
//!
//! Nothing of it leaves the machine: what goes to an address of the internet from a tenant's bridge is turned to a
//! listener here.

use std::io::{BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

use super::cell::{Cell, VOLUME_MIB, limits, secret_in};
use super::table::From;
use crate::engine::{Engine, as_root};
use crate::market::Market;
use crate::process::{output, output_with_input, wait_for};

const SPACE: &str = "nightjar-escapes";
const TABLE: &str = "nightjar_escapes";
const LINK: &str = "njescape0";
const FAR_LINK: &str = "njescape1";
/// A home network.
const LAN_HERE: &str = "10.251.77.1/24";
const LAN_DEVICE: &str = "10.251.77.2";
/// A public address that this PC has for as long as this lasts. It is routed nowhere else from here.
const OWN_PUBLIC: &str = "11.77.7.1";
/// Stands for any address of the internet.
const PUBLIC: &str = "11.77.8.8";
/// What the home is on the internet: its router turns what is sent there back into the home.
pub(super) const SEEN_FROM: Ipv4Addr = Ipv4Addr::new(11, 77, 9, 9);
const CARRIER: &str = "100.64.7.7";
const METADATA: &str = "169.254.169.254";
const GROUP: &str = "239.255.255.250";
const WEB: u16 = 80;
const NAMES: u16 = 53;
/// In the third and fourth byte of a message of DNS.
const IS_ANSWER: u8 = 0x80;
const NO_SUCH_NAME: u8 = 0x83;
/// What the test's own process and file are known by.
const MARK: &str = "36001.25";
/// Those that [`nightjar_worker`] gives a worker.
const FILES: u64 = 16_384;
const INODES: u64 = 131_072;
const CONNECTIONS: u64 = 4_096;
/// The number of the first account of most desktops.
const OWNER: u32 = 1_000;
/// How many inotify instances the owner's program leaves to the owner's others.
const WATCHES_LEFT: u32 = 10;
/// It takes the rest, says so, and waits for its end.
const WATCH: &str = "\
import ctypes, resource, sys\n\
libc = ctypes.CDLL(None)\n\
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n\
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n\
most = int(open('/proc/sys/fs/inotify/max_user_instances').read())\n\
held = [libc.inotify_init1(0) for _ in range(max(0, most - int(sys.argv[1])))]\n\
print('held', flush=True)\n\
sys.stdin.read()\n";

/// What is there to be reached; it goes away with the value.
pub struct World {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    victim: Child,
    watcher: Child,
    market: Market,
    tcp_port: u16,
    udp_port: u16,
    folder: tempfile::TempDir,
}

impl World {
    /// # Errors
    /// When this is not root, or the kernel lacks something that is needed.
    pub fn set() -> anyhow::Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "a network of its own needs root");
        let folder = tempfile::Builder::new().prefix("nightjar-escapes-").tempdir()?;
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open)?;
        std::fs::write(secret_in(folder.path()), MARK)?;
        std::fs::create_dir(folder.path().join("dev"))?;
        take_down();
        home_network()?;
        let over = Arc::new(AtomicBool::new(false));
        // Both families, so that one port serves all.
        let tcp = TcpListener::bind("[::]:0")?;
        let udp = UdpSocket::bind("0.0.0.0:0")?;
        let (tcp_port, udp_port) = (tcp.local_addr()?.port(), udp.local_addr()?.port());
        let device = {
            let space = std::fs::File::open(format!("/run/netns/{SPACE}"))?;
            let bound = std::thread::spawn(move || {
                move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, WEB))
            });
            bound.join().ok().context("a thread in the home network")??
        };
        let threads =
            vec![accept(tcp, over.clone()), accept(device, over.clone()), answer(udp, over.clone())];
        let victim = Command::new("sleep").arg(MARK).uid(OWNER).gid(OWNER).stdin(Stdio::null()).spawn()?;
        let watcher = watcher()?;
        let market = Market::start(folder.path())?;
        Ok(Self { over, threads, victim, watcher, market, tcp_port, udp_port, folder })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Turns what leaves the tenants' bridges for the internet to the listeners here, and gives one tenant IPv6.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn surround(&self, cell: &Cell<'_>) -> anyhow::Result<()> {
        let bridges = [cell.bridge(From::Open)?.0, cell.bridge(From::Curated)?.0];
        let rules = format!(
            "table ip {TABLE} {{\n chain to_here {{\n  type nat hook prerouting priority -100;\n\
             iifname {{ \"{}\", \"{}\" }} ip daddr {{ {PUBLIC}, {SEEN_FROM}, {CARRIER}, {METADATA} }} meta l4proto tcp redirect to :{}\n\
             iifname {{ \"{}\", \"{}\" }} ip daddr {PUBLIC} meta l4proto udp redirect to :{}\n\
             iifname \"{}\" ip daddr {} meta l4proto udp redirect to :{}\n\
             iifname \"{}\" udp dport {NAMES} redirect to :{}\n }}\n}}\n",
            bridges[0],
            bridges[1],
            self.tcp_port,
            bridges[0],
            bridges[1],
            self.udp_port,
            bridges[0],
            home_name_server(),
            self.udp_port,
            bridges[1],
            self.udp_port
        );
        output_with_input(Command::new("nft").args(["-f", "-"]), &rules)?;
        let inside = cell.gateway_process(From::Open)?.to_string();
        for device in ["all", "eth0"] {
            let setting = format!("net.ipv6.conf.{device}.disable_ipv6=0");
            output(Command::new("nsenter").args(["-t", &inside, "-n", "sysctl", "-qw", &setting]))?;
        }
        output(
            Command::new("sysctl").args(["-qw", &format!("net.ipv6.conf.{}.disable_ipv6=0", bridges[0])]),
        )?;
        let is_settled = |command: &mut Command| {
            let said = output(command.args(["ip", "-6", "-o", "address", "show", "scope", "link"]))?;
            Ok((said.contains("fe80") && !said.contains("tentative")).then_some(said))
        };
        wait_for("the tenant's IPv6 address", Duration::from_secs(10), || {
            is_settled(Command::new("nsenter").args(["-t", &inside, "-n"]))
        })?;
        Ok(())
    }

    /// All that an attempt must know.
    ///
    /// # Errors
    /// When the cell cannot be looked at.
    pub fn describe(&self, cell: &Cell<'_>, engine: &Engine) -> anyhow::Result<Value> {
        let (bridge, by_bridge) = cell.bridge(From::Open)?;
        let port = self.tcp_port;
        let limits = limits();
        let here = output(Command::new("ip").args(["-4", "route", "get", "1.1.1.1"]))?;
        let here = here.split("src ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let scope = output(Command::new("ip").args(["-6", "-o", "address", "show", "dev", &bridge]))?;
        let scope = scope.split_whitespace().find_map(|word| word.strip_suffix("/64"));
        Ok(json!({
            "lan": format!("{LAN_DEVICE}:{WEB}"),
            "bridge": format!("{by_bridge}:{port}"),
            "host": format!("{}:{port}", here.context("this PC has no address")?),
            "loopback": format!("127.0.0.1:{port}"),
            "coordinator": self.market.url().trim_start_matches("http://"),
            "own-public": format!("{OWN_PUBLIC}:{port}"),
            "seen-from": format!("{SEEN_FROM}:443"),
            "metadata": format!("{METADATA}:80"),
            "carrier": format!("{CARRIER}:80"),
            "mail": format!("{PUBLIC}:25"),
            "public": format!("{PUBLIC}:443"),
            "public-dns": format!("{PUBLIC}:53"),
            "public-quic": format!("{PUBLIC}:443"),
            "multicast": format!("{GROUP}:1900"),
            "proxy-port": nightjar_protocol::guest::PROXY_PORT,
            "resolver": "127.0.0.11:53",
            "home-names": format!("{}:53", home_name_server()),
            "asked": asked_name_server().map(|server| format!("{server}:{NAMES}")),
            "neighbour": format!("{}:8888", cell.address(From::Curated)?),
            "ipv6": format!("[{}%eth0]:{port}", scope.context("the bridge has no IPv6 address")?),
            "victim": self.victim.id(),
            "mark": MARK,
            "secret": secret_in(self.folder()),
            "engine": engine.socket(),
            "pids": limits.pids,
            "memory_mib": limits.memory_mib,
            "shm_mib": limits.shm_mib,
            "tmp_mib": limits.memory_mib / 4,
            "disk_mib": VOLUME_MIB,
            "disk_has_quota": cell.has_quota,
            "files": FILES,
            "inodes": INODES,
            "connections": CONNECTIONS,
            "watches_left": WATCHES_LEFT,
        }))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for program in [&mut self.victim, &mut self.watcher] {
            let _ = program.kill();
            let _ = program.wait();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        take_down();
    }
}

/// Whom this PC asks for names, where that is a device of a private network; else one that could be.
fn home_name_server() -> Ipv4Addr {
    name_servers().into_iter().find(Ipv4Addr::is_private).unwrap_or(Ipv4Addr::new(10, 251, 77, 2))
}

/// Whom the Engine asks first for a tenant's proxy, unless that is this PC itself, which it asks from without.
fn asked_name_server() -> Option<Ipv4Addr> {
    name_servers().first().copied().filter(|server| !server.is_loopback())
}

fn name_servers() -> Vec<Ipv4Addr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok()).collect()
}

/// A program of the owner's that watches files, as editors and shops of games do.
fn watcher() -> anyhow::Result<Child> {
    let mut watcher = Command::new("python3")
        .args(["-c", WATCH, &WATCHES_LEFT.to_string()])
        .uid(OWNER)
        .gid(OWNER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let said = watcher.stdout.take().context("the program has no output")?;
    let line = crate::process::line(&mut BufReader::new(said));
    if line.is_err() {
        let _ = watcher.kill();
        let _ = watcher.wait();
    }
    line.context("the owner's program does not start")?;
    Ok(watcher)
}

fn home_network() -> anyhow::Result<()> {
    let ip = |line: &str| output(as_root("ip").args(line.split(' ')));
    ip(&format!("netns add {SPACE}"))?;
    ip(&format!("link add {LINK} type veth peer name {FAR_LINK}"))?;
    ip(&format!("link set {FAR_LINK} netns {SPACE}"))?;
    ip(&format!("address add {LAN_HERE} dev {LINK}"))?;
    ip(&format!("address add {OWN_PUBLIC}/24 dev {LINK}"))?;
    ip(&format!("link set {LINK} up"))?;
    ip(&format!("-n {SPACE} address add {LAN_DEVICE}/24 dev {FAR_LINK}"))?;
    ip(&format!("-n {SPACE} link set {FAR_LINK} up"))?;
    ip(&format!("-n {SPACE} route add default via {}", LAN_HERE.trim_end_matches("/24")))?;
    Ok(())
}

/// What is not there is no error: an earlier run may have died anywhere.
fn take_down() {
    let _ = output(as_root("nft").args(["delete", "table", "ip", TABLE]));
    let _ = output(as_root("ip").args(["link", "delete", LINK]));
    let _ = output(as_root("ip").args(["netns", "delete", SPACE]));
}

const GLANCE: Duration = Duration::from_millis(10);

fn accept(listener: TcpListener, over: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let _ = listener.set_nonblocking(true);
        let mut kept = Vec::new();
        while !over.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((mut stream, _)) => {
                    let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
                    kept.push(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(GLANCE),
                Err(_) => return,
            }
        }
    })
}

/// Who asks for a name hears that there is none.
fn answer(socket: UdpSocket, over: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let _ = socket.set_read_timeout(Some(GLANCE * 5));
        let mut bytes = [0_u8; 2_048];
        while !over.load(Ordering::Relaxed) {
            let Ok((read, from)) = socket.recv_from(&mut bytes) else { continue };
            let said: &mut [u8] = &mut bytes[..read];
            if let [_, _, flags, code, ..] = said {
                *flags |= IS_ANSWER;
                *code = NO_SUCH_NAME;
            }
            let _ = socket.send_to(said, from);
        }
    })
}
