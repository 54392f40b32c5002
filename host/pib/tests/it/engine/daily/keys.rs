//! What a change builds again, counted in the instructions that the engine executes.

use std::io::BufRead as _;

use super::{Loop, nonce, stages, text};
use crate::world::docker;

const LATE: &str =
    "uses = [\"locale\"]\n[config.level]\ntype = \"integer\"\ndefault = 1\n[order]\nafter = [\"mine\"]\n";

/// Returns the layers of the project's newest container image.
fn layers(project: &Loop) -> Vec<String> {
    let tag = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", &format!("pib/{}", project.name)]);
    let tag = tag.lines().next().unwrap().to_owned();
    let layers = docker(&["inspect", "--format", "{{range .RootFS.Layers}}{{println .}}{{end}}", &tag]);
    layers.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn same(one: &[String], other: &[String]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

#[test]
fn a_change_builds_what_it_changes_and_nothing_else() {
    let part = "COPY stages/mine/file /file\nRUN cat /proc/sys/kernel/random/uuid > /mine\n";
    let project = Loop::new("dailykeys", part);
    // Without a manifest it would see, and so use, every variable.
    project.stage("mine", "", part);
    project.write("stages/mine/file", &nonce());
    project.stage("late", LATE, "RUN cat /proc/sys/kernel/random/uuid > /late; echo $LEVEL > /level\n");
    project.run(&["add", "--path", "stages/late"]);
    let marks = |word: &str| {
        let plan = project.run(&["plan"]);
        plan.lines().skip(1).filter(|line| line.contains(word)).count()
    };
    assert_eq!(marks("to build: nothing was built yet"), 4);
    let first = project.executed(&[]);
    assert!(stages(&first).contains(&"late"), "{first:?}");
    assert_eq!(marks("  built"), 4);
    let before = layers(&project);

    // Nothing changed: nobody is asked.
    let mut nothing = project.world.pib(project.name, &["build", "--frozen"]);
    let output = nothing.env("DOCKER_HOST", "unix:///nonexistent/engine.sock").output().unwrap();
    assert!(output.status.success() && text(&output.stdout).contains("is up to date"), "{output:?}");

    // A variable that no stage uses, and one that the image alone has.
    project.edit("timezone = \"UTC\"", "timezone = \"Europe/Moscow\"");
    assert_eq!(project.executed(&[]), [""; 0]);
    assert!(project.run(&["build"]).contains("is up to date"));
    project.edit("hostname = \"dailykeys\"", "hostname = \"other\"");
    assert_eq!(marks("  built"), 4);
    assert_eq!(project.executed(&[]), [""; 0]);
    assert_eq!(layers(&project), before);
    let image = project.world.path(project.name).join("target/dailykeys-rpi4-arm64.img");
    assert!(memchr::memmem::find(&std::fs::read(image).unwrap(), b"127.0.1.1\tother\n").is_some());

    // The config of a stage, and a variable that it uses: from there on.
    project.run(&["add", "--config", "late.level=2"]);
    assert_eq!(marks("to build: LEVEL changed from `1` to `2`"), 1);
    let late = project.executed(&["--until", "__cleanup__"]);
    assert_eq!(stages(&late), ["late", "__cleanup__"], "{late:?}");
    let after = layers(&project);
    assert!(same(&before, &after) >= before.len() - 3 && before != after, "{before:?} {after:?}");
    project.edit("locale = \"en_US.UTF-8\"", "locale = \"C.UTF-8\"");
    assert_eq!(stages(&project.executed(&["--until", "late"])), ["late"]);

    // A file, and a part.
    project.write("stages/mine/file", &nonce());
    assert_eq!(marks("to build: stages/mine/file changed"), 1);
    assert_eq!(stages(&project.executed(&["--until", "late"])), ["mine", "late"]);
    project.write("stages/mine/Dockerfile.part", "COPY stages/mine/file /file\nRUN true\n");
    assert_eq!(marks("its part changed"), 1);
    assert_eq!(project.executed(&["--until", "mine"]).len(), 1);
}

#[test]
fn stages_are_built_anew_on_demand() {
    let project = Loop::new("dailyanew", "ARG WORD=none\nRUN echo $WORD > /word; : $OS\n");
    project.stage("late", "[order]\nafter = [\"mine\"]\n", "RUN true\n");
    project.run(&["add", "--path", "stages/late"]);
    let built = project.run(&["build", "--until", "late"]);
    assert!(built.contains("Built the stages up to late: container image pib/dailyanew:"), "{built}");
    assert_eq!(project.executed(&["--until", "late"]), [""; 0]);
    assert_eq!(stages(&project.executed(&["--until", "late", "--no-cache", "late"])), ["late"]);
    assert_eq!(stages(&project.executed(&["--until", "late", "--no-cache"])), ["__init__", "mine", "late"]);
    let word = |args: &[&str]| {
        let args = [&["run", "--at", "mine"], args, &["--", "cat", "/word"]].concat();
        project.run(&args)
    };
    assert_eq!(word(&["--build-arg", "WORD=one"]), "one\n");
    assert_eq!(word(&[]), "none\n");
    let fails = |args: &[&str], words: &str| {
        let output = project.output(args);
        let errors = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(output.status.code() == Some(2) && errors.contains(words), "{args:?}: {errors}");
    };
    fails(&["build", "--build-arg", "WROD=1"], "Did you mean `WORD`?");
    fails(&["build", "--build-arg", "OS=1"], "pib gives to stage");
    fails(&["build", "--until", "lat"], "Did you mean `late`?");
    fails(&["build", "--no-cache", "mien"], "Did you mean `mine`?");
}

#[test]
fn the_second_of_two_builds_waits() {
    let project = Loop::new("dailytwice", &format!("RUN sleep 3; : {}\n", nonce()));
    let mut first = project.world.pib(project.name, &["build", "--until", "mine"]).spawn().unwrap();
    let lock = project.world.path(project.name).join("target/.pib-lock");
    let held = || std::fs::File::open(&lock).is_ok_and(|file| file.try_lock().is_err());
    while !held() {
        assert!(first.try_wait().unwrap().is_none(), "the first build has ended already");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Who waits can be stopped.
    let mut waiting = project.world.pib(project.name, &["build", "--until", "mine"]);
    let mut waiting = waiting.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(waiting.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Waiting for another pib")));
    crate::engine::daily::places::interrupt(&waiting);
    assert_eq!(waiting.wait().unwrap().code(), Some(130));
    let second = project.output(&["build", "--until", "mine"]);
    assert!(first.wait().unwrap().success() && second.status.success(), "{second:?}");
    let errors = text(&second.stderr);
    assert!(errors.contains("Waiting for another pib that works on this project"), "{errors}");
    assert!(errors.contains("has built these stages already"), "{errors}");
}
