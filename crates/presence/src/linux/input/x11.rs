//! X11 without polling.
//!
//! While somebody is here only one XSync alarm is set: the server tells when `IDLETIME` passes the pause. Only then
//! are raw input events selected, so that the first of them arrives at once, and deselected at that first one, so that
//! typing costs nothing. A second alarm, set together with the selection, fires where the counter is below the pause
//! again: it hears the input that came between the pause and the selection, which raw events do not tell of.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use x11rb::connection::{Connection, RequestConnection};
use x11rb::errors::{ConnectionError, ReplyError, ReplyOrIdError};
use x11rb::protocol::Event;
use x11rb::protocol::sync::{
    self, Alarm, ChangeAlarmAux, ConnectionExt as _, Counter, CreateAlarmAux, Int64, TESTTYPE, VALUETYPE,
};
use x11rb::protocol::xinput::{self, ConnectionExt as _, Device, EventMask, XIEventMask};
use x11rb::protocol::xproto::Window;
use x11rb::rust_connection::RustConnection;

use super::{Broken, Shared, Woken};
use crate::{OnEvent, PresenceEvent, Unavailable};

const IDLE_COUNTER: &[u8] = b"IDLETIME";
/// Raw events that a client gets although another holds a grab (a game in full screen does), and touches.
const XINPUT_VERSION: (u16, u16) = (2, 2);
/// A display name is a few characters; more is no display.
const LONGEST_DISPLAY: usize = 256;

/// A connection with both alarms made, and neither the user nor the owner heard of yet.
pub(super) struct Session {
    display: String,
    connection: RustConnection,
    root: Window,
    counter: Counter,
    /// Fires when the pause has passed. Stays set.
    settled: Alarm,
    /// Fires once when the counter is below the pause. Set anew at each pause.
    stirred: Alarm,
    settled_after_ms: i64,
    /// No input since the last pause began; raw events are selected.
    idle: bool,
}

impl Session {
    /// Waits for the server's answers: a server that hangs holds it.
    pub(super) fn open(display: &str, settled_after: Duration) -> Result<Self, Unavailable> {
        let unreachable = |cause: &dyn std::fmt::Display| Unavailable::Unreachable {
            display: display.chars().take(LONGEST_DISPLAY).collect(),
            cause: cause.to_string(),
        };
        if is_foreign(display) {
            return Err(Unavailable::ForeignDisplay {
                display: display.chars().take(LONGEST_DISPLAY).collect(),
            });
        }
        let (connection, screen) =
            RustConnection::connect(Some(display)).map_err(|error| unreachable(&error))?;
        require_extensions(&connection).map_err(|error| error.named(&unreachable))?;
        let counter = idle_counter(&connection).map_err(|error| error.named(&unreachable))?;
        let settled_after_ms = i64::try_from(settled_after.as_millis()).unwrap_or(i64::MAX);
        let (settled, stirred) =
            make_alarms(&connection, counter, settled_after_ms).map_err(|error| unreachable(&error))?;
        let root = connection.setup().roots[screen].root;
        let display = display.to_owned();
        Ok(Self { display, connection, root, counter, settled, stirred, settled_after_ms, idle: false })
    }

    /// What to wait on once [`Self::hand_on`] has returned.
    fn stream(&self) -> BorrowedFd<'_> {
        self.connection.stream().as_fd()
    }

    /// Tells the present state.
    fn begin(&mut self, on_event: &mut OnEvent) -> Result<(), ConnectionError> {
        let reply = self.connection.sync_query_counter(self.counter)?.reply().map_err(broken)?;
        let idle_ms = milliseconds(reply.counter_value);
        if idle_ms >= self.settled_after_ms {
            return self.settle(idle_ms, on_event);
        }
        on_event(PresenceEvent::Active);
        Ok(())
    }

    /// Takes everything that has arrived.
    fn hand_on(&mut self, on_event: &mut OnEvent) -> Result<(), ConnectionError> {
        while let Some(event) = self.connection.poll_for_event()? {
            match event {
                // The pause may have been told already, when the present state was asked for.
                Event::SyncAlarmNotify(notify) if notify.alarm == self.settled && !self.idle => {
                    self.settle(milliseconds(notify.counter_value), on_event)?;
                }
                Event::SyncAlarmNotify(notify) if notify.alarm == self.stirred => self.stir(on_event)?,
                Event::XinputRawKeyPress(_)
                | Event::XinputRawKeyRelease(_)
                | Event::XinputRawButtonPress(_)
                | Event::XinputRawButtonRelease(_)
                | Event::XinputRawMotion(_)
                | Event::XinputRawTouchBegin(_)
                | Event::XinputRawTouchUpdate(_)
                | Event::XinputRawTouchEnd(_) => self.stir(on_event)?,
                Event::Error(error) => tracing::warn!(?error, "the X server refused a request"),
                _ => {}
            }
        }
        Ok(())
    }

    fn settle(&mut self, idle_ms: i64, on_event: &mut OnEvent) -> Result<(), ConnectionError> {
        self.idle = true;
        self.select_raw(watched_events())?;
        let trigger = ChangeAlarmAux::new()
            .counter(self.counter)
            .value_type(VALUETYPE::ABSOLUTE)
            .value(int64(self.settled_after_ms - 1))
            .test_type(TESTTYPE::NEGATIVE_COMPARISON)
            .delta(int64(0))
            .events(1);
        self.connection.sync_change_alarm(self.stirred, &trigger)?;
        self.connection.flush()?;
        let last_input_ago = Duration::from_millis(u64::try_from(idle_ms).unwrap_or(0));
        on_event(PresenceEvent::Idle { last_input_ago });
        Ok(())
    }

    fn stir(&mut self, on_event: &mut OnEvent) -> Result<(), ConnectionError> {
        if !self.idle {
            // What was under way when the events were deselected, or the alarm that followed them.
            return Ok(());
        }
        self.idle = false;
        // Before anything is sent: this is what the user waits for.
        on_event(PresenceEvent::Active);
        self.select_raw(XIEventMask::from(0_u32))?;
        self.connection.flush()
    }

    fn select_raw(&self, events: XIEventMask) -> Result<(), ConnectionError> {
        let mask = EventMask { deviceid: Device::ALL_MASTER.into(), mask: vec![events] };
        self.connection.xinput_xi_select_events(self.root, &[mask])?;
        Ok(())
    }
}

impl super::Session for Session {
    fn source(&self) -> String {
        format!("X11 {}", self.display)
    }

    fn serve(&mut self, shared: &Shared, on_event: &mut OnEvent) -> Result<(), Broken> {
        let broke = |display: &str, error: &ConnectionError| {
            tracing::debug!(%error, "the X server is gone");
            Broken(format!("the connection to the X server of display {display} broke"))
        };
        self.begin(on_event).map_err(|error| broke(&self.display, &error))?;
        loop {
            self.hand_on(on_event).map_err(|error| broke(&self.display, &error))?;
            if shared.wait(Some(self.stream()), None) == Woken::Close {
                return Ok(());
            }
        }
    }
}

fn watched_events() -> XIEventMask {
    XIEventMask::RAW_KEY_PRESS
        | XIEventMask::RAW_KEY_RELEASE
        | XIEventMask::RAW_BUTTON_PRESS
        | XIEventMask::RAW_BUTTON_RELEASE
        | XIEventMask::RAW_MOTION
        | XIEventMask::RAW_TOUCH_BEGIN
        | XIEventMask::RAW_TOUCH_UPDATE
        | XIEventMask::RAW_TOUCH_END
}

/// A display with a host before its colon (`ssh -X` makes `localhost:10.0`) is where another keyboard is.
fn is_foreign(display: &str) -> bool {
    let host = display.rsplit_once(':').map_or("", |(host, _)| host);
    !(host.is_empty() || host == "unix" || host.starts_with('/') || host.starts_with("unix/"))
}

/// What kept a session from being made.
enum Failure {
    Named(Unavailable),
    Broken(ReplyError),
}

impl Failure {
    fn named(self, unreachable: &dyn Fn(&dyn std::fmt::Display) -> Unavailable) -> Unavailable {
        match self {
            Self::Named(unavailable) => unavailable,
            Self::Broken(error) => unreachable(&error),
        }
    }
}

impl<E: Into<ReplyError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

fn require_extensions(connection: &RustConnection) -> Result<(), Failure> {
    let missing = |what| Failure::Named(Unavailable::ExtensionMissing { what });
    for (name, what) in
        [(sync::X11_EXTENSION_NAME, "the SYNC extension"), (xinput::X11_EXTENSION_NAME, "XInput 2.2")]
    {
        if connection.extension_information(name)?.is_none() {
            return Err(missing(what));
        }
    }
    connection.sync_initialize(3, 1)?.reply()?;
    let (major, minor) = XINPUT_VERSION;
    let found = connection.xinput_xi_query_version(major, minor)?.reply()?;
    if (found.major_version, found.minor_version) < XINPUT_VERSION {
        return Err(missing("XInput 2.2"));
    }
    // Taken for the whole truth it would call a user absent who types in a Wayland window.
    if crate::linux::is_xwayland(connection)? {
        let tried = "Xwayland hears only what is meant for X11 windows".to_owned();
        return Err(Failure::Named(Unavailable::WaylandSession { tried }));
    }
    Ok(())
}

fn idle_counter(connection: &RustConnection) -> Result<Counter, Failure> {
    let counters = connection.sync_list_system_counters()?.reply()?.counters;
    let counter = counters.into_iter().find(|counter| counter.name == IDLE_COUNTER);
    let missing = Unavailable::ExtensionMissing { what: "the IDLETIME counter" };
    counter.map(|counter| counter.counter).ok_or(Failure::Named(missing))
}

fn make_alarms(
    connection: &RustConnection,
    counter: Counter,
    settled_after_ms: i64,
) -> Result<(Alarm, Alarm), ReplyOrIdError> {
    let (settled, stirred) = (connection.generate_id()?, connection.generate_id()?);
    let pause = CreateAlarmAux::new()
        .counter(counter)
        .value_type(VALUETYPE::ABSOLUTE)
        .value(int64(settled_after_ms))
        .test_type(TESTTYPE::POSITIVE_TRANSITION)
        .delta(int64(0))
        .events(1);
    connection.sync_create_alarm(settled, &pause)?.check()?;
    // Without a counter it waits for nothing.
    connection.sync_create_alarm(stirred, &CreateAlarmAux::new())?.check()?;
    Ok((settled, stirred))
}

/// An answer that is an error means a server that cannot be worked with: connect anew.
fn broken(error: ReplyError) -> ConnectionError {
    match error {
        ReplyError::ConnectionError(error) => error,
        ReplyError::X11Error(error) => {
            tracing::warn!(?error, "the X server refused a request");
            ConnectionError::UnknownError
        }
    }
}

fn milliseconds(value: Int64) -> i64 {
    (i64::from(value.hi) << 32) | i64::from(value.lo)
}

fn int64(value: i64) -> Int64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the halves of a whole")]
    Int64 { hi: (value >> 32) as i32, lo: value as u32 }
}

#[cfg(test)]
mod tests {
    use super::{int64, is_foreign, milliseconds};

    #[test]
    fn counters_keep_their_value_in_two_halves() {
        for value in [0, 999, i64::from(u32::MAX) + 7, -1, i64::MAX] {
            assert_eq!(milliseconds(int64(value)), value);
        }
    }

    #[test]
    fn only_this_computers_displays_are_its_own() {
        for own in [":0", ":1.0", "unix:0", "/tmp/launch-1/org.xquartz:0"] {
            assert!(!is_foreign(own), "{own}");
        }
        for foreign in ["localhost:10.0", "192.0.2.7:0", "tcp/pc:0"] {
            assert!(is_foreign(foreign), "{foreign}");
        }
    }
}
