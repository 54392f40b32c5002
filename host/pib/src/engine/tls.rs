//! TLS to an engine, with certificates from a folder as the docker client keeps them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::EngineError;

/// What proves to us who the engine is, and to it who we are.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Reads `ca.pem`, and `cert.pem` with `key.pem` where they are there, from a folder.
    pub(super) fn load(folder: &Path) -> Result<Self, EngineError> {
        let authority = folder.join("ca.pem");
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&authority)? {
            roots.add(certificate).map_err(|error| unusable(&authority, &error))?;
        }
        // Named here: which provider is the process's own is decided elsewhere, and maybe later.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(folder, &error))?
            .with_root_certificates(roots);
        let (own, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let config = if own.exists() || key.exists() {
            let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| unusable(&key, &error))?;
            let chain = certificates(&own)?;
            config.with_client_auth_cert(chain, secret).map_err(|error| unusable(&own, &error))?
        } else {
            config.with_no_client_auth()
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Starts TLS on a connection to `host`, which is `name:port`.
    pub(super) async fn start(&self, stream: TcpStream, host: &str) -> io::Result<TlsStream<TcpStream>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        self.0.connect(name, stream).await
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, EngineError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err(unusable(path, &"there is no certificate in it")),
        found => found.map_err(|error| unusable(path, &error)),
    }
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> EngineError {
    EngineError::Certificate { path: PathBuf::from(path), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_certificates_is_told_by_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let said = |name: &str| {
            let error = Tls::load(folder.path()).err().unwrap().to_string();
            assert!(error.contains(name), "{error}");
            error
        };
        said("ca.pem");
        std::fs::write(folder.path().join("ca.pem"), "no PEM at all").unwrap();
        assert!(said("ca.pem").contains("no certificate in it"));
    }
}
