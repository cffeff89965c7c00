//! `nightjar host --ui` in a real Chromium, against a real host.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nightjar_core::settings::EgressMode;
use nightjar_protocol::control::ControlRequest;
use nightjar_testbed::host::Surroundings;
use nightjar_testbed::place::{checkout, program};
use nightjar_testbed::process::{Process, wait_for};
use nightjar_testbed::stage::Room;
use nightjar_testbed::webdriver::{Window, has_chromium};

const SOON: Duration = Duration::from_secs(40);
const PAGES: [&str; 8] = ["now", "earnings", "card", "when", "network", "work", "market", "help"];
const TAB: &str = "\u{e004}";
const ALT: &str = "\u{e00a}";
const ENTER: &str = "\u{e006}";

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, SOON, || Ok(is_so().then_some(()))).unwrap();
}

/// A headless host and the link to its window.
fn host(around: &Surroundings) -> (Process, String) {
    std::fs::create_dir_all(&around.folder).unwrap();
    let mut command = Command::new(program("nightjar").unwrap());
    around.enter(command.args(["--json", "host", "--ui"]));
    let (process, mut said) = Process::start_piped(&around.folder, "host", &mut command).unwrap();
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let ready: serde_json::Value =
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    (process, ready["ui"].as_str().unwrap().to_owned())
}

fn skip_introduction(window: &Window) {
    wait_until("the first run is shown", || window.text("first-run").is_ok());
    window.click("first-skip").unwrap();
    wait_until("the first page is shown", || window.text("sentence").is_ok());
}

#[test]
fn the_window_of_a_headless_host_opens_in_a_browser_once_and_changes_what_it_shows() {
    if !has_chromium() {
        return;
    }
    let room = Room::set().unwrap();
    let around = room.place().unwrap();
    let (mut host, link) = host(&around);
    let window = Window::browse(room.folder(), &link).unwrap();
    skip_introduction(&window);
    let axe = std::fs::read_to_string(checkout().join("ui/node_modules/axe-core/axe.min.js")).unwrap();
    window.resize(720, 480).unwrap();
    for page in PAGES {
        window.click(&format!("nav-{page}")).unwrap();
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(window.complaints().unwrap(), Vec::<String>::new(), "{page} complains");
        let wide =
            window.run("const m = document.querySelector('main'); return m.scrollWidth - m.clientWidth");
        assert!(wide.unwrap().as_i64().unwrap() <= 1, "{page} is too wide at 720 px");
        let found = window.violations(&axe).unwrap();
        assert_eq!(found, Vec::<String>::new(), "axe on {page}");
    }
    // What is changed here is what the command line shows.
    window.click("nav-network").unwrap();
    window.click("set-egress-off").unwrap();
    wait_until("the host has it", || {
        let settings = around.view().ok().and_then(|view| view.settings);
        settings.is_some_and(|settings| settings.egress == EgressMode::Off)
    });
    window.click("nav-now").unwrap();
    window.click("earn-switch").unwrap();
    wait_until("earning is off", || around.view().is_ok_and(|view| !view.earn_while_idle));
    wait_until("the page says so", || window.text("sentence").is_ok_and(|text| text.contains("turned off")));

    keyboard_alone(&window, &around);
    // A reload goes on, the used link does not.
    window.go(link.split('#').next().unwrap()).unwrap();
    wait_until("the tab goes on", || window.text("sentence").is_ok());
    let second = Window::browse(room.folder(), &link).unwrap();
    wait_until("the link is told to be used", || {
        second.text("failure").is_ok_and(|text| text.contains("used before"))
    });
    let left = second.run("return location.href").unwrap();
    assert!(!left.as_str().unwrap().contains('#'), "the word is still in the address: {left}");
    // The host's end is told, not shown as a frozen page.
    host.terminate(SOON).unwrap();
    wait_until("the page says that it lost the host", || {
        window.text("alert").is_ok_and(|text| text.contains("lost its connection"))
    });
}

#[test]
fn after_an_update_a_headless_host_begins_anew_once_no_page_is_open() {
    let room = Room::set().unwrap();
    let around = room.place().unwrap();
    // On the file system of the programs; it goes with the room.
    let folder = room.folder().join("installed");
    for folder in [&folder, &around.folder] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let installed = folder.join("nightjar");
    std::fs::copy(program("nightjar").unwrap(), &installed).unwrap();
    let mut command = Command::new(&installed);
    around.enter(command.args(["--json", "host"]).env("NIGHTJAR_LOG", "info"));
    let (mut host, mut said) = Process::start_piped(&around.folder, "host", &mut command).unwrap();
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let file = |path: &Path| std::fs::metadata(path).map(|found| found.ino()).ok();
    let runs = format!("/proc/{}/exe", host.id());
    let old = file(Path::new(&runs)).unwrap();

    // As the page does it, which reads what comes.
    let mut page = UnixStream::connect(ready["control"].as_str().unwrap()).unwrap();
    writeln!(page, "{}", serde_json::to_string(&ControlRequest::WatchClosely).unwrap()).unwrap();
    let mut views = BufReader::new(page.try_clone().unwrap());
    line.clear();
    assert!(views.read_line(&mut line).unwrap() > 0, "no view came");
    let reading = std::thread::spawn(move || std::io::copy(&mut views, &mut std::io::sink()));
    std::fs::copy(&installed, folder.join("new")).unwrap();
    std::fs::rename(folder.join("new"), &installed).unwrap();
    let new = file(&installed).unwrap();
    assert_ne!(new, old, "the file was not replaced");
    wait_until("the update is noticed", || host.log().contains("a newer version lies at"));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(file(Path::new(&runs)), Some(old), "it began anew under its owner's eyes");
    assert!(!around.view().unwrap().restart_due, "a page is open");

    page.shutdown(Shutdown::Both).unwrap();
    let _ = reading.join().unwrap();
    wait_until("the same process runs the new file", || file(Path::new(&runs)) == Some(new));
    wait_until("its host is there again", || around.view().is_ok());
    host.terminate(SOON).unwrap();
}

/// From the page's top to a changed setting without a mouse.
fn keyboard_alone(window: &Window, around: &Surroundings) {
    window.run("document.activeElement?.blur(); document.querySelector('main').scrollTo(0, 0)").unwrap();
    window.press(&format!("{ALT}5")).unwrap();
    wait_until("Alt+5 opens the network page", || window.text("line").is_ok());
    let focused = "return document.activeElement?.dataset.testid ?? ''";
    let mut visited = Vec::new();
    for _ in 0..60 {
        window.press(TAB).unwrap();
        let at = window.run(focused).unwrap().as_str().unwrap().to_owned();
        let ring = window.run("return getComputedStyle(document.activeElement).outlineStyle").unwrap();
        assert_ne!(ring, "none", "{at} shows no focus");
        visited.push(at.clone());
        if at == "set-automatic" {
            window.press(ENTER).unwrap();
            wait_until("the automatic is on", || {
                let settings = around.view().ok().and_then(|view| view.settings);
                settings.is_some_and(|settings| settings.network.automatic)
            });
            return;
        }
    }
    panic!("set-automatic was not reached by Tab; visited: {visited:?}");
}
