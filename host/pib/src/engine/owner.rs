//! Whose a temporary container is: so that what a killed pib left is told from what another one works with.

use std::fs;
use std::path::Path;

/// The label that names the process that made a container.
pub(super) const OWNER: &str = "dev.pib.owner";

/// Returns the name of this process, which no other has, before or after, here or elsewhere.
pub(super) fn this_process() -> String {
    name("self").unwrap_or_default()
}

/// Returns whether the process of this name has ended; `None` where that cannot be seen from here.
pub(super) fn has_ended(owner: &str) -> Option<bool> {
    let mut parts = owner.rsplitn(3, ' ');
    let (_start, id, world) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let seen = is_number && self::world().as_deref() == Some(world);
    seen.then(|| name(id).as_deref() != Some(owner))
}

/// Returns the boot and the namespace that process numbers are of.
fn world() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), space.display()))
}

/// Returns the name of the process `id`: its world, its number, and when it was started, since numbers come again.
fn name(id: &str) -> Option<String> {
    let stat = fs::read_to_string(Path::new("/proc").join(id).join("stat")).ok()?;
    // Its second field is the program's name in parentheses, in which anything may be.
    let number = stat.split_once(' ')?.0;
    let start = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?;
    Some(format!("{} {number} {start}", world()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_to_live_until_it_has_ended() {
        let this = this_process();
        assert!(
            this.ends_with(|c: char| c.is_ascii_digit())
                && this.contains(&format!(" {} ", std::process::id()))
        );
        assert_eq!(has_ended(&this), Some(false));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let owner = name(&child.id().to_string()).unwrap();
        assert_eq!(has_ended(&owner), Some(false));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(has_ended(&owner), Some(true));
        // Another process of this number, another boot, and what is no name at all.
        let other = format!("{} {} 1", world().unwrap(), std::process::id());
        assert_eq!(has_ended(&other), Some(true));
        for unknown in ["", "x", "boot pid:[1] 1 1", "a b c d"] {
            assert_eq!(has_ended(unknown), None, "{unknown}");
        }
    }
}
