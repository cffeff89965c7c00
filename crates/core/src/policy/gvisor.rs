//! gVisor: a second wall around a tenant, where the owner has it. What the Engine's settings name, and whether a tenant runs
//! in it.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{Runtime, Snapshot};
use crate::gpu::GpuUuid;
use crate::lease::LeaseTerms;
use crate::power::HelperStanding;
use crate::settings::{GiveBack, Settings};

const PROGRAM: &str = "runsc";
const NETWORK_FLAG: &str = "network";
const HOST: &str = "host";
const CARD_FLAG: &str = "nvproxy";
const DRIVER_FLAG: &str = "nvproxy-driver-version";
const PART_OF_A_CARD: &str = "MIG-";
/// Flags of yes and no with which it is less of a wall, or none, or keeps our own programs from starting (a profile of system
/// calls is made for the PC's kernel, not for its own): limits that it does not keep, more kinds of sockets, doors to
/// other devices, rights that an image can give itself, and words about each of a tenant's calls on the owner's disk. With
/// `overlay` a renter's volume would be written to memory, and be lost.
const UNSAFE_SWITCHES: [&str; 21] = [
    "ignore-cgroups",
    "allow-flag-override",
    "allow-packet-socket-write",
    "allow-suid",
    "net-raw",
    "oci-seccomp",
    "rootless",
    "overlay",
    "debug",
    "strace",
    "log-packets",
    "profile",
    "fsgofer-host-uds",
    "nvproxy-allow-unsupported-driver",
    "nvproxy-docker",
    "rdmaproxy",
    "tpuproxy",
    "TESTONLY-allow-packet-endpoint-write",
    "TESTONLY-test-name-env",
    "TESTONLY-unsafe-nonroot",
    "TESTONLY-unsafe-skip-chroot",
];
/// Flags that are so for some values, with those that are not.
const UNSAFE_VALUES: [(&str, &[&str]); 10] = [
    ("debug-log", &[""]),
    ("pcap-log", &[""]),
    ("profile-block", &[""]),
    ("profile-cpu", &[""]),
    ("profile-heap", &[""]),
    ("profile-mutex", &[""]),
    ("trace", &[""]),
    ("host-fifo", &["none"]),
    // What is to be opened has to be in the container's folders, where no program of the PC's listens.
    ("host-uds", &["none", "open"]),
    ("overlay2", &["none", "root:self", "root:memory"]),
];

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
pub enum Registration<'a> {
    Absent,
    /// It brings a network stack of its own, whose frames pass no rule of the gateway's.
    OwnNetwork,
    /// Nothing that runs in it gets a card.
    NoCard,
    /// With a flag that takes from what it is there for.
    Unsafe {
        flag: &'static str,
    },
    /// As the next, and takes the driver for this one, whatever it is.
    Pinned {
        driver: &'a str,
    },
    /// It opens sockets in the gateway's network, and hands out cards.
    Fit,
}

impl<'a> Registration<'a> {
    #[must_use]
    pub fn of(runtime: RegisteredRuntime<'a>) -> Self {
        let program = runtime.path.rsplit('/').next().unwrap_or_default();
        if !program.contains(PROGRAM) && !runtime.name.contains(PROGRAM) {
            return Self::Absent;
        }
        let flags = Flags(runtime.arguments);
        if flags.value(NETWORK_FLAG) != Some(HOST) {
            return Self::OwnNetwork;
        }
        if !flags.is_on(CARD_FLAG) {
            return Self::NoCard;
        }
        let switch = UNSAFE_SWITCHES.into_iter().find(|name| flags.is_on(name));
        let value = || {
            let is_unsafe = |(name, fine): &&(&'static str, &[&str])| {
                flags.value(name).is_some_and(|value| !fine.contains(&value))
            };
            UNSAFE_VALUES.iter().find(is_unsafe).map(|(name, _)| *name)
        };
        match switch.or_else(value) {
            Some(flag) => Self::Unsafe { flag },
            None => match flags.value(DRIVER_FLAG) {
                None | Some("") => Self::Fit,
                Some(driver) => Self::Pinned { driver },
            },
        }
    }

    /// Of several, the one that comes nearest to being of use, with its place.
    #[must_use]
    pub fn among(
        runtimes: impl IntoIterator<Item = RegisteredRuntime<'a>>,
    ) -> (Self, Option<RegisteredRuntime<'a>>) {
        let known = runtimes.into_iter().map(|runtime| (Self::of(runtime), runtime));
        let known = known.filter(|(how, _)| *how != Self::Absent);
        // The Engine lists them in no order: of equals the first by name.
        let best = known.max_by(|(a, one), (b, other)| a.cmp(b).then_with(|| other.name.cmp(one.name)));
        best.map_or((Self::Absent, None), |(how, runtime)| (how, Some(runtime)))
    }
}

/// As Go reads them: with one dash or two, the last word counts.
#[derive(Clone, Copy)]
struct Flags<'a>(&'a [String]);

impl<'a> Flags<'a> {
    /// Of a flag that brings its value with it or after it.
    fn value(self, wanted: &str) -> Option<&'a str> {
        self.found(wanted, |rest| rest.next().map(String::as_str))
    }

    /// Of yes and no, which stands alone or brings its value with it.
    fn is_on(self, wanted: &str) -> bool {
        let value = self.found(wanted, |_| Some("true"));
        value.is_some_and(|value| !matches!(value, "false" | "0" | "f" | "F" | "FALSE" | "False"))
    }

    fn found(
        self,
        wanted: &str,
        without: impl Fn(&mut std::slice::Iter<'a, String>) -> Option<&'a str>,
    ) -> Option<&'a str> {
        let mut found = None;
        let mut rest = self.0.iter();
        while let Some(argument) = rest.next() {
            let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
                continue;
            };
            match flag.split_once('=') {
                Some((name, value)) if name == wanted => found = Some(value),
                None if flag == wanted => found = without(&mut rest),
                _ => {}
            }
        }
        found
    }
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
    Unsafe {
        flag: String,
    },
    /// It is fit, and does not say which drivers it knows: it is too old, or its program cannot be run from here.
    Silent,
    /// It is fit, and was too slow to answer, as on a PC that is busy: it is asked again within seconds, a few times.
    Pending,
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
    Unsafe {
        flag: &'a str,
    },
    Silent,
    /// What it knows is not known yet: nobody is to come before it is.
    Pending,
    /// The owner does not want it.
    TurnedOff,
    /// A sandbox that does not answer is frozen and ended by the helper alone; for Docker's own way the owner would wait ten
    /// seconds.
    NoHelper,
    /// Whom the Engine maps root to is somebody else than the gateway's rules take for the tenant.
    UsersMapped,
    /// The owner shares the PC with tenants, whose limits it could not narrow.
    CannotShare,
    DriverUnknown {
        driver: &'a str,
    },
}

impl Sandboxing<'_> {
    /// What the next tenant runs in.
    fn used(&self) -> Option<&Sandbox> {
        match self {
            Self::Used(sandbox) => Some(sandbox),
            _ => None,
        }
    }

    /// The Engine's name for it.
    #[must_use]
    pub fn runtime(&self) -> Option<&str> {
        self.used().map(|sandbox| sandbox.runtime.as_str())
    }

    /// What this one runs in, which no lease that wants none is run in.
    #[must_use]
    pub fn sandbox_for(&self, terms: &LeaseTerms) -> Option<&Sandbox> {
        self.meant_for(terms).filter(|_| !terms.no_sandbox)
    }

    /// The wall is the owner's, and no renter's to take away: a lease that wants none does not come to where it would stand.
    #[must_use]
    pub fn is_unwanted_by(&self, terms: &LeaseTerms) -> bool {
        terms.no_sandbox && self.meant_for(terms).is_some()
    }

    /// Whether an ordinary user of this card runs in it. A part of a card cannot be handed to it.
    #[must_use]
    pub fn takes(&self, gpu: &GpuUuid) -> bool {
        self.used().is_some() && !is_part(gpu)
    }

    /// Whether one may turn out to in a moment.
    #[must_use]
    pub fn may_yet_take(&self, gpu: &GpuUuid) -> bool {
        matches!(self, Self::Pending) && !is_part(gpu)
    }

    /// Who is root inside is so to gVisor's kernel too, which keeps nothing of process 1's from it.
    fn meant_for(&self, terms: &LeaseTerms) -> Option<&Sandbox> {
        self.used().filter(|_| self.takes(&terms.gpu) && !terms.root_inside)
    }
}

fn is_part(gpu: &GpuUuid) -> bool {
    gpu.0.starts_with(PART_OF_A_CARD)
}

impl Snapshot {
    /// gVisor is used where it is installed and knows the driver. It passes on a driver's calls one by one, and what it does
    /// not know of a driver it refuses.
    #[must_use]
    pub fn sandboxing(&self, settings: &Settings, helper: &HelperStanding) -> Sandboxing<'_> {
        let Runtime::Ready { engine, .. } = &self.runtime else { return Sandboxing::Absent };
        let sandbox = match &engine.gvisor {
            Gvisor::Absent => return Sandboxing::Absent,
            _ if !settings.gvisor => return Sandboxing::TurnedOff,
            Gvisor::OwnNetwork => return Sandboxing::OwnNetwork,
            Gvisor::NoCard => return Sandboxing::NoCard,
            Gvisor::Unsafe { flag } => return Sandboxing::Unsafe { flag },
            Gvisor::Silent => return Sandboxing::Silent,
            Gvisor::Pending | Gvisor::Told(_) if engine.maps_users => return Sandboxing::UsersMapped,
            Gvisor::Pending => None,
            Gvisor::Told(sandbox) => Some(sandbox),
        };
        if !matches!(helper, HelperStanding::Available { .. }) {
            return Sandboxing::NoHelper;
        }
        let Some(sandbox) = sandbox else { return Sandboxing::Pending };
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

    #[track_caller]
    fn check(name: &str, path: &str, line: &str, is: Registration<'_>) {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (found, _) = Registration::among([RegisteredRuntime { name, path, arguments: &arguments }]);
        assert_eq!(found, is, "{name} {path} {line}");
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
            check(name, path, line, is);
        }
    }

    #[test]
    fn a_flag_that_makes_it_less_of_a_wall_is_named() {
        let with = |more: &str, is| check("runsc", "runsc", &format!("--network=host --nvproxy {more}"), is);
        for (more, flag) in [
            ("--ignore-cgroups", "ignore-cgroups"),
            ("--net-raw=true", "net-raw"),
            ("--oci-seccomp", "oci-seccomp"),
            ("-debug", "debug"),
            ("--debug-log=/tmp/runsc/", "debug-log"),
            ("--debug-log /tmp/runsc/", "debug-log"),
            ("--host-uds=all", "host-uds"),
            ("--overlay2=all:memory", "overlay2"),
            ("--host-fifo=open", "host-fifo"),
        ] {
            with(more, Registration::Unsafe { flag });
        }
        let fine = "--net-raw=false --directfs=false --host-uds=open --overlay2=root:self --debug=0 --platform=systrap";
        with(fine, Registration::Fit);
        with("--nvproxy-driver-version=550.54.15", Registration::Pinned { driver: "550.54.15" });
    }

    fn best<'a>(runtimes: &[RegisteredRuntime<'a>]) -> (Registration<'a>, Option<String>) {
        let (how, which) = Registration::among(runtimes.iter().copied());
        (how, which.map(|runtime| runtime.name.to_owned()))
    }

    #[test]
    fn of_several_the_nearest_to_use_is_told() {
        let host = ["--network=host".to_owned()];
        let fit = ["--network=host".to_owned(), "--nvproxy".to_owned()];
        let of = |name: &'static str, arguments| RegisteredRuntime { name, path: "", arguments };
        let none: [String; 0] = [];
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

    fn helper() -> HelperStanding {
        HelperStanding::Available { version: "1".to_owned() }
    }

    fn told(changes_limits: bool) -> Gvisor {
        let drivers = ["550.54.14", "550.54.15"].map(str::to_owned).to_vec();
        Gvisor::Told(Sandbox { runtime: "sandbox".to_owned(), drivers, changes_limits })
    }

    #[test]
    fn it_is_used_where_it_is_installed_and_knows_the_driver() {
        let settings = Settings::default();
        let listed = snapshot(told(false), "550.54.15");
        assert_eq!(listed.sandboxing(&settings, &helper()).runtime(), Some("sandbox"));
        let other = snapshot(told(true), "550.54.1");
        assert_eq!(other.sandboxing(&settings, &helper()), Sandboxing::DriverUnknown { driver: "550.54.1" });
        let asleep = Snapshot { driver: None, ..snapshot(told(true), "") };
        assert_eq!(asleep.sandboxing(&settings, &helper()), Sandboxing::Absent);
        for (gvisor, is) in [
            (Gvisor::Absent, Sandboxing::Absent),
            (Gvisor::OwnNetwork, Sandboxing::OwnNetwork),
            (Gvisor::NoCard, Sandboxing::NoCard),
            (Gvisor::Unsafe { flag: "debug".to_owned() }, Sandboxing::Unsafe { flag: "debug" }),
            (Gvisor::Silent, Sandboxing::Silent),
            (Gvisor::Pending, Sandboxing::Pending),
        ] {
            assert_eq!(snapshot(gvisor, "550.54.15").sandboxing(&settings, &helper()), is);
        }
        for helper in [HelperStanding::NotInstalled, HelperStanding::Unknown] {
            assert_eq!(listed.sandboxing(&settings, &helper), Sandboxing::NoHelper);
        }
        assert_eq!(Snapshot::default().sandboxing(&settings, &helper()), Sandboxing::Absent);
    }

    #[test]
    fn the_owners_word_and_ways_come_before_it() {
        let listed = snapshot(told(false), "550.54.15");
        let off = Settings { gvisor: false, ..Settings::default() };
        assert_eq!(listed.sandboxing(&off, &helper()), Sandboxing::TurnedOff);
        let share = Settings { give_back: GiveBack::Share, ..Settings::default() };
        assert_eq!(listed.sandboxing(&share, &helper()), Sandboxing::CannotShare);
        assert_eq!(
            snapshot(told(true), "550.54.15").sandboxing(&share, &helper()).runtime(),
            Some("sandbox")
        );
        let mut mapped = listed.clone();
        let Runtime::Ready { engine, .. } = &mut mapped.runtime else { unreachable!() };
        engine.maps_users = true;
        assert_eq!(mapped.sandboxing(&Settings::default(), &helper()), Sandboxing::UsersMapped);
    }

    #[test]
    fn who_is_root_inside_and_who_has_a_part_of_a_card_is_in_none() {
        let listed = snapshot(told(true), "550.54.15");
        let (settings, helper) = (Settings::default(), helper());
        let sandboxing = listed.sandboxing(&settings, &helper);
        let terms = crate::host::sample::terms("lease", 1, "GPU-1");
        assert_eq!(sandboxing.sandbox_for(&terms).unwrap().runtime, "sandbox");
        assert_eq!(sandboxing.sandbox_for(&LeaseTerms { root_inside: true, ..terms.clone() }), None);
        let part = LeaseTerms { gpu: crate::gpu::GpuUuid("MIG-1".to_owned()), ..terms };
        assert_eq!(sandboxing.sandbox_for(&part), None);
    }

    /// Every way in which gVisor can stand, the one that is used first.
    fn every_sandboxing(used: &Sandbox) -> [Sandboxing<'_>; 12] {
        [
            Sandboxing::Used(used),
            Sandboxing::Absent,
            Sandboxing::OwnNetwork,
            Sandboxing::NoCard,
            Sandboxing::Unsafe { flag: "debug" },
            Sandboxing::Silent,
            Sandboxing::Pending,
            Sandboxing::TurnedOff,
            Sandboxing::NoHelper,
            Sandboxing::UsersMapped,
            Sandboxing::CannotShare,
            Sandboxing::DriverUnknown { driver: "1" },
        ]
    }

    proptest! {
        #[test]
        fn who_wants_none_is_in_none_and_takes_it_from_no_owner(
            root_inside: bool,
            is_part: bool,
            no_sandbox: bool,
            which in 0_usize..12,
        ) {
            let used = Sandbox { runtime: "sandbox".to_owned(), drivers: Vec::new(), changes_limits: true };
            let sandboxing = &every_sandboxing(&used)[which];
            let gpu = if is_part { "MIG-1" } else { "GPU-1" };
            let sample = crate::host::sample::terms("lease", 1, gpu);
            let asks = LeaseTerms { root_inside, ..sample };
            let terms = LeaseTerms { no_sandbox, ..asks.clone() };
            // What it would be run in if it asked for nothing.
            let meant = sandboxing.sandbox_for(&asks);
            prop_assert_eq!(meant.is_some(), which == 0 && !root_inside && !is_part);
            prop_assert_eq!(sandboxing.takes(&terms.gpu), which == 0 && !is_part);
            prop_assert_eq!(sandboxing.is_unwanted_by(&terms), no_sandbox && meant.is_some());
            prop_assert_eq!(sandboxing.sandbox_for(&terms), meant.filter(|_| !no_sandbox));
        }

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
