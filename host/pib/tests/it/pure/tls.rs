//! Servers with certificates that nobody has vouched for.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::bench::{Bench, PROJECT};
use crate::site::publish;
use crate::skip::lacks;

/// Makes a certificate for `localhost` that is its own authority; `constraints` says whether it may vouch for others.
fn certificate(folder: &Path, constraints: &str) -> (PathBuf, PathBuf) {
    fs::create_dir_all(folder).unwrap();
    let (key, certificate, config) =
        (folder.join("key.pem"), folder.join("certificate.pem"), folder.join("config"));
    let text = format!(
        "[req]\ndistinguished_name = name\nx509_extensions = more\nprompt = no\n[name]\nCN = pib test\n\
         [more]\nsubjectAltName = DNS:localhost\nbasicConstraints = {constraints}\n"
    );
    fs::write(&config, text).unwrap();
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            PathBuf::from("-config"),
            config,
            "-keyout".into(),
            key.clone(),
            "-out".into(),
            certificate.clone(),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (key, certificate)
}

/// Gives the files of a folder away over TLS until the tests end; returns the port.
fn serve(root: PathBuf, key: &Path, certificate: &Path) -> u16 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, root) = (Arc::clone(&config), root.clone());
            std::thread::spawn(move || answer(stream, config, &root));
        }
    });
    port
}

/// Answers one request; a client that does not believe the certificate makes none.
fn answer(stream: TcpStream, config: Arc<ServerConfig>, root: &Path) {
    let mut reader = BufReader::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream));
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(count) if count > 2 => head.push(line),
            Ok(2) => break,
            _ => return,
        }
    }
    let path = head[0].split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let (status, body) = match fs::read(root.join(path)) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let mut stream = reader.into_inner();
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(&body);
    stream.conn.send_close_notify();
    let _ = stream.flush();
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
