//! Names, digests and architectures: small types that are valid by construction.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The stage that every build starts with, unless the project replaces it.
pub const INIT: &str = "__init__";
/// The stage that every build ends with, unless the project replaces it.
pub const CLEANUP: &str = "__cleanup__";
/// The longest name that a stage or a project may have, in bytes.
pub const MAX_NAME: usize = 64;

/// A valid stage name: `[a-z][a-z0-9-]*`, at most [`MAX_NAME`] bytes, or `__init__` or `__cleanup__`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageName(String);

/// Says why a text is not a stage name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid name: {reason}")]
pub struct NameError {
    /// The text that was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl StageName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks the rules of stage names without the two reserved ones; projects follow the same rules.
///
/// # Errors
/// When the text is empty, too long, or has a character outside `[a-z0-9-]`, or starts with no letter.
pub fn check_name(text: &str) -> Result<(), NameError> {
    let fail = |reason| Err(NameError { text: text.chars().take(80).collect(), reason });
    if text.is_empty() {
        return fail("it is empty");
    }
    if text.len() > MAX_NAME {
        return fail("it is longer than 64 characters");
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return fail("it must start with a small letter, a-z");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return fail("only a-z, 0-9 and `-` are allowed");
    }
    Ok(())
}

impl FromStr for StageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text != INIT && text != CLEANUP {
            check_name(text)?;
        }
        Ok(Self(text.to_owned()))
    }
}

/// A SHA-256 digest, written `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// Says that a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest: expected `sha256:` and 64 lower-case hex digits")]
pub struct DigestError(pub String);

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Wraps the 32 bytes of a finished SHA-256.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 hex digits without the prefix, e.g. for file names.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let fail = || DigestError(text.chars().take(100).collect());
        let hex = text.strip_prefix("sha256:").ok_or_else(fail)?.as_bytes();
        if hex.len() != 64 {
            return Err(fail());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let (high, low) = (hex_value(pair[0]), hex_value(pair[1]));
            *byte = high.zip(low).map(|(h, l)| h << 4 | l).ok_or_else(fail)?;
        }
        Ok(Self(bytes))
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Accumulates a digest over labelled fields, so that no two different field lists share an input.
///
/// Every field is written as its length and its bytes; a key made this way does not depend on how a
/// serialisation library happens to print.
#[derive(Clone)]
pub struct KeyHasher(Sha256);

impl KeyHasher {
    /// Starts a key of the kind `domain`; kinds never collide.
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.field(domain.as_bytes());
        hasher
    }

    /// Adds one field.
    pub fn field(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Returns the digest of all fields so far.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// The processor architecture that an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// 64-bit ARMv8, Debian's `arm64`.
    Arm64,
    /// 32-bit ARMv7 with hardware floating point, Debian's `armhf`.
    Armv7,
    /// 32-bit ARMv6 with hardware floating point: Pi 1 and Zero.
    Armv6,
}

impl Arch {
    /// Every architecture, in the order in which messages list them.
    pub const ALL: [Arch; 3] = [Arch::Arm64, Arch::Armv7, Arch::Armv6];

    /// Returns pib's own name, as in `pib.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::Armv7 => "armv7",
            Self::Armv6 => "armv6",
        }
    }

    /// Returns the container platform, e.g. `linux/arm/v7` (OCI image specification).
    pub fn platform(self) -> &'static str {
        match self {
            Self::Arm64 => "linux/arm64",
            Self::Armv7 => "linux/arm/v7",
            Self::Armv6 => "linux/arm/v6",
        }
    }

    /// Returns Debian's name; Debian has no ARMv6 port with hardware floating point.
    pub fn debian(self) -> Option<&'static str> {
        match self {
            Self::Arm64 => Some("arm64"),
            Self::Armv7 => Some("armhf"),
            Self::Armv6 => None,
        }
    }
}

/// Says that a text names no architecture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an architecture: expected arm64, armv7 or armv6")]
pub struct ArchError(pub String);

impl FromStr for Arch {
    type Err = ArchError;

    fn from_str(text: &str) -> Result<Self, ArchError> {
        Self::ALL
            .into_iter()
            .find(|arch| arch.as_str() == text)
            .ok_or_else(|| ArchError(text.chars().take(80).collect()))
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Gives a type that reads and prints as text the same form in serde.
macro_rules! serde_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(StageName, Digest, Arch);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for good in ["a", "os", "read-only", "k8s", INIT, CLEANUP, &"a".repeat(64)] {
            assert!(good.parse::<StageName>().is_ok(), "{good}");
        }
        for bad in ["", "A", "1a", "-a", "a_b", "a/b", "..", "é", "__other__", &"a".repeat(65)] {
            assert!(bad.parse::<StageName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_round_trip_and_refuse_other_spellings() {
        let digest = Digest::of(b"");
        assert_eq!(
            digest.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!(digest.hex().parse::<Digest>().is_err());
        assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
        assert!("sha256:".parse::<Digest>().is_err());
    }

    #[test]
    fn key_fields_do_not_run_together() {
        let key = |fields: &[&str]| {
            let mut hasher = KeyHasher::new("test");
            for field in fields {
                hasher.field(field);
            }
            hasher.finish()
        };
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["a"]), key(&["a", ""]));
    }
}
