//! Signs of use beside mouse and keyboard: full screen, films and calls, the locked screen, and what else a sensor of
//! this system can tell.
//!
//! [`signals`] starts every sensor that this system has. Each tells the present standing first and then each change;
//! one that cannot see says so with a sentence ([`Standing::Unavailable`]) and never pretends. What a sign means for
//! the card is not decided here.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use nightjar_core::signal::{Sign, SignalKind, Standing};

use crate::attention::Attention;
use crate::system;

/// Called for each sign, on a sensor's thread: it should hand the sign on and return.
pub type Sink = Arc<dyn Fn(Sign) + Send + Sync>;

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct SignalOptions {
    /// The X display, e.g. `:0`; `None` where there is none. Without a meaning on Windows.
    pub display: Option<String>,
    /// The Wayland socket, e.g. `wayland-0`; `None` where there is none. Without a meaning on Windows.
    pub wayland: Option<String>,
    /// Programs that are games, by the names of their files. With `!` in front: programs that are none.
    pub games: Vec<String>,
    /// Controllers that are left out, by their names.
    pub ignored_controllers: Vec<String>,
    /// Whether a login by SSH is use.
    pub ssh_counts: bool,
    /// Address of the session's bus; `None` for the one of the environment. Without a meaning on Windows.
    pub session_bus: Option<String>,
    /// Address of the system's bus; `None` for the usual one. Without a meaning on Windows.
    pub system_bus: Option<String>,
    /// Makes the system wait before it sleeps. Keep a clone of it.
    pub sleep: SleepGuard,
    /// Set by whoever knows whether a tenant has a card.
    pub attention: Attention,
}

impl SignalOptions {
    /// The session that this program was started in.
    #[must_use]
    pub fn from_environment() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self { display: set("DISPLAY"), wayland: set("WAYLAND_DISPLAY"), ..Self::default() }
    }
}

/// Makes the system wait before it sleeps, until [`Self::release`], for the few seconds that it allows.
///
/// The sensor that tells [`SignalKind::Suspending`] holds it from its start, and takes it again when the system is awake
/// again. Whoever hears of the sleep stops what must not sleep, and then releases it. Clones are the same guard.
#[derive(Clone, Default)]
pub struct SleepGuard {
    hold: Arc<Mutex<Hold>>,
}

#[derive(Default)]
struct Hold {
    /// What makes the system wait while it exists.
    delay: Option<Box<dyn Any + Send>>,
    preparing: bool,
    /// Which sensor holds it: one that ends late takes nothing from its successor.
    sensor: u64,
}

impl SleepGuard {
    /// Lets the system sleep: all is stopped. Without a meaning when it is not about to.
    pub fn release(&self) {
        let mut hold = self.locked();
        if hold.preparing {
            hold.delay = None;
        }
    }

    /// Whether the system waits, or would wait, for [`Self::release`].
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.locked().delay.is_some()
    }

    /// For a sensor that begins. What the one before it held is given up.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only logind can be made to wait"))]
    pub(crate) fn held_by_new_sensor(&self) -> HeldSleep {
        let mut hold = self.locked();
        *hold = Hold { sensor: hold.sensor + 1, ..Hold::default() };
        HeldSleep { guard: self.clone(), sensor: hold.sensor }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sensor's end of the guard. Nothing is held for a sensor that has ended.
pub(crate) struct HeldSleep {
    guard: SleepGuard,
    sensor: u64,
}

#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only logind can be made to wait"))]
impl HeldSleep {
    pub(crate) fn hold(&self, delay: Box<dyn Any + Send>) {
        self.change(|hold| hold.delay = Some(delay));
    }

    pub(crate) fn set_preparing(&self, preparing: bool) {
        self.change(|hold| hold.preparing = preparing);
    }

    fn change(&self, change: impl FnOnce(&mut Hold)) {
        let mut hold = self.guard.locked();
        if hold.sensor == self.sensor {
            change(&mut hold);
        }
    }
}

impl Drop for HeldSleep {
    fn drop(&mut self) {
        self.change(|hold| (hold.delay, hold.preparing) = (None, false));
    }
}

impl fmt::Debug for SleepGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SleepGuard").field("is_held", &self.is_held()).finish()
    }
}

/// Ends a sensor when it is dropped.
pub(crate) type Guard = Box<dyn Any + Send>;

/// Starts one sensor. `None` where it has told all that it ever will, e.g. that it cannot be had here.
pub(crate) type Start = fn(&SignalOptions, Sink) -> Option<Guard>;

/// The running sensors. They end when this is dropped.
pub struct Signals {
    guards: Vec<Guard>,
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").field("sensors", &self.guards.len()).finish()
    }
}

/// Starts every sensor of this system.
#[must_use]
pub fn signals(options: &SignalOptions, sink: Sink) -> Signals {
    let sink = changes_only(sink);
    let guards = system::SENSORS.iter().filter_map(|start| start(options, Arc::clone(&sink))).collect();
    Signals { guards }
}

/// A sensor may say the same thing twice; its hearer gets it once.
fn changes_only(sink: Sink) -> Sink {
    let said: Mutex<BTreeMap<(SignalKind, String), Standing>> = Mutex::default();
    Arc::new(move |sign| {
        let key = (sign.kind, sign.source.clone());
        // Held through the call, so that two threads cannot hand on their words in the wrong order.
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(&key) != Some(&sign.standing) {
            said.insert(key, sign.standing.clone());
            sink(sign);
        }
    })
}

/// Says one thing.
pub(crate) fn tell(sink: &Sink, kind: SignalKind, source: &str, standing: Standing) {
    sink(Sign { kind, source: source.to_owned(), standing });
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use nightjar_core::signal::{SignalKind, Standing};

    use super::{changes_only, tell};

    #[test]
    fn what_is_said_twice_is_heard_once() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let heard = Arc::clone(&heard);
            changes_only(Arc::new(move |sign| heard.lock().unwrap().push(sign)))
        };
        let film = || Standing::Seen { name: "film".into() };
        for standing in [Standing::Quiet, Standing::Quiet, film(), film(), Standing::Quiet] {
            tell(&sink, SignalKind::IdleInhibitor, "logind", standing);
        }
        // Another source is another thing.
        tell(&sink, SignalKind::IdleInhibitor, "screensaver", Standing::Quiet);
        let heard: Vec<Standing> = heard.lock().unwrap().iter().map(|sign| sign.standing.clone()).collect();
        assert_eq!(heard, [Standing::Quiet, film(), Standing::Quiet, Standing::Quiet]);
    }
}
