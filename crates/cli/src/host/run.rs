//! The headless host.

use std::io::{BufRead, IsTerminal, Read};

use nightjar_agent::{Agent, AgentHandle, EngineAddress, EnrolError, Signals, StartError};
use serde_json::json;

use crate::arguments::{Host, HostPlace};
use crate::failure::{Exit, Failure};
use crate::output::{Output, note};

/// No pairing code is longer.
const MAX_CODE_BYTES: u64 = 256;

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
    let code = arguments.pair.as_deref().map(pairing_code).transpose()?;
    let socket = nightjar_agent::control::socket_path(&config.runtime_dir);
    let data_dir = config.data_dir.clone();
    let mut signals = Signals::listen();
    let agent = Agent::start(config).await.map_err(|error| match error {
        StartError::AlreadyRunning(_) => Failure::failed(error.to_string())
            .advise("use that one, or give this one another folder with --data-dir"),
        StartError::Other(error) => Failure::from(error),
    })?;
    let handle = agent.handle();
    // From here on jobs of an earlier run may be going on, so every way out ends them first.
    let joined = tokio::select! {
        joined = join_market(&handle, arguments, code.as_deref()) => joined,
        () = signals.wait() => Err(Failure::failed("ended while joining the market")),
    };
    if let Err(failure) = joined {
        handle.shutdown().await;
        return Err(failure);
    }
    let view = handle.view().borrow().clone();
    let market = view.identity.coordinator.clone();
    let words = format!(
        "ready: host {}, {}, data in {}",
        &view.identity.host_key[..view.identity.host_key.len().min(16)],
        market.as_deref().map_or_else(|| String::from("in no market"), |url| format!("market {url}")),
        data_dir.display()
    );
    let object = json!({
        "ready": true,
        "host_key": view.identity.host_key,
        "coordinator": market,
        "data_dir": data_dir,
        "control": socket,
    });
    output.print(&object, &words)?;
    if market.is_none() {
        note("this PC belongs to no market yet: start it once with --coordinator URL --pair -");
    }

    let ending = handle.clone();
    tokio::spawn(async move {
        signals.wait().await;
        note("ending: jobs end first");
        ending.shutdown().await;
    });
    Ok(agent.join().await?)
}

async fn join_market(handle: &AgentHandle, arguments: &Host, code: Option<&str>) -> Result<(), Failure> {
    let Some(url) = arguments.coordinator.as_deref().map(|url| url.trim_end_matches('/')) else {
        return Ok(());
    };
    if let Some(code) = code {
        note(&format!("joining {url}"));
        return handle.enrol(url, code).await.map_err(refused);
    }
    let known = handle.view().borrow().identity.coordinator.clone();
    match known {
        Some(known) if known.trim_end_matches('/') == url => Ok(()),
        Some(known) => Err(Failure::usage(format!("this host belongs to the market {known}, not to {url}"))
            .advise("add --pair - to change the market, or leave --coordinator out")),
        None => Err(Failure::usage(format!("this host does not belong to {url} yet"))
            .advise("add --pair - and type the pairing code that the market's operator gave you")),
    }
}

fn refused(error: EnrolError) -> Failure {
    match error {
        EnrolError::Refused(body) => Failure::from(body),
        EnrolError::Unreachable { .. } => Failure::new(Exit::Unreachable, error.to_string()),
        EnrolError::Storage(_) | EnrolError::Ending => Failure::failed(error.to_string()),
    }
}

/// The code that was given, or the first line of standard input for `-`.
fn pairing_code(given: &str) -> Result<String, Failure> {
    let mut code = given.to_owned();
    if given == "-" {
        if std::io::stdin().is_terminal() {
            note("Pairing code:");
        }
        code.clear();
        std::io::stdin()
            .lock()
            .take(MAX_CODE_BYTES + 1)
            .read_line(&mut code)
            .map_err(|error| Failure::failed(format!("the pairing code cannot be read: {error}")))?;
    }
    let code = code.trim();
    let fits = !code.is_empty()
        && code.len() as u64 <= MAX_CODE_BYTES
        && code.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if !fits {
        return Err(Failure::usage("that is no pairing code")
            .advise("`nightjar-coordinator pair` prints one to the market's operator"));
    }
    Ok(code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pairing_code_is_one_bounded_line() {
        assert_eq!(pairing_code(" ABCD-2345 "), Ok("ABCD-2345".into()));
        for wrong in ["", "  ", "a\u{7}b", &"x".repeat(300)] {
            assert_eq!(pairing_code(wrong).unwrap_err().exit, Exit::Usage);
        }
    }
}
