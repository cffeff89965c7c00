use super::*;
use nightjar_core::host::JournalEntry;
use nightjar_core::lease::{EndReason, LeaseState, LeaseTerms};
use nightjar_core::market::WaitReason;
use nightjar_core::money::{Currency, Money};
use nightjar_core::night::{Absence, Block, Part, Spent};
use nightjar_core::policy::{BlockReason, Verdict};
use nightjar_core::settings::GiveBack;

use crate::clock::midnight_in;

const MINUTE: i64 = 60_000;

fn verdict(minute: i64, reason: Option<BlockReason>) -> JournalEntry {
    let verdict = match reason {
        None => Verdict::Earn,
        Some(reason) => Verdict::Blocked { reasons: vec![reason], next_change: None },
    };
    JournalEntry::Verdict { gpu: GpuUuid("GPU-0".into()), at: Timestamp(minute * MINUTE), verdict }
}

fn lease(minute: i64, state: LeaseState) -> JournalEntry {
    let terms = LeaseTerms {
        lease: LeaseId("l".into()),
        epoch: Epoch(1),
        gpu: GpuUuid("GPU-0".into()),
        image: "pytorch-cuda:lite".into(),
        renter: "r".into(),
        renter_key: "00".repeat(32),
        ssh_public_key: "ssh-ed25519 AAAA".into(),
        root_inside: false,
        no_sandbox: false,
        serve_model: None,
        volume: Default::default(),
        volume_key: None,
        price_per_hour: Money::new(3_600_000, Currency::CNY),
        fee_basis_points: 1_000,
        offered_at: Timestamp(0),
        nonce: Default::default(),
    };
    JournalEntry::Lease { terms, state, at: Timestamp(minute * MINUTE) }
}

fn at(minute: i64) -> Timestamp {
    Timestamp(minute * MINUTE)
}

fn minutes(parts: &[Part]) -> Vec<(Spent, u64)> {
    parts.iter().map(|part| (part.spent, part.ms / 60_000)).collect()
}

/// Two runs, the first of which went down without an end.
async fn two_runs(folder: &Path) -> Journal {
    let mut first = Journal::open(folder).await.unwrap();
    first.begin(at(0)).await.unwrap();
    let gpu = GpuUuid("GPU-0".into());
    let why = Some(WaitReason::NoDemand { vram_gib: 12 });
    for entry in [
        verdict(0, Some(BlockReason::UserHere { idle_ms: 1, needed_ms: 2 })),
        verdict(10, None),
        JournalEntry::Waiting { gpu, at: at(15), why },
        lease(20, LeaseState::Preparing),
        lease(21, LeaseState::Running),
        lease(51, LeaseState::Yielded),
        JournalEntry::GiveBack {
            lease: LeaseId("l".into()),
            at: at(51),
            took_us: 21_000,
            input_ms: Some(24),
        },
    ] {
        first.write(&entry).await.unwrap();
    }
    first.beat(at(55), false).await.unwrap();
    first.beat(at(75), true).await.unwrap();
    first.close().await;
    let mut second = Journal::open(folder).await.unwrap();
    second.begin(at(80)).await.unwrap();
    let ended = LeaseState::Ended { reason: EndReason::HostRestarted };
    let mode = GiveBack::Instant;
    let freed = JournalEntry::VramFree { lease: LeaseId("l".into()), at: at(81), took_ms: 640, mode };
    let entries = [lease(80, ended), freed, verdict(80, Some(BlockReason::TurnedOff))];
    for entry in entries {
        second.write(&entry).await.unwrap();
    }
    second
}

#[tokio::test]
async fn an_account_is_made_from_the_journal_across_runs_sleep_and_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let journal = two_runs(folder.path()).await;
    let all = journal.account(at(-10), at(90)).await.unwrap();
    let told = [
        (Spent::Earned, 30),
        (Spent::Frozen, 4),
        (Spent::Preparing, 1),
        (Spent::Waiting { why: None }, 5),
        (Spent::Waiting { why: Some(WaitReason::NoDemand { vram_gib: 12 }) }, 5),
        (Spent::Blocked { by: Block::UserHere }, 10),
        (Spent::Blocked { by: Block::TurnedOff }, 10),
        (Spent::NotRunning { why: Absence::Asleep }, 20),
        (Spent::NotRunning { why: Absence::Off }, 10),
        (Spent::NotRunning { why: Absence::Crashed }, 5),
    ];
    assert_eq!(minutes(&all.parts), told);
    // What held at the beginning of a span is found, whenever it began.
    for (since, until) in [(30, 40), (52, 54), (60, 70), (76, 79), (17, 19), (85, 90), (-9, -5)] {
        let part = journal.account(at(since), at(until)).await.unwrap();
        let whole = all.stretches.iter().find(|s| s.from <= at(since) && s.to >= at(until)).unwrap();
        assert_eq!(minutes(&part.parts), [(whole.spent, u64::try_from(until - since).unwrap())]);
    }
    let given = journal.give_backs(at(0), at(90)).await.unwrap();
    assert_eq!(
        (given[0].frozen_us, given[0].input_ms, given[0].vram_free_ms),
        (Some(21_000), Some(24), None)
    );
    assert_eq!((given[1].vram_free_ms, given[1].mode), (Some(640), Some(GiveBack::Instant)));
}

#[tokio::test]
async fn a_journal_without_a_host_is_read_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Journal::look_into(folder.path()).await.unwrap().is_none());
    let journal = two_runs(folder.path()).await;
    journal.end(at(90)).await.unwrap();
    journal.close().await;
    let journal = Journal::look_into(folder.path()).await.unwrap().unwrap();
    let later = journal.account(at(85), at(100)).await.unwrap();
    let told = [(Spent::Blocked { by: Block::TurnedOff }, 5), (Spent::NotRunning { why: Absence::Off }, 10)];
    assert_eq!(minutes(&later.parts), told);
    assert!(journal.write(&verdict(91, None)).await.is_err());
}

#[tokio::test]
async fn what_is_older_than_400_days_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let journal = two_runs(folder.path()).await;
    let later = at(5).plus_ms(KEPT_MS);
    journal.drop_old(later).await.unwrap();
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM verdicts").fetch_one(&journal.pool).await.unwrap();
    assert_eq!(kept, 2);
    journal.drop_old(later.plus_ms(3_600_000 * 2)).await.unwrap();
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM verdicts").fetch_one(&journal.pool).await.unwrap();
    assert_eq!(kept, 0);
}

/// 23, 24 and 25 hours, as the clock on the wall has it, and each adds up.
#[tokio::test]
async fn a_local_day_adds_up_whatever_the_clocks_do() {
    let folder = tempfile::tempdir().unwrap();
    let journal = two_runs(folder.path()).await;
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    for (day, hours) in [("2026-03-29", 23), ("2026-03-30", 24), ("2026-10-25", 25)] {
        let noon = day.parse::<jiff::civil::Date>().unwrap().at(12, 0, 0, 0);
        let noon = noon.to_zoned_datetime(zone.clone()).unwrap().timestamp().as_millisecond();
        let begins = midnight_in(zone.clone(), Timestamp(noon));
        let ends = midnight_in(zone.clone(), begins.plus_ms(26 * 3_600_000));
        let account = journal.account(begins, ends).await.unwrap();
        assert_eq!(account.parts.iter().map(|part| part.ms).sum::<u64>(), hours * 3_600_000, "{day}");
        assert_eq!((account.since, account.until), (begins, ends));
    }
}

#[tokio::test]
async fn a_check_is_a_part_of_the_night_that_counts_once_and_ends_with_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).await.unwrap();
    let proving = |minute, on| JournalEntry::Proving { gpu: GpuUuid("GPU-0".into()), at: at(minute), on };
    journal.begin(at(0)).await.unwrap();
    // Its owner comes back in the middle; the card is theirs once it is off it.
    let here = verdict(12, Some(BlockReason::UserHere { idle_ms: 1, needed_ms: 2 }));
    for entry in [verdict(0, None), proving(10, true), here, proving(13, false), verdict(20, None)] {
        journal.write(&entry).await.unwrap();
    }
    journal.write(&proving(30, true)).await.unwrap();
    journal.beat(at(31), false).await.unwrap();
    journal.close().await;
    let mut journal = Journal::open(folder.path()).await.unwrap();
    journal.begin(at(40)).await.unwrap();
    journal.write(&verdict(40, None)).await.unwrap();
    let whole = journal.account(at(0), at(50)).await.unwrap();
    let told = [
        (Spent::Proving, 4),
        (Spent::Waiting { why: None }, 30),
        (Spent::Blocked { by: Block::UserHere }, 7),
        (Spent::NotRunning { why: Absence::Crashed }, 9),
    ];
    assert_eq!(minutes(&whole.parts), told);
    let part = journal.account(at(11), at(12)).await.unwrap();
    assert_eq!(minutes(&part.parts), [(Spent::Proving, 1)], "what held at the beginning is found");
}
