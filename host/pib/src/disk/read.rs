//! Reads the tar stream: names and attributes into the tree, contents into the spool.

use std::fs::File;
use std::io::{self, Read, Write};

use tar::{Archive, Entry, EntryType};

use super::tree::{Content, Kind, Node, Tree};
use super::{DiskError, STEP};
use crate::event::{Reporter, ReporterExt as _};

/// How extended attributes are named in PAX headers, by GNU tar, libarchive and BuildKit alike.
const XATTR: &str = "SCHILY.xattr.";
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
pub(super) fn read(stream: impl Read, spool: &File, reporter: &dyn Reporter) -> Result<Tree, DiskError> {
    let mut archive = Archive::new(stream);
    let mut tree = Tree::new();
    let mut spool = Spool { file: io::BufWriter::with_capacity(1 << 20, spool), size: 0 };
    let mut told = 0;
    for entry in archive.entries().map_err(DiskError::Stream)? {
        let mut entry = entry.map_err(DiskError::Stream)?;
        add(&mut tree, &mut entry, &mut spool)?;
        if tree.len() > MAX_ENTRIES {
            let reason = format!("and more than {MAX_ENTRIES} other entries");
            return Err(DiskError::Entry {
                path: String::from_utf8_lossy(&entry.path_bytes()).into(),
                reason,
            });
        }
        if spool.size >= told + TICK {
            told = spool.size;
            reporter.progress(STEP, told, None);
        }
    }
    spool.file.flush().map_err(spool_error)?;
    Ok(tree)
}

struct Spool<'a> {
    file: io::BufWriter<&'a File>,
    size: u64,
}

fn spool_error(source: io::Error) -> DiskError {
    DiskError::io("write", std::path::Path::new("the spool beside the image"))(source)
}

fn add<R: Read>(tree: &mut Tree, entry: &mut Entry<'_, R>, spool: &mut Spool<'_>) -> Result<(), DiskError> {
    let path = clean(&entry.path_bytes())?;
    let kind = entry.header().entry_type();
    if matches!(kind, EntryType::XGlobalHeader) {
        return Ok(());
    }
    let refuse = |reason: String| DiskError::Entry { path: path.clone(), reason };
    let mut node = describe(entry)?;
    node.kind = match kind {
        EntryType::Directory => Kind::Folder,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File(store(entry, spool)?),
        EntryType::Symlink => Kind::Symlink(target(entry, &path)?),
        EntryType::Link => {
            let target = clean(target(entry, &path)?.as_bytes())?;
            if !tree.link(&path, &target) {
                return Err(refuse(format!("a hard link to `{target}`, which is no file before it")));
            }
            return Ok(());
        }
        EntryType::Char | EntryType::Block => {
            let number = |field: io::Result<Option<u32>>| {
                field.map_err(DiskError::Stream).map(Option::unwrap_or_default)
            };
            let major = number(entry.header().device_major())?;
            let minor = number(entry.header().device_minor())?;
            if kind == EntryType::Char {
                Kind::CharDevice { major, minor }
            } else {
                Kind::BlockDevice { major, minor }
            }
        }
        EntryType::Fifo => Kind::Fifo,
        other => {
            return Err(refuse(format!("an entry of the unknown type {:?}", char::from(other.as_byte()))));
        }
    };
    if path.is_empty() && node.kind != Kind::Folder {
        return Err(refuse("an entry without a name".to_owned()));
    }
    tree.put(&path, node);
    Ok(())
}

/// Returns a node with the entry's owner, mode, time and attributes; its kind is filled in later.
fn describe<R: Read>(entry: &mut Entry<'_, R>) -> Result<Node, DiskError> {
    let header = entry.header();
    let mode = header.mode().map_err(DiskError::Stream)? & 0o7777;
    let mut node = Node::new(Kind::Fifo, u16::try_from(mode).unwrap_or(0));
    let id =
        |id: io::Result<u64>| id.map(|id| u32::try_from(id).unwrap_or(u32::MAX)).map_err(DiskError::Stream);
    node.uid = id(header.uid())?;
    node.gid = id(header.gid())?;
    node.mtime = header.mtime().map_err(DiskError::Stream)?;
    let Some(extensions) = entry.pax_extensions().map_err(DiskError::Stream)? else { return Ok(node) };
    for extension in extensions {
        let extension = extension.map_err(DiskError::Stream)?;
        let Ok(key) = extension.key() else { continue };
        let value = extension.value_bytes();
        let number =
            || std::str::from_utf8(value).ok().and_then(|text| text.split('.').next()?.parse::<u64>().ok());
        match key {
            "uid" => node.uid = number().and_then(|id| u32::try_from(id).ok()).unwrap_or(node.uid),
            "gid" => node.gid = number().and_then(|id| u32::try_from(id).ok()).unwrap_or(node.gid),
            "mtime" => node.mtime = number().unwrap_or(node.mtime),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    node.xattrs.insert(name.to_owned(), value.to_vec());
                }
            }
        }
    }
    Ok(node)
}

fn store<R: Read>(entry: &mut Entry<'_, R>, spool: &mut Spool<'_>) -> Result<Content, DiskError> {
    let (offset, size) = (spool.size, entry.size());
    let mut buffer = [0; 1 << 16];
    let mut left = size;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(buffer.len()).min(buffer.len());
        let read = entry.read(&mut buffer[..want]).map_err(DiskError::Stream)?;
        if read == 0 {
            return Err(DiskError::Stream(io::ErrorKind::UnexpectedEof.into()));
        }
        spool.file.write_all(&buffer[..read]).map_err(spool_error)?;
        left -= read as u64;
    }
    spool.size += size;
    Ok(Content::Spool { offset, size })
}

fn target<R: Read>(entry: &Entry<'_, R>, path: &str) -> Result<String, DiskError> {
    let refuse = |reason: &str| DiskError::Entry { path: path.to_owned(), reason: reason.to_owned() };
    let bytes = entry.link_name_bytes().ok_or_else(|| refuse("a link to nothing"))?;
    if bytes.len() >= MAX_PATH {
        return Err(refuse("a link whose target is longer than 4095 bytes"));
    }
    String::from_utf8(bytes.into_owned()).map_err(|_| refuse("a link whose target is not UTF-8"))
}

/// Returns a path without `.` pieces and slashes at its ends.
fn clean(bytes: &[u8]) -> Result<String, DiskError> {
    let lossy = || String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let refuse = |reason: &str| Err(DiskError::Entry { path: lossy(), reason: reason.to_owned() });
    let Ok(text) = std::str::from_utf8(bytes) else {
        return refuse("whose name is not UTF-8");
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
    use crate::event::Silent;

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
                .append_pax_extensions([("SCHILY.xattr.user.a", &b"x\0y"[..]), ("uid", b"3000000")])
                .unwrap();
            builder.append_data(&mut header(EntryType::Regular, 2), "./a/b", &b"hi"[..]).unwrap();
            builder.append_link(&mut header(EntryType::Symlink, 0), "l", "/a/b").unwrap();
            builder.append_link(&mut header(EntryType::Link, 0), "h", "a/b").unwrap();
        });
        let tree = read_all(&bytes).unwrap();
        let node = tree.get("a/b").unwrap();
        assert_eq!((node.mode, node.uid, node.gid, node.mtime), (0o4755, 3_000_000, 8, 9));
        assert_eq!(node.xattrs["user.a"], b"x\0y");
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
