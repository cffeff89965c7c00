//! Talks to the host that runs on this PC, over its control socket.

use std::time::Duration;

use nightjar_agent::control::{Client, socket_path};
use nightjar_core::gpu::GpuUuid;
use nightjar_core::host::UserCommand;
use nightjar_core::lease::LeaseId;
use nightjar_protocol::control::{ControlAnswer, ControlRequest, Refusal};
use nightjar_protocol::view::ViewModel;
use serde_json::json;

use super::power_arguments::{Power, PowerCommand};
use crate::arguments::{HostPlace, Status, StopJob};
use crate::failure::{Exit, Failure};
use crate::output::{Output, line};

use super::show;

/// The host answers from memory; one that takes longer is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct Grip {
    client: Client,
}

impl Grip {
    pub(super) async fn connect(place: &HostPlace) -> Result<Self, Failure> {
        let config = super::config(place)?;
        let connected = tokio::time::timeout(ANSWER_WITHIN, Client::connect(&config.runtime_dir)).await;
        let why = match connected {
            Ok(Ok(client)) => return Ok(Self { client }),
            Ok(Err(error)) => error.to_string(),
            Err(_) => String::from("it does not answer"),
        };
        let path = socket_path(&config.runtime_dir);
        Err(Failure::new(Exit::NotRunning, format!("no host runs here: {}: {why}", path.display())).advise(
            "start the desktop app or `nightjar host`; with a folder of its own, name it with --data-dir",
        ))
    }

    pub(super) async fn ask(&mut self, request: ControlRequest) -> Result<ControlAnswer, Failure> {
        self.ask_within(request, ANSWER_WITHIN).await
    }

    /// Something that the host does not answer from memory.
    pub(super) async fn ask_within(
        &mut self,
        request: ControlRequest,
        within: Duration,
    ) -> Result<ControlAnswer, Failure> {
        let asked = tokio::time::timeout(within, self.client.request(&request));
        answered(asked.await.map_err(|_| stuck())?)
    }

    /// The next view of a `Watch`.
    pub(super) async fn next(&mut self) -> Result<Box<ViewModel>, Failure> {
        view(answered(self.client.next().await)?)
    }

    pub(super) async fn command(&mut self, command: UserCommand) -> Result<Box<ViewModel>, Failure> {
        view(self.ask(ControlRequest::Do(command)).await?)
    }
}

fn stuck() -> Failure {
    Failure::new(Exit::NotRunning, "the host does not answer")
        .advise("start it again, and keep its log for a report")
}

fn answered(answer: anyhow::Result<ControlAnswer>) -> Result<ControlAnswer, Failure> {
    match answer {
        Ok(ControlAnswer::Refused(refusal)) => Err(refused(&refusal)),
        Ok(answer) => Ok(answer),
        Err(error) => Err(Failure::new(Exit::NotRunning, format!("the host is gone: {error:#}"))),
    }
}

pub(super) fn refused(refusal: &Refusal) -> Failure {
    use nightjar_core::host::CommandError as C;
    let exit = match refusal {
        Refusal::Command(C::NoSuchJob { .. } | C::NoSuchCard { .. } | C::NoGame) => Exit::NothingMatched,
        Refusal::Command(C::PowerLimit { .. } | C::Duration { .. } | C::Settings { .. }) => Exit::Usage,
        Refusal::Command(
            C::NoPowerLimit | C::NoHelper | C::SweepRuns | C::Overtaken | C::SettingsUnreadable,
        )
        | Refusal::Unreadable { .. }
        | Refusal::Journal { .. } => Exit::Failed,
    };
    Failure::new(exit, refusal.to_string())
}

pub(super) fn view(answer: ControlAnswer) -> Result<Box<ViewModel>, Failure> {
    match answer {
        ControlAnswer::View(view) => Ok(view),
        ControlAnswer::Refused(refusal) => Err(refused(&refusal)),
        ControlAnswer::Settings(_)
        | ControlAnswer::Night(_)
        | ControlAnswer::History(_)
        | ControlAnswer::Reply(_)
        | ControlAnswer::Enrolled(_)
        | ControlAnswer::Volumes(_) => Err(Failure::failed("the host answered with something else")),
        ControlAnswer::Bye => Err(Failure::new(Exit::NotRunning, "the host is ending")),
    }
}

/// # Errors
/// When no host runs, or it ends while it is watched.
pub async fn status(arguments: &Status, output: Output) -> Result<(), Failure> {
    let mut grip = Grip::connect(&arguments.place).await?;
    if !arguments.watch {
        let view = view(grip.ask(ControlRequest::Status).await?)?;
        return output.print(&view, &show::status(&view));
    }
    let mut seen = view(grip.ask(ControlRequest::Watch).await?)?;
    output.print(&seen, &show::status(&seen))?;
    loop {
        let next = tokio::select! {
            next = grip.next() => next?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let words = show::status(&next);
        // Readings change each second; people want to see what they can read.
        if output.json || words != show::status(&seen) {
            output.print(&next, &format!("\n{words}"))?;
        }
        seen = next;
    }
}

/// # Errors
/// When no host runs, or the card does not take the limit.
pub async fn power(arguments: &Power, output: Output) -> Result<(), Failure> {
    let (place, command) = match &arguments.command {
        PowerCommand::Set(set) => {
            let command =
                UserCommand::SetPowerLimit { gpu: set.gpu.clone().map(GpuUuid), limit: Some(set.limit) };
            (&set.place, Some(command))
        }
        PowerCommand::Restore(restore) => {
            let gpu = restore.gpu.clone().map(GpuUuid);
            (&restore.place, Some(UserCommand::SetPowerLimit { gpu, limit: None }))
        }
        PowerCommand::Sweep(sweep) => return super::sweep::sweep(sweep, output).await,
        PowerCommand::Status(place) => (place, None),
    };
    let mut grip = Grip::connect(place).await?;
    let view = match command {
        Some(command) => grip.command(command).await?,
        None => view(grip.ask(ControlRequest::Status).await?)?,
    };
    output.print(&view.power, &show::power(&view))
}

/// # Errors
/// When no host runs, or no job matches.
pub async fn stop_job(arguments: &StopJob, output: Output) -> Result<(), Failure> {
    let mut grip = Grip::connect(&arguments.place).await?;
    let now = view(grip.ask(ControlRequest::Status).await?)?;
    let jobs = now.cards.iter().filter_map(|tile| tile.card.job.as_ref()).map(|job| &job.lease);
    let lease = pick(jobs, arguments.lease.as_deref())?;
    let view = grip.command(UserCommand::StopJob { lease: lease.clone() }).await?;
    output.print(&view, &format!("{lease} is ending"))
}

fn pick<'a>(jobs: impl Iterator<Item = &'a LeaseId>, named: Option<&str>) -> Result<LeaseId, Failure> {
    let fit: Vec<&LeaseId> = jobs.filter(|job| named.is_none_or(|name| job.0.starts_with(name))).collect();
    match fit.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Failure::new(Exit::NothingMatched, "no such job runs on this PC")
            .advise("`nightjar status` shows those that run")),
        many => {
            let names: Vec<&str> = many.iter().map(|job| job.0.as_str()).collect();
            Err(Failure::usage(format!("{} jobs match: {}", many.len(), names.join(", ")))
                .advise("name one of them"))
        }
    }
}

/// # Errors
/// When no host runs.
pub async fn quit(place: &HostPlace, output: Output) -> Result<(), Failure> {
    let mut grip = Grip::connect(place).await?;
    grip.ask(ControlRequest::Quit).await?;
    if output.json {
        return output.print(&json!({ "ending": true }), "");
    }
    line("the host is ending; its jobs end first")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_found_by_its_beginning_or_by_being_the_only_one() {
        let jobs = [LeaseId("aa-1".into()), LeaseId("ab-2".into())];
        assert_eq!(pick(jobs[..1].iter(), None), Ok(jobs[0].clone()));
        assert_eq!(pick(jobs.iter(), Some("ab")), Ok(jobs[1].clone()));
        assert_eq!(pick(jobs.iter(), None).unwrap_err().exit, Exit::Usage);
        assert_eq!(pick(jobs.iter(), Some("c")).unwrap_err().exit, Exit::NothingMatched);
        assert_eq!(pick([].iter(), None).unwrap_err().exit, Exit::NothingMatched);
    }
}
