//! A renter who is root inside: packages and services, OpenSSH and Jupyter, and not one step further.

use std::time::Duration;

use nightjar_core::host::HostState;
use nightjar_core::settings::{EgressMode, Settings};
use nightjar_testbed::host::quick_settings;
use nightjar_testbed::process::wait_for;
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn root_is_root_inside_and_nobody_outside() {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let settings = Settings { egress: EgressMode::Open, ..quick_settings() };
    let (host, accepted) = stage.host("host", &settings).unwrap();
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
    // The owner has not said so yet.
    let refused = renter.run(&["offers", "--root-inside"]).unwrap_err().to_string();
    assert!(refused.contains("no card on offer now is enough"), "{refused}");
    println!("{}", host.around.owner(&["tenants", "--root-inside", "on"]).unwrap());
    wait_for("an offer of root", SOON, || Ok(renter.run(&["offers", "--root-inside"]).ok())).unwrap();
    drop(accepted);

    let rented = renter.ask(&["rent", "--root-inside", "--image", "pytorch-cuda:lite"]).unwrap();
    let lease = rented["lease"].as_str().unwrap().to_owned();
    let inside =
        |script: &str| renter.ssh(&lease, &[&format!("{{ {script}; }} 2>&1; echo status=$?")]).unwrap();
    for allowed in [
        "test $(id -u) = 0",
        "touch /usr/local/bin/mine && chown 1234:1234 /usr/local/bin/mine",
        "useradd --system service && su -s /bin/sh service -c 'test $(id -un) = service'",
        // A package of the renter's own making, as apt would unpack it.
        "mkdir -p /tmp/p/DEBIAN /tmp/p/opt && printf 'Package: mine\\nVersion: 1\\nArchitecture: all\\nMaintainer: me\\nDescription: mine\\n' > /tmp/p/DEBIAN/control && echo hi > /tmp/p/opt/mine && dpkg-deb -b /tmp/p /tmp/p.deb && dpkg -i /tmp/p.deb && grep hi /opt/mine",
        "echo kept > /workspace/kept",
    ] {
        let said = inside(allowed);
        assert!(said.contains("status=0"), "{allowed}: {said}");
    }
    let jupyter = renter.jupyter(&lease).unwrap();
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sSf", "-H"]).arg(format!("Authorization: token {}", jupyter.token));
    let said = nightjar_testbed::process::output(
        curl.arg(format!("http://127.0.0.1:{}/api/contents/kept?content=1", jupyter.port)),
    );
    assert!(said.unwrap().contains("kept"));

    for refused in [
        "mount -t tmpfs none /mnt",
        "unshare --user true",
        "mknod /tmp/sda b 8 0",
        "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'",
        "echo x > /proc/sys/kernel/core_pattern",
        "echo 1 > /sys/fs/cgroup/memory/tasks",
        "cat /proc/1/environ",
        "echo lie > /proc/1/fd/1",
        "ip address add 198.51.100.9/32 dev lo",
        "tc qdisc del dev eth0 root",
        "timeout 3 bash -c 'exec 3<>/dev/tcp/192.168.1.1/53'",
        "timeout 3 bash -c 'exec 3<>/dev/tcp/169.254.169.254/80'",
        "nice -n -5 true 2>&1 | grep -v cannot",
        "kill -9 1 && sleep 1 && test ! -d /proc/1",
    ] {
        let said = inside(refused);
        assert!(!said.contains("status=0"), "{refused} was allowed: {said}");
    }
    renter.run(&["stop", &lease, "--wait"]).unwrap();
}
