//! Does a program run in a container? What does is no sign of the user: tenants run there, and whatever else does was
//! put there to be kept apart.

use std::fs;

/// Length of a container's id, in hexadecimal digits.
const ID_LENGTH: usize = 64;

/// Whether the program with this number runs in a container that this one does not run in. A program that has ended, or
/// that cannot be looked at, does not.
#[must_use]
pub fn containerised(pid: u32) -> bool {
    let own = std::process::id();
    pid != own && container_of(pid).is_some_and(|id| container_of(own).as_deref() != Some(id.as_str()))
}

/// The id of the innermost container that the program runs in.
#[must_use]
pub fn container_of(pid: u32) -> Option<String> {
    container_in(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// Reads `/proc/PID/cgroup`: one line `0::PATH` with version 2, one for each controller with version 1.
fn container_in(cgroup: &str) -> Option<String> {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter_map(|path| path.split('/').rev().find_map(id_in)).next().map(str::to_owned)
}

/// `ID` by cgroupfs, `docker-ID.scope` by systemd, `libpod-ID.scope` by Podman.
fn id_in(part: &str) -> Option<&str> {
    let name = part.strip_suffix(".scope").map_or(part, |unit| unit.rsplit('-').next().unwrap_or(unit));
    let is_id = name.len() == ID_LENGTH && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{container_in, containerised};

    const ID: &str = "3f2a9c1be07d4a5b8c6d3f2a9c1be07d4a5b8c6d3f2a9c1be07d4a5b8c6d0123";

    #[test]
    fn peers_10_programs_in_containers_are_told_apart_by_their_cgroup() {
        let with = |path: &str| container_in(&path.replace("ID", ID));
        for path in [
            "0::/system.slice/docker-ID.scope\n",
            "0::/docker/ID\n",
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope\n",
            "0::/user.slice/libpod-ID.scope/container\n",
            "9:name=systemd:/docker/ID\n8:pids:/docker/ID\n1:cpu:/docker/ID\n0::/\n",
            "0::/nightjar/ID/init\n",
        ] {
            assert_eq!(with(path).as_deref(), Some(ID), "{path}");
        }
        for path in [
            "0::/user.slice/user-1000.slice/session-2.scope\n",
            "0::/init.scope\n",
            "0::/system.slice/docker.service\n",
            "0::/docker/abc\n",
            "",
        ] {
            assert_eq!(with(path), None, "{path}");
        }
    }

    #[test]
    fn of_containers_in_containers_the_inner_one_is_meant() {
        let inner = ID.replace('3', "4");
        assert_eq!(container_in(&format!("0::/docker/{ID}/docker/{inner}\n")), Some(inner));
    }

    #[test]
    fn what_runs_beside_this_program_is_not_containerised() {
        assert!(!containerised(std::process::id()));
        assert!(!containerised(u32::MAX));
    }

    proptest! {
        #[test]
        fn whatever_the_kernel_writes_it_is_read(text in "\\PC{0,200}") {
            let _ = container_in(&text);
        }
    }
}
