//! What the connection to the internet costs.

use nightjar_core::signal::Standing;
use windows::Networking::Connectivity::{NetworkCostType, NetworkInformation};

/// A plan with a limit, or one that is paid by what is sent.
const METERED: [NetworkCostType; 2] = [NetworkCostType::Fixed, NetworkCostType::Variable];

pub(super) fn standing() -> Standing {
    match metered() {
        Ok(Some(name)) => Standing::Seen { name },
        Ok(None) => Standing::Quiet,
        Err(error) => Standing::Unavailable { detail: error.to_string() },
    }
}

/// The name of the connection, if it is metered.
fn metered() -> windows::core::Result<Option<String>> {
    let profile = match NetworkInformation::GetInternetConnectionProfile() {
        Ok(profile) => profile,
        // Nothing was given and nothing failed: there is no connection.
        Err(error) if error.code().is_ok() => return Ok(None),
        Err(error) => return Err(error),
    };
    let cost = profile.GetConnectionCost()?;
    let metered = METERED.contains(&cost.NetworkCostType()?) || cost.Roaming()?;
    Ok(if metered { Some(profile.ProfileName()?.to_string()) } else { None })
}
