//! `bench ui`: how long the owner waits for the window after a click in the tray, how large its script is, and what its
//! pages cost once they are there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nightjar_core::notify::NoticeRules;
use nightjar_core::settings::Settings;
use nightjar_testbed::figures::{Figures, percentile_ms};
use nightjar_testbed::footprint::cards_opened_by_the_window;
use nightjar_testbed::host::{Host, quick_settings};
use nightjar_testbed::place::checkout;
use nightjar_testbed::process::{Process, wait_for};
use nightjar_testbed::screen::Screen;
use nightjar_testbed::stage::Room;
use nightjar_testbed::tray::Tray;

use crate::common::SOON;
use crate::page;

/// Edges on a screen without a window: next to none.
const EMPTY_EDGES: usize = 50;
/// A page with its navigation has more; what says "loading" a tenth of it.
const PAGE_EDGES: usize = 1_500;
/// Of the edges of the page at rest, that make it drawn: its figures may change meanwhile.
const DRAWN_SHARE: f64 = 0.9;
/// A page that nothing was added to for so long is at rest.
const REST: Duration = Duration::from_secs(1);
/// From the menu's opening to a click in it: as fast as a hand that knows the way.
const IN_THE_MENU: Duration = Duration::from_millis(400);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Part of Debian's WebKit library.
const MINI_BROWSER: &str = "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser";
const KIB: f64 = 1_024.0;

pub(crate) fn run(figures: &mut Figures, quick: bool) -> anyhow::Result<()> {
    let times = if quick { 5 } else { 20 };
    let bare = bare_windows(times)?;
    let mut opened = 0;
    for (way, name) in [(Way::Menu, "tray_click"), (Way::Icon, "tray_icon_click")] {
        let (clicks, cards) = clicks(way, times)?;
        let (first, later) = clicks.split_first().context("no window was opened")?;
        let mut figure = |kind: &str, value, aim| {
            let figure = figures.lower(&format!("{name}_to_drawn{kind}_ms"), "ms", value, aim);
            // The floor of one middle value is another.
            if let (true, Some(bare)) = (kind.is_empty(), bare) {
                figure.beside("minibrowser", bare);
            }
        };
        figure("", percentile_ms(later, 0.5), Some(300.0));
        figure("_p95", percentile_ms(later, 0.95), None);
        figure("_first", percentile_ms(&[*first], 1.0), Some(600.0));
        opened = opened.max(cards);
    }
    figures.lower("window_cards_opened", "device files", opened as f64, Some(0.0));
    let (all, start) = script_gzip_kib()?;
    figures.lower("script_gzip_kib", "KiB", all, Some(250.0));
    figures.lower("script_at_start_gzip_kib", "KiB", start, None);
    match std::env::var_os("NIGHTJAR_TAURI_DRIVER").map(PathBuf::from).filter(|driver| driver.exists()) {
        Some(driver) => {
            let seconds = if quick { 3 } else { 10 };
            page::frames(figures, &driver, seconds)?;
        }
        None => eprintln!("dropped_frames_percent is left out: NIGHTJAR_TAURI_DRIVER names no tauri-driver"),
    }
    Ok(())
}

/// How the owner asks for the window.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// The icon's menu, then its line. The window is made ready while the menu is open.
    Menu,
    /// The icon itself, where the panel does not answer with the menu.
    Icon,
}

/// From the click to a drawn page, the first one after a start and those after it; and the most device files of cards that
/// a window held open.
fn clicks(way: Way, times: usize) -> anyhow::Result<(Vec<Duration>, usize)> {
    let room = Room::set()?;
    let tray = Tray::watch(&room.desktop)?;
    let around = room.place()?;
    // A notification is drawn on the same screen.
    let notices = NoticeRules { trouble: false, ..NoticeRules::default() };
    let settings = Settings { introduced: 3, notices, ..quick_settings() };
    around.write_settings(&settings)?;
    let app = Host::start_app(around, &["--hidden"])?;
    let item = tray.item(SOON)?;
    let screen = Screen::connect(room.desktop.display())?;
    let mark = format!("NIGHTJAR_DATA_DIR={}", app.around.folder.join("data").display());
    let (mut taken, mut cards) = (Vec::new(), 0);
    for number in 0..=times {
        std::thread::sleep(Duration::from_secs(2));
        let before = screen.edges()?;
        ensure!(before <= EMPTY_EDGES, "the screen is not empty before a click: {before} edges");
        let clicked = match way {
            Way::Menu => {
                let open = item.line("Open Nightjar")?;
                std::thread::sleep(IN_THE_MENU);
                let clicked = Instant::now();
                item.click(&open)?;
                clicked
            }
            Way::Icon => {
                let clicked = Instant::now();
                item.activate()?;
                clicked
            }
        };
        let drawn = wait_until_drawn(&screen)? - clicked;
        eprintln!("{way:?}, click {number}: drawn after {:.0} ms", drawn.as_secs_f64() * 1_000.0);
        taken.push(drawn);
        cards = cards.max(cards_opened_by_the_window(&mark)?);
        let window = room.desktop.windows("Nightjar").into_iter().next().context("there is no window")?;
        room.desktop.close(&window)?;
        wait_for("the window's end", SOON, || Ok(room.desktop.windows("Nightjar").is_empty().then_some(())))?;
    }
    Ok((taken, cards))
}

/// Of the system's own WebKit around a page that has nothing but text, in milliseconds: what a window costs before ours
/// has done anything. `None` where the system has no such program.
fn bare_windows(times: usize) -> anyhow::Result<Option<f64>> {
    let browser = Path::new(MINI_BROWSER);
    if !browser.exists() {
        eprintln!("minibrowser is left out: {MINI_BROWSER} is not installed");
        return Ok(None);
    }
    let room = Room::set()?;
    let page = room.folder().join("bare.html");
    let line = "<p>The quick brown fox jumps over the lazy dog and gives its card to somebody who waits.</p>";
    std::fs::write(&page, format!("<!doctype html><title>bare</title>{}", line.repeat(60)))?;
    let screen = Screen::connect(room.desktop.display())?;
    let mut taken = Vec::new();
    for number in 0..=times {
        std::thread::sleep(Duration::from_secs(2));
        wait_for("an empty screen", SOON, || Ok((screen.edges()? <= EMPTY_EDGES).then_some(())))?;
        let mut command = Command::new(browser);
        room.desktop.enter(command.arg(&page));
        let started = Instant::now();
        let _browser = Process::start(room.folder(), "minibrowser", &mut command)?;
        let drawn = wait_until_drawn(&screen)? - started;
        eprintln!("bare WebKit, start {number}: drawn after {:.0} ms", drawn.as_secs_f64() * 1_000.0);
        // As with ours, the first start reads what the later ones find in memory.
        if number > 0 {
            taken.push(drawn);
        }
    }
    Ok(Some(percentile_ms(&taken, 0.5)))
}

/// When the page first was what it is at rest. Looks on until nothing is added any more.
fn wait_until_drawn(screen: &Screen) -> anyhow::Result<Instant> {
    let begun = Instant::now();
    let mut seen: Vec<(Instant, usize)> = Vec::new();
    let mut most = (begun, 0);
    while most.1 < PAGE_EDGES || most.0.elapsed() < REST {
        ensure!(begun.elapsed() < SOON, "no page was drawn within {SOON:?}: {} edges", most.1);
        let look = (Instant::now(), screen.edges()?);
        seen.push(look);
        // Figures that change are no step of the drawing.
        if drawn_edges(look.1) > most.1 {
            most = look;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let drawn = seen.iter().find(|(_, edges)| *edges >= drawn_edges(most.1));
    drawn.map(|(at, _)| *at).context("nothing was drawn")
}

fn drawn_edges(at_rest: usize) -> usize {
    (at_rest as f64 * DRAWN_SHARE) as usize
}

/// Of the whole page, and of what it loads before it draws.
fn script_gzip_kib() -> anyhow::Result<(f64, f64)> {
    let folder = checkout().join("ui/dist/assets");
    let (mut all, mut start) = (0.0, 0.0);
    for entry in std::fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "js") {
            continue;
        }
        let packed = Command::new("gzip").args(["-9", "-c"]).arg(&path).output()?;
        ensure!(packed.status.success(), "gzip failed on {}", path.display());
        let kib = packed.stdout.len() as f64 / KIB;
        all += kib;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        start += if name.starts_with("index-") { kib } else { 0.0 };
    }
    ensure!(start > 0.0, "the page has no script: run `cargo xtask ui`");
    Ok((all, start))
}
