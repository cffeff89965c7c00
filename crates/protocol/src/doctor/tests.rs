//! See the module.

use super::*;
use nightjar_core::gpu::{DriverInfo, GpuTrouble};
use nightjar_core::host::Notice;
use nightjar_core::money::Currency;
use nightjar_core::policy::{
    DiskSpace, EngineFacts, EngineTrouble, GatewayImage, Gvisor, KernelFacts, KernelHome, KernelPart, Sandbox,
};
use nightjar_core::settings::{EgressMode, GiveBack};

fn look(snapshot: &Snapshot, language: Language) -> Vec<Check> {
    look_with(snapshot, &Settings::default(), language)
}

fn look_with(snapshot: &Snapshot, settings: &Settings, language: Language) -> Vec<Check> {
    look_beside(&HelperStanding::NotInstalled, snapshot, settings, language)
}

fn look_beside(
    helper: &HelperStanding,
    snapshot: &Snapshot,
    settings: &Settings,
    language: Language,
) -> Vec<Check> {
    checks(snapshot, &Ok(Vec::new()), helper, settings, language, &|_| String::from("12:00"))
}

#[test]
fn a_bare_pc_is_told_what_it_lacks_in_both_languages() {
    let bare = Snapshot {
        gpu_trouble: Some(GpuTrouble::LibraryMissing),
        runtime: Runtime::Missing { why: EngineTrouble::NotAllowed { address: "local".into() } },
        disk: Some(DiskSpace { folder: "/var/lib/docker".into(), free_mib: 1_024, free_files: None }),
        ..Snapshot::default()
    };
    for language in [Language::English, Language::SimplifiedChinese] {
        let found = look(&bare, language);
        let bad: Vec<&str> = found
            .iter()
            .filter(|check| check.standing == CheckStanding::Bad)
            .map(|check| check.id.as_str())
            .collect();
        assert_eq!(bad, ["driver", "engine", "disk", "market"]);
        for check in &found {
            assert!(!check.title.starts_with("check-") && !check.sentence.starts_with("check-"), "{check:?}");
        }
        let helper = found.iter().find(|check| check.id == "helper").unwrap();
        assert!(helper.standing == CheckStanding::Optional && helper.command.is_some());
        let repairs: Vec<Repair> = found.iter().filter_map(|check| check.repair).collect();
        assert_eq!(repairs, [Repair::Docker, Repair::HelperSocket]);
    }
}

#[test]
fn settings_that_are_in_no_file_are_told_first_in_both_languages() {
    let detail = "/home/a/settings.toml: read-only";
    let snapshot = Snapshot { settings_unsaved: Some(detail.into()), ..Snapshot::default() };
    for language in [Language::English, Language::SimplifiedChinese] {
        let first = &look(&snapshot, language)[0];
        assert_eq!((first.id.as_str(), first.standing), ("settings", CheckStanding::Bad));
        assert!(first.sentence.contains(detail), "{first:?}");
        let (title, body) =
            crate::view::notification(&Notice::SettingsUnsaved { detail: detail.into() }, language);
        assert!(!title.starts_with("notice-") && body.contains(detail), "{title}: {body}");
    }
}

#[test]
fn walls_that_lack_or_are_not_used_are_told_in_both_languages() {
    let engine = EngineFacts {
        is_open_to_network: true,
        maps_users: false,
        gvisor: Gvisor::OwnNetwork,
        is_unfiltered: true,
        has_other_runtime: true,
        toolkit: Toolkit::Missing,
        gateway: GatewayImage::Present,
        kernel: KernelFacts::Unasked,
        ..EngineFacts::default()
    };
    let runtime = Runtime::Ready { unsafe_versions: Vec::new(), images: Vec::new(), engine };
    let snapshot = Snapshot { runtime, ..Snapshot::default() };
    for language in [Language::English, Language::SimplifiedChinese] {
        let found = look(&snapshot, language);
        assert_eq!(found.iter().filter(|check| check.id == "defaults").count(), 2);
        use CheckStanding::{Optional, Warning};
        let toolkit = found.iter().find(|check| check.id == "toolkit").unwrap();
        assert!(toolkit.repair == Some(Repair::Toolkit) && toolkit.command.is_some(), "{toolkit:?}");
        for (id, standing) in [
            ("socket", Warning),
            ("users", Optional),
            ("gvisor", Optional),
            ("defaults", Warning),
            ("toolkit", Warning),
        ] {
            let check = found.iter().find(|check| check.id == id).unwrap();
            assert_eq!(check.standing, standing, "{id}");
            assert!(!check.title.starts_with("check-") && !check.sentence.starts_with("check-"), "{check:?}");
        }
    }
}

#[test]
fn whether_tenants_run_in_gvisor_is_told_with_the_reason_and_what_mends_it() {
    let told = |drivers: &[&str]| {
        let drivers = drivers.iter().map(|driver| (*driver).to_owned()).collect();
        Gvisor::Told(Sandbox { runtime: "runsc".into(), drivers, changes_limits: false })
    };
    let (known, unknown) = (told(&["550.54.14"]), told(&["550.54.15", "550.90.07", "535.1.1", "560.1.1"]));
    let off = Settings { gvisor: false, ..Settings::default() };
    let share = Settings { give_back: GiveBack::Share, ..Settings::default() };
    let usual = Settings::default();
    let cases = [
        (Gvisor::OwnNetwork, false, &usual, Some("--network=host"), "--network=host"),
        (Gvisor::NoCard, false, &usual, Some("--nvproxy"), "--nvproxy"),
        (Gvisor::Unsafe { flag: "net-raw".into() }, false, &usual, Some("--nvproxy"), "--net-raw"),
        (Gvisor::Silent, false, &usual, None, "NVIDIA"),
        (known.clone(), true, &usual, None, "userns-remap"),
        (known.clone(), false, &off, None, "nightjar tenants --gvisor on"),
        (known.clone(), false, &share, None, "2026"),
        (unknown, false, &usual, None, "550.54.14"),
        (Gvisor::Pending, false, &usual, None, "gVisor"),
        (told(&[]), false, &usual, None, "NVIDIA"),
    ];
    let helper = HelperStanding::Available { version: "1".to_owned() };
    for language in [Language::English, Language::SimplifiedChinese] {
        let said = |gvisor: &Gvisor, maps_users, settings: &Settings| {
            let engine = EngineFacts { gvisor: gvisor.clone(), maps_users, ..EngineFacts::default() };
            let runtime = Runtime::Ready { unsafe_versions: Vec::new(), images: Vec::new(), engine };
            let driver = Some(DriverInfo { version: "550.54.14".into(), cuda: None });
            let snapshot = Snapshot { runtime, driver, ..Snapshot::default() };
            let mut found = look_beside(&helper, &snapshot, settings, language);
            found.retain(|check| check.id == "gvisor");
            assert!(found.len() < 2, "{found:?}");
            found.pop()
        };
        assert_eq!(said(&Gvisor::Absent, false, &usual), None);
        let used = said(&known, false, &usual).unwrap();
        assert_eq!((used.standing, &used.command), (CheckStanding::Good, &None));
        assert!(!used.sentence.starts_with("check-"), "{used:?}");
        let mut sentences = vec![used.sentence];
        for (gvisor, maps_users, settings, command, word) in &cases {
            let check = said(gvisor, *maps_users, settings).unwrap();
            assert_eq!(check.standing, CheckStanding::Optional, "{check:?}");
            assert!(check.sentence.contains(word) && !check.sentence.starts_with("check-"), "{check:?}");
            let is_mended = check.command.as_ref().is_some_and(|line| line.contains(command.unwrap_or("")));
            assert_eq!(is_mended, command.is_some(), "{check:?}");
            sentences.push(check.sentence);
        }
        let unknown = &sentences[8];
        assert!(["550.54.15", "550.90.07", "560.1.1"].iter().all(|near| unknown.contains(near)), "{unknown}");
        assert!(!unknown.contains("535"), "{unknown}");
        let engine = EngineFacts { gvisor: known.clone(), ..EngineFacts::default() };
        let runtime = Runtime::Ready { unsafe_versions: Vec::new(), images: Vec::new(), engine };
        let alone = look_with(&Snapshot { runtime, ..Snapshot::default() }, &usual, language);
        let alone = alone.into_iter().find(|check| check.id == "gvisor").unwrap();
        assert_eq!(alone.standing, CheckStanding::Optional);
        sentences.insert(0, alone.sentence);
        // A list without a driver is told as none.
        assert_eq!(sentences.pop().as_ref(), sentences.get(5));
        let all = sentences.len();
        sentences.sort();
        sentences.dedup();
        assert_eq!(sentences.len(), all, "each says something else: {sentences:?}");
    }
}

#[test]
fn whom_tenants_ask_for_names_is_told_where_this_pcs_own_answers_nobody_else() {
    let helper = HelperStanding::Available { version: "1".to_owned() };
    let gvisor = |drivers: &[&str]| {
        let drivers = drivers.iter().map(|driver| (*driver).to_owned()).collect();
        Gvisor::Told(Sandbox { runtime: "runsc".into(), drivers, changes_limits: false })
    };
    let (used, absent) = (gvisor(&["550.54.14"]), Gvisor::Absent);
    for language in [Language::English, Language::SimplifiedChinese] {
        let said = |own: &[&str], egress, gvisor: &Gvisor, currency| {
            let own_name_servers = own.iter().map(|address| (*address).to_owned()).collect();
            let engine = EngineFacts { own_name_servers, gvisor: gvisor.clone(), ..EngineFacts::default() };
            let runtime = Runtime::Ready { unsafe_versions: Vec::new(), images: Vec::new(), engine };
            let driver = Some(DriverInfo { version: "550.54.14".into(), cuda: None });
            let market_currency = Some(currency);
            let snapshot = Snapshot { runtime, driver, market_currency, ..Snapshot::default() };
            let settings = Settings { egress, ..Settings::default() };
            let mut found = look_beside(&helper, &snapshot, &settings, language);
            found.retain(|check| check.id == "names");
            found.pop()
        };
        let (euro, yuan) = (Currency::new("EUR").unwrap(), Currency::CNY);
        for egress in [EgressMode::Open, EgressMode::Curated] {
            assert_eq!(said(&[], egress, &used, euro), None);
        }
        assert_eq!(said(&["127.0.0.1"], EgressMode::Curated, &absent, euro), None);
        assert_eq!(said(&["127.0.0.1"], EgressMode::Off, &used, euro), None);
        let mut sentences = Vec::new();
        for (egress, gvisor, currency, asked) in [
            (EgressMode::Curated, &used, euro, "9.9.9.9"),
            (EgressMode::Open, &used, euro, "1.1.1.1"),
            (EgressMode::Open, &absent, yuan, "223.5.5.5"),
        ] {
            let check = said(&["127.0.0.1", "127.0.0.2"], egress, gvisor, currency).unwrap();
            assert_eq!(check.standing, CheckStanding::Optional);
            for word in ["127.0.0.1", "127.0.0.2", asked, "/etc/resolv.conf"] {
                assert!(check.sentence.contains(word), "{word}: {check:?}");
            }
            assert!(!check.title.starts_with("check-"), "{check:?}");
            sentences.push(check.sentence);
        }
        assert!(sentences[0].contains("gVisor") && !sentences[1].contains("gVisor"), "{sentences:?}");
    }
}

#[test]
fn what_of_the_gateways_image_is_missing_is_told_before_anything_about_other_images() {
    let said = |gateway, language| {
        let engine = EngineFacts { gateway, ..EngineFacts::default() };
        let runtime = Runtime::Ready { unsafe_versions: Vec::new(), images: Vec::new(), engine };
        let found = look(&Snapshot { runtime, ..Snapshot::default() }, language);
        found.into_iter().find(|check| check.id == "images").unwrap()
    };
    for language in [Language::English, Language::SimplifiedChinese] {
        let missing = said(GatewayImage::Missing { reference: "nightjar/gateway:x".into() }, language);
        assert_eq!(missing.standing, CheckStanding::Bad);
        for named in ["nightjar/gateway:x", "images/README.md", "NIGHTJAR_CATALOGUE"] {
            assert!(missing.sentence.contains(named), "{missing:?}");
        }
        let coming = said(GatewayImage::Coming, language);
        assert_eq!(coming.standing, CheckStanding::Warning, "{coming:?}");
        let none = said(GatewayImage::Present, language);
        assert_eq!(none.standing, CheckStanding::Bad);
        assert!(none.sentence.contains("nightjar images pull"), "{none:?}");
    }
}

#[test]
fn a_system_that_tells_of_no_cards_sleep_is_said_once_there_is_a_card() {
    let driver = nightjar_core::gpu::DriverInfo { version: "550.54.14".into(), cuda: None };
    for language in [Language::English, Language::SimplifiedChinese] {
        for (told, driver, is_said) in [
            (None, Some(driver.clone()), false),
            (Some(true), Some(driver.clone()), false),
            (Some(false), None, false),
            (Some(false), Some(driver.clone()), true),
        ] {
            let found = look(&Snapshot { power_states_told: told, driver, ..Snapshot::default() }, language);
            let said = found.iter().find(|check| check.id == "sleep");
            assert_eq!(said.is_some(), is_said, "{said:?}");
            assert!(said.is_none_or(
                |check| check.standing == CheckStanding::Optional && check.sentence.contains("30")
            ));
        }
    }
}

#[test]
fn what_the_kernel_lacks_is_told_with_what_mends_it_in_both_languages() {
    let said = |kernel, language| {
        let engine = EngineFacts { kernel, ..EngineFacts::default() };
        let runtime = Runtime::Ready { unsafe_versions: Vec::new(), images: Vec::new(), engine };
        let found = look(&Snapshot { runtime, ..Snapshot::default() }, language);
        found.into_iter().find(|check| check.id == "kernel").unwrap()
    };
    let told = |lacks: &[KernelPart], home| KernelFacts::Told { lacks: lacks.to_vec(), home };
    for language in [Language::English, Language::SimplifiedChinese] {
        for (home, named, command) in [
            (KernelHome::Linux, "modprobe -a sch_htb", Some("sudo modprobe -a sch_htb")),
            (KernelHome::Wsl, "wsl --update", Some("wsl --update; wsl --shutdown")),
            (KernelHome::DockerDesktop, "Docker Desktop", None),
        ] {
            let check = said(told(&[KernelPart::Htb], home), language);
            assert_eq!((check.standing, check.command.as_deref()), (CheckStanding::Bad, command));
            for word in [named, "CONFIG_NET_SCH_HTB", "sch_htb"] {
                assert!(check.sentence.contains(word), "{word}: {check:?}");
            }
        }
        let reduced = said(told(&[KernelPart::Ifb], KernelHome::Linux), language);
        assert_eq!(reduced.standing, CheckStanding::Optional);
        assert!(reduced.sentence.contains("CONFIG_IFB"), "{reduced:?}");
        let standings = [
            (told(&[], KernelHome::Linux), CheckStanding::Good),
            (KernelFacts::Asking, CheckStanding::Unknown),
            (KernelFacts::Unasked, CheckStanding::Optional),
        ];
        for (kernel, standing) in standings {
            let check = said(kernel, language);
            assert_eq!(check.standing, standing, "{check:?}");
            assert!(!check.sentence.starts_with("check-") && !check.title.starts_with("check-"), "{check:?}");
        }
    }
}

#[test]
fn containers_that_are_not_as_ours_are_told_by_their_names_in_both_languages() {
    let odd = Ok(vec![
        OddContainer::Privileged { name: "by-hand".into() },
        OddContainer::UnknownImage { name: "stranger".into(), image: "debian:12".into() },
    ]);
    let (snapshot, helper) = (Snapshot::default(), HelperStanding::NotInstalled);
    for language in [Language::English, Language::SimplifiedChinese] {
        let found = checks(&snapshot, &odd, &helper, &Settings::default(), language, &|_| String::new());
        let told: Vec<&Check> = found.iter().filter(|check| check.id == "containers").collect();
        assert_eq!(told.len(), 2);
        assert!(told[0].sentence.contains("by-hand") && told[0].sentence.contains("--privileged"));
        assert!(told[1].sentence.contains("stranger") && told[1].sentence.contains("debian:12"));
        assert_eq!(told[1].command.as_deref(), Some("docker stop stranger"));
        assert!(told.iter().all(|check| check.standing == CheckStanding::Warning), "{told:?}");
        assert!(!told[0].title.starts_with("check-"), "{told:?}");
    }
}

#[test]
fn a_look_at_the_containers_that_failed_is_told_with_its_reason_in_both_languages() {
    let failed = Err(String::from("the Engine did not answer within 5 s"));
    let (snapshot, helper) = (Snapshot::default(), HelperStanding::NotInstalled);
    for language in [Language::English, Language::SimplifiedChinese] {
        let clock = |_| String::new();
        let found = checks(&snapshot, &failed, &helper, &Settings::default(), language, &clock);
        let told: Vec<&Check> = found.iter().filter(|check| check.id == "containers").collect();
        assert_eq!(told.len(), 1, "{found:?}");
        assert!(told[0].sentence.contains("did not answer within 5 s"), "{told:?}");
        assert!(!told[0].standing.is_well() && !told[0].sentence.starts_with("check-"), "{told:?}");
    }
}

#[test]
fn the_worst_is_what_one_sentence_says() {
    use CheckStanding::{Bad, Good, Optional, Unknown, Warning};
    let clock = |_| String::new();
    let driver = Doctor { texts: Texts::of(Language::English), clock: &clock };
    let of = |standings: &[CheckStanding], language| {
        let one = |standing: &CheckStanding| driver.check("driver", *standing, String::new());
        summary(&standings.iter().map(one).collect::<Vec<_>>(), language)
    };
    for language in [Language::English, Language::SimplifiedChinese] {
        let said = [&[Good, Optional][..], &[Good, Unknown], &[Unknown, Warning], &[Warning, Bad, Unknown]]
            .map(|standings| of(standings, language));
        let told: std::collections::BTreeSet<&String> = said.iter().collect();
        assert_eq!(told.len(), 4, "{said:?}");
        assert!(said.iter().all(|sentence| !sentence.starts_with("doctor-")), "{said:?}");
    }
}

#[test]
fn lending_is_promised_only_where_all_was_seen_to_be_there() {
    use CheckStanding::{Bad, Good, Optional, Unknown, Warning};
    let clock = |_| String::new();
    for language in [Language::English, Language::SimplifiedChinese] {
        let doctor = Doctor { texts: Texts::of(language), clock: &clock };
        let said = |found: &[(&str, CheckStanding)]| {
            let one = |(id, standing): &(&str, CheckStanding)| doctor.check(id, *standing, String::new());
            Lending::of(&found.iter().map(one).collect::<Vec<_>>(), language)
        };
        let title = |id: &str| doctor.texts.plain(&format!("check-{id}"));
        let all = said(&[("driver", Good), ("helper", Optional), ("market", Bad)]);
        assert_eq!(all.standing, Good);
        let unseen = said(&[("driver", Unknown), ("toolkit", Warning), ("market", Unknown)]);
        assert_eq!(unseen.standing, Unknown);
        assert!(unseen.sentence.contains(&title("driver")) && !unseen.sentence.contains(&title("market")));
        let odd =
            said(&[("driver", Good), ("containers", Warning), ("toolkit", Warning), ("containers", Warning)]);
        assert_eq!(odd.standing, Warning);
        let list = doctor.texts.list(&[title("containers"), title("toolkit")]);
        assert!(odd.sentence.contains(&list), "{odd:?}");
        let bad = said(&[("driver", Unknown), ("engine", Bad), ("toolkit", Warning)]);
        assert!(bad.standing == Bad && bad.sentence.contains(&title("engine")), "{bad:?}");
        let kinds: std::collections::BTreeSet<String> =
            [all, unseen, odd, bad].map(|lending| lending.sentence).into();
        assert!(
            kinds.len() == 4 && kinds.iter().all(|sentence| !sentence.starts_with("lending-")),
            "{kinds:?}"
        );
    }
    // The toolkit and the gateway: with either of them missing no job starts.
    let runtime = |toolkit, gateway| Runtime::Ready {
        unsafe_versions: Vec::new(),
        images: vec!["pytorch-cuda:lite".into()],
        engine: EngineFacts { toolkit, gateway, ..EngineFacts::default() },
    };
    for (toolkit, gateway) in
        [(Toolkit::Missing, GatewayImage::Present), (Toolkit::Present, GatewayImage::Coming)]
    {
        let ready = Snapshot {
            runtime: runtime(toolkit, gateway),
            driver: Some(nightjar_core::gpu::DriverInfo { version: "570.1".into(), cuda: Some(12_080) }),
            presence: Presence::Active { since: Timestamp(0) },
            disk: Some(DiskSpace { folder: "/".into(), free_mib: 1_000_000, free_files: None }),
            ..Snapshot::default()
        };
        let found = look(&ready, Language::English);
        assert_eq!(Lending::of(&found, Language::English).standing, CheckStanding::Warning, "{found:?}");
    }
}

#[test]
fn what_works_is_good() {
    let runtime = Runtime::Ready {
        unsafe_versions: Vec::new(),
        images: vec!["pytorch-cuda:lite".into()],
        engine: EngineFacts { toolkit: Toolkit::Present, ..EngineFacts::default() },
    };
    let ready = Snapshot {
        runtime,
        market: Market::Connected,
        presence: Presence::Active { since: Timestamp(0) },
        disk: Some(DiskSpace { folder: "/".into(), free_mib: 1_000_000, free_files: None }),
        ..Snapshot::default()
    };
    let found = look(&ready, Language::English);
    assert!(found.iter().all(|check| check.standing != CheckStanding::Bad), "{found:?}");
    assert!(found.iter().any(|check| check.id == "toolkit" && check.standing.is_good()), "{found:?}");
    assert!(!found.iter().any(|check| check.id == "socket" || check.id == "gvisor"), "{found:?}");
    let images = |snapshot: &Snapshot| {
        look(snapshot, Language::English).into_iter().find(|check| check.id == "images").unwrap()
    };
    assert!(images(&ready).sentence.contains("pytorch-cuda:lite"));
    let none_lent = images(&Snapshot { images_lent: ImagesLent::NoneAgreed, ..ready });
    assert_eq!(none_lent.standing, CheckStanding::Bad);
    assert!(none_lent.sentence.contains("nightjar images lend"), "{none_lent:?}");
}
