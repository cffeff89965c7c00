//! The desktop app on a real session: tray over D-Bus, window through WebDriver, notifications in a real daemon, the key
//! in a real keyring.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nightjar_core::host::HostState;
use nightjar_core::lease::LeaseState;
use nightjar_testbed::footprint::marked;
use nightjar_testbed::host::{Host, job_state, quick_settings, text};
use nightjar_testbed::place::program;
use nightjar_testbed::process::{output, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Room, Stage, Wish};
use nightjar_testbed::tray::{Tray, TrayItem};
use nightjar_testbed::webdriver::Window;

const SOON: Duration = Duration::from_secs(40);

/// Windows that the window manager shows under this app's name.
fn windows(room: &Room) -> Vec<String> {
    room.desktop.windows("Nightjar")
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, SOON, || Ok(is_so().then_some(()))).unwrap();
}

fn is_checked(item: &TrayItem<'_>, label: &str) -> bool {
    item.line(label).unwrap().is_checked == Some(true)
}

#[test]
fn the_tray_shows_the_sentence_and_its_toggle_works() {
    let room = Room::set().unwrap();
    let tray = Tray::watch(&room.desktop).unwrap();
    let mut app = Host::start_app(room.place().unwrap(), &["--hidden"]).unwrap();
    let item = tray.item(SOON).unwrap();
    wait_until("the status line is the sentence of the view", || {
        let view = app.around.view().unwrap();
        item.menu().unwrap().iter().any(|line| !line.is_enabled && line.label == view.tray.status)
    });
    assert!(windows(&room).is_empty(), "a window although --hidden was given");
    for label in ["Snooze for 1 hour", "Today: 0.00 CNY", "Open Nightjar", "Quit"] {
        item.line(label).unwrap();
    }
    assert!(!item.line("Stop this job").unwrap().is_enabled, "there is no job to stop");

    assert!(is_checked(&item, "Earn while idle"));
    item.click(&item.line("Earn while idle").unwrap()).unwrap();
    wait_until("earning is off", || !app.around.view().unwrap().earn_while_idle);
    wait_until("the toggle shows it", || !is_checked(&item, "Earn while idle"));
    wait_until("it is written down", || {
        std::fs::read_to_string(app.around.settings_path()).unwrap().contains("earn_while_idle = false")
    });
    item.click(&item.line("Earn while idle").unwrap()).unwrap();
    wait_until("earning is on", || app.around.view().unwrap().earn_while_idle);
    wait_until("the toggle shows it again", || is_checked(&item, "Earn while idle"));

    item.click(&item.line("Snooze for 1 hour").unwrap()).unwrap();
    wait_until("it snoozes", || app.around.view().unwrap().tray.snoozed);
    wait_until("the line ends it", || item.line("End snooze").is_ok());

    item.click(&item.line("Quit").unwrap()).unwrap();
    wait_until("it has ended", || !app.process.is_running());
}

#[test]
fn a_closed_window_leaves_nothing_of_a_browser_and_a_second_start_opens_the_first() {
    let room = Room::set().unwrap();
    let tray = Tray::watch(&room.desktop).unwrap();
    let mut app = Host::start_app(room.place().unwrap(), &[]).unwrap();
    wait_until("the window is open", || windows(&room).len() == 1);
    let mark = format!("NIGHTJAR_DATA_DIR={}", text(&app.around.folder.join("data")));
    let names = || -> Vec<String> {
        let ids = marked(&mark).into_iter();
        ids.filter_map(|id| std::fs::read_to_string(format!("/proc/{id}/comm")).ok()).collect()
    };
    let browsers = || names().iter().filter(|name| name.starts_with("WebKit")).count();
    wait_until("the page has a process", || browsers() > 0);
    room.desktop.close(&windows(&room)[0]).unwrap();
    wait_until("the window is gone", || windows(&room).is_empty());
    wait_until("only the app is left", || marked(&mark) == [app.process.id()]);
    let item = tray.item(SOON).unwrap();
    let line = item.line("Open Nightjar").unwrap();

    let mut second = Command::new(program("nightjar-desktop").unwrap());
    app.around.enter(&mut second);
    let ended = second.status().unwrap();
    assert!(ended.success(), "the second start ended with {ended}");
    wait_until("the first one's window is open again", || windows(&room).len() == 1);
    item.click(&line).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(windows(&room).len(), 1, "the tray opened a second window beside the first");

    item.click(&item.line("Quit").unwrap()).unwrap();
    wait_until("the app has ended", || !app.process.is_running());
    // The browser's own processes end by themselves once their window's does.
    wait_until("no process of the window is left", || names().is_empty());
}

#[test]
fn the_window_goes_when_its_app_is_killed() {
    let room = Room::set().unwrap();
    let mut app = Host::start_app(room.place().unwrap(), &[]).unwrap();
    wait_until("the window is open", || windows(&room).len() == 1);
    let mark = format!("NIGHTJAR_DATA_DIR={}", text(&app.around.folder.join("data")));
    app.process.kill();
    wait_until("nothing of it is left", || marked(&mark).is_empty());
}

#[test]
fn the_host_key_is_in_the_keyring() {
    let room = Room::set().unwrap();
    let app = Host::start_app(room.place().unwrap(), &["--hidden"]).unwrap();
    let shown = app.around.view().unwrap().identity.host_key;
    assert!(!app.around.folder.join("data").join("host-key").exists(), "the key lies in a file");
    let mut look = Command::new("secret-tool");
    room.desktop.enter(look.args(["search", "--all", "service", "nightjar"]));
    let found = output(&mut look).unwrap();
    assert!(found.contains("secret = "), "nothing in the keyring: {found}");
    drop(app);
    let app = Host::start_app(room.place().unwrap(), &["--hidden"]).unwrap();
    assert_eq!(app.around.view().unwrap().identity.host_key, shown, "the key changed between two starts");
}

fn driver() -> Option<PathBuf> {
    let driver = std::env::var_os("NIGHTJAR_TAURI_DRIVER").map(PathBuf::from).filter(|path| path.exists());
    if driver.is_none() {
        println!("SKIPPED: NIGHTJAR_TAURI_DRIVER names no tauri-driver; `cargo xtask test` installs one");
    }
    driver
}

/// Through the first run, as its owner skips it.
fn skip_introduction(window: &Window) {
    wait_until("the first run is shown", || window.text("first-run").is_ok());
    window.click("first-skip").unwrap();
    wait_until("the first page is shown", || window.text("sentence").is_ok());
}

#[test]
fn every_page_is_drawn_in_both_languages_and_themes() {
    let Some(driver) = driver() else { return };
    let room = Room::set().unwrap();
    let around = room.place().unwrap();
    let app = program("nightjar-desktop").unwrap();
    let window =
        Window::open(room.folder(), &room.desktop, &driver, &app, |command| around.enter(command)).unwrap();
    skip_introduction(&window);
    // Where pictures are wanted, they go there.
    let pictures = std::env::var_os("NIGHTJAR_SCREENSHOTS").map(PathBuf::from);
    for (language, earnings) in [("en", "Earnings"), ("zh-CN", "收益")] {
        for theme in ["dark", "light"] {
            // A click lands only on the screen, which is lower than a picture.
            window.resize(720, 480).unwrap();
            window.click("nav-help").unwrap();
            window.click(&format!("set-language-{language}")).unwrap();
            wait_until("the other language", || {
                window.text("nav-earnings").is_ok_and(|text| text.trim() == earnings)
            });
            wait_until("it can be changed again", || window.click(&format!("set-theme-{theme}")).is_ok());
            wait_until("the theme", || {
                let shown = window.run("return document.documentElement.dataset.theme").unwrap();
                shown == theme
            });
            for page in ["now", "earnings", "card", "when", "network", "work", "market", "help"] {
                window.resize(720, 480).unwrap();
                window.click(&format!("nav-{page}")).unwrap();
                std::thread::sleep(Duration::from_millis(700));
                let wide = window
                    .run("const m = document.querySelector('main'); return m.scrollWidth - m.clientWidth")
                    .unwrap();
                assert!(wide.as_i64().unwrap() <= 1, "{page} is {wide} px too wide at 720 px");
                let alerts = window.run("return document.querySelectorAll('[role=alert]').length").unwrap();
                assert_eq!(alerts, 0, "{page} complains");
                if let Some(pictures) = &pictures {
                    window.resize(960, 1400).unwrap();
                    std::thread::sleep(Duration::from_millis(500));
                    window.screenshot(&pictures.join(format!("{page}-{language}-{theme}.png"))).unwrap();
                }
            }
        }
    }
    let settings = std::fs::read_to_string(around.settings_path()).unwrap();
    assert!(
        settings.contains("language = \"zh-CN\"") && settings.contains("theme = \"light\""),
        "{settings}"
    );
}

#[test]
fn the_window_draws_the_view_and_its_switch_works() {
    let Some(driver) = driver() else { return };
    let room = Room::set().unwrap();
    let around = room.place().unwrap();
    let app = program("nightjar-desktop").unwrap();
    let window =
        Window::open(room.folder(), &room.desktop, &driver, &app, |command| around.enter(command)).unwrap();
    skip_introduction(&window);
    wait_until("the sentence is drawn", || {
        let (Ok(view), Ok(drawn)) = (around.view(), window.text("sentence")) else { return false };
        drawn.trim() == view.sentence
    });
    assert!(window.text("gpu-name").unwrap().contains("(simulated)"));
    window.click("earn-switch").unwrap();
    wait_until("earning is off", || !around.view().unwrap().earn_while_idle);
    wait_until("the window says so", || window.text("sentence").unwrap().contains("turned off"));
    window.click("nav-card").unwrap();
    wait_until("the card's page is drawn", || window.text("past").is_ok());
    let requests = window.run("return performance.getEntriesByType('resource').map(e => e.name)").unwrap();
    for request in requests.as_array().unwrap() {
        let address = request.as_str().unwrap();
        assert!(
            address.starts_with("tauri://") || address.starts_with("ipc://"),
            "the page asked for {address}"
        );
    }
}

#[test]
fn the_owner_is_notified_of_a_job() {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let (host, _) = stage.host("host", &quick_settings()).unwrap();
    let host = host.into_app().unwrap();
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok())).unwrap();
    let lease = renter.rent("pytorch-cuda:lite").unwrap();
    watch.until("the job runs", SOON, |view| job_state(view) == Some(LeaseState::Running)).unwrap();
    stage.desktop.mouse().unwrap().twitch().unwrap();
    watch.until("the job is frozen", SOON, |view| job_state(view) == Some(LeaseState::Yielded)).unwrap();
    watch.until("the job goes on", SOON, |view| job_state(view) == Some(LeaseState::Running)).unwrap();
    renter.run(&["stop", &lease, "--wait"]).unwrap();
    for title in ["A job has arrived", "Your card is yours", "Earning again", "Job ended"] {
        wait_until(title, || stage.desktop.notifications().contains(title));
    }
}
