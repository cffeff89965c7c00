//! Dependencies point one way (ARCHITECTURE.md). What a crate may use of ours is listed here; anything else fails.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crate → what it may use. Tests may use anything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("nightjar-core", &[]),
    ("nightjar-protocol", &["nightjar-core"]),
    ("nightjar-gpu", &["nightjar-core", "nightjar-protocol"]),
    ("nightjar-history", &["nightjar-core"]),
    ("nightjar-presence", &["nightjar-core", "nightjar-protocol"]),
    ("nightjar-worker", &["nightjar-core", "nightjar-protocol"]),
    ("nightjar-link", &["nightjar-core", "nightjar-protocol"]),
    (
        "nightjar-agent",
        &[
            "nightjar-core",
            "nightjar-protocol",
            "nightjar-gpu",
            "nightjar-history",
            "nightjar-presence",
            "nightjar-worker",
            "nightjar-link",
        ],
    ),
    (
        "nightjar-cli",
        &[
            "nightjar-core",
            "nightjar-protocol",
            "nightjar-agent",
            "nightjar-link",
            "nightjar-gpu",
            "nightjar-history",
        ],
    ),
    ("nightjar-desktop", &["nightjar-core", "nightjar-protocol", "nightjar-agent"]),
    ("nightjar-helper", &["nightjar-core", "nightjar-protocol", "nightjar-gpu"]),
    ("nightjar-coordinator", &["nightjar-core", "nightjar-protocol", "nightjar-link"]),
    // What runs inside a container speaks the protocol and knows nothing else of us.
    ("nightjar-guest", &["nightjar-core", "nightjar-protocol"]),
    // The stand-in hardware knows nothing of the product, and the product nothing of it.
    ("nightjar-sim", &[]),
    ("nightjar-sim-nvml", &["nightjar-sim"]),
    ("nightjar-sim-cuda", &["nightjar-sim"]),
    (
        "nightjar-testbed",
        &[
            "nightjar-gpu",
            "nightjar-history",
            "nightjar-core",
            "nightjar-protocol",
            "nightjar-sim",
            "nightjar-worker",
            "nightjar-agent",
        ],
    ),
    ("nightjar-e2e", &[]),
    ("xtask", &[]),
];

#[test]
fn dependencies_point_one_way() {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata");
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ALLOWED.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let allowed =
            allowed.get(name).unwrap_or_else(|| panic!("{name} is not in this list: add its place"));
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            let used = dependency.name.as_str();
            assert!(!ours.contains(used) || allowed.contains(used), "{name} may not depend on {used}");
            let is_tauri = used == "tauri" || used.starts_with("tauri-");
            assert!(
                !is_tauri || name == "nightjar-desktop",
                "only the desktop shell knows Tauri, not {name}"
            );
        }
    }
}
