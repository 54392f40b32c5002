//! Verifies a file, clear-signed or with a signature beside it, against keys: Debian's, which ship with pib, or those with given
//! fingerprints.
//!
//! A signature counts when it is cryptographically good, uses a strong hash, was made by a key of the ring (or
//! by a signing subkey that the key vouches for) which was neither expired when it signed nor ever revoked, and
//! has not expired itself. One such signature is enough: Debian signs each release with the keys of two
//! generations, and an older ring knows only one of them.

use std::time::{SystemTime, UNIX_EPOCH};

use std::io::Read;

use pgp::composed::{
    CleartextSignedMessage, Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, Tag};

/// Debian's archive keys, as the package `debian-archive-keyring` publishes them: bullseye to trixie.
const DEBIAN: &str = include_str!("keys/debian-archive-keyring.asc");
/// The most signatures of one file that are looked at.
const MAX_SIGNATURES: usize = 16;
/// How far a signer's clock may be ahead of the host's, in seconds.
const CLOCK_TOLERANCE: u64 = 24 * 3600;

/// A set of keys that may sign an archive.
#[derive(Debug)]
pub(super) struct Keyring {
    keys: Vec<SignedPublicKey>,
}

impl Keyring {
    /// Returns Debian's own keys.
    ///
    /// # Errors
    /// When the built-in key material is damaged.
    pub(super) fn debian() -> Result<Self, String> {
        Self::parse(DEBIAN)
    }

    /// Reads one armoured block of keys.
    ///
    /// # Errors
    /// When the text is no such block.
    pub(super) fn parse(armoured: &str) -> Result<Self, String> {
        let fail = |error: pgp::errors::Error| format!("the keyring cannot be read: {error}");
        let (keys, _headers) = SignedPublicKey::from_string_many(armoured).map_err(fail)?;
        Ok(Self { keys: keys.collect::<Result<_, _>>().map_err(fail)? })
    }

    /// Reads a file of keys, armoured or not, and takes those with one of the fingerprints (in capital hexadecimal digits).
    /// Returns them also in their binary form.
    ///
    /// # Errors
    /// When the file holds no keys, or none of these; the text says what was found.
    pub(super) fn of_file(bytes: &[u8], fingerprints: &[String]) -> Result<(Self, Vec<u8>), String> {
        let all = match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text)?.keys,
            Err(_) => {
                let keys = SignedPublicKey::from_bytes_many(bytes).and_then(Iterator::collect);
                keys.map_err(|error: pgp::errors::Error| format!("the keyring cannot be read: {error}"))?
            }
        };
        let fingerprint = |key: &SignedPublicKey| format!("{:X}", key.primary_key.fingerprint());
        let found: Vec<String> = all.iter().map(fingerprint).collect();
        let keys: Vec<SignedPublicKey> =
            all.into_iter().filter(|key| fingerprints.contains(&fingerprint(key))).collect();
        if keys.is_empty() {
            let found = if found.is_empty() { "no key".to_owned() } else { found.join(", ") };
            return Err(format!("expected {}, found {found}", fingerprints.join(" or ")));
        }
        let mut binary = Vec::new();
        for key in &keys {
            key.to_writer(&mut binary).map_err(|error| format!("a key cannot be written: {error}"))?;
        }
        Ok((Self { keys }, binary))
    }

    /// Returns the signed text of `message`, with `\n` line ends, and the fingerprint of the key that signed it.
    ///
    /// # Errors
    /// When no signature counts; the text says what was found.
    pub(super) fn verify(&self, message: &str, now: SystemTime) -> Result<(String, String), String> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (message, _headers) = CleartextSignedMessage::from_string(message)
            .map_err(|error| format!("it is no clear-signed text ({error})"))?;
        let text = message.signed_text();
        let signatures: Vec<&Signature> = message.signatures().iter().collect();
        let (key, _) = self.first_good(&signatures, &|| Ok(text.as_bytes()), now)?;
        Ok((text.replace("\r\n", "\n"), key))
    }

    /// Verifies a file by the signatures of another one, armoured or not; returns the fingerprint of the key that signed it, and
    /// when that was, in seconds since 1970. `open` opens the file at its start, for each key that may have signed it.
    ///
    /// # Errors
    /// When no signature counts; the text says what was found.
    pub(super) fn verify_detached<R: Read>(
        &self,
        signatures: &[u8],
        open: &dyn Fn() -> std::io::Result<R>,
        now: SystemTime,
    ) -> Result<(String, u64), String> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let fail = |error: pgp::errors::Error| format!("its signature cannot be read ({error})");
        let read = DetachedSignature::from_reader_many(signatures).map_err(fail)?.0;
        let list: Vec<DetachedSignature> =
            read.take(MAX_SIGNATURES).collect::<Result<_, _>>().map_err(fail)?;
        let signatures: Vec<&Signature> = list.iter().map(|own| &own.signature).collect();
        self.first_good(&signatures, open, now)
    }

    /// Returns who made the first signature that counts, and when.
    fn first_good<R: Read>(
        &self,
        signatures: &[&Signature],
        open: &dyn Fn() -> std::io::Result<R>,
        now: u64,
    ) -> Result<(String, u64), String> {
        let mut problems = Vec::new();
        for signature in signatures {
            match self.judge(signature, open, now) {
                Ok(key) => return Ok((key, created(signature).unwrap_or(0))),
                Err(problem) => problems.push(problem),
            }
        }
        match problems.is_empty() {
            true => Err("it has no signature".to_owned()),
            false => Err(problems.join("; ")),
        }
    }

    /// Returns the fingerprint of the ring's key that made the signature, in capital hexadecimal digits; that of the primary
    /// key, also where a subkey signed.
    fn judge<R: Read>(
        &self,
        signature: &Signature,
        open: &dyn Fn() -> std::io::Result<R>,
        now: u64,
    ) -> Result<String, String> {
        let issuer = issuer(signature);
        let created = created(signature).ok_or_else(|| format!("the signature by {issuer} has no date"))?;
        if !signature.hash_alg().is_some_and(is_strong) {
            return Err(format!("the signature by {issuer} uses a weak hash"));
        }
        if created > now.saturating_add(CLOCK_TOLERANCE) {
            return Err(format!("the signature by {issuer} was made in the future; check this host's clock"));
        }
        let lifetime = signature.signature_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
        if lifetime != 0 && created + lifetime < now {
            return Err(format!("the signature by {issuer} has expired"));
        }
        let mut known = false;
        for key in &self.keys {
            let matched = matches(key, signature, open);
            let (is_known, verified) = matched.map_err(|error| format!("it cannot be read ({error})"))?;
            known |= is_known;
            if let Some(signer) = verified {
                signer.usable_at(key, created).map_err(|why| format!("the key {issuer} {why}"))?;
                return Ok(format!("{:X}", key.primary_key.fingerprint()));
            }
        }
        match known {
            true => Err(format!("the signature by {issuer} does not fit it")),
            false => Err(format!("the key {issuer} is not one that pib knows")),
        }
    }
}

/// The key that made a signature: a primary key or one of its subkeys.
enum Signer<'a> {
    Primary,
    Subkey(&'a SignedPublicSubKey),
}

/// Returns whether `key` may have made `signature`, and which of its keys did.
///
/// What was signed may be large, so it is read for those keys alone that the signature may be of.
fn matches<'a, R: Read>(
    key: &'a SignedPublicKey,
    signature: &Signature,
    open: &dyn Fn() -> std::io::Result<R>,
) -> std::io::Result<(bool, Option<Signer<'a>>)> {
    let issuers = signature.issuer_key_id();
    let named = |id: &pgp::types::KeyId| issuers.contains(&id);
    let may_be_of = |id: &pgp::types::KeyId| issuers.is_empty() || named(id);
    let mut known = named(&key.primary_key.legacy_key_id());
    if may_be_of(&key.primary_key.legacy_key_id()) && signature.verify(&key.primary_key, open()?).is_ok() {
        return Ok((true, Some(Signer::Primary)));
    }
    for subkey in &key.public_subkeys {
        let id = subkey.key.legacy_key_id();
        known |= named(&id);
        if may_be_of(&id) && signature.verify(&subkey.key, open()?).is_ok() {
            return Ok((true, Some(Signer::Subkey(subkey))));
        }
    }
    Ok((known, None))
}

impl Signer<'_> {
    /// Checks that the signer, which belongs to `key`, could sign at the given time.
    fn usable_at(&self, key: &SignedPublicKey, time: u64) -> Result<(), &'static str> {
        let primary = &key.primary_key;
        if key.details.revocation_signatures.iter().any(|sig| sig.verify_key(primary).is_ok()) {
            return Err("was revoked");
        }
        let own = newest_self_signature(key).ok_or("has no valid signature of its own")?;
        within_lifetime(seconds(primary.created_at()), own, time)?;
        match self {
            Self::Primary if own.key_flags().sign() => Ok(()),
            Self::Primary => Err("is not meant for signing"),
            Self::Subkey(subkey) => subkey_usable_at(key, subkey, time),
        }
    }
}

fn subkey_usable_at(
    key: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    time: u64,
) -> Result<(), &'static str> {
    let primary = &key.primary_key;
    let vouched = |sig: &&Signature| sig.verify_subkey_binding(primary, &subkey.key).is_ok();
    let is = |kind| move |sig: &&Signature| sig.typ() == Some(kind);
    if subkey.signatures.iter().filter(is(SignatureType::SubkeyRevocation)).any(|sig| vouched(&sig)) {
        return Err("was revoked");
    }
    let bindings = subkey.signatures.iter().filter(is(SignatureType::SubkeyBinding)).filter(vouched);
    let binding =
        bindings.max_by_key(|sig| created(sig)).ok_or("has no valid signature of its primary key")?;
    within_lifetime(seconds(subkey.key.created_at()), binding, time)?;
    // A signing subkey must itself agree to belong to the key, or anyone could adopt it.
    let agreed = binding.embedded_signature();
    let agrees = agreed.is_some_and(|sig| sig.verify_primary_key_binding(&subkey.key, primary).is_ok());
    match binding.key_flags().sign() && agrees {
        true => Ok(()),
        false => Err("is not meant for signing"),
    }
}

/// Returns the newest good signature by which a key describes itself.
fn newest_self_signature(key: &SignedPublicKey) -> Option<&Signature> {
    let primary = &key.primary_key;
    let direct = key.details.direct_signatures.iter().filter(|sig| sig.verify_key(primary).is_ok());
    let users = key.details.users.iter().flat_map(|user| {
        let certifies = |sig: &&Signature| {
            sig.typ() != Some(SignatureType::CertRevocation)
                && sig.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        };
        user.signatures.iter().filter(certifies)
    });
    users.chain(direct).max_by_key(|sig| created(sig))
}

fn within_lifetime(made: u64, description: &Signature, time: u64) -> Result<(), &'static str> {
    let lifetime = description.key_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
    match time {
        time if time < made => Err("did not exist yet when it signed"),
        time if lifetime != 0 && time > made + lifetime => Err("had expired when it signed"),
        _ => Ok(()),
    }
}

fn is_strong(hash: HashAlgorithm) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(hash, Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512)
}

fn created(signature: &Signature) -> Option<u64> {
    signature.created().map(seconds)
}

fn seconds(time: pgp::types::Timestamp) -> u64 {
    u64::from(time.as_secs())
}

fn issuer(signature: &Signature) -> String {
    match signature.issuer_key_id().first() {
        Some(id) => id.to_string().to_uppercase(),
        None => "an unnamed key".to_owned(),
    }
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
