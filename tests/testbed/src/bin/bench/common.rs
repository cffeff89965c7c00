//! What more than one bench does.

use std::time::{Duration, Instant};

use nightjar_core::lease::LeaseState;
use nightjar_core::settings::Settings;
use nightjar_testbed::desktop::Desktop;
use nightjar_testbed::freezer::Freezer;
use nightjar_testbed::host::{Host, Watch, job_state, quick_settings, text};
use nightjar_testbed::process::wait_for;
use nightjar_testbed::stage::Stage;

pub(crate) const SOON: Duration = Duration::from_secs(60);
pub(crate) const IMAGE: &str = "pytorch-cuda:lite";

/// A host that is soon free again.
pub(crate) fn bench_settings() -> Settings {
    Settings { idle_after_ms: 1_000, resume_after_ms: 1_000, ..quick_settings() }
}

/// Times from an input to the freeze.
pub(crate) struct Freezes {
    pub(crate) ours: Vec<Duration>,
    /// Of a pause by hand, from asking to frozen: the floor.
    pub(crate) bare: Vec<Duration>,
}

/// Input to frozen, by turns with a bare `pause` of the same container over the same socket.
pub(crate) fn freezes_of(stage: &Stage, watch: &Watch, lease: &str, times: usize) -> anyhow::Result<Freezes> {
    let worker = stage.worker(lease)?;
    let freezer = stage.freezer(lease)?;
    let mut mouse = stage.desktop.mouse()?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for number in 1..=times {
        watch.until("the job runs", SOON, |view| job_state(view) == Some(LeaseState::Running))?;
        // Somewhere in the host's heartbeat, not always at the same place of it.
        std::thread::sleep(Duration::from_millis(u64::try_from(number * 37 % 400)?));
        let moved = Instant::now();
        mouse.twitch()?;
        ours.push(freezer.until(true, SOON)? - moved);
        // Views of before are still on their way; the next "runs" must be one of after.
        watch
            .until("the job is shown as frozen", SOON, |view| job_state(view) == Some(LeaseState::Yielded))?;
        // While it is frozen anyway, the floor: thaw and pause it by hand, and leave it as it was.
        match bare_pause(stage, &worker, &freezer) {
            Ok(taken) => bare.push(taken),
            // The host may thaw or freeze it in just that moment; the container is then as the host wants it.
            Err(error) => eprintln!("one bare pause is left out: {error:#}"),
        }
        if number % 20 == 0 {
            eprintln!("{number} of {times} freezes");
        }
    }
    anyhow::ensure!(bare.len() > times / 2, "too few bare pauses to compare with: {}", bare.len());
    Ok(Freezes { ours, bare })
}

fn bare_pause(stage: &Stage, worker: &str, freezer: &Freezer) -> anyhow::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let socket = stage.engine.socket();
    runtime.block_on(async {
        let engine = bollard::Docker::connect_with_unix(&text(&socket), 30, bollard::API_DEFAULT_VERSION)?;
        engine.ping().await?;
        engine.unpause_container(worker).await?;
        let asked = Instant::now();
        engine.pause_container(worker).await?;
        Ok(freezer.until(true, SOON)? - asked)
    })
}

/// Opens the app's window, closes it as its owner does, and gives the mark of the app's processes.
pub(crate) fn opened_and_closed(desktop: &Desktop, app: &Host) -> anyhow::Result<String> {
    let window = wait_for("the app's window", SOON, || Ok(desktop.windows("Nightjar").into_iter().next()))?;
    // Long enough that the page was drawn.
    std::thread::sleep(Duration::from_secs(3));
    desktop.close(&window)?;
    std::thread::sleep(Duration::from_secs(10));
    Ok(format!("NIGHTJAR_DATA_DIR={}", text(&app.around.folder.join("data"))))
}
