//! All that reaches objects, for those who do not know yet which kind of address they will get.

use crate::access::Access;
use crate::bucket::Buckets;
use crate::repositories::Repositories;

/// What reaches buckets and repositories. Clones share their connections.
#[derive(Debug, Clone, Default)]
pub struct ObjectServers {
    /// Buckets.
    pub buckets: Buckets,
    /// Repositories of OCI registries.
    pub repositories: Repositories,
}

impl ObjectServers {
    /// Returns servers that `access` lets the user in at. Nothing is asked of them yet.
    pub fn new(access: Access) -> Self {
        Self { buckets: Buckets::new(access.clone()), repositories: Repositories::new(access) }
    }
}
