//! gVisor: a second wall around a tenant, where the owner has it. What the Engine's settings name, and whether a tenant runs
//! in it.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{Runtime, Snapshot};
use crate::settings::{GiveBack, Settings};

const PROGRAM: &str = "runsc";
const NETWORK_FLAG: &str = "network";
const HOST: &str = "host";
const CARD_FLAG: &str = "nvproxy";

/// What the Engine says of one way to start containers.
#[derive(Clone, Copy, Debug)]
pub struct RegisteredRuntime<'a> {
    pub name: &'a str,
    /// The program; empty where the Engine names none.
    pub path: &'a str,
    pub arguments: &'a [String],
}

/// How it is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Registration {
    Absent,
    /// It brings a network stack of its own, whose frames pass no rule of the gateway's.
    OwnNetwork,
    /// Nothing that runs in it gets a card.
    NoCard,
    /// It opens sockets in the gateway's network, and hands out cards.
    Fit,
}

impl Registration {
    #[must_use]
    pub fn of(runtime: RegisteredRuntime<'_>) -> Self {
        let program = runtime.path.rsplit('/').next().unwrap_or_default();
        if !program.contains(PROGRAM) && !runtime.name.contains(PROGRAM) {
            return Self::Absent;
        }
        match (value(NETWORK_FLAG, runtime.arguments), value(CARD_FLAG, runtime.arguments)) {
            (Some(HOST), Some("true" | "1" | "t" | "T" | "TRUE" | "True")) => Self::Fit,
            (Some(HOST), _) => Self::NoCard,
            _ => Self::OwnNetwork,
        }
    }

    /// Of several, the one that comes nearest to being of use, with its place.
    #[must_use]
    pub fn among<'a>(
        runtimes: impl IntoIterator<Item = RegisteredRuntime<'a>>,
    ) -> (Self, Option<RegisteredRuntime<'a>>) {
        let known = runtimes.into_iter().map(|runtime| (Self::of(runtime), runtime));
        let known = known.filter(|(how, _)| *how != Self::Absent);
        // The Engine lists them in no order: of equals the first by name.
        let best = known.max_by(|(a, one), (b, other)| a.cmp(b).then_with(|| other.name.cmp(one.name)));
        best.map_or((Self::Absent, None), |(how, runtime)| (how, Some(runtime)))
    }
}

/// The last word counts, as in Go's flags, which begin with one dash or two and bring their value with them or after them;
/// one of yes and no may come without.
fn value<'a>(wanted: &str, arguments: &'a [String]) -> Option<&'a str> {
    let mut found = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else { continue };
        match flag.split_once('=') {
            Some((name, value)) if name == wanted => found = Some(value),
            None if flag == wanted && wanted == CARD_FLAG => found = Some("true"),
            None if flag == wanted => found = rest.next().map(String::as_str),
            _ => {}
        }
    }
    found
}

/// What is known of an Engine's gVisor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Gvisor {
    #[default]
    Absent,
    /// See [`Registration`].
    OwnNetwork,
    NoCard,
    /// It is fit, and does not say which drivers it knows: it is too old, or its program cannot be run from here.
    Silent,
    Told(Sandbox),
}

/// A gVisor that a tenant could run in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Sandbox {
    /// The Engine's name for it.
    pub runtime: String,
    /// Versions of NVIDIA's driver whose calls it knows.
    pub drivers: Vec<String>,
    /// Limits of a container that runs can be changed, which sharing needs.
    pub changes_limits: bool,
}

/// Whether the next tenant runs in gVisor, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandboxing<'a> {
    Used(&'a Sandbox),
    /// There is none, or nothing is known yet.
    Absent,
    OwnNetwork,
    NoCard,
    Silent,
    /// The owner does not want it.
    TurnedOff,
    /// Whom the Engine maps root to is somebody else than the gateway's rules take for the tenant.
    UsersMapped,
    /// The owner shares the PC with tenants, whose limits it could not narrow.
    CannotShare,
    DriverUnknown {
        driver: &'a str,
    },
}

impl Sandboxing<'_> {
    /// The Engine's name for what the next tenant runs in.
    #[must_use]
    pub fn runtime(&self) -> Option<&str> {
        match self {
            Self::Used(sandbox) => Some(&sandbox.runtime),
            _ => None,
        }
    }
}

impl Snapshot {
    /// gVisor is used where it is installed and knows the driver. It passes on a driver's calls one by one, and what it does
    /// not know of a driver it refuses.
    #[must_use]
    pub fn sandboxing(&self, settings: &Settings) -> Sandboxing<'_> {
        let Runtime::Ready { engine, .. } = &self.runtime else { return Sandboxing::Absent };
        let sandbox = match &engine.gvisor {
            Gvisor::Absent => return Sandboxing::Absent,
            _ if !settings.gvisor => return Sandboxing::TurnedOff,
            Gvisor::OwnNetwork => return Sandboxing::OwnNetwork,
            Gvisor::NoCard => return Sandboxing::NoCard,
            Gvisor::Silent => return Sandboxing::Silent,
            Gvisor::Told(_) if engine.maps_users => return Sandboxing::UsersMapped,
            Gvisor::Told(sandbox) => sandbox,
        };
        if settings.give_back == GiveBack::Share && !sandbox.changes_limits {
            return Sandboxing::CannotShare;
        }
        match self.driver.as_ref().map(|driver| driver.version.as_str()) {
            None => Sandboxing::Absent,
            Some(driver) if sandbox.drivers.iter().any(|known| known == driver) => Sandboxing::Used(sandbox),
            Some(driver) => Sandboxing::DriverUnknown { driver },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gpu::DriverInfo;
    use crate::policy::EngineFacts;

    fn registered(name: &str, path: &str, line: &str) -> Registration {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Registration::among([RegisteredRuntime { name, path, arguments: &arguments }]).0
    }

    #[test]
    fn it_is_known_by_its_name_or_its_program_and_what_it_does_by_its_flags() {
        use Registration::{Absent, Fit, NoCard, OwnNetwork};
        for (name, path, line, is) in [
            ("runc", "runc", "", Absent),
            ("nvidia", "nvidia-container-runtime", "--network=host --nvproxy", Absent),
            // A folder of that name makes nothing gVisor.
            ("runc", "/opt/runsc/runc", "--network=host", Absent),
            ("runsc", "/usr/bin/runsc", "", OwnNetwork),
            // A shim's settings are in a file that the Engine does not show.
            ("io.containerd.runsc.v1", "", "", OwnNetwork),
            ("sandbox", "/usr/local/bin/runsc", "--network=host", NoCard),
            ("runsc", "runsc", "-network=host -debug", NoCard),
            ("runsc", "runsc", "--debug --network host", NoCard),
            ("runsc", "runsc", "--network=none --nvproxy", OwnNetwork),
            ("runsc", "runsc", "--network=host --network=sandbox --nvproxy", OwnNetwork),
            ("runsc", "runsc", "--network=sandbox --network=host --nvproxy", Fit),
            ("runsc", "runsc", "--network-plugin=host --nvproxy", OwnNetwork),
            ("runsc", "runsc", "--nvproxy --network", OwnNetwork),
            ("runsc", "runsc", "network=host --nvproxy", OwnNetwork),
            ("sandbox", "/usr/local/bin/runsc", "--network=host --nvproxy", Fit),
            ("sandbox", "/usr/local/bin/runsc", "-nvproxy=true --network host", Fit),
            ("sandbox", "/usr/local/bin/runsc", "--nvproxy --network=host --nvproxy=false", NoCard),
            ("sandbox", "/usr/local/bin/runsc", "--nvproxy-docker --network=host", NoCard),
        ] {
            assert_eq!(registered(name, path, line), is, "{name} {path} {line}");
        }
    }

    #[test]
    fn of_several_the_nearest_to_use_is_told() {
        let host = ["--network=host".to_owned()];
        let fit = ["--network=host".to_owned(), "--nvproxy".to_owned()];
        let of = |name: &'static str, arguments| RegisteredRuntime { name, path: "", arguments };
        let none: [String; 0] = [];
        let best = |runtimes: &[RegisteredRuntime<'_>]| {
            let (how, which) = Registration::among(runtimes.iter().copied());
            (how, which.map(|runtime| runtime.name.to_owned()))
        };
        assert_eq!(best(&[]), (Registration::Absent, None));
        assert_eq!(best(&[of("runc", &none)]), (Registration::Absent, None));
        let several =
            [of("runsc", &host[..]), of("runsc-b", &fit[..]), of("runsc-a", &fit[..]), of("runc", &none)];
        assert_eq!(best(&several), (Registration::Fit, Some("runsc-a".to_owned())));
        assert_eq!(best(&several[..1]).0, Registration::NoCard);
    }

    fn snapshot(gvisor: Gvisor, driver: &str) -> Snapshot {
        let engine = EngineFacts { gvisor, ..EngineFacts::default() };
        Snapshot {
            runtime: Runtime::Ready { unsafe_versions: Vec::new(), images: Vec::new(), engine },
            driver: Some(DriverInfo { version: driver.to_owned(), cuda: None }),
            ..Snapshot::default()
        }
    }

    fn told(changes_limits: bool) -> Gvisor {
        let drivers = ["550.54.14", "550.54.15"].map(str::to_owned).to_vec();
        Gvisor::Told(Sandbox { runtime: "sandbox".to_owned(), drivers, changes_limits })
    }

    #[test]
    fn it_is_used_where_it_is_installed_and_knows_the_driver() {
        let settings = Settings::default();
        let listed = snapshot(told(false), "550.54.15");
        assert_eq!(listed.sandboxing(&settings).runtime(), Some("sandbox"));
        let other = snapshot(told(true), "550.54.1");
        assert_eq!(other.sandboxing(&settings), Sandboxing::DriverUnknown { driver: "550.54.1" });
        let asleep = Snapshot { driver: None, ..snapshot(told(true), "") };
        assert_eq!(asleep.sandboxing(&settings), Sandboxing::Absent);
        for (gvisor, is) in [
            (Gvisor::Absent, Sandboxing::Absent),
            (Gvisor::OwnNetwork, Sandboxing::OwnNetwork),
            (Gvisor::NoCard, Sandboxing::NoCard),
            (Gvisor::Silent, Sandboxing::Silent),
        ] {
            assert_eq!(snapshot(gvisor, "550.54.15").sandboxing(&settings), is);
        }
        assert_eq!(Snapshot::default().sandboxing(&settings), Sandboxing::Absent);
    }

    #[test]
    fn the_owners_word_and_ways_come_before_it() {
        let listed = snapshot(told(false), "550.54.15");
        let off = Settings { gvisor: false, ..Settings::default() };
        assert_eq!(listed.sandboxing(&off), Sandboxing::TurnedOff);
        let share = Settings { give_back: GiveBack::Share, ..Settings::default() };
        assert_eq!(listed.sandboxing(&share), Sandboxing::CannotShare);
        assert_eq!(snapshot(told(true), "550.54.15").sandboxing(&share).runtime(), Some("sandbox"));
        let mut mapped = listed.clone();
        let Runtime::Ready { engine, .. } = &mut mapped.runtime else { unreachable!() };
        engine.maps_users = true;
        assert_eq!(mapped.sandboxing(&Settings::default()), Sandboxing::UsersMapped);
    }

    proptest! {
        #[test]
        fn no_other_flag_changes_what_its_network_is(
            others in proptest::collection::vec("--?[a-m]{1,8}(=[a-z]{0,6})?", 0..6),
            place in 0_usize..6,
            is_host: bool,
        ) {
            let mut arguments = others;
            let word = if is_host { "--network=host" } else { "--network=sandbox" };
            arguments.insert(place.min(arguments.len()), word.to_owned());
            let found = Registration::of(RegisteredRuntime { name: "runsc", path: "", arguments: &arguments });
            prop_assert_eq!(found >= Registration::NoCard, is_host);
        }
    }
}
