//! The sensor on a real X server: Xvfb with a window manager, xdotool and XTEST in the place of a hand.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test stands on must be there")]

mod desktop;
#[path = "desktop/program.rs"]
mod program;

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use desktop::{Desktop, own_display};
use nightjar_presence::{Options, PresenceEvent, Unavailable, Watch, watch_with};
use x11rb::protocol::xproto::{Blanking, ConnectionExt as _, Exposures, ScreenSaver};

/// Generous: the machine may be busy building.
const COMES_WITHIN: Duration = Duration::from_secs(20);
const ONE_SECOND: Duration = Duration::from_secs(1);

struct Seen {
    watch: Watch,
    events: Receiver<(PresenceEvent, Instant)>,
}

fn options(display: &str, settled_after: Duration) -> Options {
    Options { display: Some(display.to_owned()), ..nowhere(settled_after) }
}

fn nowhere(settled_after: Duration) -> Options {
    Options { display: None, wayland: None, session_bus: None, system_bus: None, settled_after }
}

impl Seen {
    fn on(desktop: &Desktop, settled_after: Duration) -> Self {
        let (sender, events) = channel();
        let watch = watch_with(options(&desktop.display, settled_after), move |event| {
            let _ = sender.send((event, Instant::now()));
        });
        Self { watch: watch.unwrap(), events }
    }

    fn next(&self) -> (PresenceEvent, Instant) {
        self.events.recv_timeout(COMES_WITHIN).expect("no event came")
    }

    /// Skips over what came before.
    fn until_idle(&self) -> Duration {
        loop {
            if let (PresenceEvent::Idle { last_input_ago }, _) = self.next() {
                return last_input_ago;
            }
        }
    }

    fn until_active(&self) -> Instant {
        loop {
            if let (PresenceEvent::Active, at) = self.next() {
                return at;
            }
        }
    }

    /// The drop waits for the sensor's thread, which owned the callback, which owned the sender.
    fn ends(self) {
        drop(self.watch);
        while self.events.try_recv().is_ok() {}
        assert_eq!(self.events.try_recv(), Err(TryRecvError::Disconnected), "it was waited for in vain");
    }

    fn wakeups(&self) -> u64 {
        self.watch.diagnosis().wakeups
    }
}

#[test]
fn mouse_and_keys_are_seen_and_so_is_the_pause_after_them() {
    let desktop = Desktop::start();
    let seen = Seen::on(&desktop, Duration::from_millis(300));
    let hands: [&[&str]; 3] = [&["mousemove", "10", "10"], &["key", "a"], &["click", "1"]];
    let mut before = Instant::now();
    for hand in hands {
        let ago = seen.until_idle();
        assert!(ago >= Duration::from_millis(300), "{ago:?}");
        assert!(seen.events.try_recv().is_err(), "nothing happens while nothing happens");
        before = Instant::now();
        desktop.xdotool(hand);
        assert_eq!(seen.next().0, PresenceEvent::Active, "{hand:?}");
    }
    // The pause that is told began at the last input.
    let ago = seen.until_idle();
    let passed = before.elapsed();
    // Some milliseconds are the clocks' own.
    assert!(ago < passed + Duration::from_millis(10), "{ago:?} of {passed:?}");
}

#[test]
fn the_first_event_is_the_present_state() {
    let desktop = Desktop::start();
    let first = Seen::on(&desktop, Duration::from_millis(200));
    first.until_idle();
    std::thread::sleep(Duration::from_millis(500));
    let late = Seen::on(&desktop, Duration::from_millis(200));
    let (PresenceEvent::Idle { last_input_ago }, _) = late.next() else { panic!("not idle") };
    assert!(last_input_ago >= Duration::from_millis(700), "{last_input_ago:?}");

    desktop.hand().move_to(30, 30);
    let fresh = Seen::on(&desktop, Duration::from_secs(30));
    assert_eq!(fresh.next().0, PresenceEvent::Active);
}

#[test]
fn from_input_to_event() {
    let desktop = Desktop::start();
    let seen = Seen::on(&desktop, Duration::from_millis(100));
    let hand = desktop.hand();
    let samples = |act: &dyn Fn(i16)| -> Vec<Duration> {
        (0..50)
            .map(|n| {
                seen.until_idle();
                let start = Instant::now();
                act(n);
                seen.until_active() - start
            })
            .collect()
    };
    report("XTEST motion", samples(&|n| hand.move_to(10 + n, 20)));
    report(
        "xdotool mousemove, with its start",
        samples(&|n| {
            desktop.xdotool(&["mousemove", &(10 + n).to_string(), "40"]);
        }),
    );
    report("xdotool key, with its start", samples(&|_| desktop.xdotool(&["key", "a"])));
    // Nothing was asked of the clock: what has been measured is printed, and only that all were seen is tested.
}

fn report(what: &str, mut samples: Vec<Duration>) {
    samples.sort();
    let (p50, p99) = (samples[samples.len() / 2], samples[(samples.len() * 99).div_ceil(100) - 1]);
    println!("{what} -> event, {} samples: p50 {p50:.1?}, p99 {p99:.1?}", samples.len());
}

#[test]
fn ten_seconds_without_input_wake_nobody() {
    let desktop = Desktop::start();
    let seen = Seen::on(&desktop, ONE_SECOND);
    seen.until_idle();
    std::thread::sleep(ONE_SECOND);
    let before = seen.wakeups();
    std::thread::sleep(10 * ONE_SECOND);
    assert_eq!(seen.wakeups() - before, 0);
}

#[test]
fn going_on_costs_next_to_nothing() {
    let desktop = Desktop::start();
    let seen = Seen::on(&desktop, ONE_SECOND);
    seen.until_idle();
    let (before, hand) = (seen.wakeups(), desktop.hand());
    for n in 0..300 {
        hand.move_to(n, n);
        std::thread::sleep(Duration::from_millis(10));
    }
    seen.until_active();
    let woken = seen.wakeups() - before;
    println!("300 movements in 3 s: {woken} wake-ups");
    // One for the first movement, a few for those that were on their way; a busy machine may make pauses of its own.
    assert!(woken <= 12, "{woken}");
}

#[test]
fn a_server_that_goes_and_comes_back_is_told_and_watched_again() {
    let display = own_display();
    let desktop = Desktop::start_on(&display);
    let seen = Seen::on(&desktop, Duration::from_millis(200));
    seen.until_idle();
    drop(desktop);
    let PresenceEvent::Lost { detail } = seen.next().0 else { panic!("not lost") };
    assert!(detail.contains(&display), "{detail}");

    let desktop = Desktop::start_on(&display);
    seen.until_idle();
    desktop.xdotool(&["mousemove", "50", "60"]);
    seen.until_active();
    assert_eq!(seen.watch.diagnosis().reconnections, 1);
    assert_eq!(seen.watch.diagnosis().source, format!("X11 {display}"));
}

#[test]
fn dropped_it_ends_with_or_without_a_server() {
    let desktop = Desktop::start();
    let seen = Seen::on(&desktop, Duration::from_millis(200));
    seen.until_idle();
    seen.ends();

    let seen = Seen::on(&desktop, Duration::from_millis(200));
    drop(desktop);
    while !matches!(seen.next().0, PresenceEvent::Lost { .. }) {}
    seen.ends();
}

#[test]
fn peers_12_idle_is_a_pause_of_input_whatever_the_screen_does() {
    let desktop = Desktop::start();
    let seen = Seen::on(&desktop, 2 * ONE_SECOND);
    let (screen, _) = x11rb::connect(Some(&desktop.display)).unwrap();
    // A screen that is never turned off: the pause is heard of all the same.
    screen.set_screen_saver(0, 0, Blanking::DEFAULT, Exposures::DEFAULT).unwrap().check().unwrap();
    seen.until_idle();
    // From before the hand moved: that the pause was heard of late must not make it look short.
    let moving = Instant::now();
    desktop.hand().move_to(30, 40);
    seen.until_active();
    // A screen that is turned off at once: the pause is no shorter for it.
    screen.force_screen_saver(ScreenSaver::ACTIVE).unwrap().check().unwrap();
    let (PresenceEvent::Idle { last_input_ago }, at) = seen.next() else { panic!("not idle") };
    assert!(last_input_ago >= 2 * ONE_SECOND, "{last_input_ago:?}");
    // Some milliseconds are the clocks' own.
    assert!(at - moving > Duration::from_millis(1990), "{:?}", at - moving);
}

#[test]
fn what_cannot_be_watched_says_why() {
    let refused = |display: &str| watch_with(options(display, ONE_SECOND), |_| {}).map(drop).unwrap_err();
    let foreign = refused("localhost:10.0");
    assert!(matches!(&foreign, Unavailable::ForeignDisplay { display } if display == "localhost:10.0"));
    let unreachable = refused(":54321");
    assert!(matches!(unreachable, Unavailable::Unreachable { .. }), "{unreachable}");
    assert!(unreachable.to_string().contains(":54321"));
    let none = watch_with(nowhere(ONE_SECOND), |_| {}).map(drop).unwrap_err();
    assert_eq!(none, Unavailable::NoDisplay);
}
