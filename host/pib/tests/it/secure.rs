//! Servers over TLS: certificates that nobody has vouched for, and what stands before a plain server.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Makes a certificate for a name (`DNS:localhost`) that is its own authority; `constraints` says whether it may vouch for
/// others. Returns the files of its key and of itself.
pub(crate) fn certificate(folder: &Path, name: &str, constraints: &str) -> (PathBuf, PathBuf) {
    fs::create_dir_all(folder).unwrap();
    let [key, certificate, config] = ["key.pem", "certificate.pem", "config"].map(|file| folder.join(file));
    let text = format!(
        "[req]\ndistinguished_name = name\nx509_extensions = more\nprompt = no\n[name]\nCN = pib test\n\
         [more]\nsubjectAltName = {name}\nbasicConstraints = {constraints}\n"
    );
    fs::write(&config, text).unwrap();
    let mut make = Command::new("openssl");
    make.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    make.arg("-config").arg(&config).arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let output = make.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (key, certificate)
}

/// Stands before the plain server at `address` (`http://HOST:PORT`) until the tests end; returns the port, at `host`.
pub(crate) fn front(address: &str, host: &str, key: &Path, certificate: &Path) -> u16 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind((host, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = address.trim_start_matches("http://").to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, behind) = (Arc::clone(&config), behind.clone());
            // A client that does not believe the certificate asks for nothing.
            std::thread::spawn(move || carry(stream, config, &behind));
        }
    });
    port
}

/// Carries one request to the plain server, and its answer back.
fn carry(stream: TcpStream, config: Arc<ServerConfig>, behind: &str) -> Option<()> {
    let mut near = BufReader::new(StreamOwned::new(ServerConnection::new(config).ok()?, stream));
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if near.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    near.read_exact(&mut body).ok()?;
    let mut far = TcpStream::connect(behind).ok()?;
    far.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).ok()?;
    far.write_all(&body).ok()?;
    let mut near = near.into_inner();
    std::io::copy(&mut far, &mut near).ok()?;
    near.conn.send_close_notify();
    near.flush().ok()
}
