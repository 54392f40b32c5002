//! Engines in trouble: a full disk, a closed door, an old version, a frozen one; and what pib says of each.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::kind::docker;
use super::lab::Proxy;
use super::project::{Scratch, stderr_text};
use crate::skip::skip;
use crate::sshd::Server;
use crate::world::judge;

#[test]
fn a_full_disk_of_the_engine_is_told_with_its_remedy() {
    // Room for the emulators, and not for what the parts write.
    let engine = docker("96m");
    let project = Scratch::new("fulldisk", &engine.host());
    project.part("mine", "RUN echo some > /etc/some\n");
    project.must_build();
    let before = std::fs::read(project.image()).unwrap();
    let full = |place: &str| {
        let output = project.build();
        let said = stderr_text(&output);
        assert_eq!(output.status.code(), Some(5), "{said}");
        for part in ["no disk space left", "docker system df", place] {
            assert!(said.contains(part), "no `{part}` in: {said}");
        }
        assert!(std::fs::read(project.image()).unwrap() == before, "the earlier image was harmed");
    };
    project.part("mine", "RUN dd if=/dev/zero of=/big bs=1000000 count=100\n");
    full("bs=1000000 count=100");
    std::fs::write(project.path("stages/mine/big"), vec![1; 100_000_000]).unwrap();
    project.part("mine", "COPY stages/mine/big /big\n");
    full("no disk space left");
    std::fs::remove_file(project.path("stages/mine/big")).unwrap();
    // The engine keeps what it was sent; the remedy takes it away.
    judge::tool("docker", &["--host", &engine.host(), "builder", "prune", "--all", "--force"]).unwrap();
    project.part("mine", "RUN echo other > /etc/some\n");
    // It gives the space back in its own time.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(30) && project.build().status.code() == Some(5) {
        std::thread::sleep(Duration::from_millis(500));
    }
    project.must_build();
}

/// A socket that only root may use, in a folder that everybody may look into.
struct Closed {
    folder: tempfile::TempDir,
    socket: PathBuf,
    _listener: std::os::unix::net::UnixListener,
}

impl Closed {
    /// Returns nothing where nobody can be kept out: only root can become somebody else.
    fn door() -> Option<Self> {
        if !rustix::process::getuid().is_root() {
            skip("only root can become somebody else");
            return None;
        }
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), 0o755);
        let socket = folder.path().join("engine.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        open(&socket, 0o600);
        Some(Self { folder, socket, _listener: listener })
    }
}

#[test]
fn a_socket_that_one_may_not_use_is_told_from_none() {
    let Some(Closed { folder, socket, _listener }) = Closed::door() else { return };
    // Where the binary was built, somebody else may not look.
    let program = folder.path().join("pib");
    std::fs::copy(env!("CARGO_BIN_EXE_pib"), &program).unwrap();
    let doctor = |host: &Path| {
        let mut pib = Command::new(&program);
        pib.args(["doctor", "--offline"]).current_dir("/").uid(65534).gid(65534).env_clear();
        let cache = folder.path().join("cache");
        pib.env("PIB_CACHE_DIR", cache).env("DOCKER_HOST", format!("unix://{}", host.display()));
        let output = pib.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr_text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let closed = doctor(&socket);
    assert!(closed.contains("permission denied") && closed.contains("group docker"), "{closed}");
    let none = doctor(&folder.path().join("none.sock"));
    assert!(
        none.contains("found no container engine") && none.contains("apt-get install docker.io"),
        "{none}"
    );
}

#[test]
fn a_build_that_may_not_use_the_socket_says_whose_door_is_closed() {
    let Some(closed) = Closed::door() else { return };
    let host = format!("unix://{}", closed.socket.display());
    let project = Scratch::new("closeddoor", &host);
    project.part("mine", "RUN true\n");
    let program = project.path("pib");
    std::fs::copy(env!("CARGO_BIN_EXE_pib"), &program).unwrap();
    judge::tool("chown", &["-R", "65534:65534", project.path(".").to_str().unwrap()]).unwrap();
    for args in [&["build"][..], &["run", "--", "true"], &["export"]] {
        let output = project.command(&program, args).uid(65534).gid(65534).output().unwrap();
        let refused = stderr_text(&output);
        assert_eq!(output.status.code(), Some(5), "{args:?}: {refused}");
        for part in [&*format!("at {host}: permission denied"), "sudo usermod -aG docker $USER"] {
            assert!(refused.contains(part), "no `{part}` in: {refused}");
        }
    }
}

/// What the engine reads otherwise than the part's author is told at its line, with what to do.
#[test]
fn what_the_engine_does_not_know_is_told_with_its_line_and_a_remedy() {
    let host = super::lab::options().host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    let project = Scratch::new("unheardof", &host);
    let refused = |part: &str, words: &[&str]| {
        project.part("mine", part);
        std::fs::write(project.path("stages/mine/x"), "some").unwrap();
        let output = project.build();
        let refused = stderr_text(&output);
        assert_eq!(output.status.code(), Some(6), "{refused}");
        for word in words {
            assert!(refused.contains(word), "no `{word}` in: {refused}");
        }
    };
    refused(
        "RUN true\nRUN --device=example.org/x true\n",
        &[
            "stage mine, line 2 of its part: the container engine refused the build: Unknown flag: device",
            "spelled right",
        ],
    );
    refused(
        "RUN true\nRUN <<E sh\nfalse\nE\n",
        &["stage mine, line 2 of its part: `RUN <<E sh` failed with exit code 1"],
    );
    let address = "http://127.0.0.1:1/nothing";
    refused(
        &format!("RUN true\nADD {address} /x\n"),
        &["stage mine, line 2 of its part:", address, "refused"],
    );
    _ = project.pib(&["clean"]).output();
}

/// Nothing is loaded, let alone built, for a part that the builder cannot run.
#[test]
fn secrets_are_refused_by_the_classic_builder_before_the_build() {
    let host = super::lab::options().host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    let project = Scratch::new("classicsecret", &host);
    project.part("mine", "RUN --mount=type=secret,id=mine.pass cat /run/secrets/mine.pass\n");
    let stage = "[stage]\nname = \"mine\"\nversion = \"1.0.0\"\n\n[config.pass]\ntype = \"secret\"\n";
    std::fs::write(project.path("stages/mine/stage.toml"), stage).unwrap();
    let manifest = std::fs::read_to_string(project.path("pib.toml")).unwrap();
    let with = "path = \"stages/mine\", config = { pass = { env = \"PASS\" } }";
    std::fs::write(project.path("pib.toml"), manifest.replace("path = \"stages/mine\"", with)).unwrap();
    let mut build = project.pib(&["build", "--json"]);
    let output = build.env("DOCKER_BUILDKIT", "0").env("PASS", "open-sesame").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{told}");
    for part in
        ["needs BuildKit", "the classic builder of Docker", "it uses secrets", "without DOCKER_BUILDKIT=0"]
    {
        assert!(told.contains(part), "no `{part}` in: {told}");
    }
    assert!(!told.contains("open-sesame") && !told.contains("\"step-started\""), "{told}");
    assert!(!project.path("target/logs").exists(), "nothing was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_too_old_is_refused_with_its_version() {
    // The real engine, but for the numbers in its answers.
    let proxy = Proxy::rewriting("/var/run/docker.sock", |answer| {
        let text = std::str::from_utf8(answer).ok()?;
        let (_, rest) = text.split_once("\"ApiVersion\":\"")?;
        let version = rest.split('"').next()?;
        Some(text.replace(&format!("\"{version}\""), "\"1.39\"").into_bytes())
    });
    let host = proxy.host.clone();
    let output = tokio::task::spawn_blocking(move || {
        let project = Scratch::new("oldengine", &host);
        project.part("mine", "RUN true\n");
        project.build()
    });
    let output = output.await.unwrap();
    let said = stderr_text(&output);
    assert_eq!(output.status.code(), Some(5), "{said}");
    for part in ["API 1.39", "Docker Engine 20.10 or newer", "Upgrade it"] {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
}

/// An engine that is frozen keeps whoever tidies up waiting: the first Ctrl-C tidies up, the second does not wait.
#[test]
fn the_second_ctrl_c_exits_at_once() {
    let engine = docker("500m");
    let project = Scratch::new("twice", &engine.host());
    project.part("mine", "RUN head -c 150000000 /dev/zero > /big\n");
    let mut build = project.pib(&["build", "--json"]);
    // The classic builder's export goes through a container, which must be taken away.
    let mut build =
        build.env("DOCKER_BUILDKIT", "0").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let events = BufReader::new(build.stderr.take().unwrap()).lines();
    let mut seen = String::new();
    for line in events {
        let line = line.unwrap();
        if line.contains("\"step-started\"") && line.contains("\"image\"") {
            break;
        }
        seen.push_str(&line);
        seen.push('\n');
    }
    let exporting = || judge::tool("docker", &["--host", &engine.host(), "ps", "-aq"]).unwrap();
    let since = Instant::now();
    while exporting().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(20), "no export begins:\n{seen}");
        assert!(build.try_wait().unwrap().is_none(), "it ended early:\n{seen}");
    }
    let dockerd: Vec<String> = engine
        .processes()
        .into_iter()
        .filter(|(_, line)| line.starts_with("dockerd "))
        .map(|(id, _)| id.to_string())
        .collect();
    let signal = |name: &str, ids: &[String]| {
        for id in ids {
            judge::tool("kill", &[name, id]).unwrap();
        }
    };
    let own = [build.id().to_string()];
    signal("-STOP", &dockerd);
    signal("-INT", &own);
    // Nothing shows that the first was heard; an engine that answers would be done with in this time.
    std::thread::sleep(Duration::from_millis(700));
    let after_one = build.try_wait().unwrap();
    assert!(after_one.is_none(), "it did not tidy up: {after_one:?}");
    let second = Instant::now();
    signal("-INT", &own);
    assert_eq!(build.wait().unwrap().code(), Some(130));
    let took = second.elapsed();
    signal("-CONT", &dockerd);
    assert!(took < Duration::from_secs(2), "the second took {took:?}");
    // What could not be tidied up then is found and taken away by the next build.
    project.part("mine", "RUN echo small > /small\n");
    project.must_build();
    assert_eq!(exporting(), "", "a container is left");
}

/// Returns a folder with a program `ssh` that runs its command here, as a server would.
pub(super) fn ssh_in(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("bin/ssh");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder.join("bin")
}

#[test]
fn a_build_runs_over_ssh_as_it_does_here() {
    let engine = docker("200m");
    let project = Scratch::new("byssh", "ssh://tester@far.example:2222");
    project.part("mine", "RUN echo far > /etc/far\n");
    let calls = project.path("calls");
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> {}\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\n\
         DOCKER_HOST={} exec sh -c \"$*\"\n",
        calls.display(),
        engine.host()
    );
    let path = ssh_in(&project.path("."), &script).display().to_string();
    let mut build = project.pib(&["build"]);
    build.env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()));
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", stderr_text(&output));
    let image = format!("{}?offset={}", project.image().display(), 4 << 20);
    assert_eq!(judge::debugfs(&image, "cat /etc/far").unwrap().trim(), "far");
    let calls = std::fs::read_to_string(calls).unwrap();
    let first = calls.lines().next().unwrap();
    for part in ["BatchMode=yes", "-l tester", "-p 2222", "-- far.example", "system dial-stdio"] {
        assert!(first.contains(part), "no `{part}` in: {first}");
    }
}

/// The same through a real server, with a key of a real agent; each connection logs in anew.
#[test]
fn a_build_runs_through_a_real_ssh_server() {
    let engine = docker("200m");
    let Some(server) = Server::start() else { return };
    let project = Scratch::new("bysshd", &server.address(&engine.socket()));
    project.part("mine", "RUN echo far > /etc/far\n");
    let build = |agent: &str| {
        let agent = server.agent(agent);
        project.pib(&["build"]).envs(server.environment(&agent)).output().unwrap()
    };
    let refused = |output: &Output, says: &str| {
        let text = stderr_text(output);
        assert_eq!(output.status.code(), Some(5), "{text}");
        let trial = format!("ssh -p {} tester@127.0.0.1 docker version", server.port);
        for part in ["could not reach the container engine on 127.0.0.1 by ssh", says, &trial] {
            assert!(text.contains(part), "no `{part}` in: {text}");
        }
    };
    refused(&build("other"), "Permission denied (publickey)");
    server.knows(None);
    refused(&build("me"), "Host key verification failed");
    server.knows(Some("host"));
    let output = build("me");
    assert!(output.status.success(), "{}", stderr_text(&output));
    let image = format!("{}?offset={}", project.image().display(), 4 << 20);
    assert_eq!(judge::debugfs(&image, "cat /etc/far").unwrap().trim(), "far");
}

#[test]
fn what_ssh_says_is_told() {
    let project = Scratch::new("noway", "ssh://nobody@127.0.0.1:1");
    project.part("mine", "RUN true\n");
    let output = project.build();
    let refused = stderr_text(&output);
    assert_eq!(output.status.code(), Some(5), "{refused}");
    for part in ["could not reach the container engine on 127.0.0.1 by ssh", "Connection refused", "ssh-add"]
    {
        assert!(refused.contains(part), "no `{part}` in: {refused}");
    }
    let path = ssh_in(&project.path("."), "#!/bin/sh\necho 'sh: 1: exec: podman: not found' >&2\nexit 127\n");
    let mut build = project.pib(&["build"]);
    build.env("PATH", format!("{}:{}", path.display(), std::env::var("PATH").unwrap()));
    let output = build.output().unwrap();
    assert!(stderr_text(&output).contains("podman: not found"), "{}", stderr_text(&output));
}
