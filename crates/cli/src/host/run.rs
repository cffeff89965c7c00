//! The headless host.

use std::path::PathBuf;

use nightjar_agent::control::Client;
#[cfg(unix)]
use nightjar_agent::update;
use nightjar_agent::{Agent, AgentHandle, EngineAddress, EnrolError, Signals, StartError};
use nightjar_protocol::control::ControlRequest;
use nightjar_protocol::window::Invitation;
use serde_json::json;

use super::browser::{self, Served};
use super::pairing;
use crate::arguments::{Host, HostPlace};
use crate::failure::{Exit, Failure};
use crate::output::{Output, note};

/// Runs until a signal, `nightjar quit`, or the end of the host.
///
/// # Errors
/// When the host cannot start or the market does not take it.
pub async fn run(arguments: &Host, output: Output) -> Result<(), Failure> {
    let mut config = super::config(&HostPlace { data_dir: arguments.data_dir.clone() })?;
    if let Some(path) = &arguments.config {
        config.settings_path = path.clone();
    }
    if let Some(address) = &arguments.docker {
        config.engine = address.parse::<EngineAddress>().map_err(|error| {
            Failure::usage(format!("--docker: {error}")).advise("e.g. unix:///var/run/docker.sock")
        })?;
    }
    let invitation = pairing::asked(arguments)?;
    let socket = nightjar_agent::control::socket_path(&config.runtime_dir);
    let data_dir = config.data_dir.clone();
    let runtime_dir = config.runtime_dir.clone();
    let mut signals = Signals::listen();
    let agent = match Agent::start(config).await {
        Ok(agent) => agent,
        Err(StartError::AlreadyRunning(_)) if arguments.looks_on() => {
            return look_on(runtime_dir, arguments, signals, output).await;
        }
        Err(error @ StartError::AlreadyRunning(_)) => {
            return Err(Failure::failed(error.to_string())
                .advise("use that one, or give this one another folder with --data-dir"));
        }
        Err(StartError::Other(error)) => return Err(Failure::from(error)),
    };
    let handle = agent.handle();
    // From here on jobs of an earlier run may be going on, so every way out ends them first.
    let begun = tokio::select! {
        begun = begin(&handle, arguments, invitation, runtime_dir) => begun,
        () = signals.wait() => Err(Failure::failed("ended while joining the market")),
    };
    let served = match begun {
        Ok(served) => served,
        Err(failure) => {
            handle.shutdown().await;
            return Err(failure);
        }
    };
    let view = handle.view().borrow().clone();
    let market = view.identity.coordinator.clone();
    let mut words = format!(
        "ready: host {}, {}, data in {}",
        &view.identity.host_key[..view.identity.host_key.len().min(16)],
        market.as_deref().map_or_else(|| String::from("in no market"), |url| format!("market {url}")),
        data_dir.display()
    );
    if let Some(served) = &served {
        words = format!("{words}\n{}", browser::words(served));
    }
    let object = json!({
        "ready": true,
        "host_key": view.identity.host_key,
        "coordinator": market,
        "data_dir": data_dir,
        "control": socket,
        "ui": served.as_ref().map(|served| &served.link),
    });
    output.print(&object, &words)?;
    if market.is_none() && served.is_none() {
        note(
            "this PC belongs to no market yet: start it once with --pair and the link or, with --coordinator URL, the code of its operator",
        );
    }

    live(agent, signals).await
}

/// Until the host has ended; begins anew where a newer version lies in this one's place or the clock was set.
async fn live(agent: Agent, signals: Signals) -> Result<(), Failure> {
    let handle = agent.handle();
    tokio::spawn(end_by(signals, handle.clone()));
    agent.join().await?;
    #[cfg(unix)]
    if handle.begins_anew() {
        let arguments = update::without("--pair", std::env::args_os().skip(1));
        let error = update::begin_anew(arguments);
        return Err(Failure::failed(format!("this program cannot be started anew: {error}")));
    }
    Ok(())
}

async fn end_by(mut signals: Signals, handle: AgentHandle) {
    let begin_anew = async {
        handle.restart_due().await;
        note("starting anew: a newer version is installed, or this PC's clock was set");
        handle.restart().await;
    };
    tokio::select! {
        () = begin_anew => {}
        // Also during a new start.
        () = signals.wait() => {
            note("ending: jobs end first");
            handle.shutdown().await;
        }
    }
}

/// Joins the market and opens the page, as far as either is asked for.
async fn begin(
    handle: &AgentHandle,
    arguments: &Host,
    invitation: Option<Invitation>,
    runtime_dir: PathBuf,
) -> Result<Option<Served>, Failure> {
    join_market(handle, arguments, invitation).await?;
    match arguments.ui {
        Some(port) => browser::serve(runtime_dir, port).await.map(Some),
        None => Ok(None),
    }
}

/// Serves the page of the host that runs already, until that host ends or this command is ended.
async fn look_on(
    runtime_dir: PathBuf,
    arguments: &Host,
    mut signals: Signals,
    output: Output,
) -> Result<(), Failure> {
    let gone = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::NotRunning, format!("the host that runs here does not answer: {error}"))
    };
    let mut client = Client::connect(&runtime_dir).await.map_err(|error| gone(&error))?;
    client.request(&ControlRequest::Watch).await.map_err(|error| gone(&error))?;
    let served = browser::serve(runtime_dir, arguments.ui.unwrap_or_default()).await?;
    output.print(&json!({ "ui": served.link }), &browser::words(&served))?;
    tokio::select! {
        () = signals.wait() => {}
        () = async { while client.next().await.is_ok() {} } => note("the host has ended, and its page with it"),
    }
    Ok(())
}

async fn join_market(
    handle: &AgentHandle,
    arguments: &Host,
    invitation: Option<Invitation>,
) -> Result<(), Failure> {
    if let Some(Invitation { market, code }) = invitation {
        note(&format!("joining {market}"));
        return handle.enrol(&market, &code).await.map_err(refused);
    }
    let Some(url) = arguments.coordinator.as_deref().map(|url| url.trim_end_matches('/')) else {
        return Ok(());
    };
    let known = handle.view().borrow().identity.coordinator.clone();
    match known {
        Some(known) if known.trim_end_matches('/') == url => Ok(()),
        Some(known) => Err(Failure::usage(format!("this host belongs to the market {known}, not to {url}"))
            .advise("add --pair - to change the market, or leave --coordinator out")),
        None => Err(Failure::usage(format!("this host does not belong to {url} yet"))
            .advise("add --pair - and type the pairing code or link that the market's operator gave you")),
    }
}

fn refused(error: EnrolError) -> Failure {
    match error {
        EnrolError::Refused(body) => Failure::from(body),
        EnrolError::Unreachable { .. } => Failure::new(Exit::Unreachable, error.to_string()),
        EnrolError::Storage(_) | EnrolError::Ending => Failure::failed(error.to_string()),
    }
}

impl Host {
    /// Nothing was said of the host itself, so one that runs already will do.
    fn looks_on(&self) -> bool {
        let begins = [&self.coordinator, &self.pair, &self.docker].iter().any(|given| given.is_some());
        self.ui.is_some() && !begins && self.config.is_none()
    }
}
