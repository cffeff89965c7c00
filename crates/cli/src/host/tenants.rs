//! `nightjar tenants`: what a renter may be and reach on this PC.

use nightjar_core::conduct::MinerRule;
use nightjar_core::settings::{EgressMode, Settings};
use nightjar_core::volume::Promises;
use nightjar_protocol::control::{ControlAnswer, ControlRequest};
use serde_json::json;

use crate::arguments::OnOff;
use crate::failure::Failure;
use crate::moment::clock;
use crate::output::{Output, Table, printable};
use crate::quantity::{spell_encrypted, spell_mib, spell_ms, spell_quota};

use super::grip::Grip;
use super::schedule::{keep, open};
use super::tenants_arguments::{Miners, Network, Tenants};

/// # Errors
/// When the settings cannot be read, or what was given is not taken.
pub async fn tenants(arguments: &Tenants, output: Output) -> Result<(), Failure> {
    if arguments.volumes || arguments.wipe.is_some() {
        return volumes(arguments, output).await;
    }
    let (before, keeper) = open(&arguments.place).await?;
    let settings = changed(&before, arguments);
    if settings != before {
        keep(&settings, keeper).await?;
    }
    let found = json!({
        "root_inside": settings.root_inside, "gvisor": settings.gvisor, "network": settings.egress,
        "volume": settings.volume,
        "volumes_most_mib": settings.volumes_at_most_mib(), "miners": settings.miners,
        "limits": settings.limits, "vram_reserve_mib": settings.vram_reserve_mib,
        "disk_reserve_mib": settings.disk_reserve_mib, "warning_ms": settings.warning_ms,
    });
    output.print(&found, &spelled(&settings))
}

/// What was given replaces what was there; the rest stays.
fn changed(before: &Settings, arguments: &Tenants) -> Settings {
    let mut settings = before.clone();
    if let Some(root) = arguments.root_inside {
        settings.root_inside = root == OnOff::On;
    }
    if let Some(gvisor) = arguments.gvisor {
        settings.gvisor = gvisor == OnOff::On;
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
    let limits = &mut settings.limits;
    limits.cpu_cores = arguments.cores.unwrap_or(limits.cpu_cores);
    limits.memory_mib = arguments.memory.unwrap_or(limits.memory_mib);
    limits.shm_mib = arguments.shm.unwrap_or(limits.shm_mib);
    limits.pids = arguments.processes.unwrap_or(limits.pids);
    limits.disk_mib = arguments.disk.unwrap_or(limits.disk_mib);
    settings.vram_reserve_mib = arguments.vram_reserve.unwrap_or(settings.vram_reserve_mib);
    settings.disk_reserve_mib = arguments.disk_reserve.unwrap_or(settings.disk_reserve_mib);
    settings.warning_ms = arguments.warning.unwrap_or(settings.warning_ms);
    settings.volume.quota_mib = arguments.volume_size.unwrap_or(settings.volume.quota_mib);
    settings.volumes_most_mib = arguments.volumes_most.unwrap_or(settings.volumes_most_mib);
    settings.volume.keep_ms = arguments.keep_volumes.unwrap_or(settings.volume.keep_ms);
    settings
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
        let most = spell_quota(volume.quota_mib, volume.footing);
        let encrypted = spell_encrypted(volume.footing).to_owned();
        let row = row.into_iter().chain([most, encrypted, root.to_owned(), until]);
        table.row(row.collect());
    }
    let (settings, _) = open(&arguments.place).await?;
    let (promises, most_mib) = (Promises::of(&found), settings.volumes_at_most_mib());
    let promised_mib = promises.total_mib();
    let given = given_out(promised_mib, most_mib, settings.volume.quota_mib);
    let words = match found.is_empty() {
        true => "renters keep nothing here".to_owned(),
        false => format!("{table}\n{given}"),
    };
    let said = json!({ "volumes": found, "promised_mib": promised_mib, "most_mib": most_mib });
    output.print(&said, &words)
}

/// What of the room is promised, and whether somebody new gets any.
fn given_out(promised_mib: u64, most_mib: u64, quota_mib: u64) -> String {
    let (promised, most) = (spell_mib(promised_mib), spell_mib(most_mib));
    if promised_mib.saturating_add(quota_mib) <= most_mib {
        return format!("{promised} of {most} are given out");
    }
    format!(
        "{promised} of {most} are given out: new renters are refused until one of these ends, or you give more \
         (nightjar tenants --volumes-most)"
    )
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
    let gvisor = match settings.gvisor {
        true => {
            "gVisor, where Docker has it and it knows the driver (nightjar doctor says whether); else runc"
        }
        false => "runc; gVisor is turned off",
    };
    table.row(vec!["run in".to_owned(), gvisor.to_owned()]);
    table.row(vec!["reach".to_owned(), network.to_owned()]);
    let miners = match settings.miners {
        MinerRule::Tell => "as long as you are told",
        MinerRule::Stop => "no: warned, then ended",
        MinerRule::Allow => "yes",
    };
    table.row(vec!["mine".to_owned(), miners.to_owned()]);
    let volume = &settings.volume;
    let kept = format!(
        "up to {} for {} after each lease, {} for all together, encrypted where this PC's Docker can (see --volumes)",
        spell_mib(volume.quota_mib),
        spell_ms(volume.keep_ms),
        spell_mib(settings.volumes_at_most_mib())
    );
    table.row(vec!["keep".to_owned(), kept]);
    let limits = &settings.limits;
    let size = spell_mib;
    let used = format!(
        "{} cores, {} of memory ({} of it shared), {} processes, {} of files",
        limits.cpu_cores,
        size(limits.memory_mib),
        size(limits.shm_mib),
        limits.pids,
        size(limits.disk_mib)
    );
    table.row(vec!["use".to_owned(), used]);
    let (vram, disk) = (size(settings.vram_reserve_mib), size(settings.disk_reserve_mib));
    table.row(vec!["leave".to_owned(), format!("{vram} of a desktop's card, {disk} of the disk")]);
    let warned = format!("{} to go back within these, then it ends", spell_ms(settings.warning_ms));
    table.row(vec!["take".to_owned(), warned]);
    table.to_string()
}

#[cfg(test)]
mod tests {
    use nightjar_core::settings::WorkerLimits;

    use super::*;

    #[test]
    fn every_limit_of_a_job_can_be_set_and_what_is_not_given_stays() {
        let before = Settings::default();
        assert_eq!(changed(&before, &Tenants::default()), before);
        let given = Tenants {
            cores: Some(8),
            memory: Some(24_576),
            shm: Some(8_192),
            processes: Some(4_096),
            disk: Some(40_960),
            vram_reserve: Some(0),
            disk_reserve: Some(51_200),
            warning: Some(120_000),
            gvisor: Some(OnOff::Off),
            volumes_most: Some(1_048_576),
            ..Tenants::default()
        };
        let after = changed(&before, &given);
        let limits =
            WorkerLimits { cpu_cores: 8, memory_mib: 24_576, shm_mib: 8_192, pids: 4_096, disk_mib: 40_960 };
        assert_eq!(after.limits, limits);
        assert_eq!((after.vram_reserve_mib, after.disk_reserve_mib, after.warning_ms), (0, 51_200, 120_000));
        assert_eq!((after.volumes_most_mib, after.gvisor), (1_048_576, false));
        assert_eq!(after.check(), Ok(()));
        let rest = Settings {
            limits: before.limits,
            gvisor: true,
            vram_reserve_mib: before.vram_reserve_mib,
            disk_reserve_mib: before.disk_reserve_mib,
            warning_ms: before.warning_ms,
            volumes_most_mib: before.volumes_most_mib,
            ..after.clone()
        };
        assert_eq!(rest, before);
        insta::assert_snapshot!("tenants", spelled(&after));
    }
}
