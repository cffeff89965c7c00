use std::sync::{Arc, Mutex};

use nightjar_core::gpu::GpuUuid;

use super::*;
use crate::sysfs::tests::FakeSys;

const FIRST: &str = "00000000:01:00.0";
const SECOND: &str = "00000000:02:00.0";

/// A driver of the test's own, which writes down what it is asked.
#[derive(Clone, Default)]
struct FakeDriver {
    asked: Arc<Mutex<Vec<String>>>,
    lost: Arc<Mutex<Vec<&'static str>>>,
    unplugged: Arc<Mutex<bool>>,
}

impl FakeDriver {
    fn sampler(&self, sys: &FakeSys) -> Sampler {
        let driver = self.clone();
        Sampler::with(sys.power_states(), move |attach| {
            driver.note(format!("open {attach:?}"));
            Ok(Box::new(driver.clone()))
        })
    }

    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Gpus for FakeDriver {
    fn driver(&self) -> Result<DriverInfo, GpuError> {
        Ok(DriverInfo { version: "550.54.14".into(), cuda: Some(12_040) })
    }

    fn count(&self) -> Result<u32, GpuError> {
        Ok(if *self.unplugged.lock().unwrap() { 0 } else { 2 })
    }

    fn read(&self, card: Locator<'_>) -> Result<GpuReading, GpuError> {
        let bus_id = match card {
            Locator::Index(0) => FIRST,
            Locator::Index(_) => SECOND,
            Locator::BusId(bus_id) => bus_id,
        };
        self.note(format!("read {bus_id}"));
        if self.lost.lock().unwrap().contains(&bus_id) {
            return Err(GpuError::GpuLost { card: bus_id.into() });
        }
        Ok(GpuReading {
            uuid: GpuUuid(format!("GPU-{bus_id}")),
            name: "a card".into(),
            pci_bus_id: bus_id.into(),
            asleep: false,
            vram_used_bytes: 7,
            temperature_celsius: Some(40.0),
            ..as_asleep(&unseen())
        })
    }
}

fn unseen() -> GpuReading {
    GpuReading { vram_total_bytes: 12 << 30, ..GpuReading::unread(GpuUuid(String::new())) }
}

fn told(readings: &[GpuReading]) -> Vec<(&str, bool)> {
    readings.iter().map(|reading| (reading.pci_bus_id.as_str(), reading.asleep)).collect()
}

#[test]
fn without_pci_devices_the_driver_is_the_truth() {
    let (sys, driver) = (FakeSys::new(), FakeDriver::default());
    let mut sampler = driver.sampler(&sys);
    let (info, readings) = sampler.sample().unwrap();
    assert_eq!(info.major(), Some(550));
    assert_eq!(told(&readings), [(FIRST, false), (SECOND, false)]);
    sampler.sample().unwrap();
    let opened = driver.asked().iter().filter(|asked| asked.starts_with("open")).count();
    assert_eq!(opened, 1, "it stays open");
}

#[test]
fn a_card_that_has_gone_to_sleep_is_told_without_a_question() {
    let (sys, driver) = (FakeSys::new(), FakeDriver::default());
    sys.card("0000:01:00.0", "active");
    sys.card("0000:02:00.0", "active");
    let mut sampler = driver.sampler(&sys);
    sampler.sample().unwrap();
    sys.card("0000:01:00.0", "suspended");
    driver.asked();
    let (_, readings) = sampler.sample().unwrap();
    assert_eq!(told(&readings), [(SECOND, false), (FIRST, true)]);
    assert_eq!(driver.asked(), [format!("read {SECOND}")]);
    assert_eq!((readings[1].vram_total_bytes, readings[1].vram_used_bytes), (12 << 30, 0));
    assert_eq!(readings[1].temperature_celsius, None);

    sys.card("0000:02:00.0", "suspending");
    let (info, readings) = sampler.sample().unwrap();
    assert_eq!((info.version.as_str(), told(&readings)), ("550.54.14", vec![(FIRST, true), (SECOND, true)]));
    assert_eq!(driver.asked(), Vec::<String>::new());
}

#[test]
fn beside_a_sleeping_card_the_driver_is_opened_without_touching_any() {
    let (sys, driver) = (FakeSys::new(), FakeDriver::default());
    sys.card("0000:01:00.0", "suspended");
    sys.card("0000:02:00.0", "active");
    let (_, readings) = driver.sampler(&sys).sample().unwrap();
    assert_eq!(told(&readings), [(SECOND, false)], "what was never seen awake is not known");
    assert_eq!(driver.asked(), ["open NoCard".to_owned(), format!("read {SECOND}")]);
}

#[test]
fn a_card_never_seen_awake_is_said_to_sleep_and_woken_only_on_demand() {
    let (sys, driver) = (FakeSys::new(), FakeDriver::default());
    sys.card("0000:01:00.0", "suspended");
    let mut sampler = driver.sampler(&sys);
    assert_eq!(sampler.sample(), Err(GpuError::Asleep { card: FIRST.into() }));
    assert_eq!(driver.asked(), Vec::<String>::new());
    assert_eq!(sampler.wake_and_sample().unwrap().1.len(), 2);
    assert_eq!(told(&sampler.sample().unwrap().1), [(FIRST, true)]);
}

#[test]
fn a_card_that_may_sleep_is_not_held_open() {
    let (sys, driver) = (FakeSys::new(), FakeDriver::default());
    sys.card("0000:01:00.0", "active");
    sys.write("bus/pci/devices/0000:01:00.0/power/control", "auto");
    let mut sampler = driver.sampler(&sys);
    sampler.sample().unwrap();
    assert!(sampler.gpus.is_none());
}

#[test]
fn one_lost_card_does_not_hide_the_other_and_both_are_an_error() {
    let (sys, driver) = (FakeSys::new(), FakeDriver::default());
    let mut sampler = driver.sampler(&sys);
    driver.lost.lock().unwrap().push(FIRST);
    assert_eq!(told(&sampler.sample().unwrap().1), [(SECOND, false)]);
    driver.lost.lock().unwrap().push(SECOND);
    assert_eq!(sampler.sample(), Err(GpuError::GpuLost { card: FIRST.into() }));
    driver.lost.lock().unwrap().clear();
    driver.asked();
    assert_eq!(sampler.sample().unwrap().1.len(), 2);
    assert_eq!(driver.asked()[0], "open AllCards", "after an error it is opened anew");
}

#[test]
fn cards_that_were_pulled_are_lost_and_not_merely_absent() {
    let (sys, driver) = (FakeSys::new(), FakeDriver::default());
    *driver.unplugged.lock().unwrap() = true;
    let mut sampler = driver.sampler(&sys);
    assert_eq!(sampler.sample().unwrap().1, []);
    *driver.unplugged.lock().unwrap() = false;
    sampler.sample().unwrap();
    *driver.unplugged.lock().unwrap() = true;
    assert_eq!(sampler.sample(), Err(GpuError::GpuLost { card: "a card".into() }));
}

#[test]
fn when_the_other_card_wakes_the_driver_is_opened_for_both() {
    let (sys, driver) = (FakeSys::new(), FakeDriver::default());
    sys.card("0000:01:00.0", "suspended");
    sys.card("0000:02:00.0", "active");
    let mut sampler = driver.sampler(&sys);
    sampler.sample().unwrap();
    sys.card("0000:01:00.0", "active");
    driver.asked();
    assert_eq!(sampler.sample().unwrap().1.len(), 2);
    assert_eq!(driver.asked()[0], "open AllCards");
}
