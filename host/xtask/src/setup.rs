//! Makes a fresh Debian machine fit for the demo and the tests; does nothing where it is fit already.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::run::{Outcome, as_root, has, root, show, succeeds};

/// A thing that must be there, and the Debian packages that bring it.
pub(crate) struct Need {
    pub(crate) what: &'static str,
    pub(crate) there: fn() -> bool,
    pub(crate) packages: &'static [&'static str],
}

const NEEDS: [Need; 15] = [
    Need { what: "a C compiler", there: || has("cc"), packages: &["build-essential"] },
    Need {
        what: "a container engine",
        there: || engine_answers() || (has("dockerd") && has("iptables")),
        packages: &["docker.io", "iptables"],
    },
    Need { what: "the docker client", there: || has("docker"), packages: &["docker.io"] },
    Need {
        what: "user emulation for ARM",
        there: || has("qemu-aarch64-static") && has("qemu-arm-static") && has("update-binfmts"),
        packages: &["qemu-user-static", "binfmt-support"],
    },
    Need {
        what: "the tools that judge an image",
        there: || {
            ["e2fsck", "debugfs", "fsck.vfat", "mcopy", "sfdisk", "sgdisk", "unsquashfs", "sqfs2tar"]
                .iter()
                .all(|tool| has(tool))
        },
        packages: &[
            "e2fsprogs",
            "dosfstools",
            "mtools",
            "fdisk",
            "gdisk",
            "squashfs-tools",
            "squashfs-tools-ng",
            "erofs-utils",
        ],
    },
    Need { what: "the other program that flashes", there: || has("bmaptool"), packages: &["bmap-tools"] },
    Need {
        what: "a machine emulator for the boot test",
        there: || has("qemu-system-aarch64") && has("qemu-system-arm"),
        packages: &["qemu-system-arm", "ipxe-qemu"],
    },
    Need {
        what: "the other container engine that pib builds with",
        there: || has("podman") && has("conmon"),
        packages: &["podman"],
    },
    Need { what: "what makes certificates for tests", there: || has("openssl"), packages: &["openssl"] },
    Need { what: "a terminal without a display", there: || has("tmux"), packages: &["tmux"] },
    Need { what: "what shows programs another day", there: || has("faketime"), packages: &["faketime"] },
    Need { what: "what notes system calls", there: || has("strace"), packages: &["strace"] },
    Need { what: "an OCI registry", there: || has("docker-registry"), packages: &["docker-registry"] },
    Need {
        what: "Python with environments of its own",
        there: || succeeds("python3", &["-c", "import venv, ensurepip"]),
        packages: &["python3-venv"],
    },
    Need { what: "an ssh client", there: || has("ssh") && has("ssh-keygen"), packages: &["openssh-client"] },
];

/// Installs what is missing, registers the emulators and starts the engine.
pub(crate) fn setup() -> Outcome {
    install(&NEEDS)?;
    crate::sshd::ready()?;
    register_emulators()?;
    start_engine()
}

/// Installs what is missing of `needs`.
pub(crate) fn install(needs: &[Need]) -> Outcome {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().flat_map(|need| need.packages.iter().copied()).collect();
    packages.sort_unstable();
    packages.dedup();
    let what: Vec<&str> = missing.iter().map(|need| need.what).collect();
    eprintln!("Installing {}: {}", what.join(", "), packages.join(" "));
    if !has("apt-get") {
        return Err(format!(
            "this machine has no apt-get; install by hand what brings: {}",
            packages.join(" ")
        ));
    }
    show(&mut as_root("apt-get", &["update", "--quiet"]))?;
    let mut args = vec!["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--quiet"];
    args.push("--no-install-recommends");
    args.extend(packages);
    show(&mut as_root("env", &args))?;
    match needs.iter().find(|need| !(need.there)()) {
        Some(need) => Err(format!("{} is still missing after the installation", need.what)),
        None => Ok(()),
    }
}

const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

fn register_emulators() -> Outcome {
    let registered = || {
        ["qemu-aarch64", "qemu-arm"].iter().all(|name| {
            // The flag F keeps the emulator open in the kernel, so that containers need no copy of it.
            std::fs::read_to_string(format!("{BINFMT}/{name}")).is_ok_and(|text| {
                text.starts_with("enabled") && text.contains("flags: ") && flags(&text).contains('F')
            })
        })
    };
    if registered() {
        return Ok(());
    }
    if !Path::new(BINFMT).join("register").exists() {
        show(&mut as_root("mount", &["-t", "binfmt_misc", "binfmt_misc", BINFMT]))?;
    }
    show(&mut as_root("update-binfmts", &["--enable"]))?;
    if registered() {
        Ok(())
    } else {
        Err(format!("the ARM emulators are not registered with flag F in {BINFMT}"))
    }
}

fn flags(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("flags: ")).unwrap_or_default()
}

fn engine_answers() -> bool {
    succeeds("docker", &["version", "--format", "{{.Server.Version}}"])
}

fn start_engine() -> Outcome {
    if engine_answers() {
        return Ok(());
    }
    eprintln!("Starting the container engine");
    if Path::new("/run/systemd/system").is_dir() {
        show(&mut as_root("systemctl", &["start", "docker"]))?;
    } else {
        start_daemon()?;
    }
    let since = Instant::now();
    while !engine_answers() {
        if since.elapsed() > Duration::from_secs(60) {
            return Err(
                "the container engine does not answer after a minute; its log is /var/log/dockerd.log"
                    .to_owned(),
            );
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}

/// What the engine is told where nobody has told it anything: it would keep as much of builds as a tenth of the disk holds.
const ENGINE_CONFIG: &str = "{\"builder\": {\"gc\": {\"enabled\": true, \"defaultKeepStorage\": \"8GB\"}}}\n";

/// Starts dockerd in a session of its own, so that it outlives this task, with its output in a file.
fn start_daemon() -> Outcome {
    let log = "/var/log/dockerd.log";
    let folder = root().join("target");
    let config = folder.join("engine.json");
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&config, ENGINE_CONFIG));
    written.map_err(|error| format!("could not write {}: {error}", config.display()))?;
    let config = config.to_string_lossy().into_owned();
    let options: &[&str] = match Path::new("/etc/docker/daemon.json").exists() {
        true => &[],
        false => &["--config-file", &config],
    };
    let open = || {
        File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(|error| format!("could not open {log}: {error}"))
    };
    let mut command = as_root("setsid", &[&["dockerd"], options].concat());
    command.stdin(Stdio::null()).stdout(open()?).stderr(open()?).process_group(0);
    command.spawn().map(drop).map_err(|error| format!("could not start dockerd: {error}"))
}
