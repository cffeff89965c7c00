//! gVisor, as an Engine's settings name it.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

const PROGRAM: &str = "runsc";
const NETWORK_FLAG: &str = "network";
const HOST: &str = "host";

/// What the Engine says of one way to start containers.
#[derive(Clone, Copy, Debug)]
pub struct RegisteredRuntime<'a> {
    pub name: &'a str,
    /// The program; empty where the Engine names none.
    pub path: &'a str,
    pub arguments: &'a [String],
}

/// Is it there, and what of the gateway's fence would hold in front of it? It is not used either way, and this is why:
/// see ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Gvisor {
    #[default]
    Absent,
    /// It brings a network stack of its own, whose frames pass no rule of the gateway's.
    OwnNetwork,
    /// It opens sockets in the gateway's network, where the rules hold but have one user for everybody: root.
    HostNetwork,
}

impl Gvisor {
    /// Of several, the one that comes nearest to being of use.
    #[must_use]
    pub fn among<'a>(runtimes: impl IntoIterator<Item = RegisteredRuntime<'a>>) -> Self {
        runtimes.into_iter().map(Self::of).max().unwrap_or_default()
    }

    fn of(runtime: RegisteredRuntime<'_>) -> Self {
        let program = runtime.path.rsplit('/').next().unwrap_or_default();
        if !program.contains(PROGRAM) && !runtime.name.contains(PROGRAM) {
            return Self::Absent;
        }
        match network(runtime.arguments) {
            Some(HOST) => Self::HostNetwork,
            _ => Self::OwnNetwork,
        }
    }
}

/// The last word counts, as in Go's flags, which begin with one dash or two and bring their value with them or after them.
fn network(arguments: &[String]) -> Option<&str> {
    let mut found = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else { continue };
        match flag.split_once('=') {
            Some((NETWORK_FLAG, value)) => found = Some(value),
            None if flag == NETWORK_FLAG => found = rest.next().map(String::as_str),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn registered(name: &str, path: &str, line: &str) -> Gvisor {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Gvisor::among([RegisteredRuntime { name, path, arguments: &arguments }])
    }

    #[test]
    fn it_is_known_by_its_name_or_its_program_and_its_network_by_its_flags() {
        use Gvisor::{Absent, HostNetwork, OwnNetwork};
        for (name, path, line, is) in [
            ("runc", "runc", "", Absent),
            ("nvidia", "nvidia-container-runtime", "--network=host", Absent),
            // A folder of that name makes nothing gVisor.
            ("runc", "/opt/runsc/runc", "--network=host", Absent),
            ("runsc", "/usr/bin/runsc", "", OwnNetwork),
            // A shim's settings are in a file that the Engine does not show.
            ("io.containerd.runsc.v1", "", "", OwnNetwork),
            ("sandbox", "/usr/local/bin/runsc", "--network=host", HostNetwork),
            ("runsc", "runsc", "-network=host -debug", HostNetwork),
            ("runsc", "runsc", "--debug --network host", HostNetwork),
            ("runsc", "runsc", "--network=none", OwnNetwork),
            ("runsc", "runsc", "--network=host --network=sandbox", OwnNetwork),
            ("runsc", "runsc", "--network=sandbox --network=host", HostNetwork),
            ("runsc", "runsc", "--network-plugin=host", OwnNetwork),
            ("runsc", "runsc", "--network", OwnNetwork),
            ("runsc", "runsc", "network=host", OwnNetwork),
        ] {
            assert_eq!(registered(name, path, line), is, "{name} {path} {line}");
        }
    }

    #[test]
    fn of_several_the_nearest_to_use_is_told() {
        let host = ["--network=host".to_owned()];
        let of = |name, arguments| RegisteredRuntime { name, path: "", arguments };
        assert_eq!(Gvisor::among([]), Gvisor::Absent);
        assert_eq!(Gvisor::among([of("runsc", &host[..]), of("runsc-own", &[])]), Gvisor::HostNetwork);
        assert_eq!(Gvisor::among([of("runc", &[]), of("runsc", &[])]), Gvisor::OwnNetwork);
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
            let found = Gvisor::among([RegisteredRuntime { name: "runsc", path: "", arguments: &arguments }]);
            prop_assert_eq!(found == Gvisor::HostNetwork, is_host);
        }
    }
}
