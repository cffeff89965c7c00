//! One image of a kind of work that is lent, refused by the owner: from the command line to what a renter can have.

use std::time::Duration;

use nightjar_core::host::HostState;
use nightjar_core::settings::Settings;
use nightjar_testbed::host::quick_settings;
use nightjar_testbed::process::wait_for;
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(60);
const IMAGE: &str = "pytorch-cuda:lite";

#[test]
fn a_refused_image_is_not_to_be_had_and_whoever_has_it_keeps_it() {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let settings = Settings { idle_after_ms: 1_000, ..quick_settings() };
    let (host, _accepted) = stage.host("host", &settings).unwrap();
    let watch = host.watch().unwrap();
    watch.until("the desktop is idle", SOON, |view| view.state == HostState::Waiting).unwrap();
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    let offered = |wanted: bool| {
        wait_for("what is offered", SOON, || {
            let said = renter.run(&["offers", "--image", IMAGE]).unwrap_or_default();
            Ok((said.contains(IMAGE) == wanted).then_some(()))
        })
    };
    offered(true).unwrap();
    let lease = renter.rent(IMAGE).unwrap();
    renter.ssh(&lease, &["true"]).unwrap();

    let said = host.around.owner(&["images", "lend", "--refuse", IMAGE]).unwrap();
    let line = said.lines().find(|line| line.contains(IMAGE)).unwrap();
    assert!(line.contains("no: refused"), "{said}");
    assert_eq!(host.around.view().unwrap().lent_images, Vec::<String>::new());
    renter.ssh(&lease, &["true"]).unwrap();
    renter.run(&["stop", &lease, "--wait"]).unwrap();
    // There was no other image: the owner is told what that comes to.
    watch
        .until("the owner is told", SOON, |view| {
            view.state == HostState::Yours && view.sentence.contains("none of the images")
        })
        .unwrap();
    offered(false).unwrap();
    let refused = renter.rent(IMAGE).unwrap_err().to_string();
    println!("{refused}");

    let typing_error = host.around.owner(&["images", "lend", "--allow", "pytorch-cuda:light"]).unwrap_err();
    assert!(typing_error.to_string().contains("the catalogue has no image"), "{typing_error}");
    host.around.owner(&["images", "lend", "--allow", IMAGE]).unwrap();
    assert_eq!(host.around.view().unwrap().lent_images, [IMAGE]);
    offered(true).unwrap();
    let lease = renter.rent(IMAGE).unwrap();
    renter.run(&["stop", &lease, "--wait"]).unwrap();
}
