//! What can go wrong with a request, and what of that may pass.

use std::time::Duration;

use reqwest::StatusCode;
use url::Url;

use crate::pace::TooSlow;

/// Says why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The client itself could not be made, e.g. because the TLS set-up is broken.
    #[error("setting up the HTTP client failed")]
    Client(#[source] reqwest::Error),
    /// The server answered, but not with the file.
    #[error("fetching {url} failed: the server answered {status}")]
    Status {
        /// What was asked for.
        url: Box<Url>,
        /// The server's answer.
        status: StatusCode,
    },
    /// The server asks to be left alone for longer than anyone wants to wait.
    #[error(
        "fetching {url} failed: the server answered {status} and asks to be left alone for {seconds} seconds"
    )]
    Busy {
        /// What was asked for.
        url: Box<Url>,
        /// The server's answer.
        status: StatusCode,
        /// For how long.
        seconds: u64,
    },
    /// The server's certificate says nothing that this machine believes.
    #[error(
        "fetching {url} failed: the server's certificate is not trusted here ({reason}); if it is your own server, add \
         its authority to this machine's certificates, or name the file with it in SSL_CERT_FILE"
    )]
    Untrusted {
        /// What was asked for.
        url: Box<Url>,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// The server could not be reached, or the connection broke.
    #[error("fetching {url} failed; check the network and the address")]
    Transport {
        /// What was asked for.
        url: Box<Url>,
        /// What the HTTP client found.
        #[source]
        source: reqwest::Error,
    },
    /// No answer came, or no whole head of one.
    #[error("fetching {url} failed: the server sent no answer for {seconds} seconds")]
    Silent {
        /// What was asked for.
        url: Box<Url>,
        /// How long pib waited.
        seconds: u64,
    },
    /// The answer came too slowly.
    #[error("fetching {url} was stopped: for {seconds} seconds it brought fewer than {floor} bytes a second")]
    TooSlow {
        /// What was asked for.
        url: Box<Url>,
        /// The fewest bytes a second.
        floor: u64,
        /// For how many seconds there were fewer.
        seconds: u64,
    },
    /// The answer is longer than it can rightly be.
    #[error("fetching {url} was stopped: the answer is larger than the {limit} bytes expected at most")]
    TooLarge {
        /// What was asked for.
        url: Box<Url>,
        /// The most bytes that were accepted.
        limit: u64,
    },
    /// The fetched bytes could not be written down.
    #[error("writing what {url} sent to the disk failed")]
    Write {
        /// What was asked for.
        url: Box<Url>,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl NetError {
    /// Returns the error of a request that failed on its way.
    pub(crate) fn of(url: &Url, source: reqwest::Error) -> Self {
        match certificate_fault(&source) {
            Some(reason) => Self::Untrusted { url: url.clone().into(), reason },
            // The URL is in our own message already.
            None => Self::Transport { url: url.clone().into(), source: source.without_url() },
        }
    }

    /// Returns the error of a server that did not answer in this time.
    pub(crate) fn silent(url: &Url, wait: Duration) -> Self {
        Self::Silent { url: url.clone().into(), seconds: wait.as_secs() }
    }

    /// Returns the error of a transfer that only pretends to go on.
    pub(crate) fn slow(url: &Url, TooSlow { floor, seconds }: TooSlow) -> Self {
        Self::TooSlow { url: url.clone().into(), floor, seconds }
    }

    /// Returns whether the server said that the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status, .. } if matches!(status.as_u16(), 404 | 410))
    }

    /// Returns whether another attempt may go better.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => is_passing(*status),
            Self::Transport { source, .. } => !source.is_builder() && !source.is_redirect(),
            _ => false,
        }
    }
}

/// Returns what is wrong with the server's certificate, where that is why a request failed.
pub fn certificate_fault(error: &reqwest::Error) -> Option<String> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        // An error of a stream hides the one that it was made of.
        let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        let inner = inner.map(|inner| inner as &(dyn std::error::Error + 'static));
        for error in [Some(error), inner].into_iter().flatten() {
            if let Some(rustls::Error::InvalidCertificate(fault)) = error.downcast_ref() {
                return Some(certificate_words(fault));
            }
        }
        next = error.source().or(inner);
    }
    None
}

fn certificate_words(fault: &rustls::CertificateError) -> String {
    use rustls::CertificateError as Fault;
    match fault {
        Fault::UnknownIssuer => "no authority that this machine knows has signed it".to_owned(),
        Fault::Expired | Fault::ExpiredContext { .. } => "it has expired".to_owned(),
        Fault::NotValidYet | Fault::NotValidYetContext { .. } => {
            "it is not valid yet: check the clock".to_owned()
        }
        Fault::NotValidForName | Fault::NotValidForNameContext { .. } => "it is for another name".to_owned(),
        Fault::Revoked => "it was revoked".to_owned(),
        Fault::BadSignature
        | Fault::UnsupportedSignatureAlgorithmContext { .. }
        | Fault::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its signature is not that of an authority that this machine knows".to_owned()
        }
        other if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is one for an authority, not for a server".to_owned()
        }
        other => other.to_string(),
    }
}

/// Returns whether the same request may succeed later.
pub fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}
