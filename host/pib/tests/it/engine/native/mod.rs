//! Native tools: parts get the target's answers.

mod answers;
mod failures;

use std::path::Path;

use crate::world::World;

/// What is built for: release, architecture and board.
pub(crate) type Target<'a> = (&'a str, &'a str, &'a str);

/// Makes a project of one part, for a target for which the mirror's lists are as they should be.
pub(crate) fn prepared(world: World, project: &str, part: &str, target: Target<'_>) -> World {
    let (release, arch, board) = target;
    world.tiny(project, part);
    let manifest = world.path(project).join("pib.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let text: Vec<String> = text
        .lines()
        .map(|line| match line.split(" = ").next() {
            Some("release") => format!("release = \"{release}\""),
            Some("arch") => format!("arch = \"{arch}\""),
            Some("board") => format!("board = \"{board}\""),
            _ => line.to_owned(),
        })
        .collect();
    write(&manifest, &text.join("\n"));
    without_updates(&world, project);
    world
}

/// Leaves out the updates: mirrors serve them for armv7 with lists that are not the signed ones, at times.
fn without_updates(world: &World, project: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stages/__init__");
    let to = world.path(project).join("stages");
    let copy = format!("cp -r '{}' '{}'", from.display(), to.display());
    assert!(std::process::Command::new("sh").args(["-c", &copy]).status().unwrap().success());
    let part = to.join("__init__/Dockerfile.debian.part");
    let text = std::fs::read_to_string(&part).unwrap();
    let first =
        "sed -i '/^$/,$d; s/ [a-z]*-updates//' /etc/apt/sources.list.d/debian.sources; apt-get update";
    assert!(text.contains("apt-get update"));
    write(&part, &text.replace("apt-get update", first));
    world.run(project, &["add", "--path", "stages/__init__"]);
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}
