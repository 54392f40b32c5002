use proptest::prelude::*;

use super::*;

const ONE: RegistryKey = RegistryKey([1; 32]);
const TWO: RegistryKey = RegistryKey([2; 32]);
const THREE: RegistryKey = RegistryKey([3; 32]);

/// Stands in for signing: a digest of the key and the text.
fn sign(key: &RegistryKey, text: &str) -> KeySignature {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(Digest::of(format!("{key}{text}").as_bytes()).as_bytes());
    KeySignature(bytes)
}

fn verify(key: &RegistryKey, text: &[u8], signature: &KeySignature) -> bool {
    sign(key, std::str::from_utf8(text).unwrap()) == *signature
}

fn rotation(from: &RegistryKey, to: RegistryKey) -> Rotation {
    Rotation { from: *from, to, signature: sign(from, &rotation_text(&to)) }
}

fn snapshot(key: RegistryKey, version: u64, rotations: &[Rotation]) -> SignedSnapshot {
    let files = BTreeMap::from([("2/os".to_owned(), Digest::of(&version.to_le_bytes()))]);
    let snapshot = Snapshot { version, ..Snapshot::next(None, files, 0, 1000) };
    let signed = serde_json::to_string(&snapshot).unwrap();
    let signature = sign(&key, &signed);
    SignedSnapshot { signed, key, signature, rotations: rotations.to_vec() }
}

fn judge(
    signed: &SignedSnapshot,
    pinned: Option<RegistryKey>,
    known: Option<&KnownSnapshot>,
) -> Result<KnownSnapshot, SnapshotError> {
    signed.judge(pinned, known, 999, &verify).map(|(_, known)| known)
}

#[test]
fn the_first_key_counts_until_it_is_followed_by_another() {
    let first = judge(&snapshot(ONE, 3, &[]), None, None).unwrap();
    assert_eq!((first.key, first.version), (ONE, 3));
    assert!(judge(&snapshot(ONE, 4, &[]), None, Some(&first)).is_ok());
    let other = judge(&snapshot(TWO, 4, &[]), None, Some(&first)).unwrap_err();
    assert_eq!(other, SnapshotError::OtherKey { expected: ONE, found: TWO });
    let chain = [rotation(&ONE, TWO), rotation(&TWO, THREE)];
    let second = judge(&snapshot(THREE, 4, &chain), None, Some(&first)).unwrap();
    assert_eq!(second.key, THREE);
    // The key before has been given up.
    let back = judge(&snapshot(ONE, 5, &chain), None, Some(&second)).unwrap_err();
    assert_eq!(back, SnapshotError::OtherKey { expected: THREE, found: ONE });
}

#[test]
fn a_pinned_key_counts_from_the_beginning() {
    assert!(judge(&snapshot(ONE, 1, &[]), Some(ONE), None).is_ok());
    assert!(matches!(judge(&snapshot(TWO, 1, &[]), Some(ONE), None), Err(SnapshotError::OtherKey { .. })));
    let known = judge(&snapshot(TWO, 1, &[rotation(&ONE, TWO)]), Some(ONE), None).unwrap();
    assert_eq!((known.pinned, known.key), (Some(ONE), TWO));
    // A project that pins another key begins again.
    assert!(judge(&snapshot(THREE, 1, &[]), Some(THREE), Some(&known)).is_ok());
    assert!(matches!(
        judge(&snapshot(THREE, 1, &[]), None, Some(&known)),
        Err(SnapshotError::OtherKey { .. })
    ));
    let forged = Rotation { from: ONE, to: TWO, signature: sign(&TWO, &rotation_text(&TWO)) };
    let error = judge(&snapshot(TWO, 1, &[forged]), Some(ONE), None).unwrap_err();
    assert_eq!(error, SnapshotError::BadRotation { from: ONE, to: TWO });
    let circle = [rotation(&ONE, TWO), rotation(&TWO, ONE)];
    assert!(matches!(
        judge(&snapshot(THREE, 1, &circle), Some(ONE), None),
        Err(SnapshotError::OtherKey { .. })
    ));
}

#[test]
fn each_attack_has_its_own_message() {
    let good = snapshot(ONE, 7, &[]);
    let known = judge(&good, None, None).unwrap();
    let altered = SignedSnapshot { signed: good.signed.replace("2/os", "2/ro"), ..good.clone() };
    assert_eq!(judge(&altered, None, Some(&known)), Err(SnapshotError::BadSignature(ONE)));
    let older = judge(&snapshot(ONE, 6, &[]), None, Some(&known)).unwrap_err();
    assert_eq!(older, SnapshotError::RolledBack { known: 7, found: 6 });
    let mut other = snapshot(ONE, 7, &[]);
    other.signed = other.signed.replace("2/os", "2/ro");
    other.signature = sign(&ONE, &other.signed);
    assert_eq!(judge(&other, None, Some(&known)), Err(SnapshotError::Forked(7)));
    let frozen = good.judge(None, Some(&known), 1000, &verify).unwrap_err();
    assert_eq!(frozen, SnapshotError::Expired(1000));
    assert!(frozen.to_string().contains("1970-01-01T00:16:40Z"), "{frozen}");
    let mut newer = good.clone();
    newer.signed = newer.signed.replace("\"v\":1", "\"v\":2");
    newer.signature = sign(&ONE, &newer.signed);
    assert_eq!(judge(&newer, None, Some(&known)), Err(SnapshotError::NewerSchema(2)));
    assert!(matches!(SignedSnapshot::parse(b"{}"), Err(SnapshotError::Unreadable(_))));
    let text = good.to_text();
    assert_eq!(SignedSnapshot::parse(text.as_bytes()), Ok(good));
}

#[test]
fn keys_are_written_as_they_are_read() {
    let text = format!("ed25519:{}", "0a".repeat(32));
    assert_eq!(text.parse::<RegistryKey>().unwrap().to_string(), text);
    for bad in ["", "ed25519:", "0a", &text[..70], &format!("{text}0"), &text.replace('a', "ä")] {
        assert!(bad.parse::<RegistryKey>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_text_ends_in_a_panic(text in "\\PC{0,80}") {
        let _ = text.parse::<RegistryKey>();
        let _ = SignedSnapshot::parse(text.as_bytes());
    }
}
