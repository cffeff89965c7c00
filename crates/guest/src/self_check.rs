//! Does the card compute? The same steps on every machine, through the CUDA driver that the loader finds.

mod matmul;
mod measure;
mod steps;

use std::path::Path;
use std::process::ExitCode;

use nightjar_core::proof::Nonce;
use nightjar_protocol::guest::SelfCheck;

use crate::shared_folder;

/// Where a worker's login shell finds what card it has.
const CARD_FILE: &str = "/run/nightjar/card";

/// What is asked of the card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub json: bool,
    /// Lowest version of NVIDIA's driver.
    pub min_driver: Option<String>,
    /// How many cards there have to be.
    pub devices: u32,
    /// The card that was rented.
    pub uuid: Option<String>,
    /// The market's question, from which the matrices are made; with it the card is measured too.
    pub nonce: Option<Nonce>,
}

/// Exit code 0: it passed, 1: it did not, 2: usage.
pub fn run(arguments: &[String]) -> ExitCode {
    let wish = match parse(arguments) {
        Ok(wish) => wish,
        Err(why) => {
            eprintln!("self-check: {why}");
            return ExitCode::from(2);
        }
    };
    let result = steps::check(&wish);
    if wish.json {
        match serde_json::to_string(&result) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("self-check: {error}"),
        }
    } else {
        print!("{}", in_words(&result));
    }
    note_card(&result);
    if result.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(arguments: &[String]) -> Result<Wish, String> {
    let mut wish = Wish { json: false, min_driver: None, devices: 1, uuid: None, nonce: None };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{name} wants a value"));
        match name.as_str() {
            "--json" => wish.json = true,
            "--min-driver" => wish.min_driver = Some(value()?.clone()),
            "--nonce" => {
                let nonce = Nonce(value()?.clone());
                if !nonce.is_whole() {
                    return Err(format!("{:?} is no number of 32 hexadecimal digits", nonce.0));
                }
                wish.nonce = Some(nonce);
            }
            "--uuid" => wish.uuid = Some(value()?.clone()),
            "--devices" => {
                let text = value()?;
                wish.devices = text.parse().map_err(|_| format!("{text:?} is no number of devices"))?;
            }
            _ => return Err(format!("{name:?} is none of --json, --min-driver, --devices, --uuid, --nonce")),
        }
    }
    Ok(wish)
}

fn in_words(result: &SelfCheck) -> String {
    let mut text = String::new();
    for step in &result.steps {
        let mark = if step.passed { "ok  " } else { "FAIL" };
        let error = step.error.as_deref().map(|error| format!(" [{error}]")).unwrap_or_default();
        text.push_str(&format!("{mark} {:<15} {}{error} ({} ms)\n", step.step, step.detail, step.took_ms));
    }
    text
}

/// Outside of a worker there is no such folder, and nothing is written.
fn note_card(result: &SelfCheck) {
    let cards = result.devices.iter().map(|device| match device.memory_mib {
        Some(memory_mib) => format!("Card: {} ({memory_mib} MiB)\n", device.name),
        None => format!("Card: {}\n", device.name),
    });
    let _ = shared_folder::write(Path::new(CARD_FILE), &cards.collect::<String>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read() {
        let nonce = Nonce::of([0xab; 16]);
        let words =
            ["--json", "--min-driver", "525", "--devices", "2", "--nonce", &nonce.0].map(str::to_owned);
        let min_driver = Some("525".to_owned());
        let expected = Wish { json: true, min_driver, devices: 2, uuid: None, nonce: Some(nonce) };
        assert_eq!(parse(&words), Ok(expected));
        assert!(parse(&["--nonce".to_owned(), "ff".to_owned()]).is_err());
        assert!(parse(&["--devices".to_owned(), "x".to_owned()]).is_err());
        assert!(parse(&["--min-driver".to_owned()]).is_err());
        assert!(parse(&["--frobnicate".to_owned()]).is_err());
    }
}
