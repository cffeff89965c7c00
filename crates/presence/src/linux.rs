//! Linux. [`input`] watches mouse and keyboard; the other modules are one sign each.

mod bus;
pub(crate) mod containerised;
mod controllers;
mod full_screen;
mod gamemode;
mod inhibitors;
mod input;
mod lock;
mod logind;
mod network;
mod newcomers;
mod poll;
mod proc;
mod scan;
mod seat;
mod service;
mod sessions;
mod sleep;
mod supply;
mod upower;

pub(crate) use input::{Watch, watch};

use x11rb::connection::RequestConnection as _;
use x11rb::errors::ReplyError;
use x11rb::protocol::xinput::{self, ConnectionExt as _, Device};
use x11rb::protocol::xproto::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;

use crate::signals::Start;

/// As what this program makes itself known to other programs; what it asks for itself is no sign of the user.
const OURSELVES: &str = "Nightjar";

/// Every sensor of signs beside input.
pub(crate) const SENSORS: &[Start] = &[bus::start, controllers::start, full_screen::start, scan::start];

/// Xwayland hears only what is meant for X11 windows, and knows only of those.
fn is_xwayland(connection: &RustConnection) -> Result<bool, ReplyError> {
    if connection.query_extension(b"XWAYLAND")?.reply()?.present {
        return Ok(true);
    }
    // An older one is known by its devices.
    if connection.extension_information(xinput::X11_EXTENSION_NAME)?.is_none() {
        return Ok(false);
    }
    let devices = connection.xinput_xi_query_device(Device::ALL)?.reply()?;
    Ok(devices.infos.iter().any(|device| device.name.starts_with(b"xwayland-")))
}
