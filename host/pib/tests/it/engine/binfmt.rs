//! Registering emulators with the real kernel, in a namespace of its own.

use std::process::{Command, Output};

use super::kind::Private;
use super::project::{Scratch, stderr_text};
use super::rootfs::base_tar;
use super::trouble::ssh_in;
use crate::skip::skip;
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
        skip("this kernel has no handlers per namespace");
        return;
    }
    assert!(output.status.success(), "{output:?}");
    let flags: Vec<&str> = said.lines().filter(|line| line.starts_with("flags: ")).collect();
    assert!(flags.len() == 2 && flags.iter().all(|line| line.contains('F')), "{said}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("--force"), "{errors}");
}

/// Starts Podman in a user namespace with all users and handlers of its own: a machine of its own, as far as pib sees.
///
/// The handlers of the machine must not be in sight, since its root would be allowed to change them.
const FAR: &str = r#"
mkdir -p "$D/home" "$D/tmp"
printf '[containers]\ncgroupns = "host"\nlog_driver = "k8s-file"\n[engine]\nevents_logger = "none"\n' > "$D/containers.conf"
export HOME="$D/home" XDG_RUNTIME_DIR="$D/home" CONTAINERS_CONF="$D/containers.conf" TMPDIR="$D/tmp"
mkfifo "$D/mapped"
test ! -e /proc/sys/fs/binfmt_misc/register
unshare --user --mount sh -euc '
    read -r _ < "$D/mapped"
    MOUNT
    exec podman --root "$D/root" --runroot "$D/run" --tmpdir "$D/tmp" --storage-driver vfs --runtime runc \
        --cgroup-manager cgroupfs system service --time 0 "unix://$D/engine.sock"' &
inner=$!
while test "$(readlink "/proc/$inner/ns/user")" = "$(readlink /proc/self/ns/user)"; do sleep 0.05; done
for map in uid_map gid_map; do echo 0 0 65536 > "/proc/$inner/$map"; done
echo > "$D/mapped"
wait "$inner"
"#;

/// An engine whose kernel has handlers of its own, behind ssh.
struct Far {
    engine: Private,
    project: Scratch,
    path: String,
}

impl Far {
    /// Starts it; `None` where this kernel has one set of handlers for all.
    fn start(name: &str, mount: &str) -> Option<Self> {
        let own = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc";
        let able = Command::new("unshare").args(["-Urm", "sh", "-c", own]).output().unwrap();
        if !able.status.success() {
            skip("this kernel has no handlers per namespace");
            return None;
        }
        let engine = Private::start(&FAR.replace("MOUNT", mount), "podman");
        let project = Scratch::new(name, "ssh://far.example");
        let script = format!(
            "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\nDOCKER_HOST={} exec sh -c \"$*\"\n",
            engine.host()
        );
        let path = ssh_in(&project.path("."), &script);
        let path = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
        Some(Self { engine, project, path })
    }

    fn pib(&self, args: &[&str]) -> Output {
        self.project.pib(args).env("PATH", &self.path).output().unwrap()
    }

    /// Runs what must succeed; returns what it wrote.
    fn must(&self, args: &[&str]) -> String {
        let output = self.pib(args);
        assert!(output.status.success(), "{args:?}: {}\n{}", stderr_text(&output), self.engine.log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a piece of shell where the engine is; not all shells tell a foreign program from a script.
    fn inside(&self, script: &str) -> Output {
        let podman = self.engine.processes().into_iter().find(|(_, line)| line.starts_with("podman "));
        let target = podman.expect("the engine does not run").0.to_string();
        let mut enter = Command::new("nsenter");
        enter.args(["--user", "--mount", "--target", &target, "bash", "-c", script]);
        enter.output().unwrap()
    }

    /// Returns the names of the handlers there.
    fn handlers(&self) -> String {
        let output = self.inside("cd /proc/sys/fs/binfmt_misc && ls");
        let text = String::from_utf8(output.stdout).unwrap();
        let names = text.lines().filter(|name| !["register", "status"].contains(name));
        names.collect::<Vec<_>>().join(" ")
    }
}

/// From nothing: the emulators get there, run a program of the target when the container image they came in is gone,
/// and go again. This machine's handlers see nothing of it.
#[test]
fn emulators_are_registered_on_another_machine_and_removed() {
    let here = || {
        let names = std::fs::read_dir("/proc/sys/fs/binfmt_misc").unwrap().flatten();
        let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    let before = here();
    let mount = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc";
    let Some(far) = Far::start("faremulators", mount) else { return };
    let folder = far.project.path(".");
    let unpack = ["-xf", base_tar().to_str().unwrap(), "-C", folder.to_str().unwrap(), "bin/busybox"];
    judge::tool("tar", &unpack).unwrap();
    let program = format!("exec {}/bin/busybox echo emulated", folder.display());
    assert_eq!(far.handlers(), "");
    assert!(!far.inside(&program).status.success(), "a program runs that no handler is there for");
    assert_eq!(far.must(&["binfmt", "status"]).matches("no handler").count(), 2);

    let installed = far.must(&["binfmt"]);
    assert_eq!(installed.matches(": registered /pib-qemu-").count(), 2, "{installed}");
    assert_eq!(far.handlers(), "pib-aarch64 pib-arm");
    let left = judge::tool("docker", &["--host", &far.engine.host(), "images", "--all", "--quiet"]).unwrap();
    assert_eq!(left, "", "a container image is left");
    let ran = far.inside(&program);
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "emulated\n", "{ran:?}");
    assert_eq!(far.must(&["binfmt", "install"]).matches("registered already").count(), 2);
    assert_eq!(far.must(&["binfmt", "status"]).matches("flags F)").count(), 2);

    let removed = far.must(&["binfmt", "remove"]);
    assert!(removed.contains("removed pib-aarch64") && removed.contains("removed pib-arm"), "{removed}");
    assert_eq!(far.handlers(), "");
    let other = "printf ':other:M::\\\\x7fELF\\\\x02\\\\x01\\\\x01\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x02\\\\x00\\\\xb7::/bin/true:' \
                 > /proc/sys/fs/binfmt_misc/register";
    assert!(far.inside(other).status.success());
    let refused = far.pib(&["binfmt"]);
    assert!(
        refused.status.code() == Some(5) && stderr_text(&refused).contains("`other`"),
        "{}",
        stderr_text(&refused)
    );
    assert_eq!(far.handlers(), "other");
    far.must(&["binfmt", "install", "--force"]);
    assert_eq!(far.handlers(), "pib-aarch64 pib-arm");
    assert_eq!(here(), before, "this machine's handlers were changed");
}

/// What is registered by a container that has the only mount goes with the container.
#[test]
fn a_machine_that_forgets_handlers_at_once_is_told() {
    let Some(far) = Far::start("forgetful", ":") else { return };
    let forgotten = far.pib(&["binfmt"]);
    let text = stderr_text(&forgotten);
    assert_eq!(forgotten.status.code(), Some(5), "{text}");
    for part in ["ssh://far.example", "has forgotten the handler for arm64", "mount -t binfmt_misc"] {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
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
        assert!(output.status.success(), "{}", stderr_text(&output));
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
