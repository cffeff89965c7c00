//! `nightjar`: rent a card, or lend yours. This file only routes.

mod arguments;
mod failure;
mod host;
mod manual;
mod moment;
mod output;
mod quantity;
mod renter;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use arguments::{Arguments, Command};
use failure::Failure;
use output::Output;
use renter::RenterState;

/// How long what still runs may take after the command is done; a read of standard input would never end.
const LINGER: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log(&arguments.command);
    let output = Output { json: arguments.json };
    // What goes through these two is the far side's own; an object of ours would be taken for its output.
    let is_a_pipe = matches!(arguments.command, Command::Proxy(_) | Command::Ssh(_));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::failed(format!("the program cannot start: {error}")), output),
    };
    let done = runtime.block_on(perform(arguments.command, output));
    runtime.shutdown_timeout(LINGER);
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => report(&failure, Output { json: output.json && !is_a_pipe }),
    }
}

fn report(failure: &Failure, output: Output) -> ExitCode {
    if output.json {
        // Standard output may be what failed; the exit code says it all the same.
        let _ = output.print(&failure.json(), "");
    }
    output::note(&format!("nightjar: {failure}"));
    ExitCode::from(failure.exit as u8)
}

/// The host tells what it does; for the other commands the answer is enough, and warnings of libraries are noise.
fn log(command: &Command) {
    let usual = match command {
        Command::Host(_) => "warn,nightjar=info",
        _ => "off",
    };
    let filter = EnvFilter::try_from_env("NIGHTJAR_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}

async fn perform(command: Command, output: Output) -> Result<u8, Failure> {
    let state = || RenterState::open(None);
    let done = match &command {
        Command::Offers(arguments) => return renter::offers(&state()?, &arguments.filters, output).await,
        Command::Ssh(arguments) => return renter::ssh(&state()?, arguments).await,
        Command::Doctor(arguments) => return host::doctor(&arguments.place, output).await,
        Command::Login(arguments) => renter::login(&state()?, arguments, output).await,
        Command::Logout => renter::logout(&state()?, output),
        Command::Account => renter::account(&state()?, output).await,
        Command::Rent(arguments) => renter::rent(&state()?, arguments, output).await,
        Command::Leases(arguments) => renter::leases(&state()?, arguments, output).await,
        Command::Volumes => renter::volumes(&state()?, output).await,
        Command::Show(arguments) => renter::show(&state()?, arguments, output).await,
        Command::SshConfig(arguments) => renter::ssh_config(&state()?, arguments, output).await,
        Command::Proxy(arguments) => {
            renter::proxy(&RenterState::open(arguments.renter_dir.clone())?, arguments).await
        }
        Command::Jupyter(arguments) => renter::jupyter(&state()?, arguments, output).await,
        Command::Api(arguments) => renter::api(&state()?, arguments, output).await,
        Command::Stop(arguments) => renter::stop(&state()?, arguments, output).await,
        Command::Statement(arguments) => renter::statement(&state()?, arguments, output).await,
        Command::Host(arguments) => host::run(arguments, output).await,
        Command::Gpu(arguments) => host::gpu(arguments, output).await,
        Command::Status(arguments) => host::status(arguments, output).await,
        Command::Why(arguments) => host::why(arguments, output).await,
        Command::Pause(arguments) => host::pause(arguments, output).await,
        Command::Resume(place) => host::resume(place, output).await,
        Command::Earn(arguments) => host::earn(arguments, output).await,
        Command::Finish(arguments) => host::finish(arguments, output).await,
        Command::Preset(arguments) => host::preset(arguments, output).await,
        Command::Sensors(sensors) => host::sensors(sensors, output).await,
        Command::Power(arguments) => host::power(arguments, output).await,
        Command::StopJob(arguments) => host::stop_job(arguments, output).await,
        Command::Tenants(arguments) => host::tenants(arguments, output).await,
        Command::Schedule { command } => host::schedule(command, output).await,
        Command::Network { command } => host::network(command, output).await,
        Command::Images { command } => host::images(command, output).await,
        Command::Quit(place) => host::quit(place, output).await,
        Command::Completions { shell } => manual::completions(*shell),
        Command::Manual { folder } => manual::pages(folder),
    };
    done.map(|()| 0)
}
