//! What a release consists of, before it is packed.

use crate::{DistError, FileTree, Package, Texts};

/// What the program runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// 64-bit PCs.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Target {
    /// Returns the target that rustc calls `triple`.
    #[must_use]
    pub fn of(triple: &str) -> Option<Self> {
        match triple {
            "x86_64-unknown-linux-musl" => Some(Self::Amd64),
            "aarch64-unknown-linux-musl" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// Returns Debian's name of the architecture.
    #[must_use]
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Returns the architecture as `uname -m` prints it.
    #[must_use]
    pub fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }
}

/// What goes beside the program, the same for every target.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// The manual pages, each with the name of its file.
    pub manual: Vec<(String, Vec<u8>)>,
    /// The completion scripts of bash, zsh and fish.
    pub completions: [Vec<u8>; 3],
    /// The project's own documents, each with its path below `share/doc/pib`.
    pub own: Vec<(String, Vec<u8>)>,
}

/// A release for one target.
#[derive(Debug, Clone)]
pub struct Release {
    /// The version.
    pub version: String,
    /// When it was made, in seconds since 1970: the time of its commit.
    pub epoch: u64,
    /// What it runs on.
    pub target: Target,
    /// The program.
    pub program: Vec<u8>,
    /// What goes beside the program.
    pub documents: Documents,
    /// What is linked into the program.
    pub packages: Vec<(Package, Texts)>,
    /// The bill of materials (CycloneDX).
    pub bill: String,
}

impl Release {
    /// Returns the name of the archive, which is also the folder in it, without an ending.
    #[must_use]
    pub fn archive_name(&self) -> String {
        format!("pib-{}-{}-linux", self.version, self.target.machine())
    }

    /// Returns the archive for any Linux, compressed with zstd. Unpacked into `/usr/local` or `~/.local`, without its
    /// uppermost folder, everything is where shells and `man` look.
    ///
    /// # Errors
    /// When it cannot be compressed, or when a path is too long.
    pub fn archive(&self) -> Result<Vec<u8>, DistError> {
        let tree = self.archive_tree();
        let failed = |error| DistError::Pack { what: "the archive", error };
        let mut zstd = zstd::Encoder::new(Vec::new(), ARCHIVE_LEVEL).map_err(failed)?;
        zstd.include_checksum(true).map_err(failed)?;
        tree.write_tar(&self.archive_name(), self.epoch, &mut zstd).map_err(failed)?;
        zstd.finish().map_err(failed)
    }

    fn archive_tree(&self) -> FileTree {
        let mut tree = FileTree::default();
        tree.add_program("bin/pib", self.program.clone());
        for (name, page) in &self.documents.manual {
            tree.add(format!("share/man/man1/{name}"), page.clone());
        }
        let [bash, zsh, fish] = &self.documents.completions;
        tree.add("share/bash-completion/completions/pib", bash.clone());
        tree.add("share/zsh/site-functions/_pib", zsh.clone());
        tree.add("share/fish/vendor_completions.d/pib.fish", fish.clone());
        for (path, content) in &self.documents.own {
            tree.add(format!("{DOCUMENTS}/{path}"), content.clone());
        }
        tree.add(format!("{DOCUMENTS}/{LICENCES}"), crate::third_party(&self.packages));
        tree.add(format!("{DOCUMENTS}/{BILL}"), self.bill.clone());
        tree
    }
}

/// Where documents are, below the archive's or the package's root.
const DOCUMENTS: &str = "share/doc/pib";
/// The document with the licences of what is linked into the program.
pub(crate) const LICENCES: &str = "THIRD-PARTY-LICENSES.txt";
/// The bill of materials.
pub(crate) const BILL: &str = "pib.cdx.json";
/// The level from which zstd gains little.
const ARCHIVE_LEVEL: i32 = 19;
