//! The bundled stages that a router or a kiosk may want, many of them in one image: they build, and keep what they promise.

use std::fs;

use super::promises;
use super::system::{System, gateway};
use crate::apt_archive::AptArchive;
use crate::skip::lacks;
use crate::world::{Images, World, root};

/// The project's own name.
const NAME: &str = "many";
/// The hash of a password, by `openssl passwd -6`.
const HASH: &str =
    "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";
/// A key of WireGuard's, and another one: any 32 bytes are one.
const PRIVATE: &str = "wAnQx5TPCiqSb0GY6zIL4cvwlIMtOVYjHzs7kGDdEHg=";
const PUBLIC: &str = "m9fzHsBv5mMmuAsMpeyjSH/UU4uuWnqKtZfjCLbQcDE=";

/// A kiosk with Chromium, which is large: `cargo xtask systems` has it, and the tests by themselves have another browser
/// in `device_stages`.
const KIOSK: &str =
    "kiosk = { version = \"1\", config = { url = \"https://www.example.org/\", browser = \"chromium\" } }\n";

/// Returns the lines of the stages; `archive` has those of the archive's address and key.
fn stages(release: &str, archive: &str) -> String {
    format!(
        r#"
users = {{ version = "1", config = {{ names = ["kim", "lee"], groups = ["video", "makers"], authorized-keys = ["key.pub"], password-hash = {{ file = "hash" }}, sudo = "password" }} }}
ntp = {{ version = "1", config = {{ servers = ["time.example.org", "10.0.2.2"] }} }}
mdns = "1"
firewall = {{ version = "1", config = {{ tcp = ["22", "8000-8010"], udp = ["5353"] }} }}
wireguard = {{ version = "1", config = {{ address = ["10.8.0.2/24"], private-key = {{ file = "wg.key" }}, peer-key = "{PUBLIC}", endpoint = "10.0.2.2:51820", allowed-ips = ["10.8.0.0/24"] }} }}
zram = "1"
no-bluetooth = "1"
unattended-upgrades = "1"
cloud-init = "1"
docker = {{ version = "1", config = {{ users = ["kim"] }} }}
apt-repo = {{ version = "1", config = {{ name = "shop", suite = "{release}", key = "shop.asc", packages = ["shop-tools"], {archive} }} }}
"#
    )
}

#[test]
fn many_bundled_stages_keep_what_they_promise() {
    let system = System::named();
    if lacks(&[system.machine()]) {
        return;
    }
    let _images = Images(NAME);
    let world = World::new();
    let archive = AptArchive::new(system.release);
    let control = "Package: shop-tools\nVersion: 1.0\nArchitecture: all\nSection: misc\nPriority: optional\n";
    let list = archive.package(control, &[("usr/share/shop", 0o644, "open")]);
    let arch = if system.arch == "arm64" { "arm64" } else { "armhf" };
    archive.publish("Sat, 01 Nov 2025 00:00:00 UTC", &[(arch, list.into_bytes())]);
    let archives = system.project(&world, NAME);
    let project = world.path(NAME);
    let key = root().join("host/examples/router/fingerprint/nobody.pub");
    fs::copy(key, project.join("key.pub")).unwrap();
    fs::write(project.join("hash"), HASH).unwrap();
    fs::write(project.join("wg.key"), PRIVATE).unwrap();
    fs::write(project.join("shop.asc"), archive.public_key()).unwrap();
    let manifest = project.join("pib.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let url = archive.serve(&gateway(), None);
    world.allow_servers(&[&archives.addresses()[..], &[&url]].concat());
    let ask_for = |fingerprint: &str| {
        let kiosk = if System::is_named() { KIOSK } else { "" };
        let shop = format!("url = \"{url}\", fingerprint = \"{fingerprint}\"");
        let own = kiosk.to_owned() + &stages(system.release, &shop);
        fs::write(&manifest, format!("{text}{own}")).unwrap();
        own
    };
    // The last stage but one: what is before it is built once.
    ask_for(&"A".repeat(40));
    let refused = world.pib(NAME, &["build"]).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && told.contains("and the config asks for AAAA"), "{told}");
    let own = ask_for(&archive.fingerprint());
    promises::build(&world, NAME);
    promises::keep(&world, NAME, &[], &own);
}
