use std::collections::BTreeSet;

use super::*;
use nightjar_core::images::ImageTrouble;
use nightjar_core::money::{Currency, Money};
use nightjar_core::policy::{EngineTrouble, KernelHome, KernelPart, UnsafeVersion};

fn keys(source: &str) -> BTreeSet<String> {
    source
        .lines()
        .filter(|line| !line.starts_with(['#', ' ']) && line.contains(" = "))
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key.to_owned())
        .collect()
}

/// Values that a message names, so that a translation can neither forget nor invent one.
fn values(source: &str, key: &str) -> BTreeSet<String> {
    let line = source.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
    line.split("{ $").skip(1).filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn both_languages_have_the_same_messages_with_the_same_values() {
    for source in [ENGLISH, SIMPLIFIED_CHINESE] {
        assert!(FluentResource::try_new(source.to_owned()).is_ok());
    }
    assert_eq!(keys(ENGLISH), keys(SIMPLIFIED_CHINESE));
    for key in keys(ENGLISH) {
        assert_eq!(values(ENGLISH, &key), values(SIMPLIFIED_CHINESE, &key), "{key}");
    }
}

/// One of each reason.
fn reasons() -> Vec<BlockReason> {
    [of_the_pc(), of_docker(), of_the_market()].concat()
}

fn of_the_pc() -> Vec<BlockReason> {
    let text = String::from("x");
    let at = Timestamp(0);
    vec![
        BlockReason::TurnedOff,
        BlockReason::Snoozed { until: at },
        BlockReason::SettingsUnreadable { detail: text.clone() },
        BlockReason::OutsideSchedule { opens_at: Some(at) },
        BlockReason::OutsideSchedule { opens_at: None },
        BlockReason::UserHere { idle_ms: 120_000, needed_ms: 600_000 },
        BlockReason::UserHere { idle_ms: 2_000, needed_ms: 5_000 },
        BlockReason::PresenceUnknown { detail: text.clone() },
        BlockReason::GameRunning { name: text.clone() },
        BlockReason::FullScreen { name: text.clone() },
        BlockReason::IdleInhibited { by: text.clone() },
        BlockReason::RemoteSession { name: text.clone() },
        BlockReason::OtherAccount { name: text.clone() },
        BlockReason::ControllerInUse { name: text.clone() },
        BlockReason::GpuBusy { process: text.clone() },
        BlockReason::CpuBusy { percent: 80 },
        BlockReason::OnBattery,
        BlockReason::MeteredNetwork,
        BlockReason::TooHot { celsius: 90, ceiling_celsius: 83 },
        BlockReason::CoolingDown { celsius: 79, resume_celsius: 75 },
        BlockReason::TemperatureUnknown { doubt: nightjar_core::thermal::Doubt::Silent },
        BlockReason::TemperatureUnknown { doubt: nightjar_core::thermal::Doubt::Stuck },
        BlockReason::TemperatureUnknown { doubt: nightjar_core::thermal::Doubt::Impossible },
        BlockReason::TooHotForGood { trips: 3, until: Timestamp(0) },
        BlockReason::DiskLow { free_mib: 1, needed_mib: 2, folder: String::new() },
        BlockReason::DiskLow { free_mib: 1, needed_mib: 2, folder: text.clone() },
        BlockReason::FilesLow { free: 1, needed: 2, folder: text.clone() },
        BlockReason::DataCapReached { cap_mib: 512_000, stops: false, until: at },
        BlockReason::DataCapReached { cap_mib: 512_000, stops: true, until: at },
    ]
}

fn of_docker() -> Vec<BlockReason> {
    let text = String::from("x");
    let at = Timestamp(0);
    vec![
        BlockReason::NoDocker { detail: String::new(), why: None },
        BlockReason::NoDocker { detail: text.clone(), why: None },
        BlockReason::no_docker(&EngineTrouble::Silent { address: text.clone(), detail: text.clone() }),
        BlockReason::no_docker(&EngineTrouble::NotAllowed { address: text.clone() }),
        BlockReason::no_docker(&EngineTrouble::Slow { within_ms: 2_000 }),
        BlockReason::no_docker(&EngineTrouble::DiskFull { detail: text.clone() }),
        BlockReason::no_docker(&EngineTrouble::Refused { detail: text.clone() }),
        BlockReason::GatewayComing,
        BlockReason::GatewayFailed { why: ImageTrouble::NoFolder, again_at: at },
        BlockReason::NoGateway { reference: text.clone() },
        BlockReason::KernelAsked,
        BlockReason::KernelLacks { parts: vec![KernelPart::Htb], home: KernelHome::Linux },
        BlockReason::KernelLacks { parts: vec![KernelPart::Htb], home: KernelHome::Wsl },
        BlockReason::KernelLacks { parts: vec![KernelPart::Htb], home: KernelHome::DockerDesktop },
        BlockReason::UnsafeVersion {
            version: UnsafeVersion {
                component: "runc".into(),
                found: "1".into(),
                floor: "2".into(),
                advisory: "CVE-1".into(),
            },
        },
        BlockReason::DriverTooOld { found: "470.82".into(), needed: 525 },
    ]
}

fn of_the_market() -> Vec<BlockReason> {
    let text = String::from("x");
    let at = Timestamp(0);
    vec![
        BlockReason::NoGpu { trouble: GpuTrouble::LibraryMissing },
        BlockReason::NoGpu { trouble: GpuTrouble::DriverNotLoaded },
        BlockReason::NoGpu { trouble: GpuTrouble::VersionMismatch },
        BlockReason::NoGpu { trouble: GpuTrouble::NoCard },
        BlockReason::NoGpu { trouble: GpuTrouble::Lost },
        BlockReason::NoGpu { trouble: GpuTrouble::Other { detail: text.clone() } },
        BlockReason::CoordinatorUnreachable { since: at, detail: text },
        BlockReason::NotEnrolled,
        BlockReason::NotVerified,
        BlockReason::BelowMinimumPrice { minimum: Money::new(1, Currency::CNY) },
        BlockReason::OtherCurrency { market: Currency::new("EUR").unwrap(), own: Currency::CNY },
        BlockReason::UpdateWaiting,
        BlockReason::ImageNotLent,
        BlockReason::SandboxUnwanted,
        BlockReason::NoImage,
        BlockReason::ImageComing,
        BlockReason::NoImageLent,
        BlockReason::AfterLastJob { until: at },
    ]
}

#[test]
fn every_reason_has_its_own_sentence_in_both_languages() {
    for language in [Language::English, Language::SimplifiedChinese] {
        let texts = Texts::of(language);
        let said: BTreeSet<String> =
            reasons().iter().map(|reason| texts.reason(reason, &|_| "06:30".into())).collect();
        assert_eq!(said.len(), reasons().len(), "two reasons say the same");
        assert!(said.iter().all(|s| !s.contains('$') && !s.starts_with("reason-") && !s.starts_with("gpu-")));
    }
    let driver = BlockReason::DriverTooOld { found: "470.82".into(), needed: 525 };
    let sentence = Texts::of(Language::English).reason(&driver, &|_| String::new());
    assert!(sentence.contains("470.82") && sentence.contains("525") && sentence.contains("nvidia.com"));
}

#[test]
fn every_trouble_with_an_image_has_its_own_sentence_in_both_languages() {
    use ImageTrouble as T;
    let text = || String::from("x");
    let troubles = [
        T::Unknown { name: text() },
        T::NoRegistry { name: text() },
        T::NotPulled { name: text() },
        T::Needed { name: text(), size_mib: Some(7) },
        T::Needed { name: text(), size_mib: None },
        T::InUse { name: text() },
        T::Corrupt { digest: text() },
        T::Unreachable { detail: text() },
        T::Refused { detail: text() },
        T::OverQuota { needed_mib: 1, quota_mib: 2, used_mib: 3 },
        T::Engine { why: EngineTrouble::Refused { detail: text() } },
        T::Disk { folder: text(), detail: text() },
        T::NoFolder,
        T::HostEnding,
    ];
    for language in [Language::English, Language::SimplifiedChinese] {
        let texts = Texts::of(language);
        let said: BTreeSet<String> = troubles.iter().map(|trouble| texts.image_trouble(trouble)).collect();
        assert_eq!(said.len(), troubles.len(), "two troubles say the same");
        assert!(said.iter().all(|s| !s.contains('$') && !s.starts_with("image-trouble-")), "{said:?}");
    }
}

#[test]
fn every_trouble_with_a_volume_has_its_own_sentence_in_both_languages() {
    use VolumeTrouble as T;
    let text = || String::from("x");
    let troubles = [
        T::Unknown { name: text() },
        T::InUse { name: text() },
        T::Engine { why: EngineTrouble::Refused { detail: text() } },
        T::Journal { detail: text() },
    ];
    for language in [Language::English, Language::SimplifiedChinese] {
        let texts = Texts::of(language);
        let said: BTreeSet<String> = troubles.iter().map(|trouble| texts.volume_trouble(trouble)).collect();
        assert_eq!(said.len(), troubles.len(), "two troubles say the same");
        assert!(said.iter().all(|s| !s.contains('$') && !s.starts_with("volume-trouble-")), "{said:?}");
    }
}

#[test]
fn every_fault_of_a_proof_has_its_own_sentence_in_both_languages() {
    use ProofFault as F;
    let faults = [
        F::Missing,
        F::Unsigned,
        F::OtherQuestion,
        F::Late,
        F::OtherCard,
        F::OtherModel,
        F::OtherMemory { found_mib: 1, offered_mib: 2 },
        F::Answer,
        F::Vram { checked_mib: 1, offered_mib: 2 },
        F::Slower { found: 1, before: 2 },
        F::SlowerMemory { found: 1, before: 2 },
        F::OwnCheck,
        F::SameCard,
    ];
    for language in [Language::English, Language::SimplifiedChinese] {
        let texts = Texts::of(language);
        let said: BTreeSet<String> =
            faults.iter().map(|why| texts.end_reason(&EndReason::ProofRefused { why: *why })).collect();
        assert_eq!(said.len(), faults.len(), "two faults say the same");
        assert!(said.iter().all(|s| !s.contains('$') && !s.contains("proof-")));
    }
}

#[test]
fn every_image_of_the_catalogue_has_its_title_in_both_languages() {
    let catalogue = include_str!("../../../../images/catalog.toml");
    let of = |key: &str| {
        let lines = catalogue.lines().skip_while(|line| *line != "[[image]]");
        let begins = format!("{key} = \"");
        let values = lines.filter_map(|line| line.strip_prefix(&begins)?.strip_suffix('"'));
        values.map(str::to_owned).collect::<Vec<String>>()
    };
    let (names, flavours, titles) = (of("name"), of("flavour"), of("title"));
    assert!(titles.len() >= 8 && names.len() == titles.len() && flavours.len() == titles.len());
    let (english, chinese) = (Texts::of(Language::English), Texts::of(Language::SimplifiedChinese));
    let mut said = BTreeSet::new();
    for ((name, flavour), title) in names.iter().zip(&flavours).zip(&titles) {
        let name = format!("{name}:{flavour}");
        let key = format!("image-{}", name.replace(':', "-"));
        assert!(keys(SIMPLIFIED_CHINESE).contains(&key), "{key}");
        assert_eq!(english.plain(&key), *title, "the catalogue has another title for {name}");
        assert_eq!(english.image_title(&name, title), *title);
        assert_eq!(chinese.image_title(&name, title), chinese.plain(&key));
        said.insert(chinese.image_title(&name, title));
    }
    assert_eq!(said.len(), titles.len(), "two images have one title");
    // An owner's own catalogue may have an image of the same name.
    assert_eq!(chinese.image_title("rapids:full", "My tables"), "My tables");
    assert_eq!(chinese.image_title("other:1.0", "Other"), "Other");
}
