//! `nightjar doctor` at a terminal: a real host, a real Engine, and containers that somebody made by hand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::time::Duration;

use nightjar_core::host::{HostState, UserCommand};
use nightjar_core::settings::{Language, Settings};
use nightjar_testbed::engine::Engine;
use nightjar_testbed::host::{Host, quick_settings};
use nightjar_testbed::images::Flavour;
use nightjar_testbed::place::program;
use nightjar_testbed::stage::{Stage, Wish};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);
const BY_HAND: &str = "by-hand";
const STRANGER: &str = "stranger";
/// Images stay in the Engine from run to run, so this one is taken away.
const STRANGE_IMAGE: &str = "stranger:made-by-a-test";

/// What somebody made by hand. Gone with this value, whatever became of the test.
struct ByHand<'a>(&'a Engine);

impl<'a> ByHand<'a> {
    fn make(engine: &'a Engine) -> Self {
        let made = Self(engine);
        let ours = Flavour::Lite.reference();
        made.run(BY_HAND, &["--privileged"], &ours);
        // The same files under another id: what counts is the image, not what is in it.
        engine.ask(["commit", BY_HAND, STRANGE_IMAGE]).unwrap();
        made.run(STRANGER, &[], STRANGE_IMAGE);
        made
    }

    fn run(&self, name: &str, more: &[&str], image: &str) {
        let own = ["run", "--detach", "--name", name, "--label", "nightjar.role=worker", "--network", "none"];
        let sleep = ["--entrypoint", "/bin/sleep", image, "600"];
        self.0.ask(own.iter().chain(more).chain(&sleep)).unwrap();
    }
}

impl Drop for ByHand<'_> {
    fn drop(&mut self) {
        // An Engine that was left hanging would answer nothing.
        self.0.go_on();
        for gone in [&["rm", "--force", BY_HAND, STRANGER][..], &["rmi", "--force", STRANGE_IMAGE]] {
            if let Err(error) = self.0.ask(gone) {
                eprintln!("{gone:?}: {error:#}");
            }
        }
    }
}

/// The exit code, and what it prints.
fn doctor(host: &Host, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(program("nightjar").unwrap());
    host.around.enter(command.args(words).arg("doctor"));
    let said = command.output().unwrap();
    (said.status.code().unwrap(), String::from_utf8(said.stdout).unwrap())
}

fn in_json(host: &Host) -> (i32, Value) {
    let (code, said) = doctor(host, &["--json"]);
    (code, serde_json::from_str(&said).unwrap())
}

fn of_containers(said: &Value) -> Vec<&Value> {
    with_id(said, "containers")
}

fn with_id<'a>(said: &'a Value, id: &str) -> Vec<&'a Value> {
    said["checks"].as_array().unwrap().iter().filter(|check| check["id"] == id).collect()
}

#[test]
fn containers_that_are_not_as_ours_are_named_and_the_exit_code_tells() {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let (host, accepted) = stage.host("host", &quick_settings()).unwrap();
    host.watch().unwrap().until("all is known", SOON, |view| view.state == HostState::Waiting).unwrap();

    // A PC on which lending works, whose owner took this Engine's old versions knowingly.
    let (code, said) = in_json(&host);
    assert_eq!((code, &said["well"]), (0, &true.into()), "{said:#}");
    assert_eq!(of_containers(&said), Vec::<&Value>::new());
    assert!(matches!(&with_id(&said, "toolkit")[..], [one] if one["standing"] == "good"), "{said:#}");

    let by_hand = ByHand::make(&stage.engine);
    let (code, said) = in_json(&host);
    assert_eq!((code, &said["well"]), (1, &false.into()), "{said:#}");
    let told: Vec<(&str, &str)> = of_containers(&said)
        .iter()
        .map(|check| (check["sentence"].as_str().unwrap(), check["command"].as_str().unwrap()))
        .collect();
    let is_named = |words: [&str; 2], name: &str| {
        told.iter().any(|(sentence, command)| {
            words.iter().chain([&name]).all(|word| sentence.contains(word))
                && *command == format!("docker stop {name}")
        })
    };
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(is_named(["--privileged", "root"], BY_HAND), "{told:?}");
    assert!(is_named(["catalogue", STRANGE_IMAGE], STRANGER), "{told:?}");

    // The same for people, in the language that the owner chose.
    let (code, said) = doctor(&host, &[]);
    assert!(
        code == 1 && said.contains("WARN  Containers:") && said.contains("\n        docker stop by-hand")
    );
    let chinese = Settings {
        language: Some(Language::SimplifiedChinese),
        accepted_versions: accepted,
        ..quick_settings()
    };
    host.around.command(UserCommand::Save { settings: Box::new(chinese), base: None }).unwrap();
    let (code, said) = doctor(&host, &[]);
    assert!(code == 1 && said.contains("WARN  容器:") && said.contains("这台电脑可以出租"), "{said}");

    // Not being able to look is not the same as nothing to see; why is said in that language too.
    stage.engine.hang().unwrap();
    let (code, said) = in_json(&host);
    stage.engine.go_on();
    assert_eq!(code, 1, "{said:#}");
    assert!(
        matches!(&of_containers(&said)[..], [one] if one["sentence"].as_str().unwrap().contains("秒内没有响应")),
        "{said:#}"
    );

    drop(by_hand);
    let (code, said) = in_json(&host);
    assert_eq!((code, of_containers(&said).len()), (0, 0), "{said:#}");
}
