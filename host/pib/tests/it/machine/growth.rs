//! A read-only root grows to the card's size on the first boot of a real system in QEMU.
//!
//! One boot is several minutes; what differs in a GPT, its two tables, is `pure::grow`'s matter.

use crate::skip::lacks;
use crate::world::{Images, World};

/// The project's own name.
const NAME: &str = "grown";
/// Five partitions, so that the root is a logical one in the master boot record.
const LAYOUT: &str = r#"
[image]
table = "mbr"
partition = [
    { label = "BOOT", filesystem = "vfat", mount = "/boot/firmware", size = "256MiB" },
    { label = "SWAP", filesystem = "swap", size = "64MiB" },
    { label = "RAW", filesystem = "none", size = "8MiB" },
    { label = "SPARE", filesystem = "ext4", size = "32MiB" },
    { label = "ROOT", filesystem = "ext4", mount = "/", grow = true },
]
"#;

#[test]
fn a_read_only_root_grows_to_a_card_of_64_gib() {
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
    world.run(NAME, &["build"]);
    let said = world.run(NAME, &["test", "--card", "64GiB"]);
    assert!(said.contains("0 failed"), "{said}");
}
