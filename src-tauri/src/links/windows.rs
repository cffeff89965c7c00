//! The scheme's key in the account's own part of the registry. It names the program by its path, so it is written anew at
//! each start, unless the owner has switched it off.

use anyhow::Context;
use windows_registry::CURRENT_USER;

use crate::command_line;

const CLASS: &str = r"Software\Classes\nightjar";
const COMMAND: &str = r"Software\Classes\nightjar\shell\open\command";
/// What the app itself keeps for the account.
const OWN: &str = r"Software\Nightjar";
const SWITCHED_OFF: &str = "LinksOff";

pub fn is_on() -> Option<bool> {
    let ours = line().ok();
    let kept = CURRENT_USER.open(COMMAND).and_then(|key| key.get_string("")).ok();
    Some(kept.is_some() && kept == ours)
}

/// # Errors
/// When the account's registry cannot be written.
pub fn set(on: bool) -> anyhow::Result<()> {
    let own = CURRENT_USER.create(OWN).with_context(|| format!("{OWN} cannot be opened for writing"))?;
    own.set_u32(SWITCHED_OFF, u32::from(!on)).with_context(|| format!("{OWN} cannot be written"))?;
    if on {
        return enter();
    }
    match CURRENT_USER.open(CLASS) {
        Ok(_) => CURRENT_USER.remove_tree(CLASS).with_context(|| format!("{CLASS} cannot be removed")),
        Err(_) => Ok(()),
    }
}

/// At the app's start: it may lie elsewhere than the last time.
pub fn keep() {
    let is_off = CURRENT_USER.open(OWN).and_then(|key| key.get_u32(SWITCHED_OFF)).is_ok_and(|off| off == 1);
    if is_off || is_on() == Some(true) {
        return;
    }
    if let Err(error) = enter() {
        tracing::warn!("nightjar:// links do not open this app: {error:#}");
    }
}

fn enter() -> anyhow::Result<()> {
    let line = line()?;
    let failed = || format!("{CLASS} cannot be written");
    let class = CURRENT_USER.create(CLASS).with_context(failed)?;
    class.set_string("", "URL:Nightjar").with_context(failed)?;
    // That it is there makes the key one of a scheme.
    class.set_string("URL Protocol", "").with_context(failed)?;
    let command = CURRENT_USER.create(COMMAND).with_context(failed)?;
    command.set_string("", &line).with_context(failed)
}

fn line() -> anyhow::Result<String> {
    command_line::of(&command_line::program()?, "\"%1\"")
}
