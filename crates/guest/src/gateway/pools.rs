//! Does the tenant speak to a mining pool? By the first words of what it sends out, which netfilter looks at: no packet is
//! copied, held or changed. What is encrypted is not seen, and what stays inside goes to no pool.
//!
//! Many miners name their protocol once and send short answers from then on. So whoever has spoken so speaks as long as that
//! connection stands.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Command;
use std::time::Duration;

use nightjar_protocol::guest::GuestEvent;

use super::feed;
use crate::report;

const TABLE: &str = "nightjar_pools";
/// Eight bytes each: mining.subscribe, mining.authorize, eth_submitLogin, and the login of the CryptoNight family.
const WORDS: [&[u8; 8]; 4] = [b"mining.s", b"mining.a", b"eth_subm", b"\"login\","];
/// Where in a line the method's name may begin, in bytes.
const FROM_BYTE: usize = 9;
const TO_BYTE: usize = 60;
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Some looks long, so that none misses what was said; a miner that connects anew again and again does not come and go.
const SPOKEN_FOR: &str = "15s";
/// Ports that have spoken, at a time.
const MOST_PORTS: usize = 4_096;
/// What was said is said again at each of so many looks: the hearer may be a new one.
const SAID_AGAIN_LOOKS: u32 = 12;
/// As long a list of connections as a tenant's open files make, some times over.
const LONGEST_LIST: u64 = 16 << 20;
const CONNECTIONS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
const ESTABLISHED: &str = "01";

/// Begins to look, where netfilter can. Nothing depends on it.
pub fn watch() {
    if let Err(why) = feed("nft", &["-f", "-"], &rules()) {
        eprintln!("mining pools are not looked for: {why}");
        return;
    }
    std::thread::spawn(|| {
        let mut talk = Talk::default();
        loop {
            // A look that cannot be made says nothing of what is there.
            if let (Some(spoken), Some(standing)) = (spoken(), standing())
                && let Some(event) = talk.look(spoken, &standing)
            {
                report::event(&event);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    });
}

/// What was heard so far.
#[derive(Default)]
struct Talk {
    /// From which it comes, as long as it does.
    ports: BTreeSet<u16>,
    /// The last word on it, and how many looks ago that was.
    said: Option<(bool, u32)>,
}

impl Talk {
    /// `spoken`: the ports from which a pool's words came just now. `standing`: those of connections that stand.
    fn look(&mut self, spoken: BTreeSet<u16>, standing: &BTreeSet<u16>) -> Option<GuestEvent> {
        self.ports.retain(|port| standing.contains(port));
        self.ports.extend(spoken);
        let speaks = !self.ports.is_empty();
        let is_news = match &mut self.said {
            None => speaks,
            Some((last, looks)) => {
                *looks += 1;
                *last != speaks || *looks >= SAID_AGAIN_LOOKS
            }
        };
        if !is_news {
            return None;
        }
        self.said = Some((speaks, 0));
        Some(if speaks { GuestEvent::PoolProtocol } else { GuestEvent::PoolSilent })
    }
}

/// Only short packets that begin as an object of JSON are looked into.
fn rules() -> String {
    let words = WORDS.map(|word| format!("0x{:016x}", u64::from_be_bytes(*word))).join(", ");
    let looks: String = (FROM_BYTE..=TO_BYTE)
        .map(|byte| {
            format!("        @ih,{},64 {{ {words} }} update @spoken {{ tcp sport }} accept\n", byte * 8)
        })
        .collect();
    format!(
        "table inet {TABLE} {{
    set spoken {{
        type inet_service
        size {MOST_PORTS}
        flags dynamic,timeout
        timeout {SPOKEN_FOR}
    }}
    chain output {{
        type filter hook output priority -5; policy accept;
        oif lo accept
        meta l4proto != tcp accept
        meta length < 80 accept
        meta length > 1000 accept
        @ih,0,8 != 0x7b accept
{looks}    }}
}}
"
    )
}

fn spoken() -> Option<BTreeSet<u16>> {
    let asked = Command::new("nft").args(["list", "set", "inet", TABLE, "spoken"]).output().ok()?;
    asked.status.success().then(|| elements(&String::from_utf8_lossy(&asked.stdout)))
}

/// Of a set as `nft` writes it: `elements = { 41000 expires 14s500ms, 41002 expires 1s }`, over several lines.
fn elements(said: &str) -> BTreeSet<u16> {
    let listed = said.split_once("elements = {").and_then(|(_, rest)| rest.split_once('}'));
    let listed = listed.map(|(listed, _)| listed).unwrap_or_default();
    listed.split(',').filter_map(|element| element.split_whitespace().next()?.parse().ok()).collect()
}

/// The ports here of all connections that stand.
fn standing() -> Option<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for file in CONNECTIONS {
        match File::open(file) {
            Ok(list) => ports.extend(established(BufReader::new(list.take(LONGEST_LIST)))),
            // A kernel without IPv6.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
    }
    Some(ports)
}

/// Lines such as `0: 0100007F:1F90 00000000:0000 0A …`: a number, both ends in hexadecimal, the state.
fn established(list: impl BufRead) -> BTreeSet<u16> {
    let port = |line: String| {
        let mut words = line.split_whitespace().skip(1);
        let (here, state) = (words.next()?, words.nth(1)?);
        let port = here.rsplit(':').next().filter(|_| state == ESTABLISHED)?;
        u16::from_str_radix(port, 16).ok()
    };
    list.lines().map_while(Result::ok).filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words_of_known_miners_lie_where_they_are_looked_for() {
        for line in [
            r#"{"id": 1, "method": "mining.subscribe", "params": ["cgminer/4.11.1"]}"#,
            r#"{"id":1,"method":"mining.subscribe","params":["T-Rex/0.26"]}"#,
            r#"{"method": "mining.authorize", "params": ["w", "x"], "id": 2}"#,
            r#"{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"w","agent":"XMRig/6.21"}}"#,
            r#"{"id":1,"jsonrpc":"2.0","method":"eth_submitLogin","params":["0xab"],"worker":"rig"}"#,
        ] {
            let found =
                WORDS.iter().find_map(|word| line.as_bytes().windows(8).position(|part| part == *word));
            assert!(found.is_some_and(|at| (FROM_BYTE..=TO_BYTE).contains(&at)), "{line}: {found:?}");
        }
        assert!(rules().contains("@ih,72,64 { 0x6d696e696e672e73, "));
    }

    #[test]
    fn what_a_tenants_programs_say_to_each_other_is_not_looked_at() {
        let rules = rules();
        assert!(rules.find("oif lo accept").unwrap() < rules.find("@ih").unwrap(), "{rules}");
        assert_eq!(rules.matches("update @spoken { tcp sport } accept").count(), TO_BYTE - FROM_BYTE + 1);
    }

    #[test]
    fn who_has_spoken_speaks_until_that_connection_is_gone() {
        let ports = |ports: &[u16]| ports.iter().copied().collect::<BTreeSet<u16>>();
        let mut talk = Talk::default();
        let mut look = |spoken: &[u16], standing: &[u16]| talk.look(ports(spoken), &ports(standing));
        assert_eq!(look(&[], &[22, 41_000]), None);
        assert_eq!(look(&[41_000], &[22, 41_000]), Some(GuestEvent::PoolProtocol));
        assert_eq!(look(&[41_000], &[22, 41_000]), None);
        // Only answers now, which are no words of the list; then another connection in its place.
        assert_eq!(look(&[], &[22, 41_000]), None);
        assert_eq!(look(&[41_002], &[22]), None);
        assert_eq!(look(&[], &[22, 41_002]), None);
        assert_eq!(look(&[], &[22]), Some(GuestEvent::PoolSilent));
        // The number is somebody else's later.
        assert_eq!(look(&[], &[22, 41_000]), None);
        // So short that no look has seen it standing.
        assert_eq!(look(&[41_003], &[22]), Some(GuestEvent::PoolProtocol));
        assert_eq!(look(&[], &[22]), Some(GuestEvent::PoolSilent));
    }

    #[test]
    fn a_hearer_who_came_later_is_told_within_a_minute_and_none_is_told_of_nothing() {
        let mut talk = Talk::default();
        let none = BTreeSet::new();
        assert!((0..100).all(|_| talk.look(BTreeSet::new(), &none).is_none()));
        let said: Vec<_> = (0..25).filter_map(|_| talk.look(BTreeSet::from([7]), &none)).collect();
        assert_eq!(said, vec![GuestEvent::PoolProtocol; 3]);
        let said: Vec<_> = (0..25).filter_map(|_| talk.look(BTreeSet::new(), &none)).collect();
        assert_eq!(said, vec![GuestEvent::PoolSilent; 3]);
    }

    #[test]
    fn lists_of_ports_are_read() {
        let said = "table inet x {\n\tset spoken {\n\t\tsize 4096\n\t\ttimeout 15s\n\t\telements = { 41000 expires \
                    14s500ms, 41002 expires 1s,\n\t\t\t     7 expires 3s }\n\t}\n}\n";
        assert_eq!(elements(said), BTreeSet::from([7, 41_000, 41_002]));
        assert_eq!(elements("table inet x {\n set spoken {\n size 4096\n }\n}\n"), BTreeSet::new());
        let list = "  sl  local_address rem_address   st tx_queue\n\
                    0: 00000000:0016 00000000:0000 0A 00000000\n\
                    1: 0209090A:A028 0109090A:0D05 01 00000000\n\
                    2: 0209090A:A02A 0109090A:0D05 06 00000000\n\
                    3: 0000000000000000FFFF00000209090A:A02C 0000000000000000FFFF00000109090A:0D05 01 0\n";
        assert_eq!(established(list.as_bytes()), BTreeSet::from([41_000, 41_004]));
    }
}
