//! The Engine's calls about images.

use std::collections::HashSet;
use std::time::Duration;

use bollard::query_parameters::{
    ImportImageOptions, ListContainersOptionsBuilder, ListImagesOptions, RemoveImageOptions,
};
use futures_util::{Stream, StreamExt};
use tokio_util::bytes::Bytes;

use super::{Engine, EngineError, QUICK, SLOW};

/// Unpacking some GiB onto a slow disk.
pub(crate) const LOAD_WITHIN: Duration = Duration::from_secs(1_800);
/// The Engine answers only once the whole archive is there, and its owner may be at the PC for as long as they like.
const ANSWERS_LATE: Duration = Duration::from_secs(365 * 86_400);

/// An image as the Engine has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageFacts {
    /// `sha256:…`; by the classic store that of its configuration.
    pub id: String,
    /// Digests of its unpacked layers, the lowest first.
    pub diff_ids: Vec<String>,
    pub size_bytes: u64,
    /// As its last `USER` says; empty where there is none.
    pub user: String,
}

impl Engine {
    /// Names of all images, `name:tag` and `name@digest`, and their ids.
    pub async fn image_names(&self, within: Duration) -> Result<Vec<String>, EngineError> {
        let call = self.client()?.list_images(None::<ListImagesOptions>);
        let images = self.call("listing its images", within, call).await?;
        Ok(images
            .into_iter()
            .flat_map(|image| image.repo_tags.into_iter().chain(image.repo_digests).chain([image.id]))
            .collect())
    }

    /// Names of images that begin so.
    pub async fn image_tags(&self, prefix: &str) -> Result<Vec<String>, EngineError> {
        let mut names = self.image_names(QUICK).await?;
        names.retain(|name| name.starts_with(prefix));
        Ok(names)
    }

    /// By name or id; `None` where there is no such image.
    pub async fn image(&self, name: &str) -> Result<Option<ImageFacts>, EngineError> {
        match self.call("looking at an image", QUICK, self.client()?.inspect_image(name)).await {
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error),
            Ok(found) => Ok(Some(ImageFacts {
                user: found.config.and_then(|config| config.user).unwrap_or_default(),
                id: found.id.unwrap_or_default(),
                diff_ids: found.root_fs.and_then(|root| root.layers).unwrap_or_default(),
                size_bytes: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            })),
        }
    }

    /// Every image that is here.
    pub async fn images(&self) -> Result<Vec<ImageFacts>, EngineError> {
        let call = self.client()?.list_images(None::<ListImagesOptions>);
        let ids = self.call("listing its images", SLOW, call).await?.into_iter().map(|image| image.id);
        let mut images = Vec::new();
        for id in ids {
            images.extend(self.image(&id).await?);
        }
        Ok(images)
    }

    /// Takes an archive as `docker save` makes it, unless `too_long` is over first. Layers that the Engine has may be left out
    /// of it.
    pub async fn load_image<E>(
        &self,
        archive: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
        too_long: impl Future<Output = ()>,
    ) -> Result<(), EngineError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let client = self.client()?.clone().with_timeout(ANSWERS_LATE);
        let mut said = client.import_image_stream(ImportImageOptions::default(), archive, None);
        let all = async {
            while let Some(word) = said.next().await {
                word?;
            }
            Ok(())
        };
        let doing = "loading an image";
        tokio::select! {
            loaded = all => loaded.map_err(|error| self.explain(doing, error)),
            () = too_long => Err(EngineError::Slow { doing, secs: LOAD_WITHIN.as_secs() }),
        }
    }

    /// Takes one name off an image, and the image away with its last one. Already gone counts as done.
    pub async fn remove_image(&self, name: &str) -> Result<(), EngineError> {
        let call = self.client()?.remove_image(name, None::<RemoveImageOptions>, None);
        match self.call("removing an image", SLOW, call).await {
            Err(error) if error.is_absence() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Ids of the images that containers are made of, ended ones too.
    pub async fn images_in_use(&self) -> Result<HashSet<String>, EngineError> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let call = self.client()?.list_containers(Some(options));
        let list = self.call("listing containers", QUICK, call).await?;
        Ok(list.into_iter().filter_map(|container| container.image_id).collect())
    }
}
