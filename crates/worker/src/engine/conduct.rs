//! What runs in a container, and what it has written.

use bollard::query_parameters::{InspectContainerOptionsBuilder, TopOptionsBuilder};

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
}
