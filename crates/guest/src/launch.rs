//! The last step before a service's program.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use crate::apart;

/// As a shell says it.
pub const CANNOT_START: u8 = 127;
/// The most there is: when memory is short, the kernel ends the program and not process 1.
const OOM_SCORE_ADJUST: &str = "1000";

/// The subcommand.
pub const LAUNCH: &str = "launch";
/// Before the dashes: the program keeps the container's capabilities.
pub const KEEP: &str = "--keep-capabilities";
/// In the same place: it does not see process 1; see [`apart`].
pub const APART: &str = "--apart";

/// Becomes the program after `--`, with no way to gain any privilege, and without capabilities unless the first argument
/// says otherwise.
///
/// In the gateway this is what separates the proxy, which reads what a tenant sends, from process 1 and its
/// `CAP_NET_ADMIN`: a change of user would need two capabilities more for the whole container.
pub fn run(arguments: &[String]) -> ExitCode {
    let (mode, rest) = match arguments {
        [first, rest @ ..] if first == KEEP || first == APART => (Some(first.as_str()), rest),
        all => (None, all),
    };
    let [dashes, program, rest @ ..] = rest else {
        eprintln!("usage: nightjar-guest {LAUNCH} [{KEEP}|{APART}] -- PROGRAM [ARG...]");
        return ExitCode::from(2);
    };
    if dashes != "--" {
        eprintln!("usage: nightjar-guest {LAUNCH} [{KEEP}|{APART}] -- PROGRAM [ARG...]");
        return ExitCode::from(2);
    }
    // A kernel without it is no reason not to start.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJUST);
    let dropped =
        set_no_new_privs(true).and_then(|()| if mode == Some(KEEP) { Ok(()) } else { drop_capabilities() });
    if let Err(error) = dropped {
        eprintln!("{program} is not started: its privileges cannot be dropped: {error}");
        return ExitCode::FAILURE;
    }
    let error = match mode {
        Some(APART) => match apart::run(program, rest) {
            Ok(code) => return ExitCode::from(code),
            Err(error) => error,
        },
        _ => Command::new(program).args(rest).exec(),
    };
    eprintln!("{program} cannot be started: {error}");
    ExitCode::from(CANNOT_START)
}

/// All that this thread has.
pub fn drop_capabilities() -> rustix::io::Result<()> {
    let nothing = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, nothing)
}
