//! One image on its way here: what to ask for next, when to try again, when to give up. Several blobs come at once, the
//! lowest layers first. What arrives is trusted only once its digest was computed; what a cut leaves behind is kept and
//! gone on from.

use std::collections::BTreeMap;

use crate::time::Timestamp;

/// A blob that arrives with another digest so often will not arrive right.
pub const MOST_CORRUPT: u32 = 3;
/// So many breaks in a row without a single new byte mean that nothing comes.
pub const MOST_CUTS: u32 = 8;
/// Blobs that come at the same time: a connection far away does not fill a line alone. As many as `docker pull` takes.
pub const MOST_AT_ONCE: usize = 3;
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
    /// Nothing new, until then or until what is under way says something.
    Wait {
        until: Option<Timestamp>,
    },
    /// Ask what the image consists of.
    Describe,
    /// Ask for a blob from that byte on, and say that it was [begun](Pull::began).
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

/// A blob and how it fares.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Course {
    part: Part,
    is_under_way: bool,
    /// In a row, without a new byte of it between them.
    cuts: u32,
    wait_until: Option<Timestamp>,
}

impl Course {
    fn new(part: Part) -> Self {
        Self { part, is_under_way: false, cuts: 0, wait_until: None }
    }

    fn begin_anew(&mut self) {
        (self.part.have_bytes, self.part.is_whole) = (0, false);
    }

    fn is_to_come(&self) -> bool {
        !self.part.is_whole && !self.is_under_way
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Describing { wait_until: Option<Timestamp> },
    Fetching(Vec<Course>),
    Done,
    Over(GiveUp),
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Pull {
    stage: Stage,
    is_held: bool,
    /// In a row, without a new byte of anything between them.
    cuts: u32,
    corrupt: BTreeMap<String, u32>,
}

impl Default for Pull {
    fn default() -> Self {
        Self::new()
    }
}

impl Pull {
    #[must_use]
    pub fn new() -> Self {
        let stage = Stage::Describing { wait_until: None };
        Self { stage, is_held: false, cuts: 0, corrupt: BTreeMap::new() }
    }

    /// What to do at this moment.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Next {
        let later = |until: &Option<Timestamp>| until.filter(|until| *until > now);
        let courses = match &self.stage {
            Stage::Over(why) => return Next::GiveUp(why.clone()),
            Stage::Done => return Next::Done,
            _ if self.is_held => return Next::Hold,
            Stage::Describing { wait_until } => {
                return later(wait_until).map_or(Next::Describe, |until| Next::Wait { until: Some(until) });
            }
            Stage::Fetching(courses) => courses,
        };
        if courses.iter().all(|course| course.part.is_whole) {
            return Next::Load;
        }
        if courses.iter().filter(|course| course.is_under_way).count() >= MOST_AT_ONCE {
            return Next::Wait { until: None };
        }
        let mut to_come = courses.iter().filter(|course| course.is_to_come());
        match to_come.clone().find(|course| later(&course.wait_until).is_none()) {
            Some(Course { part, .. }) => Next::Fetch {
                digest: part.digest.clone(),
                from_byte: part.have_bytes.min(part.size_bytes),
                size_bytes: part.size_bytes,
            },
            None => Next::Wait { until: to_come.by_ref().filter_map(|course| course.wait_until).min() },
        }
    }

    /// Whether blobs are coming.
    #[must_use]
    pub fn is_fetching(&self) -> bool {
        matches!(&self.stage, Stage::Fetching(courses) if courses.iter().any(|course| course.is_under_way))
    }

    /// Whether all of it is on the disk, with the digest that it should have.
    #[must_use]
    pub fn is_whole(&self, digest: &str) -> bool {
        let Stage::Fetching(courses) = &self.stage else { return false };
        courses.iter().any(|course| course.part.digest == digest && course.part.is_whole)
    }

    /// The owner is back, or has left again.
    pub fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// What the image consists of, with what of it is here already.
    pub fn described(&mut self, parts: Vec<Part>) {
        self.cuts = 0;
        self.stage = Stage::Fetching(parts.into_iter().map(Course::new).collect());
    }

    /// These are needed after all: what the Engine had of the image has gone. What is under way goes on.
    pub fn also(&mut self, parts: Vec<Part>) {
        let Stage::Fetching(courses) = &mut self.stage else { return };
        let more =
            parts.into_iter().filter(|part| courses.iter().all(|known| known.part.digest != part.digest));
        let more: Vec<Course> = more.map(Course::new).collect();
        courses.splice(0..0, more);
    }

    /// A blob was asked for. It ends with [`Self::whole`], [`Self::corrupt`], [`Self::cut`] or [`Self::paused`].
    pub fn began(&mut self, digest: &str) {
        self.course(digest, |course| course.is_under_way = true);
    }

    /// So much more of a blob is on the disk.
    pub fn got(&mut self, digest: &str, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.cuts = 0;
        self.course(digest, |course| {
            (course.cuts, course.wait_until) = (0, None);
            let part = &mut course.part;
            part.have_bytes = part.have_bytes.saturating_add(bytes).min(part.size_bytes);
        });
    }

    /// All of it is on the disk, with the digest that it should have.
    pub fn whole(&mut self, digest: &str) {
        self.cuts = 0;
        self.course(digest, |course| {
            course.is_under_way = false;
            (course.part.have_bytes, course.part.is_whole) = (course.part.size_bytes, true);
        });
    }

    /// It stopped because of the owner. What had arrived stays.
    pub fn paused(&mut self, digest: &str) {
        self.course(digest, |course| course.is_under_way = false);
    }

    /// It came to its end with another digest, and was thrown away.
    pub fn corrupt(&mut self, digest: &str, now: Timestamp) {
        let times = self.corrupt.entry(digest.to_owned()).or_default();
        *times += 1;
        if *times >= MOST_CORRUPT {
            self.stage = Stage::Over(GiveUp::Corrupt { digest: digest.to_owned() });
            return;
        }
        let again_at = now.plus_ms(FIRST_WAIT_MS);
        if let Stage::Describing { wait_until } = &mut self.stage {
            *wait_until = Some(again_at);
        }
        self.course(digest, |course| {
            course.is_under_way = false;
            course.wait_until = Some(again_at);
            course.begin_anew();
        });
    }

    /// The connection broke, or none came about: that of a blob, or that of the question what the image consists of. What
    /// had arrived stays.
    pub fn cut(&mut self, digest: Option<&str>, detail: &str, now: Timestamp) {
        self.cuts += 1;
        if self.cuts >= MOST_CUTS {
            self.stage = Stage::Over(GiveUp::Unreachable { detail: detail.to_owned() });
            return;
        }
        if let Stage::Describing { wait_until } = &mut self.stage {
            *wait_until = Some(after_cuts(self.cuts, now));
        }
        self.course(digest.unwrap_or_default(), |course| {
            course.is_under_way = false;
            course.cuts += 1;
            course.wait_until = Some(after_cuts(course.cuts, now));
        });
    }

    /// The registry sends it only from its beginning; what was here of it is gone.
    pub fn anew(&mut self, digest: &str) {
        self.course(digest, Course::begin_anew);
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
        let Stage::Fetching(courses) = &self.stage else { return None };
        let sum = |of: fn(&Part) -> u64| {
            courses.iter().map(|course| of(&course.part)).fold(0_u64, u64::saturating_add)
        };
        let have = |part: &Part| if part.is_whole { part.size_bytes } else { part.have_bytes };
        Some((sum(have), sum(|part| part.size_bytes)))
    }

    fn course(&mut self, digest: &str, change: impl FnOnce(&mut Course)) {
        if let Stage::Fetching(courses) = &mut self.stage
            && let Some(course) = courses.iter_mut().find(|course| course.part.digest == digest)
        {
            change(course);
        }
    }
}

fn after_cuts(cuts: u32, now: Timestamp) -> Timestamp {
    let wait_ms = FIRST_WAIT_MS << cuts.saturating_sub(1).min(16);
    now.plus_ms(wait_ms.min(LONGEST_WAIT_MS))
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
        pull.began("a");
        assert_eq!(pull.next(Timestamp(0)), Next::Wait { until: None });
        assert!(pull.is_fetching() && pull.is_whole("b") && !pull.is_whole("a"));
        pull.got("a", 20);
        pull.cut(Some("a"), "reset", Timestamp(1_000));
        assert_eq!(pull.next(Timestamp(1_000)), Next::Wait { until: Some(Timestamp(1_500)) });
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
    fn what_is_needed_after_all_comes_first_and_disturbs_nothing() {
        let mut pull = Pull::new();
        pull.described(vec![part("a", 100, 0), Part { is_whole: true, ..part("b", 50, 50) }]);
        pull.began("a");
        pull.also(vec![part("base", 10, 0), part("a", 100, 0), part("b", 50, 0)]);
        assert_eq!(pull.progress(), Some((50, 160)));
        assert!(pull.is_whole("b") && pull.is_fetching());
        let fetch = Next::Fetch { digest: "base".into(), from_byte: 0, size_bytes: 10 };
        assert_eq!(pull.next(Timestamp(0)), fetch);
        pull.whole("a");
        assert_eq!(pull.next(Timestamp(0)), fetch, "it is not loaded without it");
        pull.whole("base");
        assert_eq!(pull.next(Timestamp(0)), Next::Load);
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
            pull.cut(None, "refused", Timestamp(0));
            let Next::Wait { until: Some(until) } = pull.next(Timestamp(0)) else {
                panic!("it does not wait")
            };
            waits.push(until.0);
        }
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000]);
        pull.cut(None, "refused", Timestamp(0));
        assert!(matches!(pull.next(Timestamp(0)), Next::GiveUp(GiveUp::Unreachable { .. })));
    }

    #[test]
    fn several_come_at_once_and_one_that_fails_waits_alone() {
        let mut pull = Pull::new();
        pull.described((0..5).map(|index| part(&index.to_string(), 10, 0)).collect());
        for index in 0..MOST_AT_ONCE {
            let Next::Fetch { digest, .. } = pull.next(Timestamp(0)) else { panic!("it waits") };
            assert_eq!(digest, index.to_string());
            pull.began(&digest);
        }
        assert_eq!(pull.next(Timestamp(0)), Next::Wait { until: None });
        let fetches = |pull: &Pull, now| match pull.next(now) {
            Next::Fetch { digest, .. } => digest,
            other => panic!("{other:?}"),
        };
        pull.cut(Some("0"), "reset", Timestamp(0));
        assert_eq!(fetches(&pull, Timestamp(0)), "3");
        // What comes of others does not hurry one that was cut, but it is a sign that something comes.
        pull.got("1", 1);
        assert_eq!(fetches(&pull, Timestamp(499)), "3");
        assert_eq!(fetches(&pull, Timestamp(500)), "0");
        for _ in 0..2 * MOST_CUTS {
            pull.cut(Some("0"), "reset", Timestamp(0));
            pull.got("1", 1);
        }
        assert_eq!(fetches(&pull, Timestamp(59_999)), "3");
        pull.paused("1");
        assert_eq!(fetches(&pull, Timestamp(0)), "1");
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
                        let until = until.unwrap();
                        prop_assert!(until > now && until.since_ms(now) <= LONGEST_WAIT_MS);
                        now = until;
                    }
                    Next::Hold => pull.hold(false),
                    Next::Fetch { digest, from_byte, size_bytes } => {
                        let index: usize = digest.parse().unwrap();
                        prop_assert_eq!(from_byte, have[index]);
                        let left = size_bytes - from_byte;
                        pull.began(&digest);
                        match fates.next().unwrap_or(Fate::End) {
                            Fate::Cut(bytes) | Fate::Held(bytes) if bytes < left => {
                                pull.got(&digest, bytes);
                                pull.cut(Some(&digest), "reset", now);
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
