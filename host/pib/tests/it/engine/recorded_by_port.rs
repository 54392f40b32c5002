//! What parts fetch is recorded also where the engine has no BuildKit, and gives the same image on all engines.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pib_plan::id::Digest;
use pib_plan::recording::{FILE_NAME, Recording};

use super::kind::{Kind, Private};
use super::project::{Scratch, stderr_text};
use crate::web;
use crate::world::{Images, docker, judge};

const DOCKER: &str = "unix:///var/run/docker.sock";
/// What Podman and the classic builder lose of the base.
const WITHOUT_LOSSES: &str = "RUN /bin/busybox rm -rf /special\n";
const FETCH: &str = "RUN /bin/busybox wget -q -O /word http://deb.debian.org/debian/word\n";
/// What a part may write down of its surroundings.
const SURROUNDINGS: &str = "RUN /bin/busybox env | /bin/busybox grep -i -e _proxy -e ssl_ | /bin/busybox sort > /surroundings\n\
     USER 65534:65534\nRUN /bin/busybox grep -q CERTIFICATE \"$SSL_CERT_FILE\"\nUSER 0:0\n";

/// Makes a project of which pib records what parts fetch, and the folder that tells pib of a mirror, which has one file.
fn project(name: &str, part: &str) -> (Scratch, PathBuf) {
    let scratch = Scratch::new(name, DOCKER);
    scratch.part("mine", part);
    let manifest = fs::read_to_string(scratch.path("pib.toml")).unwrap();
    let recorded = manifest.replace("native = false", "native = false\nnetwork = \"recorded\"");
    fs::write(scratch.path("pib.toml"), recorded).unwrap();
    let address = web::serve(|mut stream, request| {
        let found = request.target == "/debian/word";
        let head = if found { "200 OK\r\nContent-Length: 6" } else { "404 Not Found\r\nContent-Length: 0" };
        let body = if found { "a word" } else { "" };
        let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n{body}").as_bytes());
    });
    let host = scratch.path("host");
    fs::create_dir_all(host.join("etc/apt")).unwrap();
    fs::write(host.join("etc/apt/sources.list"), format!("deb {address}/debian trixie main\n")).unwrap();
    (scratch, host)
}

/// Returns the digest of the image that a command has built.
fn built(scratch: &Scratch, command: &mut Command) -> (Digest, String) {
    let output = command.output().unwrap();
    let said = stderr_text(&output);
    assert!(output.status.success(), "{}: {said}", output.status);
    (Digest::of(&fs::read(scratch.image()).unwrap()), said)
}

#[test]
fn the_classic_builder_records_and_no_image_knows_how() {
    const NAME: &str = "recordedclassic";
    let _images = Images(NAME);
    let part = format!("{WITHOUT_LOSSES}{FETCH}{SURROUNDINGS}");
    let (scratch, host) = project(NAME, &part);
    let pib = |args: &[&str], buildkit: &str| {
        let mut pib = scratch.pib(args);
        pib.env("DOCKER_BUILDKIT", buildkit).env("PIB_HOST_ROOT", &host);
        pib
    };
    let (classic, said) = built(&scratch, &mut pib(&["build"], "0"));
    assert!(said.contains("leaves parts their network"), "{said}");
    let recording = fs::read_to_string(scratch.path(FILE_NAME)).unwrap();
    let parsed = Recording::parse(FILE_NAME, &recording).unwrap();
    let urls: Vec<&str> = parsed.iter().map(|(asked, _)| asked.url.as_str()).collect();
    assert_eq!(urls, ["http://deb.debian.org/debian/word"]);

    // Neither the token nor an address is in what the engine keeps, and its cache does not depend on them.
    let list = ["images", "--format", "{{.Repository}}:{{.Tag}}", &format!("pib/{NAME}")];
    let tag = docker(&list).lines().next().unwrap().to_owned();
    let id = docker(&["inspect", "--format", "{{.Id}}", &tag]);
    let kept = docker(&["inspect", &tag]) + &docker(&["history", "--no-trunc", &tag]);
    assert!(!kept.contains("pib://") && !kept.contains("ftp_proxy") && !kept.contains("172."), "{kept}");
    docker(&["tag", &tag, &format!("pib/{NAME}:held")]);
    docker(&["rmi", &tag]);
    fs::remove_file(scratch.image()).unwrap();
    assert_eq!(built(&scratch, &mut pib(&["build"], "0")).0, classic);
    assert_eq!(docker(&["inspect", "--format", "{{.Id}}", &tag]), id, "what was run was run again");

    // BuildKit gives the same of it, and parts see the same there.
    assert_eq!(built(&scratch, &mut pib(&["build", "--frozen", "--no-cache"], "1")).0, classic);
    assert_eq!(fs::read_to_string(scratch.path(FILE_NAME)).unwrap(), recording);

    // What is not recorded is refused.
    scratch.part(
        "mine",
        &format!("{part}RUN /bin/busybox wget -q http://deb.debian.org/debian/other || true\n"),
    );
    let refused = pib(&["build", "--locked"], "0").output().unwrap();
    let said = stderr_text(&refused);
    assert!(refused.status.code() == Some(6) && said.contains("debian/other"), "{said}");

    // An open stage reaches the network as it is, and knows nothing of the recorder.
    let open = "RUN [ -z \"$http_proxy$ftp_proxy$SSL_CERT_FILE\" ]\nRUN [\"/bin/busybox\", \"test\", \"!\", \"-e\", \"/dev/shm/pib-ca.pem\"]\n";
    scratch.part("mine", open);
    let manifest = "[stage]\nname = \"mine\"\nversion = \"1.0.0\"\nnetwork = \"open\"\n";
    fs::write(scratch.path("stages/mine/stage.toml"), manifest).unwrap();
    built(&scratch, &mut pib(&["build"], "0"));
}

/// Returns a command that runs pib in the network of a private engine.
fn beside(engine: &Private, scratch: &Scratch, args: &[&str]) -> Command {
    let (process, _) = engine.processes().into_iter().next().unwrap();
    let network = format!("--net=/proc/{process}/ns/net");
    let start = [&*network, "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_pib")];
    scratch.command(Path::new("nsenter"), &[&start[..], args].concat())
}

#[test]
fn podman_replays_what_another_engine_has_recorded() {
    const NAME: &str = "recordedpodman";
    let _images = Images(NAME);
    let (scratch, host) = project(NAME, &format!("{WITHOUT_LOSSES}{FETCH}"));
    let (by_docker, _) = built(&scratch, scratch.pib(&["build"]).env("PIB_HOST_ROOT", &host));
    let (options, podman) = Kind::Podman.options();
    let (address, Some(podman)) = (options.host.unwrap(), podman) else { return };
    let args = ["build", "--frozen", "--no-cache"];
    // Its containers share its network, in which pib is not.
    let lost = scratch.pib(&args).env("DOCKER_HOST", &address).output().unwrap();
    let said = stderr_text(&lost);
    assert!(lost.status.code() == Some(5) && said.contains("pib::recording::unreachable"), "{said}");
    let (by_podman, _) = built(&scratch, beside(&podman, &scratch, &args).env("DOCKER_HOST", &address));
    assert_eq!(by_podman, by_docker);
    // Nothing that lets a build in is left in the engine.
    let history = |output: Output| String::from_utf8(output.stdout).unwrap();
    let socket = format!("unix://{}", podman.socket().display());
    let list = ["--url", &socket, "images", "--all", "--quiet"];
    let mut ids: Vec<String> = judge::tool("podman", &list).unwrap().lines().map(str::to_owned).collect();
    ids.dedup();
    for id in ids {
        let told = Command::new("podman").args(["--url", &socket, "inspect", &id]).output().unwrap();
        assert!(!history(told).contains("pib://"), "{id}");
    }
}
