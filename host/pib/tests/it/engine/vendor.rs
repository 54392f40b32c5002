//! A project that holds its stages and its base itself.

use std::fs;

use crate::world::{Images, World};

/// With the base in the project as well, an image comes of a project that has nothing but itself and an engine.
#[test]
fn a_project_with_its_stages_and_its_base_is_built_without_network_and_cache() {
    let world = World::new();
    let images = Images("vendorjob");
    world.tiny("vendorjob", "RUN echo vendored > /etc/mine\n");
    world.run("vendorjob", &["plan", "--context", "context"]);
    let project = world.path("vendorjob");
    let read = |name: &str| fs::read_to_string(project.join(name)).unwrap();
    let lock = read("pib.lock");
    let digest = lock.lines().find(|line| line.starts_with("digest = ")).unwrap();
    fs::rename(project.join("context/base.tar"), project.join("base.tar")).unwrap();
    let manifest = format!("{}\n[base]\npath = \"base.tar\"\n{digest}\n", read("pib.toml"));
    fs::write(project.join("pib.toml"), manifest).unwrap();
    world.run("vendorjob", &["vendor"]);
    world.run("vendorjob", &["build"]);
    let sum = read("target/vendorjob-rpi4-arm64.img.sha256");
    fs::remove_dir_all(project.join("target")).unwrap();
    drop(images);
    let _images = Images("vendorjob");
    let flags = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
    let output = std::process::Command::new("unshare")
        .args([flags, env!("CARGO_BIN_EXE_pib"), "build", "--frozen"])
        .current_dir(&project)
        .env("PIB_CACHE_DIR", world.path("empty"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(read("target/vendorjob-rpi4-arm64.img.sha256"), sum);
    assert!(!world.path("empty/stages").exists(), "stages came from the cache");
}
