//! What a tenant may not: first of the fence's tests. Each attempt runs inside a real worker.

use std::net::TcpListener;
use std::time::Duration;

use nightjar_core::host::HostState;
use nightjar_core::settings::{EgressMode, Settings};
use nightjar_testbed::host::quick_settings;
use nightjar_testbed::process::wait_for;
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(40);

#[test]
fn a_tenant_reaches_neither_the_pc_nor_its_network() {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    // The widest mode: what is refused here is refused by the fence, not for want of a way out.
    let settings = Settings { egress: EgressMode::Open, ..quick_settings() };
    let (host, _) = stage.host("host", &settings).unwrap();
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
    let lease = renter.rent("pytorch-cuda:lite").unwrap();
    let inside = |script: &str| renter.ssh(&lease, &[&format!("{script} 2>&1; echo status=$?")]).unwrap();

    // A service of this PC, on every address that it has, the bridge's with them.
    let service = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = service.local_addr().unwrap().port();
    let addresses =
        nightjar_testbed::process::output(std::process::Command::new("hostname").arg("-I")).unwrap();
    let gateway = inside("ip route show default | awk '{print $3}'");
    let gateway = gateway.lines().next().unwrap_or_default().trim().to_owned();
    let mut tried = 0;
    for address in addresses.split_whitespace().filter(|a| !a.contains(':')).chain([gateway.as_str()]) {
        if address.is_empty() || address.contains("status") {
            continue;
        }
        let said = inside(&format!("timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/{port}'"));
        assert!(!said.contains("status=0"), "the tenant reached {address}:{port}: {said}");
        tried += 1;
    }
    assert!(tried > 0, "no address of this PC was tried");

    for (attempt, what) in [
        ("timeout 3 bash -c 'exec 3<>/dev/tcp/169.254.169.254/80'", "the metadata address"),
        ("timeout 3 bash -c 'exec 3<>/dev/tcp/192.168.1.1/80'", "a private network"),
        ("touch /usr/bin/mine", "the image's own files"),
        ("mount -t tmpfs none /mnt", "mounting"),
        ("chown root /workspace", "another owner"),
        ("cat /proc/1/environ", "process 1"),
        ("kill -9 1 && sleep 1 && test ! -d /proc/1", "ending process 1"),
        ("python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'", "raw sockets"),
        ("python3 -c 'import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)'", "AF_VSOCK"),
        ("unshare -Ur true", "a user namespace"),
        ("ls /var/run/docker.sock", "the Engine's socket"),
        ("(command -v nft && nft list ruleset) | grep -q table", "reading the fence"),
        ("(command -v tc && tc qdisc del dev eth0 root)", "removing the limits"),
    ] {
        let said = inside(attempt);
        assert!(!said.contains("status=0"), "{what} was allowed: {said}");
    }
    let said = inside("grep -E 'NoNewPrivs|CapEff|CapBnd|Seccomp:' /proc/self/status");
    assert!(
        said.contains("CapEff:\t0000000000000000") && said.contains("CapBnd:\t0000000000000000"),
        "{said}"
    );
    assert!(said.contains("NoNewPrivs:\t1") && said.contains("Seccomp:\t2"), "{said}");
    renter.run(&["stop", &lease, "--wait"]).unwrap();
}
