//! A lease on an Engine that maps users (`userns-remap`): whoever is root in a container is nobody on this PC.

use std::time::Duration;

use nightjar_core::host::HostState;
use nightjar_core::settings::{EgressMode, Settings};
use nightjar_testbed::engine::mapping;
use nightjar_testbed::host::quick_settings;
use nightjar_testbed::process::{LogsOfAFailure, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(60);
const IMAGE: &str = "pytorch-cuda:lite";

#[test]
fn a_lease_runs_where_the_engine_maps_users() {
    if let Some(what) = mapping::missing() {
        return println!("SKIPPED: no Engine can map users here: {what}");
    }
    let wish = Wish { maps_users: true, ..Wish::default() };
    let stage = Stage::set(&wish, &mut |step| println!("{step}")).unwrap();
    let settings = Settings { root_inside: true, egress: EgressMode::Open, ..quick_settings() };
    let (host, _) = stage.host("host", &settings).unwrap();
    let _words = LogsOfAFailure(vec![stage.folder().join("host/host.log")]);
    host.watch().unwrap().until("all is known", SOON, |view| view.state == HostState::Waiting).unwrap();
    let doctor: serde_json::Value =
        serde_json::from_str(&host.around.owner(&["--json", "doctor"]).unwrap()).unwrap();
    let users = doctor["checks"].as_array().unwrap().iter().find(|check| check["id"] == "users").unwrap();
    assert_eq!(users["standing"], "good", "{doctor:#}");

    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    // An ordinary user, then one who is root inside.
    for (root, id) in [(false, 52_814), (true, 0)] {
        wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
        let mut words = vec!["rent", "--image", IMAGE];
        words.extend(root.then_some("--root-inside"));
        let lease = renter.ask(&words).unwrap()["lease"].as_str().unwrap().to_owned();
        let script = "id -u; echo kept > /workspace/word && cat /workspace/word; stat -f -c %T /workspace";
        let said = renter.ssh(&lease, &[script]).unwrap();
        // A disk of the quota's size, not a folder of the Engine's.
        assert_eq!(said.split_whitespace().collect::<Vec<_>>(), [&id.to_string(), "kept", "ext2/ext3"]);

        // The kernel's word on who that is on this PC.
        let process = stage.process(&lease).unwrap();
        let map = std::fs::read_to_string(format!("/proc/{process}/uid_map")).unwrap();
        let first = mapping::FIRST_ID.to_string();
        assert_eq!(map.split_whitespace().take(2).collect::<Vec<_>>(), ["0", &first], "{map}");
        renter.run(&["stop", &lease, "--wait"]).unwrap();
    }
    // What was written is there in the next lease.
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
    let lease = renter.rent(IMAGE).unwrap();
    assert_eq!(renter.ssh(&lease, &["cat /workspace/word"]).unwrap().trim(), "kept");
    renter.run(&["stop", &lease, "--wait"]).unwrap();
    wait_for("nothing is left", SOON, || Ok(stage.containers()?.is_empty().then_some(()))).unwrap();
}
