//! Traffic shaping: a token bucket on the way out, and one on an intermediate device on the way in.

use nightjar_protocol::guest::Shaping;

use super::feed;

/// Below this a login is no longer usable.
const LEAST_KBIT: u32 = 64;
const MOST_KBIT: u32 = 100_000_000;
const INCOMING: &str = "nightjar-in";
/// A bucket holds what its rate gives in this time. It leaves all at once, and waits in front of a line that is as wide as
/// the rate for just this long, with a game's packets behind it: ten milliseconds made the automatic stop at two fifths of
/// a line.
const BURST_MS: u32 = 2;
/// ... and at least two full packets.
const LEAST_BURST_BYTES: u64 = 3_100;
/// What a policer drops is sent again: it needs room for more than a queue's bucket.
const POLICE_MS: u32 = 80;
const LEAST_POLICE_BYTES: u64 = 128 * 1024;

/// Both rates in kbit/s.
pub fn check(up_kbit: u32, down_kbit: u32) -> Result<(), String> {
    for (name, kbit) in [("up_kbit", up_kbit), ("down_kbit", down_kbit)] {
        if !(LEAST_KBIT..=MOST_KBIT).contains(&kbit) {
            return Err(format!("{name} is {kbit}; it must be between {LEAST_KBIT} and {MOST_KBIT}"));
        }
    }
    Ok(())
}

/// Longest wait in front of a limit, where the kernel has no queue that keeps it short by itself. Senders that take no
/// notice of a lost packet (BBR) fill half of it and sent 1.4 times the limit at one half as long: a third of what came
/// over the line was dropped and came again.
const QUEUE_MS: u32 = 400;
const LEAST_QUEUE_BYTES: u64 = 32 * 1024;

/// What waits in front of the limit: a queue a connection, each kept short, so that the tenant's own login does not wait
/// behind its download; or one bounded queue for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Fair,
    One,
}

/// The limits on a device, which can be changed while traffic flows.
pub struct Shaper {
    device: String,
    kind: Shaping,
    waiting: Waiting,
}

impl Shaper {
    pub fn set_up(device: &str, up_kbit: u32, down_kbit: u32) -> Result<Self, String> {
        tc(&queue(device, up_kbit))?;
        let fair = tc(&format!("qdisc add dev {device} parent 1:10 fq_codel\n")).is_ok();
        let waiting = if fair { Waiting::Fair } else { Waiting::One };
        tc(&leaf("replace", device, up_kbit, waiting))?;
        tc(&format!("qdisc add dev {device} handle ffff: ingress\n"))?;
        // A kernel may be built without intermediate devices, as those inside desktop Engines are.
        let kind = if incoming_queue(device, down_kbit, waiting).is_ok() {
            Shaping::Queue
        } else {
            let _ = feed("ip", &["link", "delete", INCOMING], "");
            tc(&police(device, down_kbit))?;
            Shaping::Police
        };
        Ok(Self { device: device.to_owned(), kind, waiting })
    }

    pub fn kind(&self) -> Shaping {
        self.kind
    }

    pub fn change(&self, up_kbit: u32, down_kbit: u32) -> Result<(), String> {
        tc(&self.both(&self.device, up_kbit))?;
        match self.kind {
            Shaping::Queue => tc(&self.both(INCOMING, down_kbit)),
            Shaping::Police => tc(&format!(
                "qdisc delete dev {0} ingress\nqdisc add dev {0} handle ffff: ingress\n{1}",
                self.device,
                police(&self.device, down_kbit)
            )),
        }
    }
}

impl Shaper {
    /// Limit and queue of one direction.
    fn both(&self, device: &str, kbit: u32) -> String {
        class("change", device, kbit) + &leaf("change", device, kbit, self.waiting)
    }
}

fn tc(batch: &str) -> Result<(), String> {
    feed("tc", &["-batch", "-"], batch)
}

fn incoming_queue(device: &str, kbit: u32, waiting: Waiting) -> Result<(), String> {
    feed("ip", &["-batch", "-"], &format!("link add {INCOMING} type ifb\nlink set {INCOMING} up\n"))?;
    tc(&(queue(INCOMING, kbit) + &leaf("replace", INCOMING, kbit, waiting)))?;
    tc(&format!(
        "filter add dev {device} parent ffff: protocol all prio 1 u32 match u32 0 0 \
         action mirred egress redirect dev {INCOMING}\n"
    ))
}

fn queue(device: &str, kbit: u32) -> String {
    format!(
        "qdisc replace dev {device} root handle 1: htb default 10 r2q 100\n{}",
        class("replace", device, kbit)
    )
}

fn class(verb: &str, device: &str, kbit: u32) -> String {
    let burst = burst_bytes(kbit);
    format!(
        "class {verb} dev {device} parent 1: classid 1:10 htb rate {kbit}kbit ceil {kbit}kbit \
         burst {burst} cburst {burst}\n"
    )
}

/// The queue of the one class. A fair one finds its length by itself.
fn leaf(verb: &str, device: &str, kbit: u32, waiting: Waiting) -> String {
    match (waiting, verb) {
        (Waiting::Fair, "change") => String::new(),
        (Waiting::Fair, _) => format!("qdisc {verb} dev {device} parent 1:10 handle 10: fq_codel\n"),
        (Waiting::One, _) => {
            format!("qdisc {verb} dev {device} parent 1:10 handle 10: bfifo limit {}\n", queue_bytes(kbit))
        }
    }
}

fn queue_bytes(kbit: u32) -> u64 {
    (u64::from(kbit) * u64::from(QUEUE_MS) / 8).max(LEAST_QUEUE_BYTES)
}

fn police(device: &str, kbit: u32) -> String {
    // kbit/s is bit/ms.
    let burst = (u64::from(kbit) * u64::from(POLICE_MS) / 8).max(LEAST_POLICE_BYTES);
    format!(
        "filter add dev {device} parent ffff: protocol all prio 1 u32 match u32 0 0 \
         police rate {kbit}kbit burst {burst} drop flowid :1\n"
    )
}

fn burst_bytes(kbit: u32) -> u64 {
    // kbit/s is bit/ms.
    (u64::from(kbit) * u64::from(BURST_MS) / 8).max(LEAST_BURST_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_grow_with_the_rate() {
        assert_eq!(burst_bytes(64), LEAST_BURST_BYTES);
        assert_eq!(burst_bytes(1_000_000), 250_000);
    }

    #[test]
    fn queues_are_bounded_in_time() {
        assert_eq!(queue_bytes(64), LEAST_QUEUE_BYTES);
        assert_eq!(queue_bytes(20_000), 1_000_000);
        assert_eq!(leaf("change", "eth0", 20_000, Waiting::Fair), "");
        assert!(leaf("replace", "eth0", 20_000, Waiting::One).ends_with("bfifo limit 1000000\n"));
    }

    #[test]
    fn rates_have_bounds() {
        assert!(check(64, 64).is_ok());
        assert!(check(0, 64).unwrap_err().contains("up_kbit is 0"));
        assert!(check(64, u32::MAX).is_err());
    }
}
