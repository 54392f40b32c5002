//! What a lock names is the same on another machine, another day: with another cache, another engine, and no network at all;
//! once made with native tools, and once wholly emulated, bases included.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use pib_plan::native::ROOT;

use crate::engine::kind::{self, Private};
use crate::engine::native::{Target, prepared};
use crate::world::{Images, World, nonce};

/// Packages whose scripts make users, units, caches, certificates, locales and bytecode.
const MANY: &str = "systemd-sysv udev dbus libpam-systemd openssh-server locales ca-certificates kmod python3-minimal \
                    zstd xz-utils adduser libcap2-bin tzdata";
/// What the part itself needs of them: the scripts are the same on every architecture.
const FEW: &str = "systemd openssh-server locales python3-minimal zstd xz-utils adduser libcap2-bin";

/// What the part does with them.
const PART: &str = r#"
RUN adduser --quiet --system --group --home /var/lib/thing thing; \
    useradd --create-home --shell /bin/bash person; echo person:secret | chpasswd --crypt-method NONE; \
    chown thing: /var/lib/thing; \
    echo "en_US.UTF-8 UTF-8" > /etc/locale.gen; locale-gen; \
    systemctl enable ssh systemd-networkd; systemctl mask apt-daily.timer; \
    cp /usr/bin/sleep /usr/bin/nap; setcap cap_net_raw+ep /usr/bin/nap; \
    update-alternatives --install /usr/bin/thing thing /usr/bin/nap 10; \
    dpkg-divert --quiet --local --rename --divert /usr/bin/rev.distrib --add /usr/bin/rev; \
    apt-get remove --yes --purge zstd; apt-get install --yes --reinstall sed; \
    python3 -c 'print("made by python")' | gzip -9n > /made.gz; \
    sort /etc/passwd | awk -F: '{ print $1 }' | xz > /users.xz; ldconfig; \
    sed -i 's/^person:[^:]*:[0-9]*:/person:x:1:/' /etc/shadow
"#;

/// Returns the part: what it installs, what it does, and what says at the end which program ran, native or not.
fn part(packages: &str) -> String {
    let told = format!("RUN : {}; echo \"ran by $(readlink /proc/self/exe)\"", nonce());
    format!("RUN apt-get update\nRUN apt-get install --yes {packages}\n{PART}{told}\n")
}

/// Runs pib under another user, host name, umask and day, without a network: as another machine would on which the mirrors are
/// gone.
fn run_elsewhere(world: &World, project: &str, args: &[&str], engine: &Private) -> String {
    const ENTER: &str = "hostname elsewhere; umask 077; \
                         exec setpriv --reuid 65534 --regid 65534 --clear-groups \
                         faketime '2031-02-03 04:05:06' \"$@\"";
    let pib = world.pib(project, args);
    let mut run = Command::new("unshare");
    run.args(["--net", "--uts", "sh", "-euc", ENTER, "sh"]);
    run.arg(pib.get_program()).args(pib.get_args()).current_dir(world.path(project));
    for (name, value) in pib.get_envs() {
        run.env(name, value.unwrap_or_default());
    }
    run.env("DOCKER_HOST", engine.host()).env("TZ", "Asia/Tokyo").env("LC_ALL", "C").stdin(Stdio::null());
    let output = run.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "pib {args:?}: {}\n{errors}", output.status);
    errors
}

/// Gives what is below a folder to the user nobody.
fn give_away(folder: &Path) {
    let owned = Command::new("chown").args(["-R", "65534:65534"]).arg(folder).status().unwrap();
    assert!(owned.success());
}

/// Lets every user of this machine reach an engine.
fn open(engine: &Private) {
    let socket = engine.host();
    let socket = Path::new(socket.trim_start_matches("unix://"));
    for (path, mode) in [(socket.parent().unwrap(), 0o755), (socket, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Where what a build is made of comes from on the other machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contents {
    /// A store that `pib push` has filled.
    Store,
    /// The project itself, by `pib vendor --packages`.
    Project,
}

/// Checks which program a build ran, by what its part said: a native one, in the folder of those, or the target's own.
fn ran(folder: &str, told: &str) {
    assert!(told.contains(&format!("ran by {folder}/usr/bin/readlink")), "{told}");
}

/// Builds a project with native tools, and builds it again where nothing but its contents is: no native tools either.
fn is_the_same_elsewhere(
    name: &'static str,
    (target, packages): (Target<'_>, &str),
    contents: Contents,
    options: &[&str],
) {
    let _images = Images(name);
    let first = prepared(World::new(), name, &part(packages), target);
    let store = tempfile::tempdir().unwrap();
    let manifest = first.path(name).join("pib.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut more = "\n[build]\nnetwork = \"recorded\"\n".to_owned();
    if contents == Contents::Store {
        more += &format!("\n[stores]\nown = \"{}\"\n", store.path().display());
    }
    fs::write(&manifest, text + &more).unwrap();
    let built = first.pib(name, &["build", "--verbose"]).output().unwrap();
    let told = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{told}");
    ran(ROOT, &told);
    // All that the build is made of has passed through this machine.
    match contents {
        Contents::Store => {
            let told = first.run(name, &["fetch"]);
            assert!(told.contains(", and emulators, and native tools"), "{told}");
            let told = first.run(name, &["push"]);
            assert!(told.contains(" files of this project are in "), "{told}");
        }
        Contents::Project => {
            let told = first.run(name, &["vendor", "--packages"]);
            assert!(told.contains(" files that builds fetch are in vendor-packages"), "{told}");
        }
    }

    let cache = tempfile::tempdir().unwrap();
    let other = World::with_cache(cache.path().join("cache"));
    let (from, to) = (first.path(name), other.path(name));
    fs::create_dir_all(&to).unwrap();
    let copy = "cd \"$0\"; rm -rf target; cp -r . \"$1\"";
    let (_, arch, board) = target;
    let image = &format!("target/{name}-{board}-{arch}.img");
    let sum = |folder: &Path| fs::read_to_string(folder.join(format!("{image}.sha256"))).unwrap();
    let expected = sum(&from);
    let copied = Command::new("sh").args(["-euc", copy]).args([&from, &to]).status().unwrap();
    assert!(copied.success());
    let engine = kind::docker("6g");
    open(&engine);
    [other.path("."), cache.path().to_owned(), store.path().to_owned()]
        .iter()
        .for_each(|path| give_away(path));
    run_elsewhere(&other, name, &["fetch", "--frozen"], &engine);
    let told = run_elsewhere(&other, name, &[&["build", "--verbose", "--frozen"], options].concat(), &engine);
    ran("", &told);
    if sum(&to) != expected {
        let image = |folder: &Path| folder.join(image).display().to_string();
        panic!("the images differ:\n{}", first.run(name, &["diff", &image(&from), &image(&to)]));
    }
    eprintln!("{name}, {}: the same elsewhere: {}", target.0, expected.trim());
}

/// Returns the release that a test builds: this one, unless `PIB_TEST_RELEASE` names another. Either architecture with either
/// release takes two runs.
fn release(usual: &str) -> String {
    std::env::var("PIB_TEST_RELEASE").unwrap_or_else(|_| usual.to_owned())
}

#[test]
fn an_arm64_image_is_the_same_elsewhere() {
    let target = (&*release("trixie"), "arm64", "rpi4");
    is_the_same_elsewhere("elsewherearm64", (target, MANY), Contents::Store, &["--no-native"]);
}

#[test]
fn an_armv7_image_is_the_same_elsewhere() {
    let target = (&*release("bookworm"), "armv7", "rpi3");
    is_the_same_elsewhere("elsewherearmv7", (target, FEW), Contents::Project, &[]);
}
