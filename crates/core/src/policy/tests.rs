use super::*;
use crate::gpu::DriverInfo;
use crate::settings::GiveBack;
use crate::signal::{Sign, Standing};

const NOW: Timestamp = Timestamp(1_000_000_000);

fn idle_pc() -> (Snapshot, GpuReading) {
    let card = crate::host::sample::card("GPU-0");
    let snapshot = Snapshot {
        presence: Presence::Idle { since: Timestamp(0) },
        runtime: Runtime::Ready { unsafe_versions: vec![], images: vec![], engine: Default::default() },
        market: Market::Connected,
        driver: Some(DriverInfo { version: "550.54.14".into(), cuda: None }),
        ..Snapshot::default()
    };
    (snapshot, card)
}

fn verdict(snapshot: &Snapshot, card: Option<&GpuReading>) -> Verdict {
    decide(snapshot, &Settings::default(), &Overrides::default(), card, None, Job::None, NOW)
}

#[test]
fn an_idle_pc_earns_and_all_reasons_are_told_at_once() {
    let (mut snapshot, mut card) = idle_pc();
    assert_eq!(verdict(&snapshot, Some(&card)), Verdict::Earn);
    snapshot.presence = Presence::Idle { since: Timestamp(NOW.0 - 120_000) };
    snapshot.signs.take(Sign {
        kind: SignalKind::Game,
        source: "test".into(),
        standing: Standing::Seen { name: "Factorio".into() },
    });
    snapshot.signs.settle(&Settings::default().signals, 50, NOW);
    snapshot.driver = Some(DriverInfo { version: "470.82".into(), cuda: None });
    card.temperature_celsius = Some(91.2);
    let Verdict::Blocked { reasons, next_change } = verdict(&snapshot, Some(&card)) else {
        panic!("must be blocked")
    };
    assert_eq!(
        reasons,
        [
            BlockReason::GameRunning { name: "Factorio".into() },
            BlockReason::UserHere { idle_ms: 120_000, needed_ms: 600_000 },
            BlockReason::TooHot { celsius: 92, ceiling_celsius: 83 },
            BlockReason::DriverTooOld { found: "470.82".into(), needed: 525 },
        ]
    );
    assert_eq!(next_change, Some(Timestamp(NOW.0 + 480_000)));
}

#[test]
fn without_the_gateways_image_no_job_begins_and_none_ends() {
    let (mut snapshot, card) = idle_pc();
    for (gateway, wanted) in [
        (GatewayImage::Coming, BlockReason::GatewayComing),
        (
            GatewayImage::Missing { reference: "g:1".into() },
            BlockReason::NoGateway { reference: "g:1".into() },
        ),
    ] {
        let engine = EngineFacts { gateway, ..EngineFacts::default() };
        snapshot.runtime = Runtime::Ready { unsafe_versions: vec![], images: vec![], engine };
        let said = verdict(&snapshot, Some(&card));
        assert_eq!(said.impact(GiveBack::Instant), Some(Impact::HoldNew));
        assert_eq!(said, Verdict::Blocked { reasons: vec![wanted.clone()], next_change: None });
        assert!(!crate::images::holds_pulls(&wanted), "it would never come");
    }
    let engine = EngineFacts { gateway: GatewayImage::Coming, ..EngineFacts::default() };
    snapshot.runtime = Runtime::Ready { unsafe_versions: vec![], images: vec![], engine };
    let (why, again_at) =
        (crate::images::ImageTrouble::Refused { detail: "403".into() }, NOW.plus_ms(60_000));
    snapshot.gateway_failure = Some(GatewayFailure { why: why.clone(), again_at });
    let said = verdict(&snapshot, Some(&card));
    let wanted = BlockReason::GatewayFailed { why, again_at };
    assert!(!crate::images::holds_pulls(&wanted) && wanted.is_trouble());
    assert_eq!(said, Verdict::Blocked { reasons: vec![wanted], next_change: None });
    assert_eq!(said.impact(GiveBack::Instant), Some(Impact::HoldNew));
}

#[test]
fn a_kernel_that_has_no_fence_lends_nothing_and_ends_nothing_and_one_that_was_not_asked_is_trusted() {
    let (mut snapshot, card) = idle_pc();
    let told = |lacks: &[KernelPart]| KernelFacts::Told { lacks: lacks.to_vec(), home: KernelHome::Wsl };
    let lacks_htb = BlockReason::KernelLacks { parts: vec![KernelPart::Htb], home: KernelHome::Wsl };
    for (kernel, wanted) in [
        (KernelFacts::Unasked, None),
        (KernelFacts::Asking, Some(BlockReason::KernelAsked)),
        (told(&[KernelPart::Ifb, KernelPart::FqCodel]), None),
        (told(&[KernelPart::Htb, KernelPart::Ifb]), Some(lacks_htb)),
    ] {
        let engine = EngineFacts { kernel, ..EngineFacts::default() };
        snapshot.runtime = Runtime::Ready { unsafe_versions: vec![], images: vec![], engine };
        let said = verdict(&snapshot, Some(&card));
        let Some(wanted) = wanted else {
            assert_eq!(said, Verdict::Earn);
            continue;
        };
        assert_eq!(said, Verdict::Blocked { reasons: vec![wanted.clone()], next_change: None });
        assert_eq!(said.impact(GiveBack::Instant), Some(Impact::HoldNew), "one that runs has what it needs");
        assert!(!crate::images::holds_pulls(&wanted), "another gateway may know better");
        assert_eq!(wanted.is_trouble(), wanted != BlockReason::KernelAsked);
        assert!(
            matches!(wanted.unnamed(), BlockReason::NoDocker { .. }),
            "earlier markets know no such word"
        );
    }
}

#[test]
fn the_disk_with_the_least_room_counts_and_is_named() {
    let mut host = crate::host::Host::new(Settings::default());
    let disk = crate::host::sample::disk;
    host.handle(crate::host::Input::Disks(vec![disk("/home", 900_000), disk("/var/lib/docker", 9_000)]), NOW);
    let (mut snapshot, card) = idle_pc();
    snapshot.disk.clone_from(&host.snapshot().disk);
    let low = BlockReason::DiskLow { free_mib: 9_000, needed_mib: 10_240, folder: "/var/lib/docker".into() };
    let said = verdict(&snapshot, Some(&card));
    // A renter who comes anew gets no volume there.
    assert_eq!(said.impact(GiveBack::Instant), Some(Impact::HoldNew));
    assert_eq!(said, Verdict::Blocked { reasons: vec![low], next_change: None });
    // Files without number, in the other file system than the one with the least room.
    for (free, impact) in [(49_999, Some(Impact::HoldNew)), (24_999, Some(Impact::Evict)), (50_000, None)] {
        let crowded = crate::policy::DiskSpace { free_files: Some(free), ..disk("/home", 900_000) };
        host.handle(crate::host::Input::Disks(vec![crowded, disk("/var/lib/docker", 90_000)]), NOW);
        let (mut crowded, card) = idle_pc();
        crowded.files.clone_from(&host.snapshot().files);
        assert_eq!(verdict(&crowded, Some(&card)).impact(GiveBack::Instant), impact, "{free}");
    }
    host.handle(crate::host::Input::Disks(vec![disk("/var/lib/docker", 9_000)]), NOW);
    // One look at nothing changes nothing.
    host.handle(crate::host::Input::Disks(Vec::new()), NOW);
    assert_eq!(host.snapshot().disk, snapshot.disk);
    host.handle(
        crate::host::Input::Disks(vec![disk("/home", 900_000), disk("/var/lib/docker", 10_240)]),
        NOW,
    );
    snapshot.disk.clone_from(&host.snapshot().disk);
    assert_eq!(verdict(&snapshot, Some(&card)), Verdict::Earn);
}

#[test]
fn an_accepted_version_no_longer_blocks() {
    let (mut snapshot, card) = idle_pc();
    let version = UnsafeVersion {
        component: "runc".into(),
        found: "1.1.5".into(),
        floor: "1.3.6".into(),
        advisory: "CVE-2026-41579".into(),
    };
    snapshot.runtime =
        Runtime::Ready { unsafe_versions: vec![version], images: vec![], engine: Default::default() };
    assert_eq!(verdict(&snapshot, Some(&card)).impact(GiveBack::Instant), Some(Impact::HoldNew));
    let settings = Settings { accepted_versions: vec!["runc 1.1.5".into()], ..Settings::default() };
    let with = decide(&snapshot, &settings, &Overrides::default(), Some(&card), None, Job::None, NOW);
    assert_eq!(with, Verdict::Earn);
}

#[test]
fn without_a_presence_sensor_nothing_is_lent_unless_the_owner_says_so() {
    let (mut snapshot, card) = idle_pc();
    snapshot.presence = Presence::Unknown { detail: "no display".into() };
    assert_eq!(verdict(&snapshot, Some(&card)).impact(GiveBack::Instant), Some(Impact::Freeze));
    let settings = Settings { without_presence: true, ..Settings::default() };
    let with = decide(&snapshot, &settings, &Overrides::default(), Some(&card), None, Job::None, NOW);
    assert_eq!(with, Verdict::Earn);
}

#[test]
fn a_stranger_on_the_card_is_named_and_takes_it() {
    let (snapshot, card) = idle_pc();
    let with = |stranger| {
        let (settings, overrides) = (Settings::default(), Overrides::default());
        decide(&snapshot, &settings, &overrides, Some(&card), stranger, Job::None, NOW)
    };
    let Verdict::Blocked { reasons, .. } = with(Some("factorio")) else { panic!("not blocked") };
    assert_eq!(reasons, [BlockReason::GpuBusy { process: "factorio".into() }]);
    assert_eq!(with(Some("factorio")).impact(GiveBack::default()), Some(Impact::Evict));
    assert_eq!(with(None), Verdict::Earn);
}

#[test]
fn a_month_that_is_used_up_holds_new_jobs_and_ends_one_only_where_the_owner_said_so() {
    let (mut snapshot, card) = idle_pc();
    let until = NOW.plus_ms(3_600_000);
    let impact = |snapshot: &Snapshot, at_cap| {
        let mut settings = Settings::default();
        (settings.network.monthly_cap_mib, settings.network.at_cap) = (Some(1_000), at_cap);
        let found = decide(snapshot, &settings, &Overrides::default(), Some(&card), None, Job::Held, NOW);
        if let Verdict::Blocked { next_change, .. } = &found {
            assert_eq!(*next_change, Some(until));
        }
        found.impact(GiveBack::Instant)
    };
    snapshot.data_used = Some(((1_000 << 20) - 1, until));
    assert_eq!(impact(&snapshot, AtCap::Stop), None);
    snapshot.data_used = Some((1_000 << 20, until));
    assert_eq!(impact(&snapshot, AtCap::Stop), Some(Impact::Evict));
    assert_eq!(impact(&snapshot, AtCap::Finish), Some(Impact::HoldNew));
    assert_eq!(verdict(&snapshot, Some(&card)), Verdict::Earn, "without a cap nothing is counted against it");
}

/// Signs that are seen now, and count at once under these settings.
fn see(snapshot: &mut Snapshot, settings: &Settings, signs: &[(SignalKind, &str)]) {
    for (kind, name) in signs {
        let standing = Standing::Seen { name: (*name).into() };
        snapshot.signs.take(Sign { kind: *kind, source: "test".into(), standing });
    }
    snapshot.signs.settle(&settings.signals, settings.cpu_busy_percent, NOW);
}

#[test]
fn another_account_at_the_pc_is_somebody_here_although_ours_is_locked_and_without_input() {
    let (mut snapshot, mut card) = idle_pc();
    let settings = Settings::default();
    see(&mut snapshot, &settings, &[(SignalKind::ScreenLocked, "screen"), (SignalKind::OtherAccount, "ben")]);
    let ben = BlockReason::OtherAccount { name: "ben".into() };
    let said = verdict(&snapshot, Some(&card));
    assert_eq!(said, Verdict::Blocked { reasons: vec![ben.clone()], next_change: None });
    for give_back in [GiveBack::Instant, GiveBack::Friendly, GiveBack::Share] {
        assert_eq!(said.impact(give_back), Some(Impact::Freeze), "{give_back:?}");
    }
    assert!(crate::images::holds_pulls(&ben), "it is their line too");
    assert!(matches!(ben.unnamed(), BlockReason::UserHere { .. }), "earlier markets know no such word");
    // A frozen tenant's memory must leave this desktop enough, as it must leave the owner's.
    card.vram_used_bytes = card.vram_total_bytes;
    let held = decide(&snapshot, &settings, &Overrides::default(), Some(&card), None, Job::Held, NOW);
    assert_eq!(held.impact(GiveBack::Instant), Some(Impact::Evict));
}

#[test]
fn a_screen_that_a_switch_of_users_locked_shortens_no_wait() {
    let mut settings = Settings::default();
    settings.signals.other_account.on = false;
    let (mut snapshot, card) = idle_pc();
    let idle_ms = i64::try_from(settings.locked_idle_after_ms).unwrap();
    snapshot.presence = Presence::Idle { since: Timestamp(NOW.0 - idle_ms) };
    let said = |snapshot: &Snapshot| {
        decide(snapshot, &settings, &Overrides::default(), Some(&card), None, Job::None, NOW)
    };
    see(&mut snapshot, &settings, &[(SignalKind::ScreenLocked, "screen")]);
    assert_eq!(said(&snapshot), Verdict::Earn, "whoever locked it has left");
    // Also where the owner does not count it as use: it is no sign of absence for that.
    see(&mut snapshot, &settings, &[(SignalKind::OtherAccount, "ben")]);
    let here =
        BlockReason::UserHere { idle_ms: settings.locked_idle_after_ms, needed_ms: settings.idle_after_ms };
    assert_eq!(said(&snapshot).reasons(), [here]);
}

#[test]
fn earning_until_the_owner_is_back_waits_for_another_account_and_earning_for_a_time_does_not() {
    let (mut snapshot, card) = idle_pc();
    let settings = Settings::default();
    snapshot.presence = Presence::Active { since: NOW };
    let said = |snapshot: &Snapshot, until_back| {
        let earn_now = Some(EarnNow { until: NOW.plus_ms(3_600_000), until_back, has_left: false });
        let overrides = Overrides { earn_now, ..Overrides::default() };
        decide(snapshot, &settings, &overrides, Some(&card), None, Job::None, NOW)
    };
    for until_back in [true, false] {
        assert_eq!(said(&snapshot, until_back), Verdict::Earn, "whoever pressed it is still there");
    }
    see(&mut snapshot, &settings, &[(SignalKind::OtherAccount, "ben")]);
    assert_eq!(said(&snapshot, true).reasons(), [BlockReason::OtherAccount { name: "ben".into() }]);
    assert_eq!(said(&snapshot, false), Verdict::Earn);
    // Hours that count even if somebody is here count for everybody.
    snapshot.schedule.state = crate::schedule::ScheduleState::Open { closes_at: None, even_if_here: true };
    assert_eq!(said(&snapshot, true), Verdict::Earn);
}
