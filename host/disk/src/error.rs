//! What can go wrong on the way from a tar stream to an image.

use std::io;
use std::path::{Path, PathBuf};

use pib_plan::layout::LayoutError;
use pib_plan::size::{ByteSize, rounded};

/// Says why there is no image.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum DiskError {
    /// The layout is wrong.
    #[error(transparent)]
    #[diagnostic(code(pib::disk::layout))]
    #[diagnostic(help("Mend the [[image.partition]] tables in pib.toml."))]
    Layout(#[from] LayoutError),
    /// The partitions are larger than the card that is laid out.
    #[error("the partitions need {}, and the card has {}", rounded(*needed), rounded(*size))]
    #[diagnostic(code(pib::disk::small_card))]
    #[diagnostic(help(
        "Take a larger card, or give the partitions smaller sizes in [[image.partition]] of pib.toml."
    ))]
    SmallCard {
        /// What they need in bytes.
        needed: u64,
        /// The card's size in bytes.
        size: u64,
    },
    /// A partition's content does not fit into its fixed size.
    #[error(
        "the partition {label} has {} and its file system needs {} for its content", ByteSize(*size), ByteSize(*needed)
    )]
    #[diagnostic(code(pib::disk::too_small))]
    #[diagnostic(help("Give it a larger `size` in [[image.partition]], or `size = \"auto\"`."))]
    TooSmall {
        /// The partition.
        label: String,
        /// The size it was given, in bytes.
        size: u64,
        /// The least that will do.
        needed: u64,
    },
    /// The stream is no tar, or ends early.
    #[error("could not read the root file system that the engine exported")]
    #[diagnostic(code(pib::disk::stream))]
    #[diagnostic(help("See whether the engine still runs and has disk space, then build again."))]
    Stream(#[source] io::Error),
    /// An entry cannot be in any image.
    #[error("the root file system has `{path}`, {reason}")]
    #[diagnostic(code(pib::disk::entry))]
    Entry {
        /// The entry's path.
        path: String,
        /// Why it cannot be.
        reason: String,
    },
    /// A name is not UTF-8.
    #[error(
        "the root file system has `{}`{}, whose {what} is not UTF-8",
        escaped(path),
        stage.as_ref().map(|stage| format!(", made by stage `{stage}`")).unwrap_or_default()
    )]
    #[diagnostic(code(pib::disk::name))]
    #[diagnostic(help(
        "An image takes names in UTF-8 only. Rename the file in the part that makes it, or have it unpacked with the \
         right character set, e.g. `unzip -O CP437` or `convmv -f latin1 -t utf8 --notest -r FOLDER`."
    ))]
    Name {
        /// The path within the root file system, as it is.
        path: Vec<u8>,
        /// What is not: the name, or a link's target.
        what: &'static str,
        /// The stage that made it, where that is known.
        stage: Option<String>,
    },
    /// An entry cannot be on the partition that its folder is mounted from.
    #[error("`{path}` cannot be on the {filesystem} partition {label}: {reason}")]
    #[diagnostic(code(pib::disk::misplaced))]
    Misplaced {
        /// The entry's path within the partition.
        path: String,
        /// The partition.
        label: String,
        /// Its file system.
        filesystem: &'static str,
        /// Why it cannot be.
        reason: String,
    },
    /// A partition cannot be mounted where the layout has it.
    #[error("the partition {label} cannot be mounted on `{mount}`: in the root file system `{path}` is {is}")]
    #[diagnostic(code(pib::disk::mount_point))]
    #[diagnostic(help("Mount it on the folder itself, by `mount` in its [[image.partition]]."))]
    MountPoint {
        /// The partition.
        label: String,
        /// Where it is to be mounted.
        mount: String,
        /// What is in the way.
        path: String,
        /// What that is.
        is: &'static str,
    },
    /// The image's own files name partitions that it does not have.
    #[error("the image would not find its partitions:\n  - {}\nIt has {}", mismatches.join("\n  - "), partitions.join(", "))]
    #[diagnostic(code(pib::disk::mounts))]
    #[diagnostic(help(
        "The stage that writes the file must use the layout's names: its stage.toml has `uses = [\"fstab\", \"root-device\"]`, \
         its part writes $FSTAB and $ROOT_DEVICE. The bundled stage `os` does so from version 1.1.0 (`pib update os`). \
         With older stages, give the partitions in [[image.partition]] the labels that are expected. A root on another \
         disk needs `foreign-root = true` in [image]."
    ))]
    Mounts {
        /// What does not fit, a sentence each.
        mismatches: Vec<String>,
        /// The partitions that there are.
        partitions: Vec<String>,
    },
    /// The disk is full.
    #[error("there is no disk space left for `{}`", path.display())]
    #[diagnostic(code(pib::disk::disk_full))]
    #[diagnostic(help(
        "Free some: an image takes its own size, and its files once more while it is written."
    ))]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// A folder that was to be new has something in it.
    #[error("the folder `{}` is not empty", path.display())]
    #[diagnostic(code(pib::disk::not_empty))]
    #[diagnostic(help("Name a new folder, or empty this one."))]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("could not {action} `{}`", path.display())]
    #[diagnostic(code(pib::disk::io))]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program that was asked for is not there.
    #[error("there is no program `{program}`, which `writer = \"mke2fs\"` takes for ext4")]
    #[diagnostic(code(pib::disk::program))]
    #[diagnostic(help(
        "On Debian and Ubuntu: `sudo apt-get install e2fsprogs`. Without `writer` in [image], pib needs no program."
    ))]
    Program {
        /// The program.
        program: &'static str,
    },
    /// A file system could not be written, for a reason that is no fault of its content.
    #[error("could not write the {filesystem} partition {label}: {reason}")]
    #[diagnostic(code(pib::disk::writer))]
    Writer {
        /// The partition.
        label: String,
        /// Its file system.
        filesystem: &'static str,
        /// What its writer said.
        reason: String,
    },
}

/// Returns a path for people: what is not UTF-8 or might do something to a terminal is escaped.
fn escaped(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        text.extend(chunk.valid().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

impl DiskError {
    /// Returns what turns an IO error on `path` into this type.
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| {
            let path = path.to_owned();
            if source.kind() == io::ErrorKind::StorageFull {
                return Self::DiskFull { path };
            }
            Self::Io { action, path, source }
        }
    }

    /// Returns the error of a layout as one of the card that it is laid out on: there is no image then whose size could be
    /// too small.
    pub fn on_card(self) -> Self {
        match self {
            Self::Layout(LayoutError::Full { needed, size, .. }) => Self::SmallCard { needed, size },
            other => other,
        }
    }

    /// Names the image in an error that a file system's writer could not name it in.
    pub(crate) fn on_image(self, out: &Path) -> Self {
        match self {
            Self::Io { action, path, source } if path.as_os_str().is_empty() => Self::io(action, out)(source),
            other => other,
        }
    }

    /// Returns an error on the image, whose path the caller adds.
    pub(crate) fn image(source: io::Error) -> Self {
        Self::Io { action: "write", path: PathBuf::new(), source }
    }
}
