//! What Windows tells only when asked: a thread that asks again after each pause.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::signals::Guard;

/// `ask` returns how long until it is to be asked again.
pub(super) fn every(
    name: &str,
    mut ask: impl FnMut() -> Duration + Send + 'static,
) -> std::io::Result<Guard> {
    let (alive, ended) = channel::<()>();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        loop {
            let pause = ask();
            if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    })?;
    Ok(Box::new(alive))
}
