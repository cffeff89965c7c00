//! What renters keep on hosts. The host wipes a volume by the same terms and the same last use; here it is worked out
//! from the leases, so that a renter can see it while the host is away.

use std::collections::BTreeMap;

use nightjar_core::lease::LeaseState;
use nightjar_core::volume;
use nightjar_protocol::market_api::{RenterVolume, RenterVolumes};

use super::{Failure, Market};
use crate::store::leases::{self, LeaseRecord};
use crate::store::renters::Renter;

/// The latest leases of a renter that are looked at.
const MOST_LEASES: u32 = 1_000;

impl Market {
    pub(crate) async fn volumes(&self, renter: &Renter) -> Result<RenterVolumes, Failure> {
        let mut db = self.store.reader().acquire().await?;
        let leases = leases::of_renter(&mut db, &renter.id, MOST_LEASES).await?;
        let now = self.clock.now();
        let mut volumes: Vec<RenterVolume> = latest(&leases).into_values().collect();
        volumes.retain(|volume| volume.expires_at.is_none_or(|at| at > now));
        volumes.sort_by(|a, b| (a.expires_at, &a.host_id).cmp(&(b.expires_at, &b.host_id)));
        Ok(RenterVolumes { volumes })
    }
}

/// One a host, key and mode. A lease that never came to a worker has left nothing.
fn latest(leases: &[LeaseRecord]) -> BTreeMap<(String, String), RenterVolume> {
    let mut volumes: BTreeMap<(String, String), RenterVolume> = BTreeMap::new();
    for lease in leases.iter().filter(|lease| lease.placement.started_at.is_some()) {
        let in_use = !lease.state.is_over();
        let used_at = match lease.state {
            LeaseState::Ended { .. } => lease.state_since,
            _ => lease.placement.offered_at,
        };
        let name = volume::name(&lease.renter_key, lease.requirements.root_inside);
        let terms = lease.placement.card.volume;
        let found = RenterVolume {
            host_id: lease.placement.host_id.clone(),
            region: lease.placement.region.clone(),
            lease: lease.id.clone(),
            root_inside: lease.requirements.root_inside,
            in_use,
            used_at,
            expires_at: (!in_use).then(|| terms.expires_at(used_at)),
            quota_mib: terms.quota_mib,
            footing: lease.placement.volume,
        };
        let known = volumes.entry((found.host_id.clone(), name)).or_insert_with(|| found.clone());
        if (found.in_use, found.used_at) > (known.in_use, known.used_at) {
            *known = found;
        }
    }
    volumes
}

#[cfg(test)]
mod tests {
    use nightjar_core::lease::{EndReason, LeaseId};
    use nightjar_core::time::Timestamp;
    use nightjar_core::volume::VolumeTerms;

    use super::*;
    use crate::market::sweep::tests::{START, lease_in};

    #[test]
    fn the_last_use_counts_and_one_that_runs_before_it() {
        let over = |at: i64, keep_ms| {
            let mut lease = lease_in(LeaseState::Ended { reason: EndReason::RenterStopped }, "h");
            lease.id = LeaseId(format!("at-{at}"));
            lease.placement.started_at = Some(START);
            lease.placement.card.volume = VolumeTerms { quota_mib: 1, keep_ms };
            lease.state_since = Timestamp(at);
            lease
        };
        let only = |leases: &[LeaseRecord]| latest(leases).into_values().next().unwrap();
        let two = [over(9_000, 50), over(2_000, 90_000)];
        assert_eq!(only(&two).expires_at, Some(Timestamp(9_050)));
        let mut running = over(9_500, 50);
        running.state = LeaseState::Running;
        assert_eq!(only(&[over(9_000, 50), running.clone()]).expires_at, None);
        running.placement.started_at = None;
        assert!(latest(&[running]).is_empty(), "a lease without a worker left something");
        let mut root = over(9_000, 50);
        root.requirements.root_inside = true;
        assert_eq!(latest(&[over(9_000, 50), root]).len(), 2);
    }
}
