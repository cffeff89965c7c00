//! Attempts to get out, from inside a tenant's container on a real Engine. Each is made twice: against the cage as the
//! product makes it, where it must be refused, and against the same cage without the one fence that stands against it,
//! where it must work. What does not work even then proves nothing, and is a failure of the test. In gVisor it is the first
//! alone: that the attempts bite is shown without.

mod beside;
mod calm;
mod cell;
mod in_gvisor;
mod table;
mod world;

use std::process::Command;

use anyhow::Context;
use nightjar_sim::Daemon;
use serde_json::Value;

pub use calm::Measured;
pub use table::{ATTEMPTS, Attempt, From, How, Without};

use crate::engine::{Engine, EngineOptions};
use crate::figures::Figures;
use crate::gvisor::{self, Runsc, SANDBOX};
use crate::images::{self, Flavour};
use crate::place::programs;
use crate::process::{output, output_with_input};
use calm::Calm;
use cell::{Cell, OTHER_PROXY_PORT, Outcome, limits, replace, worker};
use world::World;

const HOSTILE: &str = "nightjar-escapes:hostile";
const LINKED: &str = "nightjar-escapes:linked";

/// What came of all attempts.
#[derive(Debug, Default)]
pub struct Summary {
    pub tried: usize,
    /// Got out.
    pub worked: Vec<String>,
    /// Did not get out even without the fence: not shown to bite.
    pub blunt: Vec<String>,
    /// What this kernel lacks.
    pub skipped: Vec<String>,
    /// While the cage was whole.
    pub host: Measured,
}

impl Summary {
    /// For a bench.
    pub fn add_to(&self, figures: &mut Figures) {
        #[expect(clippy::cast_precision_loss, reason = "there are some dozens")]
        let count = |number: usize| number as f64;
        figures.higher("escapes_tried", "attempts", count(self.tried), Some(40.0));
        figures.lower("escapes_that_worked", "attempts", count(self.worked.len()), Some(0.0));
        figures.lower("escapes_engine_worst_ms", "ms", self.host.engine_worst_ms, None);
        figures.lower("escapes_host_wake_p99_ms", "ms", self.host.wake_p99_ms, None);
    }
}

/// Tries all of the table, or what has `part` in its name. `told` hears of each.
///
/// # Errors
/// When the cage cannot be made, or an attempt gives no outcome.
pub fn run(part: Option<&str>, told: &mut dyn FnMut(&str)) -> anyhow::Result<Summary> {
    run_with(None, part, told)
}

/// Tries from tenants in gVisor what makes sense there, against the whole cage alone.
///
/// # Errors
/// As for [`run`].
pub fn run_in_gvisor(
    runsc: &Runsc,
    part: Option<&str>,
    told: &mut dyn FnMut(&str),
) -> anyhow::Result<Summary> {
    run_with(Some(runsc), part, told)
}

fn run_with(
    runsc: Option<&Runsc>,
    part: Option<&str>,
    told: &mut dyn FnMut(&str),
) -> anyhow::Result<Summary> {
    let folder = tempfile::Builder::new().prefix("nightjar-").tempdir()?;
    let layout = nightjar_sim::install(&folder.path().join("nvidia"), &programs()?)?;
    let _cards = Daemon::start(&layout, &["--cards", "rtx4090"])?;
    let runtimes = runsc.map(Runsc::registered).unwrap_or_default();
    let path_first = Some(layout.bin_dir());
    let engine = Engine::start(EngineOptions { path_first, runtimes, ..EngineOptions::cached() })?;
    images::gateway(&engine, told)?;
    images::pytorch_cuda(&engine, Flavour::Lite, told)?;
    if runsc.is_some()
        && let Some(why) = gvisor::lacks(&engine, &Flavour::Lite.reference())
    {
        anyhow::bail!("gVisor: {why}");
    }
    let world = World::set()?;
    hostile_images(&engine, &world)?;
    let cell = Cell::lock(&engine, runsc.map(|_| SANDBOX))?;
    world.surround(&cell)?;
    cell.hear_own_address(world::SEEN_FROM)?;
    let facts = world.describe(&cell, &engine)?;
    let words = words(&cell, &world, &engine)?;
    let mut trial = Trial { cell, facts, words };
    let mut summary = Summary::default();
    let mut chosen: Vec<&Attempt> =
        ATTEMPTS.iter().filter(|attempt| part.is_none_or(|part| attempt.name.contains(part))).collect();
    if runsc.is_some() {
        chosen.retain(|attempt| !is_left_out(attempt, told));
    }
    let calm = Calm::watch(engine.socket());
    refused(&mut trial, &chosen, &mut summary, told)?;
    summary.host = calm.end();
    if runsc.is_none() {
        bites(&mut trial, &chosen, &mut summary, told);
    }
    trial.cell.unlock()?;
    for image in [HOSTILE, LINKED] {
        engine.ask(["image", "rm", "--force", image])?;
    }
    Ok(summary)
}

/// Whether it makes no sense in gVisor.
fn is_left_out(attempt: &Attempt, told: &mut dyn FnMut(&str)) -> bool {
    let found = in_gvisor::LEFT_OUT.iter().find(|(name, _)| *name == attempt.name);
    if let Some((name, why)) = found {
        told(&format!("{name:<26} left out: {why}"));
    }
    found.is_some()
}

/// Against the cage as it is.
fn refused(
    trial: &mut Trial<'_>,
    chosen: &[&Attempt],
    summary: &mut Summary,
    told: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    for attempt in chosen {
        let outcome = trial.whole(attempt).with_context(|| attempt.name)?;
        told(&format!(
            "{:<26} {}: {}",
            attempt.name,
            if outcome.worked { "WORKED" } else { "refused" },
            outcome.said
        ));
        summary.tried += 1;
        if outcome.worked {
            summary.worked.push(format!("{}: {}", attempt.name, outcome.said));
        }
    }
    Ok(())
}

/// Without the fence that stands against each.
fn bites(trial: &mut Trial<'_>, chosen: &[&Attempt], summary: &mut Summary, told: &mut dyn FnMut(&str)) {
    for attempt in chosen {
        let outcome = trial.without(attempt).unwrap_or_else(not_shown);
        let word = match (&outcome.lacks, outcome.worked) {
            (Some(_), _) => "nothing is proven",
            (None, true) => "works",
            (None, false) => "DOES NOT WORK",
        };
        let said = outcome.lacks.as_ref().unwrap_or(&outcome.said);
        told(&format!("{:<26} without its fence {word}: {said}", attempt.name));
        match (outcome.lacks, outcome.worked) {
            (Some(lack), _) => summary.skipped.push(format!("{}: {lack}", attempt.name)),
            (None, false) => summary.blunt.push(format!("{}: {}", attempt.name, outcome.said)),
            (None, true) => {}
        }
    }
    // What proves nothing does not count.
    summary.tried -= summary.skipped.len();
}

/// One that fails is one that was not shown, and no reason not to look at the others.
fn not_shown(error: anyhow::Error) -> Outcome {
    let said = format!("{error:#}");
    // The machine of the test may itself be in a cage.
    let lacks =
        said.contains("unable to apply caps").then(|| "this machine may not hand out that right".to_owned());
    Outcome { worked: false, lacks, said }
}

/// One with a program that becomes root and a folder that is open to all, one whose `/dev` is a link.
fn hostile_images(engine: &Engine, world: &World) -> anyhow::Result<()> {
    let recipe = format!(
        "FROM {}\nUSER 0:0\nRUN cp /bin/bash /opt/mine && chmod 4755 /opt/mine && mkdir -m 1777 /opt/open\n\
         USER 52814:52814\n",
        Flavour::Lite.reference()
    );
    let mut build = engine.docker(["build", "--quiet", "--tag", HOSTILE, "-"]);
    output_with_input(build.env("DOCKER_BUILDKIT", "0"), &recipe)?;
    let root = world.folder().join("root");
    for folder in ["proc", "sys", "etc", "run", "tmp", "var/tmp", "workspace", "bin"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    std::os::unix::fs::symlink(world.folder().join("dev"), root.join("dev"))?;
    let wide = world.folder().join("wide");
    std::fs::create_dir_all(&wide)?;
    std::fs::set_permissions(&wide, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let packed = world.folder().join("linked.tar");
    output(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&packed).arg("."))?;
    engine.ask(["import", &packed.to_string_lossy(), LINKED])?;
    Ok(())
}

/// What patches may name.
fn words(cell: &Cell<'_>, world: &World, engine: &Engine) -> anyhow::Result<Vec<(&'static str, String)>> {
    let limits = limits();
    let more_mib = |mib: u64| (mib * 3 / 2) << 20;
    // Inside a JSON string already.
    let seccomp = serde_json::to_string(&cell.seccomp()?)?;
    let seccomp = seccomp.trim_matches('"').to_owned();
    Ok(vec![
        ("$HOSTILE", HOSTILE.to_owned()),
        ("$LINKED", LINKED.to_owned()),
        ("$ENGINE", engine.socket().display().to_string()),
        ("$FOLDER", world.folder().display().to_string()),
        ("$SECCOMP", seccomp),
        ("$MORE_PIDS", (limits.pids * 2).to_string()),
        ("$MORE_MEMORY", more_mib(limits.memory_mib).to_string()),
        ("$MORE_SHM", more_mib(limits.shm_mib).to_string()),
        ("$MORE_TMP", more_mib(limits.memory_mib / 4).to_string()),
        ("$MORE_INODES", "200000".to_owned()),
    ])
}

/// The cage and what is known around it.
pub(crate) struct Trial<'a> {
    cell: Cell<'a>,
    facts: Value,
    words: Vec<(&'static str, String)>,
}

impl Trial<'_> {
    /// Against the cage as it is.
    fn whole(&mut self, attempt: &Attempt) -> anyhow::Result<Outcome> {
        let How::Inside(function) = attempt.how else { return beside::whole(self, attempt) };
        let Some(given) = attempt.given else {
            return self.cell.attempt(&worker(attempt.from), function, &self.facts);
        };
        let given = self.patch(given)?;
        let made = self.cell.altered(attempt.from, &[given])?;
        self.cell.attempt(&made.name, function, &self.facts)
    }

    /// Without the fence.
    fn without(&mut self, attempt: &Attempt) -> anyhow::Result<Outcome> {
        let How::Inside(function) = attempt.how else { return beside::without(self, attempt) };
        match attempt.without {
            Without::Container(patch) => {
                let mut patches =
                    attempt.given.map(|given| self.patch(given)).transpose()?.into_iter().collect::<Vec<_>>();
                patches.push(self.patch(patch)?);
                let made = self.cell.altered(attempt.from, &patches)?;
                self.cell.attempt(&made.name, function, &self.facts)
            }
            Without::Rules(edits) => self
                .with_rules(edits, |trial| trial.cell.attempt(&worker(attempt.from), function, &trial.facts)),
            Without::Proxy(lines, edits) => {
                let _other = self.cell.other_proxy(lines)?;
                let mut facts = self.facts.clone();
                facts["proxy-port"] = OTHER_PROXY_PORT.into();
                self.with_rules(edits, |trial| trial.cell.attempt(&worker(attempt.from), function, &facts))
            }
            Without::OtherWay => anyhow::bail!("only what is tried beside a container has another way"),
        }
    }

    /// Does something while rules are changed, and puts them back.
    fn with_rules(
        &mut self,
        edits: &[(From, &str, &str)],
        work: impl FnOnce(&mut Self) -> anyhow::Result<Outcome>,
    ) -> anyhow::Result<Outcome> {
        let mut found = Vec::new();
        for from in [From::Open, From::Curated] {
            let rules = self.cell.rules(from)?;
            let mut changed = rules.clone();
            for (_, find, put) in edits.iter().filter(|(whose, ..)| *whose == from) {
                changed = replace(&changed, find, put)?;
            }
            if changed != rules {
                self.cell.set_rules(from, &changed)?;
                found.push((from, rules));
            }
        }
        let outcome = work(self);
        for (from, rules) in found {
            self.cell.set_rules(from, &rules)?;
        }
        outcome
    }

    fn patch(&self, text: &str) -> anyhow::Result<Value> {
        let mut text = text.to_owned();
        for (name, value) in &self.words {
            text = text.replace(name, value);
        }
        Ok(serde_json::from_str(&text)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert!(ATTEMPTS.len() >= 40, "{}", ATTEMPTS.len());
        let names: BTreeSet<&str> = ATTEMPTS.iter().map(|attempt| attempt.name).collect();
        assert_eq!(names.len(), ATTEMPTS.len(), "a name stands twice");
        for (name, why) in in_gvisor::LEFT_OUT {
            assert!(names.contains(name) && !why.is_empty(), "{name} is no attempt");
        }
        let script = include_str!("attempts.py");
        for attempt in ATTEMPTS {
            assert!(!attempt.tries.is_empty() && !attempt.fence.is_empty(), "{}", attempt.name);
            if let How::Inside(function) = attempt.how {
                let name = function.split('=').next().unwrap_or_default();
                assert!(script.contains(&format!("\"{name}\":")), "{name} is no function");
            }
        }
    }
}
