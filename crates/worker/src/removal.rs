//! Ending containers so that nothing of them is left. Everything is found by label, so that what an earlier run left
//! behind is ended the same way.

use nightjar_core::lease::{Epoch, LeaseId};

use crate::engine::{Engine, EngineError, Ours};
use crate::spec::{LABEL_EPOCH, LABEL_HOST, LABEL_LEASE, LABEL_ROLE, Names, ROLE_GATEWAY, ROLE_WORKER};

/// Labels that containers and networks of one lease bear.
pub(crate) fn labels_of(host: &str, lease: &LeaseId, epoch: Option<Epoch>) -> Vec<String> {
    let mut labels = vec![format!("{LABEL_HOST}={host}"), format!("{LABEL_LEASE}={lease}")];
    labels.extend(epoch.map(|epoch| format!("{LABEL_EPOCH}={}", epoch.0)));
    labels
}

pub(crate) fn lease_of(container: &Ours) -> Option<LeaseId> {
    container.labels.get(LABEL_LEASE).cloned().map(LeaseId)
}

pub(crate) fn epoch_of(container: &Ours) -> Option<Epoch> {
    container.labels.get(LABEL_EPOCH)?.parse().ok().map(Epoch)
}

pub(crate) fn is_worker(container: &Ours) -> bool {
    container.labels.get(LABEL_ROLE).is_some_and(|role| role == ROLE_WORKER)
}

pub(crate) fn is_gateway(container: &Ours) -> bool {
    container.labels.get(LABEL_ROLE).is_some_and(|role| role == ROLE_GATEWAY)
}

/// Ends one placement of a lease. Returns once no container of it is there any more.
pub(crate) async fn remove_placement(
    engine: &Engine,
    host: &str,
    lease: &LeaseId,
    epoch: Epoch,
) -> Result<(), EngineError> {
    // Known by name: the card is free after this one call.
    engine.kill(&Names::new(lease, epoch).worker).await?;
    let labels = labels_of(host, lease, Some(epoch));
    let containers = engine.containers(&labels).await?;
    remove_all(engine, &containers).await?;
    for (network, _) in engine.networks(&labels).await? {
        // An empty network holds nobody up, and the next start's sweep finds it.
        if let Err(error) = engine.remove_network(&network).await {
            tracing::warn!(%lease, "its network stays for now: {error}");
        }
    }
    Ok(())
}

/// Workers first: a tenant never runs without its fence.
pub(crate) async fn remove_all(engine: &Engine, containers: &[Ours]) -> Result<(), EngineError> {
    let (workers, others): (Vec<&Ours>, Vec<&Ours>) =
        containers.iter().partition(|container| is_worker(container));
    for container in workers.into_iter().chain(others) {
        engine.kill(&container.id).await?;
        engine.remove(&container.id).await?;
    }
    Ok(())
}
