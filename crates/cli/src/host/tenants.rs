//! `nightjar tenants`: what a renter may be and reach on this PC.

use nightjar_core::settings::{EgressMode, Settings};
use serde_json::json;

use crate::arguments::OnOff;
use crate::failure::Failure;
use crate::output::{Output, Table};

use super::schedule::{keep, open};
use super::tenants_arguments::{Network, Tenants};

/// # Errors
/// When the settings cannot be read, or what was given is not taken.
pub async fn tenants(arguments: &Tenants, output: Output) -> Result<(), Failure> {
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
    if settings != before {
        keep(&settings, keeper).await?;
    }
    let found = json!({ "root_inside": settings.root_inside, "network": settings.egress });
    output.print(&found, &spelled(&settings))
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
    table.to_string()
}
