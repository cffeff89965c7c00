//! Commands of a host: run one without a desktop, and talk to the one that runs.

mod browser;
mod choice;
mod doctor;
mod gpu;
pub mod gpu_arguments;
mod grip;
mod images;
pub mod images_arguments;
mod network;
pub mod network_arguments;
mod pairing;
pub mod power_arguments;
mod run;
mod schedule;
pub mod schedule_arguments;
mod show;
mod sweep;
mod tenants;
pub mod tenants_arguments;
mod why;

pub use choice::{earn, finish, pause, preset, resume, sensors};
pub use doctor::doctor;
pub use gpu::gpu;
pub use grip::{power, quit, status, stop_job};
pub use images::images;
pub use network::network;
pub use run::run;
pub use schedule::schedule;
pub use tenants::tenants;
pub use why::why;

use nightjar_agent::AgentConfig;

use crate::arguments::HostPlace;
use crate::failure::Failure;

/// Where the host's things are. A data folder of its own holds settings and socket too, unless a variable says
/// otherwise: a second host on one PC must not share them with the first.
fn config(place: &HostPlace) -> Result<AgentConfig, Failure> {
    let mut config = AgentConfig::from_environment()?;
    if let Some(data_dir) = &place.data_dir {
        let data_dir = std::path::absolute(data_dir).map_err(anyhow::Error::from)?;
        if !is_given("NIGHTJAR_SETTINGS") {
            config.settings_path = data_dir.join("settings.toml");
        }
        if !is_given("NIGHTJAR_RUNTIME_DIR") {
            config.runtime_dir = data_dir.join("run");
        }
        config.data_dir = data_dir;
    }
    Ok(config)
}

fn is_given(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}
