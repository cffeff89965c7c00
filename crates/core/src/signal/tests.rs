use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;

fn sign(kind: SignalKind, source: &str, name: Option<&str>) -> Sign {
    let standing = match name {
        Some(name) => Standing::Seen { name: name.into() },
        None => Standing::Quiet,
    };
    Sign { kind, source: source.into(), standing }
}

fn rules(grace_ms: u64, linger_ms: u64) -> SignalRules {
    SignalRules { game: SignalRule::new(true, grace_ms, linger_ms), ..SignalRules::default() }
}

#[test]
fn a_sign_counts_after_its_grace_and_lingers() {
    let rules = rules(5_000, 10_000);
    let mut signs = Signs::default();
    let at = |signs: &mut Signs, now: i64| {
        signs.settle(&rules, 50, Timestamp(now));
        signs.counted(SignalKind::Game).map(|(name, until)| (name.to_owned(), until))
    };
    signs.take(sign(SignalKind::Game, "a", Some("Doom")));
    assert_eq!(at(&mut signs, 1_000), None);
    assert_eq!(signs.next_change(&rules), Some(Timestamp(6_000)));
    assert_eq!(at(&mut signs, 6_000), Some(("Doom".into(), None)));
    signs.take(sign(SignalKind::Game, "a", None));
    assert_eq!(at(&mut signs, 7_000), Some(("Doom".into(), Some(Timestamp(17_000)))));
    // Seen again while it lingers, it counts at once, without a second grace.
    signs.take(sign(SignalKind::Game, "b", Some("Quake")));
    assert_eq!(at(&mut signs, 8_000), Some(("Quake".into(), None)));
    signs.take(sign(SignalKind::Game, "b", None));
    at(&mut signs, 9_000);
    assert_eq!(at(&mut signs, 19_000), None);
    assert_eq!(signs.next_change(&rules), None);
}

#[test]
fn what_is_switched_off_does_not_count_and_what_cannot_be_seen_is_listed() {
    let mut rules = rules(0, 0);
    let mut signs = Signs::default();
    signs.take(sign(SignalKind::Game, "a", Some("Doom")));
    signs.take(Sign {
        kind: SignalKind::FullScreen,
        source: "x11".into(),
        standing: Standing::Unavailable { detail: "Wayland".into() },
    });
    signs.settle(&rules, 50, Timestamp(0));
    assert!(signs.counted(SignalKind::Game).is_some() && signs.counted(SignalKind::FullScreen).is_none());
    rules.game.on = false;
    signs.settle(&rules, 50, Timestamp(1));
    assert_eq!(signs.counted(SignalKind::Game), None);
    assert!(signs.is_seen(SignalKind::Game), "it does not count, and is there");
    assert!(!signs.is_seen(SignalKind::FullScreen) && !signs.is_seen(SignalKind::Controller));
    signs.take(sign(SignalKind::Game, "a", None));
    assert!(!signs.is_seen(SignalKind::Game));
    assert_eq!(signs.list().len(), 2);
}

#[test]
fn load_counts_from_its_threshold_and_falls_below_it_before_it_no_longer_does() {
    let rules = SignalRules { foreign_cpu: SignalRule::default(), ..SignalRules::default() };
    let mut signs = Signs::default();
    for (percent, counted) in [("49", false), ("50", true), ("41", true), ("39", false), ("45", false)] {
        signs.take(sign(SignalKind::ForeignCpu, "load", Some(percent)));
        signs.settle(&rules, 50, Timestamp(0));
        assert_eq!(signs.counted(SignalKind::ForeignCpu).is_some(), counted, "{percent}");
    }
}

proptest! {
    /// After time has passed every deadline, none is left in the past, however the sensors twitched.
    #[test]
    fn deadlines_lie_ahead(steps in prop::collection::vec((0_i64..20_000, any::<bool>(), 0_u8..2), 1..60)) {
        let rules = rules(3_000, 4_000);
        let mut signs = Signs::default();
        let mut now = 0;
        for (pause, seen, sensor) in steps {
            now += pause;
            signs.take(sign(SignalKind::Game, &sensor.to_string(), seen.then_some("Doom")));
            signs.settle(&rules, 50, Timestamp(now));
            if let Some(at) = signs.next_change(&rules) {
                prop_assert!(at > Timestamp(now));
            }
        }
    }
}
