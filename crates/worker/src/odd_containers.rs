//! Running containers that bear our label and are not as we make them: somebody's by hand, or an older version's.

use std::collections::HashSet;

use bollard::models::ContainerInspectResponse;
use nightjar_core::policy::OddContainer;

use crate::catalogue::{Catalogue, Image};
use crate::engine::{Engine, EngineError, Standing};
use crate::pull::Shelf;
use crate::spec::{LABEL_HOST, LABEL_LEASE, LABEL_ROLE};

const OURS: [&str; 3] = [LABEL_HOST, LABEL_LEASE, LABEL_ROLE];

/// What is odd about those that run now, whichever host's they say they are.
pub(crate) async fn odd_containers(
    engine: &Engine,
    catalogue: &Catalogue,
    shelf: &Shelf,
) -> Result<Vec<OddContainer>, EngineError> {
    let known = image_ids(engine, catalogue, shelf).await?;
    let mut odd = Vec::new();
    for container in engine.containers(&[]).await? {
        if container.standing == Standing::Ended
            || !OURS.iter().any(|label| container.labels.contains_key(*label))
        {
            continue;
        }
        if let Some(found) = engine.inspect(&container.id).await? {
            odd.extend(oddities(&found, &known));
        }
    }
    Ok(odd)
}

/// Of all that containers of ours are made from.
async fn image_ids(
    engine: &Engine,
    catalogue: &Catalogue,
    shelf: &Shelf,
) -> Result<HashSet<String>, EngineError> {
    let gateway = std::iter::once(catalogue.gateway().source.clone());
    let mut ids = HashSet::new();
    for source in catalogue.images().iter().map(Image::source).chain(gateway) {
        ids.extend(engine.image(&shelf.reference_of(&source)).await?.map(|facts| facts.id));
    }
    Ok(ids)
}

fn oddities(found: &ContainerInspectResponse, known: &HashSet<String>) -> Vec<OddContainer> {
    let name = found.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned();
    let mut odd = Vec::new();
    if found.host_config.as_ref().and_then(|config| config.privileged) == Some(true) {
        odd.push(OddContainer::Privileged { name: name.clone() });
    }
    if !found.image.as_ref().is_some_and(|id| known.contains(id)) {
        let said = found.config.as_ref().and_then(|config| config.image.clone());
        let image = said.or_else(|| found.image.clone()).unwrap_or_default();
        odd.push(OddContainer::UnknownImage { name, image });
    }
    odd
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerConfig, HostConfig};

    use super::*;

    #[test]
    fn one_that_may_do_everything_and_one_of_another_image_are_odd() {
        let container = |id: &str, privileged: bool| ContainerInspectResponse {
            name: Some("/by-hand".into()),
            image: Some(id.into()),
            config: Some(ContainerConfig { image: Some("debian:12".into()), ..ContainerConfig::default() }),
            host_config: Some(HostConfig { privileged: Some(privileged), ..HostConfig::default() }),
            ..ContainerInspectResponse::default()
        };
        let known = HashSet::from([String::from("sha256:1")]);
        let name = || String::from("by-hand");
        let privileged = OddContainer::Privileged { name: name() };
        let unknown = OddContainer::UnknownImage { name: name(), image: "debian:12".into() };
        assert_eq!(oddities(&container("sha256:1", false), &known), []);
        assert_eq!(oddities(&container("sha256:1", true), &known), std::slice::from_ref(&privileged));
        assert_eq!(oddities(&container("sha256:2", true), &known), [privileged, unknown]);
    }
}
