//! Traffic shaping: a token bucket on the way out, and one on an intermediate device on the way in.

use nightjar_protocol::guest::Shaping;

use super::feed;

/// Below this a login is no longer usable.
const LEAST_KBIT: u32 = 64;
const MOST_KBIT: u32 = 100_000_000;
pub(super) const INCOMING: &str = "nightjar-in";
/// A bucket holds what its rate gives in this time. It leaves all at once, and waits in front of a line that is as wide as
/// the rate for just this long, with a game's packets behind it: ten milliseconds made the automatic stop at two fifths of
/// a line.
const BURST_MS: u32 = 2;
/// ... and at least two full packets.
const LEAST_BURST_BYTES: u64 = 3_100;
/// What a policer drops is sent again: it needs room for more than a queue's bucket.
const POLICE_MS: u32 = 80;
const LEAST_POLICE_BYTES: u64 = 128 * 1024;
/// What waits in front of a limit where the kernel has no queue that keeps each connection's short: one queue of this
/// length for each group of connections. Whoever fills his waits behind himself.
const QUEUE_MS: u32 = 50;
const LEAST_QUEUE_BYTES: u64 = 32 * 1024;
/// Groups, a power of two.
const GROUPS: u32 = 16;
/// The tables of `u32` filters are named; this is the one with a row for each group.
const GROUP_TABLE: &str = "10:";
/// A group has no share of its own: all take turns, a full packet each.
const GROUP_KBIT: u32 = 1;
const FIRST_LEAF: u32 = 0x100;
const TURN_BYTES: u32 = 1_514;
/// Packets that a tenant's connection hands over as one. Over a short way the kernel makes them of 64 KiB, which no bucket
/// divides: 35 ms of a line of 15 Mbit/s at once.
const MOST_AT_ONCE: &str = "2";

/// Both rates in kbit/s.
pub fn check(up_kbit: u32, down_kbit: u32) -> Result<(), String> {
    for (name, kbit) in [("up_kbit", up_kbit), ("down_kbit", down_kbit)] {
        if !(LEAST_KBIT..=MOST_KBIT).contains(&kbit) {
            return Err(format!("{name} is {kbit}; it must be between {LEAST_KBIT} and {MOST_KBIT}"));
        }
    }
    Ok(())
}

/// What waits in front of the limit, so that the tenant's own login does not wait behind its download, and that no
/// connection sees the whole line as its own while the others pause: its sender would come back with all of that (BBR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// A queue a connection, each kept short by the kernel.
    Fair,
    /// Some bounded queues, among which connections are divided by the tenant's port.
    Groups,
}

/// Which end of a packet is the tenant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenant {
    Sends,
    Receives,
}

/// The limits on a device, which can be changed while traffic flows.
pub struct Shaper {
    device: String,
    kind: Shaping,
    waiting: Waiting,
}

impl Shaper {
    pub fn set_up(device: &str, up_kbit: u32, down_kbit: u32) -> Result<Self, String> {
        // A system's tools may be too old to know the word; then bursts are as long as the sender makes them.
        let _ = feed("ip", &["link", "set", "dev", device, "gso_max_segs", MOST_AT_ONCE], "");
        tc(&limit(device, up_kbit))?;
        let fair = tc(&fair(device)).is_ok();
        let waiting = if fair { Waiting::Fair } else { Waiting::Groups };
        waiting.set_up(device, up_kbit, Tenant::Sends)?;
        tc(&ingress(device))?;
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

    /// Limit and queues of one direction.
    fn both(&self, device: &str, kbit: u32) -> String {
        class("change", device, kbit) + &self.waiting.queues("change", device, kbit)
    }
}

impl Waiting {
    fn set_up(self, device: &str, kbit: u32, tenant: Tenant) -> Result<(), String> {
        let leaves = (1..self.leaves()).map(|group| leaf(device, group)).collect::<String>();
        tc(&(leaves + &self.queues("replace", device, kbit)))?;
        if self == Self::Groups && tc(&division(device, tenant)).is_err() {
            eprintln!("{device}: this kernel cannot divide connections; all wait in one queue");
        }
        Ok(())
    }

    fn leaves(self) -> u32 {
        match self {
            Self::Fair => 1,
            Self::Groups => GROUPS,
        }
    }

    /// A fair one finds its length by itself.
    fn queues(self, verb: &str, device: &str, kbit: u32) -> String {
        match (self, verb) {
            (Self::Fair, "change") => String::new(),
            (Self::Fair, _) => {
                format!("qdisc {verb} dev {device} parent 1:{FIRST_LEAF:x} handle {FIRST_LEAF:x}: fq_codel\n")
            }
            (Self::Groups, _) => {
                let bytes = queue_bytes(kbit);
                let queue = |leaf| format!("parent 1:{leaf:x} handle {leaf:x}: bfifo limit {bytes}");
                (FIRST_LEAF..FIRST_LEAF + GROUPS)
                    .map(|leaf| format!("qdisc {verb} dev {device} {}\n", queue(leaf)))
                    .collect()
            }
        }
    }
}

pub(super) fn tc(batch: &str) -> Result<(), String> {
    feed("tc", &["-batch", "-"], batch)
}

fn incoming_queue(device: &str, kbit: u32, waiting: Waiting) -> Result<(), String> {
    incoming_device()?;
    tc(&limit(INCOMING, kbit))?;
    waiting.set_up(INCOMING, kbit, Tenant::Receives)?;
    tc(&format!(
        "filter add dev {device} parent ffff: protocol all prio 1 u32 match u32 0 0 {}\n",
        redirection(INCOMING)
    ))
}

pub(super) fn incoming_device() -> Result<(), String> {
    feed("ip", &["-batch", "-"], &format!("link add {INCOMING} type ifb\nlink set {INCOMING} up\n"))
}

/// A queue that keeps each connection's short, where everything waits that no filter puts elsewhere.
pub(super) fn fair(device: &str) -> String {
    format!("qdisc add dev {device} parent 1:{FIRST_LEAF:x} fq_codel\n")
}

/// What gets hold of what comes in.
pub(super) fn ingress(device: &str) -> String {
    format!("qdisc add dev {device} handle ffff: ingress\n")
}

pub(super) fn redirection(to: &str) -> String {
    format!("action mirred egress redirect dev {to}")
}

/// The limit, and the first leaf below it, which gets all that no filter puts elsewhere.
pub(super) fn limit(device: &str, kbit: u32) -> String {
    format!("qdisc replace dev {device} root handle 1: htb default {FIRST_LEAF:x} r2q 100\n")
        + &class("replace", device, kbit)
        + &leaf(device, 0)
}

fn class(verb: &str, device: &str, kbit: u32) -> String {
    let burst = burst_bytes(kbit);
    format!(
        "class {verb} dev {device} parent 1: classid 1:1 htb rate {kbit}kbit ceil {kbit}kbit \
         burst {burst} cburst {burst}\n"
    )
}

/// What is below the limit may have all of it, by turns.
fn leaf(device: &str, group: u32) -> String {
    format!(
        "class replace dev {device} parent 1:1 classid 1:{:x} htb rate {GROUP_KBIT}kbit ceil {MOST_KBIT}kbit \
         cburst {LEAST_BURST_BYTES} quantum {TURN_BYTES}\n",
        FIRST_LEAF + group
    )
}

/// By the tenant's port, whose lowest bit is the same for all connections that a Linux program opens one after the other.
fn division(device: &str, tenant: Tenant) -> String {
    // Both ports lie in the word behind an address header without options, the sender's in front.
    let mask = match tenant {
        Tenant::Sends => (GROUPS - 1) << 17,
        Tenant::Receives => (GROUPS - 1) << 1,
    };
    let filter = format!("filter add dev {device} parent 1: protocol ip prio 1");
    let rows = (0..GROUPS).map(|group| {
        let leaf = FIRST_LEAF + group;
        format!("{filter} u32 ht {GROUP_TABLE}{group:x}: match u32 0 0 flowid 1:{leaf:x}\n")
    });
    format!("{filter} handle {GROUP_TABLE} u32 divisor {GROUPS}\n")
        + &rows.collect::<String>()
        + &format!(
            "{filter} u32 ht 800:: match u8 0x05 0x0f at 0 hashkey mask {mask:#010x} at 20 link {GROUP_TABLE}\n"
        )
}

fn queue_bytes(kbit: u32) -> u64 {
    (u64::from(kbit) * u64::from(QUEUE_MS) / 8).max(LEAST_QUEUE_BYTES)
}

fn police(device: &str, kbit: u32) -> String {
    format!("filter add dev {device} parent ffff: protocol all prio 1 u32 match u32 0 0 {}\n", policer(kbit))
}

pub(super) fn policer(kbit: u32) -> String {
    // kbit/s is bit/ms.
    let burst = (u64::from(kbit) * u64::from(POLICE_MS) / 8).max(LEAST_POLICE_BYTES);
    format!("police rate {kbit}kbit burst {burst} drop flowid :1")
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
        assert_eq!(queue_bytes(20_000), 125_000);
        assert_eq!(Waiting::Fair.queues("change", "eth0", 20_000), "");
        let groups = Waiting::Groups.queues("replace", "eth0", 20_000);
        assert_eq!(groups.lines().filter(|line| line.ends_with("bfifo limit 125000")).count(), 16);
    }

    #[test]
    fn connections_are_divided_by_the_tenants_port() {
        let sends = division("eth0", Tenant::Sends);
        assert!(sends.contains("hashkey mask 0x001e0000 at 20"), "{sends}");
        assert!(division("eth0", Tenant::Receives).contains("hashkey mask 0x0000001e at 20"));
        assert!(sends.contains("u32 ht 10:f: match u32 0 0 flowid 1:10f"), "{sends}");
    }

    #[test]
    fn rates_have_bounds() {
        assert!(check(64, 64).is_ok());
        assert!(check(0, 64).unwrap_err().contains("up_kbit is 0"));
        assert!(check(64, u32::MAX).is_err());
    }
}
