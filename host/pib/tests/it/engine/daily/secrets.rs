//! Secrets reach the part that mounts them, and nothing else.

use std::process::Command;

use super::{Loop, files_with, nonce, text};
use crate::bench::{Bench, PROJECT};
use crate::world::docker;

const SECRET: &str = "correct-horse-battery";
const NEW: &str = "staple-staple-staple";
const MANIFEST: &str = "[config.pass]\ntype = \"secret\"\nrequired = true\n[config.key]\ntype = \"secret\"\n";
const PART: &str = "RUN --mount=type=secret,id=net.pass --mount=type=secret,id=net.key,target=/key \\\n\
    cat /run/secrets/net.pass; echo; printf 'x%.0s' $(seq 4090); cat /run/secrets/net.pass /run/secrets/net.pass; \\\n\
    test ! -e /key || cat /key; sha256sum /run/secrets/net.pass > /sum\n";

fn project(name: &'static str) -> Loop {
    let project = Loop::new(name, "RUN true\n");
    project.stage("net", MANIFEST, &format!("ARG NONCE={}\n{PART}", nonce()));
    project.write("secrets/pass", SECRET);
    project.run(&["add", "--path", "stages/net", "--config", "net.pass=env:NET_PASS"]);
    project
}

fn build(project: &Loop, secret: &str, args: &[&str]) -> (bool, String) {
    let mut build = project.world.pib(project.name, &[&["build", "--until", "net"], args].concat());
    let output = build.env("NET_PASS", secret).output().unwrap();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_secret_is_in_no_layer_log_or_message() {
    let project = project("dailysecret");
    let (fine, said) = build(&project, SECRET, &["--verbose"]);
    assert!(fine && said.contains("***") && !said.contains(SECRET), "{said}");
    let plan = |secret: &str| {
        let mut plan = project.world.pib(project.name, &["plan"]);
        text(&plan.env("NET_PASS", secret).output().unwrap().stdout)
    };
    assert!(plan(NEW).contains("the secret net.pass changed"), "{}", plan(NEW));
    assert!(!plan(SECRET).contains("the secret"), "{}", plan(SECRET));
    let (fine, said) = build(&project, NEW, &["--json", "--verbose"]);
    // Another value is another build; the same one is not.
    assert!(fine && said.contains("***") && !said.contains(NEW), "{said}");
    let (_, said) = build(&project, NEW, &[]);
    assert!(said.contains("has built these stages already"), "{said}");
    let (_, said) = build(&project, "not needed", &["--secret", "id=net.pass,src=secrets/pass"]);
    assert!(said.contains("has built these stages already"), "{said}");
    project.write("stages/net/Dockerfile.part", &format!("{PART}RUN false\n"));
    let (fine, said) = build(&project, SECRET, &["--no-cache", "net"]);
    assert!(!fine && !said.contains(SECRET), "{said}");
    assert_eq!(nowhere(&project, &[SECRET, NEW]), 2);
}

/// Looks for secrets in what the engine tells of the project's container images, in all their layers, and in the
/// project's `target`; returns how many container images there are.
pub(super) fn nowhere(project: &Loop, secrets: &[&str]) -> usize {
    let tags = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", &format!("pib/{}", project.name)]);
    let folder = tempfile::tempdir().unwrap();
    for (number, tag) in tags.lines().enumerate() {
        let told = docker(&["history", "--no-trunc", tag]) + &docker(&["inspect", tag]);
        assert!(!secrets.iter().any(|secret| told.contains(secret)), "{told}");
        let tar = folder.path().join(format!("{number}.tar"));
        docker(&["save", "--output", tar.to_str().unwrap(), tag]);
        let unpacked = folder.path().join(number.to_string());
        std::fs::create_dir(&unpacked).unwrap();
        let status = Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(&unpacked).status().unwrap();
        assert!(status.success());
        std::fs::remove_file(tar).unwrap();
    }
    let target = project.world.path(project.name).join("target");
    for secret in secrets {
        assert_eq!(files_with(folder.path(), secret.as_bytes()), [""; 0]);
        assert_eq!(files_with(&target, secret.as_bytes()), [""; 0]);
        // A digest without a key would let everybody who reads it try out guesses.
        let digest = pib_plan::id::Digest::of(secret.as_bytes()).hex();
        assert_eq!(files_with(&target, digest.as_bytes()), [""; 0]);
    }
    // The scan finds what is there.
    assert!(!files_with(folder.path(), b"/run/secrets/net").is_empty());
    tags.lines().count()
}

#[test]
fn a_secret_comes_from_a_file_or_a_program() {
    let project = project("dailysource");
    let sum = |args: &[&str]| {
        project.run(&[&["run", "--at", "net"], args, &["--", "cut", "-c1-64", "/sum"]].concat())
    };
    let digest = |text: &str| format!("{}\n", pib_plan::id::Digest::of(text.as_bytes()).hex());
    project.run(&["add", "--config", "net.pass=file:secrets/pass"]);
    assert_eq!(sum(&[]), digest(SECRET));
    project.run(&["add", "--config", "net.pass=command:echo from-a-program"]);
    assert_eq!(sum(&[]), digest("from-a-program"));
    project.edit("[stages]", "[build]\nnative = false\n\n[stages]");
    assert_eq!(sum(&["--secret", "id=net.pass,src=secrets/pass"]), digest(SECRET));
}

#[test]
fn a_secret_is_asked_for_and_refused_by_name() {
    let with = |value: &str| {
        let bench =
            Bench::new(&format!("{PROJECT}net = {{ path = \"stages/net\", config = {{ {value} }} }}\n"));
        bench.stage("net", MANIFEST, Some(PART));
        bench
    };
    // Nothing of a plain value is shown.
    let plain = with("pass = \"hunter22hunter\", key = { env = \"KEY\" }");
    plain.fails(&["plan"], 3, &["`pass` of stage `net` is a secret", "{ env = \"NAME\" }", "`net.pass`"]);
    for args in [&["plan"][..], &["build"], &["add", "--config", "net.key=hunter22hunter"]] {
        let ran = plain.run(args);
        assert!(!ran.errors.contains("hunter") && ran.code != Some(0), "{args:?}: {}", ran.errors);
    }
    let unset = with("pass = { env = \"NO_SUCH_PASS\" }");
    unset.run(&["plan"]);
    unset.fails(
        &["build"],
        3,
        &["the secret `net.pass` is not available", "NO_SUCH_PASS is not set", "--secret id=net.pass"],
    );
    unset.fails(
        &["build", "--secret", "id=net.psas,env=HOME"],
        2,
        &["no secret `net.psas`", "Did you mean `net.pass`?"],
    );
    unset.fails(&["build", "--secret", "net.pass=x"], 2, &["Write --secret id=STAGE.KEY,src=FILE"]);
    with("pass = { file = \"nowhere\" }").fails(&["build"], 3, &["file `nowhere` cannot be read"]);
    with("pass = { command = [\"false\"] }").fails(&["build"], 3, &["`false` failed"]);
    with("pass = { comand = [\"false\"] }").fails(&["plan"], 3, &["does not come from `comand`"]);
    with("").fails(&["plan"], 3, &["`pass` of stage `net` is required"]);
    let unused = with("pass = { env = \"HOME\" }");
    unused.stage("net", MANIFEST, Some("RUN --mount=type=secret,id=net.pass true\n"));
    unused.fails(&["plan"], 3, &["never mounts the secret `net.key`"]);
    unused.stage("net", MANIFEST, Some("RUN --mount=type=secret,id=nett.pass true\n"));
    unused.fails(&["plan"], 3, &["mounts the secret `nett.pass`", "Did you mean `net.pass`?"]);
}
