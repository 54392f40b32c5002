//! Opens files whose kind and size somebody else decides, and writes where somebody else may have put links: the one
//! door to them.
//!
//! A name in a project, a stage, a registry or a cache may lead to anything. Opening a named pipe waits for a writer
//! that never comes, and no signal ends that wait; a device gives bytes without end; a terminal becomes the process's
//! own. So a file is opened without waiting, is looked at before it is read, and is read up to a limit. What is written,
//! replaced and removed in a project is reached from the handle of a [`Folder`], and no link on the way is followed.

mod device;
mod folder;
mod identity;
mod link;
mod new;
pub mod sealed;
mod trace;

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

pub use device::{open_device, open_device_to_write};
pub use folder::{Entry, Folder, LEFTOVER};
pub use identity::{Identity, identity};
pub use link::LinkError;
pub use new::{NewFile, Output};
pub use rustix::fs::FileType as Kind;
pub use trace::trace;

/// Opens a regular file for reading, also through links to it.
///
/// # Errors
/// When it cannot be opened, or is no regular file.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    open_with(path.as_ref(), OFlags::empty())
}

/// Opens a regular file for reading; a link is refused.
///
/// # Errors
/// When it cannot be opened, or is no regular file.
pub fn open_no_link(path: impl AsRef<Path>) -> io::Result<File> {
    open_with(path.as_ref(), OFlags::NOFOLLOW)
}

fn open_with(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    match opened {
        Ok(file) => {
            let file = regular(file)?;
            trace::opened(path);
            Ok(file)
        }
        // What cannot be opened at all is told by what it is: of a socket the system says "no such device".
        Err(error) => Err(kind_of(path).map_or(error, |kind| not_regular(&kind))),
    }
}

/// Makes a folder that only the user can look into, with those that lead to it, where there is none.
///
/// # Errors
/// When it cannot be made.
pub fn make_private(path: impl AsRef<Path>) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file for reading and writing, e.g. as a lock, and makes it where there is none; a link is refused.
///
/// # Errors
/// When it cannot be opened or made, or is no regular file.
pub fn open_or_create(path: impl AsRef<Path>) -> io::Result<File> {
    create_with(path.as_ref(), OpenOptions::new().read(true).write(true).truncate(false))
}

/// Opens a file, to the end of which everything is written at once that processes write there, and makes it where there is
/// none; a link is refused.
///
/// # Errors
/// When it cannot be opened or made, or is no regular file.
pub fn open_to_append(path: impl AsRef<Path>) -> io::Result<File> {
    create_with(path.as_ref(), OpenOptions::new().read(true).append(true))
}

fn create_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    match options.create(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => regular(file),
        Err(error) => Err(kind_of(path).map_or(error, |kind| not_regular(&kind))),
    }
}

fn regular(file: File) -> io::Result<File> {
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok(file),
        false => Err(not_regular(&metadata)),
    }
}

/// Returns what is at `path`, where that is no regular file.
fn kind_of(path: &Path) -> Option<Metadata> {
    std::fs::metadata(path).ok().filter(|metadata| !metadata.is_file())
}

fn not_regular(metadata: &Metadata) -> io::Error {
    unexpected(Kind::from_raw_mode(metadata.mode()), Kind::RegularFile)
}

/// Returns the error for a file of another kind than the one that is wanted.
fn unexpected(kind: Kind, wanted: Kind) -> io::Error {
    let name = |kind| match kind {
        Kind::RegularFile => "a regular file",
        Kind::Directory => "a folder",
        Kind::Symlink => "a symbolic link",
        Kind::Fifo => "a named pipe",
        Kind::Socket => "a socket",
        Kind::CharacterDevice | Kind::BlockDevice => "a device",
        Kind::Unknown => "something else",
    };
    let message = format!("it is {}, not {}", name(kind), name(wanted));
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Returns the bytes of a regular file of at most `most` bytes.
///
/// # Errors
/// When it cannot be read, is no regular file, or is larger; then the kind is [`io::ErrorKind::FileTooLarge`].
pub fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    read_open(open(path)?, most)
}

/// Returns the text of a regular file of at most `most` bytes.
///
/// # Errors
/// As [`read`]; also when it is not UTF-8, with the kind [`io::ErrorKind::InvalidData`].
pub fn read_text(path: impl AsRef<Path>, most: u64) -> io::Result<String> {
    text_of(read(path, most)?)
}

/// Returns bytes as text.
///
/// # Errors
/// When they are not UTF-8, with the kind [`io::ErrorKind::InvalidData`].
pub fn text_of(bytes: Vec<u8>) -> io::Result<String> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(bytes).map_err(invalid)
}

/// Returns the SHA-256 of all that a reader gives, however much that is.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(mut reader: impl Read) -> io::Result<[u8; 32]> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Returns what is left of an open file, if that is at most `most` bytes.
///
/// # Errors
/// When it cannot be read, or is larger.
pub fn read_open(file: File, most: u64) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    if size > most {
        return Err(too_large(most));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // What the system said of the size is not always so: files of /proc have none.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(too_large(most)),
        false => Ok(bytes),
    }
}

fn too_large(most: u64) -> io::Error {
    let most = match most {
        ..1024 => format!("{most} bytes"),
        1024..1_048_576 => format!("{} KiB", most >> 10),
        _ => format!("{} MiB", most >> 20),
    };
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Fails where opening a path waits.
    fn at_once(path: &Path) -> io::Result<Vec<u8>> {
        let (sender, receiver) = mpsc::channel();
        let path = path.to_owned();
        std::thread::spawn(move || sender.send(read(path, 100)));
        receiver.recv_timeout(Duration::from_secs(60)).expect("it waits")
    }

    #[test]
    fn only_regular_files_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RWXU).unwrap();
        std::os::unix::fs::symlink("pipe", path("link-to-pipe")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        assert_eq!(at_once(&path("file")).unwrap(), b"text");
        assert_eq!(at_once(&path("link")).unwrap(), b"text");
        assert!(open_no_link(path("file")).is_ok() && open_no_link(path("link")).is_err());
        for (name, what) in [
            ("pipe", "a named pipe"),
            ("link-to-pipe", "a named pipe"),
            ("socket", "a socket"),
            (".", "a folder"),
            ("/dev/zero", "a device"),
        ] {
            let error = at_once(&path(name)).unwrap_err().to_string();
            assert_eq!(error, format!("it is {what}, not a regular file"), "{name}");
        }
        assert_eq!(at_once(&path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(open_or_create(path("lock")).is_ok() && open_or_create(path("lock")).is_ok());
        for bad in ["pipe", "link", "socket", "."] {
            assert!(open_or_create(path(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let error = read(&path, 2 << 20).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string()),
            (io::ErrorKind::FileTooLarge, "it is larger than 2 MiB".to_owned())
        );
        // Files whose size the system does not tell.
        assert!(!read("/proc/self/status", 1 << 20).unwrap().is_empty());
        assert_eq!(read("/proc/self/status", 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_text(&path, 10).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
