//! What goes wrong around a host before anything is rented: it says what, why and what to do, and lends nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use nightjar_core::gpu::GpuTrouble;
use nightjar_core::host::{HostState, UserCommand};
use nightjar_core::policy::{BlockReason, Verdict};
use nightjar_protocol::view::ViewModel;
use nightjar_sim::wire::Control;
use nightjar_testbed::host::{Host, quick_settings};
use nightjar_testbed::market::Market;
use nightjar_testbed::stage::Room;

const SOON: Duration = Duration::from_secs(30);

fn host(room: &Room) -> Host {
    Host::start(room.place().unwrap()).unwrap()
}

fn reasons(view: &ViewModel) -> Vec<BlockReason> {
    let of_cards = view.cards.iter().flat_map(|tile| match &tile.card.verdict {
        Verdict::Blocked { reasons, .. } => reasons.clone(),
        Verdict::Earn => Vec::new(),
    });
    of_cards.chain(view.reason.clone()).collect()
}

/// Waits for a reason and gives the sentence that is shown for it.
fn sentence(host: &Host, what: &str, is_it: impl Fn(&BlockReason) -> bool) -> String {
    let watch = host.watch().unwrap();
    let (_, view) = watch.until(what, SOON, |view| reasons(view).iter().any(&is_it)).unwrap();
    assert_ne!(view.state, HostState::Waiting);
    let tile = view.cards.iter().flat_map(|tile| tile.reasons.clone());
    tile.chain([view.sentence]).collect::<Vec<_>>().join("\n")
}

#[test]
fn without_docker_it_says_so() {
    let room = Room::set().unwrap();
    let said = sentence(&host(&room), "no Docker", |r| matches!(r, BlockReason::NoDocker { .. }));
    assert!(said.contains("Install or start Docker"), "{said}");
}

#[test]
fn without_a_driver_it_says_where_to_get_one() {
    let room = Room::set().unwrap();
    let mut around = room.place().unwrap();
    around.environment.retain(|(name, _)| name != "LD_LIBRARY_PATH");
    around.write_settings(&quick_settings()).unwrap();
    let host = Host::start(around).unwrap();
    let said = sentence(&host, "no driver", |r| {
        matches!(r, BlockReason::NoGpu { trouble: GpuTrouble::LibraryMissing })
    });
    assert!(said.contains("nvidia.com/drivers"), "{said}");
}

#[test]
fn an_old_driver_is_named_with_what_is_needed() {
    let room = Room::set().unwrap();
    let daemon = room.cards.simulated().unwrap();
    daemon.client().control(Control::Driver { version: "470.82.01".into() }).unwrap();
    let host = host(&room);
    let said = sentence(&host, "an old driver", |r| matches!(r, BlockReason::DriverTooOld { .. }));
    for part in ["470.82.01", "525", "nvidia.com/drivers"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn settings_that_cannot_be_read_are_kept_and_nothing_is_lent() {
    let room = Room::set().unwrap();
    let around = room.place().unwrap();
    std::fs::create_dir_all(&around.folder).unwrap();
    let broken = "idle_after_ms = 3000\nprice = \n";
    std::fs::write(around.settings_path(), broken).unwrap();
    let host = Host::start(around).unwrap();
    let said =
        sentence(&host, "unreadable settings", |r| matches!(r, BlockReason::SettingsUnreadable { .. }));
    assert!(said.contains("line 2") && said.contains("was kept"), "{said}");
    let refused = host.around.command(UserCommand::SetEarning { on: true }).unwrap_err();
    assert!(refused.to_string().contains("cannot be read"), "{refused}");
    assert_eq!(std::fs::read_to_string(host.around.settings_path()).unwrap(), broken);
}

#[test]
fn two_hosts_do_not_share_a_data_folder() {
    let room = Room::set().unwrap();
    let first = host(&room);
    let second = first.around.owner(&["host"]).unwrap_err().to_string();
    assert!(second.contains("already runs"), "{second}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let market = nightjar_testbed::place::program("nightjar-coordinator").unwrap();
    let out = std::process::Command::new(market)
        .args(["serve", "--listen", &address, "--data-dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
}

#[test]
fn a_market_that_comes_back_is_found_again() {
    let room = Room::set().unwrap();
    let mut market = Market::start(room.folder()).unwrap();
    let around = room.place().unwrap();
    around.write_settings(&quick_settings()).unwrap();
    let host = Host::join(around, market.url(), &market.pairing_code().unwrap()).unwrap();
    let watch = host.watch().unwrap();
    let is_away = |r: &BlockReason| matches!(r, BlockReason::CoordinatorUnreachable { .. });
    market.kill();
    watch.until("the market is away", SOON, |view| reasons(view).iter().any(is_away)).unwrap();
    market.restart().unwrap();
    watch
        .until("the market is back", SOON, |view| {
            !reasons(view).iter().any(|r| is_away(r) || *r == BlockReason::NotEnrolled)
        })
        .unwrap();
}
