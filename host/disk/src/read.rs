//! Reads the tar stream: names and attributes into the tree, contents into the spool.

use std::fs::File;
use std::io::{self, Read, Write};

use tar::EntryType;

use pib_event::{Reporter, ReporterExt as _};

use crate::error::DiskError;
use crate::pax::{self, Meta};
use crate::tree::{Content, Kind, Node, Tree};

/// The id of the step in the events of this crate. The caller starts the step before, and finishes it after.
pub const STEP: &str = "image";

/// The longest path, as Linux has it.
const MAX_PATH: usize = 4096;
/// The most entries that are read: a full desktop system has a third of a million.
const MAX_ENTRIES: usize = 5_000_000;
/// How often progress is told, in bytes.
const TICK: u64 = 16 << 20;

/// Reads the whole stream.
///
/// # Errors
/// When the stream breaks, is no tar, or has an entry that no image can have.
pub(crate) fn read(stream: impl Read, spool: &File, reporter: &dyn Reporter) -> Result<Tree, DiskError> {
    let mut tree = Tree::new();
    let mut spool = Spool { file: io::BufWriter::with_capacity(1 << 20, spool), size: 0 };
    let mut told = 0;
    // The tar's reader knows IO errors only; what else is wrong is kept here, and stops it by an error of its own.
    let mut refused = None;
    let outcome = pax::for_each(stream, |meta, data| {
        let added = add(&mut tree, meta, data, &mut spool);
        if spool.size >= told + TICK {
            told = spool.size;
            reporter.progress(STEP, told, None);
        }
        added.map_err(|error| {
            refused = Some(error);
            io::Error::other("an entry was refused")
        })
    });
    match (refused, outcome) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(DiskError::Stream(error)),
        (None, Ok(())) => {
            spool.file.flush().map_err(spool_error)?;
            Ok(tree)
        }
    }
}

struct Spool<'a> {
    file: io::BufWriter<&'a File>,
    size: u64,
}

fn spool_error(source: io::Error) -> DiskError {
    DiskError::io("write", std::path::Path::new("the spool beside the image"))(source)
}

fn add(tree: &mut Tree, meta: Meta, data: &mut dyn Read, spool: &mut Spool<'_>) -> Result<(), DiskError> {
    let path = clean(&meta.path)?;
    let refuse = |reason: String| DiskError::Entry { path: path.clone(), reason };
    if tree.len() > MAX_ENTRIES {
        return Err(refuse(format!("and more than {MAX_ENTRIES} other entries")));
    }
    let (major, minor) = meta.device;
    let kind = match meta.kind {
        EntryType::Directory => Kind::Folder,
        EntryType::Regular | EntryType::Continuous => Kind::File(store(meta.size, data, spool)?),
        EntryType::Symlink => Kind::Symlink(target(&meta, &path)?),
        EntryType::Link => {
            let target = clean(target(&meta, &path)?.as_bytes())?;
            if !tree.link(&path, &target) {
                return Err(refuse(format!("a hard link to `{target}`, which is no file before it")));
            }
            return Ok(());
        }
        EntryType::Char => Kind::CharDevice { major, minor },
        EntryType::Block => Kind::BlockDevice { major, minor },
        EntryType::Fifo => Kind::Fifo,
        other => {
            return Err(refuse(format!("an entry of the unknown type {:?}", char::from(other.as_byte()))));
        }
    };
    if path.is_empty() && kind != Kind::Folder {
        return Err(refuse("an entry without a name".to_owned()));
    }
    let number =
        |id: u64| u32::try_from(id).map_err(|_| refuse(format!("whose owner {id} is no number of Linux's")));
    let node = Node {
        kind,
        mode: u16::try_from(meta.mode & 0o7777).unwrap_or(0),
        uid: number(meta.uid)?,
        gid: number(meta.gid)?,
        mtime: meta.mtime,
        xattrs: meta.xattrs,
    };
    tree.put(&path, node);
    Ok(())
}

fn store(size: u64, data: &mut dyn Read, spool: &mut Spool<'_>) -> Result<Content, DiskError> {
    let offset = spool.size;
    let mut buffer = [0; 1 << 16];
    let mut left = size;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(buffer.len()).min(buffer.len());
        let read = data.read(&mut buffer[..want]).map_err(DiskError::Stream)?;
        if read == 0 {
            return Err(DiskError::Stream(io::ErrorKind::UnexpectedEof.into()));
        }
        spool.file.write_all(&buffer[..read]).map_err(spool_error)?;
        left -= read as u64;
    }
    spool.size += size;
    Ok(Content::Spool { offset, size })
}

fn target(meta: &Meta, path: &str) -> Result<String, DiskError> {
    let refuse = |reason: &str| DiskError::Entry { path: path.to_owned(), reason: reason.to_owned() };
    let bytes = meta.link.as_deref().ok_or_else(|| refuse("a link to nothing"))?;
    if bytes.len() >= MAX_PATH {
        return Err(refuse("a link whose target is longer than 4095 bytes"));
    }
    String::from_utf8(bytes.to_owned()).map_err(|_| {
        let path = path.as_bytes().to_owned();
        DiskError::Name { path, what: "target as a link", stage: None }
    })
}

/// Returns a path without `.` pieces and slashes at its ends.
fn clean(bytes: &[u8]) -> Result<String, DiskError> {
    let lossy = || String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let refuse = |reason: &str| Err(DiskError::Entry { path: lossy(), reason: reason.to_owned() });
    let Ok(text) = std::str::from_utf8(bytes) else {
        let path = bytes.strip_prefix(b"./").unwrap_or(bytes).to_owned();
        return Err(DiskError::Name { path, what: "name", stage: None });
    };
    if text.len() > MAX_PATH {
        return refuse("whose name is longer than 4096 bytes");
    }
    let mut path = String::with_capacity(text.len());
    for piece in text.split('/').filter(|piece| !piece.is_empty() && *piece != ".") {
        if piece == ".." {
            return refuse("whose name leads out of it");
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(piece);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pib_event::Silent;

    fn tar(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        builder.into_inner().unwrap()
    }

    fn header(kind: EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o4755);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(9);
        header.set_size(size);
        header
    }

    fn read_all(bytes: &[u8]) -> Result<Tree, DiskError> {
        read(bytes, &tempfile::tempfile().unwrap(), &Silent)
    }

    #[test]
    fn attributes_arrive() {
        let bytes = tar(|builder| {
            builder
                .append_pax_extensions([("SCHILY.xattr.user.a", &b"x\0\ny"[..]), ("uid", b"3000000")])
                .unwrap();
            builder.append_data(&mut header(EntryType::Regular, 2), "./a/b", &b"hi"[..]).unwrap();
            builder.append_link(&mut header(EntryType::Symlink, 0), "l", "/a/b").unwrap();
            builder.append_link(&mut header(EntryType::Link, 0), "h", "a/b").unwrap();
        });
        let tree = read_all(&bytes).unwrap();
        let node = tree.get("a/b").unwrap();
        assert_eq!((node.mode, node.uid, node.gid, node.mtime), (0o4755, 3_000_000, 8, 9));
        assert_eq!(node.xattrs["user.a"], b"x\0\ny");
        assert_eq!(tree.get("h"), Some(node));
        assert_eq!(tree.get("l").unwrap().kind, Kind::Symlink("/a/b".to_owned()));
        assert_eq!(tree.get("a").unwrap().kind, Kind::Folder);
    }

    #[test]
    fn hostile_and_broken_streams_are_refused() {
        let traversal = tar(|builder| {
            let mut header = header(EntryType::Regular, 0);
            header.as_mut_bytes()[..4].copy_from_slice(b"../x");
            header.set_cksum();
            builder.append(&header, io::empty()).unwrap();
        });
        assert!(read_all(&traversal).unwrap_err().to_string().contains("leads out"));
        let name = tar(|builder| {
            builder.append_pax_extensions([("path", &b"./srv/caf\xe9\x1b"[..])]).unwrap();
            builder.append_data(&mut header(EntryType::Regular, 0), "x", io::empty()).unwrap();
        });
        let error = read_all(&name).unwrap_err();
        assert!(matches!(&error, DiskError::Name { path, .. } if path == b"srv/caf\xe9\x1b"), "{error:?}");
        assert!(error.to_string().contains("`srv/caf\\xe9\u{fffd}`"), "{error}");
        let dangling = tar(|builder| {
            builder.append_link(&mut header(EntryType::Link, 0), "h", "missing").unwrap();
        });
        assert!(read_all(&dangling).unwrap_err().to_string().contains("missing"));
        let whole = tar(|builder| {
            builder.append_data(&mut header(EntryType::Regular, 4000), "f", &[7; 4000][..]).unwrap();
        });
        assert!(matches!(read_all(&whole[..2000]), Err(DiskError::Stream(_))));
        assert!(matches!(read_all(&[1; 1024]), Err(DiskError::Stream(_))));
    }
}
