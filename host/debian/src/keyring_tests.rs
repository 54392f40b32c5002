use std::time::Duration;

use pgp::composed::{ArmorOptions, KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder};
use pgp::packet::{SignatureConfig, Subpacket, SubpacketData};
use pgp::types::{KeyDetails as _, Password, SigningKey, Timestamp};
use rand::rngs::OsRng;

use super::*;

const TEXT: &str = "Suite: stable\n- dash\nCodename: trixie\n";
const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// Makes a key with one signing subkey, both made 100 days before `NOW`.
fn key(primary_signs: bool) -> SignedSecretKey {
    key_of(KeyType::Ed25519Legacy, primary_signs)
}

fn key_of(kind: KeyType, primary_signs: bool) -> SignedSecretKey {
    let made = Timestamp::from_secs((NOW - 100 * DAY) as u32);
    let mut subkey = SubkeyParamsBuilder::default();
    subkey.key_type(KeyType::Ed25519Legacy).can_sign(true).created_at(made);
    let mut params = SecretKeyParamsBuilder::default();
    params.key_type(kind).can_certify(true).can_sign(primary_signs).created_at(made);
    params.primary_user_id("Test <test@example.org>".to_owned()).subkeys(vec![subkey.build().unwrap()]);
    params.build().unwrap().generate(OsRng).unwrap()
}

fn ring(keys: &[&SignedSecretKey]) -> Keyring {
    Keyring { keys: keys.iter().map(|key| SignedPublicKey::from((*key).clone())).collect() }
}

/// Signs `TEXT` at the time `at`, optionally for so many seconds only.
fn sign(key: &impl SigningKey, at: u64, lifetime: Option<u32>, hash: HashAlgorithm) -> String {
    let mut config = SignatureConfig::from_key(OsRng, key, SignatureType::Text).unwrap();
    config.hash_alg = hash;
    let mut data = vec![SubpacketData::SignatureCreationTime(Timestamp::from_secs(at as u32))];
    data.extend(
        lifetime.map(|time| SubpacketData::SignatureExpirationTime(pgp::types::Duration::from_secs(time))),
    );
    config.hashed_subpackets = data.into_iter().map(|data| Subpacket::regular(data).unwrap()).collect();
    let id = SubpacketData::IssuerKeyId(key.legacy_key_id());
    config.unhashed_subpackets = vec![Subpacket::regular(id).unwrap()];
    let message = CleartextSignedMessage::new(TEXT, config, key, &Password::empty()).unwrap();
    message.to_armored_string(ArmorOptions::default()).unwrap()
}

#[test]
fn a_good_signature_by_key_or_subkey_counts() {
    let key = key(true);
    let ring = ring(&[&key]);
    for message in [
        sign(&key.primary_key, NOW - 5, None, HashAlgorithm::Sha256),
        sign(&key.secret_subkeys[0].key, NOW - 5, None, HashAlgorithm::Sha512),
    ] {
        let fingerprint = format!("{:X}", key.primary_key.fingerprint());
        assert_eq!(fingerprint.len(), 40);
        assert_eq!(ring.verify(&message, now()), Ok((TEXT.to_owned(), fingerprint)));
    }
}

#[test]
fn a_changed_text_and_trailing_or_leading_text_are_refused() {
    let key = key(true);
    let good = sign(&key.primary_key, NOW - 5, None, HashAlgorithm::Sha256);
    let ring = ring(&[&key]);
    let problem = ring.verify(&good.replace("trixie", "trixia"), now()).unwrap_err();
    assert!(problem.contains("does not fit"), "{problem}");
    for bad in ["", "Suite: stable\n", &format!("{good}more"), &format!("Suite: x\n{good}")] {
        assert!(ring.verify(bad, now()).is_err(), "{bad}");
    }
}

#[test]
fn an_unknown_key_is_refused() {
    let (key, other) = (key(true), key(true));
    let message = sign(&other.primary_key, NOW - 5, None, HashAlgorithm::Sha256);
    let problem = ring(&[&key]).verify(&message, now()).unwrap_err();
    assert!(problem.contains("not one that pib knows"), "{problem}");
    assert!(ring(&[]).verify(&message, now()).is_err());
}

/// Signs bytes at a time, beside them.
fn sign_beside(key: &impl SigningKey, at: u64, bytes: &[u8]) -> Vec<u8> {
    let mut config = SignatureConfig::from_key(OsRng, key, SignatureType::Binary).unwrap();
    config.hash_alg = HashAlgorithm::Sha256;
    let time = SubpacketData::SignatureCreationTime(Timestamp::from_secs(at as u32));
    config.hashed_subpackets = vec![Subpacket::regular(time).unwrap()];
    let id = SubpacketData::IssuerKeyId(key.legacy_key_id());
    config.unhashed_subpackets = vec![Subpacket::regular(id).unwrap()];
    DetachedSignature::new(config.sign(key, &Password::empty(), bytes).unwrap()).to_bytes().unwrap()
}

#[test]
fn a_signature_beside_a_file_counts_by_the_same_rules() {
    let bytes = b"\x1f\x8b not a text \r\n";
    let (key, other) = (key(true), key(true));
    let ring = ring(&[&key]);
    let fingerprint = format!("{:X}", key.primary_key.fingerprint());
    let check = |signature: &[u8], bytes: &[u8]| ring.verify_detached(signature, &|| Ok(bytes), now());
    let good = sign_beside(&key.primary_key, NOW - 5, bytes);
    assert_eq!(check(&good, bytes), Ok((fingerprint.clone(), NOW - 5)));
    let by_subkey = sign_beside(&key.secret_subkeys[0].key, NOW - 7, bytes);
    assert_eq!(check(&by_subkey, bytes), Ok((fingerprint.clone(), NOW - 7)));
    // One of several is enough.
    let foreign = sign_beside(&other.primary_key, NOW - 5, bytes);
    assert_eq!(check(&[foreign.clone(), good.clone()].concat(), bytes), Ok((fingerprint, NOW - 5)));
    for (signature, bytes, problem) in [
        (&good, &bytes[1..], "does not fit it"),
        (&foreign, &bytes[..], "not one that pib knows"),
        (&sign_beside(&key.primary_key, NOW + 3 * DAY, bytes), &bytes[..], "in the future"),
        (&Vec::new(), &bytes[..], "signature"),
        (&b"nothing of the kind".to_vec(), &bytes[..], "signature"),
    ] {
        let found = check(signature, bytes).unwrap_err();
        assert!(found.contains(problem), "{problem}: {found}");
    }
    let unreadable = || Err::<&[u8], _>(std::io::Error::other("gone"));
    assert!(ring.verify_detached(&good, &unreadable, now()).unwrap_err().contains("gone"));
}

#[test]
fn wrong_times_and_weak_hashes_are_refused() {
    let key = key(true);
    // Keys on elliptic curves refuse to use a weak hash at all.
    let old = key_of(KeyType::Rsa(2048), true);
    let ring = ring(&[&key, &old]);
    let strong = HashAlgorithm::Sha256;
    for (message, expected) in [
        (sign(&key.primary_key, NOW + 3 * DAY, None, strong), "in the future"),
        (sign(&key.primary_key, NOW - 10, Some(5), strong), "has expired"),
        (sign(&key.primary_key, NOW - 200 * DAY, None, strong), "did not exist yet"),
        (sign(&old.primary_key, NOW - 5, None, HashAlgorithm::Sha224), "weak hash"),
    ] {
        let problem = ring.verify(&message, now()).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn a_key_that_may_not_sign_is_refused() {
    let key = key(false);
    let message = sign(&key.primary_key, NOW - 5, None, HashAlgorithm::Sha256);
    let problem = ring(&[&key]).verify(&message, now()).unwrap_err();
    assert!(problem.contains("not meant for signing"), "{problem}");
}

#[test]
fn an_expired_key_is_refused_unless_it_signed_before() {
    let key = key(true);
    let mut public = SignedPublicKey::from(key.clone());
    let user = public.details.users[0].clone();
    let mut config = SignatureConfig::from_key(OsRng, &key.primary_key, SignatureType::CertPositive).unwrap();
    let mut flags = pgp::packet::KeyFlags::default();
    flags.set_sign(true);
    config.hashed_subpackets = [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs((NOW - 50 * DAY) as u32)),
        SubpacketData::KeyExpirationTime(pgp::types::Duration::from_secs((60 * DAY) as u32)),
        SubpacketData::KeyFlags(flags),
        SubpacketData::IssuerFingerprint(key.primary_key.fingerprint()),
    ]
    .into_iter()
    .map(|data| Subpacket::regular(data).unwrap())
    .collect();
    let shorter = config
        .sign_certification(
            &key.primary_key,
            key.primary_key.public_key(),
            &Password::empty(),
            Tag::UserId,
            &user.id,
        )
        .unwrap();
    public.details.users[0].signatures = vec![shorter];
    let ring = Keyring { keys: vec![public] };
    let before = sign(&key.primary_key, NOW - 60 * DAY, None, HashAlgorithm::Sha256);
    assert!(ring.verify(&before, now()).is_ok());
    let after = sign(&key.primary_key, NOW - 5, None, HashAlgorithm::Sha256);
    let problem = ring.verify(&after, now()).unwrap_err();
    assert!(problem.contains("had expired"), "{problem}");
}

#[test]
fn a_revoked_key_is_refused() {
    let key = key(true);
    let mut public = SignedPublicKey::from(key.clone());
    let mut config =
        SignatureConfig::from_key(OsRng, &key.primary_key, SignatureType::KeyRevocation).unwrap();
    config.hashed_subpackets = [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs((NOW - DAY) as u32)),
        SubpacketData::IssuerFingerprint(key.primary_key.fingerprint()),
    ]
    .into_iter()
    .map(|data| Subpacket::regular(data).unwrap())
    .collect();
    let revocation =
        config.sign_key(&key.primary_key, &Password::empty(), key.primary_key.public_key()).unwrap();
    public.details.revocation_signatures.push(revocation);
    let message = sign(&key.primary_key, NOW - 5, None, HashAlgorithm::Sha256);
    let problem = Keyring { keys: vec![public] }.verify(&message, now()).unwrap_err();
    assert!(problem.contains("was revoked"), "{problem}");
}

#[test]
fn debians_keys_are_all_readable_and_vouch_for_themselves() {
    let ring = Keyring::debian().unwrap();
    assert_eq!(ring.keys.len(), 9);
    for key in &ring.keys {
        assert!(newest_self_signature(key).is_some(), "{:?}", key.fingerprint());
    }
}
