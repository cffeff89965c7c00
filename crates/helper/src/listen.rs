//! Where connections come in: a socket that systemd holds open, or one of our own.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context, bail, ensure};

/// The first descriptor that systemd hands over.
const FIRST_HANDED: i32 = 3;

/// # Errors
/// When there is no socket, or it cannot be opened.
pub fn listener(own: Option<&Path>) -> anyhow::Result<UnixListener> {
    match own {
        Some(path) => bind(path),
        None => handed_over(),
    }
}

fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // What a helper that died has left; a living one answers.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("another helper listens on {} already", path.display());
    }
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)
        .with_context(|| format!("the socket {} cannot be opened", path.display()))?;
    // Who may ask is decided by the peer's credentials, for the user at the seat is in no group.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

fn handed_over() -> anyhow::Result<UnixListener> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    ensure!(
        number("LISTEN_PID") == Some(std::process::id()) && number("LISTEN_FDS") == Some(1),
        "no socket was handed over: start it by `systemctl start nightjar-helper.socket`, or name one with --socket PATH"
    );
    Ok(take(FIRST_HANDED))
}

#[expect(unsafe_code, reason = "a descriptor that systemd hands over has no owner in this program yet")]
fn take(descriptor: i32) -> UnixListener {
    use std::os::fd::FromRawFd;
    // SAFETY: `handed_over` has checked that systemd gave this descriptor to this process, and it is taken once.
    unsafe { UnixListener::from_raw_fd(descriptor) }
}
