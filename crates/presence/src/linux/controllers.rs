//! Controllers, through the event devices of the kernel: one thread that sleeps until one of them tells something.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gilrs_core::{AxisInfo, Error, Event, EventType, Gilrs};
use nightjar_core::signal::{SignalKind, Standing};

use crate::controller::Happening;
use crate::pads::Pads;
use crate::signals::{Guard, SignalOptions, Sink, tell};

const SOURCE: &str = "gilrs";
/// The library cannot be woken from outside: so late at most the thread hears of its end.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Once dropped, nothing more is said.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

pub(super) fn start(options: &SignalOptions, sink: Sink) -> Option<Guard> {
    if !Path::new("/dev/input").is_dir() {
        let detail = "this system shows no input devices (/dev/input is missing)".to_owned();
        tell(&sink, SignalKind::Controller, SOURCE, Standing::Unavailable { detail });
        return None;
    }
    let running = Arc::new(AtomicBool::new(true));
    let (wanted, ignored) = (Arc::clone(&running), options.ignored_controllers.clone());
    let (gated, failed) = (gate(&running, &sink), Sink::clone(&sink));
    let thread = std::thread::Builder::new().name("controllers".into()).spawn(move || {
        // Made and used on one thread: the library's own is not meant to be handed on.
        match Gilrs::new() {
            Ok(devices) | Err(Error::NotImplemented(devices)) => {
                run(devices, Pads::new(SOURCE, &ignored, gated), &wanted);
            }
            Err(error) => unavailable(&gated, &error.to_string()),
        }
    });
    match thread {
        Ok(_) => Some(Box::new(Running(running))),
        Err(error) => {
            unavailable(&failed, &error.to_string());
            None
        }
    }
}

fn unavailable(sink: &Sink, cause: &str) {
    let detail = format!("controllers cannot be heard ({cause})");
    tell(sink, SignalKind::Controller, SOURCE, Standing::Unavailable { detail });
}

fn gate(running: &Arc<AtomicBool>, sink: &Sink) -> Sink {
    let (running, sink) = (Arc::clone(running), Sink::clone(sink));
    Arc::new(move |sign| {
        if running.load(Ordering::Acquire) {
            sink(sign);
        }
    })
}

fn run(mut devices: Gilrs, mut pads: Pads, running: &AtomicBool) {
    let began = Instant::now();
    for id in 0..devices.last_gamepad_hint() {
        if let Some(pad) = devices.gamepad(id).filter(|pad| pad.is_connected()) {
            pads.connected(number(id), pad.name());
        }
    }
    while running.load(Ordering::Acquire) {
        let sleep = pads.tick(began.elapsed()).unwrap_or(LONGEST_SLEEP);
        let asleep = Instant::now();
        match devices.next_event_blocking(Some(sleep)) {
            Some(event) => take(&devices, &mut pads, event, began.elapsed()),
            // A device that hangs makes the library return at once: without a pause this thread would spin.
            None if asleep.elapsed() < Duration::from_millis(1) => {
                std::thread::sleep(Duration::from_millis(20))
            }
            None => {}
        }
    }
}

fn take(devices: &Gilrs, pads: &mut Pads, event: Event, at: Duration) {
    let id = number(event.id);
    match event.event {
        EventType::Connected => {
            if let Some(pad) = devices.gamepad(event.id) {
                pads.connected(id, pad.name());
            }
        }
        EventType::Disconnected => pads.disconnected(id),
        EventType::ButtonPressed(_) => pads.heard(id, Happening::Pressed, at),
        EventType::AxisValueChanged(value, code) => {
            let info = devices.gamepad(event.id).and_then(|pad| pad.axis_info(code).copied());
            if let Some(moved) = info.and_then(|info| moved(code.into_u32(), value, &info)) {
                pads.heard(id, moved, at);
            }
        }
        // A button that is let go was pressed before; and the library may learn of more.
        _ => {}
    }
}

/// An axis without a way tells nothing.
fn moved(axis: u32, value: i32, info: &AxisInfo) -> Option<Happening> {
    let way = (i64::from(info.max) - i64::from(info.min)) as f32;
    let from_start = (i64::from(value) - i64::from(info.min)) as f32;
    let flat = info.deadzone.unwrap_or(0) as f32 / way;
    (way > 0.0).then(|| Happening::Moved { axis, position: from_start / way, flat })
}

/// The library counts devices from 0.
fn number(id: usize) -> u32 {
    u32::try_from(id).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use gilrs_core::AxisInfo;

    use super::{Happening, SignalOptions, Standing, moved, start};

    #[test]
    fn positions_are_parts_of_the_way() {
        let info = AxisInfo { min: -32768, max: 32767, deadzone: Some(128) };
        let Some(Happening::Moved { position, flat, .. }) = moved(0, 32767, &info) else { panic!("no way") };
        assert!((position - 1.0).abs() < 1e-6 && flat < 0.01);
        assert_eq!(moved(0, 5, &AxisInfo { min: 0, max: 0, deadzone: None }), None);
    }

    /// What this kernel lets be tested of the real devices: with none, it is said that there are none to hear.
    #[test]
    fn without_input_devices_that_is_said() {
        if std::path::Path::new("/dev/input").is_dir() {
            eprintln!("SKIPPED without_input_devices_that_is_said: this machine has /dev/input");
            return;
        }
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&heard);
        assert!(
            start(&SignalOptions::default(), Arc::new(move |sign| sink.lock().unwrap().push(sign))).is_none()
        );
        assert!(matches!(&heard.lock().unwrap()[0].standing, Standing::Unavailable { .. }));
    }
}
