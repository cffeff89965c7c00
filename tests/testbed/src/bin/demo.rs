//! `cargo xtask demo`: a rented night on this machine, with real times.

use std::process::ExitCode;

use nightjar_testbed::images::Flavour;
use nightjar_testbed::night::{self, Night};
use nightjar_testbed::stage::{Stage, Wish};
use nightjar_testbed::timeline::{Timeline, spell};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let mut timeline = Timeline::start(true);
    match demo(has("--full"), has("--desktop"), &mut timeline) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(full: bool, with_app: bool, timeline: &mut Timeline) -> anyhow::Result<()> {
    println!("A rented night on this machine: a market, a host and a renter, each a program of its own.\n");
    let flavour = if full { Flavour::Full } else { Flavour::Lite };
    let wish = Wish { flavour, real_cards: true, users_desktop: with_app, ..Wish::default() };
    let stage = Stage::set(&wish, &mut |step| timeline.note(step))?;
    if full && stage.cards.simulated().is_ok() {
        return night::refused_by_self_check(&stage, timeline);
    }
    let image = if full { "pytorch-cuda:full" } else { "pytorch-cuda:lite" };
    let night = night::play(&stage, image, with_app, timeline)?;
    drop(stage);
    let left = night::left_running()?;
    anyhow::ensure!(left.is_empty(), "still running: {left:?}");
    timeline.note("everything has ended; nothing is left running");
    print(&night);
    Ok(())
}

fn print(night: &Night) {
    println!("\n  card                      {}", night.device);
    println!("  rent to ready             {}", spell(night.rent_to_ready));
    println!("  SSH login and command     {}", spell(night.ssh_login));
    println!("  mouse to frozen           {}", spell(night.input_to_frozen));
    println!("  frozen, free of charge    {}", spell(night.frozen_for));
    println!("  paid time                 {:.3} s", night.running_ms as f64 / 1_000.0);
    println!("  renter paid               {}", night.charged);
    println!("  host earned               {}", night.host_earned);
}
