//! Servers with certificates that nobody has vouched for.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::bench::{Bench, PROJECT};
use crate::site::publish;
use crate::skip::lacks;
use crate::{secure, web};

/// Makes a certificate for `localhost`; `constraints` says whether it may vouch for others.
fn certificate(folder: &Path, constraints: &str) -> (PathBuf, PathBuf) {
    secure::certificate(folder, "DNS:localhost", constraints)
}

/// Gives the files of a folder away over TLS until the tests end; returns the port.
fn serve(root: PathBuf, key: &Path, certificate: &Path) -> u16 {
    let address = web::serve(move |mut stream, request| {
        let found = fs::read(root.join(request.target.trim_start_matches('/')));
        let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    });
    secure::front(&address, "127.0.0.1", key, certificate)
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_told_and_can_be_trusted() {
    if lacks(&["openssl"]) {
        return;
    }
    let bench = Bench::new(PROJECT);
    publish(&bench, "1.0.0");
    let root = bench.folder.path().join("registry");
    let (key, own) = certificate(&bench.folder.path().join("authority"), "CA:TRUE");
    let authority = serve(root.clone(), &key, &own);
    let (key, certificate) = certificate(&bench.folder.path().join("server"), "CA:FALSE");
    let port = serve(root, &key, &certificate);
    let with = |host: &str, port: u16| {
        let registry = format!("\n[registries.acme]\nindex = \"https://{host}:{port}\"\n");
        bench.write("pib.toml", &format!("{PROJECT}{registry}"));
    };
    with("localhost", port);
    let add = ["add", "acme", "--registry", "acme"];
    let say = ["the server's certificate is not trusted here", "no authority", "SSL_CERT_FILE"];
    bench.fails(&add, 8, &say);
    bench.fails(&["add", "--git", &format!("https://localhost:{port}/kvm")], 8, &say);
    // Many make such a one in a hurry.
    with("localhost", authority);
    bench.fails(&add, 8, &say[..1]);
    let trusted = [("SSL_CERT_FILE", certificate.to_str().unwrap())];
    // It is for another name.
    with("127.0.0.1", port);
    let ran = bench.run_with(&add, &trusted);
    assert!(ran.code == Some(8) && ran.errors.contains("it is for another name"), "{}", ran.errors);
    with("localhost", port);
    let ran = bench.run_with(&add, &trusted);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    let ran = bench.run_with(&["fetch"], &trusted);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
}
