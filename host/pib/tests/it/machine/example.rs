//! The example project gives the image that its lock names, on any day on which what it is made of can be had.

use std::fs;
use std::path::Path;

use crate::world::{Images, World, root};

/// The example's own name: an image's identifiers follow from it.
const NAME: &str = "router";

#[test]
fn the_example_gives_the_image_that_its_lock_names() {
    let _images = Images(NAME);
    let example = root().join("host/examples/router");
    let world = World::new();
    let project = world.path(NAME);
    fs::create_dir_all(project.join("keys")).unwrap();
    let copy = |from: &Path, to: &str| fs::copy(from, project.join(to)).unwrap();
    for file in ["pib.toml", "pib.lock", "pib.fetch.lock"] {
        copy(&example.join(file), file);
    }
    copy(&example.join("fingerprint/nobody.pub"), "keys/nobody.pub");

    let fetched = world.pib(NAME, &["fetch", "--locked"]).output().unwrap();
    if !fetched.status.success() {
        let errors = String::from_utf8_lossy(&fetched.stderr);
        let flat = errors.split_whitespace().filter(|word| *word != "|").collect::<Vec<_>>().join(" ");
        let moved = ["is not available anywhere", "are not available"];
        assert!(moved.iter().any(|words| flat.contains(words)), "{errors}");
        eprintln!(
            "skipped: the mirror has moved on, and no archive of the past is reached from here:\n{errors}"
        );
        return;
    }
    world.run(NAME, &["build", "--locked"]);
    let sum = |folder: &Path| fs::read_to_string(folder.join("router-rpi4-arm64.img.sha256")).unwrap();
    let (image, named) = (sum(&project.join("target")), sum(&example.join("fingerprint")));
    assert_eq!(image, named, "if the change is meant, `host/examples/router/README.md` says how to renew it");
}
