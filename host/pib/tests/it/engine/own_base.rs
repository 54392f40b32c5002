//! Bases of a project's own: a build starts from the one that the manifest asks for now, not from one that an earlier
//! build had.

use std::path::Path;

use pib_plan::base::{BaseSource, Bootstrap, WantedBase};
use pib_plan::id::{Arch, Digest};
use pib_plan::lockfile::{LockedBase, Lockfile};
use pib_plan::manifest::project::ProjectManifest;

use super::project::{Scratch, stderr_text};
use super::rootfs::base_tar;
use crate::world::{Images, docker};

/// The file by which bases are told apart.
const WHICH: &str = "etc/which";
/// The engine that the tests use.
const HOST: &str = "unix:///var/run/docker.sock";

/// Returns the tests' base with a file of this text in it.
fn base(text: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(base_tar()).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path(WHICH).unwrap();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(1_000_000_000);
    header.set_cksum();
    // Two empty blocks end a tar.
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(header.as_bytes());
    bytes.extend(text.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    bytes
}

/// Writes a base to a file of the project and returns the lines of `[base]` for it.
fn add_base(project: &Scratch, file: &str, text: &str) -> String {
    let bytes = base(text);
    std::fs::write(project.path(file), &bytes).unwrap();
    format!("path = \"{file}\"\ndigest = \"{}\"\n", Digest::of(&bytes))
}

/// Has the project start from other lines of `[base]`.
fn set_base(project: &Scratch, lines: &str) {
    let path = project.path("pib.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let start = text.find("[base]\n").unwrap() + "[base]\n".len();
    let end = start + text[start..].find("\n[build]").unwrap();
    std::fs::write(&path, format!("{}{lines}{}", &text[..start], &text[end..])).unwrap();
}

fn which(project: &Scratch, args: &[&str]) -> String {
    let file = format!("/{WHICH}");
    let args = [&["run", "--quiet"], args, &["--", "cat", &file]].concat();
    let output = project.pib(&args).output().unwrap();
    assert!(output.status.success(), "{}", stderr_text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn lock(project: &Scratch) -> String {
    std::fs::read_to_string(project.path("pib.lock")).unwrap()
}

fn succeeds(project: &Scratch, args: &[&str]) -> String {
    let output = project.pib(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", stderr_text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn another_base_in_the_manifest_is_built_from_at_once() {
    let _images = Images("otherbase");
    let project = Scratch::new("otherbase", HOST);
    project.part("mine", "RUN true\n");
    set_base(&project, &add_base(&project, "one.tar", "one"));
    succeeds(&project, &["build"]);
    assert!(succeeds(&project, &["build"]).contains("is up to date"));
    assert_eq!(which(&project, &[]), "one");
    let before = lock(&project);

    set_base(&project, &add_base(&project, "two.tar", "two"));
    let output = project.pib(&["build", "--locked"]).output().unwrap();
    assert!(
        !output.status.success()
            && stderr_text(&output).contains("does not hold the base (debian trixie, arm64)"),
        "{}",
        stderr_text(&output)
    );
    assert_eq!(lock(&project), before);
    let built = succeeds(&project, &["build"]);
    assert!(!built.contains("is up to date"), "{built}");
    assert_eq!(which(&project, &[]), "two");
    assert_eq!(lock(&project).matches("[[base]]").count(), 1, "{}", lock(&project));
    succeeds(&project, &["build", "--locked"]);

    // The same file by another name is the same base.
    std::fs::rename(project.path("two.tar"), project.path("moved.tar")).unwrap();
    let text = std::fs::read_to_string(project.path("pib.toml")).unwrap();
    std::fs::write(project.path("pib.toml"), text.replace("two.tar", "moved.tar")).unwrap();
    assert!(succeeds(&project, &["build", "--locked"]).contains("is up to date"));

    // What an earlier pib wrote, which did not note what a base was asked for by, still builds.
    let older: String = lock(&project)
        .lines()
        .filter(|line| !line.starts_with("recipe"))
        .map(|l| l.to_owned() + "\n")
        .collect();
    std::fs::write(project.path("pib.lock"), &older).unwrap();
    succeeds(&project, &["build", "--locked"]);
    assert_eq!(lock(&project), older);
    succeeds(&project, &["build", "--no-cache"]);
    assert!(lock(&project).contains("\nrecipe = "), "{}", lock(&project));
}

#[test]
fn each_target_starts_from_its_own_base() {
    let _images = Images("twobases");
    let project = Scratch::new("twobases", HOST);
    project.part("mine", "RUN true\n");
    set_base(&project, &add_base(&project, "one.tar", "one"));
    let other = add_base(&project, "two.tar", "two");
    let path = project.path("pib.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let targets = format!(
        "\n[target.first]\nhostname = \"first\"\n\n[target.second]\nhostname = \"second\"\n\n[target.second.base]\n{other}"
    );
    std::fs::write(&path, text + &targets).unwrap();
    for target in ["first", "second", "first"] {
        succeeds(&project, &["build", "--target", target]);
    }
    let of = |target| which(&project, &["--target", target]);
    assert_eq!((of("first"), of("second")), ("one".to_owned(), "two".to_owned()));
    let locked = lock(&project);
    assert_eq!(locked.matches("[[base]]").count(), 2, "{locked}");
    let built = succeeds(&project, &["build", "--all", "--frozen"]);
    assert_eq!(built.matches("is up to date").count(), 2, "{built}");
    assert_eq!(lock(&project), locked);
}

/// The base that `pib plan` names, by its digest where the lock holds one for what is asked for.
fn planned(project: &Scratch) -> String {
    let plan = succeeds(project, &["plan"]);
    plan.lines().next().unwrap().to_owned()
}

#[test]
fn an_init_stage_that_asks_for_other_packages_gets_another_base() {
    let project = Scratch::new("initbase", HOST);
    project.part("mine", "RUN true\n");
    let path = project.path("pib.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (start, rest) = text.split_once("[base]\n").unwrap();
    let text = format!("{start}{}", &rest[rest.find("[build]").unwrap()..]);
    std::fs::write(&path, &text).unwrap();
    let init = |include: &[&str]| {
        let stage = "[stage]\nname = \"__init__\"\nversion = \"1.0.0\"\nphase = \"init\"\n\n";
        let base = format!("[base.debian]\nbootstrap = \"debian\"\ninclude = {include:?}\n");
        std::fs::write(project.path("stages/__init__/stage.toml"), format!("{stage}{base}")).unwrap();
    };
    init(&["nano"]);
    assert_eq!(planned(&project), "base pib-base:debian-trixie-arm64");
    put_base(&project.path("pib.lock"), &text, &["nano"]);
    let held = format!("base pib-base:debian-trixie-arm64-{}", &Digest::of(b"base").hex()[..16]);
    assert_eq!(planned(&project), held);
    init(&["nano", "curl"]);
    assert_eq!(planned(&project), "base pib-base:debian-trixie-arm64", "the old base");
    init(&["nano", "nano"]);
    assert_eq!(planned(&project), held, "the same packages, told in another way");
}

/// Puts a base that was made of these packages into a lock.
fn put_base(path: &Path, manifest: &str, include: &[&str]) {
    let manifest = ProjectManifest::parse("pib.toml", manifest).unwrap();
    let source = BaseSource::Bootstrap(Bootstrap {
        os: "debian".to_owned(),
        release: "trixie".to_owned(),
        arch: Arch::Arm64,
        mirror: None,
        security_mirror: None,
        include: include.iter().map(|name| (*name).to_owned()).collect(),
        archives: Vec::new(),
    });
    let mut lock = Lockfile::parse("pib.lock", &std::fs::read_to_string(path).unwrap()).unwrap();
    let wanted = WantedBase { project: &manifest.project, source: &source };
    lock.set_base(LockedBase::new(wanted, Digest::of(b"base"), 7, None));
    std::fs::write(path, lock.to_text()).unwrap();
}

/// A container registry, which ends with the test.
struct Registry {
    process: std::process::Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Registry {
    /// Starts Debian's `docker-registry`; `None` where this machine has none.
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        // The engine speaks to registries of its own machine without TLS.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http: {{ addr: \"127.0.0.1:{port}\" }}\n",
            folder.path().join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        let mut serve = std::process::Command::new("docker-registry");
        serve
            .arg("serve")
            .arg(&config)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let process = serve.spawn().ok()?;
        let registry = Self { process, port, _folder: folder };
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Some(registry)
    }

    /// Pushes a root file system as a container image; returns the name by which it can be pulled.
    fn push(&self, tar: &Path) -> String {
        let tag = format!("127.0.0.1:{}/base:1", self.port);
        docker(&["import", "--platform", "linux/arm64", tar.to_str().unwrap(), &tag]);
        let pushed = docker(&["push", &tag]);
        docker(&["rmi", &tag]);
        let digest = pushed.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap();
        format!("127.0.0.1:{}/base@{digest}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[test]
fn a_container_image_tells_the_time_of_its_files() {
    let Some(registry) = Registry::start() else {
        return eprintln!("skipped: this machine has no docker-registry");
    };
    let _images = Images("imagebase");
    let project = Scratch::new("imagebase", HOST);
    project.part("mine", "RUN echo new > /new\n");
    let tar = project.path("image.tar");
    std::fs::write(&tar, base("of an image")).unwrap();
    // An entry for another base is not this one's.
    succeeds(&project, &["build"]);
    set_base(&project, &format!("image = \"{}\"\n", registry.push(&tar)));
    let plan = succeeds(&project, &["plan"]);
    assert!(plan.contains("base 127.0.0.1:"), "{plan}");
    succeeds(&project, &["build"]);
    let locked = lock(&project);
    assert_eq!(locked.matches("[[base]]").count(), 1, "{locked}");
    assert!(locked.contains("\nepoch = 1000000000\nsource = \"127.0.0.1:"), "{locked}");
    assert!(succeeds(&project, &["build", "--locked"]).contains("is up to date"));
    assert_eq!(which(&project, &[]), "of an image");

    succeeds(&project, &["export", "--tar", "out.tar"]);
    let mut archive = tar::Archive::new(std::fs::File::open(project.path("out.tar")).unwrap());
    let times = archive.entries().unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string().trim_start_matches("./").to_owned();
        ["bin/busybox", "new"].contains(&path.as_str()).then(|| (path, entry.header().mtime().unwrap()))
    });
    let times: Vec<_> = times.collect();
    assert_eq!(times, [("bin/busybox".to_owned(), 1_000_000_000), ("new".to_owned(), 1_000_000_000)]);
    assert_eq!(
        docker(&["images", "-q", "--filter", "reference=pib-base-time"]),
        "",
        "a container image is left"
    );
}
