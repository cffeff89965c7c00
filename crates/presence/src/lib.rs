//! Is somebody using this PC?
//!
//! [`watch`] starts one thread that hears of input and tells its callback of each change: the first input after a
//! pause ([`PresenceEvent::Active`]), the pause after it ([`PresenceEvent::Idle`]), and a sensor that went away
//! ([`PresenceEvent::Lost`]). Nobody is told which key or where the pointer is: that never leaves the sensor.
//!
//! | session | told by | wake-ups while idle |
//! | --- | --- | --- |
//! | X11 | XInput2 raw events, XSync alarms on `IDLETIME` | none |
//! | Wayland | `ext-idle-notify-v1` (KWin, wlroots, COSMIC) | none |
//! | GNOME on Wayland | Mutter's idle monitor on D-Bus | none |
//! | other Wayland | logind's `IdleHint`, as late as the desktop sets it | none |
//! | Windows | `GetLastInputInfo` | ten a second: Windows has no event for it |
//!
//! All tell of input, none of the screen: a film that plays, or a screen that was turned off, is another sign
//! ([`signals`]).

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;
#[cfg(not(any(target_os = "linux", windows)))]
mod unsupported;
#[cfg(not(any(target_os = "linux", windows)))]
use unsupported as system;

mod attention;
#[cfg(any(target_os = "linux", windows))]
mod controller;
#[cfg(any(target_os = "linux", windows))]
mod games;
#[cfg(any(target_os = "linux", windows))]
mod load;
#[cfg(any(target_os = "linux", windows))]
mod pads;
#[cfg(any(target_os = "linux", windows))]
mod process;
#[cfg(any(target_os = "linux", windows))]
mod remote;
mod signals;

use std::fmt;
use std::time::Duration;

pub use attention::Attention;
#[cfg(target_os = "linux")]
pub use linux::containerised::{container_of, containerised};
pub use nightjar_core::signal::{Sign, SignalKind, Standing};
pub use signals::{SignalOptions, Signals, Sink, SleepGuard, signals};

/// A change in whether somebody is using this PC. The callback gets the present state first, then each change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresenceEvent {
    /// Input was seen just now. Not repeated while it goes on.
    Active,
    /// There was no input for at least [`Options::settled_after`].
    Idle { last_input_ago: Duration },
    /// Nothing is known any more. The sensor tries to come back by itself, and then tells the present state.
    Lost { detail: String },
}

/// Why presence cannot be seen here. Each is a sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    #[error(
        "there is no desktop session to watch (DISPLAY is not set): start Nightjar from within the desktop, or set \
         DISPLAY to the session's display, e.g. DISPLAY=:0"
    )]
    NoDisplay,
    #[error(
        "DISPLAY is {display}, the screen of another computer: set DISPLAY to this PC's own session, e.g. DISPLAY=:0"
    )]
    ForeignDisplay { display: String },
    #[error(
        "this Wayland session tells nobody whether somebody is there ({tried}): log in to an X11 session (\"Xorg\" on the \
         login screen), or use a desktop with ext-idle-notify-v1"
    )]
    WaylandSession { tried: String },
    #[error(
        "the X server of display {display} cannot be reached ({cause}): check that the session runs, and that \
         XAUTHORITY names its authority file"
    )]
    Unreachable { display: String, cause: String },
    #[error(
        "the X server lacks {what}, without which input cannot be heard: use one that has it, such as Xorg"
    )]
    ExtensionMissing { what: &'static str },
    #[error(
        "the operating system refused what the presence sensor needs ({cause}): free some memory and start again"
    )]
    NoResources { cause: String },
    #[error("presence cannot be seen on this operating system yet: Nightjar can do so on Linux and Windows")]
    Platform,
}

/// What to watch, and how finely.
#[derive(Clone, Debug)]
pub struct Options {
    /// The X display, e.g. `:0`; `None` where there is none. Without a meaning on Windows.
    pub display: Option<String>,
    /// The Wayland socket, e.g. `wayland-0`; `None` where there is none.
    pub wayland: Option<String>,
    /// Address of the session's bus; `None` for the one of the environment.
    pub session_bus: Option<String>,
    /// Address of the system's bus; `None` for the usual one.
    pub system_bus: Option<String>,
    /// So long there must be no input before [`PresenceEvent::Idle`] is told, and so often at most events come
    /// while somebody types. At least 20 ms, at most an hour.
    pub settled_after: Duration,
}

impl Options {
    /// The session that this program was started in.
    #[must_use]
    pub fn from_environment() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            display: set("DISPLAY"),
            wayland: set("WAYLAND_DISPLAY"),
            session_bus: None,
            system_bus: None,
            settled_after: Duration::from_secs(1),
        }
    }
}

/// Where the events come from, and what they have cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// E.g. `X11 :0`.
    pub source: String,
    /// How often the thread was woken since it began.
    pub wakeups: u64,
    /// How often the sensor was lost and found again.
    pub reconnections: u64,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} wake-ups, {} reconnections", self.source, self.wakeups, self.reconnections)
    }
}

/// A running sensor. It ends when this is dropped; after that the callback is not called any more.
#[derive(Debug)]
pub struct Watch {
    system: system::Watch,
}

impl Watch {
    /// For the user who asks why Nightjar thinks what it thinks.
    #[must_use]
    pub fn diagnosis(&self) -> Diagnosis {
        self.system.diagnosis()
    }
}

/// Watches the session that this program was started in.
///
/// `on_event` runs on the sensor's thread, within microseconds of the event: it should hand the event on and return.
pub fn watch(on_event: impl FnMut(PresenceEvent) + Send + 'static) -> Result<Watch, Unavailable> {
    watch_with(Options::from_environment(), on_event)
}

/// As [`watch`], for a session of the caller's choice.
pub fn watch_with(
    mut options: Options,
    on_event: impl FnMut(PresenceEvent) + Send + 'static,
) -> Result<Watch, Unavailable> {
    options.settled_after = options.settled_after.clamp(Duration::from_millis(20), Duration::from_secs(3600));
    let system = system::watch(options, Box::new(on_event))?;
    Ok(Watch { system })
}

/// Called for each event.
type OnEvent = Box<dyn FnMut(PresenceEvent) + Send>;
