//! Builds a root file system twice, with native tools and wholly emulated, bases included, and compares everything.

use pib_plan::native::ROOT;

use crate::engine::native::{Target, prepared};
use crate::exported;
use crate::world::{self, Images, World};

/// The file in which the part tells which program it ran: in the root file system, not in the log, since a build that the
/// engine still has in its cache prints nothing.
const RUNS: &str = "runs";

/// Packages whose scripts make users, units, caches, certificates, locales and bytecode.
const MANY: &str = "systemd-sysv udev dbus libpam-systemd openssh-server locales ca-certificates kmod python3-minimal \
                    zstd xz-utils adduser libcap2-bin tzdata";
/// What the part itself needs of them: the scripts are the same on every architecture.
const FEW: &str = "systemd openssh-server locales python3-minimal zstd xz-utils adduser libcap2-bin";

/// What the part does with them.
const PART: &str = r#"
RUN readlink /proc/self/exe > /runs; \
    adduser --quiet --system --group --home /var/lib/thing thing; \
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

fn compare(project: &'static str, target: Target<'_>, packages: &str) {
    let part = format!("RUN apt-get install --yes {packages}\n{PART}");
    let _images = Images(project);
    let shared = world::cache();
    let own = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(shared.join("debs")).unwrap();
    // The packages are downloaded once; the bases are made apart.
    std::os::unix::fs::symlink(std::fs::canonicalize(shared.join("debs")).unwrap(), own.path().join("debs"))
        .unwrap();
    let native = prepared(World::new(), project, &part, target);
    let emulated = prepared(World::with_cache(own.path().to_owned()), project, &part, target);

    build(&native, project, &[]);
    let (mut runs, mut shadow) = (String::new(), String::new());
    let mut with = exported::items(project, &mut |path, contents| {
        exported::check(path, contents);
        keep(RUNS, path, contents, &mut runs);
        keep("etc/shadow", path, contents, &mut shadow);
    });
    assert_eq!(runs, format!("{ROOT}/usr/bin/readlink\n"), "native tools were not used");
    drop(Images(project));
    build(&emulated, project, &["--no-native"]);
    let mut without = exported::items(project, &mut |path, contents| keep(RUNS, path, contents, &mut runs));
    assert_eq!(runs, "/usr/bin/readlink\n", "native tools were used");
    assert!(with.remove(RUNS).is_some() && without.remove(RUNS).is_some());

    // An archive may have been written anew since the first of the two was made, with the same packages.
    let base = |world: &World| {
        let lock = std::fs::read_to_string(world.path(project).join("pib.lock")).unwrap();
        let base = lock.split("[[base]]").nth(1).unwrap().split("[[").next().unwrap();
        base.lines().filter(|line| !line.contains("moment = ")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(base(&native), base(&emulated), "the bases differ");
    // The day of the build is in no user's password, which would make each day's image another.
    let day = last_day(&native, project).to_string();
    let made = shadow.lines().find(|line| line.starts_with("thing:")).and_then(|line| line.split(':').nth(2));
    assert_eq!(made, Some(&*day), "{shadow}");
    let differences = exported::differences(("native", &with), ("emulated", &without));
    eprintln!("{}: {} paths compared, {} differ", target.1, with.len(), differences.len());
    assert!(differences.is_empty(), "{}", exported::shown(&differences));
}

fn build(world: &World, project: &str, options: &[&str]) {
    let output = world.pib(project, &["build", "--verbose"]).args(options).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Keeps the text of a file.
fn keep(file: &str, path: &str, contents: &[u8], text: &mut String) {
    if path == file {
        *text = String::from_utf8_lossy(contents).into_owned();
    }
}

/// Returns the day, counted from 1970, of which the lock says that no file is newer.
fn last_day(world: &World, project: &str) -> u64 {
    let lock = std::fs::read_to_string(world.path(project).join("pib.lock")).unwrap();
    let epoch = lock.lines().find_map(|line| line.strip_prefix("epoch = ")).unwrap();
    epoch.parse::<u64>().unwrap() / 86_400
}

#[test]
fn an_arm64_system_is_the_same_without_native_tools() {
    compare("samearm64", ("trixie", "arm64", "rpi4"), MANY);
}

#[test]
fn an_armv7_system_is_the_same_without_native_tools() {
    compare("samearmv7", ("bookworm", "armv7", "rpi3"), FEW);
}
