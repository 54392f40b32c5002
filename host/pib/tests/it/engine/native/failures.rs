//! What cannot be run is told, with native tools as without.

use crate::world::{Images, World};

/// Builds what must fail, and returns what is said of it.
fn fails(world: &World, project: &str, options: &[&str]) -> String {
    let output = world.pib(project, &["build"]).args(options).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{errors}");
    errors
}

#[test]
fn a_command_that_cannot_be_run_is_named() {
    let world = World::new();
    let _images = Images("cannotrun");
    world.tiny("cannotrun", "RUN true\n");
    let part = world.path("cannotrun/stages/mine/Dockerfile.part");
    for command in ["nosuch", "/no/such", "/etc/passwd"] {
        std::fs::write(&part, format!("RUN [\"{command}\", \"x\"]\n")).unwrap();
        for options in [&[][..], &["--no-native"]] {
            let errors = fails(&world, "cannotrun", options);
            let said =
                errors.lines().filter(|line| !line.contains("RUN [")).any(|line| line.contains(command));
            assert!(said && errors.contains("stage mine, line 1"), "{options:?}: {errors}");
        }
    }
}

/// A program that is run by a descriptor is followed like one that is run by its path. Natively only: QEMU 7.2 knows no
/// `execveat`.
#[test]
fn a_program_that_is_run_by_a_descriptor_does_the_same() {
    let world = World::new();
    let _images = Images("bydescriptor");
    let run = "import os; os.execve(os.open('/usr/bin/sort', os.O_RDONLY), ['sort', '-r', '-o', '/sorted', '/etc/passwd'], {})";
    let by_path = "exec 9< /usr/bin/sort; /proc/self/fd/9 -r /etc/passwd | cmp - /sorted";
    let part = format!(
        "RUN apt-get install --yes python3-minimal\nRUN python3 -c \"{run}\"\n\
         RUN [\"/bin/bash\", \"-c\", \"{by_path}\"]\n\
         RUN sort -r /etc/passwd | cmp - /sorted && test -s /sorted\n"
    );
    world.tiny("bydescriptor", &part);
    world.run("bydescriptor", &["build"]);
}
