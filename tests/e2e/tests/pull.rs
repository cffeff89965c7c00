//! Images from a real registry over a line that cuts and changes what it carries, into a real Engine, by a host that is
//! killed in the middle and whose owner comes back.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use nightjar_core::settings::Settings;
use nightjar_protocol::images::{PullLine, PullState};
use nightjar_protocol::view::ViewModel;
use nightjar_testbed::base::{BASE, ensure_base};
use nightjar_testbed::catalogue::{self, Entry};
use nightjar_testbed::engine::{Engine, EngineOptions};
use nightjar_testbed::host::{Host, Surroundings, lingering_settings};
use nightjar_testbed::meddler::{Fault, Meddler};
use nightjar_testbed::process::{LogsOfAFailure, output_with_input, wait_for};
use nightjar_testbed::registry::Registry;
use nightjar_testbed::stage::Room;

const SOON: Duration = Duration::from_secs(90);
const MIB: u64 = 1024 * 1024;
/// Of each of an image's two layers; what is random does not become smaller.
const LAYER_BYTES: u64 = 12 * MIB;
/// Headers, manifests, and what lay in the kernel's buffers when a connection ended.
const SLACK_BYTES: u64 = 2 * MIB;
/// Two megabytes a second: an image takes a dozen of them.
const DOWN_KBIT: u32 = 16_000;
/// A line below that: what waits is on its far side. A dozen seconds for a layer: enough to see that one is on its way.
const LINE_BYTES_PER_S: u32 = 1_000_000;

struct Scene {
    _logs: LogsOfAFailure,
    line: Meddler,
    _registry: Registry,
    engine: Engine,
    room: Room,
    entries: Vec<Entry>,
}

impl Scene {
    /// Images of these names in a registry behind a line, their base in the Engine.
    fn set(images: &[(&str, u64)]) -> Self {
        let room = Room::set().unwrap();
        let logs = LogsOfAFailure(vec![room.folder().join("host/host.log")]);
        let engine = Engine::start(EngineOptions::cached()).unwrap();
        ensure_base(&engine, &mut |step| println!("{step}")).unwrap();
        forget_pulled(&engine);
        let registry = Registry::start(room.folder()).unwrap();
        let line = Meddler::before(registry.port()).unwrap();
        let entries = images.iter().map(|(name, size_mib)| {
            let digest = publish(&engine, &registry, room.folder(), name);
            let repository = format!("127.0.0.1:{}/nightjar/{name}", line.port());
            Entry { name: (*name).to_owned(), repository, digest, size_mib: *size_mib }
        });
        let entries = entries.collect();
        Self { _logs: logs, line, _registry: registry, engine, room, entries }
    }

    fn place(&self) -> Surroundings {
        let mut around = self.room.place().unwrap();
        around.engine = self.engine.address();
        let mut settings = lingering_settings();
        settings.network.day.down_kbit = DOWN_KBIT;
        settings.images.quota_gib = 1;
        around.write_settings(&Settings { without_presence: false, ..settings }).unwrap();
        catalogue::give(&mut around, &self.entries).unwrap();
        around
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        forget_pulled(&self.engine);
    }
}

/// The Engine keeps its images for the next run, which is to find none of these.
fn forget_pulled(engine: &Engine) {
    let tags = engine.ask(["images", "--format", "{{.Repository}}:{{.Tag}}", "nightjar.local/*"]);
    for tag in tags.unwrap_or_default().lines() {
        if let Err(error) = engine.ask(["rmi", "--force", tag]) {
            println!("{tag} stays: {error}");
        }
    }
}

/// An image with two layers of random bytes, `/one` and `/two`, on the base that the Engine has. Nothing of it stays in
/// the Engine.
fn publish(engine: &Engine, registry: &Registry, folder: &Path, name: &str) -> String {
    let context = folder.join(name);
    std::fs::create_dir(&context).unwrap();
    for file in ["one", "two"] {
        let mut bytes = Vec::new();
        std::fs::File::open("/dev/urandom").unwrap().take(LAYER_BYTES).read_to_end(&mut bytes).unwrap();
        std::fs::File::create(context.join(file)).unwrap().write_all(&bytes).unwrap();
    }
    std::fs::write(context.join("Dockerfile"), format!("FROM {BASE}\nCOPY one /one\nCOPY two /two\n"))
        .unwrap();
    let tag = format!("nightjar-pull/{name}:test");
    engine.ask(["rmi", "--force", &tag]).ok();
    let mut build = engine.docker(["build", "--quiet", "--tag", &tag]);
    output_with_input(build.env("DOCKER_BUILDKIT", "0").arg(&context), "").unwrap();
    let digest = registry.push(engine, &tag, &format!("nightjar/{name}")).unwrap();
    engine.ask(["rmi", &tag]).unwrap();
    digest
}

fn pull_of<'a>(view: &'a ViewModel, name: &str) -> Option<&'a PullLine> {
    view.pulls.iter().find(|pull| pull.name == name)
}

fn wait_until(host: &Host, what: &str, is_it: impl Fn(&ViewModel) -> bool) -> ViewModel {
    wait_for(what, SOON, || Ok(Some(host.around.view()?).filter(&is_it))).unwrap()
}

fn has(around: &Surroundings, name: &str) -> bool {
    let said = around.owner(&["--json", "images", "list"]).unwrap();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    said["pulled"]["images"].as_array().unwrap().iter().any(|image| image["name"] == name)
}

fn arrives(around: &Surroundings, name: &str) {
    wait_for(name, SOON, || Ok(has(around, name).then_some(()))).unwrap();
}

#[test]
fn a_pull_outlives_cuts_a_kill_and_its_owners_return_and_asks_for_nothing_twice() {
    let scene = Scene::set(&[("big", 200)]);
    scene.line.carries(LINE_BYTES_PER_S);
    let name = "big:test";
    let mut host = Host::start(scene.place()).unwrap();
    host.around.owner(&["images", "pull", name]).unwrap();
    let done =
        |bytes: u64| move |view: &ViewModel| pull_of(view, name).is_some_and(|pull| pull.done_bytes > bytes);
    wait_until(&host, "some of it is here", done(MIB));

    // The owner comes back: nothing more is fetched, and they are told why.
    let staying = scene.room.desktop.mouse().unwrap().stays().unwrap();
    let back = Instant::now();
    let held = |view: &ViewModel| {
        pull_of(view, name).is_some_and(|pull| matches!(pull.state, PullState::Held { .. }))
    };
    let view = wait_until(&host, "the pull is held", held);
    println!("held {:?} after the owner came back", back.elapsed());
    assert!(pull_of(&view, name).unwrap().sentence.contains("You are here"), "{:?}", view.pulls);
    std::thread::sleep(Duration::from_millis(300));
    let at_rest = scene.line.passed();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(scene.line.passed(), at_rest, "bytes came while the owner was there");
    drop(staying);

    // The owner leaves, it goes on; killed in the middle, and started again.
    scene.line.after(2 * MIB, Fault::Cut);
    wait_until(&host, "it went on", done(LAYER_BYTES + MIB));
    host.process.kill();
    let at_kill = scene.line.passed();
    println!("{at_kill} of {} bytes had passed when it was killed", 2 * LAYER_BYTES);
    assert!(at_kill > LAYER_BYTES);
    let host = Host::start(host.around).unwrap();
    scene.line.after(MIB, Fault::Cut);
    arrives(&host.around, name);
    let passed = scene.line.passed();
    println!("{passed} bytes passed in all, {} after the kill", passed - at_kill);
    // The base alone is more than this: the owner's return, the kill and two cuts lost no more than what was on its way.
    assert!(passed < 2 * LAYER_BYTES + 2 * SLACK_BYTES, "what was here was asked for again, or the base was");
    assert!(passed - at_kill < LAYER_BYTES + SLACK_BYTES);

    // What came is what was published, and it runs.
    let image = scene.engine.ask(["images", "--quiet", "nightjar.local/big"]).unwrap();
    let said =
        scene.engine.ask(["run", "--rm", "--network", "none", &image, "sha256sum", "/one", "/two"]).unwrap();
    for file in ["one", "two"] {
        let mut sum = std::process::Command::new("sha256sum");
        let ours =
            nightjar_testbed::process::output(sum.arg(scene.room.folder().join("big").join(file))).unwrap();
        assert!(said.contains(ours.split_whitespace().next().unwrap()), "{file}: {said}");
    }
    // Neither its blobs nor the image of its lower layers take a second place on the disk, and freed it is gone.
    let no_name_left = || {
        let names = scene.engine.ask(["images", "--format", "{{.Repository}}", "nightjar.local/coming"])?;
        Ok(names.is_empty().then_some(()))
    };
    wait_for("the names of its lower layers to go", SOON, no_name_left).unwrap();
    let left = std::fs::read_dir(host.around.folder.join("data/images/blobs")).unwrap().count();
    assert_eq!(left, 0);
    host.around.owner(&["images", "free", name]).unwrap();
    assert!(!has(&host.around, name));
    assert_eq!(scene.engine.ask(["images", "--quiet", "nightjar.local/big"]).unwrap(), "");
}

#[test]
fn what_was_changed_on_the_way_is_asked_for_anew_and_room_is_made_by_who_was_used_longest_ago() {
    // As much of the quota of a GiB as the catalogue says, for who comes; as much as it is, for who is there.
    let scene = Scene::set(&[("first", 200), ("second", 1_000), ("third", 1_100)]);
    let host = Host::start(scene.place()).unwrap();
    let around = &host.around;
    scene.line.after(3 * MIB, Fault::Flip);
    around.owner(&["images", "pull", "first:test"]).unwrap();
    arrives(around, "first:test");
    let passed = scene.line.passed();
    println!("{passed} bytes passed, one of them wrong");
    assert!(passed > 3 * LAYER_BYTES, "a layer with a wrong byte in it was taken");
    assert!(passed < 3 * LAYER_BYTES + SLACK_BYTES);

    around.owner(&["images", "pull", "second:test"]).unwrap();
    arrives(around, "second:test");
    assert!(!has(around, "first:test"));

    // One for which there is no room by any means harms nobody.
    around.owner(&["images", "pull", "third:test"]).unwrap();
    let failed = |view: &ViewModel| {
        pull_of(view, "third:test").is_some_and(|pull| matches!(pull.state, PullState::Failed { .. }))
    };
    let view = wait_until(&host, "there is no room for the third", failed);
    assert!(pull_of(&view, "third:test").unwrap().sentence.contains("images quota"), "{:?}", view.pulls);
    assert!(has(around, "second:test"));
    around.owner(&["images", "free", "third:test"]).unwrap();
    wait_until(&host, "it is no longer wished for", |view| view.pulls.is_empty());

    // A line that changes everything is given up on, and it is said why.
    // Several blobs come at once, and each has to arrive wrong three times.
    for at in 1..=50 {
        scene.line.after(at * 2 * MIB, Fault::Flip);
    }
    around.owner(&["images", "pull", "first:test"]).unwrap();
    let failed = |view: &ViewModel| {
        pull_of(view, "first:test").is_some_and(|pull| matches!(pull.state, PullState::Failed { .. }))
    };
    let view = wait_until(&host, "it is given up on", failed);
    assert!(pull_of(&view, "first:test").unwrap().sentence.contains("another content"), "{:?}", view.pulls);
    scene.line.behave();
    around.owner(&["images", "pull", "first:test"]).unwrap();
    arrives(around, "first:test");
    let unknown = around.owner(&["images", "pull", "nobody:test"]).unwrap_err().to_string();
    assert!(unknown.contains("nobody:test"), "{unknown}");
}

#[test]
fn a_catalogue_that_was_changed_after_it_was_signed_starts_no_host() {
    let room = Room::set().unwrap();
    let mut around = room.place().unwrap();
    let entry = Entry {
        name: "a".into(),
        repository: "127.0.0.1:1/a".into(),
        digest: format!("sha256:{}", "0".repeat(64)),
        size_mib: 1,
    };
    catalogue::give(&mut around, &[entry]).unwrap();
    let path = around.folder.join("own-catalogue.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("sha256:0", "sha256:1")).unwrap();
    let refused = Host::start(around).map(drop).unwrap_err().to_string();
    assert!(refused.contains("was changed since"), "{refused}");
}
