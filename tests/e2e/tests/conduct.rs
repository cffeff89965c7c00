//! Tenants that go past what their host's owner allows: told, warned, ended. Real programs in real workers on a real
//! Engine; the card's memory is the stand-in's.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::time::Duration;

use nightjar_core::conduct::MinerRule;
use nightjar_core::host::HostState;
use nightjar_core::settings::{EgressMode, Settings, WorkerLimits};
use nightjar_testbed::host::{Host, quick_settings};
use nightjar_testbed::internet::{self, Turned};
use nightjar_testbed::process::{LogsOfAFailure, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(60);
const IMAGE: &str = "pytorch-cuda:lite";
const JOB: &str = include_str!("../../testbed/src/work.py");
/// Longer than it takes to see the first job's warning, to end that job, and a look after it, also on a busy machine.
const WARNING_MS: u64 = 30_000;
/// So long that what is looked at each ten seconds can be seen to be over.
const MINERS_WARNING_MS: u64 = 40_000;
const POOL_PORT: u16 = 3_333;
/// A miner's first words, said once.
const WORDS: &str = r#"{"id": 1, "method": "mining.subscribe", "params": ["one", "two", "three"]}"#;
/// Of 24 GiB, so that a job of the test's size is past it.
const RESERVE_MIB: u64 = 22_000;
const HELD_MIB: u64 = 4_096;
const LAYER_MIB: u64 = 64;

/// Everything here ends in this order, also when the test fails.
struct Scene {
    _words: LogsOfAFailure,
    _host: Host,
    renter: Renter,
    stage: Stage,
}

fn scene(miners: MinerRule, warning_ms: u64) -> Scene {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let settings = Settings {
        miners,
        warning_ms,
        vram_reserve_mib: RESERVE_MIB,
        limits: WorkerLimits { disk_mib: LAYER_MIB, ..WorkerLimits::default() },
        root_inside: true,
        egress: EgressMode::Open,
        ..quick_settings()
    };
    let (host, _) = stage.host("host", &settings).unwrap();
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    let words = LogsOfAFailure(vec![stage.folder().join("host/host.log")]);
    Scene { _words: words, _host: host, renter, stage }
}

impl Scene {
    fn rent(&self, root: bool) -> String {
        wait_for("an offer", SOON, || Ok(self.renter.run(&["offers"]).ok())).unwrap();
        let mut words = vec!["rent", "--image", IMAGE];
        words.extend(root.then_some("--root-inside"));
        self.renter.ask(&words).unwrap()["lease"].as_str().unwrap().to_owned()
    }

    fn start(&self, lease: &str, script: &str) {
        self.renter.ssh(lease, &[&format!("setsid sh -c '{script}' >/dev/null 2>&1 </dev/null &")]).unwrap();
    }

    fn notice(&self, lease: &str) -> Option<serde_json::Value> {
        let said = self.renter.ssh(lease, &["cat /run/nightjar/notice.json 2>/dev/null; true"]).ok()?;
        serde_json::from_str(said.trim()).ok()
    }

    fn is_warned(&self, lease: &str, cause: &str) {
        let notice = wait_for("the warning", SOON, || Ok(self.notice(lease))).unwrap();
        assert_eq!((&notice["cause"], &notice["step"]), (&cause.into(), &"end".into()), "{notice}");
    }

    /// What the newest lease's tenant has moved, as the host last counted it.
    fn moved_bytes(&self) -> Option<u64> {
        let log = std::fs::read_to_string(self.stage.folder().join("host/host.log")).unwrap();
        let line = log.lines().rev().find(|line| line.contains("what the tenant has moved"))?;
        let digits = line.split("bytes=").nth(1)?.chars().take_while(char::is_ascii_digit);
        digits.collect::<String>().parse().ok()
    }

    fn is_ended_for(&self, lease: &str, cause: &str) {
        let over = wait_for("the lease is over", SOON, || {
            Ok(Some(self.renter.ask(&["show", lease])?).filter(|lease| lease["state"]["state"] == "ended"))
        });
        let over = over.unwrap();
        assert_eq!(over["interruption"]["cause"], cause, "{over}");
    }
}

#[test]
fn who_takes_the_desktops_memory_or_fills_the_disk_is_warned_and_may_go_back() {
    let scene = scene(MinerRule::Tell, WARNING_MS);
    let lease = scene.rent(true);
    // What the card was seen to do before all that, as its renter reads it: nearly all of 24 GiB, at a rate of its class.
    let proof = scene.renter.ask(&["show", &lease]).unwrap()["access"]["proof"].clone();
    assert!(proof["vram_checked_mib"].as_u64().is_some_and(|mib| mib > 20_000), "{proof}");
    assert!(proof["gflops"].as_u64().is_some_and(|gflops| (40_000..120_000).contains(&gflops)), "{proof}");
    // It answers this placement's question, and the card is the one on offer, which says that it is simulated.
    assert_eq!(proof["nonce"].as_str().map(str::len), Some(32), "{proof}");
    assert_eq!(proof["device_name"], "NVIDIA GeForce RTX 4090 (simulated)", "{proof}");
    scene.renter.ssh_with_input(&lease, &["cat > work.py"], JOB).unwrap();
    scene.start(&lease, &format!("echo $$ > job.pid; exec python3 work.py 600 {HELD_MIB}"));
    scene.is_warned(&lease, "vram_reserve");
    scene.renter.ssh(&lease, &["kill $(cat job.pid)"]).unwrap();
    wait_for("the warning is taken back", SOON, || Ok(scene.notice(&lease).is_none().then_some(()))).unwrap();
    assert_eq!(scene.renter.state(&lease).unwrap(), "running");

    // What is written beside the volume.
    scene.renter.ssh(&lease, &["dd if=/dev/zero of=/opt/much bs=1M count=128 2>/dev/null"]).unwrap();
    scene.is_warned(&lease, "disk_limit");
    scene.is_ended_for(&lease, "disk_limit");

    let lease = scene.rent(false);
    let again = scene.renter.ask(&["show", &lease]).unwrap()["access"]["proof"].clone();
    assert_ne!(again["nonce"], proof["nonce"]);
    assert_ne!(again["answer"], proof["answer"]);
    scene.renter.ssh_with_input(&lease, &["cat > work.py"], JOB).unwrap();
    scene.start(&lease, &format!("python3 work.py 600 {HELD_MIB}"));
    scene.is_warned(&lease, "vram_reserve");
    scene.is_ended_for(&lease, "vram_reserve");
}

#[test]
fn a_miner_is_found_by_its_name_or_its_words_and_ended_where_the_owner_says_so() {
    let scene = scene(MinerRule::Stop, MINERS_WARNING_MS);
    let lease = scene.rent(false);
    // Read from the disk, and sent to its renter: what tells honest work from a miner.
    scene.renter.ssh(&lease, &["head -c 20M /dev/urandom > much; sync; cat much much > /dev/null"]).unwrap();
    let sent = scene.renter.ssh(&lease, &["base64 much | head -c 24000000"]).unwrap();
    assert_eq!(sent.len(), 24_000_000);
    wait_for("what was moved", SOON * 2, || Ok(scene.moved_bytes().filter(|bytes| *bytes > 24_000_000)))
        .unwrap();
    // What a tenant's programs say to each other goes to no pool.
    let talk = format!(
        "python3 -m http.server --bind 127.0.0.1 {POOL_PORT} & sleep 1; while :; do exec 3<>/dev/tcp/127.0.0.1/{POOL_PORT}; \
         printf '%s\\n' '{WORDS}' >&3; sleep 1; done"
    );
    scene.renter.ssh_with_input(&lease, &["cat > talk.sh"], &talk).unwrap();
    scene.start(&lease, "bash talk.sh");
    // Who ends the program in time goes on.
    scene.start(&lease, "cp /bin/sleep /workspace/xmrig; exec /workspace/xmrig 20");
    scene.is_warned(&lease, "mining");
    wait_for("the warning is taken back", SOON, || Ok(scene.notice(&lease).is_none().then_some(()))).unwrap();
    assert_eq!(scene.renter.state(&lease).unwrap(), "running");
    scene.start(&lease, "exec /workspace/xmrig 600");
    scene.is_warned(&lease, "mining");
    scene.is_ended_for(&lease, "mining");

    if !internet::is_possible() {
        println!("SKIPPED: turning a tenant's traffic to a pool of the test's own needs root");
        return;
    }
    let lease = scene.rent(false);
    // It answers nothing: what counts is what is said, and that the connection stands.
    let pool = TcpListener::bind("0.0.0.0:0").unwrap();
    let here = pool.local_addr().unwrap().port();
    let _turned = Turned::to_here(&scene.stage.engine, &lease, POOL_PORT, here).unwrap();
    let mine = format!(
        "exec 3<>/dev/tcp/{}/{POOL_PORT}; printf '%s\\n' '{WORDS}' >&3; sleep 600",
        internet::ADDRESS
    );
    scene.renter.ssh_with_input(&lease, &["cat > mine.sh"], &mine).unwrap();
    scene.start(&lease, "bash mine.sh");
    scene.is_warned(&lease, "mining");
    scene.is_ended_for(&lease, "mining");
    wait_for("nothing is left", SOON, || Ok(scene.stage.containers()?.is_empty().then_some(()))).unwrap();
}
