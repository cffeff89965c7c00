//! A rented night, from the idle desktop to both sides' books. The demo prints it; an end-to-end test asserts it.

use std::io::BufRead;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nightjar_core::host::HostState;
use nightjar_core::lease::LeaseState;
use nightjar_core::ledger::Account;
use nightjar_core::money::Money;
use nightjar_protocol::market_api::Statement;
use nightjar_protocol::view::{CardTile, ViewModel};

use crate::host::{Host, job_state, lingering_settings, quick_settings};
use crate::notebook;
use crate::process::{Process, line, wait_for};
use crate::renter::Renter;
use crate::stage::Stage;
use crate::timeline::{Timeline, spell};

/// The renter's program.
const WORK: &str = include_str!("work.py");
/// Memory of the card that the renter's program holds.
pub const HELD_MIB: u32 = 2_048;
const SOON: Duration = Duration::from_secs(30);

/// What was measured and booked.
#[derive(Clone, Debug)]
pub struct Night {
    pub device: String,
    pub rent_to_ready: Duration,
    pub ssh_login: Duration,
    pub input_to_frozen: Duration,
    pub frozen_for: Duration,
    pub running_ms: u64,
    pub charged: Money,
    /// The host's part, by its own journal and by the market's ledger: the same.
    pub host_earned: Money,
}

/// Plays the night on a stage.
///
/// # Errors
/// When a step fails; the message names it.
pub fn play(stage: &Stage, image: &str, with_app: bool, timeline: &mut Timeline) -> anyhow::Result<Night> {
    let (mut host, accepted) =
        stage.host("host", &lingering_settings()).context("the host does not start")?;
    if with_app {
        host = host.into_app()?;
        timeline.note("host: the desktop app has taken over, with its window and tray");
    }
    for version in &accepted {
        timeline
            .note(&format!("the host's owner knowingly accepts {version}, which is below its safe version"));
    }
    let watch = host.watch()?;
    let staying = stage.desktop.mouse()?.stays()?;
    let (_, view) = watch.until("the owner is seen", SOON, |view| view.state == HostState::Yours)?;
    drop(staying);
    timeline.note(&format!("host: {}", view.sentence));
    let (_, view) = watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting)?;
    timeline.note(&format!("host: {}", view.sentence));

    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00")?;
    let offers = wait_for("an offer", SOON, || {
        let found = renter.run(&["offers"])?;
        Ok(found.contains("GeForce").then_some(found))
    })?;
    offers.lines().for_each(|line| timeline.note(&format!("renter: {line}")));

    let asked = Instant::now();
    let lease = renter.rent(image)?;
    let rent_to_ready = asked.elapsed();
    timeline.note(&format!("renter: lease {} is ready, {} after asking", &lease[..8], spell(rent_to_ready)));
    let asked = Instant::now();
    let said = renter.ssh(&lease, &["id", "-un"])?;
    let ssh_login = asked.elapsed();
    timeline.note(&format!("renter: logged in over SSH as {} in {}", said.trim(), spell(ssh_login)));

    let (mut job, device) = start_work(&renter, &lease, stage)?;
    timeline.note(&format!("renter: a Python script over SSH works on {device}"));
    run_notebook(&renter, &lease, timeline)?;

    let played = owner_comes_and_goes(stage, &host, &watch, &lease, with_app, timeline);
    job.terminate(Duration::from_secs(5)).ok();
    let (input_to_frozen, frozen_for) = played?;

    renter.run(&["stop", &lease, "--wait"])?;
    watch.until("the job is over", SOON, |view| job_state(view).is_none())?;
    let is_empty = || Ok(stage.containers()?.is_empty().then_some(()));
    wait_for("no container is left", SOON, is_empty)?;
    timeline.note("renter: stopped the lease; nothing of it is left on the host");
    let mut night = books(stage, &host, &renter, &lease, timeline)?;
    night = Night { device, rent_to_ready, ssh_login, input_to_frozen, frozen_for, ..night };
    end(host)?;
    timeline.note("host: ended");
    Ok(night)
}

/// The script, through the real OpenSSH client; it goes on while the rest happens. Gives the card's name too.
///
/// # Errors
/// When it does not start.
pub fn start_work(renter: &Renter, lease: &str, stage: &Stage) -> anyhow::Result<(Process, String)> {
    renter.ssh_with_input(lease, &["cat > work.py"], WORK)?;
    let held = HELD_MIB.to_string();
    let mut command = renter.command(&["ssh", lease, "--", "python3", "work.py", "300", &held])?;
    let (job, mut said) = Process::start_piped(stage.folder(), "work", &mut command)?;
    let device = line(&mut said).with_context(|| format!("the script failed:\n{}", job.log()))?;
    // What it says afterwards is read so that it never waits for a reader.
    std::thread::spawn(move || said.lines().for_each(drop));
    Ok((job, device))
}

fn run_notebook(renter: &Renter, lease: &str, timeline: &mut Timeline) -> anyhow::Result<()> {
    let jupyter = renter.jupyter(lease)?;
    let cells = ["print(sum(n * n for n in range(1000)))", "import os; print(os.getcwd(), os.getuid())"];
    let said = notebook::run(&jupyter, "night.ipynb", &cells)?;
    ensure!(said[0].trim() == "332833500", "the notebook says {said:?}");
    timeline.note(&format!("renter: a notebook through Jupyter's own interface says {}", said[0].trim()));
    Ok(())
}

fn owner_comes_and_goes(
    stage: &Stage,
    host: &Host,
    watch: &crate::host::Watch,
    lease: &str,
    with_app: bool,
    timeline: &mut Timeline,
) -> anyhow::Result<(Duration, Duration)> {
    let freezer = stage.freezer(lease)?;
    let (_, view) = watch.until("the job uses the card", SOON, |view| {
        let tile = rented(view).ok();
        tile.is_some_and(|tile| tile.card.reading.vram_used_bytes > u64::from(HELD_MIB) << 20)
    })?;
    let card = &rented(&view)?.card.reading;
    timeline.note(&format!(
        "host: {} at {:.0} °C, {:.0} W, {} MiB of its memory held",
        card.name,
        card.temperature_celsius.unwrap_or_default(),
        card.power_watts.unwrap_or_default(),
        card.vram_used_bytes >> 20
    ));
    // The second program that looks at the screen may already be away: the pointer is where it was.
    let mut mouse = stage.desktop.mouse()?;
    let moved = Instant::now();
    mouse.twitch()?;
    let frozen_at = freezer.until(true, Duration::from_secs(10))?;
    let input_to_frozen = frozen_at - moved;
    timeline.note(&format!("owner: moved the mouse; the job was frozen {} later", spell(input_to_frozen)));
    let (_, view) = watch
        .until("the job is shown as frozen", SOON, |view| job_state(view) == Some(LeaseState::Yielded))?;
    timeline.note(&format!("host: {}", rented(&view)?.sentence));
    if with_app && stage.desktop.is_private() {
        let picture = std::env::temp_dir().join("nightjar-demo.png");
        stage.desktop.screenshot(&picture)?;
        timeline.note(&format!("the window as it is now: {}", picture.display()));
    }
    let thawed_at = freezer.until(false, SOON)?;
    let frozen_for = thawed_at - frozen_at;
    watch.until("the job goes on", SOON, |view| job_state(view) == Some(LeaseState::Running))?;
    timeline.note(&format!(
        "host: the owner was away again, the job went on after {} (free of charge)",
        spell(frozen_for)
    ));
    std::thread::sleep(Duration::from_secs(3));
    rented(&host.around.view()?).context("the job ended by itself")?;
    Ok((input_to_frozen, frozen_for))
}

/// The card with the job.
fn rented(view: &ViewModel) -> anyhow::Result<&CardTile> {
    view.cards.iter().find(|tile| tile.card.job.is_some()).context("no card has a job")
}

/// Both sides' books once they agree: the last record reaches the market by another way than the word of the end does.
fn agreed_books(host: &Host, renter: &Renter, lease: &str) -> anyhow::Result<(Statement, Money)> {
    let mut last = String::new();
    let agreed = wait_for("the books agree", SOON, || {
        let statement = renter.statement(lease)?;
        let earned = host.around.view()?.earnings.all;
        let legs = statement.bookings.iter().flat_map(|booking| &booking.legs);
        let of_host = legs.filter(|leg| matches!(leg.account, Account::Host { .. }));
        let credited: i64 = of_host.map(|leg| leg.micros).sum();
        last = format!("host and market disagree: {earned} and {}", Money::new(credited, statement.currency));
        Ok((earned.micros == credited).then_some((statement, earned)))
    });
    agreed.context(last)
}

/// Both sides' books, and whether they agree to the last micro-unit.
fn books(
    stage: &Stage,
    host: &Host,
    renter: &Renter,
    lease: &str,
    timeline: &mut Timeline,
) -> anyhow::Result<Night> {
    let (statement, host_earned) = agreed_books(host, renter, lease)?;
    let (mut charged, mut credited, mut fees) = (0_i64, 0_i64, 0_i64);
    for leg in statement.bookings.iter().flat_map(|booking| &booking.legs) {
        match leg.account {
            Account::Renter { .. } => charged -= leg.micros,
            Account::Host { .. } => credited += leg.micros,
            Account::Fees => fees += leg.micros,
            Account::World => {}
        }
    }
    let money = |micros| Money::new(micros, statement.currency);
    let running_ms = statement.bookings.iter().map(|booking| booking.running_ms).sum();
    let balance = renter.account()?.balance;
    timeline
        .note(&format!("ledger: {running_ms} ms of running time in {} records", statement.bookings.len()));
    timeline.note(&format!(
        "ledger: renter paid {}, host got {}, market {}",
        money(charged),
        money(credited),
        money(fees)
    ));
    timeline.note(&format!("ledger: renter's balance {balance}; host's own journal says {host_earned}"));
    ensure!(charged == credited + fees, "the lease's books do not balance");
    ensure!(
        host_earned.micros == credited,
        "host and market disagree: {host_earned} and {}",
        money(credited)
    );
    ensure!(
        balance.micros == 20_000_000 - charged,
        "the balance is not what was paid in less what was charged"
    );
    ensure!(charged > 0, "nothing was charged");
    stage.market.ledger().context("the market's books do not balance")?;
    Ok(Night {
        device: String::new(),
        rent_to_ready: Duration::ZERO,
        ssh_login: Duration::ZERO,
        input_to_frozen: Duration::ZERO,
        frozen_for: Duration::ZERO,
        running_ms,
        charged: money(charged),
        host_earned,
    })
}

/// What a renter of PyTorch gets on a card that CUDA cannot use: an end before anything is paid, with the cause.
///
/// # Errors
/// When the lease is not refused, or something was charged.
pub fn refused_by_self_check(stage: &Stage, timeline: &mut Timeline) -> anyhow::Result<()> {
    let (host, _) = stage.host("host", &quick_settings()).context("the host does not start")?;
    let watch = host.watch()?;
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting)?;
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00")?;
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok()))?;
    timeline.note("renter: asks for pytorch-cuda:full on a simulated card, which CUDA cannot really use");
    let Err(refused) = renter.rent("pytorch-cuda:full") else {
        anyhow::bail!("PyTorch took the simulated card for a real one");
    };
    let said = refused.to_string();
    let cause = said.lines().rev().find(|line| line.contains("self-check")).unwrap_or(&said);
    timeline.note(&format!("renter: {}", cause.trim()));
    ensure!(said.contains("self-check"), "the lease did not end by its self-check: {said}");
    let balance = renter.account()?.balance;
    ensure!(balance.micros == 20_000_000, "something was charged: {balance}");
    timeline.note(&format!("ledger: nothing was charged, the renter's balance is {balance}"));
    end(host)?;
    timeline.note("host: ended");
    Ok(())
}

fn end(mut host: Host) -> anyhow::Result<()> {
    host.process.terminate(Duration::from_secs(20))
}

/// A child of this process that is still there under this name would be a left-over.
///
/// # Errors
/// When the process table cannot be read.
pub fn left_running() -> anyhow::Result<Vec<String>> {
    let own = std::process::id().to_string();
    let listed = crate::process::output(Command::new("ps").args(["--ppid", &own, "-o", "pid=,comm="]))?;
    Ok(listed
        .lines()
        .filter(|line| !line.trim_end().ends_with(" ps"))
        .map(|line| line.trim().to_owned())
        .collect())
}
