//! What of this gateway's fence the kernel has: each kind of it is laid on a namespace without a network, and taken away.

use std::net::Ipv4Addr;
use std::time::Duration;

use nightjar_core::policy::KernelPart;
use nightjar_core::settings::EgressMode;
use nightjar_protocol::guest::{GatewayBoot, GuestEvent, JUPYTER_PORT, KernelLack, SSH_PORT};

use super::shaping::{self, INCOMING};
use super::{feed, rules};
use crate::line::End;
use crate::report;

/// Every namespace has it.
const DEVICE: &str = "lo";
const TABLE: &str = "nightjar";
const RATE_KBIT: u32 = 10_000;
/// No tool should take so long; one that hangs holds no container for good.
const WITHIN: Duration = Duration::from_secs(20);
/// The agent ends the container as soon as it has heard.
const HEARD_WITHIN: Duration = Duration::from_secs(3);

/// Says what is missing; the agent ends it.
pub fn run() -> End {
    std::thread::spawn(|| {
        std::thread::sleep(WITHIN);
        eprintln!("what the kernel has was not found out within {} s", WITHIN.as_secs());
        std::process::exit(1);
    });
    for tool in ["nft", "tc", "ip"] {
        // Without it nothing that fails says anything of the kernel.
        if let Err(why) = feed(tool, &["-V"], "") {
            return End::Failed { what: "tools", why };
        }
    }
    let mut found = Found::default();
    netfilter(&mut found);
    shaping_parts(&mut found);
    report::event(&GuestEvent::Kernel { lacks: found.lacks });
    std::thread::sleep(HEARD_WITHIN);
    End::Asked
}

#[derive(Default)]
struct Found {
    lacks: Vec<KernelLack>,
}

impl Found {
    /// Whether it is there.
    fn note(&mut self, part: KernelPart, tried: Result<(), String>) -> bool {
        let is_there = tried.is_ok();
        if let Err(why) = tried {
            self.lacks.push(KernelLack { part, why });
        }
        is_there
    }
}

/// The rules as they are for a lease. Only where they are refused is it of interest which word was too much.
fn netfilter(found: &mut Found) {
    let [best, second] = rules::rulesets(&boot(), Ipv4Addr::LOCALHOST);
    let Err(why) = table(&best) else { return };
    let one = |hook: &str, rule: &str| {
        table(&format!(
            "table inet {TABLE} {{ chain c {{ type filter hook {hook}; policy accept; {rule}; }} }}"
        ))
    };
    let output = "output priority 0";
    let set = "set s { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.0/8 }; }";
    let set = table(&format!("table inet {TABLE} {{ {set} }}")).and_then(|()| one(output, "accept"));
    if !found.note(KernelPart::NfTables, set) {
        return;
    }
    let tracking =
        one(output, "ct state established accept").and_then(|()| one("output priority raw", "notrack"));
    if found.note(KernelPart::ConnectionTracking, tracking) {
        found.note(KernelPart::ConnectionCount, one(output, "ct state new ct count over 4096 drop"));
    }
    found.note(KernelPart::Limit, one(output, "limit rate over 100/second burst 4096 packets drop"));
    found.note(KernelPart::Reject, one(output, "reject"));
    if found.lacks.iter().all(|lack| lack.part == KernelPart::ConnectionCount) {
        // No word that it cannot do without is missing: then the second best stands, or it is the whole.
        let whole = table(&second).map_err(|other| format!("{why}; {other}"));
        found.note(KernelPart::NfTables, whole);
    }
}

fn boot() -> GatewayBoot {
    GatewayBoot {
        lease_id: "probe".to_owned(),
        egress: EgressMode::Curated,
        up_kbit: RATE_KBIT,
        down_kbit: RATE_KBIT,
        worker_ports: vec![SSH_PORT, JUPYTER_PORT],
        allow_proxy_domains: Vec::new(),
        root_inside: false,
        sandboxed: false,
        name_servers: Vec::new(),
        blocked_networks: Vec::new(),
        own_addresses: vec![Ipv4Addr::new(192, 0, 2, 1)],
    }
}

/// Lays it, and takes it away again.
fn table(text: &str) -> Result<(), String> {
    feed("nft", &["-f", "-"], text)?;
    feed("nft", &["delete", "table", "inet", TABLE], "")
}

fn shaping_parts(found: &mut Found) {
    let has_htb = found.note(KernelPart::Htb, shaping::tc(&shaping::limit(DEVICE, RATE_KBIT)));
    if has_htb {
        found.note(KernelPart::FqCodel, shaping::tc(&shaping::fair(DEVICE)));
    }
    let has_ingress = found.note(KernelPart::Ingress, shaping::tc(&shaping::ingress(DEVICE)));
    let has_ifb = found.note(KernelPart::Ifb, shaping::incoming_device());
    // A filter needs something to hang on; where there is nothing, that is in the way already.
    let parent = match (has_ingress, has_htb) {
        (true, _) => "ffff:",
        (_, true) => "1:",
        _ => "",
    };
    let on_all = |action: &str| {
        let filter = |verb| format!("filter {verb} dev {DEVICE} parent {parent} protocol all prio 1");
        shaping::tc(&format!("{} u32 match u32 0 0 {action}\n{}\n", filter("add"), filter("delete")))
    };
    if !parent.is_empty() && found.note(KernelPart::U32, on_all("flowid :1")) {
        found.note(KernelPart::Police, on_all(&shaping::policer(RATE_KBIT)));
        let to = if has_ifb { INCOMING } else { DEVICE };
        found.note(KernelPart::Mirred, on_all(&shaping::redirection(to)));
    }
    // With the namespace all of it would go too.
    let _ = feed("ip", &["link", "delete", INCOMING], "");
    let _ = shaping::tc(&format!("qdisc delete dev {DEVICE} ingress\nqdisc delete dev {DEVICE} root\n"));
}
