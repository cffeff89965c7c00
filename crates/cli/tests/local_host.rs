//! The headless host as a process, and the commands that talk to it. No Docker Engine, no card, no desktop: it says so,
//! and is there all the same.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stage;

use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::Duration;

use nightjar_core::host::{CommandError, UserCommand};
use nightjar_core::settings::{EgressMode, Settings};
use nightjar_core::settings_fault::SettingsFault;
use nightjar_protocol::control::{ControlAnswer, ControlRequest, Refusal};
use nightjar_protocol::doctor::{Repair, RepairOutcome};
use nightjar_protocol::window::{Question, Reply};
use stage::{Run, Stage, command, finish};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(20);

struct Host<'a> {
    stage: &'a Stage,
    child: Child,
    ready: serde_json::Value,
}

impl<'a> Host<'a> {
    /// Started, and ready; `input` is what its standard input says.
    async fn start(stage: &'a Stage, arguments: &[&str], input: &str) -> Self {
        Self::start_in(stage, &[], arguments, input).await
    }

    /// The same with variables of its own.
    async fn start_in(
        stage: &'a Stage,
        variables: &[(&str, String)],
        arguments: &[&str],
        input: &str,
    ) -> Self {
        let no_engine = format!("unix://{}", stage.folder.path().join("no-engine.sock").display());
        let arguments = [&["host", "--json", "--docker", &no_engine], arguments].concat();
        let mut command = stage.command(&arguments);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(WITHIN, lines.next_line()).await.unwrap().unwrap().unwrap();
        Self { stage, child, ready: serde_json::from_str(&line).unwrap() }
    }

    async fn ask(&self, arguments: &[&str]) -> Run {
        timeout(WITHIN, self.stage.run(arguments)).await.unwrap()
    }

    /// A page's question, over the control socket.
    async fn question(&self, question: Question) -> Reply {
        let mut stream = UnixStream::connect(self.ready["control"].as_str().unwrap()).await.unwrap();
        let mut line = serde_json::to_string(&ControlRequest::Ask(question)).unwrap();
        line.push('\n');
        stream.write_all(line.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        let answer = timeout(WITHIN, lines.next_line()).await.unwrap().unwrap().unwrap();
        match serde_json::from_str(&answer).unwrap() {
            ControlAnswer::Reply(Ok(reply)) => *reply,
            other => panic!("{other:?}"),
        }
    }

    /// A front end's connection, which stays.
    async fn front_end(&self) -> FrontEnd {
        let stream = UnixStream::connect(self.ready["control"].as_str().unwrap()).await.unwrap();
        FrontEnd { stream: BufReader::new(stream) }
    }

    async fn ended(mut self) -> Option<i32> {
        timeout(WITHIN, self.child.wait()).await.unwrap().unwrap().code()
    }
}

struct FrontEnd {
    stream: BufReader<UnixStream>,
}

impl FrontEnd {
    async fn ask(&mut self, request: &ControlRequest) -> ControlAnswer {
        let line = serde_json::to_string(request).unwrap() + "\n";
        self.stream.write_all(line.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(WITHIN, self.stream.read_line(&mut answer)).await.unwrap().unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    async fn settings(&mut self) -> Box<Settings> {
        match self.ask(&ControlRequest::Settings).await {
            ControlAnswer::Settings(settings) => settings,
            other => panic!("{other:?}"),
        }
    }

    /// Changes what this front end saw.
    async fn save(&mut self, seen: &Settings, change: impl FnOnce(&mut Settings)) -> ControlAnswer {
        let mut settings = Box::new(seen.clone());
        change(&mut settings);
        let base = Some(Box::new(seen.clone()));
        self.ask(&ControlRequest::Do(UserCommand::Save { settings, base })).await
    }
}

/// The window and a terminal, say, each with what it saw before the other changed it.
#[tokio::test]
async fn two_front_ends_change_the_settings_at_once_and_neither_undoes_the_other() {
    let stage = Stage::start().await;
    let host = Host::start(&stage, &[], "").await;
    let (mut window, mut terminal) = (host.front_end().await, host.front_end().await);
    let seen = window.settings().await;
    assert_eq!(terminal.settings().await, seen);
    let taken = |answer: ControlAnswer| match answer {
        ControlAnswer::View(view) => view.settings.unwrap(),
        other => panic!("{other:?}"),
    };
    taken(window.save(&seen, |settings| settings.temperature_ceiling_celsius = 75).await);
    taken(terminal.save(&seen, |settings| settings.games.push("mine.exe".into())).await);
    let both = taken(window.save(&seen, |settings| settings.games.push("yours.exe".into())).await);
    assert_eq!((both.temperature_ceiling_celsius, both.games.len()), (75, 2));
    assert_eq!(terminal.settings().await, both);

    // Taken back as the window does, from what it sees now; the terminal's is not part of that.
    let now = window.settings().await;
    let back = taken(window.save(&now, |settings| settings.temperature_ceiling_celsius = 83).await);
    assert_eq!((back.temperature_ceiling_celsius, &back.games), (83, &both.games));

    // Two changes of which each is right, and both together are not: the later is refused, and says why.
    taken(window.save(&back, |settings| settings.egress = EgressMode::Off).await);
    let off = window.settings().await;
    taken(terminal.save(&off, |settings| settings.root_inside = true).await);
    let refused = window.save(&off, |settings| settings.egress = EgressMode::Curated).await;
    let fault = match &refused {
        ControlAnswer::Refused(Refusal::Command(CommandError::Settings { fault, .. })) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(*fault, SettingsFault::RootPastTheProxy);
    let kept = terminal.settings().await;
    assert_eq!((kept.egress, kept.root_inside), (EgressMode::Off, true));
    assert_eq!(host.ask(&["quit"]).await.code, 0);
    assert_eq!(host.ended().await, Some(0));
    stage.market.shutdown().await;
}

#[tokio::test]
async fn a_host_joins_a_market_is_commanded_and_ends() {
    let stage = Stage::start().await;
    let code = stage.operator.pairing_code().await.unwrap().code;
    let url = stage.market.url().to_owned();
    let host = Host::start(&stage, &["--coordinator", &url, "--pair", "-"], &format!("{code}\n")).await;
    assert_eq!(host.ready["coordinator"], url.as_str());

    let status = host.ask(&["status", "--json"]).await;
    assert_eq!(status.json()["identity"]["host_key"], host.ready["host_key"], "{status:?}");
    assert_eq!(status.json()["tray"]["snoozed"], false);
    let pause = host.ask(&["pause", "--for", "30m", "--json"]).await;
    assert_eq!(pause.json()["tray"]["snoozed"], true, "{pause:?}");
    assert!(host.ask(&["status"]).await.stdout.contains("nightjar resume"));
    assert_eq!(host.ask(&["resume", "--json"]).await.json()["tray"]["snoozed"], false);
    assert_eq!(host.ask(&["pause", "--for", "300d"]).await.code, 2);
    schedules(&host).await;
    tenants(&host).await;
    doctor(&host).await;
    assert_eq!(host.ask(&["stop-job"]).await.code, 3);
    let second = host.ask(&["host"]).await;
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.stderr.contains("--data-dir"), "{second:?}");
    assert_eq!(host.ask(&["quit"]).await.code, 0);
    assert_eq!(host.ended().await, Some(0));

    // From then on it knows its market; another one wants another pairing.
    let other = stage.run(&["host", "--coordinator", "https://market.example"]).await;
    assert_eq!(other.code, 2, "{other:?}");
    let host = Host::start(&stage, &[], "").await;
    assert_eq!(host.ready["coordinator"], url.as_str());
    let pid = host.child.id().unwrap().to_string();
    assert!(tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert_eq!(host.ended().await, Some(0));
    assert_eq!(stage.run(&["status"]).await.code, 4);
    let nobody = stage.run(&["doctor"]).await;
    assert!(nobody.code == 4 && nobody.stderr.contains("`nightjar host`"), "{nobody:?}");
    stage.market.shutdown().await;
}

#[tokio::test]
async fn a_host_joins_by_a_link_which_names_market_and_code() {
    let stage = Stage::start().await;
    let url = stage.market.url().to_owned();
    let link = stage.operator.pairing_code().await.unwrap().link(&url).unwrap();
    let elsewhere = ["host", "--coordinator", "https://market.example", "--pair", &link];
    let other = stage.run(&elsewhere).await;
    assert_eq!(other.code, 2, "{other:?}");
    assert!(other.stderr.contains(&url) && other.stderr.contains("leave --coordinator out"), "{other:?}");
    let cut =
        stage.run_with(&["host", "--pair", "-"], "nightjar://pair?market=https://market.example\n").await;
    assert_eq!(cut.code, 2, "{cut:?}");
    assert!(cut.stderr.contains("names no code"), "{cut:?}");

    let host = Host::start(&stage, &["--pair", "-"], &format!("{link}\n")).await;
    assert_eq!(host.ready["coordinator"], url.as_str());
    assert_eq!(host.ask(&["quit"]).await.code, 0);
    assert_eq!(host.ended().await, Some(0));
    let used = stage.run(&["host", "--pair", &link]).await;
    assert_eq!(used.code, 5, "a code is for one host, once: {used:?}");
    stage.market.shutdown().await;
}

/// No Engine, no card: neither is good, and nobody could look for containers.
async fn doctor(host: &Host<'_>) {
    let said = host.ask(&["doctor", "--json"]).await;
    assert_eq!((said.code, &said.json()["well"]), (1, &false.into()), "{said:?}");
    let checks = said.json()["checks"].as_array().unwrap().clone();
    for (id, standing) in [("driver", "bad"), ("market", "good"), ("containers", "warning")] {
        let check = checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("{said:?}"));
        assert_eq!(check["standing"], standing, "{said:?}");
    }
    let said = host.ask(&["doctor"]).await;
    assert!(
        said.code == 1 && said.stdout.starts_with("BAD   ") && said.stdout.contains("\nWARN  "),
        "{said:?}"
    );
}

/// Through the host that runs; it keeps the file.
async fn tenants(host: &Host<'_>) {
    let refused = host.ask(&["tenants", "--root-inside", "on"]).await;
    assert_eq!(refused.code, 2, "root could pass for the proxy");
    let shown = host.ask(&["tenants", "--root-inside", "on", "--network", "open", "--json"]).await.json();
    assert_eq!((&shown["root_inside"], &shown["network"]), (&true.into(), &"open".into()));
    assert_eq!(host.ask(&["tenants", "--network", "curated"]).await.code, 2, "it is still on");
    assert_eq!(host.ask(&["tenants", "--root-inside", "off", "--network", "curated"]).await.code, 0);
    assert_eq!(shown["gvisor"], true);
    assert_eq!(host.ask(&["tenants", "--gvisor", "off", "--json"]).await.json()["gvisor"], false);
    let said = host.ask(&["tenants"]).await;
    assert!(said.stdout.contains("gVisor is turned off"), "{said:?}");
    assert_eq!(host.ask(&["tenants", "--gvisor", "on"]).await.code, 0);
}

async fn schedules(host: &Host<'_>) {
    let priced =
        host.ask(&["schedule", "tariff", "--flat", "0.60", "--window", "daily 22:00-08:00 0.30"]).await;
    assert_eq!(priced.code, 0, "{priced:?}");
    let least =
        host.ask(&["schedule", "price", "--least", "0.20", "--currency", "EUR", "--json"]).await.json();
    assert_eq!(least["price_per_hour"]["currency"], "EUR");
    assert_eq!(
        (&least["price_per_hour"]["micros"], &least["tariff"]["currency"]),
        (&200_000.into(), &"EUR".into())
    );
    assert_eq!(host.ask(&["schedule", "price", "--currency", "euro"]).await.code, 2);
    let open = ["--open", "daily 20:00-06:00", "--cheap-below", "0.50", "--closed-on", "2026-12-24"];
    let set = host.ask(&[&["schedule", "set"][..], &open].concat()).await;
    assert_eq!(set.code, 0, "{set:?}");
    assert!(set.stdout.contains("20:00-06:00") && set.stdout.contains("2026-12-24  closed"), "{set:?}");
    let shown = host.ask(&["schedule", "show", "--json"]).await.json();
    assert_eq!(shown["schedule"]["only_below_per_kwh_micros"], 500_000);
    assert_eq!(shown["tariff"]["windows"][0]["price_per_kwh_micros"], 300_000);
    // Open, but dear; open and cheap; closed.
    for (at, kind, said) in [
        ("2026-11-24 21:00", "closed", "0.60"),
        ("2026-11-24 23:00", "open", "20:00-06:00"),
        ("2026-12-24 23:00", "closed", "2026-12-24"),
        ("2026-11-25 12:00", "closed", "0.60"),
    ] {
        let test = host.ask(&["schedule", "test", "--at", at, "--json"]).await.json();
        assert_eq!(test["state"]["kind"], kind, "{at}: {test}");
        assert!(test["because"].as_str().unwrap().contains(said), "{at}: {test}");
        assert!(test["changes_at"].is_i64(), "{at}: {test}");
    }
    assert_eq!(host.ask(&["schedule", "set", "--open", "mon 8-9"]).await.code, 2);
    assert_eq!(host.ask(&["schedule", "set", "--always", "--any-price"]).await.code, 0);
}

/// The same process, since whatever watches it holds on to it.
#[tokio::test]
async fn a_newer_version_in_its_place_is_started_by_itself() {
    let stage = Stage::start().await;
    let program = stage.folder.path().join("nightjar-of-its-own");
    let put = |name: &str| {
        let new = stage.folder.path().join(name);
        std::fs::copy(env!("CARGO_BIN_EXE_nightjar"), &new).unwrap();
        std::fs::rename(&new, &program).unwrap();
    };
    put("the first");
    let no_engine = format!("unix://{}", stage.folder.path().join("no-engine.sock").display());
    let mut command =
        stage::command_of(&program, stage.folder.path(), &["host", "--json", "--docker", &no_engine]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ready = async || timeout(2 * WITHIN, lines.next_line()).await.unwrap().unwrap().unwrap();
    let first: serde_json::Value = serde_json::from_str(&ready().await).unwrap();
    let running = format!("/proc/{}/exe", child.id().unwrap());
    let identity = |path: &std::path::Path| std::fs::metadata(path).unwrap().ino();
    let of_then = identity(running.as_ref());

    put("the second");
    let second: serde_json::Value = serde_json::from_str(&ready().await).unwrap();
    assert_eq!(first["host_key"], second["host_key"], "the same host");
    let of_now = identity(running.as_ref());
    assert_eq!(of_now, identity(&program));
    assert_ne!(of_now, of_then);
    assert_eq!(stage.run(&["quit"]).await.code, 0);
    assert_eq!(timeout(WITHIN, child.wait()).await.unwrap().unwrap().code(), Some(0));
}

/// Without one, on the settings file.
#[tokio::test]
async fn a_schedule_is_set_while_no_host_runs() {
    let folder = tempfile::tempdir().unwrap();
    let ask = async |arguments: &[&str]| finish(command(folder.path(), arguments), "").await;
    let set = ask(&["schedule", "set", "--open", "mon-fri 22:00-08:00"]).await;
    assert_eq!(set.code, 0, "{set:?}");
    let shown = ask(&["schedule", "show", "--json"]).await.json();
    assert_eq!(shown["schedule"]["windows"][0]["days"][4], "fri", "{shown}");
    assert!(shown["now"]["changes_at"].is_i64(), "{shown}");
    let dear = ask(&["schedule", "set", "--cheap-below", "0.50"]).await;
    assert_eq!(dear.code, 2, "{dear:?}");
    assert!(dear.stderr.contains("[tariff]"), "{dear:?}");
}

#[tokio::test]
async fn a_code_that_is_not_taken_ends_the_host() {
    let stage = Stage::start().await;
    let url = stage.market.url().to_owned();
    let wrong = stage.run_with(&["host", "--coordinator", &url, "--pair", "-"], "AAAA-BBBB-CCCC\n").await;
    assert_eq!(wrong.code, 5, "{wrong:?}");
    assert!(wrong.stderr.contains("pairing code"), "{wrong:?}");
    let folder = tempfile::tempdir().unwrap();
    let away = ["host", "--coordinator", "http://127.0.0.1:1", "--pair", "AAAA"];
    assert_eq!(finish(command(folder.path(), &away), "").await.code, 6);
    stage.market.shutdown().await;
}

/// The page of `nightjar host --ui`: what a browser would do, and what another page or program must not.
#[tokio::test]
async fn the_page_opens_by_its_link_once_and_to_nobody_else() {
    let stage = Stage::start().await;
    let host = Host::start(&stage, &["--ui"], "").await;
    let link = host.ready["ui"].as_str().unwrap().to_owned();
    let (base, word) = link.split_once("/#").unwrap();
    let web = reqwest::Client::builder().timeout(WITHIN).build().unwrap();

    // Files need no key, but the right host.
    let page = web.get(base).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert!(page.text().await.unwrap().contains("<div id=\"app\">"));
    for name in ["evil.example", "127.0.0.1.evil.example"] {
        let rebound = web.get(base).header("host", name).send().await.unwrap();
        assert_eq!(rebound.status(), 403, "{name}");
    }
    let status = async |path: &str, key: &str| {
        web.get(format!("{base}{path}")).bearer_auth(key).send().await.unwrap().status().as_u16()
    };
    for path in ["/view", "/views"] {
        assert_eq!(status(path, "").await, 401);
        assert_eq!(status(path, word).await, 401, "the link's word is no key");
    }
    assert_eq!(web.get(format!("{base}/view")).send().await.unwrap().status(), 401);

    let enter = async |word: &str| {
        let body = serde_json::json!({ "word": word });
        web.post(format!("{base}/session")).json(&body).send().await.unwrap()
    };
    assert_eq!(enter("0123").await.status(), 401);
    let entered: serde_json::Value = enter(word).await.json().await.unwrap();
    let key = entered["key"].as_str().unwrap();
    assert_eq!(enter(word).await.status(), 401, "the link was used");
    assert_eq!(status("/view", key).await, 200);

    let post = async |path: &str, body: serde_json::Value| {
        web.post(format!("{base}{path}")).bearer_auth(key).json(&body).send().await.unwrap()
    };
    let off = post("/command", serde_json::json!({ "command": "set_earning", "on": false })).await;
    assert_eq!(off.json::<serde_json::Value>().await.unwrap(), serde_json::json!({ "Ok": null }));
    assert_eq!(host.ask(&["status", "--json"]).await.json()["earn_while_idle"], false);
    let refused: serde_json::Value =
        post("/command", serde_json::json!({ "command": "snooze_for_game" })).await.json().await.unwrap();
    assert_eq!(refused["Err"]["data"]["kind"], "no_game", "{refused}");
    let checks: serde_json::Value =
        post("/ask", serde_json::json!({ "question": "checks" })).await.json().await.unwrap();
    assert_eq!(checks["Ok"]["reply"], "checks", "{checks}");
    let desktop: serde_json::Value =
        post("/ask", serde_json::json!({ "question": "desktop" })).await.json().await.unwrap();
    assert!(desktop["Err"]["detail"].as_str().unwrap().contains("without a desktop"), "{desktop}");
    let away = serde_json::json!({ "coordinator_url": "http://127.0.0.1:1", "pairing_code": "AAAA" });
    let unreachable: serde_json::Value = post("/enrol", away).await.json().await.unwrap();
    assert_eq!(unreachable["Err"]["kind"], "unreachable", "{unreachable}");
    let large = "x".repeat(600 * 1024);
    assert_eq!(post("/ask", serde_json::json!({ "question": large })).await.status(), 413);
    let form = web.post(format!("{base}/command")).bearer_auth(key).body("{}").send().await.unwrap();
    assert_eq!(form.status(), 415, "what a form of another page can send is not taken");

    looks_on(&host, &web).await;
    assert_eq!(host.ask(&["quit"]).await.code, 0);
    assert_eq!(host.ended().await, Some(0));
    stage.market.shutdown().await;
}

/// A second `host --ui` opens the window of the one that runs, and ends with it.
async fn looks_on(host: &Host<'_>, web: &reqwest::Client) {
    let mut second = host.stage.command(&["host", "--json", "--ui"]);
    let mut second = second.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(second.stdout.take().unwrap()).lines();
    let line = timeout(WITHIN, lines.next_line()).await.unwrap().unwrap().unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let (base, word) = said["ui"].as_str().unwrap().split_once("/#").unwrap();
    let body = serde_json::json!({ "word": word });
    let entered = web.post(format!("{base}/session")).json(&body).send().await.unwrap();
    let key = entered.json::<serde_json::Value>().await.unwrap()["key"].as_str().unwrap().to_owned();
    let mut views = web.get(format!("{base}/views")).bearer_auth(key).send().await.unwrap();
    let mut first = Vec::new();
    while first.last() != Some(&b'\n') {
        first.extend(timeout(WITHIN, views.chunk()).await.unwrap().unwrap().unwrap());
    }
    let view: serde_json::Value = serde_json::from_slice(first.trim_ascii()).unwrap();
    assert_eq!(view["earn_while_idle"], false, "{view}");
    assert_eq!(host.ask(&["resume"]).await.code, 0);
    let pid = second.id().unwrap().to_string();
    assert!(tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert_eq!(timeout(WITHIN, second.wait()).await.unwrap().unwrap().code(), Some(0));
    assert_eq!(host.ask(&["status"]).await.code, 0, "the host goes on");
}

/// In place of the system's pkexec one that asks nobody for a password, and shows the programme an /etc of its own.
const ASKER: &str = r#"#!/bin/sh -e
here=$(dirname "$0")
[ "$1" = --disable-internal-agent ] && shift
[ ! -e "$here/closed" ] || exit 126
[ "$(id -u)" -eq 0 ] || root='sudo --non-interactive --'
exec $root unshare --mount --propagation private sh -ec \
    'mount --bind "$1/etc" /etc; shift; export PKEXEC_UID=1234; exec "$@"' sh "$here" "$@"
"#;

/// From a page's question by the real host to the real programme, which runs as root and changes a real file of groups.
#[tokio::test]
async fn a_repair_that_the_owner_asked_for_runs_as_root_and_is_told() {
    use std::os::unix::fs::PermissionsExt;

    let stage = Stage::start().await;
    let folder = stage.folder.path().join("asker");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    std::fs::create_dir_all(folder.join("etc")).unwrap();
    write("pkexec", ASKER);
    std::fs::set_permissions(folder.join("pkexec"), std::fs::Permissions::from_mode(0o755)).unwrap();
    write("etc/passwd", "root:x:0:0::/root:/bin/sh\nowner:x:1234:1234::/home/owner:/bin/sh\n");
    write("etc/group", "root:x:0:\nowner:x:1234:\nnightjar:x:990:\n");
    write("etc/shadow", "root:*:19000::::::\nowner:*:19000::::::\n");
    write("etc/gshadow", "root:*::\nowner:!::\nnightjar:!::\n");
    write("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\n");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let program = std::fs::canonicalize("../../installer/nightjar-repair").unwrap();
    let variables = [("PATH", path), ("NIGHTJAR_REPAIR", program.display().to_string())];
    let host = Host::start_in(&stage, &variables, &[], "").await;

    let Reply::Checks(found) = host.question(Question::Checks).await else { panic!("no checks") };
    let checks = found.checks;
    let engine = checks.iter().find(|check| check.id == "engine").unwrap();
    assert_eq!(engine.repair, Some(Repair::Docker), "{checks:?}");
    let ask = async |repair| match host.question(Question::Repair { repair }).await {
        Reply::Repaired(outcome) => outcome,
        other => panic!("{other:?}"),
    };
    let RepairOutcome::Done { output } = ask(Repair::HelperGroup).await else { panic!("not done") };
    assert!(output.contains("owner is in the group nightjar now"), "{output}");
    let groups = std::fs::read_to_string(folder.join("etc/group")).unwrap();
    assert!(groups.contains("nightjar:x:990:owner\n"), "{groups}");

    write("closed", "");
    assert_eq!(ask(Repair::HelperGroup).await, RepairOutcome::Declined);
    assert_eq!(host.ask(&["quit"]).await.code, 0);
}
