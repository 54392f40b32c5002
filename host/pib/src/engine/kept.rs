//! What the engine keeps between builds in mounts of its own (`RUN --mount=type=cache`): it has no labels, only ids.

use bollard_buildkit_proto::moby::buildkit::v1::{DiskUsageRequest, PruneRequest, UsageRecord};
use tonic::Status;

use super::{Engine, EngineError, session};

/// How BuildKit calls such records.
const CACHE_MOUNT: &str = "exec.cachemount";

impl Engine {
    /// Removes what cache mounts keep whose ids start with `prefix`; returns how many bytes that frees.
    ///
    /// What a build uses just now stays, and so does everything in an engine that does not tell the ids: Docker 20.10.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn forget_kept(&self, prefix: &str) -> Result<u64, EngineError> {
        if !self.abilities().mounts {
            return Ok(0);
        }
        let refused = |status: Status| EngineError::Api {
            doing: "looking for what builds keep".to_owned(),
            message: status.message().to_owned(),
        };
        let (mut control, _connection) = session::control(self).await?;
        let filter = vec![format!("type=={CACHE_MOUNT}")];
        let used = control.disk_usage(DiskUsageRequest { filter, age_limit: 0 }).await.map_err(refused)?;
        let mut freed = 0;
        for record in used.into_inner().record.iter().filter(|record| is_ours(record, prefix)) {
            let filter = vec![format!("id=={}", record.id)];
            let request = PruneRequest { filter, all: true, ..PruneRequest::default() };
            let mut removed = control.prune(request).await.map_err(refused)?.into_inner();
            while let Some(record) = removed.message().await.map_err(refused)? {
                freed += u64::try_from(record.size).unwrap_or(0);
            }
        }
        Ok(freed)
    }
}

/// BuildKit tells the id of a mount only in words: `cached mount /x from exec /bin/sh -c y with id "//the-id"`.
fn is_ours(record: &UsageRecord, prefix: &str) -> bool {
    let id = record.description.rsplit_once("with id \"").map(|(_, id)| id.trim_end_matches('"'));
    !record.in_use && id.is_some_and(|id| id.rsplit('/').next().unwrap_or(id).starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_apart_by_their_ids() {
        let record =
            |description: &str| UsageRecord { description: description.to_owned(), ..UsageRecord::default() };
        let ours = "cached mount /var/cache/apt/archives from exec /bin/sh -c echo \"with id\" with id \"/pib.packages.a.x\"";
        assert!(is_ours(&record(ours), "pib.packages.a."));
        assert!(!is_ours(&record(ours), "pib.packages.b."));
        assert!(!is_ours(&UsageRecord { in_use: true, ..record(ours) }, "pib.packages.a."));
        assert!(!is_ours(&record("local source for context"), "pib."));
    }
}
