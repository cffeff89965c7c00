//! The real server at the other end of a socket pair: what it answers, what it undoes when a connection ends, and that no
//! bytes bring it down.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nightjar_core::gpu::GpuUuid;
use nightjar_gpu::{GpuError, MilliwattLimits};
use nightjar_helper::cgroup::Cgroups;
use nightjar_helper::desk::{Cards, Desk};
use nightjar_helper::guards::Guards;
use nightjar_helper::memory::Memory;
use nightjar_helper::server::Server;
use nightjar_protocol::helper::{
    ContainerId, HELPER_VERSION, HelperAnswer, HelperErrorCode, HelperRequest, MAX_FRAME_BYTES, encode,
    read_frame, write_frame,
};
use proptest::prelude::*;

/// Cards by UUID, with the limit that each has now in milliwatts.
#[derive(Clone, Default)]
struct Rack(Arc<Mutex<BTreeMap<String, u32>>>);

impl Cards for Rack {
    fn limits(&self, card: &GpuUuid) -> Result<Option<MilliwattLimits>, GpuError> {
        let missing = || GpuError::Other { code: 6, text: "not found".into() };
        let current = *self.0.lock().unwrap().get(&card.0).ok_or_else(missing)?;
        Ok(Some(MilliwattLimits { current, default: 450_000, min: 100_000, max: 600_000 }))
    }

    fn set(&self, card: &GpuUuid, milliwatts: u32) -> Result<(), GpuError> {
        self.0.lock().unwrap().insert(card.0.clone(), milliwatts);
        Ok(())
    }
}

impl Rack {
    fn now(&self) -> u32 {
        self.0.lock().unwrap()["GPU-1"]
    }
}

struct Rig {
    rack: Rack,
    server: Server,
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let rack = Rack::default();
        rack.set(&card(), 420_000).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(&folder.path().join("state")).unwrap();
        let desk = Arc::new(Desk::open(Box::new(rack.clone()), memory));
        let guards = Guards::new(Cgroups::at(folder.path()), &folder.path().join("proc"));
        Self { rack, server: Server::new(desk, guards, "/".into()), folder }
    }

    fn connect(&self) -> (UnixStream, JoinHandle<()>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = self.server.clone();
        ours.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (ours, std::thread::spawn(move || server.serve(theirs)))
    }

    fn greeted(&self) -> (UnixStream, JoinHandle<()>) {
        let (mut line, serving) = self.connect();
        assert!(matches!(ask(&mut line, hello()), HelperAnswer::Welcome { .. }));
        (line, serving)
    }
}

fn card() -> GpuUuid {
    GpuUuid("GPU-1".into())
}

fn hello() -> HelperRequest {
    HelperRequest::Hello { protocol_version: HELPER_VERSION, app_version: "1".into() }
}

fn set(watts: u32) -> HelperRequest {
    HelperRequest::SetPowerLimit { gpu_uuid: card(), watts }
}

fn ask(line: &mut UnixStream, request: HelperRequest) -> HelperAnswer {
    write_frame(line, &request).unwrap();
    read_frame(line).unwrap().unwrap()
}

fn code(answer: HelperAnswer) -> HelperErrorCode {
    let HelperAnswer::Refused(refusal) = answer else { panic!("{answer:?}") };
    assert!(refusal.detail.len() > 20, "a sentence: {refusal}");
    refusal.code
}

#[test]
fn a_limit_ends_with_its_connection() {
    let rig = Rig::new();
    let (mut line, serving) = rig.greeted();
    assert!(matches!(ask(&mut line, set(250)), HelperAnswer::PowerSet { confirm_within_ms: Some(_), .. }));
    assert_eq!(rig.rack.now(), 250_000);
    assert_eq!(ask(&mut line, HelperRequest::Confirm { gpu_uuid: card() }), HelperAnswer::Done);
    let HelperAnswer::Status { cards, .. } = ask(&mut line, HelperRequest::Status) else {
        panic!("no status")
    };
    assert_eq!((cards[0].found_watts, cards[0].current_watts), (420.0, Some(250.0)));
    drop(line);
    serving.join().unwrap();
    assert_eq!(rig.rack.now(), 420_000);
}

#[test]
fn restore_puts_back_what_was_found_unless_another_tool_was_there() {
    let rig = Rig::new();
    let (mut line, _serving) = rig.greeted();
    ask(&mut line, set(250));
    ask(&mut line, HelperRequest::Restore { gpu_uuid: Some(card()) });
    assert_eq!(rig.rack.now(), 420_000);
    ask(&mut line, set(250));
    rig.rack.set(&card(), 333_000).unwrap();
    ask(&mut line, HelperRequest::Restore { gpu_uuid: None });
    assert_eq!(rig.rack.now(), 333_000);
}

#[test]
fn a_helper_that_died_leaves_its_successor_enough_to_put_it_back() {
    let rig = Rig::new();
    let (mut line, _serving) = rig.greeted();
    ask(&mut line, set(250));
    // The first server is still there and holds its book; only the file matters to the second.
    let memory = Memory::open(&rig.folder.path().join("state")).unwrap();
    let _second = Desk::open(Box::new(rig.rack.clone()), memory);
    assert_eq!(rig.rack.now(), 420_000);
}

/// A look for such a card comes again and again, and each writing waits for the disk.
#[test]
fn what_is_held_of_a_card_that_is_gone_is_kept_and_not_written_anew() {
    let rig = Rig::new();
    let (mut line, serving) = rig.greeted();
    ask(&mut line, set(250));
    rig.rack.0.lock().unwrap().clear();
    // It would be here again after a writing.
    let file = rig.folder.path().join("state/limits.json");
    std::fs::remove_file(&file).unwrap();
    drop(line);
    serving.join().unwrap();
    let (mut line, _serving) = rig.greeted();
    ask(&mut line, HelperRequest::Restore { gpu_uuid: None });
    assert!(!file.exists());
    rig.rack.set(&card(), 250_000).unwrap();
    ask(&mut line, HelperRequest::Restore { gpu_uuid: None });
    assert_eq!(rig.rack.now(), 420_000);
    assert!(file.exists());
}

#[test]
fn what_is_not_allowed_is_refused_with_its_code() {
    let rig = Rig::new();
    let (mut line, _serving) = rig.greeted();
    assert_eq!(code(ask(&mut line, set(90))), HelperErrorCode::OutOfRange);
    assert_eq!(code(ask(&mut line, set(0))), HelperErrorCode::BadRequest);
    let stranger = HelperRequest::SetPowerLimit { gpu_uuid: GpuUuid("GPU-2".into()), watts: 250 };
    assert_eq!(code(ask(&mut line, stranger)), HelperErrorCode::NoSuchCard);
    assert_eq!(code(ask(&mut line, hello())), HelperErrorCode::BadRequest);
    let (mut rude, _serving) = rig.connect();
    assert_eq!(code(ask(&mut rude, HelperRequest::Status)), HelperErrorCode::Version);
    // After an update the app of before goes on until its job is over; and a newer one does not do with this helper.
    for (version, is_served) in [(0, false), (1, true), (HELPER_VERSION, true), (HELPER_VERSION + 1, false)] {
        let (mut other, _its_end) = rig.connect();
        let hello = HelperRequest::Hello { protocol_version: version, app_version: "1".into() };
        match ask(&mut other, hello) {
            HelperAnswer::Welcome { .. } => assert!(is_served, "{version}"),
            HelperAnswer::Refused(refusal) => {
                assert!(!is_served && refusal.code == HelperErrorCode::Version, "{version}: {refusal}");
                assert!(refusal.detail.contains("app and helper of one version"), "{refusal}");
            }
            answer => panic!("{version}: {answer:?}"),
        }
    }
    assert_eq!(rude.read(&mut [0; 8]).unwrap(), 0, "it is cut off");
}

fn id() -> ContainerId {
    ContainerId::try_from("ab".repeat(32)).unwrap()
}

/// A process in the place of the kernel's list.
fn process(root: &Path, pid: u32, inside: &str, program: &str) {
    let folder = root.join("proc").join(pid.to_string());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("status"), format!("Name:\tx\nNSpid:\t{pid}{inside}\n")).unwrap();
    std::fs::write(folder.join("cmdline"), format!("{program}\0worker\0")).unwrap();
}

/// A version 1 freezer for a container with one process.
fn freezer(root: &Path) -> std::path::PathBuf {
    let group = root.join("freezer/docker").join(id().as_str());
    std::fs::create_dir_all(&group).unwrap();
    std::fs::write(group.join("freezer.state"), "THAWED\n").unwrap();
    std::fs::write(group.join("cgroup.procs"), "4242424\n").unwrap();
    group.join("freezer.state")
}

#[test]
fn a_container_that_is_none_of_nightjars_is_left_alone() {
    let rig = Rig::new();
    let (mut line, _serving) = rig.greeted();
    let state = freezer(rig.folder.path());
    let guard = || HelperRequest::Guard { container_id: id() };
    for (inside, program) in [
        // A database; a tenant's program that took our name; one of the host's own that moved in.
        ("\t1", "/usr/lib/postgresql/bin/postgres"),
        ("\t37", "/tmp/nightjar-guest"),
        ("", "/usr/local/bin/nightjar-guest"),
        ("\t1", "/usr/local/bin/nightjar-guest-not"),
    ] {
        process(rig.folder.path(), 4_242_424, inside, program);
        assert_eq!(code(ask(&mut line, guard())), HelperErrorCode::NotYours, "{program}");
        let end = HelperRequest::EndContainer { container_id: id() };
        assert_eq!(code(ask(&mut line, end)), HelperErrorCode::NotYours);
    }
    assert_eq!(std::fs::read_to_string(&state).unwrap(), "THAWED\n");
    process(rig.folder.path(), 4_242_424, "\t1", "/usr/local/bin/nightjar-guest");
    assert_eq!(ask(&mut line, guard()), HelperAnswer::Done);
}

#[test]
fn only_a_container_that_was_named_is_touched() {
    let rig = Rig::new();
    let (mut line, _serving) = rig.greeted();
    let freeze = || HelperRequest::FreezeContainer { container_id: id() };
    let guard = || HelperRequest::Guard { container_id: id() };
    assert_eq!(code(ask(&mut line, guard())), HelperErrorCode::NoSuchContainer);
    let state = freezer(rig.folder.path());
    process(rig.folder.path(), 4_242_424, "\t1", "/usr/local/bin/nightjar-guest");
    assert_eq!(code(ask(&mut line, freeze())), HelperErrorCode::NotYours);
    assert_eq!(ask(&mut line, guard()), HelperAnswer::Done);
    assert!(matches!(ask(&mut line, freeze()), HelperAnswer::Frozen { .. }));
    assert_eq!(std::fs::read_to_string(&state).unwrap(), "FROZEN");
    let (mut other, _serving) = rig.greeted();
    let thaw = || HelperRequest::ThawContainer { container_id: id() };
    assert_eq!(code(ask(&mut other, thaw())), HelperErrorCode::NotYours);
    assert_eq!(ask(&mut line, thaw()), HelperAnswer::Done);
    assert_eq!(std::fs::read_to_string(&state).unwrap(), "THAWED");
}

#[derive(Clone, Debug)]
enum Noise {
    Bytes(Vec<u8>),
    /// A length that is announced, and what follows it.
    Announced(u32, Vec<u8>),
    Truncated(usize),
    Whole(u32),
}

fn noise() -> impl Strategy<Value = Noise> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..256).prop_map(Noise::Bytes),
        (any::<u32>(), prop::collection::vec(any::<u8>(), 0..64)).prop_map(|(n, b)| Noise::Announced(n, b)),
        (0_usize..80).prop_map(Noise::Truncated),
        (0_u32..700).prop_map(Noise::Whole),
    ]
}

impl Noise {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Announced(length, bytes) => [&length.to_be_bytes()[..], bytes].concat(),
            Self::Truncated(at) => encode(&set(250)).unwrap().into_iter().take(*at).collect(),
            Self::Whole(watts) => encode(&set(*watts)).unwrap(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    /// Whatever comes, greeted or not: the connection ends, what it set is undone, and the next one is served.
    #[test]
    fn no_bytes_bring_it_down(parts in prop::collection::vec(noise(), 0..6), greets: bool) {
        let rig = Rig::new();
        let (mut line, serving) = rig.connect();
        if greets {
            let _ = line.write_all(&encode(&hello()).unwrap());
        }
        for part in &parts {
            let _ = line.write_all(&part.bytes());
        }
        let _ = line.shutdown(std::net::Shutdown::Write);
        let mut said = Vec::new();
        let _ = line.take(1 << 20).read_to_end(&mut said);
        serving.join().unwrap();
        prop_assert_eq!(rig.rack.now(), 420_000);
        let mut said = said.as_slice();
        while let Ok(Some(answer)) = read_frame::<HelperAnswer>(&mut said) {
            let is_refusal = matches!(answer, HelperAnswer::Refused(_));
            prop_assert!(greets || is_refusal);
        }
        let (mut next, _serving) = rig.greeted();
        let is_set = matches!(ask(&mut next, set(250)), HelperAnswer::PowerSet { .. });
        prop_assert!(is_set);
    }
}

#[test]
fn a_frame_that_is_too_long_is_neither_read_nor_waited_for() {
    let rig = Rig::new();
    let (mut line, serving) = rig.greeted();
    let length = u32::try_from(MAX_FRAME_BYTES + 1).unwrap();
    line.write_all(&length.to_be_bytes()).unwrap();
    let answer = read_frame::<HelperAnswer>(&mut line).unwrap().unwrap();
    assert_eq!(code(answer), HelperErrorCode::BadRequest);
    serving.join().unwrap();
}
