//! Dozens of ways out of the cage, none of which leads out; each is shown to, where the one fence against it is gone.

use nightjar_testbed::escapes::{self, Summary};
use nightjar_testbed::gvisor::Runsc;

/// As long as a person does not notice. What is measured is printed; that it is fast is a bench's business.
const ENGINE_ANSWERS_WITHIN_MS: f64 = 2_000.0;
/// A thread of the owner's that sleeps for 5 ms.
const WAKES_WITHIN_MS: f64 = 1_000.0;
/// A machine that itself stands still now and then is no doing of the tenants; one that does so all the time would be.
const STANDS_STILL_PERCENT: f64 = 10.0;

#[test]
fn no_way_out_of_the_cage() {
    if !is_root() {
        println!("skipped: a network of the test's own needs root");
        return;
    }
    let part = part();
    let summary = escapes::run(part.as_deref(), &mut |line| println!("{line}")).unwrap();
    tell(&summary);
    for skipped in &summary.skipped {
        println!("skipped, this kernel lacks it: {skipped}");
    }
    assert!(summary.blunt.is_empty(), "not shown to bite: {:#?}", summary.blunt);
    nobody_got_out(&summary, part.is_some());
}

#[test]
fn no_way_out_of_the_cage_in_gvisor() {
    if !is_root() {
        return println!("SKIPPED: a network of the test's own needs root");
    }
    let runsc = match Runsc::find() {
        Ok(runsc) => runsc,
        Err(why) => return println!("SKIPPED: {why}"),
    };
    let part = part();
    let summary = escapes::run_in_gvisor(&runsc, part.as_deref(), &mut |line| println!("{line}")).unwrap();
    tell(&summary);
    nobody_got_out(&summary, part.is_some());
}

/// One of them, or all: ESCAPES=dns cargo nextest run -E 'test(no_way_out)'
fn part() -> Option<String> {
    std::env::var("ESCAPES").ok().filter(|part| !part.is_empty())
}

fn tell(summary: &Summary) {
    println!(
        "\n{} tried, {} worked, {} skipped; meanwhile a thread of the PC woke {:.1} ms late at worst ({:.1} ms p99), the \
         Engine answered in {:.0} ms at worst ({:.0} ms p99); the machine itself stood still for {:.1} % of the time",
        summary.tried,
        summary.worked.len(),
        summary.skipped.len(),
        summary.host.wake_worst_ms,
        summary.host.wake_p99_ms,
        summary.host.engine_worst_ms,
        summary.host.engine_p99_ms,
        summary.host.stood_still_percent,
    );
}

fn nobody_got_out(summary: &Summary, is_part: bool) {
    assert!(summary.worked.is_empty(), "got out: {:#?}", summary.worked);
    assert!(is_part || summary.tried >= 40, "only {} were tried", summary.tried);
    assert_eq!(summary.host.unanswered, 0, "the Engine did not answer");
    assert!(summary.host.engine_worst_ms < ENGINE_ANSWERS_WITHIN_MS, "{:?}", summary.host);
    assert!(summary.host.wake_worst_ms < WAKES_WITHIN_MS, "{:?}", summary.host);
    assert!(is_part || summary.host.stood_still_percent < STANDS_STILL_PERCENT, "{:?}", summary.host);
}

fn is_root() -> bool {
    let said = nightjar_testbed::process::output(std::process::Command::new("id").arg("-u"));
    said.is_ok_and(|id| id.trim() == "0")
}
