//! An authority that exists for one run of pib, and vouches for the recorder in the name of every server.
//!
//! Its key never leaves this process. Its certificate goes to the commands of one build, which are to trust it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

/// How many servers may have certificates at once: those of more are made again.
const MOST: usize = 1000;

/// Says that a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("making a certificate failed: {0}")]
pub struct AuthorityError(String);

impl AuthorityError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, as text.
    pub(crate) certificate: String,
    servers: Mutex<HashMap<String, TlsAcceptor>>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self, AuthorityError> {
        let mut params = lasting(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "pib, for one build");
        let key = KeyPair::generate().map_err(AuthorityError::of)?;
        let certificate = params.self_signed(&key).map_err(AuthorityError::of)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate, servers: Mutex::default() })
    }

    /// Returns who answers encrypted connections in the name of a host.
    ///
    /// # Errors
    /// When the name is none that a certificate can have.
    pub(crate) fn acceptor(&self, host: &str) -> Result<TlsAcceptor, AuthorityError> {
        let servers = || self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = servers().get(host) {
            return Ok(known.clone());
        }
        let acceptor = self.make(host)?;
        let mut servers = servers();
        if servers.len() >= MOST {
            servers.clear();
        }
        servers.insert(host.to_owned(), acceptor.clone());
        Ok(acceptor)
    }

    fn make(&self, host: &str) -> Result<TlsAcceptor, AuthorityError> {
        let mut params = lasting(vec![host.to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, host.chars().take(64).collect::<String>());
        let key = KeyPair::generate().map_err(AuthorityError::of)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(AuthorityError::of)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder
            .map_err(AuthorityError::of)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .map_err(AuthorityError::of)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Returns what certificates have in common: they hold whatever a machine's clock says, up to where the clocks of machines
/// with 32 bits end.
fn lasting(names: Vec<String>) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::new(names).map_err(AuthorityError::of)?;
    params.not_before = date_time_ymd(1970, 1, 2);
    params.not_after = date_time_ymd(2037, 12, 31);
    Ok(params)
}
