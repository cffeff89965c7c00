//! A card is taken back: what the tenant is told, what its renter is told, what the owner has in its log, and how the
//! lease goes on. The input comes from a hand's stand-in on a real X server, the game is a real process, and the
//! tenant's job holds memory of the (simulated) card.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::time::Duration;

use nightjar_core::host::HostState;
use nightjar_core::lease::LeaseState;
use nightjar_core::parting::Cause;
use nightjar_core::settings::{GiveBack, Settings};
use nightjar_core::signal::{SignalRule, SignalRules};
use nightjar_protocol::market_api::Lease;
use nightjar_testbed::host::{Host, Watch, job_state, quick_settings};
use nightjar_testbed::process::{LogsOfAFailure, Process, output, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(60);
const IMAGE: &str = "pytorch-cuda:lite";
const GAME: &str = "sham-game";
const HELD_MIB: u64 = 2_048;
/// A look a second, and the way to whoever asks.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
/// So long that a tenant has heard of it by file and by address before it is over, also on a busy machine.
const GRACE_MS: u64 = 10_000;

const JOB: &str = include_str!("../../testbed/src/work.py");
/// A tenant that looks for what it is told, and writes it where it outlives the lease.
const LISTENER: &str = r#"
trap 'echo SIGTERM >> /workspace/told.log' TERM
while :; do
  test -e /run/nightjar/notice.json && echo "file $(cat /run/nightjar/notice.json)" >> /workspace/told.log
  curl --noproxy '*' -s -w ' %{http_code}\n' http://127.0.0.1:8008/v1/notice >> /workspace/told.log
  sleep 0.1
done
"#;

/// Everything here ends in this order, also when the test fails.
struct Scene {
    _words: LogsOfAFailure,
    watch: Watch,
    host: Host,
    renter: Renter,
    stage: Stage,
}

impl Scene {
    fn set() -> Self {
        let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
        // What is minutes in life is seconds here: a game that has ended counts no more.
        let game = SignalRule { linger_ms: 0, ..SignalRules::default().game };
        let settings = Settings {
            signals: SignalRules { game, ..quick_settings().signals },
            give_back: GiveBack::Friendly,
            friendly_grace_ms: GRACE_MS,
            games: vec![GAME.to_owned()],
            // So long a tenant stands frozen, of which its renter asks several things meanwhile.
            idle_after_ms: 20_000,
            resume_after_ms: 20_000,
            ..quick_settings()
        };
        let (host, _) = stage.host("host", &settings).unwrap();
        let watch = host.watch().unwrap();
        watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
        let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
        wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
        let words = LogsOfAFailure(vec![stage.folder().join("host/host.log")]);
        Self { _words: words, watch, host, renter, stage }
    }

    fn lease(&self, lease: &str) -> Lease {
        read(self.renter.ask(&["show", lease]).unwrap())
    }

    fn until(&self, what: &str, lease: &str, is_it: impl Fn(&Lease) -> bool) -> Lease {
        wait_for(what, SOON, || Ok(Some(self.lease(lease)).filter(&is_it))).unwrap_or_else(|error| {
            let view = self.host.around.view().map(|view| view.sentence);
            let offers = self.renter.run(&["offers"]);
            panic!("{error:#}\n{}\nthe host: {view:?}\n{offers:?}", self.shown(lease, "C.UTF-8"))
        })
    }

    /// What the renter reads, in the language of its account.
    fn shown(&self, lease: &str, locale: &str) -> String {
        output(self.renter.command(&["show", lease]).unwrap().env("LC_ALL", locale)).unwrap()
    }

    /// The tenant's job and its listener, which live without the renter's connection.
    fn start_work(&self, lease: &str) {
        for (name, text) in [("work.py", JOB), ("listener.sh", LISTENER)] {
            let written = self.renter.ssh_with_input(lease, &[&format!("cat > {name}")], text);
            written.unwrap_or_else(|error| panic!("{error:#}\n{}", self.shown(lease, "C.UTF-8")));
        }
        let start = format!(
            "setsid python3 work.py 600 {HELD_MIB} >work.log 2>&1 </dev/null & \
             setsid bash listener.sh >/dev/null 2>&1 </dev/null &"
        );
        self.renter.ssh(lease, &[&start]).unwrap();
        self.watch.from_now().until("the job holds memory", SOON, |view| held(view) >= HELD_MIB).unwrap();
    }

    fn move_the_mouse(&self, x: &str) {
        let mut hand = Command::new("xdotool");
        self.stage.desktop.enter(hand.args(["mousemove", x, "200"]));
        output(&mut hand).unwrap();
    }

    /// A process under a name of the owner's list.
    fn play(&self) -> Process {
        let game = self.stage.folder().join(GAME);
        if !game.exists() {
            std::fs::copy("/bin/sleep", &game).unwrap();
        }
        Process::start(self.stage.folder(), "game", Command::new(&game).arg("600")).unwrap()
    }

    /// The tenant is off the card: by the owner's log, once, and by NVML. How long it took, in milliseconds.
    fn card_is_back(&self, lease: &str) -> u64 {
        let came_back = || -> Vec<u64> {
            let told = self.host.around.owner(&["--json", "why"]).unwrap();
            let told: serde_json::Value = serde_json::from_str(&told).unwrap();
            let given = told["give_backs"].as_array().unwrap_or_else(|| panic!("no give-backs in {told}"));
            let of_this = given.iter().filter(|given| given["lease"] == lease);
            of_this.filter_map(|given| given["vram_free_ms"].as_u64()).collect()
        };
        wait_for("the memory is back in the owner's log", SOON, || Ok(came_back().first().copied())).unwrap();
        // What is shown is a look of up to a second ago.
        let is_free = || Ok((held(&self.host.around.view().unwrap()) < HELD_MIB / 4).then_some(()));
        wait_for("the memory is free in what is shown", SHOWN_WITHIN, is_free).unwrap();
        let came_back = came_back();
        assert_eq!(came_back.len(), 1, "it came back more than once: {came_back:?}");
        came_back[0]
    }
}

/// MiB of the card's memory that are in use, as NVML says.
fn held(view: &nightjar_protocol::view::ViewModel) -> u64 {
    view.cards[0].card.reading.vram_used_bytes >> 20
}

/// A lease as the program prints it: without the token that opens its Jupyter.
fn read(mut lease: serde_json::Value) -> Lease {
    lease["access"] = serde_json::Value::Null;
    serde_json::from_value(lease).unwrap()
}

fn cause(lease: &Lease) -> Option<Cause> {
    lease.interruption.map(|interruption| interruption.cause)
}

#[test]
fn a_parting_is_told_on_all_sides_and_the_lease_goes_on_where_it_was() {
    let scene = Scene::set();
    let rented = ["rent", "--image", IMAGE, "--interruptible", "--wait-for-host"];
    let rented = read(scene.renter.ask(&rented).unwrap());
    let first = rented.lease.0.clone();
    scene.start_work(&first);

    // The owner's hand: frozen, free of charge, and the renter reads why.
    let freezer = scene.stage.freezer(&first).unwrap();
    scene.move_the_mouse("200");
    freezer.until(true, SOON).unwrap();
    let frozen = scene.until("the freeze is told", &first, |lease| lease.state == LeaseState::Yielded);
    assert_eq!(cause(&frozen), Some(Cause::OwnerBack));
    for (locale, sentence) in [("C.UTF-8", "The card's owner is back."), ("zh_CN.UTF-8", "显卡主人回来了。")]
    {
        let shown = scene.shown(&first, locale);
        assert!(shown.contains(sentence), "{shown}");
    }
    freezer.until(false, SOON).unwrap();
    scene.until("it goes on", &first, |lease| lease.state == LeaseState::Running && cause(lease).is_none());

    // A game: the tenant has its grace, the owner the whole card.
    let mut game = scene.play();
    let over = scene.until("the lease is over", &first, |lease| lease.state.is_over());
    assert_eq!(cause(&over), Some(Cause::Game));
    let took_ms = scene.card_is_back(&first);
    println!("the memory was back {took_ms} ms after the decision, with {GRACE_MS} ms of grace");
    assert!(scene.lease(&first).waits.is_some());
    let shown = scene.shown(&first, "C.UTF-8");
    assert!(shown.contains("over: The card's owner needs the whole card."), "{shown}");
    assert!(shown.contains("It goes on when its host is free again."), "{shown}");

    // The game ends, nobody touches anything: the lease goes on here, and its files are where they were.
    game.terminate(Duration::from_secs(5)).unwrap();
    let second = scene.until("it goes on", &first, |lease| lease.continued_by.is_some());
    let second = second.continued_by.unwrap().0;
    let successor = scene.until("its worker runs", &second, |lease| lease.state == LeaseState::Running);
    assert_eq!((&successor.continues, &successor.host_id), (&Some(rented.lease), &rented.host_id));
    assert!(successor.price_per_hour.micros <= rented.price_per_hour.micros);
    heard_all(&scene.renter.ssh(&second, &["cat", "/workspace/told.log"]).unwrap());

    // Frozen first, then ended: a frozen tenant has no grace, and the log has its memory back all the same.
    scene.start_work(&second);
    let freezer = scene.stage.freezer(&second).unwrap();
    scene.move_the_mouse("220");
    freezer.until(true, SOON).unwrap();
    let mut game = scene.play();
    let over = scene.until("the second lease is over", &second, |lease| lease.state.is_over());
    assert_eq!(cause(&over), Some(Cause::Game));
    println!("the memory of a frozen tenant was back {} ms after the decision", scene.card_is_back(&second));

    // The renter has enough, and nothing goes on behind its back.
    scene.renter.run(&["stop", &second]).unwrap();
    assert_eq!(scene.lease(&second).waits, None);
    game.terminate(Duration::from_secs(5)).unwrap();
    scene
        .watch
        .from_now()
        .until("the card waits for a job", SOON, |view| view.state == HostState::Waiting)
        .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(job_state(&scene.host.around.view().unwrap()), None);
    wait_for("nothing is left", SOON, || Ok(scene.stage.containers()?.is_empty().then_some(()))).unwrap();
}

/// The tenant saw nothing while there was nothing, then the file, the address and the signal, with class and deadline.
fn heard_all(told: &str) {
    let lines: Vec<&str> = told.lines().map(str::trim).collect();
    assert_eq!(lines.first(), Some(&"204"), "{told}");
    assert!(lines.contains(&"SIGTERM"), "{told}");
    let last = |mark: &str, end: &str| -> serde_json::Value {
        let line = lines.iter().rev().find_map(|line| line.strip_prefix(mark)?.strip_suffix(end));
        serde_json::from_str(line.unwrap_or_else(|| panic!("nothing of {mark:?} {end:?} in {told}"))).unwrap()
    };
    let (file, address) = (last("file ", ""), last("", " 200"));
    for notice in [&file, &address] {
        assert_eq!((&notice["step"], &notice["cause"]), (&"end".into(), &"game".into()), "{notice}");
        let at = notice["at_utc_ms"].as_i64().unwrap();
        let deadline = notice["deadline_utc_ms"].as_i64().unwrap();
        assert_eq!(deadline - at, i64::try_from(GRACE_MS).unwrap(), "{notice}");
        assert!(notice["seconds_left"].as_u64().unwrap() <= GRACE_MS / 1_000, "{notice}");
        assert!(!notice.to_string().contains(GAME), "the tenant reads what its host's owner plays: {notice}");
    }
    assert_eq!(file["deadline_utc_ms"], address["deadline_utc_ms"]);
}
