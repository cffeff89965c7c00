//! The whole thread, on real parts.

use std::time::Duration;

use nightjar_testbed::night;
use nightjar_testbed::stage::{Stage, Wish};
use nightjar_testbed::timeline::Timeline;

#[test]
fn a_rented_night() {
    let wish = Wish { simulated_cards: "rtx4090,rtx3060".into(), ..Wish::default() };
    let stage = Stage::set(&wish, &mut |step| println!("{step}")).unwrap();
    let night = night::play(&stage, "pytorch-cuda:lite", false, &mut Timeline::start(true)).unwrap();
    // The cheapest that is enough: of two cards at one price the smaller.
    assert_eq!(night.device, "NVIDIA GeForce RTX 3060 (simulated)");
    // How fast is the bench's to say; that it is no matter of luck is asserted here.
    assert!(night.input_to_frozen < Duration::from_secs(2), "{:?}", night.input_to_frozen);
    assert!(night.frozen_for > Duration::from_secs(1));
    drop(stage);
    assert_eq!(night::left_running().unwrap(), Vec::<String>::new());
}
