//! nvml-wrapper finds the stand-in through the ordinary loader and reads everything from it.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test stands on must be there")]

mod rig;

use nightjar_sim::wire::{Control, Reply, Request};
use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{
    Brand, Clock, ClockId, PerformanceState, TemperatureSensor, TemperatureThreshold,
};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use rig::{Rig, is_child};

const MIB: u64 = 1024 * 1024;

#[test]
fn everything_is_read_through_the_ordinary_loader() {
    let rig = Rig::new("rtx4090,rtx3060");
    let game = Control::ExternalLoad {
        card: 1,
        pid: 4242,
        util_percent: 60.0,
        vram_mib: 3000,
        graphics: true,
        memory_percent: None,
    };
    rig.daemon.client().control(game).unwrap();
    rig.run("child_reads_everything");
    rig.run("child_is_told_what_is_not_supported");
    rig.run("child_changes_what_root_may_change");
}

#[test]
fn child_reads_everything() {
    if !is_child() {
        return;
    }
    let nvml = Nvml::init().unwrap();
    assert_eq!(nvml.sys_driver_version().unwrap(), "570.124.06");
    assert_eq!(nvml.sys_nvml_version().unwrap(), "12.570.124.06");
    assert_eq!(nvml.sys_cuda_driver_version().unwrap(), 12080);
    assert!(nvml.sys_process_name(std::process::id(), 512).unwrap().contains("nvml"));
    assert_eq!(nvml.device_count().unwrap(), 2);
    let card = nvml.device_by_index(0).unwrap();
    assert_eq!(card.name().unwrap(), "NVIDIA GeForce RTX 4090 (simulated)");
    assert_eq!(card.brand().unwrap(), Brand::GeForce);
    assert_eq!(card.index().unwrap(), 0);
    assert_eq!(card.minor_number().unwrap(), 0);
    let uuid = card.uuid().unwrap();
    assert_eq!(nvml.device_by_uuid(uuid).unwrap().index().unwrap(), 0);
    let pci = card.pci_info().unwrap();
    assert_eq!((pci.bus_id.as_str(), pci.bus), ("00000000:01:00.0", 1));
    assert_eq!(nvml.device_by_pci_bus_id("0000:02:00.0").unwrap().index().unwrap(), 1);
    let capability = card.cuda_compute_capability().unwrap();
    assert_eq!((capability.major, capability.minor), (8, 9));
    let memory = card.memory_info().unwrap();
    assert_eq!((memory.total, memory.used), (24564 * MIB, 0));
    assert_eq!(memory.free, memory.total - memory.reserved);
    assert_eq!(card.power_management_limit().unwrap(), 450_000);
    assert_eq!(card.power_management_limit_default().unwrap(), 450_000);
    assert_eq!(card.enforced_power_limit().unwrap(), 450_000);
    let range = card.power_management_limit_constraints().unwrap();
    assert_eq!((range.min_limit, range.max_limit), (150_000, 600_000));
    assert_eq!(card.power_usage().unwrap(), 18_000);
    assert_eq!(card.temperature(TemperatureSensor::Gpu).unwrap(), 33);
    assert_eq!(card.temperature_threshold(TemperatureThreshold::Slowdown).unwrap(), 94);
    assert_eq!(card.utilization_rates().unwrap().gpu, 0);
    assert_eq!(card.clock_info(Clock::Graphics).unwrap(), 210);
    assert_eq!(card.max_clock_info(Clock::Graphics).unwrap(), 2745);
    assert_eq!(card.clock(Clock::Memory, ClockId::Current).unwrap(), 405);
    assert_eq!(card.performance_state().unwrap(), PerformanceState::Eight);
    assert_eq!(card.current_throttle_reasons().unwrap(), ThrottleReasons::GPU_IDLE);
    assert_eq!((card.num_fans().unwrap(), card.fan_speed(0).unwrap()), (2, 0));
    assert_eq!((card.current_pcie_link_gen().unwrap(), card.max_pcie_link_gen().unwrap()), (1, 4));
    assert_eq!(card.current_pcie_link_width().unwrap(), 16);
    assert_eq!(card.encoder_utilization().unwrap().utilization, 0);
    assert!(card.is_display_active().unwrap() && card.is_display_connected().unwrap());
    assert!(card.running_compute_processes().unwrap().is_empty());
    let first = card.total_energy_consumption().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(60));
    assert!(card.total_energy_consumption().unwrap() > first);

    let busy = nvml.device_by_index(1).unwrap();
    let processes = busy.running_graphics_processes().unwrap();
    assert_eq!(processes.len(), 1);
    assert_eq!(processes[0].pid, 4242);
    assert!(matches!(processes[0].used_gpu_memory, UsedGpuMemory::Used(bytes) if bytes == 3000 * MIB));
    assert_eq!(busy.utilization_rates().unwrap().gpu, 60);
    assert_eq!(busy.performance_state().unwrap(), PerformanceState::Two);
    assert!(busy.power_usage().unwrap() > 90_000);
    assert_eq!(busy.process_utilization_stats(None).unwrap()[0].sm_util, 60);
}

#[test]
fn child_is_told_what_is_not_supported() {
    if !is_child() {
        return;
    }
    let nvml = Nvml::init().unwrap();
    let card = nvml.device_by_index(0).unwrap();
    assert!(matches!(card.is_ecc_enabled(), Err(NvmlError::NotSupported)));
    assert!(matches!(card.serial(), Err(NvmlError::NotSupported)));
    assert!(matches!(card.applications_clock(Clock::Graphics), Err(NvmlError::NotSupported)));
    assert!(matches!(nvml.create_event_set().map(drop), Err(NvmlError::NotSupported)));
    assert!(matches!(nvml.device_by_index(2).map(drop), Err(NvmlError::InvalidArg)));
    assert!(matches!(card.fan_speed(2), Err(NvmlError::InvalidArg)));
}

#[test]
fn child_changes_what_root_may_change() {
    if !is_child() {
        return;
    }
    let nvml = Nvml::init().unwrap();
    let mut card = nvml.device_by_index(0).unwrap();
    if !rustix::process::geteuid().is_root() {
        assert!(matches!(card.set_power_management_limit(300_000), Err(NvmlError::NoPermission)));
        return;
    }
    card.set_power_management_limit(300_000).unwrap();
    assert_eq!(card.enforced_power_limit().unwrap(), 300_000);
    assert!(matches!(card.set_power_management_limit(100_000), Err(NvmlError::InvalidArg)));
    assert!(!card.is_in_persistent_mode().unwrap());
    card.set_persistent(true).unwrap();
    assert!(card.is_in_persistent_mode().unwrap());
    card.set_fan_speed(0, 70).unwrap();
    assert_eq!(card.fan_speed(0).unwrap(), 70);
}

#[test]
fn faults_and_a_pulled_card_reach_the_caller() {
    let rig = Rig::new("rtx4090");
    let control = |control| rig.daemon.client().control(control).unwrap();
    control(Control::Unplug { card: 0 });
    rig.run("child_finds_no_card");
    control(Control::Replug { card: 0 });
    let fail = |code| Control::Fail { call: "nvmlInit_v2".to_owned(), code, card: None, times: None };
    control(fail(Some(18)));
    rig.run("child_has_another_driver");
    control(fail(None));
    control(Control::Driver { version: "470.256.02".to_owned() });
    let fan = "nvmlDeviceGetFanSpeed_v2".to_owned();
    control(Control::Fail { call: fan, code: Some(3), card: None, times: None });
    rig.run("child_has_an_old_driver_and_no_fan");
}

#[test]
fn child_finds_no_card() {
    if is_child() {
        let nvml = Nvml::init().unwrap();
        assert_eq!(nvml.device_count().unwrap(), 0);
        assert!(nvml.device_by_index(0).is_err());
    }
}

#[test]
fn child_has_another_driver() {
    if is_child() {
        assert!(matches!(Nvml::init(), Err(NvmlError::LibRmVersionMismatch)));
    }
}

#[test]
fn child_has_an_old_driver_and_no_fan() {
    if is_child() {
        let nvml = Nvml::init().unwrap();
        assert_eq!(nvml.sys_driver_version().unwrap(), "470.256.02");
        assert!(matches!(nvml.device_by_index(0).unwrap().fan_speed(0), Err(NvmlError::NotSupported)));
    }
}

#[test]
fn a_sleeping_card_counts_who_wakes_it() {
    let rig = Rig::new("rtx3060");
    let client = rig.daemon.client();
    client.control(Control::Sleep { card: 0 }).unwrap();
    let status = rig.layout.sysfs().join("bus/pci/devices/0000:01:00.0/power/runtime_status");
    wait_for(|| std::fs::read_to_string(&status).unwrap() == "suspended\n");
    assert_eq!(
        client.stats().unwrap().cards[0].nvml_calls_while_asleep,
        0,
        "looking through sysfs is no call"
    );
    rig.run("child_reads_the_name");
    let card = &client.stats().unwrap().cards[0];
    // Initialisation touches every card, then the card is found and asked for its name.
    assert_eq!((card.nvml_calls_while_asleep, card.runtime_status.as_str()), (3, "active"));
    wait_for(|| std::fs::read_to_string(&status).unwrap() == "active\n");
}

#[test]
fn child_reads_the_name() {
    if is_child() {
        Nvml::init().unwrap().device_by_index(0).unwrap().name().unwrap();
    }
}

#[test]
fn a_daemon_that_is_shut_down_takes_its_socket_along() {
    let Rig { layout, daemon, .. } = &Rig::new("rtx4090");
    daemon.client().shutdown().unwrap();
    wait_for(|| !layout.socket().exists());
    let request = Request::Machine { call: "nvmlInit_v2".to_owned(), wakes: false };
    assert!(!matches!(daemon.client().ask(&request), Ok(Reply::Machine { .. })));
}

#[test]
fn one_nvml_outlives_the_daemon_and_finds_the_next() {
    let rig = Rig::new("rtx4090");
    rig.run("child_watches_the_driver_go_and_return");
}

#[test]
fn child_watches_the_driver_go_and_return() {
    if !is_child() {
        return;
    }
    let socket = nightjar_sim::client::default_socket();
    let nvml = Nvml::init().unwrap();
    let card = nvml.device_by_index(0).unwrap();
    nightjar_sim::Client::connect(&socket).unwrap().shutdown().unwrap();
    assert!(matches!(card.temperature(TemperatureSensor::Gpu), Err(NvmlError::Unknown)));
    assert!(matches!(Nvml::init(), Err(NvmlError::DriverNotLoaded)));
    let mut again =
        std::process::Command::new(socket.parent().unwrap().parent().unwrap().join("bin/nightjar-sim"))
            .args(["serve", "--until-stdin-closes", "--socket"])
            .arg(&socket)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
    wait_for(|| card.temperature(TemperatureSensor::Gpu).is_ok());
    nightjar_sim::Client::connect(&socket).unwrap().shutdown().unwrap();
    assert!(again.wait().unwrap().success());
}

fn wait_for(mut happened: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !happened() {
        assert!(std::time::Instant::now() < deadline, "it did not happen within 5 s");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
