//! Tells what a file is that was given as the tarball of a base and is none, and how to make one of it.

/// How many bytes of a file [`identify`] looks at.
pub(super) const LOOKED_AT: usize = 40 << 10;

/// What pib takes.
pub(super) const TAKEN: &str = "a tar of a root file system, plain or compressed with gzip, xz or zstd";

/// How a tar is made of a folder that holds a root file system.
const PACK: &str = "pack the root file system with `tar --numeric-owner --xattrs -C FOLDER -cf base.tar .`";

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// What it is called: `a zip archive`.
    pub name: &'static str,
    /// What to do with it.
    pub remedy: &'static str,
}

/// Bytes at a place of a file by which its kind is known.
type Mark = (usize, &'static [u8]);

/// A folder in the place of a file.
pub(super) const FOLDER: Kind = Kind { name: "a folder", remedy: PACK };
/// A device, pipe or socket in the place of a file.
pub(super) const SPECIAL: Kind = Kind { name: "a device, a pipe or a socket", remedy: PACK };

const DISK: &str = "attach it (`sudo losetup --find --show --partscan IMAGE`), mount its root partition, and pack that with \
                    `sudo tar --numeric-owner --xattrs -C MOUNTED -cf base.tar .`";
const FILE_SYSTEM: &str =
    "mount it, and pack what it holds with `sudo tar --numeric-owner --xattrs -C MOUNTED -cf base.tar .`";
const UNPACK: &str = "unpack it, and pack the root file system with `sudo tar --numeric-owner --xattrs -C FOLDER -cf base.tar .`";
const VIRTUAL: &str = "convert it with `qemu-img convert -O raw IMAGE base.img`, attach that (`sudo losetup --find --show \
                       --partscan base.img`), mount its root partition, and pack that with `sudo tar --numeric-owner \
                       --xattrs -C MOUNTED -cf base.tar .`";
const PAGE: &str =
    "the address or the login to the server is probably wrong: see what `curl -L ADDRESS` gives";

/// The kinds that are known by a mark; the first that fits counts.
const KINDS: [(Mark, Kind); 22] = [
    (
        (0, b"BZh"),
        Kind {
            name: "compressed with bzip2",
            remedy: "compress it again: `bzcat FILE | zstd -o base.tar.zst`",
        },
    ),
    ((0, b"PK\x03\x04"), Kind { name: "a zip archive", remedy: UNPACK }),
    ((0, b"7z\xbc\xaf\x27\x1c"), Kind { name: "a 7z archive", remedy: UNPACK }),
    ((0, b"Rar!"), Kind { name: "a rar archive", remedy: UNPACK }),
    (
        (0, b"LZIP"),
        Kind {
            name: "compressed with lzip",
            remedy: "compress it again: `lzip -dc FILE | zstd -o base.tar.zst`",
        },
    ),
    (
        (0, b"\x04\x22\x4d\x18"),
        Kind {
            name: "compressed with lz4",
            remedy: "compress it again: `lz4 -dc FILE | zstd -o base.tar.zst`",
        },
    ),
    (
        (0, b"\x89LZO"),
        Kind {
            name: "compressed with lzop",
            remedy: "compress it again: `lzop -dc FILE | zstd -o base.tar.zst`",
        },
    ),
    (
        (0, b"\x5d\x00\x00"),
        Kind {
            name: "compressed with lzma",
            remedy: "compress it again: `xz --format=lzma -dc FILE | zstd -o base.tar.zst`",
        },
    ),
    (
        (0, b"\x1f\x9d"),
        Kind {
            name: "compressed with compress",
            remedy: "compress it again: `zcat FILE | zstd -o base.tar.zst`",
        },
    ),
    ((0, b"!<arch>\n"), Kind { name: "a Debian package or another `ar` archive", remedy: PACK }),
    ((0, b"\xed\xab\xee\xdb"), Kind { name: "an rpm package", remedy: PACK }),
    (
        (0, b"hsqs"),
        Kind {
            name: "a squashfs file system",
            remedy: "unpack it with `sudo unsquashfs FILE`, and pack what it holds with `sudo tar --numeric-owner --xattrs -C squashfs-root -cf base.tar .`",
        },
    ),
    ((0, b"07070"), Kind { name: "a cpio archive", remedy: UNPACK }),
    ((0, b"\x7fELF"), Kind { name: "a program", remedy: PACK }),
    ((0, b"QFI\xfb"), Kind { name: "a qcow2 disk image", remedy: VIRTUAL }),
    ((0, b"KDMV"), Kind { name: "a VMDK disk image", remedy: VIRTUAL }),
    ((0, b"vhdxfile"), Kind { name: "a VHDX disk image", remedy: VIRTUAL }),
    (
        (0, b"\x3a\xff\x26\xed"),
        Kind {
            name: "a sparse Android disk image",
            remedy: "make it a plain one with `simg2img FILE base.img`; then mount its root partition and pack that with tar",
        },
    ),
    ((32769, b"CD001"), Kind { name: "an ISO 9660 image", remedy: FILE_SYSTEM }),
    ((512, b"EFI PART"), Kind { name: "a disk image", remedy: DISK }),
    ((1080, b"\x53\xef"), Kind { name: "an ext2, ext3 or ext4 file system", remedy: FILE_SYSTEM }),
    ((510, b"\x55\xaa"), Kind { name: "a disk image", remedy: DISK }),
];

/// Returns what the file is that begins with these bytes, where it is something that is known not to be a tar.
pub(super) fn identify(start: &[u8]) -> Option<Kind> {
    if start.is_empty() {
        return Some(Kind { name: "empty", remedy: PACK });
    }
    if is_tar(start) {
        return None;
    }
    let is_there = |(at, mark): &Mark| start.get(*at..at + mark.len()) == Some(*mark);
    let known = KINDS.iter().find(|(mark, _)| is_there(mark)).map(|(_, kind)| *kind);
    Some(known.or_else(|| of_text(start)).unwrap_or(Kind {
        name: "not a tar, and nothing else that pib knows, such as a disk image",
        remedy: PACK,
    }))
}

/// Returns whether a tar may begin with these bytes: by the checksum of its first header, or as the end of an empty one.
fn is_tar(start: &[u8]) -> bool {
    let Some(header) = start.get(..512) else { return false };
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    let text = std::str::from_utf8(&header[148..156]).unwrap_or_default();
    let told = u32::from_str_radix(text.trim_matches(|c: char| c == '\0' || c == ' '), 8);
    told == Ok(sum)
}

fn of_text(start: &[u8]) -> Option<Kind> {
    let start = &start[..start.len().min(1024)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The last letter may be cut off.
        Err(error) if error.valid_up_to() + 4 > start.len() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let text = text.trim_start_matches('\u{feff}').trim_start().to_lowercase();
    if text.starts_with("<!doctype html") || text.starts_with("<html") || text.contains("<body") {
        return Some(Kind { name: "an HTML page", remedy: PAGE });
    }
    if text.starts_with("version https://git-lfs") {
        return Some(Kind {
            name: "a pointer of git LFS, not the file itself",
            remedy: "fetch the file with `git lfs pull`",
        });
    }
    Some(Kind { name: "a text file", remedy: PACK })
}

/// Returns what a tar holds, by the names at its top, where that is known to be no root file system.
pub(super) fn of_contents(top: &[String]) -> Option<Kind> {
    let has = |name: &str| top.iter().any(|own| own == name);
    let is_system = ["usr", "bin", "etc", "sbin", "lib"].iter().any(|name| has(name));
    let saved = has("manifest.json") || has("oci-layout");
    (saved && !is_system).then_some(Kind {
        name: "a saved container image",
        remedy: "export its file system instead: `docker export $(docker create --platform linux/arm64 IMAGE none) > base.tar`, \
                 or name it with `image = \"NAME@sha256:...\"`",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(start: &[u8]) -> Option<&'static str> {
        identify(start).map(|kind| kind.name)
    }

    fn at(mark: Mark) -> Vec<u8> {
        let mut bytes = vec![0xee; LOOKED_AT];
        bytes[mark.0..mark.0 + mark.1.len()].copy_from_slice(mark.1);
        bytes
    }

    #[test]
    fn every_kind_is_known_by_its_mark() {
        for (mark, kind) in &KINDS {
            assert_eq!(identify(&at(*mark)), Some(*kind), "{}", kind.name);
            assert!(mark.0 + mark.1.len() <= LOOKED_AT);
        }
    }

    #[test]
    fn texts_and_what_nobody_knows_are_told() {
        assert_eq!(name(b""), Some("empty"));
        assert_eq!(name(b"\n <!DOCTYPE html>\n<html>"), Some("an HTML page"));
        assert_eq!(name("<HTML lang=\"de\">\u{fc}".as_bytes()), Some("an HTML page"));
        assert_eq!(
            name(b"version https://git-lfs.github.com/spec/v1\noid"),
            Some("a pointer of git LFS, not the file itself")
        );
        assert_eq!(name(b"404: Not Found"), Some("a text file"));
        assert!(name(&[0x99; 5000]).unwrap().contains("not a tar"));
        assert!(name(&[0; 5000]).unwrap().contains("not a tar"));
    }

    #[test]
    fn a_tar_is_none_of_these() {
        for header in [tar::Header::new_gnu(), tar::Header::new_ustar(), tar::Header::new_old()] {
            let mut header = header;
            // A name that looks like a zip archive's beginning is a name.
            header.set_path("BZh").unwrap();
            header.set_size(0);
            header.set_cksum();
            assert_eq!(identify(header.as_bytes()), None);
        }
    }

    #[test]
    fn a_saved_container_image_is_told_from_a_system() {
        let top = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(of_contents(&top(&["blobs", "oci-layout", "index.json"])).is_some());
        assert!(of_contents(&top(&["abc", "manifest.json", "repositories"])).is_some());
        assert_eq!(of_contents(&top(&["etc", "manifest.json", "usr"])), None);
        assert_eq!(of_contents(&top(&["data"])), None);
    }
}
