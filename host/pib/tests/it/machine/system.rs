//! The systems that the tests of the bundled stages build. Raspberry Pi OS comes from archives on this machine: Debian's own, and
//! one beside it with Raspberry Pi's packages, signed by a key of the test's. Its kernel is Debian's under Raspberry Pi's name, so
//! that QEMU starts it.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use pib_debian::decompress::{self, Format};
use pib_debian::{DEFAULT_MIRROR, HostApt};
use pib_net::Http;
use pib_plan::lockfile::{LockedBase, Lockfile};

use crate::apt_archive::AptArchive;
use crate::world::{World, cache, docker, judge, root};

/// The date of the test's releases: neither old nor of the future.
const DATE: &str = "Sat, 01 Nov 2025 00:00:00 UTC";

/// A device tree without a node, in hexadecimal digits: its header, an empty list of reserved memory, and the root.
const EMPTY_TREE: &str = "d00dfeed000000480000003800000048000000280000001100000010000000000000000000000010\
                          0000000000000000000000000000000000000001000000000000000200000009";

/// What the tests build.
pub(super) struct System {
    pub(super) os: &'static str,
    /// The name that the suites of its archives have.
    pub(super) release: &'static str,
    pub(super) arch: &'static str,
}

pub(super) const fn system(os: &'static str, release: &'static str, arch: &'static str) -> System {
    System { os, release, arch }
}

/// All that the bundled stages build and QEMU starts, with packages of Debian's kind. The first is what tests build on their own;
/// `cargo xtask systems` has them build the others.
const SYSTEMS: [System; 8] = [
    system("debian", "trixie", "arm64"),
    system("debian", "trixie", "armv7"),
    system("debian", "bookworm", "arm64"),
    system("debian", "bookworm", "armv7"),
    system("raspios", "trixie", "arm64"),
    system("raspios", "trixie", "armv7"),
    system("raspios", "bookworm", "arm64"),
    system("raspios", "bookworm", "armv7"),
];

impl System {
    /// Returns the system that `PIB_TEST_SYSTEM` names, such as `debian-bookworm-armv7`, or else the first.
    pub(super) fn named() -> &'static Self {
        let Ok(named) = std::env::var("PIB_TEST_SYSTEM") else { return &SYSTEMS[0] };
        let found = SYSTEMS.iter().find(|own| format!("{}-{}-{}", own.os, own.release, own.arch) == named);
        found.unwrap_or_else(|| panic!("no system is called {named}"))
    }

    /// Returns whether `PIB_TEST_SYSTEM` names one: then there is time for more than in a run of all tests.
    pub(super) fn is_named() -> bool {
        std::env::var_os("PIB_TEST_SYSTEM").is_some()
    }

    /// Returns the program that QEMU boots it with.
    pub(super) fn machine(&self) -> &'static str {
        if self.arch == "arm64" { "qemu-system-aarch64" } else { "qemu-system-arm" }
    }

    /// Makes a project that builds it, and returns what serves it.
    pub(super) fn project(&self, world: &World, name: &str) -> Archives {
        // Boards that each bundled stage supports on the architecture.
        let board = if self.arch == "arm64" { "rpi4" } else { "zero2w" };
        let Self { os, release, arch } = self;
        let system = ["--os", os, "--release", release, "--arch", arch, "--board", board];
        world.run(".", &[&["new", name][..], &system].concat());
        let mut archives = Archives::default();
        if self.os == "raspios" {
            let ip = gateway();
            let own = raspberrypi(self);
            let mut tables = vec![("raspberrypi", archives.serve(&ip, own, None))];
            if self.arch != "arm64" {
                let raspbian = raspbian(self.release);
                tables.push(("raspbian", archives.serve(&ip, raspbian, Some(DEFAULT_MIRROR))));
            }
            write_init(&world.path(name), &tables);
        }
        world.allow_servers(&archives.addresses());
        archives
    }
}

/// Archives that are served as long as this lives.
#[derive(Default)]
pub(super) struct Archives {
    held: Vec<AptArchive>,
    addresses: Vec<String>,
}

impl Archives {
    /// Serves one more archive, and returns its lines of an init stage.
    fn serve(&mut self, ip: &str, archive: AptArchive, elsewhere: Option<&'static str>) -> String {
        let address = archive.serve(ip, elsewhere);
        let table = archive.table(&address);
        self.addresses.push(address);
        self.held.push(archive);
        table
    }

    /// Returns the fingerprint of the key that signs the first one.
    pub(super) fn fingerprint(&self) -> String {
        self.held[0].fingerprint()
    }

    /// Returns where they are.
    pub(super) fn addresses(&self) -> Vec<&str> {
        self.addresses.iter().map(String::as_str).collect()
    }
}

/// Fills an archive of Raspberry Pi's own packages.
pub(super) fn raspberrypi(system: &System) -> AptArchive {
    // The kernel, what it is made of, what the firmware calls it, and where its device trees are below its folder.
    let (kernel, made_of, file, trees) = match system.arch {
        "arm64" => ("linux-image-rpi-v8", "linux-image-arm64", "8", "broadcom/"),
        _ => ("linux-image-rpi-v7", "linux-image-armmp", "7", ""),
    };
    // The trees have other names than Debian's on the boards with the processor of the Pi 3.
    let kernel_hook = format!(
        "#!/bin/sh\nset -eu\nmkdir -p /boot/firmware\ncp -r /usr/lib/raspi-firmware/* /boot/firmware/\n\
         cp \"/boot/vmlinuz-$1\" /boot/firmware/kernel{file}.img\n\
         for tree in \"/usr/lib/linux-image-$1\"/{trees}bcm2*.dtb; do\n\
         name=${{tree##*/}}; case $name in bcm2837-*) name=bcm2710-${{name#bcm2837-}} ;; esac\n\
         cp \"$tree\" \"/boot/firmware/$name\"\ndone\nmkdir -p /boot/firmware/overlays\n\
         perl -e 'print pack \"H*\", \"{EMPTY_TREE}\"' > /boot/firmware/overlays/dwc2.dtbo\n"
    );
    let initramfs_hook = format!("#!/bin/sh\nset -eu\ncp \"$2\" /boot/firmware/initramfs{file}\n");
    let archive = AptArchive::new(system.release);
    let firmware = archive.package(
        "Package: raspi-firmware\nVersion: 1:20990101-1+rpt1\nArchitecture: all\nSection: kernel\nPriority: optional\n",
        &[
            ("etc/kernel/postinst.d/z50-raspi-firmware", 0o755, &kernel_hook),
            ("etc/initramfs/post-update.d/z50-raspi-firmware", 0o755, &initramfs_hook),
            ("usr/lib/raspi-firmware/bootcode.bin", 0o644, "firmware"),
            ("usr/lib/raspi-firmware/start.elf", 0o644, "firmware"),
            ("usr/lib/raspi-firmware/fixup.dat", 0o644, "firmware"),
            ("usr/lib/raspi-firmware/start4.elf", 0o644, "firmware"),
            ("usr/lib/raspi-firmware/fixup4.dat", 0o644, "firmware"),
        ],
    );
    let arch = if system.arch == "arm64" { "arm64" } else { "armhf" };
    let control = format!(
        "Package: {kernel}\nVersion: 1:6.12.1-1+rpt1\nArchitecture: {arch}\nSection: kernel\nPriority: optional\n\
         Depends: {made_of}, raspi-firmware\n"
    );
    let list = (firmware + &archive.package(&control, &[])).into_bytes();
    let other = if system.arch == "arm64" { "armhf" } else { "arm64" };
    archive.publish(DATE, &[(arch, list), (other, Vec::new())]);
    archive
}

/// Returns an archive that stands in for Raspbian: Debian's packages for armhf, signed by another key. Debian's mirror has the files.
pub(super) fn raspbian(release: &'static str) -> AptArchive {
    let archive = AptArchive::new(release);
    archive.publish(DATE, &[("armhf", armhf_packages(release))]);
    archive
}

/// Returns the list of Debian's packages for armhf, from the mirror of this machine. Raspbian has the firmware of Wi-Fi among its own.
fn armhf_packages(release: &str) -> Vec<u8> {
    let main = HostApt::read(Path::new("/")).main;
    let main =
        main.map_or_else(|| DEFAULT_MIRROR.to_owned(), |url| url.as_str().trim_end_matches('/').to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut list = Vec::new();
    for component in ["main", "non-free-firmware"] {
        let url = format!("{main}/dists/{release}/{component}/binary-armhf/Packages.xz").parse().unwrap();
        let packed = runtime.block_on(async { Http::new().unwrap().bytes(&url, 128 << 20).await.unwrap() });
        decompress::decoder(Format::of(&packed), &packed[..]).unwrap().read_to_end(&mut list).unwrap();
        list.push(b'\n');
    }
    list
}

/// Writes the bundled init stage into a project, with other archives than Raspberry Pi's: `tables` has those of the archives
/// by name.
pub(super) fn write_init(project: &Path, tables: &[(&str, String)]) {
    let (from, to) = (root().join("stages/__init__"), project.join("stages/__init__"));
    judge::tool("mkdir", &["-p", project.join("stages").to_str().unwrap()]).unwrap();
    judge::tool("cp", &["-r", from.to_str().unwrap(), to.to_str().unwrap()]).unwrap();
    let mut text = fs::read_to_string(to.join("stage.toml")).unwrap();
    for (name, table) in tables {
        let start = text.find(&format!("name = \"{name}\"\n")).unwrap();
        let end = text[start..].find("\n\n").map_or(text.len(), |end| start + end);
        let kept =
            |line: &&str| !["url", "keys", "key-url", "components"].iter().any(|key| line.starts_with(key));
        let kept: String = text[start..end].lines().filter(kept).map(|line| format!("{line}\n")).collect();
        text.replace_range(start..end, &format!("{kept}{table}"));
    }
    fs::write(to.join("stage.toml"), text).unwrap();
    let manifest = project.join("pib.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(manifest, text.replace("[stages]\n", "[stages]\n__init__ = { path = \"stages/__init__\" }\n"))
        .unwrap();
}

/// Returns what a project's lock has of its base.
pub(super) fn base(project: &Path) -> LockedBase {
    let text = fs::read_to_string(project.join("pib.lock")).unwrap();
    Lockfile::parse("pib.lock", &text).unwrap().bases.remove(0)
}

/// Removes a base from the cache. The addresses of its archives are others in each run, and so is the base.
pub(super) fn forget(made: &LockedBase) {
    let name = format!("bases/{}.tar", made.digest().unwrap().hex());
    fs::remove_file(cache().join(name)).unwrap();
}

/// Returns the address of this machine at which containers reach it.
pub(super) fn gateway() -> String {
    let bridge = "{{index .Options \"com.docker.network.bridge.name\"}}";
    let bridge = docker(&["network", "inspect", "bridge", "--format", bridge]);
    let told = judge::tool("ip", &["-4", "-oneline", "address", "show", "dev", bridge.trim()]).unwrap();
    let address = told.split_whitespace().skip_while(|word| *word != "inet").nth(1).unwrap();
    address.split('/').next().unwrap().to_owned()
}
