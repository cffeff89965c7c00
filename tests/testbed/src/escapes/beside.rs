//! Attempts that are not made by a program in a running container.

use std::time::Duration;

use anyhow::Context;
use nightjar_core::host::WorkerEvent;
use nightjar_core::lease::{LeaseId, LeaseTerms};
use nightjar_core::settings::EgressMode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::cell::{Outcome, terms, worker};
use super::table::{Attempt, From, How, Without};
use super::{HOSTILE, Trial};
use crate::process::wait_for;

const SOON: Duration = Duration::from_secs(30);
/// Long against a tick of the kernel's clock, by which a process's time is counted.
const LOOK: Duration = Duration::from_millis(400);
const FLOOD_BYTES: u64 = 8_000_000;
/// What the Engine keeps of a log, and its own words around each line.
const KEPT_BYTES: u64 = 2 << 20;
/// One works, the other wakes it.
const PAIR: &str = "import os,signal,time\np=os.fork()\nif p==0:\n while True: pass\n\
                    while True:\n os.kill(p,signal.SIGCONT); time.sleep(0.001)";

pub(super) fn whole(trial: &mut Trial<'_>, attempt: &Attempt) -> anyhow::Result<Outcome> {
    match attempt.how {
        How::WakeWhileFrozen => wake(trial, true),
        How::StrangeImage => strange_image(trial),
        How::DeviceFolderLeadsOut => device_folder(trial, false),
        How::FloodTheLog => flood(trial, None),
        How::HoldUpFirst => hold_up(trial, true),
        How::Inside(_) => anyhow::bail!("{} is made inside", attempt.name),
    }
}

pub(super) fn without(trial: &mut Trial<'_>, attempt: &Attempt) -> anyhow::Result<Outcome> {
    match (attempt.how, attempt.without) {
        (How::WakeWhileFrozen, _) => wake(trial, false),
        (How::StrangeImage, _) => {
            trial.cell.listed(strange_terms(), &["/opt/mine", "-c", "echo a program of mine"])
        }
        (How::DeviceFolderLeadsOut, _) => device_folder(trial, true),
        (How::HoldUpFirst, _) => hold_up(trial, false),
        (How::FloodTheLog, Without::Container(patch)) => flood(trial, Some(patch)),
        _ => anyhow::bail!("{} has no other way", attempt.name),
    }
}

/// Whether a process goes on that the product has frozen, or that was stopped by a signal.
fn wake(trial: &mut Trial<'_>, by_product: bool) -> anyhow::Result<Outcome> {
    let container = worker(From::Open);
    let engine = trial.cell.engine;
    engine.ask(["exec", "--detach", &container, "/usr/bin/python3", "-c", PAIR])?;
    let pair = wait_for("the pair of processes", SOON, || {
        let listed = engine.ask(["top", &container, "-eo", "pid,args"])?;
        let pair: Vec<i32> = listed
            .lines()
            .filter(|line| line.contains("signal.SIGCONT"))
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect();
        Ok((pair.len() == 2).then_some(pair))
    })?;
    std::thread::sleep(LOOK);
    let worked = pair.iter().copied().max_by_key(|process| ticks(*process).unwrap_or(0)).context("a pair")?;
    let target = Pid::from_raw(worked).context("a process has a number")?;
    if by_product {
        let event = trial.cell.freeze(From::Open)?;
        anyhow::ensure!(matches!(event, WorkerEvent::Frozen { .. }), "{event:?}");
    } else {
        kill_process(target, Signal::STOP)?;
    }
    let before = ticks(worked)?;
    std::thread::sleep(LOOK);
    let ran = ticks(worked)? - before;
    if by_product {
        trial.cell.thaw(From::Open)?;
    }
    for process in pair {
        kill_process(Pid::from_raw(process).context("a process has a number")?, Signal::KILL)?;
    }
    Ok(Outcome::of(ran > 0, format!("it ran for {ran} ticks of {} ms", LOOK.as_millis())))
}

/// Processor time of a process, in the kernel's ticks.
fn ticks(process: i32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok());
    Ok(field(11).context("user time")? + field(12).context("system time")?)
}

/// Whether who writes what the tenant is told waits for ever: process 1, or a program that writes as any would.
fn hold_up(trial: &mut Trial<'_>, by_product: bool) -> anyhow::Result<Outcome> {
    let container = worker(From::Open);
    let engine = trial.cell.engine;
    let entering = trial.cell.entering();
    let inside = |script: &str| {
        let entered = ["exec", container.as_str()];
        engine.ask(entered.iter().chain(entering).chain(&["/bin/sh", "-c", script]))
    };
    if let Err(error) = inside("rm -f /run/nightjar/notice.new && mkfifo /run/nightjar/notice.new") {
        return Ok(Outcome::of(false, format!("no pipe can be put there: {error}")));
    }
    if !by_product {
        let said = inside(
            "timeout 2 sh -c 'echo x > /run/nightjar/notice.new'; echo $?; rm /run/nightjar/notice.new",
        )?;
        return Ok(Outcome::of(said.trim() == "124", format!("it ended with {}", said.trim())));
    }
    trial.cell.tell(From::Open, true);
    let told = wait_for("the tenant's notice", SOON / 2, || Ok(inside("cat /run/nightjar/notice.json").ok()));
    trial.cell.tell(From::Open, false);
    inside("rm -f /run/nightjar/notice.new")?;
    Ok(match told {
        Ok(_) => Outcome::of(false, "process 1 wrote its notice in the pipe's place"),
        Err(error) => Outcome::of(true, format!("process 1 writes no more: {error}")),
    })
}

/// Of a renter of its own, so that nobody's volume is shared.
fn strange_terms() -> LeaseTerms {
    LeaseTerms {
        lease: LeaseId("e5ca9e00-0000-4000-8000-000000000003".to_owned()),
        renter_key: "c".repeat(64),
        ..terms(From::Open, HOSTILE.to_owned())
    }
}

fn strange_image(trial: &mut Trial<'_>) -> anyhow::Result<Outcome> {
    let terms = strange_terms();
    let lease = terms.lease.clone();
    trial.cell.prepare(terms, EgressMode::Open);
    let event = trial.cell.hear_of(&lease, SOON)?;
    let gone = trial.cell.hear_of(&lease, SOON)?;
    anyhow::ensure!(matches!(gone, WorkerEvent::Gone { .. }), "{gone:?}");
    Ok(match event {
        WorkerEvent::PreparationFailed { cause } => Outcome::of(false, cause),
        other => Outcome::of(true, format!("{other:?}")),
    })
}

/// Whether something is made in a folder of the PC to which the image's `/dev` leads. The runtime makes its devices
/// there before it looks for process 1, which this image does not have; `followed`, the link is followed as anybody
/// would who does not take the image's root for the root.
fn device_folder(trial: &mut Trial<'_>, followed: bool) -> anyhow::Result<Outcome> {
    let engine = trial.cell.engine;
    let said = if followed {
        let format = "{{.GraphDriver.Data.UpperDir}}";
        let root = engine.ask(["image", "inspect", "--format", format, super::LINKED])?;
        std::fs::write(format!("{root}/dev/null"), "")?;
        "the link leads there".to_owned()
    } else {
        let patch = trial.patch(r#"{"Image":"$LINKED"}"#)?;
        let made = trial.cell.created(From::Open, &[patch])?;
        match engine.ask(["start", &made.name]) {
            Ok(_) => "it started".to_owned(),
            Err(error) => error.to_string().lines().nth(1).unwrap_or_default().chars().take(300).collect(),
        }
    };
    let folder = trial.facts["secret"].as_str().context("a folder")?.trim_end_matches("secret").to_owned();
    let found = std::fs::read_dir(format!("{folder}dev"))?.count();
    Ok(Outcome::of(found > 0, format!("{found} devices on the PC; {said}")))
}

fn flood(trial: &mut Trial<'_>, patch: Option<&str>) -> anyhow::Result<Outcome> {
    let script = format!("head -c {FLOOD_BYTES} /dev/zero | tr '\\0' x | fold -w 200");
    let mut patches = vec![json!({"Entrypoint": ["/bin/sh", "-c", script]})];
    patches.extend(patch.map(|patch| trial.patch(patch)).transpose()?);
    let made = trial.cell.altered(From::Open, &patches)?;
    trial.cell.engine.ask(["wait", &made.name])?;
    let path = trial.cell.engine.ask(["inspect", "--format", "{{.LogPath}}", &made.name])?;
    let size = std::fs::metadata(&path).with_context(|| path.clone())?.len();
    Ok(Outcome::of(size > KEPT_BYTES, format!("{size} bytes on the PC's disk")))
}
