//! A kernel without what the gateway's fence is made of is found out by the gateway's own image before any job, and said;
//! one that was mended lends again, and an image from before the question stands in nobody's way.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use nightjar_core::policy::{BlockReason, KernelHome, KernelPart, Verdict};
use nightjar_protocol::view::ViewModel;
use nightjar_testbed::engine::Engine;
use nightjar_testbed::host::quick_settings;
use nightjar_testbed::images::{Flavour, GATEWAY};
use nightjar_testbed::process::{LogsOfAFailure, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::{Stage, Wish};

const SOON: Duration = Duration::from_secs(60);
/// Another name for the one that is put away meanwhile.
const KEPT: &str = "nightjar/gateway:kept-by-a-test";

/// As the kernel says it through `tc` where it has no such queue.
const TC_WITHOUT_HTB: &str = "#!/bin/sh
batch=$(cat)
case $batch in *htb*) echo 'Error: Specified qdisc kind is unknown.' >&2; exit 2;; esac
printf '%s\\n' \"$batch\" | /usr/sbin/tc \"$@\"
";
/// Says what a programme of before the question says to it, and is else the one that is here.
const GUEST_OF_BEFORE: &str = "#!/bin/sh
case $1 in probe) echo 'usage' >&2; exit 2;; esac
exec /usr/local/bin/nightjar-guest \"$@\"
";

/// The gateway's image of the stage's Engine in another's place; it gets it back with the value's end. Should the whole
/// program be ended before, the other's mark makes the next stage build it anew.
struct Replaced<'a>(&'a Engine);

impl<'a> Replaced<'a> {
    fn begin(engine: &'a Engine) -> Self {
        engine.ask(["tag", GATEWAY, KEPT]).unwrap();
        Self(engine)
    }

    fn by(&self, stage: &Stage, path: &str, script: &str, last: &str) {
        let folder = stage.folder().join("gateway");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("script"), script).unwrap();
        let made = format!(
            "FROM {KEPT}\nCOPY script {path}\nRUN chmod 0755 {path}\nLABEL nightjar.inputs=of-a-test\n{last}\n"
        );
        std::fs::write(folder.join("Dockerfile"), made).unwrap();
        let mut build = self.0.docker(["build", "--quiet", "--network", "host", "--tag", GATEWAY]);
        let done = build.env("DOCKER_BUILDKIT", "0").arg(&folder).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn put_back(&self) {
        self.0.ask(["tag", KEPT, GATEWAY]).unwrap();
    }
}

impl Drop for Replaced<'_> {
    fn drop(&mut self) {
        let back = self.0.ask(["tag", KEPT, GATEWAY]).and_then(|_| self.0.ask(["rmi", KEPT]));
        if let Err(error) = back {
            eprintln!("the gateway's image is not where it was: {error:#}");
        }
    }
}

fn lacks_htb(view: &ViewModel) -> bool {
    let wanted = BlockReason::KernelLacks { parts: vec![KernelPart::Htb], home: KernelHome::Linux };
    view.cards.iter().all(
        |tile| matches!(&tile.card.verdict, Verdict::Blocked { reasons, .. } if reasons.contains(&wanted)),
    )
}

/// Of the containers that ask, none is left behind.
fn nothing_asks(stage: &Stage) {
    let asking = ["ps", "--all", "--quiet", "--filter", "label=nightjar.role=probe"];
    wait_for("nothing of the question is left", SOON, || {
        Ok(stage.engine.ask(asking)?.is_empty().then_some(()))
    })
    .unwrap();
}

#[test]
fn a_kernel_without_htb_lends_nothing_says_why_and_lends_once_it_is_mended() {
    let stage = Stage::set(&Wish::default(), &mut |step| println!("{step}")).unwrap();
    let _words = LogsOfAFailure(vec![stage.folder().join("host/host.log")]);
    let image = Flavour::Lite.catalogue_name();
    let gateway = Replaced::begin(&stage.engine);
    gateway.by(&stage, "/usr/local/sbin/tc", TC_WITHOUT_HTB, "");
    let (host, _) = stage.host("host", &quick_settings()).unwrap();
    let around = &host.around;
    wait_for("what the kernel lacks is said", SOON, || Ok(Some(around.view()?).filter(lacks_htb))).unwrap();
    wait_for("the owner is away, and the tray says it", SOON, || {
        Ok(around.view()?.sentence.contains("sch_htb").then_some(()))
    })
    .unwrap();
    let doctor = around.owner(&["doctor"]).unwrap_err().to_string();
    assert!(doctor.contains("sudo modprobe -a sch_htb") && doctor.contains("BAD"), "{doctor}");
    let renter = Renter::log_in(stage.folder(), &stage.market, "20.00").unwrap();
    let offers = renter.run(&["offers"]);
    assert!(offers.as_ref().map_or(true, |said| !said.contains(&image)), "{offers:?}");
    nothing_asks(&stage);

    gateway.put_back();
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok().filter(|said| said.contains(&image))))
        .unwrap();
    let found = around.check("kernel").unwrap();
    // What has a next best may be missing here.
    assert_ne!(found["standing"], "bad", "this kernel has what is needed: {found}");
    assert!(!found["sentence"].as_str().unwrap().contains("sch_htb"), "{found}");
    let lease = renter.rent(&image).unwrap();
    assert_eq!(renter.ssh(&lease, &["echo", "here"]).unwrap().trim(), "here");
    renter.run(&["stop", &lease, "--wait"]).unwrap();

    // A gateway from before the question has no answer to it, and serves all the same.
    let entry = "ENTRYPOINT [\"/usr/local/bin/guest-of-before\"]\nCMD [\"gateway\"]";
    gateway.by(&stage, "/usr/local/bin/guest-of-before", GUEST_OF_BEFORE, entry);
    wait_for("it is said that nobody knows", SOON, || {
        let found = around.check("kernel")?;
        Ok(found["sentence"].as_str().unwrap().contains("Not checked").then_some(()))
    })
    .unwrap();
    // It was withdrawn for the question.
    wait_for("an offer", SOON, || Ok(renter.run(&["offers"]).ok().filter(|said| said.contains(&image))))
        .unwrap();
    let lease = renter.rent(&image).unwrap();
    assert_eq!(renter.ssh(&lease, &["echo", "here"]).unwrap().trim(), "here");
    renter.run(&["stop", &lease, "--wait"]).unwrap();
    nothing_asks(&stage);
}
