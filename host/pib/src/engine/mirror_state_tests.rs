use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::*;

/// Serves files, by path, to whoever asks over real HTTP; all else is not there.
fn serve(files: Vec<(&'static str, Vec<u8>)>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let files = files.clone();
            std::thread::spawn(move || answer(stream, &files));
        }
    });
    port
}

fn answer(mut stream: std::net::TcpStream, files: &[(&'static str, Vec<u8>)]) -> Option<()> {
    let mut pending = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
        pending.extend(&bytes[..count]);
        // apt asks for several files before it waits for an answer.
        while let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(pending.drain(..end + 4).collect()).ok()?;
            let path = head.split_whitespace().nth(1)?.trim_start_matches('/').to_owned();
            let found = files.iter().find(|(name, _)| *name == path);
            let (status, body) = found.map_or(("404 Not Found", &[][..]), |(_, body)| ("200 OK", body));
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).ok()?;
        }
    }
}

/// Has this machine's apt, in a folder of its own, update its lists from a mirror and install a package; returns what it
/// prints.
fn apt(port: u16, command: &[&str]) -> Option<Vec<String>> {
    if !Path::new("/usr/bin/apt-get").exists() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["lists/partial", "cache/archives/partial", "empty"] {
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    let sources = folder.path().join("sources.list");
    std::fs::write(&sources, format!("deb [trusted=yes arch=amd64] http://127.0.0.1:{port} x main\n"))
        .unwrap();
    std::fs::write(folder.path().join("status"), "").unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let options = [
        format!("Dir::Etc::SourceList={}", sources.display()),
        format!("Dir::Etc::SourceParts={}", at("empty")),
        format!("Dir::Etc::Parts={}", at("empty")),
        format!("Dir::State::Lists={}", at("lists")),
        format!("Dir::State::Status={}", at("status")),
        format!("Dir::Cache={}", at("cache")),
        format!("Dir::Log={}", at("empty")),
        "APT::Architecture=amd64".to_owned(),
        "APT::Architectures=amd64".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::http::Proxy=DIRECT".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Debug::NoLocking=1".to_owned(),
    ];
    let mut lines = Vec::new();
    for command in command {
        let mut apt = Command::new("apt-get");
        options.iter().for_each(|option| _ = apt.arg("-o").arg(option));
        let output =
            apt.args(command.split(' ')).env("LC_ALL", "C").env("APT_CONFIG", "/dev/null").output().unwrap();
        for text in [output.stdout, output.stderr] {
            lines.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
        }
    }
    Some(lines)
}

/// Returns a release file that lists an index of these bytes.
fn release(index: &[u8]) -> Vec<u8> {
    let digest = pib_plan::id::Digest::of(index);
    let text = "Suite: x\nCodename: x\nDate: Sat, 01 Nov 2025 00:00:00 UTC\nArchitectures: amd64\nComponents: main\n";
    format!("{text}SHA256:\n {} {} main/binary-amd64/Packages\n", digest.hex(), index.len()).into_bytes()
}

const INDEX: &str = "Package: thing\nVersion: 1\nArchitecture: amd64\nMaintainer: x <x@example.org>\n\
                     Filename: pool/thing_1_amd64.deb\nSize: 4\n\
                     SHA256: 5b9a010e6730e4019e90fcb81c92ad59f061955890d691b7d111637d3f8d3dab\nDescription: x\n";

#[test]
fn what_apt_says_of_a_mirror_in_the_middle_of_an_update_is_recognised() {
    let path = "dists/x/main/binary-amd64/Packages";
    let other = INDEX.replace("Version: 1", "Version: 2");
    for index in [Some(other.clone().into_bytes()), Some(format!("{other}\n").into_bytes()), None] {
        let mut files = vec![("dists/x/Release", release(INDEX.as_bytes()))];
        files.extend(index.map(|index| (path, index)));
        let port = serve(files);
        let Some(lines) = apt(port, &["update"]) else { return eprintln!("skipped: there is no apt here") };
        let expected = MirrorState::Updating { url: format!("http://127.0.0.1:{port}/{path}") };
        assert_eq!(MirrorState::of(&lines), Some(expected), "{lines:#?}");
    }
}

#[test]
fn a_package_that_is_gone_and_a_release_that_never_was_are_told_apart() {
    let files = [
        ("dists/x/Release", release(INDEX.as_bytes())),
        ("dists/x/main/binary-amd64/Packages", INDEX.into()),
    ];
    let port = serve(files.to_vec());
    let install = ["update", "install --yes --download-only thing"];
    let Some(lines) = apt(port, &install) else { return eprintln!("skipped: there is no apt here") };
    let expected = MirrorState::MovedOn { url: format!("http://127.0.0.1:{port}/pool/thing_1_amd64.deb") };
    assert_eq!(MirrorState::of(&lines), Some(expected), "{lines:#?}");
    let lines = apt(serve(Vec::new()), &["update"]).unwrap();
    assert!(lines.iter().any(|line| line.contains("404")), "{lines:#?}");
    assert_eq!(MirrorState::of(&lines), None, "{lines:#?}");
}

#[test]
fn what_fails_after_apt_was_passed_over_is_not_the_mirrors_fault() {
    let lines =
        ["E: Failed to fetch http://m/dists/x/main/Packages  Hash Sum mismatch", "make: *** [all] Error 1"];
    assert_eq!(MirrorState::of(&lines.map(str::to_owned)), None);
    assert_eq!(MirrorState::of(&[]), None);
}
