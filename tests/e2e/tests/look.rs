//! What every page looks like: in both languages and themes, of a recorded host, in a real Chromium. The pictures lie in
//! `.artefacts/look` afterwards; their coarse looks are compared with those in `tests/e2e/look`. After a change that was
//! meant, `NIGHTJAR_UPDATE_LOOK=1` writes those anew, with the pictures of the guide.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nightjar_testbed::look::{self, Look};
use nightjar_testbed::place::checkout;
use nightjar_testbed::process::{Process, output, wait_for};
use nightjar_testbed::webdriver::{Window, free_port, has_chromium};

const PAGES: [&str; 8] = ["now", "earnings", "card", "when", "network", "work", "market", "help"];
/// Of the guide, in both languages.
const PRINTED: [&str; 5] = ["now", "earnings", "when", "network", "first-0"];
const WIDE: (u32, u32) = (960, 1_280);

/// A server of the page with recorded answers.
fn recorded(folder: &Path) -> (Process, String) {
    let ui = checkout().join("ui");
    let built = folder.join("recorded");
    let vite = ui.join("node_modules/.bin/vite");
    let mut build = Command::new(&vite);
    build.args(["build", "--mode", "recorded", "--logLevel", "warn", "--emptyOutDir", "--outDir"]);
    output(build.arg(&built).current_dir(&ui)).unwrap();
    let port = free_port().unwrap();
    let mut serve = Command::new(&vite);
    serve.args(["preview", "--host", "127.0.0.1", "--strictPort", "--port", &port.to_string(), "--outDir"]);
    let served = Process::start(folder, "vite", serve.arg(&built).current_dir(&ui)).unwrap();
    wait_for("the page's server", Duration::from_secs(20), || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).ok())
    })
    .unwrap();
    (served, format!("http://127.0.0.1:{port}/"))
}

#[test]
fn every_page_looks_as_it_did_and_axe_finds_nothing() {
    if !has_chromium() {
        return;
    }
    let folder = tempfile::Builder::new().prefix("nightjar-").tempdir().unwrap();
    let (_server, base) = recorded(folder.path());
    let window = Window::browse(folder.path(), "about:blank").unwrap();
    let axe = std::fs::read_to_string(checkout().join("ui/node_modules/axe-core/axe.min.js")).unwrap();
    let pictures = checkout().join(".artefacts/look");
    std::fs::create_dir_all(&pictures).unwrap();
    let kept = checkout().join("tests/e2e/look");
    let updates = std::env::var_os("NIGHTJAR_UPDATE_LOOK").is_some();
    let screens = PAGES.iter().map(|page| ((*page).to_owned(), format!("page={page}")));
    let first = (0..3).map(|screen| (format!("first-{screen}"), format!("first={screen}")));
    let screens: Vec<(String, String)> = screens.chain(first).collect();
    let mut wrong = Vec::new();
    for (language, theme) in [("en", "dark"), ("en", "light"), ("zh-CN", "dark"), ("zh-CN", "light")] {
        for (screen, wanted) in &screens {
            let name = format!("{screen}-{language}-{theme}.png");
            window.viewport(WIDE.0, WIDE.1).unwrap();
            window.go(&format!("{base}?lang={language}&theme={theme}&{wanted}")).unwrap();
            wait_for("the page", Duration::from_secs(20), || {
                Ok(window.text("frame").or_else(|_| window.text("first-run")).ok())
            })
            .unwrap();
            is_drawn(&window);
            let picture = pictures.join(&name);
            window.screenshot(&picture).unwrap();
            wrong.extend(window.violations(&axe).unwrap().iter().map(|found| format!("{name}: {found}")));
            if theme == "dark" {
                wrong.extend(too_wide(&window).map(|found| format!("{name}: {found}")));
                window.viewport(WIDE.0, WIDE.1).unwrap();
            }
            let reference = kept.join(&name);
            if updates {
                std::fs::create_dir_all(&kept).unwrap();
                look::keep(&picture, &reference).unwrap();
                if theme == "dark" && PRINTED.contains(&screen.as_str()) {
                    print(&window, language, screen);
                }
                continue;
            }
            let apart = Look::of(&picture).unwrap().difference(&Look::of(&reference).unwrap());
            if !apart.is_small() {
                wrong.push(format!("{name} looks otherwise: {apart:?}; see {}", picture.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Charts come with a library of their own, fonts with the first text.
fn is_drawn(window: &Window) {
    /// A chart that is too narrow to be one stays empty.
    const DRAWN: &str = "const charts = [...document.querySelectorAll('.chart')].filter(chart => chart.clientWidth >= 40);
        return document.fonts.status === 'loaded' && charts.every(chart => chart.querySelector('.uplot') !== null);";
    const TWO_FRAMES: &str = "const done = arguments[0];
        requestAnimationFrame(() => requestAnimationFrame(() => done(true)));";
    // What moves into its place has moved by then.
    std::thread::sleep(Duration::from_millis(600));
    wait_for("charts and fonts", Duration::from_secs(20), || Ok((window.run(DRAWN)? == true).then_some(())))
        .unwrap();
    window.run_later(TWO_FRAMES).unwrap();
}

/// At 200 % a window has half of its pixels for the page: of its usual size, and of its smallest.
fn too_wide(window: &Window) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    for (width, height) in [(450, 330), (360, 240)] {
        window.viewport(width, height).unwrap();
        let over = window.run(
            "return [...document.querySelectorAll('html, main, nav')].map(e => e.scrollWidth - e.clientWidth)",
        );
        let over: Vec<i64> = serde_json::from_value(over.unwrap()).unwrap();
        if over.iter().any(|over| *over > 1) {
            found.push(format!("is too wide at {width} px, by {over:?}"));
        }
    }
    found.into_iter()
}

/// A picture of the guide: as much as a window of the usual size shows.
fn print(window: &Window, language: &str, screen: &str) {
    let folder = checkout().join("docs/pictures");
    std::fs::create_dir_all(&folder).unwrap();
    window.viewport(900, 660).unwrap();
    is_drawn(window);
    let whole = folder.join(format!("{screen}-{language}-whole.png"));
    window.screenshot(&whole).unwrap();
    look::print(&whole, &folder.join(format!("{screen}-{language}.png"))).unwrap();
    std::fs::remove_file(whole).unwrap();
}
