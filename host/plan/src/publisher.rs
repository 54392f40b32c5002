//! The signature of a stage's publisher over what they publish. It holds whatever the registry does, as long as readers know the key.

use std::fmt;
use std::str::FromStr;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::id::{Digest, StageName};
use crate::registry_snapshot::{KeySignature, RegistryKey};

/// A publisher's key, and what they have signed with it. Written as a text, it is the key, a colon, and the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublisherSignature {
    /// The public key.
    pub key: RegistryKey,
    /// The signature of [`signed_text`].
    pub signature: KeySignature,
}

/// Says that a text is no publisher's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a key and a signature: ed25519:KEY:SIGNATURE")]
pub struct PublisherError;

/// Returns the text that a publisher signs: which version of which stage has which content.
pub fn signed_text(name: &StageName, version: &Version, content: &Digest) -> String {
    format!("pib stage 1\n{name}\n{version}\n{content}\n")
}

impl fmt::Display for PublisherSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.key, String::from(self.signature))
    }
}

impl FromStr for PublisherSignature {
    type Err = PublisherError;

    fn from_str(text: &str) -> Result<Self, PublisherError> {
        let (key, signature) = text.rsplit_once(':').ok_or(PublisherError)?;
        let key = key.parse().map_err(|_| PublisherError)?;
        let signature = KeySignature::try_from(signature.to_owned()).map_err(|_| PublisherError)?;
        Ok(Self { key, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_read_as_it_is_written() {
        let signature = PublisherSignature { key: RegistryKey([7; 32]), signature: KeySignature([9; 64]) };
        let text = signature.to_string();
        assert_eq!(text.parse(), Ok(signature));
        for wrong in ["", "ed25519:07", &text[1..], &text[..text.len() - 1], &text.replace("07", "xx")] {
            assert_eq!(wrong.parse::<PublisherSignature>(), Err(PublisherError), "{wrong}");
        }
    }

    #[test]
    fn what_is_signed_is_one_version_of_one_stage() {
        let text = |name: &str, version: &str| {
            signed_text(&name.parse().unwrap(), &version.parse().unwrap(), &Digest::of(b""))
        };
        assert_ne!(text("camera", "1.0.0"), text("camera", "1.0.1"));
        assert_ne!(text("camera", "1.0.0"), text("camera", "1.0.0+debian"));
        assert_eq!(text("camera", "1.0.0").lines().count(), 4);
    }
}
