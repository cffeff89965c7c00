//! What runs in a container, and what it has written.

use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::{InspectContainerOptionsBuilder, StatsOptionsBuilder, TopOptionsBuilder};
use futures_util::TryStreamExt;

use super::{Engine, EngineError, QUICK, SLOW};

/// Longest name of a program that is looked at, in characters.
const LONGEST_NAME: usize = 64;

impl Engine {
    /// Short names of the programs that run in a container.
    pub async fn programs(&self, name: &str) -> Result<Vec<String>, EngineError> {
        let options = TopOptionsBuilder::default().ps_args("-eo pid,comm").build();
        let call = self.client()?.top_processes(name, Some(options));
        let found = self.call("listing a container's programs", QUICK, call).await?;
        let names = found.processes.into_iter().flatten().filter_map(|fields| fields.into_iter().nth(1));
        Ok(names.map(|name| name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()).collect())
    }

    /// Of the container's own files, outside of volumes and memory; `None` where the Engine does not tell.
    pub async fn written_mib(&self, name: &str) -> Result<Option<u64>, EngineError> {
        let options = InspectContainerOptionsBuilder::default().size(true).build();
        let call = self.client()?.inspect_container(name, Some(options));
        let found = self.call("asking for a container's size", SLOW, call).await?;
        Ok(found.size_rw.and_then(|bytes| u64::try_from(bytes).ok()).map(|bytes| bytes >> 20))
    }

    /// What a container has read from disks and written to them since its start; `None` where the Engine does not tell.
    pub async fn disk_io_bytes(&self, name: &str) -> Result<Option<u64>, EngineError> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let mut stats = Box::pin(self.client()?.stats(name, Some(options)));
        let found = self.call("asking what a container reads and writes", SLOW, stats.try_next()).await?;
        Ok(found.and_then(disk_io))
    }
}

/// Linux tells it by disk and direction, and nothing at all of a container that has not touched one.
fn disk_io(stats: ContainerStatsResponse) -> Option<u64> {
    let entries = stats.blkio_stats?.io_service_bytes_recursive.unwrap_or_default();
    let counted = entries.iter().filter(|entry| {
        let op = entry.op.as_deref().unwrap_or_default();
        op.eq_ignore_ascii_case("read") || op.eq_ignore_ascii_case("write")
    });
    Some(counted.fold(0, |sum, entry| entry.value.unwrap_or(0).saturating_add(sum)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{ContainerBlkioStatEntry, ContainerBlkioStats};

    #[test]
    fn what_is_read_and_written_is_summed_over_disks_and_the_engines_own_sums_are_left_out() {
        let entry = |op: &str, value| ContainerBlkioStatEntry {
            op: Some(op.into()),
            value: Some(value),
            ..ContainerBlkioStatEntry::default()
        };
        let entries = vec![entry("read", 1), entry("Write", 20), entry("Total", 21), entry("read", 300)];
        let of = |entries| ContainerStatsResponse {
            blkio_stats: Some(ContainerBlkioStats {
                io_service_bytes_recursive: entries,
                ..ContainerBlkioStats::default()
            }),
            ..ContainerStatsResponse::default()
        };
        assert_eq!(disk_io(of(Some(entries))), Some(321));
        assert_eq!(disk_io(of(None)), Some(0));
        assert_eq!(disk_io(ContainerStatsResponse::default()), None);
    }
}
