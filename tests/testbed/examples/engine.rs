//! A private Engine to try things on by hand: `cargo run -p nightjar-testbed --example engine [lite|full|base|none]`.
//! It prints the Engine's address and runs until its standard input ends.

use std::io::Read;

use anyhow::bail;
use nightjar_testbed::base::ensure_base;
use nightjar_testbed::engine::{Engine, EngineOptions};
use nightjar_testbed::images::{self, Flavour};

fn main() -> anyhow::Result<()> {
    let engine = Engine::start(EngineOptions::cached())?;
    let told: &mut dyn FnMut(&str) = &mut |step| eprintln!("{step}");
    let wish = std::env::args().nth(1).unwrap_or_else(|| "lite".to_owned());
    match wish.as_str() {
        "none" => {}
        "base" => ensure_base(&engine, told)?,
        "lite" | "full" => {
            images::gateway(&engine, told)?;
            let flavour = if wish == "full" { Flavour::Full } else { Flavour::Lite };
            images::pytorch_cuda(&engine, flavour, told)?;
        }
        _ => bail!("\"{wish}\" is none of lite, full, base, none"),
    }
    println!("{}", engine.address());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    engine.stop()
}
