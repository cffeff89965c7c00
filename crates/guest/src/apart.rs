//! Services that cannot reach process 1, in a sandbox that would let them.
//!
//! Linux shields a container's process 1 from its own user: no signal without a handler gets to it, and one that is not
//! dumpable shows nobody its open files. gVisor (2024) does neither: whoever has the same user stops process 1, so that it
//! hears no silence any more, and writes to the agent in its name by `/proc/1/fd/1`. So services have process numbers of
//! their own there, where process 1 has none, and a `/proc` of these.
#![expect(unsafe_code, reason = "what is done between fork and exec is for whoever does it to know")]

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{WaitOptions, getgid, getuid, wait};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::launch::{APART, CANNOT_START, LAUNCH, drop_capabilities};
use crate::line::End;

/// The subcommand that is process 1 of a service's own numbers.
pub const FIRST: &str = "first";

/// More than the reason why a program did not start.
const MOST_WORDS: usize = 600;

/// A program that is set apart for nothing but to see whether that can be done here. A service that cannot be would be tried
/// again and again, with the reason in a log that ends with the container.
pub struct Trial(io::Result<Child>);

impl Trial {
    /// Takes this program, which says how it is used and ends.
    pub fn begin() -> Self {
        Self(std::env::current_exe().and_then(|program| Self::start(&program)))
    }

    fn start(program: &Path) -> io::Result<Child> {
        let mut command = Command::new(program);
        command.args([LAUNCH, APART, "--"]).arg(program).arg("help");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
    }

    /// Waits for its end, which is why the container ends where it is a bad one.
    pub fn end(self) -> Result<(), End> {
        let said = match self.0.and_then(Child::wait_with_output) {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => String::from_utf8_lossy(&output.stderr).chars().take(MOST_WORDS).collect(),
            Err(error) => error.to_string(),
        };
        let why = format!(
            "what a tenant runs cannot be kept from process 1 ({}): try another release of gVisor, or none",
            said.trim()
        );
        Err(End::Failed { what: "gVisor", why })
    }
}

/// Runs a program among process numbers of its own, to its end. For a process with one thread.
///
/// What the program leaves behind lives on, as it would outside: the first of the numbers stays until nothing else is left.
pub fn run(program: &str, arguments: &[String]) -> io::Result<u8> {
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
    let (said, says) = io::pipe()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(FIRST).arg(program).args(arguments).stdin(Stdio::from(says));
    // Only a process of the new numbers can mount a /proc of them, and with exec it loses what it needs for that.
    // SAFETY: system calls alone, without memory that is taken or a lock that is waited for.
    unsafe { command.pre_exec(own_processes) };
    let mut child = command.spawn()?;
    // Its end of the pipe is the command's too.
    drop(command);
    match how_it_ended(said) {
        Some(code) => Ok(code),
        None => child.wait().map(code),
    }
}

/// What the first of the numbers said of its program's end, if it lived to.
fn how_it_ended(mut said: PipeReader) -> Option<u8> {
    let mut byte = [0];
    said.read_exact(&mut byte).ok().map(|()| byte[0])
}

/// Process 1 of the new numbers: starts the program, says on its standard input how that ended, and collects the dead until
/// there is nobody else. It does not heed what asks everybody to end: with it all would end at once.
pub fn first(arguments: &[String]) -> ExitCode {
    let [program, rest @ ..] = arguments else { return ExitCode::from(2) };
    if let Err(error) = check_apart() {
        return not_started(program, &error);
    }
    hold_back_sigterm();
    let says = io::stdin().as_fd().try_clone_to_owned().map(PipeWriter::from);
    // It starts with an empty mask of signals, as everything does that the standard library starts.
    let started = Command::new(program).args(rest).stdin(Stdio::null()).spawn();
    let (mut says, started) = match (says, started) {
        (Ok(says), Ok(started)) => (says, started),
        (Err(error), _) => return not_started(program, &error),
        (_, Err(error)) => return not_started(program, &error),
    };
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((id, status))) if id.as_raw_pid().unsigned_abs() == started.id() => {
                // Nobody listens where the container is ending.
                let _ = says.write_all(&[code(ExitStatus::from_raw(status.as_raw()))]);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // No child at all.
            Err(_) => return ExitCode::SUCCESS,
        }
    }
}

/// A kernel may take the calls and not do as they say. Then nothing of the tenant's starts.
fn check_apart() -> io::Result<()> {
    let shown = std::fs::read_link("/proc/self")?;
    if is_first(std::process::id(), &shown) {
        return Ok(());
    }
    Err(io::Error::other("it has no process numbers of its own though the kernel took the calls"))
}

/// Whether a process that counts itself as this one, and that `/proc` shows so, is the first of its numbers in both.
fn is_first(id: u32, shown: &Path) -> bool {
    id == 1 && shown == Path::new("1")
}

fn not_started(program: &str, error: &io::Error) -> ExitCode {
    eprintln!("{program} cannot be started: {error}");
    ExitCode::from(CANNOT_START)
}

fn hold_back_sigterm() {
    let mut held = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is made empty before it is read, and both calls take what is valid for the time of the call.
    unsafe {
        libc::sigemptyset(held.as_mut_ptr());
        libc::sigaddset(held.as_mut_ptr(), libc::SIGTERM);
        libc::pthread_sigmask(libc::SIG_BLOCK, held.as_ptr(), std::ptr::null_mut());
    }
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
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_end_is_told_as_a_shell_does() {
        let codes = [0, 3 << 8, 255 << 8, 15].map(|raw| code(ExitStatus::from_raw(raw)));
        assert_eq!(codes, [0, 3, 255, 143]);
    }

    #[test]
    fn who_is_not_first_in_numbers_and_in_proc_is_not_apart() {
        let found =
            [(1, "1"), (1, "7"), (7, "1"), (7, "7")].map(|(id, shown)| is_first(id, Path::new(shown)));
        assert_eq!(found, [true, false, false, false]);
        assert!(check_apart().is_err(), "a test is not process 1");
    }

    #[test]
    fn where_nothing_can_be_set_apart_the_reason_is_told_and_what_to_do() {
        let folder = std::env::temp_dir().join(format!("nightjar-guest-trial-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let tried = |script: &str| {
            let program = folder.join("launcher");
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
            Trial(Trial::start(&program)).end()
        };
        let fine = tried(r#"echo usage; [ "$1 $2 $3 $4 $5" = "launch --apart -- $0 help" ]"#);
        let unfit = tried("echo it has no process numbers of its own >&2; exit 127");
        let none = Trial(Trial::start(&folder.join("nowhere"))).end();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(fine.is_ok());
        for (end, reason) in [(unfit, "no process numbers of its own)"), (none, "No such file")] {
            let Err(End::Failed { what: "gVisor", why }) = end else { panic!("it does not end") };
            assert!(why.contains(reason) && why.ends_with("try another release of gVisor, or none"), "{why}");
        }
    }
}
