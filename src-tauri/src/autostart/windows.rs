//! A value of the account's own part of the registry, and the one in which the Task Manager keeps what was switched off
//! there.

use anyhow::Context;
use windows_registry::CURRENT_USER;

use crate::command_line;

const RUN: &str = r"Software\Microsoft\Windows\CurrentVersion\Run";
const APPROVED: &str = r"Software\Microsoft\Windows\CurrentVersion\Explorer\StartupApproved\Run";
const NAME: &str = "Nightjar";

pub fn is_on() -> Option<bool> {
    let is_there = CURRENT_USER.open(RUN).is_ok_and(|key| key.get_string(NAME).is_ok());
    Some(is_there && !is_vetoed())
}

/// Switched off in the Task Manager: then the first byte is odd, whatever the command is.
fn is_vetoed() -> bool {
    let kept = CURRENT_USER.open(APPROVED).and_then(|key| key.get_value(NAME));
    kept.is_ok_and(|value| value.first().is_some_and(|byte| byte & 1 == 1))
}

/// # Errors
/// When the account's registry cannot be written.
pub fn set(on: bool) -> anyhow::Result<()> {
    if !on {
        return remove(RUN).and_then(|()| remove(APPROVED));
    }
    let command = command_line::of(&command_line::program()?, "--hidden")?;
    let key = CURRENT_USER.create(RUN).with_context(|| format!("{RUN} cannot be opened for writing"))?;
    key.set_string(NAME, &command).with_context(|| format!("{RUN} cannot be written"))?;
    // The owner's click here is newer than one in the Task Manager.
    remove(APPROVED)
}

fn remove(path: &str) -> anyhow::Result<()> {
    let is_there = CURRENT_USER.open(path).is_ok_and(|key| key.get_value(NAME).is_ok());
    if !is_there {
        return Ok(());
    }
    let key = CURRENT_USER.create(path).with_context(|| format!("{path} cannot be opened for writing"))?;
    key.remove_value(NAME).with_context(|| format!("{NAME} cannot be removed from {path}"))
}
