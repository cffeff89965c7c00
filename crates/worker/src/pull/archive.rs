//! An image as `docker save` would write it, made while the Engine reads it.

use std::io;
use std::path::PathBuf;

use futures_util::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use serde_json::json;
use tokio::fs::File;
use tokio_util::bytes::Bytes;
use tokio_util::io::ReaderStream;

const BLOCK: u64 = 512;
const PIECE: usize = 256 * 1024;

/// A layer's place in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerFile {
    /// `sha256:…` of the file as it was fetched, packed or not.
    pub digest: String,
    /// `None`: the Engine has what is in it.
    pub file: Option<(PathBuf, u64)>,
}

enum Body {
    Bytes(Bytes),
    File(PathBuf, u64),
}

/// A stream of the archive. `config` is the image's configuration as it was fetched: its digest is the image's id.
pub(super) fn archive(
    config_digest: &str,
    config: Vec<u8>,
    layers: &[LayerFile],
    tag: &str,
) -> anyhow::Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
    let layer_name = |digest: &str| format!("{}.tar", hex_of(digest));
    let config_name = format!("{}.json", hex_of(config_digest));
    let names: Vec<String> = layers.iter().map(|layer| layer_name(&layer.digest)).collect();
    let list = json!([{ "Config": config_name, "RepoTags": [tag], "Layers": names }]);
    let mut entries = vec![
        entry("manifest.json", Body::Bytes(serde_json::to_vec(&list)?.into()))?,
        entry(&config_name, Body::Bytes(config.into()))?,
    ];
    let mut written = std::collections::HashSet::new();
    for layer in layers {
        // An image may have the same layer twice, an empty one most likely.
        if let Some((path, size)) = &layer.file
            && written.insert(&layer.digest)
        {
            entries.push(entry(&layer_name(&layer.digest), Body::File(path.clone(), *size))?);
        }
    }
    let end = Bytes::from(vec![0_u8; 2 * 512]);
    Ok(stream::iter(entries).flatten().chain(stream::once(async { Ok(end) })))
}

fn hex_of(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

fn entry(name: &str, body: Body) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
    let size = match &body {
        Body::Bytes(bytes) => bytes.len() as u64,
        Body::File(_, size) => *size,
    };
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    let head = Bytes::copy_from_slice(header.as_bytes());
    let padding = Bytes::from(vec![0_u8; usize::try_from(size.next_multiple_of(BLOCK) - size).unwrap_or(0)]);
    let content = match body {
        Body::Bytes(bytes) => stream::once(async { Ok(bytes) }).boxed(),
        Body::File(path, _) => {
            let reader =
                async { io::Result::Ok(ReaderStream::with_capacity(File::open(path).await?, PIECE)) };
            stream::once(reader).try_flatten().boxed()
        }
    };
    let once = |bytes| stream::once(async { Ok(bytes) });
    Ok(once(head).chain(content).chain(once(padding)).boxed())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn any_tar_reads_it_and_finds_what_the_engine_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layer");
        std::fs::write(&path, vec![7_u8; 1_000]).unwrap();
        let layers = [
            LayerFile { digest: "sha256:aa".into(), file: None },
            LayerFile { digest: "sha256:bb".into(), file: Some((path.clone(), 1_000)) },
            LayerFile { digest: "sha256:bb".into(), file: Some((path, 1_000)) },
        ];
        let parts = archive("sha256:cc", b"{}".to_vec(), &layers, "a:b").unwrap();
        let parts: Vec<Bytes> = parts.try_collect().await.unwrap();
        let bytes = parts.concat();
        assert_eq!(bytes.len() % 512, 0);
        let mut found = tar::Archive::new(bytes.as_slice());
        let mut contents = Vec::new();
        for entry in found.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            contents.push((entry.path().unwrap().display().to_string(), content));
        }
        let names: Vec<&str> = contents.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["manifest.json", "cc.json", "bb.tar"]);
        let list: serde_json::Value = serde_json::from_slice(&contents[0].1).unwrap();
        assert_eq!(list[0]["Layers"], json!(["aa.tar", "bb.tar", "bb.tar"]));
        assert_eq!(list[0]["RepoTags"], json!(["a:b"]));
        assert_eq!(contents[2].1, vec![7_u8; 1_000]);
    }
}
