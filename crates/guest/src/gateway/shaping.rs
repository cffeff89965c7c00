//! Traffic shaping: a token bucket on the way out, and one on an intermediate device on the way in.

use nightjar_protocol::guest::Shaping;

use super::feed;

/// Below this a login is no longer usable.
const LEAST_KBIT: u32 = 64;
const MOST_KBIT: u32 = 100_000_000;
const INCOMING: &str = "nightjar-in";
/// A bucket holds what its rate gives in this time ...
const BURST_MS: u32 = 10;
/// ... and at least some full packets.
const LEAST_BURST_BYTES: u64 = 16 * 1024;

/// Both rates in kbit/s.
pub fn check(up_kbit: u32, down_kbit: u32) -> Result<(), String> {
    for (name, kbit) in [("up_kbit", up_kbit), ("down_kbit", down_kbit)] {
        if !(LEAST_KBIT..=MOST_KBIT).contains(&kbit) {
            return Err(format!("{name} is {kbit}; it must be between {LEAST_KBIT} and {MOST_KBIT}"));
        }
    }
    Ok(())
}

/// The limits on a device, which can be changed while traffic flows.
pub struct Shaper {
    device: String,
    kind: Shaping,
}

impl Shaper {
    pub fn set_up(device: &str, up_kbit: u32, down_kbit: u32) -> Result<Self, String> {
        tc(&queue(device, up_kbit))?;
        tc(&format!("qdisc add dev {device} handle ffff: ingress\n"))?;
        // A kernel may be built without intermediate devices, as those inside desktop Engines are.
        let kind = if incoming_queue(device, down_kbit).is_ok() {
            Shaping::Queue
        } else {
            let _ = feed("ip", &["link", "delete", INCOMING], "");
            tc(&police(device, down_kbit))?;
            Shaping::Police
        };
        Ok(Self { device: device.to_owned(), kind })
    }

    pub fn kind(&self) -> Shaping {
        self.kind
    }

    pub fn change(&self, up_kbit: u32, down_kbit: u32) -> Result<(), String> {
        tc(&class("change", &self.device, up_kbit))?;
        match self.kind {
            Shaping::Queue => tc(&class("change", INCOMING, down_kbit)),
            Shaping::Police => tc(&format!(
                "qdisc delete dev {0} ingress\nqdisc add dev {0} handle ffff: ingress\n{1}",
                self.device,
                police(&self.device, down_kbit)
            )),
        }
    }
}

fn tc(batch: &str) -> Result<(), String> {
    feed("tc", &["-batch", "-"], batch)
}

fn incoming_queue(device: &str, kbit: u32) -> Result<(), String> {
    feed("ip", &["-batch", "-"], &format!("link add {INCOMING} type ifb\nlink set {INCOMING} up\n"))?;
    tc(&queue(INCOMING, kbit))?;
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

fn police(device: &str, kbit: u32) -> String {
    // What a policer drops is sent again: it needs room for more than a queue's bucket.
    let burst = burst_bytes(kbit) * 8;
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
        assert_eq!(burst_bytes(1_000_000), 1_250_000);
    }

    #[test]
    fn rates_have_bounds() {
        assert!(check(64, 64).is_ok());
        assert!(check(0, 64).unwrap_err().contains("up_kbit is 0"));
        assert!(check(64, u32::MAX).is_err());
    }
}
