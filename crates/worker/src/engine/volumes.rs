//! What the Engine keeps between containers.

use std::collections::HashMap;

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder,
};

use super::{Engine, EngineError, Ours, QUICK, SLOW, ours};

impl Engine {
    /// One that is there is left as it is.
    pub async fn create_volume(
        &self,
        name: &str,
        options: HashMap<String, String>,
        labels: HashMap<String, String>,
    ) -> Result<(), EngineError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".to_owned()),
            driver_opts: Some(options),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        self.call("making a volume", QUICK, self.client()?.create_volume(request)).await.map(drop)
    }

    /// Where its files are on the Engine's machine, while it is mounted.
    pub async fn volume_path(&self, name: &str) -> Result<String, EngineError> {
        let call = self.client()?.inspect_volume(name);
        Ok(self.call("looking at a volume", QUICK, call).await?.mountpoint)
    }

    /// What the Engine mounts for it; nothing for one that it made itself.
    pub async fn volume_device(&self, name: &str) -> Result<String, EngineError> {
        let call = self.client()?.inspect_volume(name);
        let found = self.call("looking at a volume", QUICK, call).await?;
        Ok(found.options.get("device").cloned().unwrap_or_default())
    }

    /// `false` while a container refers to it; absent counts as removed.
    pub async fn remove_volume(&self, name: &str) -> Result<bool, EngineError> {
        let options = RemoveVolumeOptionsBuilder::default().build();
        // What it holds is deleted with it.
        match self.call("removing a volume", SLOW, self.client()?.remove_volume(name, Some(options))).await {
            Err(error) if error.is_absence() => Ok(true),
            Err(EngineError::Refused { status: 409, .. }) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Names of the volumes that bear all of these labels.
    pub async fn volumes(&self, labels: &[String]) -> Result<Vec<String>, EngineError> {
        let filters = HashMap::from([("label", labels.to_vec())]);
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let list = self.call("listing volumes", QUICK, self.client()?.list_volumes(Some(options))).await?;
        Ok(list.volumes.unwrap_or_default().into_iter().map(|volume| volume.name).collect())
    }

    /// Containers that refer to a volume, ended ones too.
    pub async fn users_of_volume(&self, name: &str) -> Result<Vec<Ours>, EngineError> {
        let filters = HashMap::from([("volume", vec![name.to_owned()])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let call = self.client()?.list_containers(Some(options));
        let list = self.call("listing a volume's containers", QUICK, call).await?;
        Ok(list.into_iter().filter_map(ours).collect())
    }
}
