//! What renters may keep here in all has a bound: who is new is refused beyond it before anything begins.

use super::sample::{card, driver, terms};
use super::*;
use crate::lease::LeaseTerms;
use crate::policy::Presence;
use crate::volume::{self, NoRoom, VolumeTerms};

const NOW: Timestamp = Timestamp(1_000_000_000);
const QUOTA_MIB: u64 = 100;

fn host(most_mib: u64) -> Host {
    let volume = VolumeTerms { quota_mib: QUOTA_MIB, ..VolumeTerms::default() };
    let mut host = Host::new(Settings { volume, volumes_most_mib: most_mib, ..Settings::default() });
    let images = vec!["pytorch-cuda:lite".into()];
    let runtime = Runtime::Ready { unsafe_versions: vec![], images, engine: Default::default() };
    let cards = vec![card("GPU-0"), card("GPU-1"), card("GPU-2")];
    for input in [
        Input::Gpus(GpuReport::Readings { driver: driver(), cards }),
        Input::Runtime(runtime),
        Input::Recovered(vec![]),
        Input::Presence(Presence::Idle { since: Timestamp(0) }),
        Input::Market(MarketInput::Connected),
    ] {
        host.handle(input, NOW);
    }
    host
}

/// What becomes of an offer by this renter: how much may be kept, or why it is refused.
fn offer(host: &mut Host, gpu: &str, renter: &str, asked_mib: u64) -> Result<u64, Option<NoRoom>> {
    let volume = VolumeTerms { quota_mib: asked_mib, ..VolumeTerms::default() };
    let terms = LeaseTerms { renter_key: key(renter), volume, ..terms(&format!("lease-{gpu}"), 1, gpu) };
    let effects = host.handle(Input::Market(MarketInput::Offer(Box::new(terms))), NOW);
    let became = effects.iter().find_map(|effect| match effect {
        Effect::Prepare { terms, .. } => Some(Ok(terms.volume.quota_mib)),
        Effect::Tell(Report::Declined { no_room, .. }) => Some(Err(*no_room)),
        _ => None,
    });
    became.unwrap()
}

fn key(renter: &str) -> String {
    renter.repeat(64)
}

#[test]
fn a_renter_who_is_new_is_refused_where_the_room_is_given_out_and_one_who_keeps_something_is_not() {
    let mut host = host(250);
    host.handle(Input::Volumes(vec![(volume::name(&key("a"), false), 60)]), NOW);
    assert_eq!(offer(&mut host, "GPU-0", "b", QUOTA_MIB), Ok(QUOTA_MIB));
    // The job that is held counts, although no volume of it was seen yet.
    let no_room = NoRoom { promised_mib: 160, most_mib: 250, asked_mib: QUOTA_MIB };
    assert_eq!(offer(&mut host, "GPU-1", "c", QUOTA_MIB), Err(Some(no_room)));
    assert_eq!(offer(&mut host, "GPU-1", "a", QUOTA_MIB), Ok(QUOTA_MIB));
    // Nobody who keeps nothing comes in between.
    host.handle(Input::Volumes(vec![(volume::name(&key("a"), false), 250)]), NOW);
    assert_eq!(offer(&mut host, "GPU-2", "d", 64).map_err(|no_room| no_room.is_some()), Err(true));
    // The same renter shares its volume.
    assert_eq!(offer(&mut host, "GPU-2", "b", QUOTA_MIB), Ok(QUOTA_MIB));
}

#[test]
fn the_room_of_one_renter_is_always_there_and_no_more_than_that_is_asked() {
    let mut host = host(64);
    assert_eq!(offer(&mut host, "GPU-0", "a", 9_000), Ok(QUOTA_MIB), "the owner's size counts");
    assert!(matches!(offer(&mut host, "GPU-1", "b", 1), Err(Some(_))));
}
