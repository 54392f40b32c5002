//! The root file system that the tests start from: a static busybox, and files with everything that a file
//! can have.

#![allow(clippy::unwrap_used, clippy::panic)] // Test helpers outside test functions.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pib_debian::HostApt;
use pib_plan::id::Digest;

/// Returns the root file system that the tests start from: made once, kept in the target folder.
pub(super) fn base_tar() -> &'static Path {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-base-2.tar");
        if !path.exists() {
            let busybox = std::thread::spawn(busybox).join().unwrap();
            let mut file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            file.write_all(&rootfs(&busybox)).unwrap();
            file.persist(&path).unwrap();
        }
        path
    })
}

/// Returns the digest of [`base_tar`].
pub(super) fn base_digest() -> Digest {
    static DIGEST: OnceLock<Digest> = OnceLock::new();
    *DIGEST.get_or_init(|| Digest::of(&std::fs::read(base_tar()).unwrap()))
}

/// Fetches a static busybox for arm64 from the host's Debian mirror.
fn busybox() -> Vec<u8> {
    let mirror = HostApt::read(Path::new("/")).main;
    let mirror = mirror.map_or("http://deb.debian.org/debian".to_owned(), |url| url.to_string());
    let mirror = mirror.trim_end_matches('/');
    let index = get(&format!("{mirror}/dists/stable/main/binary-arm64/Packages.xz"));
    let mut text = String::new();
    liblzma::read::XzDecoder::new(&index[..]).read_to_string(&mut text).unwrap();
    let entry = text.split("\n\n").find(|entry| entry.starts_with("Package: busybox-static\n")).unwrap();
    let path = entry.lines().find_map(|line| line.strip_prefix("Filename: ")).unwrap();
    let deb = get(&format!("{mirror}/{path}"));
    let data = ar_member(&deb, "data.tar.xz");
    let mut archive = tar::Archive::new(liblzma::read::XzDecoder::new(data));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().ends_with("bin/busybox") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            return bytes;
        }
    }
    panic!("no busybox in {path}");
}

fn get(url: &str) -> Vec<u8> {
    _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let response = reqwest::get(url).await.unwrap().error_for_status().unwrap();
        response.bytes().await.unwrap().to_vec()
    })
}

fn ar_member<'a>(archive: &'a [u8], name: &str) -> &'a [u8] {
    let mut rest = archive.strip_prefix(b"!<arch>\n").unwrap();
    while rest.len() > 60 {
        let field = |range: std::ops::Range<usize>| std::str::from_utf8(&rest[range]).unwrap().trim();
        let size: usize = field(48..58).parse().unwrap();
        if field(0..16).trim_end_matches('/') == name {
            return &rest[60..60 + size];
        }
        rest = &rest[(60 + size.next_multiple_of(2)).min(rest.len())..];
    }
    panic!("no {name} in the package");
}

/// A capability set as the kernel keeps it: version 2, effective, CAP_NET_RAW.
pub(super) const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An access list as the kernel keeps it: owner rw, user 1234 r, group r, mask r, others nothing.
pub(super) fn access_list() -> Vec<u8> {
    let entries =
        [(1_u16, 6_u16, u32::MAX), (2, 4, 1234), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permission, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permission.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn rootfs(busybox: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind: tar::EntryType, mode: u32, size: usize| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header
    };
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp", "special"] {
        tar.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), folder, &b""[..]).unwrap();
    }
    tar.append_data(&mut header(tar::EntryType::Regular, 0o755, busybox.len()), "bin/busybox", busybox)
        .unwrap();
    for tool in
        ["sh", "sleep", "echo", "cat", "seq", "ln", "chmod", "yes", "head", "test", "mkdir", "printf", "dd"]
    {
        tar.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), format!("bin/{tool}"), "busybox")
            .unwrap();
    }
    let mut plain = |name: &str, mode: u32, records: &[(&str, &[u8])]| {
        if !records.is_empty() {
            tar.append_pax_extensions(records.iter().copied()).unwrap();
        }
        tar.append_data(&mut header(tar::EntryType::Regular, mode, 5), name, &b"hello"[..]).unwrap();
    };
    plain("special/setuid", 0o4755, &[]);
    plain("special/user", 0o644, &[("SCHILY.xattr.user.pib", b"value")]);
    plain("special/capability", 0o755, &[("SCHILY.xattr.security.capability", &CAPABILITY)]);
    plain("special/list", 0o640, &[("SCHILY.xattr.system.posix_acl_access", &access_list())]);
    let mut link = header(tar::EntryType::Link, 0o4755, 0);
    tar.append_link(&mut link, "special/hardlink", "special/setuid").unwrap();
    tar.into_inner().unwrap()
}
