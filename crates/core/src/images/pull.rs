//! One image on its way here: what to ask for next, when to try again, when to give up. What arrives is trusted only once
//! its digest was computed; what a cut leaves behind is kept and gone on from.

use std::collections::BTreeMap;

use crate::time::Timestamp;

/// A blob that arrives with another digest so often will not arrive right.
pub const MOST_CORRUPT: u32 = 3;
/// So many breaks in a row without a single new byte mean that nothing comes.
pub const MOST_CUTS: u32 = 8;
const FIRST_WAIT_MS: u64 = 500;
const LONGEST_WAIT_MS: u64 = 60_000;

/// A blob of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `sha256:…`
    pub digest: String,
    pub size_bytes: u64,
    /// What of it is on the disk, from its beginning.
    pub have_bytes: u64,
    /// All of it is, and its digest is right; or the Engine has what is in it.
    pub is_whole: bool,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until it is no longer held.
    Hold,
    /// Nothing, until then.
    Wait {
        until: Timestamp,
    },
    /// Ask what the image consists of.
    Describe,
    /// Ask for a blob from that byte on.
    Fetch {
        digest: String,
        from_byte: u64,
        size_bytes: u64,
    },
    /// Everything is here: give it to the Engine.
    Load,
    /// It is in the Engine.
    Done,
    GiveUp(GiveUp),
}

/// Why it is not tried any more by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GiveUp {
    #[error(
        "{digest} arrived {MOST_CORRUPT} times with another content than its name says; something on the way changes it, or \
         the registry is broken"
    )]
    Corrupt { digest: String },
    #[error("nothing arrived in {MOST_CUTS} attempts, the last one failed with: {detail}")]
    Unreachable { detail: String },
    /// What no other attempt would change.
    #[error("{detail}")]
    Refused { detail: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Describing,
    Fetching(Vec<Part>),
    Done,
    Over(GiveUp),
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Pull {
    stage: Stage,
    is_held: bool,
    /// In a row, without a new byte between them.
    cuts: u32,
    corrupt: BTreeMap<String, u32>,
    wait_until: Option<Timestamp>,
}

impl Default for Pull {
    fn default() -> Self {
        Self::new()
    }
}

impl Pull {
    #[must_use]
    pub fn new() -> Self {
        let corrupt = BTreeMap::new();
        Self { stage: Stage::Describing, is_held: false, cuts: 0, corrupt, wait_until: None }
    }

    /// What to do at this moment.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Next {
        match &self.stage {
            Stage::Over(why) => return Next::GiveUp(why.clone()),
            Stage::Done => return Next::Done,
            _ if self.is_held => return Next::Hold,
            _ => {}
        }
        if let Some(until) = self.wait_until.filter(|until| *until > now) {
            return Next::Wait { until };
        }
        let Stage::Fetching(parts) = &self.stage else { return Next::Describe };
        match parts.iter().find(|part| !part.is_whole) {
            Some(part) => Next::Fetch {
                digest: part.digest.clone(),
                from_byte: part.have_bytes.min(part.size_bytes),
                size_bytes: part.size_bytes,
            },
            None => Next::Load,
        }
    }

    /// The owner is back, or has left again.
    pub fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// What the image consists of, with what of it is here already.
    pub fn described(&mut self, parts: Vec<Part>) {
        self.went_on();
        self.stage = Stage::Fetching(parts);
    }

    /// So much more of a blob is on the disk.
    pub fn got(&mut self, digest: &str, bytes: u64) {
        if bytes > 0 {
            self.went_on();
        }
        if let Some(part) = self.part(digest) {
            part.have_bytes = part.have_bytes.saturating_add(bytes).min(part.size_bytes);
        }
    }

    /// All of it is on the disk, with the digest that it should have.
    pub fn whole(&mut self, digest: &str) {
        self.went_on();
        if let Some(part) = self.part(digest) {
            (part.have_bytes, part.is_whole) = (part.size_bytes, true);
        }
    }

    /// It came to its end with another digest, and was thrown away.
    pub fn corrupt(&mut self, digest: &str, now: Timestamp) {
        let times = self.corrupt.entry(digest.to_owned()).or_default();
        *times += 1;
        if *times >= MOST_CORRUPT {
            self.stage = Stage::Over(GiveUp::Corrupt { digest: digest.to_owned() });
            return;
        }
        self.wait_until = Some(now.plus_ms(FIRST_WAIT_MS));
        if let Some(part) = self.part(digest) {
            (part.have_bytes, part.is_whole) = (0, false);
        }
    }

    /// The connection broke, or none came about. What had arrived stays.
    pub fn cut(&mut self, detail: &str, now: Timestamp) {
        self.cuts += 1;
        if self.cuts >= MOST_CUTS {
            self.stage = Stage::Over(GiveUp::Unreachable { detail: detail.to_owned() });
            return;
        }
        let wait_ms = (FIRST_WAIT_MS << (self.cuts - 1).min(16)).min(LONGEST_WAIT_MS);
        self.wait_until = Some(now.plus_ms(wait_ms));
    }

    /// The registry sends it only from its beginning; what was here of it is gone.
    pub fn anew(&mut self, digest: &str) {
        if let Some(part) = self.part(digest) {
            (part.have_bytes, part.is_whole) = (0, false);
        }
    }

    /// It is in the Engine.
    pub fn loaded(&mut self) {
        self.stage = Stage::Done;
    }

    /// What no other attempt would change.
    pub fn refused(&mut self, detail: String) {
        self.stage = Stage::Over(GiveUp::Refused { detail });
    }

    /// What is here of how much, in bytes; `None` until it is known what the image consists of.
    #[must_use]
    pub fn progress(&self) -> Option<(u64, u64)> {
        let Stage::Fetching(parts) = &self.stage else { return None };
        let sum = |of: fn(&Part) -> u64| parts.iter().map(of).fold(0_u64, u64::saturating_add);
        let have = |part: &Part| if part.is_whole { part.size_bytes } else { part.have_bytes };
        Some((sum(have), sum(|part| part.size_bytes)))
    }

    fn part(&mut self, digest: &str) -> Option<&mut Part> {
        let Stage::Fetching(parts) = &mut self.stage else { return None };
        parts.iter_mut().find(|part| part.digest == digest)
    }

    fn went_on(&mut self) {
        (self.cuts, self.wait_until) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(digest: &str, size_bytes: u64, have_bytes: u64) -> Part {
        Part { digest: digest.into(), size_bytes, have_bytes, is_whole: false }
    }

    #[test]
    fn it_goes_on_where_it_was_cut_and_loads_when_all_is_here() {
        let mut pull = Pull::new();
        assert_eq!(pull.next(Timestamp(0)), Next::Describe);
        pull.described(vec![part("a", 100, 30), Part { is_whole: true, ..part("b", 50, 0) }]);
        assert_eq!(pull.progress(), Some((80, 150)));
        let fetch = |from_byte| Next::Fetch { digest: "a".into(), from_byte, size_bytes: 100 };
        assert_eq!(pull.next(Timestamp(0)), fetch(30));
        pull.got("a", 20);
        pull.cut("reset", Timestamp(1_000));
        assert_eq!(pull.next(Timestamp(1_000)), Next::Wait { until: Timestamp(1_500) });
        assert_eq!(pull.next(Timestamp(1_500)), fetch(50));
        pull.hold(true);
        assert_eq!(pull.next(Timestamp(9_000)), Next::Hold);
        pull.hold(false);
        pull.corrupt("a", Timestamp(9_000));
        assert_eq!(pull.next(Timestamp(9_500)), fetch(0));
        pull.whole("a");
        assert_eq!(pull.next(Timestamp(9_500)), Next::Load);
        pull.loaded();
        assert_eq!(pull.next(Timestamp(9_500)), Next::Done);
    }

    #[test]
    fn it_gives_up_on_what_stays_wrong_and_on_what_never_comes() {
        let mut pull = Pull::new();
        pull.described(vec![part("a", 1, 0)]);
        for time in 0..i64::from(MOST_CORRUPT) {
            pull.corrupt("a", Timestamp(time * 1_000));
        }
        assert_eq!(pull.next(Timestamp(0)), Next::GiveUp(GiveUp::Corrupt { digest: "a".into() }));

        let (mut pull, mut waits) = (Pull::new(), Vec::new());
        for _ in 1..MOST_CUTS {
            pull.cut("refused", Timestamp(0));
            let Next::Wait { until } = pull.next(Timestamp(0)) else { panic!("it does not wait") };
            waits.push(until.0);
        }
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000]);
        pull.cut("refused", Timestamp(0));
        assert!(matches!(pull.next(Timestamp(0)), Next::GiveUp(GiveUp::Unreachable { .. })));
    }

    /// What a network may do to one request.
    #[derive(Clone, Debug)]
    enum Fate {
        /// Cut after so many bytes.
        Cut(u64),
        /// Runs to its end.
        End,
        /// Runs to its end with a wrong byte in it.
        Wrong,
        /// The owner comes back in the middle, and leaves.
        Held(u64),
    }

    fn fates() -> impl Strategy<Value = Vec<Fate>> {
        let fate = prop_oneof![
            4 => (0_u64..60).prop_map(Fate::Cut),
            4 => Just(Fate::End),
            1 => Just(Fate::Wrong),
            1 => (0_u64..60).prop_map(Fate::Held),
        ];
        prop::collection::vec(fate, 0..80)
    }

    proptest! {
        /// Whatever the network does: it ends; nothing that is here is asked for again unless it was wrong; and what is
        /// loaded is whole.
        #[test]
        fn it_ends_and_asks_for_nothing_twice(
            sizes in prop::collection::vec(1_u64..100, 1..5),
            fates in fates(),
        ) {
            let mut pull = Pull::new();
            let parts: Vec<Part> =
                sizes.iter().enumerate().map(|(index, size)| part(&index.to_string(), *size, 0)).collect();
            pull.described(parts);
            let (mut now, mut asked, mut thrown_away) = (Timestamp(0), 0, 0);
            let mut have = vec![0; sizes.len()];
            let mut fates = fates.into_iter();
            let mut steps = 0;
            loop {
                steps += 1;
                prop_assert!(steps < 1_000, "it does not end");
                match pull.next(now) {
                    Next::Wait { until } => {
                        prop_assert!(until > now && until.since_ms(now) <= LONGEST_WAIT_MS);
                        now = until;
                    }
                    Next::Hold => pull.hold(false),
                    Next::Fetch { digest, from_byte, size_bytes } => {
                        let index: usize = digest.parse().unwrap();
                        prop_assert_eq!(from_byte, have[index]);
                        let left = size_bytes - from_byte;
                        match fates.next().unwrap_or(Fate::End) {
                            Fate::Cut(bytes) | Fate::Held(bytes) if bytes < left => {
                                pull.got(&digest, bytes);
                                pull.cut("reset", now);
                                have[index] += bytes;
                                asked += bytes;
                            }
                            Fate::Wrong => {
                                pull.got(&digest, left);
                                pull.corrupt(&digest, now);
                                thrown_away += size_bytes;
                                asked += left;
                                have[index] = 0;
                            }
                            fate => {
                                if matches!(fate, Fate::Held(_)) {
                                    pull.hold(true);
                                }
                                pull.got(&digest, left);
                                pull.whole(&digest);
                                asked += left;
                                have[index] = size_bytes;
                            }
                        }
                    }
                    Next::Load => {
                        prop_assert_eq!(&have, &sizes);
                        prop_assert_eq!(pull.progress(), Some((sizes.iter().sum(), sizes.iter().sum())));
                        pull.loaded();
                    }
                    Next::Done => {
                        prop_assert_eq!(asked, sizes.iter().sum::<u64>() + thrown_away);
                        break;
                    }
                    Next::GiveUp(_) => break,
                    Next::Describe => prop_assert!(false, "it is described already"),
                }
            }
        }
    }
}
