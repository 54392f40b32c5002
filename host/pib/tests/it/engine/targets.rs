//! Targets built together.

use crate::world::{Images, World, docker};

/// Two targets share what they have in common; a third that fails takes nothing from them.
#[test]
fn several_targets_are_built_in_one_go() {
    let world = World::new();
    let _images = Images("several");
    world.tiny("several", "ARG HOSTNAME\nARG WORD\nRUN echo \"$WORD\" > /word\n");
    std::fs::write(
        world.path("several/stages/mine/stage.toml"),
        "[stage]\nname = \"mine\"\nversion = \"1.0.0\"\n\n[config.word]\ntype = \"string\"\ndefault = \"plain\"\n",
    )
    .unwrap();
    std::fs::write(
        world.path("several/stages/mine/Dockerfile.part"),
        "RUN echo \"$WORD\" > /word && test \"$WORD\" != bad\n",
    )
    .unwrap();
    let path = world.path("several/pib.toml");
    let manifest = std::fs::read_to_string(&path).unwrap();
    let targets = "\n[target.one.stages]\nmine.config.word = \"same\"\n\n[target.other]\nhostname = \"other\"\n\n\
                   [target.other.stages]\nmine.config.word = \"same\"\n\n[target.wrong.stages]\nmine.config.word = \"bad\"\n";
    std::fs::write(&path, format!("{manifest}{targets}")).unwrap();

    let output = world.pib("several", &["build", "--all", "--json"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{errors}");
    let outcomes: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let built = |at: usize| outcomes[at]["report"]["image"].as_str().map(str::to_owned);
    let image = |name: &str| world.path(&format!("several/target/several-{name}-rpi4-arm64.img"));
    for (at, name) in [(0, "one"), (1, "other")] {
        assert_eq!(built(at).as_deref(), image(name).to_str(), "{errors}");
        assert!(image(name).is_file());
    }
    assert_eq!((built(2), outcomes[2]["error"]["exit-code"].as_i64()), (None, Some(6)));
    assert!(!image("wrong").exists());
    // Both have the same stages: one container image is the result of either.
    let tags = docker(&["images", "--format", "{{.Tag}}", "pib/several"]);
    assert_eq!(tags.lines().count(), 1, "{tags}");
    let names: Vec<&str> = errors.lines().filter(|line| line.contains("\"id\":\"other/")).collect();
    assert!(!names.is_empty(), "events do not say which target they are about:\n{errors}");

    // Again: those two are there, and the lock holds.
    let again = world.pib("several", &["build", "--target", "one", "other", "--frozen"]).output().unwrap();
    let text = String::from_utf8_lossy(&again.stdout).into_owned();
    assert_eq!(text.matches("is up to date").count(), 2, "{text}{}", String::from_utf8_lossy(&again.stderr));
}
