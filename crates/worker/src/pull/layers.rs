//! Layers on their way into the Engine: which of them it has, and an image of the lowest ones, under whose name it keeps
//! those while the upper ones are still coming.

use bollard::models::SystemInfo;
use serde_json::{Value, json};

use super::registry::Description;
use crate::catalogue::Source;
use crate::engine::ImageFacts;

/// Names of images that are not all here begin so.
pub(super) const COMING: &str = "nightjar.local/coming:";
/// Fewer bytes are not worth a call of their own.
const LEAST_AHEAD_BYTES: u64 = 4 << 20;

fn short_digest(image: &Source) -> String {
    let digest = image.digest.as_deref().unwrap_or_default().trim_start_matches("sha256:");
    digest.chars().take(16).collect()
}

/// Its name in the Engine, which nobody else gives.
pub(super) fn local_tag(image: &Source) -> String {
    let digest = short_digest(image);
    match image.key.split_once(':') {
        Some((name, flavour)) => format!("nightjar.local/{name}:{flavour}-{digest}"),
        None => format!("nightjar.local/{}:{digest}", image.key),
    }
}

/// What the names of an image's lower layers begin with.
pub(super) fn coming_prefix(image: &Source) -> String {
    format!("{COMING}{}-", short_digest(image))
}

/// The classic store's id is the configuration's digest. One that counts otherwise has the same layers in it.
pub(super) fn is_it(facts: &ImageFacts, description: &Description) -> bool {
    facts.id == description.config_digest
        || facts.diff_ids.iter().eq(description.layers.iter().map(|layer| &layer.diff_id))
}

/// Whether the Engine takes an archive without the layers that it has. containerd's store wants them all.
pub(crate) fn takes_layers_apart(info: &SystemInfo) -> bool {
    let mut status = info.driver_status.iter().flatten().flatten();
    !status.any(|word| word.starts_with("io.containerd.snapshotter"))
}

/// How many of the lowest layers the Engine has: those of some image that has the same ones below them.
pub(super) fn in_engine(description: &Description, images: &[ImageFacts]) -> usize {
    let wanted = || description.layers.iter().map(|layer| &layer.diff_id);
    let shared = images
        .iter()
        .map(|image| image.diff_ids.iter().zip(wanted()).take_while(|(has, is)| has == is).count());
    shared.max().unwrap_or(0)
}

/// Up to which layer the Engine can be given now what it lacks, if that is worth a call and not all that is missing.
pub(super) fn ahead(
    description: &Description,
    given: usize,
    is_here: impl Fn(&str) -> bool,
) -> Option<usize> {
    let to_come = description.layers.iter().skip(given);
    let (mut count, mut bytes) = (0, 0);
    for layer in to_come.take_while(|layer| is_here(&layer.digest)) {
        (count, bytes) = (count + 1, bytes + layer.size_bytes);
    }
    (bytes >= LEAST_AHEAD_BYTES && given + count < description.layers.len()).then_some(given + count)
}

/// The configuration of an image of the lowest so many layers, which can be kept but not run.
pub(super) fn lower_config(description: &Description, layers: usize) -> serde_json::Result<Vec<u8>> {
    let whole: Value = serde_json::from_slice(&description.config)?;
    let diff_ids: Vec<&String> = description.layers.iter().take(layers).map(|layer| &layer.diff_id).collect();
    serde_json::to_vec(&json!({
        "architecture": whole["architecture"],
        "os": whole["os"],
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull::registry::Layer;

    fn description() -> Description {
        let layer = |name: &str, mib: u64| Layer {
            digest: name.to_uppercase(),
            size_bytes: mib << 20,
            diff_id: name.into(),
        };
        Description {
            config_digest: "id".into(),
            config: br#"{"architecture":"amd64","os":"linux","config":{"Cmd":["x"]},"history":[{},{}]}"#
                .to_vec(),
            layers: vec![layer("a", 2), layer("b", 3), layer("c", 50)],
        }
    }

    #[test]
    fn layers_are_left_out_only_on_top_of_the_same_ones() {
        let image = |ids: &[&str]| ImageFacts {
            user: String::new(),
            id: String::new(),
            diff_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            size_bytes: 0,
        };
        let has = |images: &[ImageFacts]| in_engine(&description(), images);
        assert_eq!(has(&[image(&["b", "c"]), image(&["a", "x", "c"])]), 1);
        assert_eq!(has(&[image(&["a"]), image(&["a", "b", "x"])]), 2);
        assert_eq!(has(&[image(&["a", "b", "c", "d"])]), 3);
        assert_eq!(has(&[]), 0);
        assert!(is_it(&image(&["a", "b", "c"]), &description()));
        assert!(!is_it(&image(&["a", "b"]), &description()));
    }

    #[test]
    fn lower_layers_go_ahead_in_their_order_when_they_are_worth_a_call() {
        let ahead = |given, here: &str| ahead(&description(), given, |digest| here.contains(digest));
        assert_eq!(ahead(0, "A"), None, "too little");
        assert_eq!(ahead(0, "BC"), None, "what is below is missing");
        assert_eq!(ahead(0, "AB"), Some(2));
        assert_eq!(ahead(2, "AB"), None, "it is there already");
        assert_eq!(ahead(0, "ABC"), None, "that is all of it");
        assert_eq!(ahead(1, "BC"), None);
    }

    #[test]
    fn an_image_of_the_lower_layers_names_them_and_nothing_to_run() {
        let config: Value = serde_json::from_slice(&lower_config(&description(), 2).unwrap()).unwrap();
        let rootfs = json!({ "type": "layers", "diff_ids": ["a", "b"] });
        assert_eq!(config, json!({ "architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs }));
    }

    #[test]
    fn containerds_store_gets_every_layer() {
        let info = |rows: &[[&str; 2]]| SystemInfo {
            driver_status: Some(
                rows.iter().map(|row| row.iter().map(|word| (*word).into()).collect()).collect(),
            ),
            ..SystemInfo::default()
        };
        assert!(takes_layers_apart(&info(&[["Backing Filesystem", "extfs"], ["Supports d_type", "true"]])));
        assert!(takes_layers_apart(&SystemInfo::default()));
        assert!(!takes_layers_apart(&info(&[["driver-type", "io.containerd.snapshotter.v1"]])));
    }
}
