//! A system whose root is a squashfs starts in QEMU, stays the same device over a restart, and passes its stages' tests; its
//! partition for data grows to the card's size.
//!
//! One boot is minutes: that a root of ext4 grows is shown in `main_job`, and what differs in a GPT, its two tables, in `pure::grow`.

use crate::skip::lacks;
use crate::world::{Images, World};

/// The project's own name.
const NAME: &str = "grown";
/// Five partitions, so that the root and what grows are logical ones in the master boot record.
const LAYOUT: &str = r#"
[image]
table = "mbr"
partition = [
    { label = "BOOT", filesystem = "vfat", mount = "/boot/firmware", size = "256MiB" },
    { label = "SWAP", filesystem = "swap", size = "64MiB" },
    { label = "RAW", filesystem = "none", size = "8MiB" },
    { label = "ROOT", filesystem = "squashfs", mount = "/" },
    { label = "DATA", filesystem = "ext4", mount = "/data", size = "64MiB", grow = true },
]
"#;

#[test]
fn a_root_that_is_never_written_to_starts_and_its_data_grow_to_a_card_of_64_gib() {
    if lacks(&["qemu-system-aarch64"]) {
        return;
    }
    let _images = Images(NAME);
    let world = World::new();
    world.run(".", &["new", NAME]);
    world.run(NAME, &["add", "ro", "grow"]);
    let manifest = world.path(NAME).join("pib.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{text}{LAYOUT}")).unwrap();
    let built = world.run(NAME, &["build"]);
    assert!(!built.contains("would not start"), "{built}");
    let said = world.run(NAME, &["test", "--card", "64GiB"]);
    assert!(said.contains("0 failed") && said.contains("is the same device after a restart"), "{said}");
}
