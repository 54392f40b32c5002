//! Finds the file that a path means to another process: from its folder, in its root, with its file systems.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use crate::sys::Pid;

/// How many links a path may lead over, as in the kernel.
const MAX_LINKS: usize = 40;

/// How the files that a process sees relate to those that this process sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// They are the same.
    Own,
    /// It has another root, or other file systems.
    Other,
    /// Nobody may know: it has changed its user.
    Hidden,
}

impl View {
    /// Returns how a process sees files, given what tells this process's file systems from others (`/proc/self/ns/mnt`).
    pub(crate) fn of(pid: Pid, mounts: Option<&Path>) -> Self {
        let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}"));
        match (link("root"), link("ns/mnt")) {
            (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                Self::Hidden
            }
            (Ok(root), Ok(own)) if root == Path::new("/") && Some(own.as_path()) == mounts => Self::Own,
            _ => Self::Other,
        }
    }

    /// Returns where this process finds the root of the other.
    fn root(self, pid: Pid) -> PathBuf {
        match self {
            Self::Own | Self::Hidden => PathBuf::from("/"),
            Self::Other => PathBuf::from(format!("/proc/{pid}/root")),
        }
    }

    /// Returns the file that a path means to a process, as a path of this process with no link in it but those by which
    /// the kernel shows what a process has open. A relative path goes from `start`.
    ///
    /// # Errors
    /// When a link or folder on the way cannot be read, or the links have no end.
    pub(crate) fn find(self, pid: Pid, start: &Path, path: &[u8]) -> io::Result<PathBuf> {
        let root = self.root(pid);
        let own = root.join("proc").join(pid.to_string());
        let mut at = start.to_owned();
        let mut rest = parts(Path::new(OsStr::from_bytes(path)));
        let mut links = 0;
        while let Some(part) = rest.pop() {
            match part.as_bytes() {
                b"/" => at.clone_from(&root),
                b".." if at == root => {}
                b".." if at == start || at.ends_with("..") => at.push(".."),
                b".." => _ = at.pop(),
                b"self" | b"thread-self" if at == root.join("proc") => at.push(pid.to_string()),
                _ => {
                    let next = at.join(&part);
                    let is_shown = at == own || at == own.join("fd");
                    let is_link = !is_shown && fs::symlink_metadata(&next)?.is_symlink();
                    if !is_link {
                        at = next;
                        continue;
                    }
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(io::Error::other("too many links"));
                    }
                    rest.extend(parts(&fs::read_link(next)?));
                }
            }
        }
        Ok(at)
    }
}

/// Returns the parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    let mut parts: Vec<OsString> = parts.map(|part| part.as_os_str().to_owned()).collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_followed_as_the_kernel_follows_it() {
        use std::os::unix::fs::symlink;
        let own = Pid::try_from(std::process::id()).unwrap();
        let folder = std::env::temp_dir().join(format!("pib-native-location-{own}"));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        let folder = fs::canonicalize(folder).unwrap();
        fs::write(folder.join("a/file"), "").unwrap();
        for (target, name) in
            [("a", "to-a"), ("../file", "a/b/up"), ("round", "round"), ("/proc/self/fd", "fds")]
        {
            symlink(target, folder.join(name)).unwrap();
        }
        symlink(folder.join("a"), folder.join("whole")).unwrap();
        let find = |path: &str| View::Own.find(own, &folder, path.as_bytes());
        for path in
            ["a/file", "./to-a/file", "a/b/up", "a/b/../file", "whole/file", "../../../../../a/../whole/file"]
        {
            let expected = if path.starts_with("..") { None } else { Some(folder.join("a/file")) };
            assert_eq!(find(path).ok(), expected, "{path}");
        }
        assert!(find("round").is_err() && find("a/nothing").is_err());
        assert_eq!(find("fds/0").unwrap(), PathBuf::from(format!("/proc/{own}/fd/0")));
        let absolute = folder.join("a/file");
        assert_eq!(find(absolute.to_str().unwrap()).unwrap(), absolute);
        // Seen through the process's root, all is the same.
        let other = View::Other.find(own, &folder, absolute.as_os_str().as_bytes()).unwrap();
        assert_eq!(other, Path::new(&format!("/proc/{own}/root")).join(absolute.strip_prefix("/").unwrap()));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn this_process_sees_its_own_files() {
        let mounts = fs::read_link("/proc/self/ns/mnt").unwrap();
        let own = Pid::try_from(std::process::id()).unwrap();
        assert_eq!(View::of(own, Some(&mounts)), View::Own);
        assert_eq!(View::of(own, None), View::Other);
    }
}
