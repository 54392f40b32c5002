//! A system whose root is a squashfs starts in QEMU, stays the same device over a restart, and passes its stages' tests.

use crate::skip::lacks;
use crate::world::{Images, World};

/// The project's own name.
const NAME: &str = "sealed";
const LAYOUT: &str = r#"
[image]
partition = [
    { label = "BOOT", filesystem = "vfat", mount = "/boot/firmware", size = "256MiB" },
    { label = "ROOT", filesystem = "squashfs", mount = "/" },
]
"#;

#[test]
fn a_root_that_is_never_written_to_starts() {
    if lacks(&["qemu-system-aarch64"]) {
        return;
    }
    let _images = Images(NAME);
    let world = World::new();
    world.run(".", &["new", NAME]);
    world.run(NAME, &["add", "ro"]);
    let manifest = world.path(NAME).join("pib.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{text}{LAYOUT}")).unwrap();
    let built = world.run(NAME, &["build"]);
    assert!(!built.contains("would not start"), "{built}");
    let said = world.run(NAME, &["test"]);
    assert!(said.contains("0 failed") && said.contains("is the same device after a restart"), "{said}");
}
