//! What became of each job's container, step by step. What went on inside is in no journal.

use nightjar_core::lease::{LeaseState, LeaseTerms};
use nightjar_core::time::Timestamp;
use sqlx::Row;

use super::Journal;

impl Journal {
    /// The last steps of all leases, the newest first, from when a container was prepared.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) async fn last_steps(
        &self,
        most: u32,
    ) -> anyhow::Result<Vec<(Timestamp, LeaseTerms, LeaseState)>> {
        let rows = sqlx::query(
            "SELECT s.at AS at, s.state AS state, l.terms AS terms
             FROM lease_steps s JOIN leases l ON l.lease = s.lease AND l.epoch = s.epoch
             WHERE json_extract(s.state, '$.state') NOT IN ('offered', 'accepted')
             ORDER BY s.at DESC, s.id DESC LIMIT ?",
        )
        .bind(most)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok((
                    Timestamp(row.try_get("at")?),
                    serde_json::from_str(row.try_get("terms")?)?,
                    serde_json::from_str(row.try_get("state")?)?,
                ))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use nightjar_core::gpu::GpuUuid;
    use nightjar_core::host::JournalEntry;
    use nightjar_core::lease::{EndReason, Epoch, LeaseId};
    use nightjar_core::money::{Currency, Money};

    use super::*;

    #[tokio::test]
    async fn the_newest_step_comes_first_and_an_offer_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).await.unwrap();
        let terms = LeaseTerms {
            lease: LeaseId("l".into()),
            epoch: Epoch(1),
            gpu: GpuUuid("GPU-0".into()),
            image: "pytorch-cuda:lite".into(),
            renter: "quiet-heron".into(),
            renter_key: "00".repeat(32),
            ssh_public_key: "ssh-ed25519 AAAA".into(),
            root_inside: false,
            no_sandbox: false,
            serve_model: None,
            volume: Default::default(),
            volume_key: None,
            price_per_hour: Money::new(1, Currency::CNY),
            fee_basis_points: 0,
            offered_at: Timestamp(0),
            nonce: Default::default(),
        };
        let ended = LeaseState::Ended { reason: EndReason::RenterStopped };
        let states =
            [LeaseState::Offered, LeaseState::Accepted, LeaseState::Preparing, LeaseState::Ready, ended];
        for (at, state) in states.iter().enumerate() {
            // The last two in one moment.
            let at = Timestamp(i64::try_from(at).unwrap().min(3));
            let entry = JournalEntry::Lease { terms: terms.clone(), state: state.clone(), at };
            journal.write(&entry).await.unwrap();
        }
        let steps = journal.last_steps(10).await.unwrap();
        let told: Vec<&LeaseState> = steps.iter().map(|(_, _, state)| state).collect();
        assert_eq!(told, [&states[4], &states[3], &states[2]]);
        assert_eq!(steps[0].1, terms);
        assert_eq!(journal.last_steps(1).await.unwrap().len(), 1);
    }
}
