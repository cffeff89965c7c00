//! An evening on a real X server, as the sensors tell it: hands come and go, a game of the owner's list is played, the
//! hands leave. What was told is held against what was done. `NIGHTJAR_UPDATE_TRACE=1` keeps the record, which the host's
//! simulated year lives through (`crates/core/tests/year.rs`).
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test stands on must be there")]

#[expect(dead_code, reason = "other tests use more of it")]
mod desktop;
#[path = "desktop/program.rs"]
mod program;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use desktop::Desktop;
use nightjar_presence::{Options, PresenceEvent, SignalKind, SignalOptions, Standing, signals, watch_with};
use program::Program;
use serde_json::{Value, json};

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/data/evening.jsonl");
const NO_BUS: &str = "unix:path=/nonexistent/bus";
const GAME: &str = "nightjar-evening-game";
/// Milliseconds from one move of the hand to the next: work, a look out of the window, work.
const DESK: [u64; 16] = [40, 60, 900, 50, 120, 2_600, 70, 40, 300, 40, 1_400, 60, 80, 3_200, 40, 500];
const PLAY: [u64; 14] = [30, 40, 30, 250, 30, 1_800, 40, 30, 600, 30, 2_300, 40, 30, 90];
const COMES_WITHIN: Duration = Duration::from_secs(20);

/// What happened, with the milliseconds since the beginning.
#[derive(Clone)]
struct Record {
    began: Instant,
    lines: Arc<Mutex<Vec<(u64, Value)>>>,
}

impl Record {
    fn note(&self, what: Value) {
        let mut lines = self.lines.lock().unwrap();
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap();
        lines.push((at_ms, what));
    }

    fn lines(&self) -> Vec<(u64, Value)> {
        self.lines.lock().unwrap().clone()
    }

    fn wait_for(&self, what: &str, met: impl Fn(&Value) -> bool) {
        let until = Instant::now() + COMES_WITHIN;
        while !self.lines().iter().any(|(_, line)| met(line)) {
            assert!(Instant::now() < until, "never told: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn presence(record: &Record, display: &str) -> nightjar_presence::Watch {
    let settled_after = Duration::from_secs(1);
    let options = Options {
        display: Some(display.into()),
        wayland: None,
        session_bus: None,
        system_bus: None,
        settled_after,
    };
    let record = record.clone();
    watch_with(options, move |event| {
        record.note(match event {
            PresenceEvent::Active => json!({ "active": true }),
            PresenceEvent::Idle { last_input_ago } => {
                json!({ "idle_since_ms_ago": u64::try_from(last_input_ago.as_millis()).unwrap() })
            }
            PresenceEvent::Lost { detail } => panic!("the sensor was lost: {detail}"),
        });
    })
    .unwrap()
}

fn games(record: &Record, display: &str) -> nightjar_presence::Signals {
    let options = SignalOptions {
        display: Some(display.into()),
        games: vec![GAME.into()],
        session_bus: Some(NO_BUS.into()),
        system_bus: Some(NO_BUS.into()),
        ..SignalOptions::default()
    };
    let record = record.clone();
    // What else this machine does in the meantime is no part of the evening.
    let ours = |kind| matches!(kind, SignalKind::Game | SignalKind::FullScreen);
    signals(
        &options,
        Arc::new(move |sign| {
            if ours(sign.kind) && !matches!(sign.standing, Standing::Unavailable { .. }) {
                record.note(json!({ "sign": sign }));
            }
        }),
    )
}

#[test]
fn an_evening_is_told_as_it_was() {
    let desktop = Desktop::start();
    let folder = tempfile::tempdir().unwrap();
    let game = folder.path().join(GAME);
    std::fs::copy("/bin/sleep", &game).unwrap();
    let record = Record { began: Instant::now(), lines: Arc::default() };
    let watch = presence(&record, &desktop.display);
    let signs = games(&record, &desktop.display);
    record.wait_for("nobody is there", |line| line.get("idle_since_ms_ago").is_some());
    // A server that has just started says that somebody has just been there.
    record.lines.lock().unwrap().retain(|(_, what)| what.get("active").is_none());
    let hand = desktop.hand();
    let mut x = 0;
    let mut moves = |pauses: &[u64]| {
        for pause in pauses {
            x = (x + 7) % 600;
            record.note(json!({ "hand": true }));
            hand.move_to(x, 20);
            std::thread::sleep(Duration::from_millis(*pause));
        }
    };
    moves(&DESK);
    record.note(json!({ "game": true }));
    let program = Program::start(Command::new(&game).arg("600"));
    moves(&PLAY);
    let plays = |line: &Value| line["sign"]["standing"]["kind"] == "seen";
    record.wait_for("a game runs", plays);
    drop(program);
    record.note(json!({ "game": false }));
    moves(&DESK[..6]);
    let gone = |line: &Value| line["sign"]["kind"] == "game" && line["sign"]["standing"]["kind"] == "quiet";
    let played = record.lines().iter().position(|(_, line)| plays(line)).unwrap();
    let until = Instant::now() + COMES_WITHIN;
    while !record.lines()[played..].iter().any(|(_, line)| gone(line)) {
        assert!(Instant::now() < until, "the game's end was never told");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(1_500));
    drop((watch, signs));
    let lines = record.lines();
    check(&lines);
    if std::env::var_os("NIGHTJAR_UPDATE_TRACE").is_some() {
        let text: String = lines.iter().map(|(at_ms, what)| line(*at_ms, what)).collect();
        std::fs::write(RECORD, text).unwrap();
    }
}

fn line(at_ms: u64, what: &Value) -> String {
    let mut what = what.clone();
    what["at_ms"] = at_ms.into();
    format!("{what}\n")
}

/// Whether the next word on the owner is that somebody is there.
fn comes(lines: &[(u64, Value)]) -> bool {
    let mut told = lines.iter().map(|(_, what)| what);
    told.find(|what| what.get("active").or(what.get("idle_since_ms_ago")).is_some())
        .is_some_and(|what| what.get("active").is_some())
}

/// After each move somebody is there until a whole second has passed, and in the end nobody is.
fn check(lines: &[(u64, Value)]) {
    let mut moved = None;
    // The longest pause of a hand that is told to be there.
    let mut paused = Some(0);
    for (index, (at_ms, what)) in lines.iter().enumerate() {
        if what.get("hand").is_some() {
            let pause = at_ms - moved.unwrap_or(*at_ms);
            paused = paused.map(|longest| pause.max(longest));
            moved = Some(*at_ms);
        } else if what.get("active").is_some() {
            assert!(moved.is_some(), "somebody was there before anybody came");
            paused = Some(0);
        } else if what.get("idle_since_ms_ago").is_some() {
            // A move is noted before it is made: a busy machine ends a pause late, and only then it is told.
            let is_late = paused.take().is_some_and(|longest| longest >= 990) && comes(&lines[index + 1..]);
            let since = moved.map(|moved| at_ms - moved);
            assert!(since.is_none_or(|since| since >= 990) || is_late, "told idle {since:?} ms after a move");
        }
    }
    let last = lines.iter().rev().find(|(_, what)| what.get("sign").is_none()).unwrap();
    assert!(last.1.get("idle_since_ms_ago").is_some(), "the evening ends with {:?}", last.1);
    let comings = lines.iter().filter(|(_, what)| what.get("active").is_some()).count();
    assert!(comings >= 5, "{comings} comings for all the pauses of the evening");
}
