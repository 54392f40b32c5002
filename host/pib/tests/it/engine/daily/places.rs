//! Shells, commands and exports at any stage, and cleaning up.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Loop, text};
use crate::world::docker;

/// Sends what Ctrl-C does.
pub(super) fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
}

fn containers(project: &Loop) -> String {
    let all = docker(&["ps", "--all", "--format", "{{.ID}} {{.Image}}"]);
    all.lines().filter(|line| line.contains(&format!("pib/{}:", project.name))).collect()
}

#[test]
fn a_command_runs_at_any_stage_and_leaves_nothing() {
    let project = Loop::new("dailyrun", "RUN touch /mine\n");
    let run = |args: &[&str]| project.output(&[&["run", "--at", "mine"], args].concat());
    assert_eq!(run(&["--", "sh", "-c", "ls /mine; echo bad >&2; exit 7"]).status.code(), Some(7));
    let output = run(&["--", "sh", "-c", "uname -m; cat /etc/hostname; echo bad >&2"]);
    assert_eq!(text(&output.stdout), "aarch64\ndailyrun\n");
    assert!(text(&output.stderr).ends_with("bad\n"), "{output:?}");
    assert!(!project.output(&["run", "--at", "__init__", "--", "ls", "/mine"]).status.success());

    // Input arrives to its end, and output of any bytes comes back.
    let mut cat = project.world.pib(project.name, &["run", "--at", "mine", "--", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let bytes: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
    cat.stdin.take().unwrap().write_all(&bytes).unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, bytes);

    project.write("shared/file", "from here");
    let output =
        run(&["--mount", "shared:/shared:ro", "--", "sh", "-c", "cat /shared/file; touch /shared/x"]);
    assert_eq!(text(&output.stdout), "from here");
    assert!(!output.status.success());
    for (mount, words) in
        [("nowhere:/x", "no `nowhere`"), ("shared", "does not say where"), ("shared:x", "does not say where")]
    {
        let output = run(&["--mount", mount, "--", "true"]);
        assert!(output.status.code() == Some(2) && text(&output.stderr).contains(words), "{output:?}");
    }
    for (program, code) in [("/no/such/program", 127), ("nosuchprogram", 127), ("/etc/passwd", 126)] {
        let output = run(&["--", program]);
        let errors = text(&output.stderr);
        assert!(output.status.code() == Some(code) && errors.contains(program), "{output:?}");
        assert!(!errors.contains("runc"), "{errors}");
    }
    assert_eq!(containers(&project), "");
}

#[test]
fn an_interrupted_command_leaves_no_container() {
    let project = Loop::new("dailystop", "RUN true\n");
    project.run(&["build", "--until", "mine"]);
    let mut sleeping = project.world.pib(project.name, &["run", "--at", "mine", "--", "sleep", "1000"]);
    let mut sleeping = sleeping.spawn().unwrap();
    let since = Instant::now();
    while containers(&project).is_empty() {
        assert!(since.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(50));
    }
    interrupt(&sleeping);
    assert_eq!(sleeping.wait().unwrap().code(), Some(130));
    assert_eq!(containers(&project), "");
}

#[test]
fn a_shell_has_the_terminal() {
    let project = Loop::new("dailyshell", "RUN true\n");
    project.run(&["build", "--until", "mine"]);
    let pib = format!("{} shell --at mine", env!("CARGO_BIN_EXE_pib"));
    // `script` gives it a terminal, and what is typed comes from here.
    let inside = format!("stty rows 33 cols 77; {pib}; echo code $?");
    let mut script = Command::new("timeout");
    script.args(["--foreground", "300", "script", "-qec", &inside, "/dev/null"]);
    script
        .current_dir(project.world.path(project.name))
        .env("PIB_CACHE_DIR", crate::world::cache())
        .env("TERM", "vt100");
    let mut shell = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut keys = shell.stdin.take().unwrap();
    let mut screen = shell.stdout.take().unwrap();
    let mut output = String::new();
    let mut until = |words: &str| {
        let (mut bytes, mut ended) = ([0; 4096], false);
        while !output.contains(words) && !ended {
            let count = screen.read(&mut bytes).unwrap();
            ended = count == 0;
            output.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        assert!(output.contains(words), "no {words:?} in {output}");
    };
    // What is typed comes back as well, so that each answer is other than its question. The size arrives a moment after
    // the shell; Ctrl-C ends the command inside, and not the shell. The command says itself that it has begun: before it
    // does, the terminal is still the shell's, and Ctrl-C would reach the shell alone.
    until("# ");
    for (line, answer) in [
        ("until stty size | grep '33 77'; do :; done; tty; echo TERM i''s $TERM\n", "TERM is vt100"),
        ("sh -c 'echo sleep\"\"s; exec sleep 1000'\n", "sleeps"),
        ("\x03", "^C"),
        ("echo ali''ve; exit 5\n", "alive\r\n"),
    ] {
        keys.write_all(line.as_bytes()).unwrap();
        keys.flush().unwrap();
        until(answer);
    }
    until("code 5");
    assert!(output.contains("/dev/pts/") && output.contains("33 77\r\n"), "{output}");
    assert!(shell.wait().unwrap().success());
    assert_eq!(containers(&project), "");
}

#[test]
fn an_export_is_what_the_image_would_have() {
    let project = Loop::new("dailyexport", "RUN touch /mine /tmp/trace; chown 7:8 /mine; ln /mine /twin\n");
    let said = project.run(&["export", "--at", "mine", "--tar", "out.tar"]);
    assert!(said.contains("out.tar"), "{said}");
    let folder = project.world.path(project.name);
    let first = std::fs::read(folder.join("out.tar")).unwrap();
    let list =
        Command::new("tar").arg("-tvf").arg(folder.join("out.tar")).arg("--numeric-owner").output().unwrap();
    let list = text(&list.stdout);
    assert!(list.contains(" 7/8 ") && list.contains("./twin link to ./mine"), "{list}");
    assert!(!list.contains("tmp/trace") && !list.contains(" ./.pib"), "{list}");
    project.run(&["export", "--at", "mine", "--tar", "out.tar"]);
    assert!(std::fs::read(folder.join("out.tar")).unwrap() == first, "the second export differs");
    project.run(&["export", "--at", "mine", "--dir", "out"]);
    assert_eq!(std::fs::read_to_string(folder.join("out/etc/hostname")).unwrap(), "dailyexport\n");
    assert!(folder.join("out/usr/bin/dpkg").exists());
    let again = project.output(&["export", "--at", "mine", "--dir", "out"]);
    assert!(again.status.code() == Some(2) && text(&again.stderr).contains("not empty"), "{again:?}");
    assert!(text(&again.stderr).contains("Name a new folder"), "{again:?}");
    // A device would be gone for the whole machine, and a link be lost.
    std::os::unix::fs::symlink("/dev/null", folder.join("null")).unwrap();
    let device = project.output(&["export", "--at", "mine", "--tar", "null"]);
    assert!(!device.status.success() && text(&device.stderr).contains("is a symbolic link"), "{device:?}");
}

#[test]
fn cleaning_removes_what_is_the_projects_own() {
    let (one, other) = (Loop::new("dailyclean", "RUN true\n"), Loop::new("dailykeep", "RUN true\n"));
    one.run(&["build", "--until", "mine"]);
    other.run(&["build", "--until", "mine"]);
    one.write("target/notes.txt", "mine");
    let images = |project: &Loop| docker(&["images", "-q", &format!("pib/{}", project.name)]);
    assert!(!images(&one).is_empty() && !images(&other).is_empty());
    assert!(one.run(&["clean"]).contains("1 container image,"));
    assert!(images(&one).is_empty() && !images(&other).is_empty());
    assert!(one.world.path("dailyclean/target/notes.txt").exists());
    assert!(!one.world.path("dailyclean/target/dailyclean-rpi4-arm64.stages.json").exists());
    assert!(docker(&["images", "-q", "pib-base"]).lines().count() > 0);
}

/// Any container image can have the tag and the labels of what pib has built.
#[test]
fn what_has_the_name_of_a_result_is_not_believed_to_be_it() {
    let project = Loop::new("dailyname", "RUN echo real > /etc/mine\n");
    project.run(&["build", "--until", "mine"]);
    let id = |tag: &str| docker(&["images", "-q", "--no-trunc", tag]);
    let tag = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "pib/dailyname"]).trim().to_owned();
    let real = id(&tag);
    let again = project.output(&["build", "--until", "mine"]);
    assert!(text(&again.stderr).contains("has built these stages already"), "{again:?}");
    // The labels come along.
    let dockerfile = project.world.path("dailyname/fake/Dockerfile");
    std::fs::create_dir_all(dockerfile.parent().unwrap()).unwrap();
    std::fs::write(&dockerfile, format!("FROM {tag}\nENV FAKE=1\n")).unwrap();
    docker(&["build", "-q", "-t", &tag, &dockerfile.parent().unwrap().to_string_lossy()]);
    assert_ne!(id(&tag), real);
    let again = project.output(&["build", "--until", "mine"]);
    assert!(!text(&again.stderr).contains("has built these stages already"), "{again:?}");
    assert_eq!(id(&tag), real);
}
