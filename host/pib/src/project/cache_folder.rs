//! The cache's folder: who may write to it.
//!
//! What is in the cache is built from. The stages and bases are compared with digests, but what the index of a registry
//! says, or a copy of a git repository, is believed as it was fetched: nobody else may put it there.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use super::{Error, Session};
use pib_event::ReporterExt as _;

/// The user that a process runs as.
#[derive(Debug, Clone, Copy)]
struct User {
    id: u32,
    group: u32,
}

/// What is known of a folder.
#[derive(Debug, Clone, Copy)]
struct Rights {
    owner: u32,
    group: u32,
    mode: u32,
}

impl Session {
    /// Makes the cache's folder where there is none, for this user alone, and checks that nobody else can write to it.
    ///
    /// Where `PIB_CACHE_DIR` names the folder, it is the user's own choice, e.g. one that the jobs of a CI share: then it is
    /// a warning.
    ///
    /// # Errors
    /// When somebody else can write to it.
    pub fn prepare_cache(&self) -> Result<(), Error> {
        // One that cannot be made is told by what needs it.
        _ = pib_file::make_private(&self.cache);
        let Ok(metadata) = std::fs::metadata(&self.cache) else { return Ok(()) };
        let user =
            User { id: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() };
        match (fault(Rights::of(&metadata), user), self.cache_is_chosen) {
            (None, _) => Ok(()),
            (Some(fault), true) => {
                let path = self.cache.display();
                self.reporter.warn(format!("what is in the cache `{path}` may be others': {fault}"));
                Ok(())
            }
            (Some(reason), false) => Err(Error::ForeignCache { path: self.cache.clone(), reason }),
        }
    }
}

impl Rights {
    fn of(metadata: &Metadata) -> Self {
        Self { owner: metadata.uid(), group: metadata.gid(), mode: metadata.mode() }
    }
}

/// Returns how somebody else can write to a folder. That others may only add to it (its mode is sticky) is no better:
/// what they add first is what pib finds.
fn fault(folder: Rights, user: User) -> Option<String> {
    let Rights { owner, group, mode } = folder;
    // Root may do anything anyway.
    if owner != user.id && owner != 0 {
        return Some(format!("it belongs to the user {owner}, and pib runs as {}", user.id));
    }
    // Many systems give each user a group of their own with the same number, and folders that it may write to.
    let own_group = group == user.group && user.group == user.id;
    match (mode & 0o002 != 0, mode & 0o020 != 0 && !own_group) {
        (true, _) => Some("everybody on this machine can write to it".to_owned()),
        (false, true) => Some(format!("the members of the group {group} can write to it")),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_that_nobody_else_writes_to_is_right() {
        let user = User { id: 1000, group: 1000 };
        let of = |owner, group, mode| fault(Rights { owner, group, mode }, user).is_none();
        // The user's own, a group of the user's own, root's.
        assert!(of(1000, 1000, 0o40700) && of(1000, 100, 0o40755) && of(1000, 1000, 0o40775));
        assert!(of(0, 0, 0o40755));
        // A shared group, everybody, also where the folder is sticky, another user's.
        assert!(!of(1000, 100, 0o40775) && !of(1000, 1000, 0o40777) && !of(0, 0, 0o41777));
        assert!(!of(1001, 1001, 0o40755) && !of(1001, 1000, 0o40775));
        // Root with a user's folder: what the user puts there would run as root.
        let root = User { id: 0, group: 0 };
        assert!(fault(Rights { owner: 1000, group: 1000, mode: 0o40700 }, root).is_some());
        assert!(fault(Rights { owner: 0, group: 0, mode: 0o40775 }, root).is_none());
    }
}
