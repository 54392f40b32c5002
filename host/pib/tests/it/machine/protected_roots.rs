//! The bundled stages that protect a root from what is written to it: each has an image of its own, with stages that fit it.

use std::fs;

use super::promises;
use super::system::System;
use crate::skip::lacks;
use crate::world::{Images, World, root};

/// The stages of an image whose root is read-only.
const READ_ONLY: &str = r#"
ro = "1"
watchdog = "1"
network = "1"
firstboot = "1"
grow = "1"
rootssh = { version = "1", config = { authorized-keys = ["key.pub"] } }
"#;
/// The stages of an image whose root changes in memory alone.
const IN_MEMORY: &str = r#"
overlay-root = { version = "1", config = { percent = 40 } }
grow = "1"
watchdog = "1"
network = "1"
rootssh = { version = "1", config = { authorized-keys = ["key.pub"] } }
users = { version = "1", config = { names = ["kim"], authorized-keys = ["key.pub"] } }
data-partition = { version = "1", config = { folders = ["/home"] } }
"#;
/// A card with a partition for data, which grows.
const LAYOUT: &str = r#"
[image]
partition = [
    { label = "PIBOOT", filesystem = "vfat", mount = "/boot/firmware", size = "512MiB" },
    { label = "PIROOT", filesystem = "ext4", mount = "/", free = "256MiB" },
    { label = "DATA", filesystem = "ext4", mount = "/data", size = "64MiB", grow = true },
]
"#;

/// Builds an image of these stages, and has each keep what it promises.
fn keep_promises(name: &'static str, stages: &str) {
    let system = System::named();
    if lacks(&[system.machine()]) {
        return;
    }
    let _images = Images(name);
    let world = World::new();
    let _archives = system.project(&world, name);
    let project = world.path(name);
    fs::copy(root().join("host/examples/router/fingerprint/nobody.pub"), project.join("key.pub")).unwrap();
    let manifest = project.join("pib.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(manifest, format!("{text}{stages}{LAYOUT}")).unwrap();
    promises::build(&world, name);
    promises::keep(&world, name, &["--card", "4GiB"], stages);
    if System::is_named() {
        // The lock gives the same bytes again, whatever the system. `machine::elsewhere` has that for the first one, on another machine.
        let digest = || {
            let mut files = fs::read_dir(project.join("target")).unwrap().map(|file| file.unwrap().path());
            fs::read_to_string(files.find(|path| path.to_string_lossy().ends_with(".img.sha256")).unwrap())
                .unwrap()
        };
        let first = digest();
        world.run(name, &["build", "--frozen", "--no-cache"]);
        assert_eq!(first, digest());
    }
}

#[test]
fn a_read_only_root_and_what_goes_with_it_keep_what_they_promise() {
    // Debian has no overlay for the USB port that this stage is about.
    let port = if System::named().os == "raspios" { "dwc2-host = \"1\"\n" } else { "" };
    keep_promises("readonly", &format!("{READ_ONLY}{port}"));
}

#[test]
fn a_root_that_changes_in_memory_keeps_what_it_promises() {
    keep_promises("inmemory", IN_MEMORY);
}
