//! Whether the owner was shown what last week brought.

use nightjar_core::time::Timestamp;

use super::Journal;

impl Journal {
    /// When the last weekly sum that was shown would have been old.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) async fn week_told(&self) -> anyhow::Result<Option<Timestamp>> {
        let old_at = sqlx::query_scalar("SELECT old_at FROM week_told").fetch_optional(&self.pool).await?;
        Ok(old_at.map(Timestamp))
    }

    /// # Errors
    /// When the journal cannot be written.
    pub(crate) async fn tell_week(&self, old_at: Timestamp) -> anyhow::Result<()> {
        let text = "INSERT OR REPLACE INTO week_told (only, old_at) VALUES (1, ?)";
        sqlx::query(text).bind(old_at.0).execute(&self.pool).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_week_that_was_told_last_outlives_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).await.unwrap();
        assert_eq!(journal.week_told().await.unwrap(), None);
        for old_at in [Timestamp(7), Timestamp(14)] {
            journal.tell_week(old_at).await.unwrap();
        }
        journal.close().await;
        let journal = Journal::open(folder.path()).await.unwrap();
        assert_eq!(journal.week_told().await.unwrap(), Some(Timestamp(14)));
    }
}
