//! The part of `bench ui` that looks from inside the page: frames that do not come while it is scrolled and its figures
//! change, and a chart of a whole year.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use nightjar_core::settings::Settings;
use nightjar_core::time::Timestamp;
use nightjar_testbed::figures::Figures;
use nightjar_testbed::host::quick_settings;
use nightjar_testbed::place::program;
use nightjar_testbed::process::wait_for;
use nightjar_testbed::stage::Room;
use nightjar_testbed::webdriver::Window;

use crate::common::SOON;
use crate::past::{self, DAY};

/// Of a display; what comes less often was dropped.
const FRAMES_A_SECOND: f64 = 60.0;
/// Scrolls to and fro.
const SCROLL: &str =
    "const before = main.scrollTop; main.scrollBy(0, way); if (main.scrollTop === before) way = -way;";
/// A pointer over the curves, to and fro: cursor and legend follow it.
const POINT: &str = "const over = document.querySelector('.u-over'), place = over.getBoundingClientRect(); \
     across += way; if (across < 4 || across > place.width - 4) way = -way; \
     over.dispatchEvent(new MouseEvent('mousemove', {bubbles: true, clientX: place.left + across, clientY: place.top + 40}));";

pub(crate) fn frames(figures: &mut Figures, driver: &Path, seconds: u32) -> anyhow::Result<()> {
    let room = Room::set()?;
    let around = room.place()?;
    around.write_settings(&Settings { introduced: 3, ..quick_settings() })?;
    a_year(&around.folder.join("data"))?;
    let app = program("nightjar-desktop")?;
    let window = Window::open(room.folder(), &room.desktop, driver, &app, |command| around.enter(command))?;
    wait_for("the first page", SOON, || Ok(window.text("sentence").ok()))?;
    let mut scrolled = Rate::default();
    for page in ["now", "card", "when", "network"] {
        window.click(&format!("nav-{page}"))?;
        std::thread::sleep(Duration::from_millis(700));
        scrolled.count(&window, page, SCROLL, seconds)?;
    }
    figures.lower("dropped_frames_percent", "%", scrolled.dropped_percent(), Some(5.0));
    window.click("nav-card")?;
    wait_for("a chart", SOON, || {
        Ok(window.run("return document.querySelector('.uplot canvas')")?.as_object().map(drop))
    })?;
    let mut drawn = Vec::new();
    for _ in 0..5 {
        change_range(&window, "hour")?;
        drawn.push(change_range(&window, "year")?);
    }
    drawn.sort_by(f64::total_cmp);
    eprintln!("a year's chart was drawn after {drawn:.0?} ms");
    figures.lower("chart_year_to_drawn_ms", "ms", drawn[drawn.len() / 2], Some(300.0));
    let mut pointed = Rate::default();
    pointed.count(&window, "a year's chart under the pointer", POINT, seconds)?;
    pointed.count(&window, "a year's chart, scrolled", SCROLL, seconds)?;
    figures.lower("chart_year_dropped_frames_percent", "%", pointed.dropped_percent(), Some(5.0));
    Ok(())
}

/// A year of the card that the host has.
fn a_year(data: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(data)?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let now = Timestamp(now);
        let from = Timestamp(now.0 - i64::try_from(365 * DAY)?);
        past::written(data, &["GPU-of-the-bench"], from, now).await?.close(now).await;
        anyhow::Ok(())
    })
}

/// From the click to the first frame in which the curves are others, in milliseconds.
fn change_range(window: &Window, range: &str) -> anyhow::Result<f64> {
    let found = window.run_later(&format!(
        "const done = arguments[0]; \
         const ink = () => {{ \
           const canvas = document.querySelector('.uplot canvas'); \
           if (!canvas) return 0; \
           const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; \
           let sum = 0; \
           for (let at = 0; at < data.length; at += 52) sum = (sum * 31 + data[at]) % 1000000007; \
           return sum; \
         }}; \
         const before = ink(), begun = performance.now(); \
         document.querySelector('[data-testid=range-{range}]').click(); \
         const frame = () => {{ \
           const now = ink(); \
           if (now !== 0 && now !== before) return done(performance.now() - begun); \
           if (performance.now() - begun > 20000) return done(null); \
           requestAnimationFrame(frame); \
         }}; \
         requestAnimationFrame(frame);"
    ))?;
    // What was asked for last may still be on its way to the screen.
    std::thread::sleep(Duration::from_millis(500));
    found.as_f64().with_context(|| format!("the chart of the last {range} was not drawn"))
}

/// Frames that came, and those that should have.
#[derive(Default)]
struct Rate {
    came: f64,
    wanted: f64,
}

impl Rate {
    fn count(&mut self, window: &Window, what: &str, each_frame: &str, seconds: u32) -> anyhow::Result<()> {
        let found = window.run_later(&format!(
            "const done = arguments[0], main = document.querySelector('main'); \
             let frames = 0, begun = null, way = 4, across = 60; \
             const frame = at => {{ \
               begun ??= at; \
               if (at - begun >= {seconds}000) return done([frames, at - begun]); \
               frames += 1; \
               {each_frame} \
               requestAnimationFrame(frame); \
             }}; \
             requestAnimationFrame(frame);"
        ))?;
        let (frames, ms): (f64, f64) = serde_json::from_value(found)?;
        eprintln!("{what}: {frames} frames in {ms:.0} ms");
        self.came += frames;
        self.wanted += ms * FRAMES_A_SECOND / 1_000.0;
        Ok(())
    }

    fn dropped_percent(&self) -> f64 {
        (100.0 * (1.0 - self.came / self.wanted)).max(0.0)
    }
}
