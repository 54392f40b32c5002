//! The interface is frozen, and the crate's copy of it is the repository's.

use sha2::{Digest as _, Sha256};

#[test]
fn the_interface_is_frozen_and_the_copy_is_the_same() {
    let copy = include_str!("../wit/stage.wit");
    let original = include_str!("../../wit/v0.1.0/stage.wit");
    assert_eq!(copy, original, "copy wit/v0.1.0/stage.wit to plugin-sdk/wit/");
    let digest: String = Sha256::digest(original).iter().map(|byte| format!("{byte:02x}")).collect();
    let frozen = include_str!("../../wit/v0.1.0/frozen");
    assert_eq!(digest, frozen.trim(), "a published interface does not change: make a new version beside it");
}
