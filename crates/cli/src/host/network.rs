//! `nightjar network`: through the host that runs, else on its settings file.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use nightjar_core::network::{AtCap, NetworkSettings, Night, Rates};
use nightjar_core::settings::{EgressMode, Settings};
use nightjar_core::time::Timestamp;
use nightjar_protocol::control::ControlRequest;
use nightjar_protocol::network::{NetworkNote, spell_kbit, traffic_gb};
use serde_json::json;

use crate::failure::Failure;
use crate::moment;
use crate::output::Output;

use super::grip;
use super::network_arguments::{NetworkCommand, NetworkSet};
use super::schedule::{Keeper, keep, open, spelled};
use crate::arguments::OnOff;

/// # Errors
/// When the settings cannot be read or what was given is not taken.
pub async fn network(command: &NetworkCommand, output: Output) -> Result<(), Failure> {
    let place = match command {
        NetworkCommand::Show(place) => place,
        NetworkCommand::Set(set) => {
            let (mut settings, keeper) = open(&set.place).await?;
            settings.network = changed(&settings.network, set)?;
            keep(&settings, keeper).await?;
            &set.place
        }
    };
    let (settings, keeper) = open(place).await?;
    let note = match keeper {
        Keeper::Host(mut host, _) => Some(grip::view(host.ask(ControlRequest::Status).await?)?.network),
        Keeper::File(_) => None,
    };
    let words = words(&settings, note.as_ref(), moment::now(), &TimeZone::system());
    output.print(&json!({ "network": settings.network, "egress": settings.egress, "now": note }), &words)
}

/// What was given replaces what was there; the rest stays.
fn changed(before: &NetworkSettings, set: &NetworkSet) -> Result<NetworkSettings, Failure> {
    let mut network = *before;
    network.day.up_kbit = set.up.unwrap_or(network.day.up_kbit);
    network.day.down_kbit = set.down.unwrap_or(network.day.down_kbit);
    if set.no_night {
        network.night = None;
    }
    if let Some(hours) = set.night {
        let rates = network.night.map_or(network.day, |night| night.rates);
        network.night = Some(Night { hours, rates });
    }
    match &mut network.night {
        Some(night) => {
            night.rates.up_kbit = set.night_up.unwrap_or(night.rates.up_kbit);
            night.rates.down_kbit = set.night_down.unwrap_or(night.rates.down_kbit);
        }
        None if set.night_up.or(set.night_down).is_some() => {
            return Err(Failure::usage("no hours of the night are set")
                .advise("add --night, e.g. --night 23:00-07:00"));
        }
        None => {}
    }
    if let Some(automatic) = set.automatic {
        network.automatic = automatic == OnOff::On;
    }
    if set.no_cap {
        network.monthly_cap_mib = None;
    }
    network.monthly_cap_mib = set.cap.or(network.monthly_cap_mib);
    network.at_cap = set.at_cap.map_or(network.at_cap, AtCap::from);
    Ok(network)
}

fn both(rates: Rates) -> String {
    format!("{} up, {} down", spell_kbit(rates.up_kbit), spell_kbit(rates.down_kbit))
}

fn words(settings: &Settings, note: Option<&NetworkNote>, now: Timestamp, zone: &TimeZone) -> String {
    let network = &settings.network;
    let mut text = format!("day        {}", both(network.day));
    match network.night {
        Some(night) => drop(write!(text, "\nnight      {}, {}", both(night.rates), night.hours)),
        None => text.push_str("\nnight      as by day"),
    }
    let _ = write!(text, "\nautomatic  {}", if network.automatic { "on" } else { "off" });
    match network.monthly_cap_mib {
        Some(cap) => {
            let then = if network.at_cap == AtCap::Stop { "jobs end" } else { "the job that runs goes on" };
            let _ =
                write!(text, "\ncap        {} GB a month; then {then}, and no other begins", traffic_gb(cap));
        }
        None => text.push_str("\ncap        none"),
    }
    let reach = match settings.egress {
        EgressMode::Off => "nothing",
        EgressMode::Curated => "package indexes, model hubs, code hosts and object stores",
        EgressMode::Open => "the public internet",
    };
    let _ = write!(text, "\nreach      {reach}");
    let standing = network.standing_at(now, zone);
    let _ = match (standing.at_night, standing.changes_at) {
        (_, None) => write!(text, "\n\nnow        {}", both(standing.limits)),
        (true, Some(at)) => write!(text, "\n\nnow        night, until {}", spelled(at, zone)),
        (false, Some(at)) => write!(text, "\n\nnow        day, until {}", spelled(at, zone)),
    };
    if let Some(note) = note {
        text.push_str(&present(note, zone));
    }
    text
}

fn present(note: &NetworkNote, zone: &TimeZone) -> String {
    let mut text = format!("\nallowed    {}", both(note.in_force));
    match note.carried {
        Some(carried) => drop(write!(text, "\ncarried    {}", both(carried))),
        None => text.push_str("\ncarried    nothing: no job has the network"),
    }
    if let Some(sample) = note.samples.last() {
        let ms = |us: u64| format!("{}.{}", us / 1_000, us % 1_000 / 100);
        let _ =
            write!(text, "\nping       {} ms, {} over the idle line", ms(sample.rtt_us), ms(sample.added_us));
    }
    if let Some(cap) = &note.cap {
        let _ = write!(text, "\nmonth      {}", cap.sentence);
        if let Some(at) = cap.resets_at {
            let _ = write!(text, "\nanew       {}", spelled(at, zone));
        }
    }
    for sentence in note.automatic_sentence.iter().chain(&note.measured) {
        let _ = write!(text, "\n{sentence}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_changed_and_the_rest_stays() {
        let first = NetworkSet { up: Some(10_000), cap: Some(500_000), ..NetworkSet::default() };
        let network = changed(&NetworkSettings::default(), &first).unwrap();
        assert_eq!((network.day.up_kbit, network.day.down_kbit), (10_000, 50_000));
        let hours = Some("23:00-07:00".parse().unwrap());
        let second = NetworkSet { night: hours, night_down: Some(200_000), ..NetworkSet::default() };
        let network = changed(&network, &second).unwrap();
        let night = network.night.unwrap();
        assert_eq!((night.rates.up_kbit, night.rates.down_kbit), (10_000, 200_000));
        let third =
            NetworkSet { no_night: true, no_cap: true, automatic: Some(OnOff::On), ..NetworkSet::default() };
        let network = changed(&network, &third).unwrap();
        assert_eq!((network.night, network.monthly_cap_mib, network.automatic), (None, None, true));
        let without = NetworkSet { night_up: Some(1_000), ..NetworkSet::default() };
        assert!(changed(&network, &without).is_err());
    }

    #[test]
    fn it_is_shown_in_words() {
        let set = NetworkSet {
            night: Some("23:00-07:00".parse().unwrap()),
            cap: Some(512_000),
            at_cap: Some(super::super::network_arguments::CapChoice::Stop),
            ..NetworkSet::default()
        };
        let network = changed(&NetworkSettings::default(), &set).unwrap();
        let settings = Settings { network, ..Settings::default() };
        insta::assert_snapshot!("network", words(&settings, None, Timestamp(0), &TimeZone::UTC));
    }
}
