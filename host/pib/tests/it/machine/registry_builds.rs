//! An image of stages that come from registries: from a server of pib's own, and from an OCI registry.

use std::fs;

use crate::bench::Bench;
use crate::engine::project::{Scratch, stderr_text};
use crate::peers;
use crate::pure::registry_service::{Service, token};
use crate::site::succeeds;

/// Writes a stage that leaves its name and version in the image.
fn stage(bench: &Bench, name: &str, version: &str) {
    let manifest = format!(
        "[stage]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"Says who it is\"\nlicense = \"MIT\"\n"
    );
    bench.write(&format!("{name}/stage.toml"), &manifest);
    bench.write(&format!("{name}/Dockerfile.part"), &format!("COPY stages/{name}/word /etc/{name}\n"));
    bench.write(&format!("{name}/word"), &format!("{name} {version}\n"));
    bench.write(&format!("{name}/README.md"), "It says who it is.\n");
}

/// Has the project's last stage fail unless files of the system hold these words.
fn wants(project: &Scratch, words: &[&str]) {
    let checks: Vec<String> = words
        .iter()
        .map(|word| format!("busybox grep -qx '{word}' /etc/{}", word.split(' ').next().unwrap()))
        .collect();
    project.part("__cleanup__", &format!("RUN {}\n", checks.join(" && ")));
}

#[test]
fn an_image_is_built_of_stages_from_a_server_and_from_an_oci_registry() {
    let Some(peer) = peers::oci_registry(false) else { return };
    let (bench, oci) = (Bench::new(""), format!("oci://127.0.0.1:{}/acme/stages", peer.port));
    succeeds(&bench, &["registry", "init", "shop"]);
    let secret = token(&bench, &[]);
    let service = Service::of(&bench, &["shop", "--tokens", "tokens.json"]);
    let web = format!("http://{}", service.address);
    let variables = [("PIB_REGISTRIES_WEB_INDEX", web.as_str()), ("PIB_REGISTRIES_WEB_TOKEN", &secret)];
    let run = |args: &[&str]| {
        let ran = bench.run_with(args, &variables);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.errors);
    };
    for (name, registry) in [("served", web.as_str()), ("pushed", oci.as_str())] {
        stage(&bench, name, "1.0.0");
        run(&["publish", name, "--registry", registry, "--sign-with", "key"]);
    }
    let project = Scratch::new("fromregistries", "unix:///var/run/docker.sock");
    let text = fs::read_to_string(project.path("pib.toml")).unwrap();
    let stages =
        "served = { version = \"1\", registry = \"web\" }\npushed = { version = \"1\", registry = \"oci\" }";
    let text = text.replace("mine = { path = \"stages/mine\" }", stages);
    let text =
        format!("{text}\n[registries.web]\nindex = \"{web}\"\n\n[registries.oci]\nindex = \"{oci}\"\n");
    fs::write(project.path("pib.toml"), text).unwrap();
    wants(&project, &["served 1.0.0", "pushed 1.0.0"]);
    project.must_build();
    let lock = fs::read_to_string(project.path("pib.lock")).unwrap();
    assert!(lock.matches("publisher = \"ed25519:").count() == 2, "{lock}");

    // What was yanked stays in the lock; a machine that has nothing gets it from the registries all the same.
    for (name, registry) in [("served", web.as_str()), ("pushed", oci.as_str())] {
        stage(&bench, name, "1.1.0");
        run(&["publish", name, "--registry", registry, "--sign-with", "key"]);
        run(&["yank", &format!("{name}@1.0.0"), "--registry", registry]);
    }
    fs::remove_dir_all(project.path("cache/stages")).unwrap();
    fs::remove_file(project.image()).unwrap();
    let locked = project.pib(&["build", "--locked"]).output().unwrap();
    assert!(locked.status.success() && project.image().exists(), "{}", stderr_text(&locked));
    // An update takes the newer versions. Then no registry is needed any more.
    let updated = project.pib(&["update"]).output().unwrap();
    assert!(updated.status.success(), "{}", stderr_text(&updated));
    wants(&project, &["served 1.1.0", "pushed 1.1.0"]);
    project.must_build();
    drop((service, peer));
    fs::remove_file(project.image()).unwrap();
    let alone = project.pib(&["build", "--locked", "--offline"]).output().unwrap();
    assert!(alone.status.success() && project.image().exists(), "{}", stderr_text(&alone));
    assert!(project.pib(&["clean"]).output().unwrap().status.success());
}
