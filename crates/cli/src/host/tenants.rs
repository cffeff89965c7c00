//! `nightjar tenants`: what a renter may be and reach on this PC.

use nightjar_core::conduct::MinerRule;
use nightjar_core::settings::{EgressMode, Settings};
use nightjar_protocol::control::{ControlAnswer, ControlRequest};
use serde_json::json;

use crate::arguments::OnOff;
use crate::failure::Failure;
use crate::moment::clock;
use crate::output::{Output, Table, printable};
use crate::quantity::{spell_mib, spell_ms};
use crate::renter::show::{encrypted, most};

use super::grip::Grip;
use super::schedule::{keep, open};
use super::tenants_arguments::{Miners, Network, Tenants};

/// # Errors
/// When the settings cannot be read, or what was given is not taken.
pub async fn tenants(arguments: &Tenants, output: Output) -> Result<(), Failure> {
    if arguments.volumes || arguments.wipe.is_some() {
        return volumes(arguments, output).await;
    }
    let (mut settings, keeper) = open(&arguments.place).await?;
    let before = settings.clone();
    if let Some(root) = arguments.root_inside {
        settings.root_inside = root == OnOff::On;
    }
    if let Some(network) = arguments.network {
        settings.egress = match network {
            Network::Off => EgressMode::Off,
            Network::Curated => EgressMode::Curated,
            Network::Open => EgressMode::Open,
        };
    }
    if let Some(miners) = arguments.miners {
        settings.miners = match miners {
            Miners::Tell => MinerRule::Tell,
            Miners::Stop => MinerRule::Stop,
            Miners::Allow => MinerRule::Allow,
        };
    }
    if let Some(quota_mib) = arguments.volume_size {
        settings.volume.quota_mib = quota_mib;
    }
    if let Some(keep_ms) = arguments.keep_volumes {
        settings.volume.keep_ms = keep_ms;
    }
    if settings != before {
        keep(&settings, keeper).await?;
    }
    let found = json!({ "root_inside": settings.root_inside, "network": settings.egress, "volume": settings.volume, "miners": settings.miners });
    output.print(&found, &spelled(&settings))
}

/// What renters keep, and the end of one such at the owner's word. Only a host that runs knows.
async fn volumes(arguments: &Tenants, output: Output) -> Result<(), Failure> {
    let request = match &arguments.wipe {
        Some(name) => ControlRequest::WipeVolume { name: name.clone() },
        None => ControlRequest::Volumes,
    };
    let found = match Grip::connect(&arguments.place).await?.ask(request).await? {
        ControlAnswer::Volumes(found) => found.map_err(Failure::failed)?,
        _ => return Err(Failure::failed("the host answered with something else")),
    };
    let mut table = Table::new(&["VOLUME", "RENTER", "AT MOST", "ENCRYPTED", "ROOT", "KEPT UNTIL"]);
    for volume in &found {
        let until = volume.expires_at.map_or_else(|| "in use".to_owned(), clock);
        let root = if volume.root_inside { "inside" } else { "no" };
        let row = [&volume.name, &volume.renter].map(|text| printable(text));
        let (most, encrypted) = (most(volume.quota_mib, volume.footing), encrypted(volume.footing).to_owned());
        let row = row.into_iter().chain([most, encrypted, root.to_owned(), until]);
        table.row(row.collect());
    }
    let words = if found.is_empty() { "renters keep nothing here".to_owned() } else { table.to_string() };
    output.print(&serde_json::json!({ "volumes": found }), &words)
}

fn spelled(settings: &Settings) -> String {
    let root = match settings.root_inside {
        true => "yes: in the container, for who asks for it; never on this PC",
        false => "no: an ordinary user without any privilege",
    };
    let network = match settings.egress {
        EgressMode::Off => "off: nothing but the tunnel",
        EgressMode::Curated => "curated: package indexes, model hubs, code hosts and object stores",
        EgressMode::Open => "open: the public internet from your address, without private networks and mail",
    };
    let mut table = Table::new(&["A RENTER", "MAY"]);
    table.row(vec!["be root inside".to_owned(), root.to_owned()]);
    table.row(vec!["reach".to_owned(), network.to_owned()]);
    let miners = match settings.miners {
        MinerRule::Tell => "as long as you are told",
        MinerRule::Stop => "no: warned, then ended",
        MinerRule::Allow => "yes",
    };
    table.row(vec!["mine".to_owned(), miners.to_owned()]);
    let volume = &settings.volume;
    let kept = format!(
        "up to {} for {} after each lease, encrypted where this PC's Docker can (see --volumes)",
        spell_mib(volume.quota_mib),
        spell_ms(volume.keep_ms)
    );
    table.row(vec!["keep".to_owned(), kept]);
    table.to_string()
}
