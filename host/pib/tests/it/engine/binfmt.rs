//! Registering emulators with the real kernel, in a namespace of its own.

use std::process::Command;

use super::project::{Scratch, said};
use super::trouble::ssh_in;
use crate::world::judge;

/// Kernels since 6.7 keep the handlers of a user namespace apart; what is done there, the machine never sees.
#[test]
fn handlers_are_registered_once_and_foreign_ones_are_left_alone() {
    let script = "\
        cd /proc/sys/fs/binfmt_misc && mount -t binfmt_misc binfmt_misc . 2>/dev/null || { echo unable; exit 0; }
        cd /proc/sys/fs/binfmt_misc
        \"$PIB\" binfmt || exit 11
        cat pib-aarch64
        \"$PIB\" binfmt install || exit 12
        \"$PIB\" binfmt remove || exit 17
        if test -e pib-aarch64; then exit 18; fi
        \"$PIB\" binfmt status || exit 19
        printf ':other:M::\\\\x7fELF\\\\x02\\\\x01\\\\x01\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x02\\\\x00\\\\xb7::/bin/true:' > register
        if \"$PIB\" binfmt; then exit 13; fi
        test -e other || exit 14
        \"$PIB\" binfmt remove || exit 20
        test -e other || exit 21
        \"$PIB\" binfmt install --force || exit 15
        if test -e other; then exit 16; fi
        cat pib-aarch64";
    let mut shell = Command::new("unshare");
    let output =
        shell.args(["-Urm", "sh", "-c", script]).env("PIB", env!("CARGO_BIN_EXE_pib")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() && said.is_empty() || said.contains("unable") {
        eprintln!("skipped: this kernel has no handlers per namespace");
        return;
    }
    assert!(output.status.success(), "{output:?}");
    let flags: Vec<&str> = said.lines().filter(|line| line.starts_with("flags: ")).collect();
    assert!(flags.len() == 2 && flags.iter().all(|line| line.contains('F')), "{said}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("--force"), "{errors}");
}

/// The kernel of an engine that is reached by ssh is looked at through a container. It is this machine's
/// here, whose emulators are registered: that is found, and nothing is changed or left.
#[test]
fn the_kernel_of_another_machine_is_asked_through_a_container() {
    let project = Scratch::new("farkernel", "ssh://far.example");
    let script = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\n\
                  DOCKER_HOST=unix:///var/run/docker.sock exec sh -c \"$*\"\n";
    let path = ssh_in(&project.path("."), script);
    let pib = |args: &[&str]| {
        let mut pib = project.pib(args);
        let output = pib
            .env("PATH", format!("{}:{}", path.display(), std::env::var("PATH").unwrap()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let status = pib(&["binfmt", "status"]);
    assert!(status.starts_with("On the machine of ssh://far.example:\narm64: ready: "), "{status}");
    let handlers = || std::fs::read_dir("/proc/sys/fs/binfmt_misc").unwrap().count();
    let before = handlers();
    let installed = pib(&["binfmt"]);
    assert_eq!(installed.matches("registered already").count(), 2, "{installed}");
    let removed = pib(&["binfmt", "remove"]);
    assert!(removed.contains("pib has registered nothing"), "{removed}");
    assert_eq!(handlers(), before);
    let left = judge::tool("docker", &["images", "-q", "pib-binfmt"]).unwrap();
    assert_eq!(left, "", "a container image is left");
}
