//! Wayland compositors with `ext-idle-notify-v1` (KWin, wlroots, COSMIC and others). They tell when the pause has passed
//! and when it has ended; nothing is sent in between.
//!
//! The first version of the protocol holds the pause back while a film keeps the screen awake; the second can tell of
//! input alone, which is what is asked where it is offered: films are a sign of their own.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use wayland_client::backend::WaylandError;
use wayland_client::globals::{GlobalListContents, registry_queue_init};
use wayland_client::protocol::wl_registry::WlRegistry;
use wayland_client::protocol::wl_seat::WlSeat;
use wayland_client::{
    Connection, Dispatch, DispatchError, EventQueue, Proxy as _, QueueHandle, delegate_noop,
};
use wayland_protocols::ext::idle_notify::v1::client::ext_idle_notification_v1::{
    Event, ExtIdleNotificationV1,
};
use wayland_protocols::ext::idle_notify::v1::client::ext_idle_notifier_v1::ExtIdleNotifierV1;

use super::{Broken, Session, Shared, Woken};
use crate::{OnEvent, Options, PresenceEvent};

struct Wayland {
    socket: String,
    connection: Connection,
    queue: EventQueue<Seats>,
    seats: Seats,
    notifier_version: u32,
}

/// Whether there is a pause at each seat. Somebody is there as long as one of them has none.
struct Seats {
    paused: Vec<bool>,
    settled_after: Duration,
    events: Vec<PresenceEvent>,
}

impl Seats {
    fn are_paused(&self) -> bool {
        self.paused.iter().all(|paused| *paused)
    }

    fn set(&mut self, seat: usize, paused: bool) {
        let before = self.are_paused();
        if let Some(state) = self.paused.get_mut(seat) {
            *state = paused;
        }
        match (before, self.are_paused()) {
            (false, true) => self.events.push(PresenceEvent::Idle { last_input_ago: self.settled_after }),
            (true, false) => self.events.push(PresenceEvent::Active),
            _ => {}
        }
    }
}

pub(super) fn open(options: &Options) -> Result<Box<dyn Session>, String> {
    let socket = options.wayland.clone().ok_or("WAYLAND_DISPLAY is not set")?;
    let stream = UnixStream::connect(path(&socket)?).map_err(|error| format!("{socket}: {error}"))?;
    let connection = Connection::from_socket(stream).map_err(|error| error.to_string())?;
    let (globals, queue) = registry_queue_init::<Seats>(&connection).map_err(|error| error.to_string())?;
    let handle = queue.handle();
    let notifier: ExtIdleNotifierV1 =
        globals.bind(&handle, 1..=2, ()).map_err(|_| "this compositor does not have it")?;
    let seats: Vec<WlSeat> = globals.contents().with_list(|list| {
        let seats = list.iter().filter(|global| global.interface == WlSeat::interface().name);
        seats.map(|seat| globals.registry().bind(seat.name, 1, &handle, ())).collect()
    });
    if seats.is_empty() {
        return Err("this compositor has no seat".into());
    }
    let timeout = u32::try_from(options.settled_after.as_millis()).unwrap_or(u32::MAX);
    let notifier_version = notifier.version();
    for (number, seat) in seats.iter().enumerate() {
        if notifier_version >= 2 {
            notifier.get_input_idle_notification(timeout, seat, &handle, number);
        } else {
            notifier.get_idle_notification(timeout, seat, &handle, number);
        }
    }
    let seats =
        Seats { paused: vec![false; seats.len()], settled_after: options.settled_after, events: Vec::new() };
    Ok(Box::new(Wayland { socket, connection, queue, seats, notifier_version }))
}

/// A name is one in the session's run-time folder.
fn path(socket: &str) -> Result<PathBuf, String> {
    if socket.starts_with('/') {
        return Ok(socket.into());
    }
    let folder = std::env::var_os("XDG_RUNTIME_DIR").ok_or("XDG_RUNTIME_DIR is not set")?;
    Ok(PathBuf::from(folder).join(socket))
}

impl Session for Wayland {
    fn source(&self) -> String {
        let films =
            if self.notifier_version >= 2 { "" } else { " (no pause while a film keeps the screen on)" };
        format!("Wayland {} ext-idle-notify-v1{films}", self.socket)
    }

    fn serve(&mut self, shared: &Shared, on_event: &mut OnEvent) -> Result<(), Broken> {
        // The compositor counts from now on, and does not say how long ago the last input was.
        on_event(PresenceEvent::Active);
        loop {
            self.hand_on(on_event).map_err(|error| {
                Broken(format!("the connection to the Wayland compositor broke ({error})"))
            })?;
            if shared.wait(Some(self.stream()), None) == Woken::Close {
                return Ok(());
            }
        }
    }
}

impl Wayland {
    fn stream(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Takes everything that has arrived.
    fn hand_on(&mut self, on_event: &mut OnEvent) -> Result<(), DispatchError> {
        loop {
            self.queue.dispatch_pending(&mut self.seats)?;
            self.seats.events.drain(..).for_each(&mut *on_event);
            self.queue.flush()?;
            let Some(guard) = self.queue.prepare_read() else { continue };
            match guard.read() {
                Ok(_) => {}
                Err(WaylandError::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Dispatch<ExtIdleNotificationV1, usize> for Seats {
    fn event(
        seats: &mut Self,
        _: &ExtIdleNotificationV1,
        event: Event,
        seat: &usize,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            Event::Idled => seats.set(*seat, true),
            Event::Resumed => seats.set(*seat, false),
            _ => {}
        }
    }
}

impl Dispatch<WlRegistry, GlobalListContents> for Seats {
    fn event(
        _: &mut Self,
        _: &WlRegistry,
        _: <WlRegistry as wayland_client::Proxy>::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        // A seat that is plugged in later is rare, and its input is seen at the next start.
    }
}

delegate_noop!(Seats: ExtIdleNotifierV1);
delegate_noop!(Seats: ignore WlSeat);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Seats;
    use crate::PresenceEvent;

    #[test]
    fn somebody_is_there_while_one_seat_has_no_pause() {
        let second = Duration::from_secs(1);
        let mut seats = Seats { paused: vec![false; 2], settled_after: second, events: Vec::new() };
        seats.set(0, true);
        assert_eq!(seats.events, []);
        seats.set(1, true);
        seats.set(0, false);
        seats.set(1, false);
        assert_eq!(seats.events, [PresenceEvent::Idle { last_input_ago: second }, PresenceEvent::Active]);
    }
}
