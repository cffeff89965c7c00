//! Choices of a host's owner that pass by themselves, presets, and what the sensors see.

use nightjar_core::host::UserCommand;
use nightjar_core::preset::Preset;
use nightjar_protocol::control::ControlRequest;
use nightjar_protocol::view::ViewModel;
use serde_json::json;

use super::grip::{Grip, view};
use super::schedule::{keep, open};
use crate::arguments::{Earn, Finish, HostPlace, OnOff, Pause, PresetChoice, PresetName, Sensors};
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
/// When the choice is not taken, or nothing else is asked and no host runs.
pub async fn sensors(arguments: &Sensors, output: Output) -> Result<(), Failure> {
    if let Some(choice) = arguments.no_desktop {
        return set_without_presence(&arguments.place, choice == OnOff::On, output).await;
    }
    let view = view(Grip::connect(&arguments.place).await?.ask(ControlRequest::Status).await?)?;
    let mut table = Table::new(&["WATCHES", "THROUGH", "SAYS"]);
    for line in &view.sensors {
        table.row([&line.what, &line.sign.source, &line.sentence].map(|text| printable(text)).to_vec());
    }
    output.print(&view.sensors, &table.to_string())
}

/// The one choice of the window's page that a PC without a desktop cannot do without.
async fn set_without_presence(place: &HostPlace, is_without: bool, output: Output) -> Result<(), Failure> {
    let (mut settings, keeper) = open(place).await?;
    settings.without_presence = is_without;
    keep(&settings, keeper).await?;
    let words = if is_without {
        "lends without seeing whether somebody is there; whoever sits at this PC would share its card and be told nothing"
    } else {
        "lends only while it can be seen that nobody is there"
    };
    output.print(&json!({ "without_presence": is_without }), words)
}
