//! Programs that speak to servers over TLS are recorded, and answered again without a network.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use pib_plan::recording::{FILE_NAME, Method, Recording};
use pib_plan::snapshot::ArchiveSnapshot;

use sha2::{Digest as _, Sha512};

use crate::forge::{Forge, Manners, Repo};
use crate::skip::{lacks, skip};
use crate::world::{Images, World};
use crate::{secure, web};

const NAME: &str = "recordedtls";
/// The address of the servers: on this machine, and not one that programs ask without a proxy.
const HOST: &str = "127.0.0.2";

/// Returns an archive of files that are not compressed (APPNOTE.TXT, PKWARE), as a wheel is.
fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let (mut all, mut directory) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let mut crc = flate2::Crc::new();
        crc.update(text.as_bytes());
        let (size, length) = (text.len() as u32, name.len() as u16);
        let mut facts = Vec::new();
        // Version 2.0; no flags, not compressed; the time and the day of 1980-01-01.
        [20_u16, 0, 0, 0, 0x21].iter().for_each(|word| facts.extend(word.to_le_bytes()));
        [crc.sum(), size, size].iter().for_each(|word| facts.extend(word.to_le_bytes()));
        [length, 0].iter().for_each(|word| facts.extend(word.to_le_bytes()));
        let at = all.len() as u32;
        all.extend(b"PK\x03\x04");
        all.extend(&facts);
        all.extend(name.as_bytes());
        all.extend(text.as_bytes());
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&facts);
        // No comment, the first disk, no attributes.
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (count, size, at) = (files.len() as u16, directory.len() as u32, all.len() as u32);
    all.extend(&directory);
    all.extend(b"PK\x05\x06\0\0\0\0");
    [count, count].iter().for_each(|word| all.extend(word.to_le_bytes()));
    [size, at].iter().for_each(|word| all.extend(word.to_le_bytes()));
    all.extend([0; 2]);
    all
}

/// A package of Python's that has one module.
fn wheel() -> Vec<u8> {
    let about = "Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n";
    let wheel = "Wheel-Version: 1.0\nGenerator: pib\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let record = "greet.py,,\ngreet-1.0.dist-info/METADATA,,\ngreet-1.0.dist-info/WHEEL,,\n\
                  greet-1.0.dist-info/RECORD,,\n";
    zip(&[
        ("greet.py", "WORD = 'hello from a wheel'\n"),
        ("greet-1.0.dist-info/METADATA", about),
        ("greet-1.0.dist-info/WHEEL", wheel),
        ("greet-1.0.dist-info/RECORD", record),
    ])
}

/// A package of npm's that has one module, as the registry serves it.
fn npm_package() -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, text) in [
        ("package/package.json", "{\"name\":\"greet\",\"version\":\"1.0.0\",\"main\":\"index.js\"}\n"),
        ("package/index.js", "exports.word = 'hello from npm';\n"),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// Returns an npm client that needs nothing but node, from the registry that this machine's own client uses; `None` where it
/// is not available.
fn npm_client(folder: &Path) -> Option<Vec<u8>> {
    let mut npm = Command::new("npm");
    npm.args(["pack", "npm@10.9.2", "--silent", "--pack-destination"]).arg(folder).current_dir(folder);
    let packed = npm.output().is_ok_and(|output| output.status.success());
    fs::read(folder.join("npm-10.9.2.tgz")).ok().filter(|_| packed)
}

/// Serves a registry with one package, and an npm client; returns the port.
fn npm_registry(key: &Path, certificate: &Path, client: Vec<u8>) -> u16 {
    let package = npm_package();
    // That writes base64.
    let digest = ArchiveSnapshot::keyring_text(&Sha512::digest(&package));
    let address = web::serve(move |mut stream, request| {
        let host = request.header("host").unwrap_or_default();
        let about = format!(
            "{{\"name\":\"greet\",\"dist-tags\":{{\"latest\":\"1.0.0\"}},\"versions\":{{\"1.0.0\":{{\"name\":\"greet\",\
             \"version\":\"1.0.0\",\"dist\":{{\"tarball\":\"https://{host}/greet/-/greet-1.0.0.tgz\",\
             \"integrity\":\"sha512-{digest}\"}}}}}}}}"
        );
        let (status, body) = match &*request.target {
            "/greet" => ("200 OK", about.into_bytes()),
            "/greet/-/greet-1.0.0.tgz" => ("200 OK", package.clone()),
            "/npm.tgz" => ("200 OK", client.clone()),
            _ => ("404 Not Found", Vec::new()),
        };
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    });
    secure::front(&address, HOST, key, certificate)
}

/// Serves an index of Python packages and a file; returns the port.
fn files(key: &Path, certificate: &Path) -> u16 {
    let wheel = wheel();
    let address = web::serve(move |mut stream, request| {
        let (kind, body) = match &*request.target {
            "/simple/greet/" => (
                "text/html",
                b"<a href=\"/files/greet-1.0-py3-none-any.whl\">greet-1.0-py3-none-any.whl</a>".to_vec(),
            ),
            "/files/greet-1.0-py3-none-any.whl" => ("application/octet-stream", wheel.clone()),
            "/word" => ("text/plain", b"a word".to_vec()),
            _ => ("", Vec::new()),
        };
        let status = if kind.is_empty() { "404 Not Found" } else { "200 OK" };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    });
    secure::front(&address, HOST, key, certificate)
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_programs_fetch_over_tls_is_recorded_and_given_again_offline() {
    let _images = Images(NAME);
    let world = World::new();
    let (key, certificate) = secure::certificate(&world.path("authority"), &format!("IP:{HOST}"), "CA:FALSE");
    let repository = Repo::new(&world.path("repositories/words"));
    repository.write("word", "from a repository");
    repository.commit();
    let forge = Forge::start(&world.path("repositories"), Manners::default());
    let git = secure::front(&forge.address, HOST, &key, &certificate);
    let files = files(&key, &certificate);
    world.tiny(
        NAME,
        &format!(
            "RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates curl git python3-pip wget\n\
             RUN pip install --break-system-packages --no-cache-dir --index-url https://{HOST}:{files}/simple/ greet\n\
             RUN python3 -c 'import greet; open(\"/wheel\", \"w\").write(greet.WORD)'\n\
             RUN git clone --depth 1 https://{HOST}:{git}/words/.git /words && rm -rf /words/.git\n\
             RUN curl -sSf https://{HOST}:{files}/word > /curl && wget -q -O /wget https://{HOST}:{files}/word\n\
             RUN python3 -c 'import urllib.request as r; open(\"/python\", \"wb\").write(r.urlopen(\"https://{HOST}:{files}/word\").read())'\n"
        ),
    );
    let path = world.path(NAME).join("pib.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + "\n[build]\nnetwork = \"recorded\"\n").unwrap();
    // What the user allows; a server of this machine is not reached otherwise.
    let refused =
        world.pib(NAME, &["build", "--until", "mine"]).env("SSL_CERT_FILE", &certificate).output().unwrap();
    assert!(
        refused.status.code() == Some(6) && errors(&refused).contains("public internet"),
        "{}",
        errors(&refused)
    );
    let config = world.path("config/pib");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("config.toml"), format!("[network]\nprivate = [\"{HOST}\"]\n")).unwrap();
    let read = |args: &[&str]| -> Vec<String> {
        let built = world.pib(NAME, args).env("SSL_CERT_FILE", &certificate).output().unwrap();
        assert!(built.status.success(), "{}", errors(&built));
        assert!(!errors(&built).contains("do not take pib's word"), "{}", errors(&built));
        let files = ["/wheel", "/words/word", "/curl", "/wget", "/python"];
        files.iter().map(|file| world.run(NAME, &["run", "--at", "mine", "--", "cat", file])).collect()
    };
    let expected = ["hello from a wheel", "from a repository", "a word", "a word", "a word"];
    assert_eq!(read(&["build", "--until", "mine"]), expected);
    let text = fs::read_to_string(world.path(NAME).join(FILE_NAME)).unwrap();
    let recording = Recording::parse(FILE_NAME, &text).unwrap();
    assert!(
        recording
            .iter()
            .any(|(asked, _)| asked.method == Method::Post && asked.url.ends_with("/git-upload-pack"))
    );
    let asked = forge.requests();
    assert_eq!(read(&["build", "--until", "mine", "--frozen", "--no-cache"]), expected);
    assert_eq!(forge.requests(), asked, "a server was asked again");
    assert_eq!(fs::read_to_string(world.path(NAME).join(FILE_NAME)).unwrap(), text);
}

#[test]
fn what_npm_fetches_over_tls_is_recorded_and_given_again_offline() {
    const NPM: &str = "recordednpm";
    if lacks(&["npm"]) {
        return;
    }
    let _images = Images(NPM);
    let world = World::new();
    let Some(client) = npm_client(&world.path(".")) else {
        return skip("its registry does not give npm");
    };
    let (key, certificate) = secure::certificate(&world.path("authority"), &format!("IP:{HOST}"), "CA:FALSE");
    let port = npm_registry(&key, &certificate, client);
    let registry = format!("https://{HOST}:{port}/");
    world.tiny(
        NPM,
        &format!(
            "RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates curl nodejs\n\
             RUN curl -sSf {registry}npm.tgz | tar -xz -C /opt\n\
             RUN node /opt/package/bin/npm-cli.js install --prefix /app --registry {registry} --no-audit --no-fund \
             --no-update-notifier greet && rm -rf /root/.npm\n\
             RUN node -e 'fs.writeFileSync(\"/npm\", require(\"/app/node_modules/greet\").word)'\n"
        ),
    );
    let path = world.path(NPM).join("pib.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + "\n[build]\nnetwork = \"recorded\"\n").unwrap();
    let config = world.path("config/pib");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("config.toml"), format!("[network]\nprivate = [\"{HOST}:{port}\"]\n")).unwrap();
    let installed = |args: &[&str]| {
        let built = world.pib(NPM, args).env("SSL_CERT_FILE", &certificate).output().unwrap();
        assert!(built.status.success(), "{}", errors(&built));
        assert!(!errors(&built).contains("do not take pib's word"), "{}", errors(&built));
        world.run(NPM, &["run", "--at", "mine", "--", "cat", "/npm"])
    };
    assert_eq!(installed(&["build", "--until", "mine"]), "hello from npm");
    let text = fs::read_to_string(world.path(NPM).join(FILE_NAME)).unwrap();
    for path in ["greet", "greet/-/greet-1.0.0.tgz", "npm.tgz"] {
        assert!(text.contains(&format!("\"{registry}{path}\"")), "no {path} in {text}");
    }
    assert_eq!(installed(&["build", "--until", "mine", "--frozen", "--no-cache"]), "hello from npm");
    assert_eq!(fs::read_to_string(world.path(NPM).join(FILE_NAME)).unwrap(), text);
}
