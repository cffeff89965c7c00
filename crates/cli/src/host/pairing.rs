//! `--pair`: a code, or a link that names market and code in one.

use std::io::{BufRead, IsTerminal, Read};

use nightjar_protocol::invitation::{InvitationError, LONGEST_LINK_BYTES, SCHEME};
use nightjar_protocol::window::Invitation;

use crate::arguments::Host;
use crate::failure::Failure;
use crate::output::note;

/// No pairing code is longer.
const MAX_CODE_BYTES: usize = 256;

/// Which market is to be joined, and with what; nothing without `--pair`.
///
/// # Errors
/// What is wrong with the code or the link, or that no market is named.
pub fn asked(arguments: &Host) -> Result<Option<Invitation>, Failure> {
    let Some(given) = arguments.pair.as_deref() else { return Ok(None) };
    let said = if given == "-" { read_line()? } else { given.to_owned() };
    invitation(said.trim(), arguments.coordinator.as_deref()).map(Some)
}

fn read_line() -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        note("Pairing code or link:");
    }
    let mut line = String::new();
    // One byte more, so that what is too long shows.
    std::io::stdin()
        .lock()
        .take(LONGEST_LINK_BYTES as u64 + 1)
        .read_line(&mut line)
        .map_err(|error| Failure::failed(format!("the pairing code cannot be read: {error}")))?;
    Ok(line)
}

fn invitation(said: &str, coordinator: Option<&str>) -> Result<Invitation, Failure> {
    let coordinator = coordinator.map(|url| url.trim_end_matches('/'));
    if said.starts_with(SCHEME) {
        let read = Invitation::read(said).map_err(|error| {
            Failure::usage(format!("the pairing link is not taken: {error}")).advise(match error {
                InvitationError::Form | InvitationError::Missing(_) => {
                    "put the whole link between single quotes: to a shell the & is the end of a command; or use --pair -"
                }
                _ => "ask the market's operator for another: `nightjar-coordinator pair` prints one",
            })
        })?;
        let market = read.market.trim_end_matches('/').to_owned();
        return match coordinator {
            Some(other) if other != market => Err(Failure::usage(format!(
                "the link is of the market {market}, --coordinator names {other}"
            ))
            .advise("leave --coordinator out: the link names its market")),
            _ => Ok(Invitation { market, code: read.code }),
        };
    }
    let fits = !said.is_empty()
        && said.len() <= MAX_CODE_BYTES
        && said.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if !fits {
        return Err(Failure::usage("that is neither a pairing code nor a link")
            .advise("`nightjar-coordinator pair` prints both to the market's operator"));
    }
    let Some(market) = coordinator else {
        return Err(Failure::usage("a pairing code alone does not say which market it is of").advise(
            "name the market with --coordinator URL, or give --pair the link that the operator has",
        ));
    };
    Ok(Invitation { market: market.to_owned(), code: said.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    const MARKET: &str = "https://market.example";

    #[test]
    fn a_code_needs_its_market() {
        let wanted = Invitation { market: MARKET.into(), code: "ABCD-2345".into() };
        assert_eq!(invitation("ABCD-2345", Some("https://market.example/")), Ok(wanted));
        let alone = invitation("ABCD-2345", None).unwrap_err();
        assert!(alone.advice.unwrap().contains("--coordinator"));
        for wrong in ["", "a\u{7}b", &"x".repeat(300)] {
            assert_eq!(invitation(wrong, Some(MARKET)).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_link_names_its_market() {
        let link = "nightjar://pair?market=https%3A%2F%2Fmarket.example%2F&code=ABCD-2345";
        let wanted = Invitation { market: MARKET.into(), code: "ABCD-2345".into() };
        for coordinator in [None, Some(MARKET), Some("https://market.example/")] {
            assert_eq!(invitation(link, coordinator), Ok(wanted.clone()));
        }
        let other = invitation(link, Some("https://other.example")).unwrap_err();
        assert!(other.what.contains("https://other.example"), "{}", other.what);
        // What is left of a link whose & a shell took.
        let cut = invitation("nightjar://pair?market=https://market.example", None).unwrap_err();
        assert!(cut.what.contains("names no code") && cut.advice.unwrap().contains("quotes"), "{}", cut.what);
        let open = invitation("nightjar://pair?market=http://market.example&code=A", None).unwrap_err();
        assert!(open.what.contains("https://") && open.advice.unwrap().contains("operator"), "{}", open.what);
    }
}
