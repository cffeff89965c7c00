//! `nightjar://pair?market=https://market.example&code=ABCD-2345`: what an operator may send in place of an address and a
//! code. It only fills in a form: joining is for the owner to say.

use nightjar_protocol::window::Invitation;
use reqwest::Url;

/// Longer than any that a market makes.
const LONGEST_BYTES: usize = 1_024;
const LONGEST_CODE: usize = 64;

/// What is wrong with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    #[error("not a link of the form nightjar://pair?market=ADDRESS&code=CODE")]
    Form,
    #[error("a market's address begins with https://")]
    Market,
    #[error("a pairing code has letters, digits and dashes, {LONGEST_CODE} at most")]
    Code,
}

/// Reads a link.
///
/// # Errors
/// When it is none of ours, or names what no market is.
pub fn invitation(text: &str) -> Result<Invitation, InvitationError> {
    let link = (text.len() <= LONGEST_BYTES).then(|| Url::parse(text).ok()).flatten();
    let link = link.filter(|link| link.scheme() == "nightjar" && link.host_str() == Some("pair"));
    let link = link.ok_or(InvitationError::Form)?;
    let value = |name: &str| {
        let mut found =
            link.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        // Two would say two things.
        found.next().filter(|_| found.next().is_none()).ok_or(InvitationError::Form)
    };
    let (market, code) = (value("market")?, value("code")?);
    let address = Url::parse(&market).map_err(|_| InvitationError::Market)?;
    let is_here = matches!(address.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let is_safe = address.scheme() == "https" || (address.scheme() == "http" && is_here);
    let is_plain = address.username().is_empty() && address.password().is_none();
    if !is_safe || !is_plain || address.host_str().is_none() {
        return Err(InvitationError::Market);
    }
    let fits = (1..=LONGEST_CODE).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !fits {
        return Err(InvitationError::Code);
    }
    Ok(Invitation { market, code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_a_market_and_a_code() {
        let link = "nightjar://pair?market=https%3A%2F%2Fmarket.example%3A8443&code=ABCD-2345";
        let wanted = Invitation { market: "https://market.example:8443".into(), code: "ABCD-2345".into() };
        assert_eq!(invitation(link), Ok(wanted));
        assert!(invitation("nightjar://pair?code=A&market=http://127.0.0.1:8400").is_ok());
    }

    #[test]
    fn whatever_else_a_page_may_send_is_refused() {
        use InvitationError::{Code, Form, Market};
        let long = format!("nightjar://pair?market=https://a.example&code=A&x={}", "x".repeat(2_000));
        for (link, why) in [
            ("", Form),
            ("https://pair?market=https://a.example&code=A", Form),
            ("nightjar://quit", Form),
            ("nightjar://pair", Form),
            ("nightjar://pair?market=https://a.example", Form),
            ("nightjar://pair?market=https://a.example&code=A&code=B", Form),
            (long.as_str(), Form),
            ("nightjar://pair?market=http://a.example&code=A", Market),
            ("nightjar://pair?market=file:///etc/passwd&code=A", Market),
            ("nightjar://pair?market=javascript:alert(1)&code=A", Market),
            ("nightjar://pair?market=https://user:word@a.example&code=A", Market),
            ("nightjar://pair?market=https://a.example&code=", Code),
            ("nightjar://pair?market=https://a.example&code=A%20B", Code),
            ("nightjar://pair?market=https://a.example&code=A%0AB", Code),
        ] {
            assert_eq!(invitation(link), Err(why), "{link}");
        }
    }
}
