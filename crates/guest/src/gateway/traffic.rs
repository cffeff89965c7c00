//! What has passed the gateway's device: the tenant's internet and the tunnel alike, since both come through it.

use std::time::{Duration, Instant};

use nightjar_protocol::guest::{GuestEvent, TRAFFIC_EVERY_MS};

use crate::report;

/// Network devices of this network namespace. (The folder in `/sys` may show another's.)
const DEVICES: &str = "/proc/net/dev";

/// Begins to say it. A thread of its own: process 1's loop sleeps for up to a second.
pub fn watch(device: &str) {
    let device = device.to_owned();
    let started = Instant::now();
    std::thread::spawn(move || {
        let mut told = (0, 0);
        loop {
            std::thread::sleep(Duration::from_millis(TRAFFIC_EVERY_MS));
            let table = std::fs::read_to_string(DEVICES).unwrap_or_default();
            // A device that is gone takes the default route with it, and with that every packet.
            let Some(counted) = counters(&table, &device) else { continue };
            if counted == told {
                continue;
            }
            told = counted;
            let (up_bytes, down_bytes) = counted;
            let at_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            report::event(&GuestEvent::Traffic { up_bytes, down_bytes, at_ms });
        }
    });
}

/// Bytes out and in.
fn counters(table: &str, device: &str) -> Option<(u64, u64)> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    let fields: Vec<&str> = line.split_whitespace().collect();
    Some((fields.get(8)?.parse().ok()?, fields.first()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_those_of_the_device() {
        let table = "Inter-|   Receive                          |  Transmit\n \
                     face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n    \
                     lo:  100  1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n  eth01: 7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0\n  \
                     eth0: 5000  4 0 0 0 0 0 0 300 2 0 0 0 0 0 0\n";
        assert_eq!(counters(table, "eth0"), Some((300, 5000)));
        assert_eq!(counters(table, "eth"), None);
        assert_eq!(counters("", "eth0"), None);
    }
}
