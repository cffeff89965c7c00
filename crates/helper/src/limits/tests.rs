use super::*;
use proptest::prelude::*;

const FOUND: u32 = 450_000;

fn card() -> GpuUuid {
    GpuUuid("GPU-1".into())
}

fn limits(current: u32) -> MilliwattLimits {
    MilliwattLimits { current, default: FOUND, min: 100_000, max: 600_000 }
}

/// A card that takes what it is told, and a book about it.
struct Bench {
    book: Book,
    current: u32,
    now_ms: u64,
}

const US: Connection = Connection(1);

impl Bench {
    fn new() -> Self {
        Self { book: Book::default(), current: FOUND, now_ms: 0 }
    }

    fn set(&mut self, watts: u32, owner: Connection) -> Result<Proposal, HelperRefusal> {
        let wish = self.book.propose(&card(), watts, limits(self.current), owner, self.now_ms)?;
        self.current = wish.milliwatts;
        self.book.written(&card(), true);
        Ok(wish)
    }

    fn tend(&mut self) {
        for due in self.book.due(self.now_ms) {
            if let Undo::Write { milliwatts } = self.book.undo(&due, self.current) {
                self.current = milliwatts;
            }
            self.book.undone(&due);
        }
    }
}

#[test]
fn a_new_value_is_taken_back_unless_it_is_confirmed() {
    let mut bench = Bench::new();
    assert_eq!(bench.set(300, US).unwrap().confirm_within_ms, Some(CONFIRM_WITHIN_MS));
    bench.now_ms = CONFIRM_WITHIN_MS - 1;
    bench.tend();
    assert_eq!(bench.current, 300_000);
    bench.now_ms += 1;
    bench.tend();
    assert_eq!(bench.current, FOUND);
    assert_eq!(
        bench.book.confirm(&card(), US, bench.now_ms).unwrap_err().code,
        HelperErrorCode::NothingToConfirm
    );
}

#[test]
fn a_confirmed_value_is_known_from_then_on_and_survives_a_restart() {
    let mut bench = Bench::new();
    bench.set(300, US).unwrap();
    bench.book.confirm(&card(), US, 10).unwrap();
    bench.now_ms = 10 * CONFIRM_WITHIN_MS;
    bench.tend();
    assert_eq!(bench.current, 300_000);
    // A second new value falls back to the first, not to what was found.
    assert!(bench.set(200, US).unwrap().confirm_within_ms.is_some());
    bench.now_ms += CONFIRM_WITHIN_MS;
    bench.tend();
    assert_eq!(bench.current, 300_000);
    bench.book = Book::recall(bench.book.remember());
    bench.tend();
    assert_eq!(bench.current, FOUND, "the former helper's limit is put back");
    assert_eq!(bench.set(300, Connection(9)).unwrap().confirm_within_ms, None);
}

#[test]
fn another_tools_limit_stays() {
    let mut bench = Bench::new();
    bench.set(300, US).unwrap();
    bench.current = 250_000;
    bench.book.lose(US);
    bench.tend();
    assert_eq!(bench.current, 250_000);
    assert!(bench.book.list().is_empty());
}

#[test]
fn what_another_tool_set_before_our_next_limit_is_what_comes_back() {
    let mut bench = Bench::new();
    bench.set(300, US).unwrap();
    bench.current = 250_000;
    bench.set(320, US).unwrap();
    bench.book.give_up(&card());
    bench.tend();
    assert_eq!(bench.current, 250_000);
}

#[test]
fn a_limit_beyond_the_cards_own_is_refused_and_nothing_is_held() {
    let mut bench = Bench::new();
    for watts in [99, 601, u32::MAX] {
        assert_eq!(bench.set(watts, US).unwrap_err().code, HelperErrorCode::OutOfRange);
    }
    assert!(bench.book.list().is_empty() && bench.current == FOUND);
}

/// What is held of a card that was taken out stays in the file for ever: it must not be asked about for ever as often.
#[test]
fn a_card_that_is_gone_is_looked_for_ever_more_seldom_and_at_once_when_asked() {
    let mut bench = Bench::new();
    bench.set(300, US).unwrap();
    bench.book.lose(US);
    let mut pauses = Vec::new();
    for turn in 0..14 {
        assert_eq!(bench.book.due(bench.now_ms), [card()]);
        assert_eq!(bench.book.postpone(&card(), bench.now_ms, true), turn == 0);
        let next = bench.book.next_deadline_ms().unwrap();
        pauses.push(next - bench.now_ms);
        assert_eq!(bench.book.due(next - 1), []);
        bench.now_ms = next;
    }
    assert_eq!(pauses[..3], [RETRY_MS, 2 * RETRY_MS, 4 * RETRY_MS]);
    assert_eq!(pauses[10..], [RETRY_SELDOM_MS; 4]);
    // It is there again and only busy.
    bench.book.postpone(&card(), bench.now_ms, false);
    assert_eq!(bench.book.next_deadline_ms(), Some(bench.now_ms + RETRY_MS));
    bench.book.postpone(&card(), bench.now_ms, true);
    bench.book.give_up(&card());
    assert_eq!(bench.book.due(bench.now_ms), [card()]);
    assert!(bench.book.postpone(&card(), bench.now_ms, true));
    bench.book.give_up(&card());
    bench.tend();
    assert_eq!((bench.current, bench.book.next_deadline_ms()), (FOUND, None));
}

#[test]
fn a_value_whose_time_is_over_cannot_be_confirmed_while_its_card_is_looked_for() {
    let mut bench = Bench::new();
    bench.set(300, US).unwrap();
    bench.now_ms = CONFIRM_WITHIN_MS;
    assert_eq!(bench.book.due(bench.now_ms), [card()]);
    bench.book.postpone(&card(), bench.now_ms, true);
    let refused = bench.book.confirm(&card(), US, bench.now_ms + 1).unwrap_err();
    assert_eq!(refused.code, HelperErrorCode::NothingToConfirm);
    // A new wish has its whole time again.
    let within = bench.set(310, US).unwrap().confirm_within_ms.unwrap();
    assert_eq!(bench.book.next_deadline_ms(), Some(bench.now_ms + within));
}

#[derive(Clone, Debug)]
enum Step {
    Set { watts: u32, owner: u64, taken: bool, crash: bool },
    Confirm { owner: u64 },
    Lose { owner: u64 },
    GiveUp,
    Wait { ms: u64 },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (90_u32..620, 0_u64..3, prop::bool::weighted(0.9), prop::bool::weighted(0.1))
            .prop_map(|(watts, owner, taken, crash)| Step::Set { watts, owner, taken, crash }),
        2 => (0_u64..3).prop_map(|owner| Step::Confirm { owner }),
        1 => (0_u64..3).prop_map(|owner| Step::Lose { owner }),
        1 => Just(Step::GiveUp),
        3 => (0_u64..20_000).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    /// Whatever happens, and wherever a crash falls: once nobody wants a limit, the card has what was found.
    #[test]
    fn what_was_found_comes_back(steps in prop::collection::vec(step(), 0..60)) {
        let mut bench = Bench::new();
        for step in steps {
            match step {
                Step::Set { watts, owner, taken, crash } => {
                    let asked = bench.book.propose(&card(), watts, limits(bench.current), Connection(owner), bench.now_ms);
                    if let Ok(wish) = asked {
                        // The file is written here, before the driver is asked.
                        let saved = bench.book.remember();
                        if taken {
                            bench.current = wish.milliwatts;
                        }
                        if crash {
                            bench.book = Book::recall(saved);
                        } else {
                            bench.book.written(&card(), taken);
                        }
                    }
                }
                Step::Confirm { owner } => {
                    let _ = bench.book.confirm(&card(), Connection(owner), bench.now_ms);
                }
                Step::Lose { owner } => bench.book.lose(Connection(owner)),
                Step::GiveUp => bench.book.give_up(&card()),
                Step::Wait { ms } => bench.now_ms += ms,
                Step::Crash => bench.book = Book::recall(bench.book.remember()),
            }
            bench.tend();
            prop_assert!(bench.book.list().len() <= 1);
            if bench.book.list().is_empty() {
                prop_assert_eq!(bench.current, FOUND);
            }
        }
        bench.book.give_up_all();
        bench.tend();
        prop_assert_eq!(bench.current, FOUND);
        prop_assert_eq!(bench.book.next_deadline_ms(), None);
    }

    /// An unconfirmed new value never stays longer than its time.
    #[test]
    fn nothing_unconfirmed_stays(watts in 100_u32..=600, waited in 0_u64..60_000) {
        let mut bench = Bench::new();
        let asked = bench.set(watts, US).unwrap();
        bench.now_ms = waited;
        bench.tend();
        let stays = asked.confirm_within_ms.is_none_or(|within| waited < within);
        prop_assert_eq!(bench.current, if stays { watts * 1_000 } else { FOUND });
    }
}
