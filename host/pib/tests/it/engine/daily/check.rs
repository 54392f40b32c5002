//! Two builds with nothing cached, compared.

use std::io::BufRead as _;
use std::os::unix::fs::PermissionsExt as _;

use super::{Loop, nonce, text};
use crate::world::docker;

/// A stage whose result depends on nothing.
const STEADY: &str = "RUN echo steady > /steady && touch -d @5 /steady\n";

#[test]
fn a_stage_that_is_not_reproducible_is_named_with_its_files() {
    let project = Loop::new("dailycheck", &format!("RUN echo {} > /steady\n", nonce()));
    project.run(&["build"]);
    let image = project.world.path(project.name).join("target/dailycheck-rpi4-arm64.img");
    let before = std::fs::read(&image).unwrap();
    let images = || docker(&["images", "--all", "--quiet", "--filter", "reference=pib/dailycheck*"]);
    let container_image = images();

    // Nothing differs: there is an image, and it is the one that a plain build gives.
    let output = project.output(&["build", "--check"]);
    let errors = text(&output.stderr);
    assert!(output.status.success() && errors.contains("with nothing cached gave the same"), "{errors}");
    assert!(std::fs::read(&image).unwrap() == before);

    // Two stages at fault, one in between that is not, and a file that a later stage puts right.
    let odd = "[order]\nafter = [\"mine\"]\n";
    let part = "RUN cat /proc/sys/kernel/random/uuid > /etc/odd && cp /etc/odd /etc/righted && hostname > /etc/named-by\n";
    project.stage("odd", odd, part);
    project.stage(
        "between",
        "[order]\nafter = [\"odd\"]\n",
        &format!("{STEADY}RUN echo right > /etc/righted\n"),
    );
    let late = "RUN ln -s $(cat /proc/sys/kernel/random/uuid) /late && install -m 600 /dev/null /mode\n";
    project.stage("late", "[order]\nafter = [\"between\"]\n", late);
    for stage in ["odd", "between", "late"] {
        project.run(&["add", "--path", &format!("stages/{stage}")]);
    }
    // A program of the test stands in for diffoscope, which few machines have.
    let programs = project.world.path("programs");
    std::fs::create_dir_all(&programs).unwrap();
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && exec echo diffoscope 240\n\
                  while [ $# -gt 2 ]; do shift; done\nexec diff -u \"$1\" \"$2\"\n";
    std::fs::write(programs.join("diffoscope"), script).unwrap();
    std::fs::set_permissions(programs.join("diffoscope"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut check = project.world.pib(project.name, &["build", "--check", "--json"]);
    let output = check.env("PATH", path).output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{errors}");
    let last: serde_json::Value = serde_json::from_str(errors.lines().last().unwrap()).unwrap();
    let errors = last["message"].as_str().unwrap();
    let odd = last["differences"].as_array().unwrap().iter().find(|one| one["name"] == "/etc/odd").unwrap();
    assert_eq!((&odd["aspects"][0], &odd["stage"]), (&"content".into(), &"odd".into()), "{last}");
    let summary = odd["summary"].as_str().unwrap();
    assert!(summary.contains("\n-") && summary.contains("\n+") && !summary.contains("+++"), "{summary}");
    assert!(
        errors.contains("differ in 2 of their files and folders") || errors.contains("differ in 3 of"),
        "{errors}"
    );
    for told in ["/etc/odd (content), by stage `odd`", "/late (content), by stage `late`"] {
        assert!(errors.contains(told), "no {told} in {errors}");
    }
    for quiet in ["righted", "steady", "/mode"] {
        assert!(!errors.contains(quiet), "{quiet} in {errors}");
    }
    // The earlier image is as it was, and nothing of the search is left.
    assert!(std::fs::read(&image).unwrap() == before);
    assert_eq!(images(), container_image);
}

#[test]
fn the_stage_is_named_where_what_parts_fetch_is_recorded_too() {
    let project = Loop::new("dailyrecordedcheck", STEADY);
    project.stage("odd", "", "RUN cat /proc/sys/kernel/random/uuid > /etc/odd\n");
    project.run(&["add", "--path", "stages/odd"]);
    let path = project.world.path(project.name).join("pib.toml");
    let manifest = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, manifest + "\n[build]\nnetwork = \"recorded\"\n").unwrap();
    let output = project.output(&["build", "--check"]);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{errors}");
    assert!(errors.contains("/etc/odd (content), by stage `odd`"), "{errors}");
}

#[test]
fn what_a_cache_of_a_part_holds_makes_no_difference() {
    let part = "RUN --mount=type=cache,id=seen,target=/seen if test -e /seen/x; then echo filled-cache; else echo empty-cache; fi > /cached; touch /seen/x\n";
    let project = Loop::new("dailywarm", part);
    project.run(&["build", "--until", "mine"]);
    let errors = text(&project.output(&["build", "--check"]).stderr);
    assert!(errors.contains("with nothing cached gave the same"), "{errors}");
    let held = project.run(&["export", "--tar", "root.tar"]);
    assert!(held.contains("root.tar"), "{held}");
    let image = project.world.path(project.name).join("target/dailywarm-rpi4-arm64.img");
    let image = std::fs::read(image).unwrap();
    assert!(
        memchr::memmem::find(&image, b"empty-cache\n").is_some()
            && memchr::memmem::find(&image, b"filled-cache\n").is_none()
    );
}

#[test]
fn a_project_that_changes_during_the_check_is_told() {
    let project = Loop::new("dailymoving", "RUN true\n");
    let mut check = project.world.pib(project.name, &["build", "--check"]);
    let mut check = check.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(check.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Building everything a second time")));
    // The second build has begun to read the project, or does so now: what it reads is one or the other.
    project.write("stages/mine/Dockerfile.part", "RUN true && true\n");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let told = rest.join(" ").contains("the project changed between its two builds");
    assert_eq!(check.wait().unwrap().code(), Some(if told { 3 } else { 0 }), "{rest:?}");
}
