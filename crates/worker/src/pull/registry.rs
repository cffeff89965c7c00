//! One image of one registry, by digest. Nothing that it says is believed before its digest was computed.

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use oci_client::Reference;
use oci_client::manifest::OciImageManifest;
use reqwest::StatusCode;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tokio_util::bytes::Bytes;

use super::door::Door;
use super::manifest::manifest;
use crate::catalogue::Source;

pub(super) const USER_AGENT: &str = concat!("nightjar/", env!("CARGO_PKG_VERSION"));
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// Nothing at all for so long is a connection that broke without saying so.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(30);
/// The manifest and the configuration are small.
const DESCRIBE_WITHIN: Duration = Duration::from_secs(60);
const LARGEST_CONFIG_BYTES: u64 = 8 * 1024 * 1024;
const MOST_LAYERS: usize = 512;

/// Why something did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Another attempt may help.
    Cut(String),
    /// It arrived with another digest.
    Corrupt { digest: String },
    /// No other attempt would help.
    Refused(String),
}

/// What an image consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description {
    pub config_digest: String,
    pub config: Vec<u8>,
    /// The lowest first.
    pub layers: Vec<Layer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub digest: String,
    pub size_bytes: u64,
    /// Digest of what is in it.
    pub diff_id: String,
}

/// A blob's bytes, and whether they begin where they were asked for.
pub(super) struct Blob {
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
    pub is_from_there: bool,
}

pub(super) struct Registry {
    door: Door,
    /// As the catalogue tells it.
    digest: String,
    /// What the layers together may take.
    most_bytes: u64,
}

impl Registry {
    /// # Errors
    /// When the image has no digest, or its reference names no registry that can be asked.
    pub fn of(image: &Source) -> Result<Self, Trouble> {
        let digest = image.digest.clone().ok_or_else(|| {
            Trouble::Refused(format!("{} is made on the PC itself and lies in no registry", image.key))
        })?;
        let reference: Reference = image
            .pinned_reference()
            .parse()
            .map_err(|error| Trouble::Refused(format!("{} cannot be asked for: {error}", image.reference)))?;
        // As the Engine does: only on this PC itself is a registry without TLS taken.
        let is_plain = is_loopback(reference.resolve_registry());
        let most_bytes = image.size_mib.saturating_mul(1 << 20);
        Ok(Self { door: Door::new(reference, is_plain)?, digest, most_bytes })
    }

    pub async fn describe(&self) -> Result<Description, Trouble> {
        let described = async {
            let manifest = manifest(&self.door, &self.digest).await?;
            let config = self.config(&manifest).await?;
            self.describe_by(manifest, config)
        };
        timeout(DESCRIBE_WITHIN, described)
            .await
            .map_err(|_| Trouble::Cut(format!("no answer within {} s", DESCRIBE_WITHIN.as_secs())))?
    }

    async fn config(&self, manifest: &OciImageManifest) -> Result<Vec<u8>, Trouble> {
        let (digest, size) = (&manifest.config.digest, manifest.config.size);
        let size = u64::try_from(size).ok().filter(|size| *size <= LARGEST_CONFIG_BYTES);
        let size = size.ok_or_else(|| Trouble::Refused("its configuration is no such thing".into()))?;
        let mut blob = self.blob(digest, 0).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = blob.bytes.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| Trouble::Cut(innermost(&error)))?);
            if bytes.len() as u64 > size {
                return Err(Trouble::Corrupt { digest: digest.clone() });
            }
        }
        if (bytes.len() as u64) < size {
            return Err(Trouble::Cut("the registry ended in the middle of it".into()));
        }
        match digest_of(&bytes) == *digest {
            true => Ok(bytes),
            false => Err(Trouble::Corrupt { digest: digest.clone() }),
        }
    }

    fn describe_by(&self, manifest: OciImageManifest, config: Vec<u8>) -> Result<Description, Trouble> {
        let refused = |what: &str| Trouble::Refused(format!("the registry's image is unusable: {what}"));
        let parsed: Config = serde_json::from_slice(&config)
            .map_err(|error| refused(&format!("its configuration: {error}")))?;
        if manifest.layers.len() != parsed.rootfs.diff_ids.len() || manifest.layers.len() > MOST_LAYERS {
            return Err(refused("its layers are not those that its configuration names"));
        }
        let mut layers = Vec::new();
        for (layer, diff_id) in manifest.layers.into_iter().zip(parsed.rootfs.diff_ids) {
            let size_bytes = u64::try_from(layer.size).unwrap_or(u64::MAX);
            if !is_sha256(&layer.digest) || !is_sha256(&diff_id) {
                return Err(refused("a layer has no SHA-256 digest"));
            }
            layers.push(Layer { digest: layer.digest, size_bytes, diff_id });
        }
        let sum = layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size_bytes));
        if sum > self.most_bytes {
            let (is, says) = (sum >> 20, self.most_bytes >> 20);
            return Err(refused(&format!("it is {is} MiB, the catalogue says {says}")));
        }
        Ok(Description { config_digest: manifest.config.digest, config, layers })
    }

    /// A blob from that byte on, as it comes.
    pub async fn blob(&self, digest: &str, from_byte: u64) -> Result<Blob, Trouble> {
        let answer = self.door.get(&format!("blobs/{digest}"), "*/*", from_byte).await?;
        let is_from_there = from_byte == 0 || answer.status() == StatusCode::PARTIAL_CONTENT;
        let pieces = stream::try_unfold(answer, async |mut answer| {
            let piece = answer.chunk().await.map_err(io::Error::other)?;
            Ok(piece.map(|piece| (piece, answer)))
        });
        Ok(Blob { bytes: pieces.boxed(), is_from_there })
    }
}

/// Of an image's configuration, what is needed.
#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

pub(super) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn is_sha256(digest: &str) -> bool {
    crate::catalogue::is_digest(digest)
}

fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The last cause, which is the one that says something, on one line.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    line_of(&innermost.to_string())
}

fn line_of(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_pc_is_asked_without_tls() {
        for here in ["127.0.0.1:5000", "localhost:5000", "localhost", "[::1]:5000", "127.9.9.9"] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in ["ghcr.io", "10.0.0.1:5000", "localhost.example.org:80", "127.0.0.1.example.org"] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
