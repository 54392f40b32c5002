//! Looks at every file of a root file system, as the engine exports it, and of the initramfs in it.

use std::collections::BTreeMap;
use std::io::Read;

use pib::engine::{ConnectOptions, Engine};
use pib_plan::id::Digest;

use crate::world::docker;

/// What is at a path; times are left out, since they are clamped when an image is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Item {
    kind: u8,
    mode: u32,
    owner: (u64, u64),
    link: Option<String>,
    attributes: BTreeMap<String, Vec<u8>>,
    contents: Digest,
    size: u64,
}

/// The beginning of a file, which tells what it is, and the whole of an initramfs.
type Visit<'a> = &'a mut dyn FnMut(&str, &[u8]);

/// Exports the newest container image of a project and returns all that is in it.
pub(crate) fn items(project: &str, visit: Visit<'_>) -> BTreeMap<String, Item> {
    let tag = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", &format!("pib/{project}")]);
    let tag = tag.lines().next().unwrap_or_else(|| panic!("there is no container image of {project}"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tree = runtime.block_on(async {
        let engine = Engine::connect(&ConnectOptions::default()).await.unwrap();
        engine.export(tag).await.unwrap()
    });
    let mut items = BTreeMap::new();
    let mut archive = tar::Archive::new(tree);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().trim_end_matches('/').to_owned();
        let attributes = entry.pax_extensions().unwrap().into_iter().flatten().map(Result::unwrap);
        let attributes = attributes
            .filter(|pair| pair.key().is_ok_and(|key| key.starts_with("SCHILY.xattr.")))
            .map(|pair| (pair.key().unwrap().to_owned(), pair.value_bytes().to_vec()))
            .collect();
        let header = entry.header().clone();
        let link = entry.link_name().unwrap().map(|link| link.display().to_string());
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).unwrap();
        visit(&path, &contents);
        let item = Item {
            kind: header.entry_type().as_byte(),
            mode: header.mode().unwrap(),
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            link,
            attributes,
            contents: Digest::of(&contents),
            size: contents.len() as u64,
        };
        items.insert(path, item);
    }
    assert!(items.len() > 1000, "that is no root file system: {} files", items.len());
    items
}

/// Compares two root file systems, each with what it is called; returns the paths at which they differ, and how.
pub(crate) fn differences(
    (one, first): (&str, &BTreeMap<String, Item>),
    (other, second): (&str, &BTreeMap<String, Item>),
) -> BTreeMap<String, String> {
    let differing = first.keys().chain(second.keys()).filter(|path| first.get(*path) != second.get(*path));
    let told = differing.map(|path| {
        let how = format!("  {one}: {:?}\n  {other}: {:?}", first.get(path), second.get(path));
        (path.clone(), how)
    });
    told.collect()
}

/// Returns differences for people.
pub(crate) fn shown(differences: &BTreeMap<String, String>) -> String {
    differences.iter().map(|(path, how)| format!("/{path}\n{how}\n")).collect()
}

/// Reads the header of every program, library and initramfs member, and finds none for this machine.
pub(crate) fn no_program_of_this_machine(project: &str) {
    let (mut programs, mut packed) = (0, 0);
    let items = items(project, &mut |path, contents| {
        programs += usize::from(check(path, contents));
        if path.starts_with("boot/initrd.img-") {
            for (name, member) in initramfs(contents) {
                packed += usize::from(check(&format!("{path}: {name}"), &member));
            }
        }
    });
    assert!(programs > 100, "only {programs} programs and libraries");
    assert!(packed > 20, "only {packed} programs and modules in the initramfs");
    for trace in [".pib", "usr/lib/x86_64-linux-gnu", "lib64"] {
        assert!(!items.contains_key(trace), "/{trace} is there");
    }
}

/// Returns whether the file is an ELF file, which must not be of this machine.
pub(crate) fn check(path: &str, contents: &[u8]) -> bool {
    const X86_64: u8 = 62; // EM_X86_64
    let elf = contents.starts_with(b"\x7fELF") && contents.len() > 20;
    assert!(!(elf && contents[18] == X86_64 && contents[19] == 0), "/{path} is a program of this machine");
    elf
}

/// Returns the members of an initramfs: archives one after the other, of which the last may be compressed with zstd.
fn initramfs(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut members = Vec::new();
    loop {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        bytes = &bytes[start..];
        if bytes.starts_with(b"\x28\xb5\x2f\xfd") {
            let plain = zstd::decode_all(bytes).unwrap();
            members.extend(initramfs(&plain));
            return members;
        }
        if !bytes.starts_with(b"070701") {
            assert!(bytes.is_empty(), "what is this in the initramfs? {:?}", &bytes[..bytes.len().min(8)]);
            return members;
        }
        // The fields of the `newc` format are eight hexadecimal digits each.
        let field = |number: usize| {
            let text = std::str::from_utf8(&bytes[6 + 8 * number..14 + 8 * number]).unwrap();
            usize::from_str_radix(text, 16).unwrap()
        };
        let (size, name_size) = (field(6), field(11));
        let name = String::from_utf8_lossy(&bytes[110..110 + name_size - 1]).into_owned();
        let data = (110 + name_size).next_multiple_of(4);
        members.push((name, bytes[data..data + size].to_vec()));
        bytes = &bytes[(data + size).next_multiple_of(4).min(bytes.len())..];
    }
}
