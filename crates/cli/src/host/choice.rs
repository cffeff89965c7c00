//! Choices of a host's owner that pass by themselves, presets, and what the sensors see.

use nightjar_core::host::UserCommand;
use nightjar_core::preset::Preset;
use nightjar_protocol::control::ControlRequest;
use nightjar_protocol::view::ViewModel;

use super::grip::{Grip, view};
use crate::arguments::{Earn, Finish, HostPlace, Pause, PresetChoice, PresetName};
use crate::failure::Failure;
use crate::output::{Output, Table, printable};
use crate::quantity::spell_ms;

/// # Errors
/// When no host runs, or it does not take the duration.
pub async fn pause(arguments: &Pause, output: Output) -> Result<(), Failure> {
    let (command, said) = if arguments.until_game_ends {
        (UserCommand::SnoozeForGame, String::from("paused until the game ends"))
    } else {
        let for_ms = match arguments.until {
            Some(until) => until.from(&jiff::ZonedDateTime::now()).map_err(Failure::usage)?,
            None => arguments.duration,
        };
        (UserCommand::Snooze { for_ms }, format!("paused for {}", spell_ms(for_ms)))
    };
    let view = Grip::connect(&arguments.place).await?.command(command).await?;
    print_choice(&view, &said, output)
}

/// # Errors
/// When no host runs.
pub async fn resume(place: &HostPlace, output: Output) -> Result<(), Failure> {
    let view = Grip::connect(place).await?.command(UserCommand::EndOverrides).await?;
    print_choice(&view, "no pause", output)
}

/// # Errors
/// When no host runs, or it does not take the duration.
pub async fn earn(arguments: &Earn, output: Output) -> Result<(), Failure> {
    let command = UserCommand::EarnNow { for_ms: arguments.duration, until_back: arguments.until_back };
    let view = Grip::connect(&arguments.place).await?.command(command).await?;
    let said = view.choice.clone().unwrap_or_default();
    print_choice(&view, &printable(&said), output)
}

/// # Errors
/// When no host runs, or it does not take the duration.
pub async fn finish(arguments: &Finish, output: Output) -> Result<(), Failure> {
    let command = UserCommand::LastJob { for_ms: arguments.duration };
    let view = Grip::connect(&arguments.place).await?.command(command).await?;
    print_choice(&view, &format!("no other job for {}", spell_ms(arguments.duration)), output)
}

/// What was done, and the host's sentence, which names its first trouble and need not be about it.
fn print_choice(view: &ViewModel, said: &str, output: Output) -> Result<(), Failure> {
    output.print(view, &format!("{said}\n{}", printable(&view.sentence)))
}

/// # Errors
/// When no host runs, or its settings cannot be read.
pub async fn preset(arguments: &PresetChoice, output: Output) -> Result<(), Failure> {
    let mut grip = Grip::connect(&arguments.place).await?;
    let view = match arguments.name {
        Some(name) => grip.command(UserCommand::ApplyPreset { preset: chosen(name) }).await?,
        None => view(grip.ask(ControlRequest::Status).await?)?,
    };
    let name = match view.preset {
        Some(Preset::Careful) => "careful",
        Some(Preset::Balanced) => "balanced",
        Some(Preset::Eager) => "eager",
        None => "none: the settings are your own",
    };
    output.print(&view, name)
}

fn chosen(name: PresetName) -> Preset {
    match name {
        PresetName::Careful => Preset::Careful,
        PresetName::Balanced => Preset::Balanced,
        PresetName::Eager => Preset::Eager,
    }
}

/// # Errors
/// When no host runs.
pub async fn sensors(place: &HostPlace, output: Output) -> Result<(), Failure> {
    let view = view(Grip::connect(place).await?.ask(ControlRequest::Status).await?)?;
    let mut table = Table::new(&["WATCHES", "THROUGH", "SAYS"]);
    for line in &view.sensors {
        table.row([&line.what, &line.sign.source, &line.sentence].map(|text| printable(text)).to_vec());
    }
    output.print(&view.sensors, &table.to_string())
}
