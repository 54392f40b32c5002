//! An ssh server for the tests: Debian's, unpacked to a folder of its own. It is not installed, since an installed one
//! would be started, too, and let people in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::run::{Outcome, as_root, capture, command, root};

/// Where an installed server is, as the tests look for it.
const INSTALLED: &str = "/usr/sbin/sshd";
/// The programs that newer servers start for each connection, by the option that says where they are.
const HELPERS: [(&str, &str); 2] =
    [("SshdSessionPath", "usr/lib/openssh/sshd-session"), ("SshdAuthPath", "usr/lib/openssh/sshd-auth")];

/// Fetches and unpacks the server, unless there is one.
pub(crate) fn ready() -> Outcome {
    let folder = root().join("target/sshd");
    let program = folder.join("sshd");
    if Path::new(INSTALLED).exists() || program.exists() {
        return Ok(());
    }
    eprintln!("Fetching an ssh server for the tests");
    let fail = |what: &str, error| format!("could not {what} {}: {error}", folder.display());
    let _ = fs::remove_dir_all(&folder);
    let archives = folder.join("archives");
    fs::create_dir_all(archives.join("partial")).map_err(|error| fail("make", error))?;
    let cache = format!("Dir::Cache::archives={}", archives.display());
    let options = ["-o", &cache, "-o", "APT::Sandbox::User=root", "--quiet", "--yes", "--download-only"];
    capture(&mut as_root("apt-get", &["update", "--quiet"]))?;
    let install = [&options[..], &["--no-install-recommends", "install", "openssh-server"]].concat();
    capture(&mut as_root("apt-get", &install))?;
    let tree = folder.join("root");
    for archive in fs::read_dir(&archives).map_err(|error| fail("read", error))?.flatten() {
        let archive = archive.path();
        if archive.extension().is_some_and(|end| end == "deb") {
            let (archive, tree) = (archive.to_string_lossy(), tree.to_string_lossy());
            capture(&mut command("dpkg-deb", &["--extract", &archive, &tree]))?;
        }
    }
    write(&program, &tree).map_err(|error| fail("write to", error))
}

/// Writes the program that starts the unpacked one with the libraries that came with it.
fn write(program: &Path, tree: &Path) -> std::io::Result<()> {
    let mut libraries: Vec<PathBuf> = Vec::new();
    for folder in ["lib", "usr/lib"] {
        let below = fs::read_dir(tree.join(folder)).into_iter().flatten().flatten();
        libraries
            .extend(below.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with("-gnu")));
    }
    let libraries: Vec<_> = libraries.iter().map(|path| path.display().to_string()).collect();
    let helpers = HELPERS.iter().filter(|(_, path)| tree.join(path).exists());
    let helpers: String =
        helpers.map(|(option, path)| format!(" -o {option}={}", tree.join(path).display())).collect();
    let text = format!(
        "#!/bin/sh\nexport LD_LIBRARY_PATH={}\nexec {}/usr/sbin/sshd \"$@\"{helpers}\n",
        libraries.join(":"),
        tree.display()
    );
    // Under its name it counts as complete.
    let beside = program.with_extension("new");
    fs::write(&beside, text)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755))?;
    fs::rename(beside, program)
}
