//! Connections over TLS.

use super::*;

/// A program that speaks to a server through the recorder, and trusts the authority if it is given one.
async fn encrypted(
    recorder: &Recorder,
    authority: Option<&str>,
    target: &str,
    request: &str,
) -> io::Result<String> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    let (mut ours, theirs) = tokio::io::duplex(1 << 16);
    recorder.serve(theirs);
    ours.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(ours.read_u8().await?);
    }
    let mut roots = rustls::RootCertStore::empty();
    if let Some(authority) = authority {
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let host = target.rsplit_once(':').unwrap().0.trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, ours).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut all = String::new();
    stream.read_to_string(&mut all).await?;
    Ok(all)
}

#[tokio::test]
async fn encrypted_connections_are_answered_in_the_servers_name() {
    let world = World::new();
    world.server.set("a", [Answer::file("encrypted")]);
    let mut options = world.options(Recording::default(), Unknown::Record);
    options.mirrors[0].public = "https://pypi.example".to_owned();
    let recorder = Recorder::new(options).unwrap();
    let authority = recorder.authority().to_owned();
    let request = "GET /a HTTP/1.1\r\nHost: pypi.example\r\nConnection: close\r\n\r\n";
    let told = encrypted(&recorder, Some(&authority), "pypi.example:443", request).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 200") && told.ends_with("encrypted"), "{told}");
    let recording = recorder.recording();
    assert!(recording.get(&Request::get("https://pypi.example/a")).is_some(), "{}", recording.to_text());
    let asked = world.server.asked().len();
    let replay = world.recorder(recording, Unknown::Refuse);
    let authority = replay.authority().to_owned();
    let told = encrypted(&replay, Some(&authority), "pypi.example:443", request).await.unwrap();
    assert!(told.ends_with("encrypted"), "{told}");
    assert_eq!(world.server.asked().len(), asked);
}

#[tokio::test]
async fn a_program_that_takes_no_word_is_told_of() {
    let world = World::new();
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    let other = world.recorder(Recording::default(), Unknown::Record);
    for authority in [None, Some(other.authority())] {
        assert!(encrypted(&recorder, authority, "a.example:443", "").await.is_err());
    }
    // The recorder hears of it when the program has broken off.
    let (mut ours, theirs) = tokio::io::duplex(1 << 16);
    recorder.serve(theirs);
    ours.write_all(b"CONNECT b.example:22 HTTP/1.1\r\nHost: x\r\n\r\nSSH-2.0-OpenSSH\r\n").await.unwrap();
    let mut all = Vec::new();
    ours.read_to_end(&mut all).await.unwrap();
    assert_eq!(recorder.distrusted(), ["a.example:443", "b.example:22"]);
}

#[tokio::test]
async fn encrypted_connections_to_this_machine_are_not_led_there() {
    let world = World::new();
    let recorder = world.recorder(Recording::default(), Unknown::Record);
    let authority = recorder.authority().to_owned();
    let request = "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for target in ["127.0.0.1:443", "localhost:8443", "169.254.169.254:443"] {
        let told = encrypted(&recorder, Some(&authority), target, request).await.unwrap();
        assert!(told.starts_with("HTTP/1.1 403") && told.contains("public internet"), "{target}: {told}");
    }
}
