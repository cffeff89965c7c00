//! What a tenant under gVisor differs in, as far as our code is built on it, each shown on a real Engine. What a later gVisor
//! changes fails here, and is to be thought about anew.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nightjar_core::settings::EgressMode;
use nightjar_protocol::guest::GatewayBoot;
use nightjar_testbed::engine::{Engine, EngineOptions};
use nightjar_testbed::gvisor::{self, RUNC, Runsc, SANDBOX};
use nightjar_testbed::images::{self, Flavour, GATEWAY};
use nightjar_testbed::process::{gone, output, wait_for};

const SOON: Duration = Duration::from_secs(30);
/// Networks of the internet have no such name: what a tenant reaches there, it reaches anywhere.
const INTERNET: &str = "internet";
const INTERNET_NET: &str = "11.88.0.0/24";
const INTERNET_ADDRESS: &str = "11.88.0.7";
const INTERNET_PORT: u16 = 443;
/// Far below how long an Engine waits for a container that it has killed, before it kills it by itself.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// Prints what came of a connection, or of a socket of another kind.
const ATTEMPT: &str = "
import socket, sys
try:
    if sys.argv[1] == 'raw':
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    elif sys.argv[1] == 'packet':
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)
    else:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
    print('reached')
except OSError as error:
    print('refused:', error)
";

/// A gateway with its line, as an agent holds it. It ends with this value.
struct Gateway(Child);

impl Gateway {
    fn start(engine: &Engine) -> Self {
        let boot = GatewayBoot {
            lease_id: "test".to_owned(),
            egress: EgressMode::Curated,
            up_kbit: 80_000,
            down_kbit: 80_000,
            worker_ports: vec![22],
            allow_proxy_domains: vec!["example.org".to_owned()],
            root_inside: false,
            sandboxed: false,
            name_servers: Vec::new(),
            blocked_networks: Vec::new(),
            own_addresses: Vec::new(),
        };
        let made = ["run", "--rm", "--interactive", "--name", "gateway", "--cap-drop", "ALL"];
        let mut command = engine.docker(made);
        command.args(["--cap-add", "NET_ADMIN", "--security-opt", "no-new-privileges", "--read-only"]);
        command.args(["--tmpfs", "/run:mode=1777", "--sysctl", "net.ipv4.ip_unprivileged_port_start=0"]);
        command.arg(GATEWAY).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut client = command.spawn().unwrap();
        let mut line = client.stdin.take().unwrap();
        let boot = serde_json::to_string(&boot).unwrap();
        std::thread::spawn(move || {
            let mut said = writeln!(line, "{boot}");
            while said.is_ok() {
                std::thread::sleep(Duration::from_secs(1));
                said = writeln!(line);
            }
        });
        let gateway = Self(client);
        wait_for("the gateway", SOON, || {
            let log = engine.ask(["logs", "gateway"]).unwrap_or_default();
            Ok(log.contains("gateway_ready").then_some(()))
        })
        .unwrap();
        gateway
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A tenant's container behind the gateway, as far as these questions go.
fn tenant(engine: &Engine, runtime: &str, more: &[&str], program: &[&str]) -> Command {
    let own = ["run", "--runtime", runtime, "--network", "container:gateway", "--user", "52814:52814"];
    let fenced = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only"];
    let image = Flavour::Lite.reference();
    let mut command = engine.docker(own.iter().chain(&fenced).chain(more));
    command.args(["--entrypoint", program[0], &image]).args(&program[1..]);
    command
}

fn attempt(engine: &Engine, runtime: &str, words: &[&str]) -> String {
    let program: Vec<&str> = ["python3", "-c", ATTEMPT].iter().chain(words).copied().collect();
    output(&mut tenant(engine, runtime, &["--rm"], &program)).unwrap().trim().to_owned()
}

/// How long Docker takes to freeze a container, and then until it has ended: with the second it may also say that it cannot.
fn frozen_and_killed(engine: &Engine, runtime: &str) -> (Duration, Duration) {
    let name = format!("busy-{runtime}");
    let busy = ["python3", "-c", "while True: pass"];
    output(&mut tenant(engine, runtime, &["--detach", "--name", &name], &busy)).unwrap();
    let process = engine.process(&name).unwrap();
    let started = Instant::now();
    engine.ask(["pause", &name]).unwrap();
    let frozen = started.elapsed();
    let started = Instant::now();
    if let Err(error) = engine.ask(["kill", &name]) {
        println!("{runtime}: {error:#}");
    }
    let killed = gone(process, SOON).unwrap() - started;
    wait_for("the end of what was killed", SOON, || {
        let state = engine.ask(["inspect", "--format", "{{.State.Status}}", &name])?;
        Ok((state == "exited").then_some(()))
    })
    .unwrap();
    engine.ask(["rm", "--force", &name]).unwrap();
    (frozen, killed)
}

/// Names of the programs that Docker lists for a container.
fn listed(engine: &Engine, runtime: &str) -> Vec<String> {
    let name = format!("idle-{runtime}");
    output(&mut tenant(engine, runtime, &["--detach", "--name", &name], &["sleep", "600"])).unwrap();
    let said = engine.ask(["top", &name, "-eo", "pid,comm"]).unwrap();
    engine.ask(["rm", "--force", &name]).unwrap();
    said.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
}

fn engine(runsc: &Runsc) -> Engine {
    let engine =
        Engine::start(EngineOptions { runtimes: runsc.registered(), ..EngineOptions::cached() }).unwrap();
    let told: &mut dyn FnMut(&str) = &mut |step| println!("{step}");
    images::gateway(&engine, told).unwrap();
    images::pytorch_cuda(&engine, Flavour::Lite, told).unwrap();
    engine
}

#[test]
fn under_gvisor_packets_are_roots_a_frozen_tenant_is_not_killed_and_its_programs_are_told_wrongly() {
    let runsc = match Runsc::find() {
        Ok(runsc) => runsc,
        Err(why) => return println!("SKIPPED: {why}"),
    };
    let engine = engine(&runsc);
    if let Some(why) = gvisor::lacks(&engine, &Flavour::Lite.reference()) {
        return println!("SKIPPED: {why}");
    }
    let _gateway = Gateway::start(&engine);
    engine.ask(["network", "create", "--subnet", INTERNET_NET, INTERNET]).unwrap();
    engine.ask(["network", "connect", INTERNET, "gateway"]).unwrap();
    let port = INTERNET_PORT.to_string();
    let serves = ["run", "--detach", "--network", INTERNET, "--ip", INTERNET_ADDRESS, "--user", "0:0"];
    let image = Flavour::Lite.reference();
    let program = ["--entrypoint", "python3", &image, "-m", "http.server", &port];
    engine.ask(serves.iter().chain(&program)).unwrap();
    let open = || {
        let probe = format!("exec 3<>/dev/tcp/{INTERNET_ADDRESS}/{port}");
        Ok(output(Command::new("bash").args(["-c", &probe])).ok())
    };
    wait_for("what stands for the internet", SOON, open).unwrap();

    // What goes by the destination holds, and so does what a tenant has no right to.
    let service = TcpListener::bind("0.0.0.0:0").unwrap();
    let service = service.local_addr().unwrap().port().to_string();
    let bridge = ["inspect", "--format", "{{.NetworkSettings.Gateway}}", "gateway"];
    let bridge = engine.ask(bridge).unwrap();
    for words in [&[bridge.as_str(), &service][..], &["169.254.169.254", "80"], &["raw"], &["packet"]] {
        for runtime in [RUNC, SANDBOX] {
            let said = attempt(&engine, runtime, words);
            assert!(said.starts_with("refused"), "{runtime}: {words:?}: {said}");
        }
    }

    // What goes by the user does not: with the rules for another tenant, this one leaves past the proxy. So the proxy in
    // front of it has a user of its own.
    let straight = |runtime| attempt(&engine, runtime, &[INTERNET_ADDRESS, &port]);
    let fenced = straight(RUNC);
    assert!(fenced.starts_with("refused"), "{fenced}");
    assert_eq!(straight(SANDBOX), "reached", "its sockets are no longer root's");

    let (frozen, killed) = frozen_and_killed(&engine, RUNC);
    println!("runc: frozen in {frozen:?}, then ended in {killed:?}");
    assert!(killed < KILLED_WITHIN, "{killed:?}");
    let (frozen, killed) = frozen_and_killed(&engine, SANDBOX);
    println!("gVisor: frozen in {frozen:?}, then ended in {killed:?}");
    assert!(killed > KILLED_WITHIN, "a frozen one is ended at once now: it need not be thawed for that");

    // By their numbers inside, it names programs of this PC; `init` of the test's own world is one, whatever its name. So
    // process 1 tells of miners.
    assert_eq!(listed(&engine, RUNC), ["sleep"]);
    let first = std::fs::read_to_string("/proc/1/comm").unwrap();
    let first: Vec<&str> = first.split_whitespace().take(1).collect();
    assert_eq!(listed(&engine, SANDBOX), first, "its programs are told by their own names now");
}
