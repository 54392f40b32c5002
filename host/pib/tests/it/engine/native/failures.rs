//! What cannot be run is told, with native tools as without.

use crate::world::{Images, World};

/// Builds what must fail, and returns what is said of it.
fn fails(world: &World, project: &str, options: &[&str]) -> String {
    let output = world.pib(project, &["build", "--no-cache"]).args(options).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{errors}");
    errors
}

#[test]
#[ignore = "fails for a reason that is not known yet; see what it prints"]
fn a_command_that_cannot_be_run_is_named() {
    let world = World::new();
    let _images = Images("cannotrun");
    world.tiny("cannotrun", "RUN true\n");
    let part = world.path("cannotrun/stages/mine/Dockerfile.part");
    for (command, name) in [("nosuch", "nosuch"), ("/no/such", "/no/such"), ("/etc/passwd", "/etc/passwd")] {
        std::fs::write(&part, format!("RUN [\"{command}\", \"x\"]\n")).unwrap();
        for options in [&[][..], &["--no-native"]] {
            let errors = fails(&world, "cannotrun", options);
            let said = errors.lines().filter(|line| !line.contains("RUN [")).any(|line| line.contains(name));
            assert!(said && errors.contains("stage mine, line 1"), "{options:?}: {errors}");
        }
    }
}

/// What a program that is run by a descriptor does is the same.
#[test]
#[ignore = "fails for a reason that is not known yet; see what it prints"]
fn a_program_that_is_run_by_a_descriptor_does_the_same() {
    let world = World::new();
    let _images = Images("bydescriptor");
    let run = "import os; os.execve(os.open('/usr/bin/sort', os.O_RDONLY), ['sort', '-r', '-o', '/sorted', '/etc/passwd'], {})";
    let part = format!(
        "RUN apt-get install --yes python3-minimal\nRUN python3 -c \"{run}\"\n\
         RUN [\"/bin/bash\", \"-c\", \"exec 9< /usr/bin/sort; /proc/self/fd/9 -r /etc/passwd | cmp - /sorted\"]\n"
    );
    world.tiny("bydescriptor", &part);
    world.run("bydescriptor", &["build"]);
    let read = |options: &[&str]| {
        let args = [&["run", "--quiet"], options, &["--", "cat", "/sorted"]].concat();
        world.run("bydescriptor", &args)
    };
    let native = read(&[]);
    assert!(native.starts_with("www-data:") || native.contains("\nroot:"), "{native}");
    world.run("bydescriptor", &["build", "--no-native", "--no-cache"]);
    assert_eq!(read(&["--no-native"]), native);
}
