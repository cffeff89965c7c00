//! Is somebody holding this controller? A state machine of one device, with the time as an argument.
//!
//! A button that is pressed is use. A stick is use when it has moved by more than a dead zone from where it was when it
//! last counted: one that rests off its middle, or trembles, is not. A stick that trembles by more than the dead zone is
//! found out because it never ends and nobody presses a button: from then on only buttons count, until one is pressed,
//! which shows that somebody holds it.

use std::collections::HashMap;
use std::time::Duration;

/// By this part of its whole way a stick must have moved.
const DEAD_ZONE: f32 = 0.12;
/// A pause this long ends a movement.
const PAUSE: Duration = Duration::from_secs(5);
/// Movement without a button that goes on for so long is jitter, where it stays within [`NARROW`].
const NARROW_JITTER_AFTER: Duration = Duration::from_secs(2 * 60);
/// And so long where it goes further: a player may steer for minutes with a stick alone.
const WIDE_JITTER_AFTER: Duration = Duration::from_secs(10 * 60);
/// A player's thumb goes further than this part of the whole way; a worn stick seldom does.
const NARROW: f32 = 0.4;

/// What a controller tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Happening {
    Pressed,
    /// `position` from 0 to 1 over the axis's whole way; `flat`: the part of it that the maker calls still.
    Moved {
        axis: u32,
        position: f32,
        flat: f32,
    },
}

/// What is concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    Nothing,
    /// Somebody holds it.
    Used,
    /// Found out just now: only its buttons count from here on.
    Jitters,
}

#[derive(Clone, Copy, Debug)]
struct Axis {
    /// Where it was when it last counted.
    counted: f32,
    lowest: f32,
    highest: f32,
}

/// Movement without a button and without a pause.
#[derive(Clone, Copy, Debug)]
struct Movement {
    began: Duration,
    last: Duration,
}

/// One device.
#[derive(Clone, Debug, Default)]
pub(crate) struct ControllerActivity {
    axes: HashMap<u32, Axis>,
    movement: Option<Movement>,
    jitters: bool,
}

impl ControllerActivity {
    /// Whether only its buttons count.
    pub(crate) fn jitters(&self) -> bool {
        self.jitters
    }

    /// `at`: since any fixed moment.
    pub(crate) fn heard(&mut self, happening: Happening, at: Duration) -> Conclusion {
        match happening {
            Happening::Pressed => {
                self.jitters = false;
                self.begin_anew();
                Conclusion::Used
            }
            Happening::Moved { axis, position, flat } if position.is_finite() && flat.is_finite() => {
                self.moved(axis, position.clamp(0.0, 1.0), flat, at)
            }
            Happening::Moved { .. } => Conclusion::Nothing,
        }
    }

    fn moved(&mut self, axis: u32, position: f32, flat: f32, at: Duration) -> Conclusion {
        let still = Axis { counted: position, lowest: position, highest: position };
        // The first word of an axis says where it rests.
        let known = self.axes.entry(axis).or_insert(still);
        known.lowest = known.lowest.min(position);
        known.highest = known.highest.max(position);
        if (position - known.counted).abs() <= flat.clamp(DEAD_ZONE, 0.5) {
            return Conclusion::Nothing;
        }
        known.counted = position;
        if self.jitters {
            return Conclusion::Nothing;
        }
        let movement = match self.movement {
            Some(movement) if at.saturating_sub(movement.last) < PAUSE => movement,
            _ => {
                self.begin_anew();
                Movement { began: at, last: at }
            }
        };
        self.movement = Some(Movement { last: at, ..movement });
        let limit = if self.reach() < NARROW { NARROW_JITTER_AFTER } else { WIDE_JITTER_AFTER };
        if at.saturating_sub(movement.began) > limit {
            self.jitters = true;
            return Conclusion::Jitters;
        }
        Conclusion::Used
    }

    /// How far the widest axis has gone in this movement.
    fn reach(&self) -> f32 {
        self.axes.values().map(|axis| axis.highest - axis.lowest).fold(0.0, f32::max)
    }

    fn begin_anew(&mut self) {
        self.movement = None;
        for axis in self.axes.values_mut() {
            (axis.lowest, axis.highest) = (axis.counted, axis.counted);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{
        Conclusion, ControllerActivity, DEAD_ZONE, Happening, NARROW_JITTER_AFTER, WIDE_JITTER_AFTER,
    };

    fn moved(position: f32) -> Happening {
        Happening::Moved { axis: 0, position, flat: 0.02 }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn peers_11_controllers_are_seen_by_buttons_and_by_sticks() {
        let mut pad = ControllerActivity::default();
        assert_eq!(pad.heard(Happening::Pressed, seconds(0)), Conclusion::Used);
        assert_eq!(pad.heard(moved(0.5), seconds(1)), Conclusion::Nothing);
        assert_eq!(pad.heard(moved(0.9), seconds(2)), Conclusion::Used);
    }

    /// A trace in the shape of a worn stick's: it hangs off its middle, trembles, and now and then jumps.
    #[test]
    fn peers_11_a_worn_stick_is_found_out_and_its_buttons_still_count() {
        let trace: Vec<(u64, f32)> = (0..6000_u64)
            .map(|step| {
                let trembling = [0.00, 0.02, -0.01, 0.01, 0.15, -0.02, 0.00, -0.14][(step % 8) as usize];
                (step * 100, 0.58 + trembling)
            })
            .collect();
        let mut pad = ControllerActivity::default();
        let found_out = trace.iter().find(|(at_ms, position)| {
            pad.heard(moved(*position), Duration::from_millis(*at_ms)) == Conclusion::Jitters
        });
        let at = Duration::from_millis(found_out.expect("never found out").0);
        assert!(at >= NARROW_JITTER_AFTER && at < NARROW_JITTER_AFTER + seconds(2), "{at:?}");
        assert!(pad.jitters());
        for (at_ms, position) in &trace {
            let at = Duration::from_millis(600_000 + at_ms);
            assert_eq!(pad.heard(moved(*position), at), Conclusion::Nothing);
        }
        assert_eq!(pad.heard(Happening::Pressed, seconds(1300)), Conclusion::Used);
        assert!(!pad.jitters());
    }

    #[test]
    fn who_steers_for_minutes_with_a_stick_alone_is_no_jitter() {
        let mut pad = ControllerActivity::default();
        pad.heard(moved(0.5), seconds(0));
        for second in 1..WIDE_JITTER_AFTER.as_secs() {
            let position = if second % 2 == 0 { 0.1 } else { 0.9 };
            assert_eq!(pad.heard(moved(position), seconds(second)), Conclusion::Used, "at {second}");
        }
    }

    proptest! {
        #[test]
        fn trembling_within_the_dead_zone_is_never_use(
            rest in 0.2_f32..0.8,
            trembling in proptest::collection::vec(-DEAD_ZONE / 2.1..DEAD_ZONE / 2.1, 1..200),
        ) {
            let mut pad = ControllerActivity::default();
            for (second, tremble) in (0..).zip(trembling) {
                prop_assert_eq!(pad.heard(moved(rest + tremble), seconds(second)), Conclusion::Nothing);
            }
        }

        #[test]
        fn a_button_is_always_use(happenings in proptest::collection::vec((any::<f32>(), 0_u64..9), 0..300)) {
            let mut pad = ControllerActivity::default();
            let mut at = 0;
            for (position, pause) in happenings {
                at += pause;
                pad.heard(moved(position), seconds(at));
            }
            prop_assert_eq!(pad.heard(Happening::Pressed, seconds(at)), Conclusion::Used);
        }

        #[test]
        fn what_never_ends_is_found_out_in_time(amplitude in 0.14_f32..0.5, pause_ms in 8_u64..4000) {
            let mut pad = ControllerActivity::default();
            let steps = (WIDE_JITTER_AFTER.as_millis() as u64) / pause_ms + 3;
            let found = (0..steps).any(|step| {
                let position = 0.5 + if step % 2 == 0 { amplitude } else { -amplitude } * 0.9;
                pad.heard(moved(position), Duration::from_millis(step * pause_ms)) == Conclusion::Jitters
            });
            prop_assert!(found);
        }

        #[test]
        fn a_hand_that_rests_now_and_then_is_never_called_jitter(
            moves in proptest::collection::vec((0.0_f32..1.0, 1_u64..4), 20..400)
        ) {
            let mut pad = ControllerActivity::default();
            let mut at = 0;
            for (step, (position, pause)) in moves.into_iter().enumerate() {
                at += pause + if step % 20 == 0 { 6 } else { 0 };
                prop_assert_ne!(pad.heard(moved(position), seconds(at)), Conclusion::Jitters);
            }
        }
    }
}
