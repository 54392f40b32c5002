//! What is done about programs that change their user or group by a bit of their file.
//!
//! Where native tools are used no program gains rights ([`crate::sys`] promises that to the kernel). Most handlers give
//! emulated programs none either. Those with flag C do: then a build without native tools would go another way here.
//! `pib` tells this program by an empty folder of the companion, since it knows the handlers and this program does not.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::sys::Pid;

/// The folder that is there where handlers give rights.
const GIVEN: &str = "set-id/given";
/// The folder that is there where nobody knows.
const UNKNOWN: &str = "set-id/unknown";

/// Whether emulated programs would gain rights without native tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    None,
    Given,
    Unknown,
}

/// Looks at programs that would gain rights.
#[derive(Debug)]
pub(crate) struct SetId {
    rights: Rights,
    told: bool,
}

/// Who runs a program: the effective user and group.
type Owner = (u32, u32);

impl SetId {
    /// Reads what the companion at `root` says.
    pub(crate) fn read(root: &Path) -> Self {
        let rights = match () {
            () if root.join(GIVEN).is_dir() => Rights::Given,
            () if root.join(UNKNOWN).is_dir() => Rights::Unknown,
            () => Rights::None,
        };
        Self { rights, told: false }
    }

    /// Returns whether a process may run the program; says why not.
    pub(crate) fn allows(&mut self, pid: Pid, file: &Path) -> bool {
        if self.rights == Rights::None {
            return true;
        }
        let (Ok(data), Some(now)) = (fs::metadata(file), owner(pid)) else { return true };
        let then = gained(now, data.mode(), (data.uid(), data.gid()));
        if then == now {
            return true;
        }
        // A program of root's does much the same by another group; one that is to become root does not.
        let refused = self.rights == Rights::Given && now.0 != then.0 && now.0 != 0;
        if refused || !self.told {
            self.told = true;
            let (what, file) = (if refused { "must" } else { "may have to" }, file.display());
            crate::message::say(&format!(
                "{file} changes its user or group when it starts, which native tools do not allow; the stage {what} say \
                 `native = false` in its stage.toml"
            ));
        }
        !refused
    }
}

/// Returns as whom a program runs whose file has this mode and owner.
fn gained(now: Owner, mode: u32, file: Owner) -> Owner {
    const SET_USER: u32 = 0o4000;
    // Without the right to run it for the group, the bit means something else.
    const SET_GROUP: u32 = 0o2010;
    let user = if mode & SET_USER != 0 { file.0 } else { now.0 };
    let group = if mode & SET_GROUP == SET_GROUP { file.1 } else { now.1 };
    (user, group)
}

/// Returns the effective user and group of a process.
fn owner(pid: Pid) -> Option<Owner> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let effective = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some((effective("Uid:")?, effective("Gid:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_gained_by_the_bits_of_a_file() {
        let person = (1000, 1000);
        assert_eq!(gained(person, 0o100_755, (0, 0)), person);
        assert_eq!(gained(person, 0o104_755, (0, 0)), (0, 1000));
        assert_eq!(gained(person, 0o102_755, (0, 42)), (1000, 42));
        assert_eq!(gained(person, 0o102_745, (0, 42)), person);
        assert_eq!(gained((0, 0), 0o106_755, (0, 0)), (0, 0));
    }

    #[test]
    fn what_the_companion_says_decides() {
        let root = std::env::temp_dir().join(format!("pib-native-set-id-{}", std::process::id()));
        let own = Pid::try_from(std::process::id()).unwrap();
        let (file, set) = (root.join("file"), root.join("set"));
        fs::create_dir_all(&root).unwrap();
        for (path, mode) in [(&file, 0o755), (&set, 0o4755)] {
            use std::os::unix::fs::{PermissionsExt as _, chown};
            fs::write(path, "").unwrap();
            // Where the test may not give files away, none gains anything.
            _ = chown(path, Some(4321), None);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        assert!(SetId::read(&root).allows(own, &set));
        for folder in [UNKNOWN, GIVEN] {
            fs::create_dir_all(root.join(folder)).unwrap();
            let mut set_id = SetId::read(&root);
            assert!(set_id.allows(own, &file) && !set_id.told);
            // This test's own user is root or owns the file.
            assert!(set_id.allows(own, &set));
            fs::remove_dir_all(root.join("set-id")).unwrap();
        }
        fs::remove_dir_all(root).unwrap();
    }
}
