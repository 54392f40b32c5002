//! The bundled stages for the boot settings, the hardware and the disks of a device, many of them in one image: they build, and keep
//! what they promise. The own stages of the example projects are in there, too.

use std::fs;

use super::promises;
use super::system::System;
use crate::skip::lacks;
use crate::world::{Images, World, root};

/// A picture of two by two pixels, as a PNG.
const PICTURE: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
    0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0x08, 0x02, 0x00, 0x00, 0x00, 0xfd, 0xd4, 0x9a, 0x73, 0x00,
    0x00, 0x00, 0x12, 0x49, 0x44, 0x41, 0x54, 0x78, 0xda, 0x63, 0xf8, 0xcf, 0xc0, 0xc0, 0x00, 0xc2, 0x0c,
    0xff, 0x81, 0x00, 0x00, 0x1f, 0xee, 0x05, 0xfb, 0xf1, 0xab, 0xba, 0x77, 0x00, 0x00, 0x00, 0x00, 0x49,
    0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];
/// What is on the card of the image.
const WITH_DATA: &str = r#"
[image]
partition = [
    { label = "PIBOOT", filesystem = "vfat", mount = "/boot/firmware", size = "512MiB" },
    { label = "PIROOT", filesystem = "ext4", mount = "/", free = "512MiB" },
    { label = "DATA", filesystem = "ext4", mount = "/data", size = "64MiB" },
]
"#;
/// Returns the lines of the image's stages.
fn stages(release: &str) -> String {
    // Podman of bookworm knows no quadlets, and the stage says so.
    let quadlets = if release == "bookworm" { "" } else { "quadlets = [\"web.container\"], " };
    let examples = root().join("host/examples");
    let (share, gateway) = (examples.join("nas/stages/share"), examples.join("wifi-router/stages/gateway"));
    format!(
        r#"
boot-config = {{ version = "1", config = {{ config-txt = ["dtparam=i2c_arm=on", "[cm4]", "otg_mode=1"], cmdline-txt = ["usbcore.autosuspend=-1"] }} }}
rootdelay = {{ version = "1", config = {{ delay = 60 }} }}
serial-console = {{ version = "1", config = {{ speed = 9600 }} }}
usb-gadget = {{ version = "1", config = {{ functions = ["network", "serial"] }} }}
boot-splash = {{ version = "1", config = {{ image = "splash.png", background = "204080", login = false }} }}
hostname-from-serial = "1"
users = {{ version = "1", config = {{ names = ["kim"], authorized-keys = ["key.pub"] }} }}
ssh-keys-only = "1"
pistat = "1"
data-partition = {{ version = "1", config = {{ folders = ["/home", "/srv/share", "/var/lib/many"] }} }}
podman = {{ version = "1", config = {{ {quadlets}registries = ["docker.io"] }} }}
wifi-ap = {{ version = "1", config = {{ ssid = "Many: things", country = "DE", passphrase = {{ file = "passphrase" }}, share = true }} }}
kiosk = {{ version = "1", config = {{ url = "https://www.example.org/a?b=c&d=%20e", browser = "cog", options = ["--bg-color=black"] }} }}
share = {{ path = "{}", config = {{ user-name = "family", password-hash = {{ file = "hash" }} }} }}
gateway = {{ path = "{}", config = {{ tcp = ["22", "445"] }} }}
"#,
        share.display(),
        gateway.display()
    )
}

#[test]
fn stages_for_hardware_and_disks_keep_what_they_promise() {
    const NAME: &str = "device";
    let system = System::named();
    if lacks(&[system.machine()]) {
        return;
    }
    let _images = Images(NAME);
    let world = World::new();
    let _archives = system.project(&world, NAME);
    let project = world.path(NAME);
    let manifest = project.join("pib.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let own = stages(system.release);
    fs::write(manifest, format!("{text}{own}{WITH_DATA}")).unwrap();
    fs::copy(root().join("host/examples/router/fingerprint/nobody.pub"), project.join("key.pub")).unwrap();
    // Nothing starts it: there is no registry that has the image.
    let container = "[Container]\nImage=docker.io/library/nginx:1\nNetwork=none\n";
    for (name, text) in [
        ("splash.png", PICTURE),
        ("passphrase", b"a long passphrase\n"),
        ("hash", b"0123456789abcdef0123456789abcdef\n"),
        ("web.container", container.as_bytes()),
    ] {
        fs::write(project.join(name), text).unwrap();
    }
    promises::build(&world, NAME);
    promises::keep(&world, NAME, &[], &own);
}
