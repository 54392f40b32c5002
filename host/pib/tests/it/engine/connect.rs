//! Finding an engine, the ways to it, and what is said where there is none.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pib::engine::binfmt_misc::{Binfmt, BinfmtStatus};
use pib::engine::{ConnectOptions, Engine, EngineError};
use pib_event::Silent;
use pib_plan::id::{Arch, Digest};
use tokio::net::{TcpListener, UnixStream};

use super::kind::Kind;
use super::lab::{Lab, bytes_file, export_of, options};
use crate::world::judge;

#[tokio::test]
async fn an_engine_says_what_it_is() {
    let engine = Engine::connect(&options()).await.unwrap();
    let info = engine.info();
    assert!(info.name == "Docker" || info.name == "Podman", "{info:?}");
    assert!(info.version.starts_with(|c: char| c.is_ascii_digit()), "{info:?}");
    assert!(info.kernel.starts_with("linux "), "{info:?}");
    engine.check_binfmt(Arch::Arm64).unwrap();
    assert!(matches!(Binfmt::default().read().status(Arch::Armv7), BinfmtStatus::Registered { .. }));
    assert_eq!(engine.container_image("pib-test-nothing:here").await.unwrap(), None);
    assert!(!engine.remove_image("pib-test-nothing:here").await.unwrap());
}

#[tokio::test]
async fn without_an_engine_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let connect = |host: String| async move {
        let options = ConnectOptions { host: Some(host), ..ConnectOptions::default() };
        Engine::connect(&options).await.err().unwrap()
    };
    let path = folder.path().join("none.sock");
    let error = connect(format!("unix://{}", path.display())).await;
    assert!(matches!(error, EngineError::NoSocket { .. }), "{error:?}");

    let stale = folder.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let error = connect(format!("unix://{}", stale.display())).await;
    assert!(error.to_string().contains("nobody listens"), "{error}");

    let mute = folder.path().join("mute.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&mute).unwrap();
    let start = Instant::now();
    let error = connect(format!("unix://{}", mute.display())).await;
    assert!(matches!(error, EngineError::NotAnswering { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());

    let error = connect("tcp://127.0.0.1:9".to_owned()).await;
    assert!(matches!(error, EngineError::NotAnswering { .. }), "{error:?}");
}

/// Passes on what comes in at a port of this machine to the engine; with TLS where there is an acceptor.
struct Port {
    address: String,
    passing: tokio::task::JoinHandle<()>,
}

impl Port {
    async fn open(lab: &Lab, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let engine = lab.engine.info().address.strip_prefix("unix://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let passing = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let (engine, tls) = (engine.clone(), tls.clone());
                connections.spawn(async move {
                    let mut far = UnixStream::connect(engine).await.unwrap();
                    match tls {
                        None => _ = tokio::io::copy_bidirectional(&mut near, &mut far).await,
                        Some(tls) => {
                            if let Ok(mut near) = tls.accept(near).await {
                                _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, passing }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

/// Builds and exports over an engine's connection: the context goes there, the progress and the tar come back.
async fn builds(lab: &Lab, engine: &Engine, name: &str) {
    assert!(engine.abilities().mounts, "{:?}", engine.info());
    let text = "a line of some length\n".repeat(20_000);
    let files = vec![bytes_file("stages/os/file", &text, false)];
    let plan = lab.plan(&[("os", "COPY stages/os/file /etc/file\nRUN cat /etc/file > /etc/copy")], files);
    let tag = lab.tag(name);
    engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
    let exported = export_of(engine, &tag).await;
    assert!(exported["etc/copy"].content == text.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_runs_over_tcp() {
    let lab = Lab::of(Kind::BuildKit, "tcp").await;
    let port = Port::open(&lab, None).await;
    builds(&lab, &lab.through(&port.address).await, "tcp").await;
}

/// Makes an authority, and certificates of its for the engine and for us.
fn certificates(folder: &Path) {
    let script = "
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
            -keyout authority.key -out ca.pem
        sign() {
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$1 -keyout $1.key -out $1.csr
            openssl x509 -req -in $1.csr -CA ca.pem -CAkey authority.key -CAcreateserial -days 2 -out $1.pem -extfile $1.ext
        }
        echo 'subjectAltName=IP:127.0.0.1' > engine.ext
        echo 'extendedKeyUsage=clientAuth' > cert.ext
        sign engine
        sign cert
        mv cert.key key.pem";
    let path = folder.display().to_string();
    judge::tool("sh", &["-euc", &format!("cd '{path}'; exec 2>&1; {script}")]).unwrap();
}

fn acceptor(folder: &Path) -> tokio_rustls::TlsAcceptor {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.unwrap());
    let chain = vec![CertificateDer::from_pem_file(folder.join("engine.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("engine.key")).unwrap();
    Arc::new(config.with_single_cert(chain, key).unwrap()).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_runs_over_tls_and_only_with_the_right_certificates() {
    let lab = Lab::of(Kind::BuildKit, "tls").await;
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(folder.path());
    certificates(other.path());
    let port = Port::open(&lab, Some(acceptor(folder.path()))).await;
    let with = |certificates: &Path| ConnectOptions {
        host: Some(port.address.clone()),
        tls: true,
        certificates: Some(certificates.to_owned()),
        ..ConnectOptions::default()
    };
    builds(&lab, &Engine::connect(&with(folder.path())).await.unwrap(), "tls").await;

    // Another authority's engine, and another authority's client.
    let error = Engine::connect(&with(other.path())).await.err().unwrap();
    assert!(matches!(error, EngineError::Untrusted { .. }), "{error:?}");
    std::fs::copy(folder.path().join("ca.pem"), other.path().join("ca.pem")).unwrap();
    let error = Engine::connect(&with(other.path())).await.err().unwrap();
    assert!(matches!(error, EngineError::Untrusted { .. }), "{error:?}");
    // Without TLS the engine with TLS does not answer.
    let plain = ConnectOptions { host: Some(port.address.clone()), ..ConnectOptions::default() };
    let error = Engine::connect(&plain).await.err().unwrap();
    assert!(matches!(error, EngineError::NotAnswering { .. }), "{error:?}");
    assert!(format!("{:?}", miette::Report::new(error)).contains("DOCKER_TLS_VERIFY"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_leads_to_its_engine_with_its_certificates() {
    let lab = Lab::of(Kind::BuildKit, "context").await;
    let home = tempfile::tempdir().unwrap();
    let id = Digest::of(b"lab").hex();
    let (meta, tls) = (format!("contexts/meta/{id}"), format!("contexts/tls/{id}/docker"));
    for folder in [&meta, &tls] {
        std::fs::create_dir_all(home.path().join(folder)).unwrap();
    }
    let certificates_of = home.path().join(&tls);
    certificates(&certificates_of);
    let port = Port::open(&lab, Some(acceptor(&certificates_of))).await;
    let text = format!(
        r#"{{"Name":"lab","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"{}","SkipTLSVerify":false}}}}}}"#,
        port.address
    );
    std::fs::write(home.path().join(meta).join("meta.json"), text).unwrap();
    let base = ConnectOptions { client_folder: Some(home.path().to_owned()), ..ConnectOptions::default() };
    let by_variable = ConnectOptions { context: Some("lab".to_owned()), ..base.clone() };
    let engine = Engine::connect(&by_variable).await.unwrap();
    assert_eq!(engine.info().address, port.address);
    builds(&lab, &engine, "context").await;

    std::fs::write(home.path().join("config.json"), r#"{"currentContext":"lab"}"#).unwrap();
    assert_eq!(Engine::connect(&base).await.unwrap().info().address, port.address);
    // What the command line names comes first, then DOCKER_HOST; both before the context.
    let socket = lab.engine.info().address.clone();
    let by_host = ConnectOptions { host: Some(socket.clone()), ..base.clone() };
    assert_eq!(Engine::connect(&by_host).await.unwrap().info().address, socket);
    let nowhere = Some("unix:///nonexistent.sock".to_owned());
    let named = ConnectOptions { named: Some("lab".to_owned()), host: nowhere.clone(), ..base.clone() };
    assert_eq!(Engine::connect(&named).await.unwrap().info().address, port.address);
    let named = ConnectOptions { named: Some(socket.clone()), host: nowhere, ..base };
    assert_eq!(Engine::connect(&named).await.unwrap().info().address, socket);
}
