use proptest::prelude::*;

use super::*;
use crate::lease::{EndReason, Epoch, LeaseId, LeaseState};
use crate::policy::Verdict;

const HOUR: i64 = 3_600_000;

fn gpu(name: &str) -> GpuUuid {
    GpuUuid(name.into())
}

fn facts(happenings: Vec<(i64, Happening)>) -> Vec<Fact> {
    let numbered = happenings.into_iter().zip(0..);
    numbered.map(|((at, what), order)| Fact { at: Timestamp(at), order, what }).collect()
}

fn verdict(card: &str, reason: Option<BlockReason>) -> Happening {
    let verdict = match reason {
        None => Verdict::Earn,
        Some(reason) => Verdict::Blocked { reasons: vec![reason], next_change: None },
    };
    Happening::Verdict { gpu: gpu(card), verdict }
}

fn lease(card: &str, state: LeaseState) -> Happening {
    Happening::Lease { lease: LeaseId(format!("l-{card}")), epoch: Epoch(1), gpu: gpu(card), state }
}

fn here() -> Option<BlockReason> {
    Some(BlockReason::UserHere { idle_ms: 1, needed_ms: 2 })
}

fn hours(parts: &[Part]) -> Vec<(Spent, u64)> {
    parts.iter().map(|part| (part.spent, part.ms / 3_600_000)).collect()
}

#[test]
fn a_night_is_told_in_full() {
    let ended = LeaseState::Ended { reason: EndReason::RenterStopped };
    let no_demand = WaitReason::NoDemand { vram_gib: 12 };
    let facts = facts(vec![
        (-2 * HOUR, Happening::Started),
        (-2 * HOUR, verdict("a", here())),
        (3 * HOUR, verdict("a", None)),
        (4 * HOUR, Happening::Market { gpu: gpu("a"), why: Some(no_demand) }),
        (5 * HOUR, lease("a", LeaseState::Preparing)),
        (6 * HOUR, lease("a", LeaseState::Running)),
        (11 * HOUR, verdict("a", here())),
        (11 * HOUR, lease("a", LeaseState::Yielded)),
        (12 * HOUR, lease("a", ended)),
        (13 * HOUR, verdict("a", Some(BlockReason::TooHot { celsius: 90, ceiling_celsius: 83 }))),
        (15 * HOUR, Happening::Slept),
        (17 * HOUR, Happening::Woke),
        (18 * HOUR, Happening::Ended { crashed: true }),
        (20 * HOUR, Happening::Started),
        (21 * HOUR, verdict("a", None)),
        (22 * HOUR, Happening::Ended { crashed: false }),
    ]);
    let account = account(&facts, Timestamp(0), Timestamp(24 * HOUR));
    let told = vec![
        (Spent::Earned, 5),
        (Spent::Frozen, 1),
        (Spent::Preparing, 1),
        // The market's word of an earlier run is not taken for one of this run.
        (Spent::Waiting { why: None }, 2),
        (Spent::Waiting { why: Some(no_demand) }, 1),
        (Spent::Blocked { by: Block::UserHere }, 4),
        (Spent::Blocked { by: Block::TooHot }, 3),
        (Spent::NoCard, 1),
        (Spent::NotRunning { why: Absence::Asleep }, 2),
        (Spent::NotRunning { why: Absence::Off }, 2),
        (Spent::NotRunning { why: Absence::Crashed }, 2),
    ];
    assert_eq!(hours(&account.parts), told);
    assert_eq!(account.cards.len(), 1);
    assert_eq!(hours(&account.cards[0].parts), told);
}

#[test]
fn a_pc_earns_while_one_of_its_cards_does() {
    let facts = facts(vec![
        (0, Happening::Started),
        (0, verdict("a", None)),
        (0, verdict("b", Some(BlockReason::GameRunning { name: "x".into() }))),
        (HOUR, lease("a", LeaseState::Running)),
        (2 * HOUR, verdict("b", None)),
        (3 * HOUR, lease("b", LeaseState::Running)),
        (3 * HOUR, lease("a", LeaseState::Yielded)),
    ]);
    let account = account(&facts, Timestamp(0), Timestamp(4 * HOUR));
    assert_eq!(hours(&account.parts), [(Spent::Earned, 3), (Spent::Waiting { why: None }, 1)]);
    let card_b = &account.cards[1];
    let told = [
        (Spent::Earned, 1),
        (Spent::Waiting { why: None }, 1),
        (Spent::Blocked { by: Block::GameRunning }, 2),
    ];
    assert_eq!(hours(&card_b.parts), told);
}

#[test]
fn where_nothing_is_known_nothing_ran() {
    let account = account(&[], Timestamp(0), Timestamp(24 * HOUR));
    assert_eq!(hours(&account.parts), [(Spent::NotRunning { why: Absence::Off }, 24)]);
    assert!(account.cards.is_empty());
    let empty = super::account(&[], Timestamp(5), Timestamp(3));
    assert!(empty.parts.is_empty() && empty.since == empty.until);
}

fn any_happening() -> impl Strategy<Value = Happening> {
    let card = prop_oneof![Just("a"), Just("b"), Just("c")];
    let state = prop_oneof![
        Just(LeaseState::Preparing),
        Just(LeaseState::Running),
        Just(LeaseState::Yielded),
        Just(LeaseState::Ending { reason: EndReason::OwnerReturned }),
        Just(LeaseState::Ended { reason: EndReason::OwnerReturned }),
    ];
    let reason = prop_oneof![
        Just(None),
        Just(here()),
        Just(Some(BlockReason::TurnedOff)),
        Just(Some(BlockReason::TooHot { celsius: 90, ceiling_celsius: 83 })),
    ];
    let why =
        prop_oneof![Just(None), Just(Some(WaitReason::Region)), Just(Some(WaitReason::PriceAboveMarket))];
    prop_oneof![
        Just(Happening::Started),
        any::<bool>().prop_map(|crashed| Happening::Ended { crashed }),
        Just(Happening::Slept),
        Just(Happening::Woke),
        (card.clone(), reason).prop_map(|(card, reason)| verdict(card, reason)),
        (card.clone(), state).prop_map(|(card, state)| lease(card, state)),
        (card.clone(), why).prop_map(|(card, why)| Happening::Market { gpu: gpu(card), why }),
        (card, any::<bool>()).prop_map(|(card, on)| Happening::Proving { gpu: gpu(card), on }),
    ]
}

fn adds_up(parts: &[Part], stretches: &[Stretch], since: Timestamp, until: Timestamp) -> bool {
    let ends_meet =
        stretches.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].spent != pair[1].spent);
    let edges = stretches.first().is_none_or(|first| first.from == since)
        && stretches.last().is_none_or(|last| last.to == until);
    let forward = stretches.iter().all(|stretch| stretch.from < stretch.to);
    parts.iter().map(|part| part.ms).sum::<u64>() == until.since_ms(since) && ends_meet && edges && forward
}

proptest! {
    #[test]
    fn every_account_adds_up_to_its_span_in_whatever_order_its_entries_come(
        happenings in proptest::collection::vec((-50_i64..150, any_happening()), 0..60),
        shuffle in any::<u64>(),
        since in -20_i64..100,
        length in 0_i64..100,
    ) {
        let (since, until) = (Timestamp(since), Timestamp(since + length));
        let facts = facts(happenings);
        let told = account(&facts, since, until);
        prop_assert!(adds_up(&told.parts, &told.stretches, since, until));
        for card in &told.cards {
            prop_assert!(adds_up(&card.parts, &card.stretches, since, until));
        }
        let mut other = facts;
        other.sort_by_key(|fact| (fact.order + 1).wrapping_mul(shuffle | 1));
        prop_assert_eq!(&account(&other, since, until), &told);
        // Any cut of the span adds up to the whole.
        let middle = Timestamp(since.0 + length / 2);
        let sum = |spent: Spent, part: &Account| -> u64 {
            part.parts.iter().filter(|p| p.spent == spent).map(|p| p.ms).sum()
        };
        let halves = [account(&other, since, middle), account(&other, middle, until)];
        for part in &told.parts {
            prop_assert_eq!(halves.iter().map(|half| sum(part.spent, half)).sum::<u64>(), part.ms);
        }
    }
}
