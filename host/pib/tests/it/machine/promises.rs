//! What a test of stages promises: their image is built, would start, and each stage's own tests pass in it.

use crate::world::World;

/// Builds a project, and returns what pib said of it.
pub(super) fn build(world: &World, name: &str) -> String {
    let built = world.pib(name, &["build"]).output().unwrap();
    let told = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success() && !told.contains("would not start"), "{told}");
    told
}

/// Boots the image with these options, and returns what pib said: each stage of the manifest's lines has tests, and all tests pass.
pub(super) fn keep(world: &World, name: &str, options: &[&str], stages: &str) -> String {
    let tested = world.pib(name, &[&["test"], options].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&tested.stdout).into_owned();
    for stage in stages.lines().filter_map(|line| line.split_once(" = ")).map(|(stage, _)| stage) {
        assert!(said.lines().any(|line| line.split_whitespace().next() == Some(stage)), "{stage}: {said}");
    }
    assert!(tested.status.success() && said.contains("0 failed"), "{said}");
    said
}
