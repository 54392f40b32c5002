//! Libraries that are linked into the program and are no crates: those in C that crates bring along, and those that the
//! compiler links.

use std::fs;
use std::path::Path;

use crate::{DistError, Package};

/// A library in C within a crate.
struct Bundled {
    name: &'static str,
    /// The crate that brings it along.
    within: &'static str,
    license: &'static str,
    repository: &'static str,
    /// The file in which its version is, and what stands before each part of the version.
    version: (&'static str, &'static [&'static str]),
}

const BUNDLED: [Bundled; 4] = [
    Bundled {
        name: "libgit2",
        within: "libgit2-sys",
        license: "GPL-2.0-only WITH GCC-exception-2.0",
        repository: "https://github.com/libgit2/libgit2",
        version: ("libgit2/include/git2/version.h", &["#define LIBGIT2_VERSION "]),
    },
    Bundled {
        name: "xz",
        within: "liblzma-sys",
        license: "0BSD",
        repository: "https://github.com/tukaani-project/xz",
        version: (
            "xz/src/liblzma/api/lzma/version.h",
            &["#define LZMA_VERSION_MAJOR ", "#define LZMA_VERSION_MINOR ", "#define LZMA_VERSION_PATCH "],
        ),
    },
    Bundled {
        name: "zlib",
        within: "libz-sys",
        license: "Zlib",
        repository: "https://github.com/madler/zlib",
        version: ("src/zlib/zlib.h", &["#define ZLIB_VERSION "]),
    },
    Bundled {
        name: "zstd",
        within: "zstd-sys",
        license: "BSD-3-Clause",
        repository: "https://github.com/facebook/zstd",
        version: (
            "zstd/lib/zstd.h",
            &["#define ZSTD_VERSION_MAJOR ", "#define ZSTD_VERSION_MINOR ", "#define ZSTD_VERSION_RELEASE "],
        ),
    },
];

/// Returns the libraries that are linked into the program beside `packages`, sorted by name. `compiler` is the version of
/// rustc, `musl` that of the C library that it links.
///
/// # Errors
/// When the sources of a library do not say its version.
pub fn bundled(packages: &[Package], compiler: &str, musl: &str) -> Result<Vec<Package>, DistError> {
    let mut found = Vec::new();
    for library in &BUNDLED {
        for package in packages.iter().filter(|package| package.name == library.within) {
            let folder = package.folder.as_deref().unwrap_or(Path::new("."));
            let version = version(library, folder)?;
            found.push(described(library.name, &version, library.license, library.repository));
        }
    }
    let std = "MIT OR Apache-2.0";
    found.push(described("musl", musl, "MIT", "https://musl.libc.org"));
    found.push(described("rust-std", compiler, std, "https://github.com/rust-lang/rust"));
    for library in &mut found {
        library.authors = match library.name.as_str() {
            "musl" => vec!["Copyright © 2005-2024 Rich Felker, et al.".to_owned()],
            "rust-std" => vec!["Copyright (c) The Rust Project Contributors".to_owned()],
            _ => Vec::new(),
        };
    }
    Ok(found)
}

fn described(name: &str, version: &str, license: &str, repository: &str) -> Package {
    Package {
        name: name.to_owned(),
        version: version.to_owned(),
        license: license.to_owned(),
        repository: Some(repository.to_owned()),
        url: format!("pkg:generic/{name}@{version}"),
        ..Package::default()
    }
}

fn version(library: &Bundled, folder: &Path) -> Result<String, DistError> {
    let (file, markers) = library.version;
    let path = folder.join(file);
    let text = fs::read_to_string(&path).map_err(DistError::file("read", &path))?;
    let mut parts = Vec::new();
    for marker in markers {
        let line = text.lines().find_map(|line| squeezed(line).strip_prefix(marker).map(str::to_owned));
        let value = line.map(|line| line.trim_matches('"').to_owned()).filter(|value| !value.is_empty());
        parts.push(value.ok_or_else(|| DistError::Version {
            library: library.name,
            path: path.clone(),
            marker,
        })?);
    }
    Ok(parts.join("."))
}

/// Returns a line with one space where it has several: headers align their values.
fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_headers() {
        let folder = tempfile::tempdir().unwrap();
        let header = folder.path().join("xz/src/liblzma/api/lzma/version.h");
        fs::create_dir_all(header.parent().unwrap()).unwrap();
        fs::write(
            &header,
            "#define LZMA_VERSION_MAJOR 5\n#define  LZMA_VERSION_MINOR\t8\n#define LZMA_VERSION_PATCH 1\n",
        )
        .unwrap();
        let mut package = Package { name: "liblzma-sys".to_owned(), ..Package::default() };
        package.folder = Some(folder.path().to_owned());
        let found = bundled(std::slice::from_ref(&package), "1.95.0", "1.2.5").unwrap();
        let ids: Vec<String> = found.iter().map(Package::id).collect();
        assert_eq!(ids, ["xz 5.8.1", "musl 1.2.5", "rust-std 1.95.0"]);
        fs::write(&header, "#define LZMA_VERSION_MAJOR 5\n").unwrap();
        let error = bundled(&[package], "1.95.0", "1.2.5").unwrap_err().to_string();
        assert!(error.contains("does not say the version of xz: `#define LZMA_VERSION_MINOR `"), "{error}");
    }
}
