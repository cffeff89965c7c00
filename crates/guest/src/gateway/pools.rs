//! Does the tenant speak to a mining pool? By the first words of what it sends, counted by netfilter: no packet is copied,
//! held or changed. What is encrypted is not seen.

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

/// Begins to look, where netfilter can. Nothing depends on it.
pub fn watch() {
    if let Err(why) = feed("nft", &["-f", "-"], &rules()) {
        eprintln!("mining pools are not looked for: {why}");
        return;
    }
    std::thread::spawn(|| {
        while !counted() {
            std::thread::sleep(LOOK_EVERY);
        }
        report::event(&GuestEvent::PoolProtocol);
    });
}

/// Only short packets that begin as an object of JSON are looked into.
fn rules() -> String {
    let words = WORDS.map(|word| format!("0x{:016x}", u64::from_be_bytes(*word))).join(", ");
    let looks: String = (FROM_BYTE..=TO_BYTE)
        .map(|byte| format!("        @ih,{},64 {{ {words} }} counter name seen accept\n", byte * 8))
        .collect();
    format!(
        "table inet {TABLE} {{
    counter seen {{ }}
    chain output {{
        type filter hook output priority -5; policy accept;
        meta l4proto != tcp accept
        meta length < 80 accept
        meta length > 1000 accept
        @ih,0,8 != 0x7b accept
{looks}    }}
}}
"
    )
}

fn counted() -> bool {
    let asked = Command::new("nft").args(["list", "counter", "inet", TABLE, "seen"]).output();
    asked.is_ok_and(|output| packets(&String::from_utf8_lossy(&output.stdout)) > 0)
}

fn packets(said: &str) -> u64 {
    let mut words = said.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).and_then(|count| count.parse().ok()).unwrap_or(0)
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
    fn a_counter_is_read() {
        assert_eq!(packets("table inet x {\n counter seen {\n packets 3 bytes 210\n }\n}\n"), 3);
        assert_eq!(packets(""), 0);
    }
}
