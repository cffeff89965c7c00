//! A report of a problem: what would help whoever looks into it, without what is nobody else's business. Its owner reads it
//! before it is saved, and it goes nowhere by itself.

use std::fmt::Write as _;

use crate::doctor::Check;
use crate::view::ViewModel;

/// What goes in.
pub struct Facts<'a> {
    pub view: &'a ViewModel,
    pub checks: &'a [Check],
    /// As JSON.
    pub settings: String,
    pub system: String,
    pub log: Vec<String>,
}

/// What must not.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    pub home: Option<String>,
    pub account: Option<String>,
    pub computer: Option<String>,
}

/// Writes the report.
#[must_use]
pub fn write(facts: &Facts<'_>, secrets: &Secrets) -> String {
    let view = facts.view;
    let mut text = String::new();
    let _ = writeln!(text, "Nightjar {} on {}", view.identity.app_version, facts.system);
    let _ = writeln!(text, "{:?}: {}", view.state, view.sentence);
    for check in facts.checks {
        let mark = check.standing.mark();
        let _ = writeln!(text, "[{mark}] {}: {}", check.title, check.sentence);
    }
    for sensor in &view.sensors {
        let _ = writeln!(text, "{} ({}): {}", sensor.what, sensor.sign.source, sensor.sentence);
    }
    for tile in &view.cards {
        let card = &tile.card.reading;
        let _ = writeln!(text, "\n{} {}: {}", card.index, card.name, tile.sentence);
        for reason in &tile.reasons {
            let _ = writeln!(text, "  {reason}");
        }
        let _ = writeln!(
            text,
            "  {:?} °C, {:?} W of {:?}, {} of {} MiB, asleep: {}",
            card.temperature_celsius,
            card.power_watts,
            card.power_limits,
            card.vram_used_bytes >> 20,
            card.vram_total_bytes >> 20,
            card.asleep
        );
    }
    let _ = writeln!(text, "\nSettings\n{}\n\nLog", facts.settings);
    for line in &facts.log {
        let _ = writeln!(text, "{line}");
    }
    redact(&text, secrets)
}

/// Takes out names of this PC and its owner, addresses, and what looks like a key.
#[must_use]
pub fn redact(text: &str, secrets: &Secrets) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || ".:-_@%".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let (before, word) = rest.split_at(start);
        let end = word.find(|c| !is_word(c)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        out.push_str(before);
        out.push_str(&masked(word));
        rest = after;
    }
    out.push_str(rest);
    // After the addresses, whose parts these names may be.
    let known = [(&secrets.home, "~"), (&secrets.account, "[account]"), (&secrets.computer, "[computer]")];
    for (secret, instead) in known {
        if let Some(secret) = secret.as_deref().filter(|secret| secret.len() > 2) {
            out = out.replace(secret, instead);
        }
    }
    out
}

fn masked(word: &str) -> String {
    let bare = word.trim_end_matches(['.', ':', '-']);
    let tail = &word[bare.len()..];
    let host = bare.rsplit_once(':').map_or(bare, |(host, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.contains(':') { host } else { bare }
    });
    let is_address = |ip: std::net::IpAddr| !ip.is_loopback() && !ip.is_unspecified();
    if host.parse::<std::net::IpAddr>().is_ok_and(is_address) {
        return format!("[address]{tail}");
    }
    if bare.contains('@') && bare.contains('.') {
        return format!("[address]{tail}");
    }
    let is_key = bare.len() >= 32 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_key {
        return format!("{}…{tail}", &bare[..8]);
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_keys_are_taken_out() {
        let secrets = Secrets {
            home: Some("/home/alice".into()),
            account: Some("alice".into()),
            computer: Some("den-pc".into()),
        };
        let line = "den-pc: /home/alice/.config by alice from 192.168.1.7:22 and fe80::1, alice@example.org, key \
                    5f0a5f0a5f0a5f0a5f0a5f0a5f0a5f0a5f0a. 127.0.0.1:8080 stays, 550.54.14 and 12:30:05 too";
        assert_eq!(
            redact(line, &secrets),
            "[computer]: ~/.config by [account] from [address] and [address], [address], key \
             5f0a5f0a…. 127.0.0.1:8080 stays, 550.54.14 and 12:30:05 too"
        );
    }
}
