//! Services that cannot reach process 1, in a sandbox that would let them.
//!
//! Linux shields a container's process 1 from its own user: no signal without a handler gets to it, and one that is not
//! dumpable shows nobody its open files. gVisor (2024) does neither: whoever has the same user stops process 1, so that it
//! hears no silence any more, and writes to the agent in its name by `/proc/1/fd/1`. So services have process numbers of
//! their own there, where process 1 has none, and a `/proc` of these.
#![expect(unsafe_code, reason = "what is done between fork and exec is for whoever does it to know")]

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{getgid, getuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::launch::drop_capabilities;

/// Runs a program as the first of its own process numbers, to its end. For a process with one thread.
pub fn run(mut command: Command) -> io::Result<ExitStatus> {
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    // A user namespace, since nothing else may make the others without privileges.
    let own = UnshareFlags::NEWUSER | UnshareFlags::NEWPID | UnshareFlags::NEWNS;
    // SAFETY: files stay shared; that is the flag which makes it unsafe.
    unsafe { unshare_unsafe(own)? };
    match tell("/proc/self/setgroups", "deny") {
        // gVisor has no such file, and asks for none.
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    tell("/proc/self/uid_map", &format!("{user} {user} 1\n"))?;
    tell("/proc/self/gid_map", &format!("{group} {group} 1\n"))?;
    // Only a process of the new numbers can mount a /proc of them, and with exec it loses what it needs for that.
    // SAFETY: system calls alone, without memory that is taken or a lock that is waited for.
    unsafe { command.pre_exec(own_processes) };
    command.spawn()?.wait()
}

fn tell(file: &str, text: &str) -> io::Result<()> {
    File::options().write(true).open(file)?.write_all(text.as_bytes())
}

/// The program's code as a shell tells it.
pub fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

fn own_processes() -> io::Result<()> {
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount(c"proc", c"/proc", c"proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)?;
    drop_capabilities()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_as_a_shell_does() {
        let codes = [0, 3 << 8, 255 << 8, 15].map(|raw| code(ExitStatus::from_raw(raw)));
        assert_eq!(codes, [0, 3, 255, 143]);
    }
}
