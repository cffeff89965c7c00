//! The netfilter rules: a pure function of the configuration.

use std::net::Ipv4Addr;

use nightjar_core::settings::EgressMode;
use nightjar_protocol::guest::{GatewayBoot, NAMES_ADDRESS, NAMES_PORT};

/// Proxy and name server in front of a sandboxed tenant; the group has the same number. As the tenant's (52814), it is no
/// account's of the PC, and it is not the tenant's, whose sockets are root's then, whoever it is inside.
pub const PROXY_USER: u32 = 52_815;
const ROOT: u32 = 0;
/// Where no tenant's packet goes, whatever the mode: private, shared, link-local, loopback on a wire, documentation,
/// benchmark, multicast and reserved networks.
const BLOCKED: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// Sending mail is what a rented machine is abused for first.
const MAIL_PORTS: &str = "25, 465, 587";
/// The Engine's own name server, which stands in each network that a user makes.
const ENGINE_RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// A home's router and the PC itself keep a line for each connection, of which there are some ten thousand for all. A
/// kernel without counting of connections holds back how fast they are made, which comes to nearly the same.
const CONNECTION_LIMITS: [&str; 2] = [
    "ct state new ct count over 4096 reject",
    "ct state new limit rate over 100/second burst 4096 packets reject",
];
const MOST_NETWORKS: usize = 64;
/// At a time; see `core::network::OwnAddresses`.
const MOST_OWN: usize = 64;
const MOST_DOMAINS: usize = 2_000;
const MOST_PORTS: usize = 16;
/// A PC has two or three.
const MOST_NAME_SERVERS: usize = 16;

/// Whether proxy and name server have a user of their own, and ask for names themselves.
pub fn asks_itself(boot: &GatewayBoot) -> bool {
    boot.sandboxed && boot.egress == EgressMode::Curated
}

/// Whether nothing in the configuration could be read as something else in a rule or a filter.
pub fn check(boot: &GatewayBoot) -> Result<(), String> {
    if boot.worker_ports.is_empty() || boot.worker_ports.len() > MOST_PORTS || boot.worker_ports.contains(&0)
    {
        return Err(format!("the worker's ports are not 1 to {MOST_PORTS} port numbers"));
    }
    if boot.blocked_networks.len() > MOST_NETWORKS || boot.allow_proxy_domains.len() > MOST_DOMAINS {
        return Err(format!("more than {MOST_NETWORKS} networks or {MOST_DOMAINS} domains"));
    }
    check_own(&boot.own_addresses)?;
    check_name_servers(boot)?;
    if boot.root_inside && boot.egress == EgressMode::Curated {
        return Err("a tenant who is root inside could pass for the proxy of curated egress".to_owned());
    }
    for network in &boot.blocked_networks {
        let (address, prefix) = network.split_once('/').unwrap_or((network, "32"));
        let right = address.parse::<Ipv4Addr>().is_ok() && prefix.parse::<u8>().is_ok_and(|bits| bits <= 32);
        if !right {
            return Err(format!("{network:?} is no IPv4 network as address/prefix"));
        }
    }
    for domain in &boot.allow_proxy_domains {
        let plain =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
        let edged = domain.starts_with(['.', '-']) || domain.ends_with(['.', '-']);
        if domain.len() > 253 || !domain.contains('.') || edged || !domain.chars().all(plain) {
            return Err(format!("{domain:?} is no domain name in small letters"));
        }
    }
    Ok(())
}

/// One that is reached over the loopback device would be whoever listens there, the tenant too.
fn check_name_servers(boot: &GatewayBoot) -> Result<(), String> {
    if boot.name_servers.len() > MOST_NAME_SERVERS {
        return Err(format!("more than {MOST_NAME_SERVERS} name servers"));
    }
    if asks_itself(boot) && boot.name_servers.is_empty() {
        return Err(
            "curated egress of a sandboxed tenant needs a name server to ask, and none is named".to_owned()
        );
    }
    let beside =
        |server: &&Ipv4Addr| server.octets()[0] == 0 || server.is_loopback() || server.octets()[0] >= 224;
    match boot.name_servers.iter().find(beside) {
        None => Ok(()),
        Some(server) => Err(format!("{server} is no name server's address that the gateway could reach")),
    }
}

fn check_own(addresses: &[Ipv4Addr]) -> Result<(), String> {
    (addresses.len() <= MOST_OWN)
        .then_some(())
        .ok_or_else(|| format!("more than {MOST_OWN} addresses of this home's own"))
}

/// What puts more of them out of reach, as `nft -f -` reads it; nothing for none.
pub fn more_own(addresses: &[Ipv4Addr]) -> Result<Option<String>, String> {
    check_own(addresses)?;
    if addresses.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!("add element inet nightjar own {{ {} }}\n", listed(addresses))))
}

fn listed(addresses: &[Ipv4Addr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The rules for each way of limiting connections, the best first.
pub fn rulesets(boot: &GatewayBoot, bridge: Ipv4Addr) -> [String; 2] {
    CONNECTION_LIMITS.map(|limit| ruleset(boot, bridge, limit))
}

/// All rules, as `nft -f -` reads them.
///
/// What a tenant's own programs say to each other is not followed: it would fill the table of connections, which is the
/// kernel's memory. Only the Engine's name server needs it, since it is reached by a changed address.
///
/// User 0 is the gateway alone, unless the tenant is root inside: then nothing goes by the user's number, and there is no
/// proxy. Else the tenant's container has neither root nor a way to become it. Process 1 connects to
/// nothing, so what leaves as user 0 is the proxy, and the Engine's name server, which asks from within this network.
///
/// A sandboxed tenant's packets are user 0's, as the Engine's are: that user has no way out then. The proxy is a user of its
/// own, and so is the gateway's name server, which alone asks on, whom it is given and nobody else. The Engine is told to ask
/// that one, over the loopback device. So the tenant may ask the Engine too: it hears of the proxy's names alone, and could ask
/// for those directly. It must not answer in that name server's place, which would lead the proxy anywhere: the kernel lets
/// others listen on the same address and port, so nothing leaves from there but what is the proxy's user's.
///
/// To whom follows connections, what a tenant sends from the port of a question of the proxy's to the same name server is
/// part of that question, for half a minute. So in curated egress what goes the way that a connection began has to be the
/// proxy's user's, before it is let out as part of one. A packet whose socket is closed already is nobody's, and passes.
///
/// The home's own address on the internet is refused before what is established: it may become known while a tenant is
/// there, and what it has opened to it until then ends.
///
/// IPv6 goes nowhere, since the machines of a home have public addresses there, which no rule could tell from the
/// internet's.
fn ruleset(boot: &GatewayBoot, bridge: Ipv4Addr, connection_limit: &str) -> String {
    let ports = boot.worker_ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let own = boot.blocked_networks.iter().map(String::as_str);
    let blocked = BLOCKED.iter().copied().chain(own).collect::<Vec<_>>().join(", ");
    let own = match boot.own_addresses.as_slice() {
        [] => String::new(),
        known => format!("\n        elements = {{ {} }}", listed(known)),
    };
    let proxy = if boot.sandboxed { PROXY_USER } else { ROOT };
    let resolver = match boot.egress {
        EgressMode::Off => format!("ip daddr {ENGINE_RESOLVER} reject"),
        EgressMode::Curated if boot.sandboxed => {
            format!("ip saddr {NAMES_ADDRESS} meta skuid != {proxy} reject")
        }
        // A name that anybody may ask for carries data out as well as a connection does.
        EgressMode::Curated => format!("ip daddr {ENGINE_RESOLVER} meta skuid != {proxy} reject"),
        EgressMode::Open => String::new(),
    };
    let (followed, names, last) = match boot.egress {
        EgressMode::Off => (String::new(), String::new(), "reject".to_owned()),
        EgressMode::Curated => (
            format!("\n        ct direction original meta skuid != {proxy} reject"),
            format!("\n        {}", names(boot, proxy)),
            format!("meta skuid {proxy} tcp dport {{ 80, 443 }} accept\n        reject"),
        ),
        // A name server in the home would tell of its devices: these ask public ones, whom the agent names to the Engine.
        EgressMode::Open => (String::new(), String::new(), "accept".to_owned()),
    };
    format!(
        "table inet nightjar {{
    set blocked {{
        type ipv4_addr
        flags interval
        auto-merge
        elements = {{ {blocked} }}
    }}
    set own {{
        type ipv4_addr{own}
    }}
    chain unfollowed {{
        type filter hook output priority raw; policy accept;
        oif lo ip saddr != {ENGINE_RESOLVER} ip daddr != {ENGINE_RESOLVER} notrack
    }}
    chain input {{
        type filter hook input priority 0; policy drop;
        iif lo accept
        meta nfproto ipv6 drop
        ct state established,related accept
        ip saddr {bridge} tcp dport {{ {ports} }} accept
    }}
    chain forward {{
        type filter hook forward priority 0; policy drop;
    }}
    chain output {{
        type filter hook output priority 0; policy drop;
        {resolver}
        oif lo accept
        ip daddr @own reject
        meta nfproto ipv6 reject{followed}
        ct state established,related accept
        {connection_limit}{names}
        ip daddr @blocked reject
        tcp dport {{ {MAIL_PORTS} }} reject
        {last}
    }}
}}
"
    )
}

/// The proxy alone asks, for names of its list: whom it asks may be in the home.
fn names(boot: &GatewayBoot, proxy: u32) -> String {
    let to = match boot.sandboxed {
        true => format!(" ip daddr {{ {} }}", listed(&boot.name_servers)),
        // The Engine does, by its own settings.
        false => String::new(),
    };
    format!("meta skuid {proxy}{to} meta l4proto {{ tcp, udp }} th dport {NAMES_PORT} accept")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIDGE: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);

    fn boot(egress: EgressMode) -> GatewayBoot {
        GatewayBoot {
            lease_id: "l".to_owned(),
            egress,
            up_kbit: 1_000,
            down_kbit: 1_000,
            worker_ports: vec![22, 8888],
            allow_proxy_domains: vec!["example.org".to_owned()],
            root_inside: false,
            sandboxed: false,
            name_servers: Vec::new(),
            blocked_networks: vec!["198.51.100.0/24".to_owned(), "8.8.4.0/22".to_owned()],
            own_addresses: Vec::new(),
        }
    }

    fn sandboxed(egress: EgressMode) -> GatewayBoot {
        let servers = vec![Ipv4Addr::new(192, 168, 1, 1), Ipv4Addr::new(9, 9, 9, 9)];
        GatewayBoot { sandboxed: true, name_servers: servers, ..boot(egress) }
    }

    /// What is asked of a packet that leaves, in that order.
    fn output(rules: &str) -> Vec<&str> {
        let chain = rules.split("chain output {").nth(1).unwrap();
        // The first line after the brace says which hook it is.
        let lines = chain.lines().skip(2);
        lines.map(str::trim).take_while(|line| *line != "}").filter(|line| !line.is_empty()).collect()
    }

    fn whole(egress: EgressMode) -> String {
        rulesets(&boot(egress), BRIDGE)[0].clone()
    }

    #[test]
    fn a_user_number_says_nothing_of_a_tenant_who_is_root() {
        for egress in [EgressMode::Off, EgressMode::Open] {
            let boot = GatewayBoot { root_inside: true, ..boot(egress) };
            let [rules, _] = rulesets(&boot, BRIDGE);
            assert!(!rules.contains("skuid"), "{rules}");
        }
        let curated = GatewayBoot { root_inside: true, ..boot(EgressMode::Curated) };
        assert!(check(&curated).unwrap_err().contains("proxy"));
    }

    #[test]
    fn connections_are_limited_before_any_is_let_out() {
        let boots = [EgressMode::Off, EgressMode::Curated, EgressMode::Open]
            .map(|egress| [boot(egress), sandboxed(egress)]);
        for boot in boots.as_flattened() {
            for rules in rulesets(boot, BRIDGE) {
                let limit = rules.find("ct state new ").unwrap();
                assert!(rules.find("oif lo accept").unwrap() < limit, "{rules}");
                assert!(limit < rules.find("ip daddr @blocked reject").unwrap(), "{rules}");
                assert!(rules.find("dport 53 accept").is_none_or(|names| limit < names), "{rules}");
            }
        }
    }

    #[test]
    fn the_homes_own_address_is_refused_before_what_stands() {
        let own = Ipv4Addr::new(9, 1, 2, 3);
        for egress in [EgressMode::Off, EgressMode::Curated, EgressMode::Open] {
            let known = GatewayBoot { own_addresses: vec![own, Ipv4Addr::new(9, 1, 2, 4)], ..boot(egress) };
            for rules in rulesets(&known, BRIDGE) {
                assert!(rules.contains("elements = { 9.1.2.3, 9.1.2.4 }"), "{rules}");
                let output = rules.split("chain output").nth(1).unwrap();
                let refused = output.find("ip daddr @own reject").unwrap();
                assert!(refused < output.find("ct state established").unwrap(), "{rules}");
                assert!(output.find("th dport 53 accept").is_none_or(|names| refused < names), "{rules}");
            }
            assert!(whole(egress).contains("set own {\n        type ipv4_addr\n    }"));
        }
        let more = more_own(&[own]).unwrap().unwrap();
        assert_eq!(more, "add element inet nightjar own { 9.1.2.3 }\n");
        assert_eq!(more_own(&[]), Ok(None));
        assert!(more_own(&[own; MOST_OWN + 1]).is_err());
        let many = GatewayBoot { own_addresses: vec![own; MOST_OWN + 1], ..boot(EgressMode::Open) };
        assert!(check(&many).is_err());
    }

    #[test]
    fn private_networks_are_refused_before_anything_is_allowed() {
        for egress in [EgressMode::Off, EgressMode::Curated, EgressMode::Open] {
            let rules = whole(egress);
            let refused = rules.find("ip daddr @blocked reject").unwrap();
            let tail = &rules[refused..];
            assert!(!rules[..refused].contains("dport { 80, 443 } accept"), "{rules}");
            assert!(tail.contains("25, 465, 587"), "{rules}");
            assert!(rules.contains("8.8.4.0/22") && rules.contains("192.168.0.0/16"), "{rules}");
            assert!(rules.contains("ip saddr 172.18.0.1 tcp dport { 22, 8888 } accept"), "{rules}");
        }
    }

    #[test]
    fn only_open_lets_the_tenant_out() {
        let open = whole(EgressMode::Open);
        assert!(open.contains("reject\n        accept\n    }"), "{open}");
        let curated = whole(EgressMode::Curated);
        assert!(curated.contains("meta skuid 0 tcp dport { 80, 443 } accept\n        reject\n"), "{curated}");
        let off = whole(EgressMode::Off);
        assert!(!off.contains("skuid") && !off.contains("dport 53"), "{off}");
    }

    /// It tells which devices the home has, whoever asks it and by whichever way.
    #[test]
    fn a_name_server_in_the_home_is_as_private_as_all_else_there() {
        let open = whole(EgressMode::Open);
        let output = open.split("chain output").nth(1).unwrap();
        let before = output.split("ip daddr @blocked reject").next().unwrap();
        assert!(!before.contains("dport") && !before.contains("skuid"), "{open}");
        // The proxy's list holds no name of a home.
        let curated = whole(EgressMode::Curated);
        assert!(
            curated.contains("\n        meta skuid 0 meta l4proto { tcp, udp } th dport 53 accept\n"),
            "{curated}"
        );
    }

    /// It is the tenant, and the Engine, which asks from here for whoever asks it.
    #[test]
    fn nothing_lets_a_sandboxed_tenants_user_out_unless_everybody_is() {
        for egress in [EgressMode::Off, EgressMode::Curated] {
            for rules in rulesets(&sandboxed(egress), BRIDGE) {
                let accepting = output(&rules).into_iter().filter(|rule| rule.ends_with("accept"));
                let others: Vec<&str> =
                    accepting.filter(|rule| !rule.starts_with("meta skuid 52815 ")).collect();
                assert_eq!(others, ["oif lo accept", "ct state established,related accept"], "{rules}");
                assert!(!rules.contains("skuid 0") && !rules.contains("skuid != 0"), "{rules}");
                assert_eq!(output(&rules).last(), Some(&"reject"), "{rules}");
            }
        }
        let [open, _] = rulesets(&sandboxed(EgressMode::Open), BRIDGE);
        assert_eq!(open, whole(EgressMode::Open));
        let [off, _] = rulesets(&sandboxed(EgressMode::Off), BRIDGE);
        assert_eq!(off, whole(EgressMode::Off));
    }

    #[test]
    fn whom_a_rule_follows_is_asked_for_before_it_does() {
        for (boot, user) in [(boot(EgressMode::Curated), 0), (sandboxed(EgressMode::Curated), PROXY_USER)] {
            for rules in rulesets(&boot, BRIDGE) {
                let output = output(&rules);
                let at = |rule: &str| output.iter().position(|other| *other == rule).unwrap();
                let asked = at(&format!("ct direction original meta skuid != {user} reject"));
                assert!(at("oif lo accept") < asked, "{rules}");
                assert_eq!(at("ct state established,related accept"), asked + 1, "{rules}");
            }
        }
    }

    #[test]
    fn a_sandboxed_tenants_names_are_asked_of_whom_the_gateway_is_given_and_answered_by_nobody_else() {
        for rules in rulesets(&sandboxed(EgressMode::Curated), BRIDGE) {
            let output = output(&rules);
            let asking: Vec<&&str> = output.iter().filter(|rule| rule.contains("dport 53")).collect();
            let to = "ip daddr { 192.168.1.1, 9.9.9.9 } meta l4proto { tcp, udp } th dport 53 accept";
            assert_eq!(asking, [&format!("meta skuid 52815 {to}")]);
            assert_eq!(output[..2], ["ip saddr 127.0.0.2 meta skuid != 52815 reject", "oif lo accept"]);
            let tail = &output[output.len() - 3..];
            assert!(tail[0].starts_with("tcp dport { 25"), "{rules}");
            assert_eq!(tail[1..], ["meta skuid 52815 tcp dport { 80, 443 } accept", "reject"]);
        }
    }

    #[test]
    fn name_servers_are_few_and_elsewhere_and_there_where_they_are_needed() {
        assert_eq!(check(&sandboxed(EgressMode::Curated)), Ok(()));
        let with = |servers: Vec<Ipv4Addr>, egress| {
            check(&GatewayBoot { name_servers: servers, ..sandboxed(egress) })
        };
        assert!(with(Vec::new(), EgressMode::Curated).unwrap_err().contains("name server"));
        assert_eq!(with(Vec::new(), EgressMode::Open), Ok(()));
        let server = Ipv4Addr::new(9, 9, 9, 9);
        assert_eq!(with(vec![server; MOST_NAME_SERVERS], EgressMode::Curated), Ok(()));
        assert!(with(vec![server; MOST_NAME_SERVERS + 1], EgressMode::Curated).is_err());
        for other in [[127, 0, 0, 53], [0, 0, 0, 0], [224, 0, 0, 251], [255, 255, 255, 255]] {
            assert!(with(vec![server, other.into()], EgressMode::Curated).is_err(), "{other:?}");
        }
        let root = GatewayBoot { root_inside: true, ..sandboxed(EgressMode::Curated) };
        assert!(check(&root).unwrap_err().contains("root inside"));
    }

    #[test]
    fn what_is_no_network_or_domain_is_refused() {
        assert_eq!(check(&boot(EgressMode::Open)), Ok(()));
        for network in ["8.8.8.8/33", "::/0", "8.8.8.8 } ; flush ruleset", ""] {
            let boot = GatewayBoot { blocked_networks: vec![network.to_owned()], ..boot(EgressMode::Open) };
            assert!(check(&boot).is_err(), "{network}");
        }
        for domain in ["org", ".example.org", "exa mple.org", "EXAMPLE.org", "a.b)|(.*", "example.org\n.*"] {
            let boot = GatewayBoot { allow_proxy_domains: vec![domain.to_owned()], ..boot(EgressMode::Open) };
            assert!(check(&boot).is_err(), "{domain}");
        }
        assert!(check(&GatewayBoot { worker_ports: vec![], ..boot(EgressMode::Open) }).is_err());
    }
}
