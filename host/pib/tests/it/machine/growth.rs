//! Systems whose root is never written to start in QEMU, stay the same device over a restart, and pass their stages' tests, side
//! by side; their partitions for data grow to the card's size. One has a squashfs in an MBR with logical partitions, the other
//! an EROFS in each of two slots.
//!
//! One boot is minutes: that a root of ext4 grows is shown in `main_job`, and what differs in a GPT, its two tables, in `pure::grow`.

use crate::skip::lacks;
use crate::world::{Images, World};

/// The project's own name.
const NAME: &str = "grown";
/// Five partitions, so that the root and what grows are logical ones in the master boot record; and two slots.
const TARGETS: &str = r#"
[target.logical.image]
table = "mbr"
partition = [
    { label = "BOOT", filesystem = "vfat", mount = "/boot/firmware", size = "256MiB" },
    { label = "SWAP", filesystem = "swap", size = "64MiB" },
    { label = "RAW", filesystem = "none", size = "8MiB" },
    { label = "ROOT", filesystem = "squashfs", mount = "/" },
    { label = "DATA", filesystem = "ext4", mount = "/data", size = "64MiB", grow = true },
]

[target.slots.image]
a-b = true
partition = [
    { label = "BOOT", filesystem = "vfat", mount = "/boot/firmware", size = "256MiB" },
    { label = "ROOT", filesystem = "erofs", mount = "/" },
    { label = "DATA", filesystem = "ext4", mount = "/data", size = "64MiB", grow = true },
]
"#;

#[test]
fn roots_that_are_never_written_to_start_and_their_data_grow_to_a_card_of_64_gib() {
    if lacks(&["qemu-system-aarch64"]) {
        return;
    }
    let _images = Images(NAME);
    let world = World::new();
    world.run(".", &["new", NAME]);
    world.run(NAME, &["add", "ro", "grow"]);
    let manifest = world.path(NAME).join("pib.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{text}{TARGETS}")).unwrap();
    let built = world.run(NAME, &["build", "--all"]);
    assert!(!built.contains("would not start"), "{built}");
    let said = world.run(NAME, &["test", "--all", "--card", "64GiB"]);
    assert_eq!(said.matches("is the same device after a restart").count(), 2, "{said}");
    assert!(said.matches("0 failed").count() >= 1 && !said.contains("FAILED"), "{said}");
}
