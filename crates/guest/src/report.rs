//! What is said to the agent: one line of JSON an event. Nothing of the tenant's is ever written there.

use std::io::Write;

use nightjar_protocol::guest::GuestEvent;

/// Writes an event. An agent that is gone hears nothing; its silence ends the container.
pub fn event(event: &GuestEvent) {
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        let mut output = std::io::stdout().lock();
        let _ = output.write_all(&line).and_then(|()| output.flush());
    }
}
