//! What a renter keeps between leases: a store, which is a file of the quota's size in a volume of the Engine's; the
//! disk in it, mounted by the Engine from a block device; and the renter's folder on that, which is the worker's home.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, Mount, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig,
    SystemInfo,
};
use nightjar_core::lease::LeaseTerms;
use nightjar_core::volume;
use nightjar_protocol::guest::{DiskBoot, VolumeBoot};

use super::{
    GATEWAY_MEMORY_MIB, GATEWAY_PIDS, LABEL_HOST, LABEL_ROLE, ROLE_DISK, ROLE_HOLDER, ROLE_MOUNT,
    ROLE_VOLUME, ROOT, RUN_FILES, RUN_MIB, Surroundings, TENANT, bytes, labels, log_config, nano_cpus, tmpfs,
    with_line,
};
use crate::catalogue::Image;

/// The renter, as the host knows them.
const LABEL_RENTER: &str = "nightjar.renter";
pub(super) const TENANT_ID: u32 = 52_814;
/// The one right that ordinary containers of Docker's have and ours have not: to make a device's name. Which devices it
/// can open is another matter, and these are all: loop devices and what hands them out.
const DISK_CAPABILITY: &str = "MKNOD";
const DISK_DEVICES: [&str; 2] = ["b 7:* rwm", "c 10:237 rwm"];

/// Names of a renter's volume in the Engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeNames {
    pub store: String,
    pub disk: String,
    pub home: String,
}

impl VolumeNames {
    /// Of the store's name, which is the volume's.
    pub fn of(store: &str) -> Self {
        Self { store: store.to_owned(), disk: format!("{store}-disk"), home: format!("{store}-home") }
    }
}

/// How a renter's volume is brought to its worker.
#[derive(Clone, Debug)]
pub(crate) struct VolumeSpec {
    pub names: VolumeNames,
    store_labels: HashMap<String, String>,
    pub mount_labels: HashMap<String, String>,
    pub disk: ContainerCreateBody,
    pub disk_boot: DiskBoot,
    pub holder: ContainerCreateBody,
    pub holder_boot: VolumeBoot,
}

impl VolumeSpec {
    /// A folder of the Engine's, of no size.
    pub fn plain_mount(&self) -> Mount {
        mount(&self.names.store, "/workspace", true, Some(self.store_labels.clone()))
    }

    /// The disk, by its device.
    pub fn disk_options(device: &str) -> HashMap<String, String> {
        options("ext4", device, "nosuid,nodev,noatime,discard")
    }

    /// The renter's folder, where the disk is mounted at `path`.
    pub fn home_options(path: &str, folder: &str) -> HashMap<String, String> {
        options("none", &format!("{path}/{folder}"), "bind,nosuid,nodev")
    }
}

fn options(kind: &str, device: &str, flags: &str) -> HashMap<String, String> {
    [("type", kind), ("device", device), ("o", flags)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

pub(super) fn spec(terms: &LeaseTerms, image: &Image, around: &Surroundings<'_>) -> VolumeSpec {
    let names = names(terms);
    let role = |role: &str| {
        HashMap::from([
            (LABEL_HOST.to_owned(), around.host.to_owned()),
            (LABEL_ROLE.to_owned(), role.to_owned()),
            (LABEL_RENTER.to_owned(), terms.renter.clone()),
        ])
    };
    let (store_labels, root) = (role(ROLE_VOLUME), terms.root_inside);
    let (user, group) = around.engine_root;
    let own = if root { 0 } else { TENANT_ID };
    VolumeSpec {
        disk: disk(terms, around, mount(&names.store, "/store", false, Some(store_labels.clone()))),
        disk_boot: DiskBoot {
            quota_mib: terms.volume.quota_mib.min(around.settings.volume.quota_mib),
            owner: user + own,
            group: group + own,
        },
        holder: holder(terms, image, around, mount(&names.disk, "/volume", false, None)),
        holder_boot: VolumeBoot { key: terms.volume_key.clone() },
        names,
        store_labels,
        mount_labels: role(ROLE_MOUNT),
    }
}

fn names(terms: &LeaseTerms) -> VolumeNames {
    VolumeNames::of(&volume::name(&terms.renter_key, terms.root_inside))
}

/// The worker's.
pub(super) fn home_mount(terms: &LeaseTerms) -> Mount {
    mount(&names(terms).home, "/workspace", false, None)
}

fn mount(source: &str, target: &str, copies: bool, labels: Option<HashMap<String, String>>) -> Mount {
    let options = MountVolumeOptions {
        no_copy: Some(!copies),
        // Without a driver's name older Engines pass over the labels.
        driver_config: labels.as_ref().map(|_| MountVolumeOptionsDriverConfig {
            name: Some("local".to_owned()),
            ..MountVolumeOptionsDriverConfig::default()
        }),
        labels,
        ..MountVolumeOptions::default()
    };
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        volume_options: Some(options),
        ..Mount::default()
    }
}

/// Root, as the Engine's machine counts, without a network, without a tenant.
fn disk(terms: &LeaseTerms, around: &Surroundings<'_>, store: Mount) -> ContainerCreateBody {
    let mut capabilities = vec![DISK_CAPABILITY.to_owned()];
    if around.engine_root != (0, 0) {
        // The store belongs to whom the Engine's containers have for root.
        capabilities.push("DAC_OVERRIDE".to_owned());
    }
    let host_config = HostConfig {
        cap_add: Some(capabilities),
        device_cgroup_rules: Some(DISK_DEVICES.map(str::to_owned).to_vec()),
        // No user of another counting may make a device's name.
        userns_mode: Some("host".to_owned()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        mounts: Some(vec![store]),
        ..apart()
    };
    ContainerCreateBody {
        image: Some(around.gateway.to_owned()),
        cmd: Some(vec!["disk".to_owned()]),
        labels: Some(labels(around.host, terms, ROLE_DISK)),
        host_config: Some(host_config),
        ..with_line()
    }
}

/// The tenant's user in the tenant's image, so that the folder begins as the image's home does.
fn holder(terms: &LeaseTerms, image: &Image, around: &Surroundings<'_>, disk: Mount) -> ContainerCreateBody {
    let security = ["no-new-privileges".to_owned(), format!("seccomp={}", around.seccomp)];
    let host_config =
        HostConfig { security_opt: Some(security.to_vec()), mounts: Some(vec![disk]), ..apart() };
    ContainerCreateBody {
        image: Some(image.source().pinned_reference()),
        user: Some(if terms.root_inside { ROOT } else { TENANT }.to_owned()),
        cmd: Some(vec!["volume".to_owned()]),
        labels: Some(labels(around.host, terms, ROLE_HOLDER)),
        host_config: Some(host_config),
        ..with_line()
    }
}

fn apart() -> HostConfig {
    HostConfig {
        network_mode: Some("none".to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        readonly_rootfs: Some(true),
        tmpfs: Some(HashMap::from([("/run".to_owned(), tmpfs(RUN_MIB, RUN_FILES, "0755", None))])),
        memory: Some(bytes(GATEWAY_MEMORY_MIB)),
        memory_swap: Some(bytes(GATEWAY_MEMORY_MIB)),
        nano_cpus: Some(nano_cpus(1)),
        pids_limit: Some(GATEWAY_PIDS),
        log_config: Some(log_config()),
        ..HostConfig::default()
    }
}

/// Whom root in a container is outside. An Engine that maps users tells it in the name of its data's folder alone.
pub(crate) fn remapped_root(info: &SystemInfo) -> (u32, u32) {
    let maps = info.security_options.iter().flatten().any(|option| option.contains("name=userns"));
    let folder = info.docker_root_dir.as_deref().unwrap_or_default().trim_end_matches('/');
    let last = folder.rsplit('/').next().unwrap_or_default();
    let numbers = last.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    numbers.filter(|_| maps).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_maps_users_is_known() {
        let info = |options: &[&str], folder: &str| SystemInfo {
            security_options: Some(options.iter().map(|option| (*option).to_owned()).collect()),
            docker_root_dir: Some(folder.to_owned()),
            ..SystemInfo::default()
        };
        let maps = ["name=seccomp,profile=default", "name=userns"];
        assert_eq!(remapped_root(&info(&maps, "/var/lib/docker/165536.165537")), (165_536, 165_537));
        assert_eq!(remapped_root(&info(&maps, "/var/lib/docker")), (0, 0));
        assert_eq!(remapped_root(&info(&[], "/srv/1.2")), (0, 0));
    }
}
