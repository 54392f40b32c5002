use proptest::prelude::*;
use tar::{Builder, Header};

use super::*;

/// An entry: its path, its content, and perhaps an attribute.
type Entry = (String, Vec<u8>, Option<(&'static str, &'static [u8])>);

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_mtime(7);
    header.set_uid(1);
    header.set_gid(2);
    header.set_size(size);
    header
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, content, attribute) in entries {
        if let Some((name, value)) = attribute {
            builder.append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), *value)]).unwrap();
        }
        let kind = if path.ends_with('/') { EntryType::Directory } else { EntryType::Regular };
        builder.append_data(&mut header(kind, content.len() as u64), path, &content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn file(path: &str, content: &[u8]) -> Entry {
    (path.to_owned(), content.to_vec(), None)
}

/// Packs archives one after the other; returns what became of each, with its compressed pack.
fn packed(archives: &[Vec<u8>]) -> Vec<(Packed, Vec<u8>)> {
    let mut known = KnownRecords::default();
    let pack = |(number, archive): (usize, &Vec<u8>)| {
        let (spool, mut output) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let number = u16::try_from(number).unwrap();
        let packed = pack(&archive[..], (&mut known, number), ".pib", spool, &output).unwrap();
        let mut bytes = Vec::new();
        output.rewind().unwrap();
        output.read_to_end(&mut bytes).unwrap();
        assert_eq!((packed.pack, packed.compressed), (Digest::of(&bytes), bytes.len() as u64));
        (packed, bytes)
    };
    archives.iter().enumerate().map(pack).collect()
}

fn opened(packs: &[(Packed, Vec<u8>)]) -> Vec<OpenedPack> {
    let open = |(packed, bytes): &(Packed, Vec<u8>)| {
        OpenedPack::open(&bytes[..], packed.length, tempfile::tempfile().unwrap()).unwrap()
    };
    packs.iter().map(open).collect()
}

fn joined(packs: &[(Packed, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut output = tempfile::tempfile()?;
    let joined = join(&opened(packs), 1 << 30, &output)?;
    let mut bytes = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut bytes)?;
    assert_eq!((joined.size, joined.digest), (bytes.len() as u64, Digest::of(&bytes)));
    Ok(bytes)
}

#[test]
fn archives_come_back_byte_for_byte_and_share_what_they_have_in_common() {
    let large: Vec<u8> = (0..6_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let long = "d/".repeat(120);
    let first = archive(&[
        file("./", b""),
        file("a", b"one"),
        ("b".to_owned(), large.clone(), Some(("user.x", b"\n1 y=\0"))),
        file(&format!("{long}f"), b"deep"),
    ]);
    let second = archive(&[
        file("./", b""),
        file("a", b"two"),
        ("b".to_owned(), large.clone(), Some(("user.x", b"\n1 y=\0"))),
        file("c", &large[4..]),
    ]);
    let packs = packed(&[first.clone(), second.clone(), first.clone()]);
    for (count, archive) in [(1, &first), (2, &second), (3, &first)] {
        assert_eq!(joined(&packs[..count]).unwrap(), *archive);
        assert_eq!(packs[count - 1].0.digest, Digest::of(archive));
        assert_eq!(packs[count - 1].0.size, archive.len() as u64);
    }
    // The large file stands in the first pack alone, and the third has nothing of its own but ranges.
    assert!(packs[1].0.length < large.len() as u64 + 4096 && packs[2].0.length < 512);
}

#[test]
fn what_was_put_together_is_known_again() {
    let first = archive(&[file("a", b"one"), file("b", &[1; 100_000])]);
    let second = archive(&[file("a", b"two"), file("b", &[1; 100_000])]);
    let third = archive(&[file("a", b"one"), file("b", &[1; 100_000]), file("c", b"")]);
    let packs = packed(&[first, second.clone()]);
    let packs = opened(&packs);
    let mut output = tempfile::tempfile().unwrap();
    output.write_all(&second).unwrap();
    let mut known = KnownRecords::of(&packs, &output).unwrap();
    let (spool, written) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let packed = pack(&third[..], (&mut known, 2), "", spool, &written).unwrap();
    // Of the first archive, only what the second has, too, is known.
    assert_eq!(packed.length, 1024 + 512 + 3 * RANGE as u64 + 8);
}

#[test]
fn the_place_of_pibs_own_mount_is_left_out() {
    let whole = archive(&[file("./", b""), file("./.pib/", b""), file(".pib.conf", b"x")]);
    let without = archive(&[file("./", b""), file(".pib.conf", b"x")]);
    assert_eq!(joined(&packed(&[whole])).unwrap(), without);
}

#[test]
fn hard_links_to_files_with_capabilities_are_told() {
    let mut builder = Builder::new(Vec::new());
    builder.append_pax_extensions([("SCHILY.xattr.security.capability", &b"cap"[..])]).unwrap();
    builder.append_data(&mut header(EntryType::Regular, 0), "./bin/ping", &b""[..]).unwrap();
    let plain = builder.get_ref().clone();
    builder.append_link(&mut header(EntryType::Link, 0), "bin/ping4", "bin/ping").unwrap();
    let linked = builder.into_inner().unwrap();
    assert_eq!(packed(&[linked])[0].0.fragile.as_deref(), Some("/bin/ping4"));
    let plain = [plain, END.to_vec()].concat();
    assert_eq!(packed(&[plain])[0].0.fragile, None);
}

#[test]
fn packs_that_do_not_fit_together_are_refused() {
    let archives = [archive(&[file("a", &[7; 9000])]), archive(&[file("a", &[7; 9000]), file("b", b"x")])];
    let packs = packed(&archives);
    assert!(joined(&packs[1..]).is_err());
    let output = tempfile::tempfile().unwrap();
    assert!(join(&opened(&packs), 9000, &output).is_err());
    assert!(join(&[], 9000, &output).is_err());
    let (packed, bytes) = &packs[0];
    let open = |bytes: &[u8], length| OpenedPack::open(bytes, length, tempfile::tempfile().unwrap());
    assert!(open(bytes, packed.length - 1).is_err() && open(bytes, packed.length + 1).is_err());
    assert!(open(&bytes[..bytes.len() - 1], packed.length).is_err() && open(b"x", 1).is_err());
    // A pack without a list of ranges.
    for raw in [&b""[..], &[0xff; 8], &[0xff; 64], &[1, 2, 3]] {
        let compressed = zstd::encode_all(raw, 1).unwrap();
        let pack = open(&compressed, raw.len() as u64).unwrap();
        assert!(join(&[pack], 9000, &output).is_err(), "{raw:?}");
    }
}

#[test]
fn streams_that_are_no_tar_or_end_early_are_refused() {
    let whole = archive(&[file("a", b"one")]);
    let mut changed = whole.clone();
    changed[0] = b'b';
    for bad in [&whole[..512], &whole[..1024], &whole[..700], &changed, &[7; 4096], b""] {
        let (spool, output) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        assert!(pack(bad, (&mut KnownRecords::default(), 0), "", spool, &output).is_err());
    }
}

proptest! {
    #[test]
    fn any_archives_come_back(
        lists in proptest::collection::vec(
            proptest::collection::vec(("[a-c]{1,3}", proptest::collection::vec(0_u8..2, 0..600)), 0..6), 1..5),
    ) {
        let archives: Vec<Vec<u8>> = lists
            .iter()
            .map(|list| archive(&list.iter().map(|(path, content)| file(path, content)).collect::<Vec<_>>()))
            .collect();
        let packs = packed(&archives);
        for count in 1..=packs.len() {
            prop_assert_eq!(&joined(&packs[..count]).unwrap(), &archives[count - 1]);
        }
    }
}
