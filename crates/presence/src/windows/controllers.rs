//! Controllers, through XInput. It is asked ten times a second while one is there and every few seconds while none is:
//! Windows tells of controllers only when asked, and its newer interfaces only while this program's window is in front.

use std::time::{Duration, Instant};

use nightjar_core::signal::{SignalKind, Standing};
use windows_sys::Win32::UI::Input::XboxController::XINPUT_GAMEPAD;

use super::every::every;
use super::system;
use crate::controller::Happening;
use crate::pads::Pads;
use crate::signals::{Guard, SignalOptions, Sink, tell};

const SOURCE: &str = "xinput";
/// XInput has so many places for controllers.
const PLACES: u32 = 4;
const WHILE_CONNECTED: Duration = Duration::from_millis(100);
/// To ask for a place where nothing is takes Windows long.
const WHILE_NONE: Duration = Duration::from_secs(3);

pub(super) fn start(options: &SignalOptions, sink: Sink) -> Option<Guard> {
    let mut watch = Watch {
        pads: Pads::new(SOURCE, &options.ignored_controllers, Sink::clone(&sink)),
        sink: Sink::clone(&sink),
        places: [None; PLACES as usize],
        began: Instant::now(),
        searched: None,
    };
    match every("controllers", move || watch.look()) {
        Ok(guard) => Some(guard),
        Err(error) => {
            tell(&sink, SignalKind::Controller, SOURCE, Standing::Unavailable { detail: error.to_string() });
            None
        }
    }
}

struct Watch {
    pads: Pads,
    sink: Sink,
    /// What each showed last.
    places: [Option<(u32, XINPUT_GAMEPAD)>; PLACES as usize],
    began: Instant,
    /// When empty places were last asked for.
    searched: Option<Instant>,
}

impl Watch {
    fn look(&mut self) -> Duration {
        let search = self.searched.is_none_or(|searched| searched.elapsed() >= WHILE_NONE);
        if search {
            self.searched = Some(Instant::now());
        }
        for place in 0..PLACES {
            let before = self.places[place as usize];
            if before.is_none() && !search {
                continue;
            }
            match system::controller(place) {
                Ok(now) => self.take(place, before, now),
                Err(error) => {
                    let detail = format!("controllers cannot be asked for ({error})");
                    tell(&self.sink, SignalKind::Controller, SOURCE, Standing::Unavailable { detail });
                    return WHILE_NONE;
                }
            }
        }
        let _ = self.pads.tick(self.began.elapsed());
        if self.places.iter().any(Option::is_some) { WHILE_CONNECTED } else { WHILE_NONE }
    }

    fn take(
        &mut self,
        place: u32,
        before: Option<(u32, XINPUT_GAMEPAD)>,
        now: Option<(u32, XINPUT_GAMEPAD)>,
    ) {
        self.places[place as usize] = now;
        match (before, now) {
            (None, Some((_, pad))) => {
                // XInput gives no names: the place is one, as games show it.
                self.pads.connected(place, &format!("Controller {}", place + 1));
                self.say_moves(place, &pad);
            }
            (Some(_), None) => self.pads.disconnected(place),
            (Some((packet, old)), Some((new_packet, pad))) if packet != new_packet => {
                if pad.wButtons & !old.wButtons != 0 {
                    self.pads.heard(place, Happening::Pressed, self.began.elapsed());
                }
                self.say_moves(place, &pad);
            }
            _ => {}
        }
    }

    fn say_moves(&mut self, place: u32, pad: &XINPUT_GAMEPAD) {
        let stick = |value: i16| (f32::from(value) - f32::from(i16::MIN)) / f32::from(u16::MAX);
        let trigger = |value: u8| f32::from(value) / f32::from(u8::MAX);
        let positions = [
            stick(pad.sThumbLX),
            stick(pad.sThumbLY),
            stick(pad.sThumbRX),
            stick(pad.sThumbRY),
            trigger(pad.bLeftTrigger),
            trigger(pad.bRightTrigger),
        ];
        for (axis, position) in (0..).zip(positions) {
            self.pads.heard(place, Happening::Moved { axis, position, flat: 0.0 }, self.began.elapsed());
        }
    }
}
