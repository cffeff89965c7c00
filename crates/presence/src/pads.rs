//! All controllers of this PC together: which is in use, which jitters, which is left out.

use std::collections::BTreeMap;
use std::time::Duration;

use nightjar_core::signal::{SignalKind, Standing};

use crate::controller::{Conclusion, ControllerActivity, Happening};
use crate::signals::{Sink, tell};

/// So long after the last use a controller counts as put down. Whether that ends anything is not decided here.
const PUT_DOWN_AFTER: Duration = Duration::from_secs(2);
/// Source of the word on controllers that jitter, beside the one on those in use.
const JITTER: &str = "jitter";

struct Pad {
    name: String,
    ignored: bool,
    activity: ControllerActivity,
}

/// Every device, and what was last said.
pub(crate) struct Pads {
    source: &'static str,
    ignored: Vec<String>,
    pads: BTreeMap<u32, Pad>,
    used: Option<Duration>,
    sink: Sink,
}

impl Pads {
    /// Says at once that none is in use.
    pub(crate) fn new(source: &'static str, ignored: &[String], sink: Sink) -> Self {
        tell(&sink, SignalKind::Controller, source, Standing::Quiet);
        let ignored = ignored.iter().map(|name| name.trim().to_lowercase()).collect();
        Self { source, ignored, pads: BTreeMap::new(), used: None, sink }
    }

    pub(crate) fn connected(&mut self, id: u32, name: &str) {
        let ignored = self.ignored.contains(&name.trim().to_lowercase());
        tracing::info!(name, ignored, "a controller was connected");
        let pad = Pad { name: name.to_owned(), ignored, activity: ControllerActivity::default() };
        self.pads.insert(id, pad);
        self.say_jitter();
    }

    pub(crate) fn disconnected(&mut self, id: u32) {
        self.pads.remove(&id);
        self.say_jitter();
    }

    pub(crate) fn heard(&mut self, id: u32, happening: Happening, at: Duration) {
        let Some(pad) = self.pads.get_mut(&id).filter(|pad| !pad.ignored) else { return };
        let jittered = pad.activity.jitters();
        let conclusion = pad.activity.heard(happening, at);
        if conclusion == Conclusion::Used {
            self.used = Some(at);
            let name = pad.name.clone();
            tell(&self.sink, SignalKind::Controller, self.source, Standing::Seen { name });
        }
        let changed = jittered != pad.activity.jitters();
        if changed {
            self.say_jitter();
        }
    }

    /// Says that they were put down once that is so. Returns how long until it may be.
    pub(crate) fn tick(&mut self, at: Duration) -> Option<Duration> {
        let put_down = self.used? + PUT_DOWN_AFTER;
        if at < put_down {
            return Some(put_down - at);
        }
        self.used = None;
        tell(&self.sink, SignalKind::Controller, self.source, Standing::Quiet);
        None
    }

    fn say_jitter(&self) {
        let names: Vec<&str> =
            self.pads.values().filter(|pad| pad.activity.jitters()).map(|pad| pad.name.as_str()).collect();
        let standing = if names.is_empty() {
            Standing::Quiet
        } else {
            let detail = format!(
                "{} sends movements without end although nobody presses a button: only its buttons count; leave it \
                 out with ignored_controllers if it disturbs",
                names.join(", ")
            );
            Standing::Unavailable { detail }
        };
        tell(&self.sink, SignalKind::Controller, JITTER, standing);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use nightjar_core::signal::{Sign, Standing};

    use super::{Happening, Pads};

    type Heard = Arc<Mutex<Vec<Sign>>>;

    fn pads(ignored: &[&str]) -> (Pads, Heard) {
        let heard = Heard::default();
        let sink = {
            let heard = Arc::clone(&heard);
            Arc::new(move |sign| heard.lock().unwrap().push(sign))
        };
        let ignored: Vec<String> = ignored.iter().map(|&name| name.to_owned()).collect();
        (Pads::new("gilrs", &ignored, sink), heard)
    }

    fn last(heard: &Heard, source: &str) -> Standing {
        let heard = heard.lock().unwrap();
        heard.iter().rev().find(|sign| sign.source == source).unwrap().standing.clone()
    }

    fn moved(position: f32) -> Happening {
        Happening::Moved { axis: 1, position, flat: 0.0 }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn peers_11_a_controller_is_in_use_until_it_is_put_down() {
        let (mut pads, heard) = pads(&[]);
        pads.connected(0, "Wireless Controller");
        assert_eq!(last(&heard, "gilrs"), Standing::Quiet);
        pads.heard(0, Happening::Pressed, seconds(10));
        assert_eq!(last(&heard, "gilrs"), Standing::Seen { name: "Wireless Controller".into() });
        assert_eq!(pads.tick(seconds(11)), Some(seconds(1)));
        assert_eq!(pads.tick(seconds(12)), None);
        assert_eq!(last(&heard, "gilrs"), Standing::Quiet);
        assert_eq!(pads.tick(seconds(13)), None);
    }

    #[test]
    fn peers_11_one_that_jitters_is_named_and_hides_no_other() {
        let (mut pads, heard) = pads(&[]);
        pads.connected(0, "Worn Pad");
        pads.connected(1, "Good Pad");
        for second in 0..200 {
            pads.heard(0, moved(if second % 2 == 0 { 0.4 } else { 0.6 }), seconds(second));
        }
        let Standing::Unavailable { detail } = last(&heard, "jitter") else { panic!("not found out") };
        assert!(detail.contains("Worn Pad") && !detail.contains("Good Pad"), "{detail}");
        pads.tick(seconds(210));
        assert_eq!(last(&heard, "gilrs"), Standing::Quiet);
        pads.heard(1, Happening::Pressed, seconds(211));
        assert_eq!(last(&heard, "gilrs"), Standing::Seen { name: "Good Pad".into() });
        pads.disconnected(0);
        assert_eq!(last(&heard, "jitter"), Standing::Quiet);
    }

    #[test]
    fn peers_11_a_controller_can_be_left_out_by_name() {
        let (mut pads, heard) = pads(&["worn pad "]);
        pads.connected(0, "Worn Pad");
        pads.heard(0, Happening::Pressed, seconds(1));
        assert_eq!(last(&heard, "gilrs"), Standing::Quiet);
    }
}
