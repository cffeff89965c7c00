//! An image's manifest, by digest and within bounds.

use oci_client::client::linux_amd64_resolver;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE, OciImageManifest, OciManifest,
};

use super::door::{Door, read};
use super::registry::{Trouble, digest_of};

/// What registries take at least and few take more of.
const LARGEST_BYTES: usize = 4 * 1024 * 1024;

/// Of the image for this kind of PC, where the digest is that of a list.
pub(super) async fn manifest(door: &Door, digest: &str) -> Result<OciImageManifest, Trouble> {
    let entries = match fetch(door, digest).await? {
        OciManifest::Image(manifest) => return Ok(manifest),
        OciManifest::ImageIndex(index) => index.manifests,
    };
    let none = || Trouble::Refused("the registry has it not for this PC".to_owned());
    let chosen = linux_amd64_resolver(&entries).ok_or_else(none)?;
    if !crate::catalogue::is_digest(&chosen) {
        return Err(none());
    }
    match fetch(door, &chosen).await? {
        OciManifest::Image(manifest) => Ok(manifest),
        OciManifest::ImageIndex(_) => Err(none()),
    }
}

async fn fetch(door: &Door, digest: &str) -> Result<OciManifest, Trouble> {
    let kinds = [
        IMAGE_MANIFEST_MEDIA_TYPE,
        IMAGE_MANIFEST_LIST_MEDIA_TYPE,
        OCI_IMAGE_MEDIA_TYPE,
        OCI_IMAGE_INDEX_MEDIA_TYPE,
    ];
    let mut answer = door.get(&format!("manifests/{digest}"), &kinds.join(", "), 0).await?;
    let bytes = read(&mut answer, LARGEST_BYTES).await?;
    let bytes = bytes.filter(|bytes| digest_of(bytes) == digest);
    let bytes = bytes.ok_or_else(|| Trouble::Corrupt { digest: digest.to_owned() })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Trouble::Refused(format!("the registry's image is unusable: its manifest: {error}")))
}

#[cfg(test)]
mod tests {
    use super::super::door::tests::{Answer, registry};
    use super::*;
    use serde_json::json;

    fn image() -> Vec<u8> {
        let part = json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(b"c"), "size": 1 });
        json!({ "schemaVersion": 2, "mediaType": OCI_IMAGE_MEDIA_TYPE, "config": part, "layers": [] })
            .to_string()
            .into_bytes()
    }

    fn list(of: &str, architecture: &str) -> Vec<u8> {
        let entry = json!({
            "mediaType": OCI_IMAGE_MEDIA_TYPE, "digest": of, "size": 1,
            "platform": { "os": "linux", "architecture": architecture },
        });
        json!({ "schemaVersion": 2, "mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE, "manifests": [entry] })
            .to_string()
            .into_bytes()
    }

    async fn ask(answers: Vec<Option<Vec<u8>>>, digest: &str) -> (Result<OciImageManifest, Trouble>, usize) {
        let (reference, serving) = registry(answers.into_iter().map(Answer::of).collect()).await;
        let found = manifest(&Door::new(reference, true).unwrap(), digest).await;
        (found, serving.await.unwrap().1)
    }

    #[tokio::test]
    async fn a_manifest_without_end_is_left_off_at_its_bound() {
        let digest = digest_of(b"anything");
        let (found, sent) = ask(vec![None], &digest).await;
        assert_eq!(found.unwrap_err(), Trouble::Corrupt { digest });
        // What lies in the buffers between the two comes on top.
        assert!(sent < 4 * LARGEST_BYTES, "{sent} bytes were taken");
    }

    #[tokio::test]
    async fn only_what_has_the_digest_counts_also_by_way_of_a_list() {
        let (right, digest) = (image(), digest_of(&image()));
        assert!(ask(vec![Some(right.clone())], &digest).await.0.is_ok());
        let other = digest_of(b"another");
        assert_eq!(
            ask(vec![Some(right.clone())], &other).await.0.unwrap_err(),
            Trouble::Corrupt { digest: other.clone() }
        );
        let by_list = list(&digest, "amd64");
        assert!(ask(vec![Some(by_list.clone()), Some(right.clone())], &digest_of(&by_list)).await.0.is_ok());
        let wrong = list(&other, "amd64");
        assert_eq!(
            ask(vec![Some(wrong.clone()), Some(right)], &digest_of(&wrong)).await.0.unwrap_err(),
            Trouble::Corrupt { digest: other.clone() }
        );
        for unusable in [list(&other, "arm64"), list("sha256:../../x", "amd64")] {
            let refused = ask(vec![Some(unusable.clone())], &digest_of(&unusable)).await.0.unwrap_err();
            assert!(matches!(refused, Trouble::Refused(_)), "{refused:?}");
        }
    }
}
