//! Who may use the page: whoever brings the link that was printed, once and soon, and from then on the one page that
//! brought it. The page keeps its key for the life of its tab and sends it as a header: a cookie would go to every server
//! on this PC's address, whatever its port.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How long the printed link can be used.
pub(super) const LINK_LASTS: Duration = Duration::from_secs(600);
/// Wrong guesses that a link survives.
const MOST_WRONG: u32 = 20;

/// See the module's text.
pub(super) struct Door {
    link: Option<Link>,
    key: Option<String>,
}

struct Link {
    word: String,
    until: Instant,
    wrong: u32,
}

impl Door {
    /// With the word of its link.
    pub(super) fn new(now: Instant) -> (Self, String) {
        let word = random_word();
        let link = Link { word: word.clone(), until: now + LINK_LASTS, wrong: 0 };
        (Self { link: Some(link), key: None }, word)
    }

    /// The key of the one page, for the word of the link. From then on the link is worth nothing.
    pub(super) fn enter(&mut self, word: &str, now: Instant) -> Option<String> {
        let link = self.link.as_mut()?;
        if now >= link.until {
            self.link = None;
            return None;
        }
        if !is_same(&link.word, word) {
            link.wrong += 1;
            if link.wrong >= MOST_WRONG {
                self.link = None;
            }
            return None;
        }
        self.link = None;
        let key = random_word();
        self.key = Some(key.clone());
        Some(key)
    }

    pub(super) fn knows(&self, key: &str) -> bool {
        self.key.as_deref().is_some_and(|known| is_same(known, key))
    }
}

/// 256 random bits in hexadecimal.
fn random_word() -> String {
    rand::random::<[u8; 32]>().iter().fold(String::new(), |mut word, byte| {
        let _ = write!(word, "{byte:02x}");
        word
    })
}

/// In a time that does not tell how much of it was right.
fn is_same(known: &str, given: &str) -> bool {
    let differs = known.bytes().zip(given.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
    known.len() == given.len() && differs == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_once_and_soon() {
        let now = Instant::now();
        let (mut door, word) = Door::new(now);
        assert_eq!(door.enter("", now), None);
        assert_eq!(door.enter(&word[1..], now), None);
        assert!(!door.knows(""));
        let key = door.enter(&word, now).unwrap();
        assert!(door.knows(&key) && !door.knows(&word) && !door.knows(""));
        assert_eq!(door.enter(&word, now), None, "a second time");
        assert!(door.knows(&key), "the first page goes on");

        let (mut door, word) = Door::new(now);
        assert_eq!(door.enter(&word, now + LINK_LASTS), None, "too late");
        assert_eq!(door.enter(&word, now), None);
    }

    #[test]
    fn guessing_shuts_it() {
        let now = Instant::now();
        let (mut door, word) = Door::new(now);
        for _ in 0..MOST_WRONG {
            assert_eq!(door.enter("0", now), None);
        }
        assert_eq!(door.enter(&word, now), None);
    }
}
