use std::collections::BTreeMap;

use nightjar_core::gpu::GpuUuid;
use nightjar_core::money::{Currency, Money};
use nightjar_core::proof::Nonce;
use nightjar_core::time::Timestamp;
use serde_json::{Value, json};

use super::*;

#[test]
fn each_image_has_the_tenant_that_containers_are_made_for() {
    let ids: Vec<u32> = TENANT.split(':').map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids, [volume::TENANT_ID; 2]);
    let images = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
    for image in ["pytorch-cuda", "tensorflow-cuda", "rapids", "llm-inference"] {
        let recipe = std::fs::read_to_string(images.join(image).join("Dockerfile")).unwrap();
        let user = recipe.lines().rfind(|line| line.starts_with("USER "));
        assert_eq!(user, Some(format!("USER {TENANT}").as_str()), "{image}");
    }
}

/// A base may name an ordinary user, as the official one of RAPIDS does.
#[test]
fn each_stage_of_an_image_is_built_by_root_whoever_its_base_names() {
    let images = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
    for image in ["gateway", "pytorch-cuda", "tensorflow-cuda", "rapids", "llm-inference"] {
        let recipe = std::fs::read_to_string(images.join(image).join("Dockerfile")).unwrap();
        let stages: Vec<&str> = recipe.split("\nFROM ").skip(1).collect();
        assert!(!stages.is_empty(), "{image}");
        for stage in stages {
            let run = stage.find("\nRUN ").unwrap_or(stage.len());
            let by_root = stage.find("\nUSER 0:0\n").is_some_and(|user| user < run);
            assert!(by_root, "{image}: {stage}");
        }
    }
}

pub(crate) fn terms() -> LeaseTerms {
    LeaseTerms {
        lease: LeaseId("6b1f7a52-8c3e-4b0e-9a55-0d6f0c1f2a77".into()),
        epoch: Epoch(3),
        gpu: GpuUuid("GPU-1".into()),
        image: "pytorch-cuda:lite".into(),
        renter: "amber-otter".into(),
        renter_key: "Ab".repeat(32),
        ssh_public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA renter@laptop".into(),
        root_inside: false,
        no_sandbox: false,
        serve_model: None,
        volume: Default::default(),
        volume_key: None,
        price_per_hour: Money::new(1_500_000, Currency::CNY),
        fee_basis_points: 1_000,
        offered_at: Timestamp(0),
        nonce: Nonce::of([7; 16]),
    }
}

fn spec(terms: &LeaseTerms, settings: &Settings) -> Result<WorkerSpec, UnusableTerms> {
    spec_in(None, &[std::net::Ipv4Addr::new(192, 168, 1, 1)], terms, settings)
}

fn spec_in(
    sandbox: Option<&str>,
    name_servers: &[std::net::Ipv4Addr],
    terms: &LeaseTerms,
    settings: &Settings,
) -> Result<WorkerSpec, UnusableTerms> {
    let catalogue = Catalogue::shipped().unwrap();
    let egress =
        Egress::parse("version = 1\n[[group]]\nname = \"test\"\ndomains = [\"example.org\"]").unwrap();
    let around = Surroundings {
        host: "default",
        catalogue: &catalogue,
        gateway: &catalogue.gateway().source.reference,
        egress: &egress,
        seccomp: "{\"defaultAction\":\"SCMP_ACT_ERRNO\"}",
        root_seccomp: "{\"defaultAction\":\"SCMP_ACT_LOG\"}",
        name_servers,
        settings,
        own_networks: &["8.8.4.0/24".to_owned()],
        own_addresses: &[std::net::Ipv4Addr::new(9, 9, 1, 1)],
        engine_cores: 16,
        engine_root: (0, 0),
        sandbox,
    };
    WorkerSpec::new(terms, "t".repeat(64), &around)
}

#[test]
fn both_containers_and_their_network_are_as_they_were() {
    let spec = spec(&terms(), &Settings::default()).unwrap();
    insta::with_settings!({ sort_maps => true }, {
        insta::assert_json_snapshot!("network", spec.network);
        insta::assert_json_snapshot!("gateway", spec.gateway);
        insta::assert_json_snapshot!("gateway_boot", spec.gateway_boot);
        insta::assert_json_snapshot!("worker", spec.worker);
        insta::assert_json_snapshot!("kernel_probe", kernel_probe("default", "nightjar/gateway:dev".into()));
    });
}

/// What is in one of them and not, or otherwise, in the other, by its place.
fn differences(one: &Value, other: &Value, place: &str, found: &mut BTreeMap<String, [Value; 2]>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for name in one.keys().chain(other.keys()) {
                let of = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                differences(&of(one), &of(other), &format!("{place}/{name}"), found);
            }
        }
        _ if one != other => drop(found.insert(place.to_owned(), [one.clone(), other.clone()])),
        _ => {}
    }
}

fn whole(spec: &WorkerSpec) -> Value {
    json!({
        "network": spec.network,
        "gateway": spec.gateway,
        "gateway_boot": spec.gateway_boot,
        "worker": spec.worker,
        "worker_boot": spec.worker_boot,
        "volume": [spec.volume.disk, spec.volume.holder],
        "volume_boot": [json!(spec.volume.disk_boot), json!(spec.volume.holder_boot)],
        "volume_mount": [json!(spec.volume.plain_mount()), json!(spec.volume.mount_labels)],
    })
}

#[test]
fn a_sandbox_changes_these_things_and_no_other() {
    for root_inside in [false, true] {
        for egress in [EgressMode::Curated, EgressMode::Open, EgressMode::Off] {
            if root_inside && egress == EgressMode::Curated {
                continue;
            }
            let terms = LeaseTerms { root_inside, ..terms() };
            let settings = Settings { egress, root_inside, ..Settings::default() };
            let router = [std::net::Ipv4Addr::new(192, 168, 1, 1)];
            let made = |sandbox| whole(&spec_in(sandbox, &router, &terms, &settings).unwrap());
            let mut found = BTreeMap::new();
            differences(&made(None), &made(Some("sandbox")), "", &mut found);
            let mut expected = json!({
                "/gateway/HostConfig/CapAdd": [["NET_ADMIN"], ["NET_ADMIN", "SETGID", "SETUID"]],
                "/gateway_boot/sandboxed": [null, true],
                "/worker/HostConfig/PidsLimit": [2_048, 6_144],
                "/worker/HostConfig/Runtime": [null, "sandbox"],
                "/worker/Labels/nightjar.sandbox": [null, "gvisor"],
                "/worker_boot/sandboxed": [null, true],
            });
            if egress == EgressMode::Curated {
                expected["/gateway/HostConfig/Dns"] = json!([null, ["127.0.0.2"]]);
                expected["/gateway_boot/name_servers"] = json!([null, ["192.168.1.1"]]);
            }
            assert_eq!(json!(found), expected, "{egress:?}, root inside: {root_inside}");
        }
    }
}

#[test]
fn a_sandboxed_gateways_proxy_asks_whom_the_pc_asks_and_public_ones_where_nobody_is_known() {
    let asked = |known: &[std::net::Ipv4Addr], egress| {
        let settings = Settings { egress, ..Settings::default() };
        spec_in(Some("sandbox"), known, &terms(), &settings).unwrap().gateway_boot.name_servers
    };
    let two = [[192, 168, 1, 1], [10, 0, 0, 1]].map(std::net::Ipv4Addr::from);
    assert_eq!(asked(&two, EgressMode::Curated), two);
    let public = asked(&[], EgressMode::Curated);
    assert_eq!(public.first(), Some(&std::net::Ipv4Addr::new(223, 5, 5, 5)));
    assert!(public.iter().all(|server| !server.is_private() && !server.is_loopback()), "{public:?}");
    for egress in [EgressMode::Open, EgressMode::Off] {
        assert!(asked(&two, egress).is_empty(), "{egress:?}: there is no proxy that could ask");
    }
}

/// A router tells of the home's devices whoever asks it for names.
#[test]
fn a_tenant_that_reaches_all_of_the_internet_asks_no_name_server_of_the_home() {
    let asked = |egress| {
        let spec = spec(&terms(), &Settings { egress, ..Settings::default() }).unwrap();
        spec.gateway.host_config.unwrap().dns
    };
    assert_eq!(asked(EgressMode::Open).unwrap()[0], "223.5.5.5");
    assert!(!asked(EgressMode::Open).unwrap().contains(&"192.168.1.1".to_owned()));
    assert_eq!((asked(EgressMode::Curated), asked(EgressMode::Off)), (None, None));
}

#[test]
fn a_tenant_gets_the_card_of_its_terms_by_name_and_no_other() {
    let spec_of =
        |card: &str| spec(&LeaseTerms { gpu: GpuUuid(card.into()), ..terms() }, &Settings::default());
    let cards = |spec: WorkerSpec| spec.worker.host_config.unwrap().device_requests.unwrap()[0].clone();
    let asked = cards(spec_of("GPU-51ade1ca-7a2d-4e57-9a00-000000000002").unwrap());
    assert_eq!(asked.device_ids.unwrap(), ["GPU-51ade1ca-7a2d-4e57-9a00-000000000002"]);
    for other in
        ["", "0", "all", "GPU-", "GPU-1,GPU-2", "GPU-1 ", "gpu-1", &format!("GPU-{}", "1".repeat(65))]
    {
        assert_eq!(spec_of(other).unwrap_err(), UnusableTerms::Card, "{other}");
    }
}

#[test]
fn limits_follow_the_settings_and_the_machine() {
    let limits = WorkerLimits { cpu_cores: 64, memory_mib: 65_536, pids: 100, ..WorkerLimits::default() };
    let settings = Settings { limits, egress: EgressMode::Off, ..Settings::default() };
    let spec = spec(&terms(), &settings).unwrap();
    let worker = spec.worker.host_config.unwrap();
    assert_eq!(worker.nano_cpus, Some(16_000_000_000));
    assert_eq!(worker.memory, Some(68_719_476_736));
    assert_eq!(worker.memory_swap, worker.memory);
    assert_eq!(worker.pids_limit, Some(100));
    assert!(worker.tmpfs.unwrap()["/tmp"].contains("size=4096m"));
    assert_eq!(spec.gateway_boot.egress, EgressMode::Off);
    let gateways = spec.gateway.host_config.unwrap().pids_limit.unwrap();
    assert!(gateways >= i64::from(PROXY_CLIENTS) + 64, "a full proxy leaves no room to change limits");
}

#[test]
fn a_tenant_has_no_right_beyond_its_user() {
    let spec = spec(&terms(), &Settings::default()).unwrap();
    let worker = spec.worker.host_config.unwrap();
    assert_eq!(worker.cap_drop, Some(vec!["ALL".to_owned()]));
    assert_eq!((worker.cap_add, worker.privileged, worker.binds, worker.devices), (None, None, None, None));
    assert_eq!(spec.worker.user.as_deref(), Some(TENANT));
    let published = spec.gateway.host_config.unwrap().port_bindings.unwrap();
    for binding in published.values().flatten().flatten() {
        assert_eq!(binding.host_ip.as_deref(), Some("127.0.0.1"));
    }
}

#[test]
fn a_tenant_is_root_inside_only_where_both_want_it() {
    let wants = LeaseTerms { root_inside: true, ..terms() };
    let allows = Settings { root_inside: true, egress: EgressMode::Open, ..Settings::default() };
    let made = spec(&wants, &allows).unwrap();
    insta::with_settings!({ sort_maps => true }, {
        insta::assert_json_snapshot!("root_worker", made.worker);
    });
    assert!(made.gateway_boot.root_inside && made.worker_boot.root_inside);
    let strict = spec(&terms(), &allows).unwrap();
    assert_eq!(strict.worker.user.as_deref(), Some(TENANT));
    // Files of root's would be of no use to an ordinary user.
    let volume =
        |spec: WorkerSpec| spec.worker.host_config.unwrap().mounts.unwrap().remove(0).source.unwrap();
    assert_ne!(volume(made), volume(strict.clone()));
    assert_eq!(strict.worker.host_config.unwrap().cap_add, None);
    for refuses in [
        Settings::default(),
        Settings { root_inside: true, egress: EgressMode::Curated, ..Settings::default() },
    ] {
        assert_eq!(spec(&wants, &refuses).unwrap_err(), UnusableTerms::RootInside);
    }
}

#[test]
fn renters_share_no_volume_and_a_renter_keeps_theirs() {
    let source = |key: &str| {
        let terms = LeaseTerms { renter_key: key.into(), ..terms() };
        let spec = spec(&terms, &Settings::default()).unwrap();
        spec.worker.host_config.unwrap().mounts.unwrap().remove(0).source.unwrap()
    };
    assert_eq!(source(&"Ab".repeat(32)), source(&"ab".repeat(32)));
    assert_ne!(source(&"ab".repeat(32)), source(&"ac".repeat(32)));
}

#[test]
fn a_model_is_served_by_an_image_made_for_it_and_by_no_other() {
    let served = |image: &str, model: &str| {
        let terms = LeaseTerms { image: image.into(), serve_model: Some(model.into()), ..terms() };
        spec(&terms, &Settings::default())
    };
    let spec = served("llm-inference:lite", "Qwen/Qwen3-8B").unwrap();
    assert_eq!(spec.worker_boot.serve_model.as_deref(), Some("Qwen/Qwen3-8B"));
    assert_eq!(spec.gateway_boot.worker_ports, [22, 8888, 8000]);
    assert!(spec.gateway.exposed_ports.unwrap().contains(&"8000/tcp".to_owned()));
    for (image, model) in [
        ("pytorch-cuda:lite", "tiny"),
        ("llm-inference:lite", "--trust-remote-code"),
        ("llm-inference:lite", "a b"),
        ("llm-inference:lite", ""),
    ] {
        assert!(served(image, model).is_err(), "{image} serves {model:?}");
    }
}

#[test]
fn terms_that_the_market_should_not_have_sent_are_refused() {
    let settings = Settings::default();
    let refused = |terms: LeaseTerms| spec(&terms, &settings).unwrap_err();
    for lease in ["", "a/b", "a b", "x=y", &"a".repeat(65)] {
        assert_eq!(refused(LeaseTerms { lease: LeaseId(lease.into()), ..terms() }), UnusableTerms::Lease);
    }
    for renter_key in ["", "xyz", &"g".repeat(64), &"a".repeat(63)] {
        assert_eq!(
            refused(LeaseTerms { renter_key: renter_key.into(), ..terms() }),
            UnusableTerms::RenterKey
        );
    }
    let long = format!("ssh-rsa {}", "A".repeat(LONGEST_KEY));
    for key in [
        "",
        "ssh-ed25519",
        "ssh-ed25519 ",
        "ssh-ed25519 AAAA\nssh-rsa BBBB",
        "command=\"x\" ssh-rsa A",
        &long,
    ] {
        assert_eq!(refused(LeaseTerms { ssh_public_key: key.into(), ..terms() }), UnusableTerms::SshKey);
    }
    for nonce in ["", "ff", &"g".repeat(32), "; rm -rf /"] {
        assert_eq!(refused(LeaseTerms { nonce: Nonce(nonce.into()), ..terms() }), UnusableTerms::Nonce);
    }
    let image = "elsewhere/miner:latest";
    assert_eq!(refused(LeaseTerms { image: image.into(), ..terms() }), UnusableTerms::Image(image.into()));
}
