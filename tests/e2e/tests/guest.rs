//! Process 1 of worker and gateway, on a real Engine, driven by the line alone: what holds when the agent is gone.
#![expect(clippy::unwrap_used, reason = "what the tests share fails as a test does")]

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nightjar_core::parting::{Cause, Parting, Step};
use nightjar_core::settings::EgressMode;
use nightjar_core::time::Timestamp;
use nightjar_protocol::guest::{
    GatewayBoot, GuestCommand, GuestEvent, Notice, SelfCheck, Service, WorkerBoot,
};
use nightjar_sim::Daemon;
use nightjar_testbed::engine::{Engine, EngineOptions};
use nightjar_testbed::images::{self, Flavour, GATEWAY};
use nightjar_testbed::place::{checkout, programs};
use nightjar_testbed::process::{gone, output, wait_for};
use serde::Serialize;

const SOON: Duration = Duration::from_secs(30);
/// Five silent seconds, and what a busy machine adds.
const AFTER_SILENCE: std::ops::Range<Duration> = Duration::from_secs(4)..Duration::from_secs(9);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A container with its line, as an agent holds it.
struct Guest {
    client: Child,
    line: Arc<Mutex<Option<ChildStdin>>>,
    events: Receiver<GuestEvent>,
    /// The heartbeat ends with this.
    _beats: Sender<()>,
}

impl Guest {
    fn start(engine: &Engine, arguments: &[&str], boot: &impl Serialize) -> Self {
        let mut command = engine.docker(["run", "--rm", "--interactive", "--cap-drop", "ALL"]);
        command.args(["--security-opt", "no-new-privileges", "--read-only", "--tmpfs", "/run:mode=1777"]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = command.spawn().unwrap();
        let line = Arc::new(Mutex::new(client.stdin.take()));
        let (heard, events) = channel();
        let said = BufReader::new(client.stdout.take().unwrap());
        std::thread::spawn(move || {
            for event in said.lines().map_while(Result::ok) {
                let _ = heard.send(serde_json::from_str(&event).unwrap());
            }
        });
        let (beats, until) = channel::<()>();
        let own = Arc::clone(&line);
        std::thread::spawn(move || {
            while until.recv_timeout(Duration::from_secs(1))
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                if let Some(line) = own.lock().unwrap().as_mut() {
                    let _ = line.write_all(b"\n");
                }
            }
        });
        let guest = Self { client, line, events, _beats: beats };
        guest.say(boot);
        guest
    }

    fn gateway(engine: &Engine, egress: EgressMode) -> Self {
        let boot = GatewayBoot {
            lease_id: "test".to_owned(),
            egress,
            up_kbit: 8_000,
            down_kbit: 8_000,
            worker_ports: vec![22, 8888],
            allow_proxy_domains: vec!["example.org".to_owned()],
            root_inside: false,
            sandboxed: false,
            name_servers: Vec::new(),
            blocked_networks: Vec::new(),
            own_addresses: Vec::new(),
        };
        let ports = ["--publish", "127.0.0.1:0:22", "--publish", "127.0.0.1:0:8888"];
        let open = ["--sysctl", "net.ipv4.ip_unprivileged_port_start=0"];
        let mut arguments = vec!["--name", "gateway", "--cap-add", "NET_ADMIN"];
        arguments.extend(ports.iter().chain(&open).copied());
        arguments.push(GATEWAY);
        let guest = Self::start(engine, &arguments, &boot);
        guest.hear("the gateway", |event| matches!(event, GuestEvent::GatewayReady { .. }));
        guest
    }

    /// Not ready yet.
    fn begun(engine: &Engine, egress: EgressMode, sandboxed: bool) -> Self {
        let boot = WorkerBoot {
            lease_id: "test".to_owned(),
            authorized_key:
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl t"
                    .to_owned(),
            jupyter_token: TOKEN.to_owned(),
            egress,
            root_inside: false,
            serve_model: None,
            await_check: false,
            sandboxed,
            env: [("GREETING".to_owned(), "two words".to_owned())].into(),
        };
        let profile = format!("seccomp={}", checkout().join("images/seccomp.json").display());
        let image = Flavour::Lite.reference();
        let arguments =
            ["--name", "worker", "--network", "container:gateway", "--gpus", "device=0", "--user"];
        let rest = [
            "52814:52814",
            "--tmpfs",
            "/tmp:exec",
            "--volume",
            "/workspace",
            "--security-opt",
            &profile,
            &image,
        ];
        let arguments: Vec<&str> = arguments.iter().chain(&rest).copied().collect();
        Self::start(engine, &arguments, &boot)
    }

    fn worker(engine: &Engine, egress: EgressMode) -> Self {
        let guest = Self::begun(engine, egress, false);
        // In either order.
        let (ready, jupyter) = (Cell::new(false), Cell::new(false));
        guest.hear("the worker", |event| {
            ready.set(ready.get() || matches!(event, GuestEvent::WorkerReady { .. }));
            let listening = matches!(event, GuestEvent::Listening { service: Service::Jupyter, .. });
            jupyter.set(jupyter.get() || listening);
            ready.get() && jupyter.get()
        });
        guest
    }

    fn say(&self, what: &impl Serialize) {
        let mut text = serde_json::to_vec(what).unwrap();
        text.push(b'\n');
        self.line.lock().unwrap().as_mut().unwrap().write_all(&text).unwrap();
    }

    fn hear(&self, what: &str, wanted: impl Fn(&GuestEvent) -> bool) {
        let started = Instant::now();
        while let Ok(event) = self.events.recv_timeout(SOON.saturating_sub(started.elapsed())) {
            assert!(!matches!(event, GuestEvent::Failed { .. }), "{what}: {event:?}");
            if wanted(&event) {
                return;
            }
        }
        panic!("{what} did not say what it should within {SOON:?}");
    }

    /// Right after a heartbeat.
    fn fall_silent(&self) {
        let mut line = self.line.lock().unwrap();
        line.take().unwrap().write_all(b"\n").unwrap();
    }

    /// Once the Engine has removed the container.
    fn exit_code(&mut self) -> Option<i32> {
        wait_for("the container's end", SOON, || Ok(self.client.try_wait()?)).unwrap().code()
    }

    /// Exit code, and the time until this first process of it was over.
    fn end(&mut self, process: u32) -> (Option<i32>, Duration) {
        let started = Instant::now();
        let took = gone(process, SOON).unwrap() - started;
        (self.exit_code(), took)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// The parts end in this order.
struct Rig {
    engine: Engine,
    _cards: Daemon,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = nightjar_sim::install(&folder.path().join("nvidia"), &programs().unwrap()).unwrap();
        let cards = Daemon::start(&layout, &["--cards", "rtx4090"]).unwrap();
        let options = EngineOptions { path_first: Some(layout.bin_dir()), ..EngineOptions::cached() };
        let engine = Engine::start(options).unwrap();
        let told: &mut dyn FnMut(&str) = &mut |step| println!("{step}");
        images::gateway(&engine, told).unwrap();
        images::pytorch_cuda(&engine, Flavour::Lite, told).unwrap();
        Self { engine, _cards: cards, _folder: folder }
    }

    /// What a command in the tenant's container says, and whether it succeeded.
    fn inside(&self, script: &str) -> (bool, String) {
        let out = self.engine.docker(["exec", "worker", "bash", "-c", script]).output().unwrap();
        let said = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn self_check(&self, arguments: &str) -> SelfCheck {
        let (_, said) = self.inside(&format!("nightjar-guest self-check --json {arguments}"));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    fn runs(&self, name: &str) -> bool {
        self.engine.ask(["inspect", "--format", "{{.State.Running}}", name]).is_ok_and(|said| said == "true")
    }
}

#[test]
fn a_tenant_lives_and_dies_by_the_line() {
    let rig = Rig::new();
    let mut gateway = Guest::gateway(&rig.engine, EgressMode::Curated);
    let mut worker = Guest::worker(&rig.engine, EgressMode::Curated);

    let check = rig.self_check("--min-driver 525");
    assert!(check.passed, "{check:?}");
    assert!(check.devices[0].name.contains("simulated"), "{:?}", check.devices);
    let check = rig.self_check("--min-driver 9999");
    let failure = check.failure().unwrap();
    assert!(
        !check.passed && failure.step == "driver_version" && failure.detail.contains("9999"),
        "{failure:?}"
    );
    let check = rig.self_check("--uuid GPU-00000000-0000-0000-0000-000000000000");
    assert_eq!(check.failure().map(|step| step.step.as_str()), Some("devices"));

    let parting =
        Parting { step: Step::End, cause: Cause::Game, at: Timestamp(0), deadline: Timestamp(9_000) };
    let notice = Notice::of(&parting);
    worker.say(&GuestCommand::Notice(notice.clone()));
    gateway.say(&GuestCommand::Notice(notice));
    let ask = "cat /run/nightjar/notice.json; curl --noproxy '*' -s http://127.0.0.1:8008/v1/notice";
    let told = || Ok((rig.inside(ask).1.matches("\"cause\":\"game\"").count() == 2).then_some(()));
    wait_for("file and address tell of it", SOON, told).unwrap();
    worker.say(&GuestCommand::NoticeOver);
    gateway.say(&GuestCommand::NoticeOver);
    let ask = "test ! -e /run/nightjar/notice.json && \
               curl --noproxy '*' -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8008/v1/notice";
    let untold = || Ok((rig.inside(ask) == (true, "204".to_owned())).then_some(()));
    wait_for("neither does any more", SOON, untold).unwrap();

    // Longer than a silence: the heartbeats wait in the pipe.
    rig.engine.ask(["pause", "worker"]).unwrap();
    std::thread::sleep(Duration::from_secs(8));
    rig.engine.ask(["unpause", "worker"]).unwrap();
    std::thread::sleep(Duration::from_secs(6));
    assert!(rig.runs("worker"), "a thawed tenant ended although the agent is there");

    let process = rig.engine.process("worker").unwrap();
    worker.say(&GuestCommand::Terminate);
    let (code, took) = worker.end(process);
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");

    let mut silent = Guest::worker(&rig.engine, EgressMode::Curated);
    let process = rig.engine.process("worker").unwrap();
    silent.fall_silent();
    let (code, took) = silent.end(process);
    assert_eq!(code, Some(4));
    assert!(AFTER_SILENCE.contains(&took), "{took:?}");

    // Told that it is in gVisor where it is not: its own profile lets nobody make namespaces.
    let mut unfit = Guest::begun(&rig.engine, EgressMode::Curated, true);
    let said = unfit.events.recv_timeout(SOON).unwrap();
    let GuestEvent::Failed { what, why } = &said else { panic!("{said:?}") };
    assert!(what == "gVisor" && why.ends_with("try another release of gVisor, or none"), "{what}: {why}");
    assert_ne!(unfit.exit_code(), Some(0));

    let mut orphan = Guest::worker(&rig.engine, EgressMode::Curated);
    let process = rig.engine.process("worker").unwrap();
    orphan.client.kill().unwrap();
    let killed = Instant::now();
    let took = gone(process, SOON).unwrap() - killed;
    assert!(took < AFTER_SILENCE.end, "a tenant outlives its agent: {took:?}");
    wait_for("its container is no more", SOON, || Ok((!rig.runs("worker")).then_some(()))).unwrap();
    gateway.fall_silent();
    assert_eq!(gateway.exit_code(), Some(4));
}

#[test]
fn a_tenant_gets_the_network_that_the_owner_chose() {
    let rig = Rig::new();
    let gateway = Guest::gateway(&rig.engine, EgressMode::Curated);
    let worker = Guest::worker(&rig.engine, EgressMode::Curated);
    let (_, said) =
        rig.inside("curl -s -o /dev/null -w '%{http_code}' -x http://127.0.0.1:3128 http://example.com/");
    assert_eq!(said, "403", "the proxy let a name through that is not on its list");
    let (let_out, said) = rig.inside("curl --noproxy '*' -sS -m 5 http://192.0.2.1/");
    assert!(!let_out && said.contains("Failed to connect"), "{said}");
    let (found, said) = rig.inside("getent hosts example.org");
    assert!(!found, "names can be asked for past the proxy: {said}");

    // Four megabytes at 8 Mbit/s are four seconds; the bucket's first sip is free.
    let made = rig.inside("head -c 4000000 /dev/urandom > /workspace/four-megabytes");
    assert!(made.0, "{}", made.1);
    let port = rig.engine.ask(["port", "gateway", "8888/tcp"]).unwrap();
    let fetch = || {
        let started = Instant::now();
        let url = format!("http://{port}/files/four-megabytes");
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "-o", "/dev/null", "-H"]).arg(format!("Authorization: token {TOKEN}")).arg(url);
        output(&mut curl).unwrap();
        started.elapsed()
    };
    let slow = fetch();
    assert!(slow > Duration::from_millis(3_200), "4 MB at 8 Mbit/s took {slow:?}");
    gateway.say(&GuestCommand::SetBandwidth { up_kbit: 80_000, down_kbit: 80_000 });
    // The order is under way when the first of them begins.
    let fast =
        wait_for("ten times the bandwidth", SOON, || Ok(Some(fetch()).filter(|fast| *fast < slow / 2)));
    println!("4 MB took {slow:?}, and {:?} with ten times the bandwidth", fast.unwrap());
    drop((worker, gateway));
}
