//! The power supply as the kernel shows it, for PCs without UPower.

use std::fs;
use std::path::Path;

/// The battery that this PC runs from. `None` on mains, and where there is no battery at all.
pub(super) fn on_battery(supplies: &Path) -> Option<String> {
    let (mut battery, mut discharging, mut unplugged) = (None, false, false);
    let mut names: Vec<_> = fs::read_dir(supplies).ok()?.flatten().map(|entry| entry.path()).collect();
    names.sort();
    for supply in names {
        let read = |file: &str| fs::read_to_string(supply.join(file)).unwrap_or_default().trim().to_owned();
        // The battery of a mouse or a controller powers that and not the PC.
        if read("scope") == "Device" {
            continue;
        }
        match read("type").as_str() {
            "Mains" | "USB" | "USB_PD" | "USB_C" | "Wireless" if read("online") == "1" => return None,
            "Mains" => unplugged = true,
            "Battery" | "UPS" if read("present") != "0" => {
                discharging |= read("status") == "Discharging";
                let name = supply.file_name().map(|name| name.to_string_lossy().into_owned());
                battery = battery.or(name);
            }
            _ => {}
        }
    }
    battery.filter(|_| discharging || unplugged)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::on_battery;

    fn supply(root: &Path, name: &str, files: &[(&str, &str)]) {
        std::fs::create_dir_all(root.join(name)).unwrap();
        for (file, text) in files {
            std::fs::write(root.join(name).join(file), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn a_laptop_is_on_battery_when_its_mains_are_off() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(on_battery(root), None);
        supply(
            root,
            "hidpp_battery_0",
            &[("type", "Battery"), ("scope", "Device"), ("status", "Discharging")],
        );
        assert_eq!(on_battery(root), None);
        supply(root, "AC", &[("type", "Mains"), ("online", "1")]);
        supply(root, "BAT0", &[("type", "Battery"), ("status", "Charging")]);
        assert_eq!(on_battery(root), None);
        supply(root, "AC", &[("online", "0")]);
        supply(root, "BAT0", &[("status", "Discharging")]);
        assert_eq!(on_battery(root), Some("BAT0".into()));
        // A full battery may take a while to say so.
        supply(root, "BAT0", &[("status", "Unknown")]);
        assert_eq!(on_battery(root), Some("BAT0".into()));
        assert_eq!(on_battery(&root.join("missing")), None);
    }
}
