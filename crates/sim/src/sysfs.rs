//! A folder laid out as the kernel's `/sys`, so that a program which looks at a card's power state before
//! it asks NVML can look at a simulated card's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::wire::CardReading;

const NVIDIA: &str = "0x10de";
const VGA_CONTROLLER: &str = "0x030000";

/// The folder, and what was last written into it.
#[derive(Debug)]
pub struct Sysfs {
    root: PathBuf,
    written: Vec<Option<&'static str>>,
}

impl Sysfs {
    /// Uses `root` in the place of `/sys`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), written: Vec::new() }
    }

    /// Writes what has changed. `states` are the power states by slot, `None` for an unplugged card.
    pub fn update(
        &mut self,
        readings: &[CardReading],
        states: &[(usize, Option<&'static str>)],
    ) -> io::Result<()> {
        self.written.resize(states.len(), None);
        for ((slot, state), reading) in states.iter().zip(readings) {
            if self.written[*slot] == *state {
                continue;
            }
            // The kernel writes a PCI domain in four digits, NVML in eight.
            let bus_id = reading.identity.bus_id.to_lowercase();
            let bus_id = bus_id.strip_prefix("0000").unwrap_or(&bus_id);
            let device = self.root.join("bus/pci/devices").join(bus_id);
            match state {
                Some(state) => write_device(&device, reading, state)?,
                None => fs::remove_dir_all(&device)?,
            }
            self.written[*slot] = *state;
        }
        Ok(())
    }
}

fn write_device(device: &Path, reading: &CardReading, state: &str) -> io::Result<()> {
    fs::create_dir_all(device.join("power"))?;
    fs::write(device.join("vendor"), format!("{NVIDIA}\n"))?;
    fs::write(device.join("device"), format!("{:#06x}\n", reading.pci_device_id >> 16))?;
    fs::write(device.join("class"), format!("{VGA_CONTROLLER}\n"))?;
    // By rename, so that no reader finds half of it.
    let (fresh, path) = (device.join("power/.runtime_status"), device.join("power/runtime_status"));
    fs::write(&fresh, format!("{state}\n"))?;
    fs::rename(&fresh, &path)
}
