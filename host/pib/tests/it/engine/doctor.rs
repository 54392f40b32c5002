//! `pib doctor`: what it finds on this machine, and what it says where something is missing.

use std::process::{Command, Output};

use super::kind::Kind;
use super::project::Scratch;

fn checks(output: &Output) -> Vec<(String, String, String)> {
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |check: &serde_json::Value, key: &str| check[key].as_str().unwrap().to_owned();
    let checks = report["checks"].as_array().unwrap();
    for check in checks {
        assert_eq!(
            check["state"] == "ok",
            check["remedy"].is_null(),
            "a remedy for what is not well: {check}"
        );
    }
    checks.iter().map(|check| (text(check, "name"), text(check, "state"), text(check, "found"))).collect()
}

#[test]
fn a_machine_that_builds_is_well() {
    let project = Scratch::new("doctor", "unix:///var/run/docker.sock");
    project.part("mine", "RUN true\n");
    let output = project.pib(&["doctor", "--json"]).output().unwrap();
    let found = checks(&output);
    assert_eq!(output.status.code(), Some(0), "{found:#?}");
    let of = |name: &str| {
        found.iter().find(|(known, ..)| known == name).unwrap_or_else(|| panic!("no {name}: {found:#?}"))
    };
    assert!(of("engine").2.contains(" at unix:///var/run/docker.sock"), "{found:#?}");
    assert!(of("builder").2.contains("BuildKit"), "{found:#?}");
    for arch in ["arm64", "armv7"] {
        let (_, state, words) = of(&format!("programs for {arch}"));
        assert!(state == "ok" && words.contains("pib's own emulators"), "{words}");
    }
    for place in ["project", "cache", "engine"] {
        assert!(of(&format!("disk space of the {place}")).2.contains(" GiB free at /"), "{found:#?}");
    }
    assert!(of("the mirror of packages").2.contains("://"), "{found:#?}");
    let text = String::from_utf8(project.pib(&["doctor", "--offline"]).output().unwrap().stdout).unwrap();
    assert!(text.starts_with("ok    engine: ") && !text.contains("mirror"), "{text}");
}

#[test]
fn each_thing_that_is_missing_has_its_remedy() {
    let project = Scratch::new("doctor", "unix:///nonexistent/engine.sock");
    let manifest = std::fs::read_to_string(project.path("pib.toml")).unwrap();
    let registry = format!("file://{}", project.path("none").display());
    std::fs::write(
        project.path("pib.toml"),
        format!("{manifest}\n[registries.acme]\nindex = \"{registry}\"\n"),
    )
    .unwrap();
    let mut doctor = project.pib(&["doctor"]);
    let output = doctor.env("PATH", "/nonexistent").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "FAIL  engine: found no container engine",
        "apt-get install docker.io",
        "FAIL  the registry acme: ",
        "warn  the program ssh: not there",
        "apt-get install openssh-client",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    assert!(!text.contains("programs for"), "what only an engine can tell is told without one:\n{text}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("2 checks failed"), "{errors}");
}

/// On a machine whose only engine is Podman, it is found where systemd makes its socket: for the system, or for the
/// user, also where the variable that names the user's folder is not set.
#[test]
fn podman_is_found_by_its_socket() {
    let (_, private) = Kind::Podman.options();
    let socket = private.as_ref().unwrap().socket();
    let project = Scratch::new("doctor", "");
    let user = rustix::process::getuid().as_raw();
    let places = ["/run/podman".to_owned(), format!("/run/user/{user}/podman")];
    for folder in places {
        // A `/run` of its own, in which nothing else is.
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir -p {folder} && ln -s {} {folder}/podman.sock && exec \"$@\"",
            socket.display()
        );
        let pib = env!("CARGO_BIN_EXE_pib");
        let args = ["--mount", "sh", "-euc", &script, "sh", pib, "doctor", "--offline", "--json"];
        let mut doctor: Command = project.command("unshare".as_ref(), &args);
        let output = doctor.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").output().unwrap();
        let found = checks(&output);
        let engine = &found.iter().find(|(name, ..)| name == "engine").unwrap().2;
        assert!(
            engine.starts_with("Podman ") && engine.ends_with(&format!("{folder}/podman.sock")),
            "{engine}"
        );
        let (_, state, words) = found.iter().find(|(name, ..)| name == "builder").unwrap();
        assert!(state == "warn" && words.contains("no secrets"), "{words}");
    }
}
