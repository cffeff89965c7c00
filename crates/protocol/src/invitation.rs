//! `nightjar://pair?market=https://market.example&code=ABCD-2345`: what an operator may send in place of an address and a
//! code. It only fills in a form: joining is for the owner to say. The market makes it, the host reads it, by one rule.

use url::{Host, Url};

use crate::window::Invitation;

/// What such a link begins with.
pub const SCHEME: &str = "nightjar:";
/// Longer than any that a market makes.
pub const LONGEST_LINK_BYTES: usize = 1_024;
const LONGEST_CODE: usize = 64;

/// What is wrong with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    #[error("the link is longer than {LONGEST_LINK_BYTES} bytes")]
    Long,
    #[error("this is no link to a market: one has the form nightjar://pair?market=ADDRESS&code=CODE")]
    Form,
    #[error("the link names no {0}: it has the form nightjar://pair?market=ADDRESS&code=CODE")]
    Missing(&'static str),
    #[error("the link names its {0} twice, so that nobody can tell which is meant")]
    Twice(&'static str),
    #[error("what the link names as its market is no address such as https://market.example")]
    Address,
    #[error(
        "the market's address must begin with https:// (http:// is for a market on this PC): the code could be read on the way"
    )]
    Unsafe,
    #[error("the market's address has a user or a password in it, which no market's has")]
    Credentials,
    #[error("the link's code is none: letters, digits and dashes are wanted, {LONGEST_CODE} at most")]
    Code,
}

impl Invitation {
    /// Reads a link.
    ///
    /// # Errors
    /// When it is none of ours, or names what no market is.
    pub fn read(text: &str) -> Result<Self, InvitationError> {
        if text.len() > LONGEST_LINK_BYTES {
            return Err(InvitationError::Long);
        }
        let link = Url::parse(text).map_err(|_| InvitationError::Form)?;
        if link.scheme() != "nightjar" || link.host_str() != Some("pair") {
            return Err(InvitationError::Form);
        }
        let value = |name: &'static str| {
            let mut found =
                link.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
            match (found.next(), found.next()) {
                (None, _) => Err(InvitationError::Missing(name)),
                (Some(value), None) => Ok(value),
                (Some(_), Some(_)) => Err(InvitationError::Twice(name)),
            }
        };
        let read = Self { market: value("market")?, code: value("code")? };
        read.check()?;
        Ok(read)
    }

    /// The link that [`Invitation::read`] reads.
    ///
    /// # Errors
    /// When no host would take it: see [`InvitationError`].
    pub fn link(&self) -> Result<String, InvitationError> {
        self.check()?;
        let mut link = Url::parse("nightjar://pair").map_err(|_| InvitationError::Form)?;
        link.query_pairs_mut().append_pair("market", &self.market).append_pair("code", &self.code);
        let link = String::from(link);
        if link.len() > LONGEST_LINK_BYTES { Err(InvitationError::Long) } else { Ok(link) }
    }

    fn check(&self) -> Result<(), InvitationError> {
        check_market(&self.market)?;
        let fits = (1..=LONGEST_CODE).contains(&self.code.len())
            && self.code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if fits { Ok(()) } else { Err(InvitationError::Code) }
    }
}

/// Whether a link may name this address.
///
/// # Errors
/// When no host would join a market there.
pub fn check_market(address: &str) -> Result<(), InvitationError> {
    let market = Url::parse(address).map_err(|_| InvitationError::Address)?;
    let is_here = match market.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err(InvitationError::Address),
    };
    match market.scheme() {
        "https" => {}
        "http" if is_here => {}
        "http" => return Err(InvitationError::Unsafe),
        _ => return Err(InvitationError::Address),
    }
    if !market.username().is_empty() || market.password().is_some() {
        return Err(InvitationError::Credentials);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation(market: &str, code: &str) -> Invitation {
        Invitation { market: market.to_owned(), code: code.to_owned() }
    }

    #[test]
    fn a_link_names_a_market_and_a_code() {
        let link = "nightjar://pair?market=https%3A%2F%2Fmarket.example%3A8443&code=ABCD-2345";
        let wanted = invitation("https://market.example:8443", "ABCD-2345");
        assert_eq!(Invitation::read(link), Ok(wanted.clone()));
        assert_eq!(wanted.link().as_deref(), Ok(link));
        assert!(Invitation::read("nightjar://pair?code=A&market=http://127.0.0.1:8400").is_ok());
    }

    #[test]
    fn what_a_market_makes_a_host_reads() {
        for market in ["https://market.example", "http://[::1]:7440", "https://a.example/market?a=1&b=2#c"] {
            let made = invitation(market, "ABCD-EFGH-JKMN-PQRS");
            assert_eq!(Invitation::read(&made.link().unwrap()), Ok(made), "{market}");
        }
        let long = format!("https://{}.example", "a.".repeat(600));
        for (market, why) in [
            ("http://market.example", InvitationError::Unsafe),
            ("market.example", InvitationError::Address),
            (long.as_str(), InvitationError::Long),
        ] {
            assert_eq!(invitation(market, "ABCD").link(), Err(why), "{market}");
        }
    }

    #[test]
    fn whatever_else_a_page_may_send_is_refused() {
        use InvitationError::{Address, Code, Credentials, Form, Long, Missing, Twice, Unsafe};
        let long = format!("nightjar://pair?market=https://a.example&code=A&x={}", "x".repeat(2_000));
        for (link, why) in [
            ("", Form),
            ("https://pair?market=https://a.example&code=A", Form),
            ("nightjar://quit", Form),
            ("nightjar://pair", Missing("market")),
            ("nightjar://pair?market=https://a.example", Missing("code")),
            ("nightjar://pair?market=https://a.example&code=A&code=B", Twice("code")),
            ("nightjar://pair?market=https://a.example&market=https://b.example&code=A", Twice("market")),
            (long.as_str(), Long),
            ("nightjar://pair?market=http://a.example&code=A", Unsafe),
            ("nightjar://pair?market=http://127.0.0.1.a.example&code=A", Unsafe),
            ("nightjar://pair?market=file:///etc/passwd&code=A", Address),
            ("nightjar://pair?market=javascript:alert(1)&code=A", Address),
            ("nightjar://pair?market=a.example&code=A", Address),
            ("nightjar://pair?market=https://user:word@a.example&code=A", Credentials),
            ("nightjar://pair?market=https://a.example&code=", Code),
            ("nightjar://pair?market=https://a.example&code=A%20B", Code),
            ("nightjar://pair?market=https://a.example&code=A%0AB", Code),
        ] {
            assert_eq!(Invitation::read(link), Err(why), "{link}");
        }
    }
}
