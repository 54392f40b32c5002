//! Unpacks a Debian that has engines.

use std::fs;
use std::path::PathBuf;

use crate::run::{Outcome, as_root, has, root, show};
use crate::setup::{Need, install};

/// What unpacking and starting take.
const NEEDS: [Need; 2] = [
    Need { what: "what unpacks a Debian", there: || has("mmdebstrap"), packages: &["mmdebstrap"] },
    Need { what: "namespaces", there: || has("unshare") && has("pivot_root"), packages: &["util-linux"] },
];

/// What an unpacked Debian has.
const PACKAGES: &str = "docker.io,podman,crun,runc,iptables,iproute2,procps,ca-certificates,uidmap,slirp4netns,\
    rootlesskit,fuse-overlayfs";
/// The user whom engines without root run as.
const USER: &str = "useradd --root \"$1\" --create-home --uid 10777 engine && \
    for each in subuid subgid; do echo engine:1000000:65536 > \"$1/etc/$each\"; done && mkdir -p \"$1/old\"";

/// Installs what is missing, or says why no engine can be started here.
pub(super) fn needs() -> Outcome {
    if !has("apt-get") {
        return Err("engines are started from Debian's packages, and this machine has no apt-get".to_owned());
    }
    install(&NEEDS)
}

/// Returns the root file system of a release, unpacked once and kept below `target/`.
pub(super) fn unpacked(release: &str) -> Outcome<PathBuf> {
    let folder = root().join("target/engines").join(release);
    let mark = folder.join("etc/pib-engines");
    let made_of = format!("{PACKAGES}\n{USER}\n");
    if fs::read_to_string(&mark).is_ok_and(|text| text == made_of) {
        return Ok(folder);
    }
    let path = folder.to_string_lossy().into_owned();
    let parent = folder.parent().unwrap_or(&folder);
    fs::create_dir_all(parent).map_err(|error| format!("could not make {}: {error}", parent.display()))?;
    show(&mut as_root("rm", &["-rf", "--one-file-system", &path]))?;
    let include = format!("--include={PACKAGES}");
    let user = format!("--customize-hook={USER}");
    // A mirror that is not updated for some days is as good for this.
    let dates = "--aptopt=Acquire::Check-Valid-Until \"false\"";
    let args = ["--quiet", "--variant=apt", dates, &include, &user, release, &path];
    show(&mut as_root("mmdebstrap", &args))?;
    // Last, so that what was interrupted is not taken for whole.
    show(&mut as_root("sh", &["-c", "printf %s \"$1\" > \"$2\"", "sh", &made_of, &mark.to_string_lossy()]))?;
    Ok(folder)
}
