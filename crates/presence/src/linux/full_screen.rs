//! A window in full screen that the user looks at: films, games and presentations. On X11 the window manager writes which
//! window is active and in what state each is (EWMH), and the server tells of each change. A Wayland compositor tells
//! nobody.

use std::sync::Arc;
use std::time::Duration;

use nightjar_core::signal::{SignalKind, Standing};
use x11rb::connection::Connection as _;
use x11rb::errors::{ConnectionError, ReplyError};
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ChangeWindowAttributesAux, ConnectionExt as _, EventMask, Window,
};
use x11rb::rust_connection::RustConnection;

use super::poll::{Close, Ends, Woken};
use crate::signals::{Guard, SignalOptions, Sink, tell};

const SOURCE: &str = "x11";
const ON_WAYLAND: &str = "a Wayland session does not tell which window is in full screen; a film or a game is seen \
                          there when it keeps the screen awake or announces itself";
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// In words of four bytes: what is read of a name or a list.
const LONGEST_PROPERTY: u32 = 256;
/// Characters of a window's name that are told.
const LONGEST_NAME: usize = 120;

pub(super) fn start(options: &SignalOptions, sink: Sink) -> Option<Guard> {
    let Some(display) = options.display.clone() else {
        let detail = if options.wayland.is_some() {
            ON_WAYLAND
        } else {
            "there is no desktop session to watch for windows in full screen (DISPLAY is not set)"
        };
        unavailable(&sink, detail.into());
        return None;
    };
    let failed = Arc::clone(&sink);
    match spawn(display, sink) {
        Ok(guard) => Some(guard),
        Err(error) => {
            unavailable(&failed, format!("windows in full screen cannot be watched ({error})"));
            None
        }
    }
}

fn spawn(display: String, sink: Sink) -> std::io::Result<Guard> {
    let close = Arc::new(Close::new()?);
    let ends = Ends(Arc::clone(&close));
    std::thread::Builder::new().name("full-screen".into()).spawn(move || run(&display, &close, &sink))?;
    Ok(Box::new(ends))
}

fn unavailable(sink: &Sink, detail: String) {
    tell(sink, SignalKind::FullScreen, SOURCE, Standing::Unavailable { detail });
}

/// Watches, and waits for the server where there is none.
fn run(display: &str, close: &Close, sink: &Sink) {
    let mut pause = FIRST_RETRY;
    loop {
        match Screen::open(display) {
            Ok(mut screen) => {
                pause = FIRST_RETRY;
                match screen.serve(close, sink) {
                    Ok(()) => return,
                    Err(error) => unavailable(sink, cannot(display, &error)),
                }
            }
            Err(detail) => unavailable(sink, detail),
        }
        if close.wait(None, Some(pause)) == Woken::Close {
            return;
        }
        pause = (pause * 2).min(LAST_RETRY);
    }
}

fn cannot(display: &str, error: &dyn std::fmt::Display) -> String {
    format!("the X server of display {display} does not tell of windows in full screen ({error})")
}

x11rb::atom_manager! {
    Atoms: AtomsCookie {
        _NET_ACTIVE_WINDOW,
        _NET_WM_STATE,
        _NET_WM_STATE_FULLSCREEN,
        _NET_WM_NAME,
        _NET_WM_PID,
        _NET_SUPPORTING_WM_CHECK,
        UTF8_STRING,
    }
}

struct Screen {
    connection: RustConnection,
    root: Window,
    atoms: Atoms,
    active: Option<Window>,
    /// The active window is in full screen.
    seen: bool,
}

impl Screen {
    fn open(display: &str) -> Result<Self, String> {
        let (connection, screen) =
            RustConnection::connect(Some(display)).map_err(|error| cannot(display, &error))?;
        let root = connection.setup().roots[screen].root;
        let is_xwayland = super::is_xwayland(&connection).map_err(|error| cannot(display, &error))?;
        if is_xwayland {
            return Err(ON_WAYLAND.into());
        }
        let atoms = Atoms::new(&connection).map_err(|error| cannot(display, &error))?;
        let atoms = atoms.reply().map_err(|error| cannot(display, &error))?;
        Ok(Self { connection, root, atoms, active: None, seen: false })
    }

    /// Tells the present standing, then each change, until told to end.
    fn serve(&mut self, close: &Close, sink: &Sink) -> Result<(), ReplyError> {
        self.listen_to(self.root, EventMask::PROPERTY_CHANGE)?;
        loop {
            self.look(sink)?;
            loop {
                self.connection.flush()?;
                if self.something_changed()? {
                    break;
                }
                if close.wait(Some(self.stream()), None) == Woken::Close {
                    return Ok(());
                }
            }
        }
    }

    fn stream(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(self.connection.stream())
    }

    /// Takes everything that has arrived.
    fn something_changed(&self) -> Result<bool, ConnectionError> {
        let mut changed = false;
        while let Some(event) = self.connection.poll_for_event()? {
            let notify = match event {
                Event::PropertyNotify(notify) => notify,
                // A window manager need not tell that the active window went with its program: Openbox does not where there
                // is no other.
                Event::DestroyNotify(gone) => {
                    changed |= self.active == Some(gone.window);
                    continue;
                }
                _ => continue,
            };
            let Atoms { _NET_ACTIVE_WINDOW, _NET_SUPPORTING_WM_CHECK, _NET_WM_STATE, _NET_WM_NAME, .. } =
                self.atoms;
            changed |= if notify.window == self.root {
                [_NET_ACTIVE_WINDOW, _NET_SUPPORTING_WM_CHECK].contains(&notify.atom)
            } else {
                // Terminals and browsers write their titles anew all the time.
                notify.atom == _NET_WM_STATE || (notify.atom == _NET_WM_NAME && self.seen)
            };
        }
        Ok(changed)
    }

    /// Asks for the present standing.
    fn look(&mut self, sink: &Sink) -> Result<(), ReplyError> {
        if self.window(self.root, self.atoms._NET_SUPPORTING_WM_CHECK)?.is_none() {
            let detail = "no window manager tells which window is in full screen (EWMH)".to_owned();
            unavailable(sink, detail);
            return Ok(());
        }
        let active = self.window(self.root, self.atoms._NET_ACTIVE_WINDOW)?;
        if active != self.active {
            if let Some(left) = self.active {
                self.listen_to(left, EventMask::NO_EVENT)?;
            }
            if let Some(entered) = active {
                // Before it is asked: what changes in between is told.
                self.listen_to(entered, EventMask::PROPERTY_CHANGE | EventMask::STRUCTURE_NOTIFY)?;
            }
            self.active = active;
        }
        let name = match active {
            Some(window) if self.is_full_screen(window)? && !self.is_ours(window)? => self.name(window)?,
            _ => None,
        };
        let standing = name.map_or(Standing::Quiet, |name| Standing::Seen { name });
        self.seen = matches!(standing, Standing::Seen { .. });
        tell(sink, SignalKind::FullScreen, SOURCE, standing);
        Ok(())
    }

    /// The window may be gone, which is an error that nobody needs to hear of.
    fn listen_to(&self, window: Window, events: EventMask) -> Result<(), ConnectionError> {
        let events = ChangeWindowAttributesAux::new().event_mask(events);
        self.connection.change_window_attributes(window, &events)?.ignore_error();
        Ok(())
    }

    /// Empty where the window has none of this name; `None` where there is no such window any more.
    fn property(
        &self,
        window: Window,
        name: Atom,
        kind: impl Into<Atom>,
    ) -> Result<Option<Vec<u8>>, ReplyError> {
        let asked = self.connection.get_property(false, window, name, kind, 0, LONGEST_PROPERTY)?;
        match asked.reply() {
            Ok(reply) => Ok(Some(reply.value)),
            Err(ReplyError::X11Error(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn words(&self, window: Window, name: Atom, kind: AtomEnum) -> Result<Vec<u32>, ReplyError> {
        let value = self.property(window, name, kind)?.unwrap_or_default();
        let (words, _) = value.as_chunks::<4>();
        Ok(words.iter().map(|word| u32::from_ne_bytes(*word)).collect())
    }

    fn window(&self, window: Window, name: Atom) -> Result<Option<Window>, ReplyError> {
        let found = self.words(window, name, AtomEnum::WINDOW)?.first().copied();
        Ok(found.filter(|window| *window != x11rb::NONE))
    }

    fn is_full_screen(&self, window: Window) -> Result<bool, ReplyError> {
        let states = self.words(window, self.atoms._NET_WM_STATE, AtomEnum::ATOM)?;
        Ok(states.contains(&self.atoms._NET_WM_STATE_FULLSCREEN))
    }

    fn is_ours(&self, window: Window) -> Result<bool, ReplyError> {
        let process = self.words(window, self.atoms._NET_WM_PID, AtomEnum::CARDINAL)?;
        Ok(process.first() == Some(&std::process::id()))
    }

    /// The title, else the program's class; `None` of a window that went while it was asked about.
    fn name(&self, window: Window) -> Result<Option<String>, ReplyError> {
        let title = self.property(window, self.atoms._NET_WM_NAME, self.atoms.UTF8_STRING)?;
        if let Some(title) = title.as_deref().and_then(readable) {
            return Ok(Some(title));
        }
        let class = self.property(window, AtomEnum::WM_CLASS.into(), AtomEnum::STRING)?;
        // Instance and class, each ended by a zero.
        let class_name = |class: Vec<u8>| class.split(|byte| *byte == 0).nth(1).and_then(readable);
        Ok(class.map(|class| class_name(class).unwrap_or_else(|| "?".into())))
    }
}

fn readable(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    (!text.is_empty()).then_some(text)
}
