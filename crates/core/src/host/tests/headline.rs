//! What the one sentence speaks of, on a PC with several cards.

use super::*;
use crate::policy::BlockReason;
use crate::settings::CardRule;

/// A card as its owner has it.
#[derive(Clone, Copy, Debug)]
struct Kept {
    lent: bool,
    hot: bool,
    /// The desktop is on another one, and it may go on while the owner is there.
    apart: bool,
}

fn kept() -> impl Strategy<Value = Kept> {
    any::<(bool, bool, bool)>().prop_map(|(lent, hot, apart)| Kept { lent, hot, apart })
}

/// The host of a PC with these cards, idle for long or with its owner there.
fn host_of(cards: &[Kept], owner_is_there: bool) -> World {
    let mut world = World::new();
    let uuid = |number: usize| GpuUuid(format!("GPU-{number}"));
    let rule = |card: &Kept| CardRule { lend: card.lent, while_here: card.apart };
    let rules = cards.iter().enumerate().map(|(number, card)| (uuid(number), rule(card)));
    let settings = Settings { cards: rules.collect(), ..Settings::default() };
    let ceiling = f64::from(settings.temperature_ceiling_celsius);
    world.input(Input::User(UserCommand::Save { settings: Box::new(settings), base: None }));
    let reading = |(number, kept): (usize, &Kept)| {
        let mut reading = card(&uuid(number).0);
        reading.display_attached = Some(!kept.apart);
        reading.temperature_celsius = Some(if kept.hot { ceiling + 5.0 } else { 45.0 });
        reading
    };
    let readings = cards.iter().enumerate().map(reading).collect();
    world.input(Input::Gpus(GpuReport::Readings { driver: driver(), cards: readings }));
    if owner_is_there {
        world.put(Step::Active);
    }
    world
}

proptest! {
    #[test]
    fn the_trouble_of_a_lent_card_is_told_whatever_the_others_are(
        cards in prop::collection::vec(kept(), 1..5),
        owner_is_there in any::<bool>(),
    ) {
        let world = host_of(&cards, owner_is_there);
        let view = world.host.view(world.now);
        let blocked = |card: &&Kept| card.hot || (owner_is_there && !card.apart);
        let lent: Vec<&Kept> = cards.iter().filter(|card| card.lent).collect();
        if lent.is_empty() {
            prop_assert_eq!((view.state, &view.reason), (HostState::Yours, &Some(BlockReason::CardNotLent)));
        } else if !lent.iter().all(blocked) {
            prop_assert_eq!((view.state, &view.reason), (HostState::Waiting, &None));
        } else if lent.iter().any(|card| card.hot) {
            prop_assert_eq!(view.state, HostState::Trouble);
            prop_assert!(view.reason.as_ref().is_some_and(BlockReason::is_trouble), "{:?}", view.reason);
        } else {
            prop_assert_eq!(view.state, HostState::Yours);
            prop_assert!(matches!(view.reason, Some(BlockReason::UserHere { .. })), "{:?}", view.reason);
        }
        // When that changes is said of the same card.
        let is_its = |card: &CardView| matches!(&card.verdict, Verdict::Blocked { reasons, next_change }
            if view.reason.as_ref().is_some_and(|reason| reasons.contains(reason)) && *next_change == view.next_change);
        prop_assert!(view.reason.is_none() || view.cards.iter().any(is_its), "{:?}", view.next_change);
    }
}
