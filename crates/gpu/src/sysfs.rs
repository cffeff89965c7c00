//! The power states that the kernel shows of PCI devices. Reading them wakes nothing.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// NVIDIA among the makers of PCI devices.
const NVIDIA: &str = "0x10de";
/// Display controllers among the classes of PCI devices: VGA, 3D, others.
const DISPLAY_CLASS: &str = "0x03";
/// What is read here is a word or a number.
const LONGEST_VALUE: u64 = 128;
/// More cards than any mainboard has slots.
const MOST_CARDS: usize = 64;

/// The power state of one of NVIDIA's cards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardPower {
    /// As NVML spells it, e.g. `00000000:01:00.0`.
    pub bus_id: String,
    /// In runtime suspend, or on the way there.
    pub asleep: bool,
    /// The kernel may put it to sleep as soon as nothing has it open.
    pub may_sleep: bool,
}

/// The kernel's `/sys`, or a folder laid out like it.
#[derive(Clone, Debug)]
pub struct PowerStates {
    root: PathBuf,
}

impl PowerStates {
    /// The kernel's own.
    #[must_use]
    pub fn system() -> Self {
        Self::below(Path::new("/sys"))
    }

    /// Looks below `root` for `bus/pci/devices`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// All of NVIDIA's cards, by bus id. Empty where there is no such folder, as on Windows: then the driver is asked.
    #[must_use]
    pub fn read(&self) -> Vec<CardPower> {
        let mut cards: Vec<CardPower> = self.cards().into_iter().map(|(_, card)| card).collect();
        cards.sort_by(|a, b| a.bus_id.cmp(&b.bus_id));
        cards
    }

    /// Whether the system tells it of every card that it shows. Where it does not, as on Windows and in its subsystem for
    /// Linux, a card has to be asked, which may wake it.
    #[must_use]
    pub fn are_told(&self) -> bool {
        let cards = self.cards();
        !cards.is_empty() && cards.iter().all(|(device, _)| device.join("power/runtime_status").exists())
    }

    fn cards(&self) -> Vec<(PathBuf, CardPower)> {
        let Ok(devices) = std::fs::read_dir(self.root.join("bus/pci/devices")) else { return Vec::new() };
        let paths = devices.flatten().map(|device| device.path());
        paths.filter_map(|path| card(&path).map(|card| (path, card))).take(MOST_CARDS).collect()
    }

    /// The version of the loaded kernel driver, which needs no card to be awake.
    #[must_use]
    pub fn driver_version(&self) -> Option<String> {
        value(&self.root.join("module/nvidia/version")).filter(|version| !version.is_empty())
    }
}

fn card(device: &Path) -> Option<CardPower> {
    let is_card =
        value(&device.join("vendor"))? == NVIDIA && value(&device.join("class"))?.starts_with(DISPLAY_CLASS);
    if !is_card {
        return None;
    }
    // A kernel without power management shows neither, and its cards never sleep.
    let status = value(&device.join("power/runtime_status"));
    Some(CardPower {
        bus_id: nvml_bus_id(device.file_name()?.to_str()?),
        asleep: matches!(status.as_deref(), Some("suspended" | "suspending")),
        may_sleep: value(&device.join("power/control")).as_deref() == Some("auto"),
    })
}

fn value(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LONGEST_VALUE).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

/// The kernel writes a PCI domain in at least four digits and small letters, NVML in eight and capitals.
pub(crate) fn nvml_bus_id(bus_id: &str) -> String {
    let bus_id = bus_id.to_ascii_uppercase();
    match bus_id.split_once(':') {
        Some((domain, rest)) => format!("{domain:0>8}:{rest}"),
        None => bus_id,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A `/sys` of the test's own.
    pub(crate) struct FakeSys(tempfile::TempDir);

    impl FakeSys {
        pub(crate) fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        pub(crate) fn power_states(&self) -> PowerStates {
            PowerStates::below(self.0.path())
        }

        pub(crate) fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{text}\n")).unwrap();
        }

        pub(crate) fn card(&self, bus_id: &str, status: &str) {
            self.device(bus_id, "0x10de", "0x030000");
            self.write(&format!("bus/pci/devices/{bus_id}/power/runtime_status"), status);
        }

        fn device(&self, bus_id: &str, vendor: &str, class: &str) {
            self.write(&format!("bus/pci/devices/{bus_id}/vendor"), vendor);
            self.write(&format!("bus/pci/devices/{bus_id}/class"), class);
        }
    }

    #[test]
    fn only_nvidias_cards_are_looked_at() {
        let sys = FakeSys::new();
        sys.device("0000:00:02.0", "0x8086", "0x030000");
        sys.device("0000:01:00.1", "0x10de", "0x040300");
        sys.card("0000:0a:00.0", "active");
        sys.card("0000:01:00.0", "suspended");
        sys.write("bus/pci/devices/0000:01:00.0/power/control", "auto");
        assert!(sys.power_states().are_told());
        let (first, second) = ("00000000:01:00.0".to_owned(), "00000000:0A:00.0".to_owned());
        assert_eq!(
            sys.power_states().read(),
            [
                CardPower { bus_id: first, asleep: true, may_sleep: true },
                CardPower { bus_id: second, asleep: false, may_sleep: false },
            ]
        );
    }

    #[test]
    fn what_the_kernel_does_not_show_is_awake_and_stays_so() {
        let sys = FakeSys::new();
        assert_eq!(sys.power_states().read(), []);
        assert!(!sys.power_states().are_told(), "as on Windows");
        assert_eq!(sys.power_states().driver_version(), None);
        sys.device("10000:01:00.0", "0x10de", "0x030200");
        sys.write("module/nvidia/version", "550.54.14");
        let found = sys.power_states().read();
        assert!(!sys.power_states().are_told());
        assert_eq!((found[0].bus_id.as_str(), found[0].asleep), ("00010000:01:00.0", false));
        assert_eq!(sys.power_states().driver_version().as_deref(), Some("550.54.14"));
    }
}
