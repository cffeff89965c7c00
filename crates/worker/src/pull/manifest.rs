//! An image's manifest, by digest and within bounds. The client of the registry reads a manifest as a whole before it looks
//! at its digest, so that who answers for the registry could fill this PC's memory.

use oci_client::Reference;
use oci_client::client::linux_amd64_resolver;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE, OciImageManifest, OciManifest,
};
use reqwest::StatusCode;
use reqwest::header::ACCEPT;

use super::registry::{CONNECT_WITHIN, STALLED_AFTER, Trouble, USER_AGENT, digest_of, innermost};

/// What registries take at least and few take more of.
const LARGEST_BYTES: usize = 4 * 1024 * 1024;

pub(super) struct Manifests {
    client: reqwest::Client,
    scheme: &'static str,
}

impl Manifests {
    /// Without TLS where it `is_plain`.
    ///
    /// # Errors
    /// When no client can be made on this PC.
    pub fn new(is_plain: bool) -> Result<Self, Trouble> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .read_timeout(STALLED_AFTER)
            .user_agent(USER_AGENT)
            .build()
            .map_err(|error| Trouble::Refused(format!("no client can be made: {}", innermost(&error))))?;
        Ok(Self { client, scheme: if is_plain { "http" } else { "https" } })
    }

    /// Of the image for this kind of PC, where the digest is that of a list.
    pub async fn of(
        &self,
        image: &Reference,
        digest: &str,
        token: Option<&str>,
    ) -> Result<OciImageManifest, Trouble> {
        let entries = match self.fetch(image, digest, token).await? {
            OciManifest::Image(manifest) => return Ok(manifest),
            OciManifest::ImageIndex(index) => index.manifests,
        };
        let none = || Trouble::Refused("the registry has it not for this PC".to_owned());
        let chosen = linux_amd64_resolver(&entries).ok_or_else(none)?;
        if !crate::catalogue::is_digest(&chosen) {
            return Err(none());
        }
        match self.fetch(image, &chosen, token).await? {
            OciManifest::Image(manifest) => Ok(manifest),
            OciManifest::ImageIndex(_) => Err(none()),
        }
    }

    async fn fetch(
        &self,
        image: &Reference,
        digest: &str,
        token: Option<&str>,
    ) -> Result<OciManifest, Trouble> {
        let (registry, repository) = (image.resolve_registry(), image.repository());
        let url = format!("{}://{registry}/v2/{repository}/manifests/{digest}", self.scheme);
        let kinds = [
            IMAGE_MANIFEST_MEDIA_TYPE,
            IMAGE_MANIFEST_LIST_MEDIA_TYPE,
            OCI_IMAGE_MEDIA_TYPE,
            OCI_IMAGE_INDEX_MEDIA_TYPE,
        ];
        let mut request = self.client.get(url).header(ACCEPT, kinds.join(", "));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let cut = |error: reqwest::Error| Trouble::Cut(innermost(&error));
        let mut answer = request.send().await.map_err(cut)?;
        accept(answer.status(), registry)?;
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(cut)? {
            if bytes.len() + piece.len() > LARGEST_BYTES {
                return Err(Trouble::Corrupt { digest: digest.to_owned() });
            }
            bytes.extend_from_slice(&piece);
        }
        if digest_of(&bytes) != digest {
            return Err(Trouble::Corrupt { digest: digest.to_owned() });
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            Trouble::Refused(format!("the registry's image is unusable: its manifest: {error}"))
        })
    }
}

/// What the registry says with it may be of any length, and is not read.
fn accept(status: StatusCode, registry: &str) -> Result<(), Trouble> {
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(Trouble::Refused(format!("{registry} lets nobody have it without an account")))
        }
        StatusCode::NOT_FOUND => Err(Trouble::Refused(format!("{registry} does not have it"))),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Err(Trouble::Cut(format!("the registry answers {status}")))
        }
        status if status.is_client_error() => {
            Err(Trouble::Refused(format!("the registry refuses it: {status}")))
        }
        status => Err(Trouble::Cut(format!("the registry answers {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A registry that answers each of these in turn, by one connection each; a body without a length goes on without end.
    /// Gives where it is, and how much of the last body it got rid of.
    async fn registry(answers: Vec<Option<Vec<u8>>>) -> (Reference, tokio::task::JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let mut sent = 0;
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let length = answer.as_ref().map(|body| format!("content-length: {}\r\n", body.len()));
                let head =
                    format!("HTTP/1.1 200 OK\r\n{}connection: close\r\n\r\n", length.unwrap_or_default());
                stream.write_all(head.as_bytes()).await.unwrap();
                sent = 0;
                match answer {
                    Some(body) => stream.write_all(&body).await.unwrap(),
                    None => {
                        while stream.write_all(&[b' '; 65_536]).await.is_ok() {
                            sent += 65_536;
                        }
                    }
                }
            }
            sent
        });
        (format!("127.0.0.1:{port}/tenant/image:x").parse().unwrap(), serving)
    }

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
        let (reference, serving) = registry(answers).await;
        let found = Manifests::new(true).unwrap().of(&reference, digest, None).await;
        (found, serving.await.unwrap())
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

    #[test]
    fn a_refusal_is_told_from_a_moment_without_an_answer() {
        let said = |code| accept(StatusCode::from_u16(code).unwrap(), "r");
        assert_eq!(said(200), Ok(()));
        for code in [400, 401, 403, 404] {
            assert!(matches!(said(code), Err(Trouble::Refused(_))), "{code}");
        }
        for code in [408, 429, 500, 503] {
            assert!(matches!(said(code), Err(Trouble::Cut(_))), "{code}");
        }
    }
}
