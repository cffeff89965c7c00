//! Notifications of the app in a real daemon: their buttons, what holds them back, and the week's summary.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nightjar_core::gpu::GpuUuid;
use nightjar_core::lease::{EndReason, Epoch, LeaseId, LeaseState, LeaseTerms};
use nightjar_core::money::{Currency, Money};
use nightjar_core::notify::{SHORTEST_GAP_MS, TROUBLE_LASTS_MS};
use nightjar_core::signal::{SignalKind, Standing};
use nightjar_core::time::Timestamp;
use nightjar_protocol::view::ViewModel;
use nightjar_testbed::desktop::Mouse;
use nightjar_testbed::host::{Host, Surroundings};
use nightjar_testbed::process::{output, wait_for};
use nightjar_testbed::stage::Room;
use nightjar_testbed::tray::Tray;

const SOON: Duration = Duration::from_secs(60);
/// Trouble is told when it has lasted for a while; two beats of the journal.
const IN_TIME: Duration = Duration::from_millis(TROUBLE_LASTS_MS + 2 * SHORTEST_GAP_MS);
const TROUBLE: &str = "Nightjar needs you";
const WEEK: &str = "Your week";

fn shown(room: &Room, title: &str) -> usize {
    room.desktop.notified(title)
}

fn notified(room: &Room, title: &str) {
    wait_for(title, IN_TIME, || Ok((shown(room, title) > 0).then_some(()))).unwrap();
}

/// For a look that is repeated: one that is not answered in time is not the last.
fn is_seen(app: &Host, is_so: impl FnOnce(&ViewModel) -> bool) -> bool {
    app.around.view().is_ok_and(|view| is_so(&view))
}

fn is_troubled(view: &ViewModel) -> bool {
    view.reason.as_ref().is_some_and(|reason| reason.is_trouble())
}

/// The app in its tray, without a Docker: that is trouble which lasts.
fn troubled(around: Surroundings) -> Host {
    let app = Host::start_app(around, &["--hidden"]).unwrap();
    wait_for("the trouble", SOON, || Ok(is_seen(&app, is_troubled).then_some(()))).unwrap();
    app
}

fn is_film_seen(view: &ViewModel) -> bool {
    let mut full = view.sensors.iter().filter(|line| line.sign.kind == SignalKind::FullScreen);
    full.any(|line| matches!(line.sign.standing, Standing::Seen { .. }))
}

/// By the second beat of the journal the week's sum is made, if it is. Somebody is there all the time.
fn two_beats(app: &Host, mouse: &mut Mouse) {
    let started = view(app).at;
    wait_for("two beats of the journal", IN_TIME, || {
        mouse.twitch()?;
        Ok(is_seen(app, |view| view.at.since_ms(started) > SHORTEST_GAP_MS + 5_000).then_some(()))
    })
    .unwrap();
}

fn view(app: &Host) -> ViewModel {
    app.around.view().unwrap()
}

#[test]
fn what_do_not_disturb_held_back_is_told_afterwards_and_its_button_snoozes() {
    let room = Room::set().unwrap();
    room.desktop.do_not_disturb(true).unwrap();
    let app = troubled(room.place().unwrap());
    // The desktop has it and shows nothing.
    let held = || Ok((room.desktop.notifications_now()? == (0, 1)).then_some(()));
    wait_for("the notification waits", IN_TIME, held).unwrap();
    assert!(!view(&app).tray.snoozed);
    room.desktop.do_not_disturb(false).unwrap();
    wait_for("it is shown", SOON, || Ok((room.desktop.notifications_now()?.0 == 1).then_some(()))).unwrap();
    assert_eq!(shown(&room, TROUBLE), 1, "{}", room.desktop.notifications());

    room.desktop.press("Snooze for 1 hour").unwrap();
    wait_for("the snooze", SOON, || Ok(is_seen(&app, |view| view.tray.snoozed).then_some(()))).unwrap();
    let snoozed = view(&app);
    let minutes = snoozed.overrides.snoozed_until.unwrap().since_ms(snoozed.at) / 60_000;
    assert!((50..=60).contains(&minutes), "snoozed for {minutes} minutes");
}

#[test]
fn nothing_is_shown_over_a_film_and_the_trouble_is_told_once_after_it() {
    let room = Room::set().unwrap();
    // With a panel that shows the icon, no window stands in for it.
    let _panel = Tray::watch(&room.desktop).unwrap();
    let film = room.desktop.full_screen("A film").unwrap();
    let app = Host::start_app(room.place().unwrap(), &["--hidden"]).unwrap();
    wait_for("the film and the trouble", SOON, || {
        Ok(is_seen(&app, |view| is_film_seen(view) && is_troubled(view)).then_some(()))
    })
    .unwrap();
    // Longer than it takes to be told, and nobody is told.
    let over = Instant::now() + Duration::from_millis(TROUBLE_LASTS_MS + 5_000);
    while Instant::now() < over {
        assert_eq!(shown(&room, TROUBLE), 0, "{}", room.desktop.notifications());
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(is_film_seen(&view(&app)), "the film was no longer seen, so nothing was shown to be held back");
    drop(film);
    notified(&room, TROUBLE);

    assert_eq!(room.desktop.windows("Nightjar"), Vec::<String>::new());
    room.desktop.press("Open Nightjar").unwrap();
    wait_for("the window", SOON, || Ok(room.desktop.windows("Nightjar").into_iter().next())).unwrap();
    assert_eq!(shown(&room, TROUBLE), 1, "it was told once: {}", room.desktop.notifications());
}

/// Puts into a host's journal, which nobody has open, that it last ran nine days ago, and a lease of that day's.
fn age(data: &Path, now: Timestamp) {
    let then = Timestamp(now.0 - 9 * 86_400_000);
    let terms = LeaseTerms {
        lease: LeaseId("0b5e8f1c-0000-4000-8000-000000000001".into()),
        epoch: Epoch(1),
        gpu: GpuUuid("GPU-0".into()),
        image: "pytorch-cuda:lite".into(),
        renter: "quiet-heron".into(),
        renter_key: "ab".repeat(32),
        ssh_public_key: "ssh-ed25519 AAAA".into(),
        root_inside: false,
        no_sandbox: false,
        serve_model: None,
        volume: Default::default(),
        volume_key: None,
        price_per_hour: Money::new(2_000_000, Currency::CNY),
        fee_basis_points: 500,
        offered_at: then,
        nonce: Default::default(),
    };
    let state = LeaseState::Ended { reason: EndReason::RenterStopped };
    let json = |value: serde_json::Value| value.to_string().replace('\'', "''");
    let (terms, state) = (serde_json::to_value(&terms).unwrap(), serde_json::to_value(&state).unwrap());
    let lease = "'0b5e8f1c-0000-4000-8000-000000000001', 1";
    let last = last_week(now);
    let text = format!(
        "UPDATE runs SET started_at = {then}, seen_at = {then}, ended_at = {then};
         INSERT INTO leases (lease, epoch, terms, state, is_over, updated_at) VALUES ({lease}, '{}', '{}', 1, {last});
         INSERT INTO usage (lease, epoch, sequence, from_ms, to_ms, running_ms_total, millijoules, host_micros, currency, is_acknowledged)
         VALUES ({lease}, 1, {last}, {last} + 3600000, 3600000, 0, 1900000, 'CNY', 1);",
        json(terms),
        json(state),
        then = then.0,
    );
    output(Command::new("sqlite3").arg(data.join("journal.sqlite")).arg(text)).unwrap();
}

/// Noon of last week's Wednesday, whatever the time zone.
fn last_week(now: Timestamp) -> i64 {
    // The first of January 1970 was a Thursday.
    let days = now.0.div_euclid(86_400_000);
    let monday = days - (days + 3).rem_euclid(7);
    (monday - 5) * 86_400_000 + 43_200_000
}

#[test]
fn the_week_that_is_over_is_summed_up_once_when_its_owner_sees_it() {
    let room = Room::set().unwrap();
    let _panel = Tray::watch(&room.desktop).unwrap();
    let around = room.place().unwrap();
    let mut first = Host::start_app(around, &["--hidden"]).unwrap();
    let now = view(&first).at;
    first.process.terminate(SOON).unwrap();
    let around = room.place().unwrap();
    age(&around.folder.join("data"), now);
    // It is made while a film is on.
    let film = room.desktop.full_screen("A film").unwrap();
    let mut mouse = room.desktop.mouse().unwrap();
    let app = Host::start_app(around, &["--hidden"]).unwrap();
    wait_for("the film", SOON, || Ok(is_seen(&app, is_film_seen).then_some(()))).unwrap();
    two_beats(&app, &mut mouse);
    assert!(is_film_seen(&view(&app)));
    assert_eq!(shown(&room, WEEK), 0, "{}", room.desktop.notifications());
    // And the next run has it still.
    drop(app);
    let app = Host::start_app(room.place().unwrap(), &["--hidden"]).unwrap();
    wait_for("the film", SOON, || Ok(is_seen(&app, is_film_seen).then_some(()))).unwrap();
    two_beats(&app, &mut mouse);
    assert_eq!(shown(&room, WEEK), 0, "{}", room.desktop.notifications());
    drop(film);
    mouse.twitch().unwrap();
    notified(&room, WEEK);
    let told = room.desktop.notifications();
    assert!(told.contains("CN¥1.90 is left of last week, from 1 h of work in one job"), "{told}");
    // Not again after the next start.
    drop(app);
    let app = Host::start_app(room.place().unwrap(), &["--hidden"]).unwrap();
    two_beats(&app, &mut mouse);
    assert_eq!(shown(&room, WEEK), 1, "{}", room.desktop.notifications());
}
