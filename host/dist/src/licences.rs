//! The texts of the licences of everything that is linked into the program.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use spdx::{Expression, LicenseItem};
use walkdir::{DirEntry, WalkDir};

use crate::{DistError, Package};

/// How files with terms are called, in lower case.
const NAMES: [&str; 6] = ["license", "licence", "copying", "unlicense", "notice", "copyright"];
/// Parts of crates that are not compiled into pib, which have terms of their own.
const NOT_COMPILED: [&str; 9] = [
    "libgit2/deps/winhttp",
    "libgit2/deps/zlib",
    "src/zlib-ng",
    "src/zlib/contrib",
    "xz/COPYING.GPL",
    "xz/COPYING.LGPL",
    "zstd/COPYING",
    "tests",
    "examples",
];
/// How deep in a package files with terms are looked for.
const DEPTH: usize = 5;
/// The longest text that is a licence.
const LONGEST: u64 = 1 << 20;

/// The texts of the terms of a package.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    /// Each text, without space at its end.
    pub texts: Vec<String>,
    /// The lines of these that say who has the copyright.
    pub copyright: Vec<String>,
}

impl Texts {
    /// Returns the texts in the sources of a package; where there are none, the general ones of its licences.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(package: &Package) -> Result<Self, DistError> {
        let mut texts = match &package.folder {
            Some(folder) => own_texts(folder)?,
            None => Vec::new(),
        };
        let mut copyright = copyright_lines(&texts);
        if copyright.is_empty() {
            copyright = match package.authors.as_slice() {
                [] => vec![format!("the authors of {}", package.name)],
                authors => authors.to_vec(),
            };
        }
        if texts.is_empty() {
            texts = general_texts(&package.license);
        }
        Ok(Self { texts, copyright })
    }
}

/// Returns the texts that stand in a package, in the order of their files' names, each once.
fn own_texts(folder: &Path) -> Result<Vec<String>, DistError> {
    let relative = |entry: &DirEntry| entry.path().strip_prefix(folder).unwrap_or(entry.path()).to_owned();
    let is_compiled = |entry: &DirEntry| {
        let path = relative(entry).display().to_string();
        !NOT_COMPILED.iter().any(|part| path.starts_with(part))
    };
    let mut texts: Vec<String> = Vec::new();
    let walk = WalkDir::new(folder).max_depth(DEPTH).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(is_compiled) {
        let entry = entry.map_err(|error| DistError::File {
            doing: "list",
            path: folder.to_owned(),
            error: error.into(),
        })?;
        if !entry.file_type().is_file() || !is_licence(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let length = entry.metadata().map(|metadata| metadata.len()).unwrap_or_default();
        if length > LONGEST {
            continue;
        }
        let bytes = std::fs::read(entry.path()).map_err(DistError::file("read", entry.path()))?;
        let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        let text = text.trim_end().trim_start_matches('\n').to_owned();
        if !text.is_empty() && !texts.contains(&text) {
            texts.push(text);
        }
    }
    Ok(texts)
}

/// Returns whether a file of this name has terms: not a script or a module that is called so.
fn is_licence(name: &str) -> bool {
    let name = name.to_lowercase();
    let is_text = match name.rsplit_once('.') {
        Some((_, end)) => !["rs", "sh", "py", "json", "html", "toml", "h", "c"].contains(&end),
        None => true,
    };
    is_text && NAMES.iter().any(|start| name.starts_with(start))
}

/// Returns the general texts of the licences in an expression.
fn general_texts(license: &str) -> Vec<String> {
    let Ok(expression) = Expression::parse(license) else { return Vec::new() };
    let mut texts: Vec<String> = Vec::new();
    for requirement in expression.requirements() {
        if let LicenseItem::Spdx { id, .. } = &requirement.req.license {
            let text = id.text().trim_end().to_owned();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
    }
    texts
}

/// Returns the lines that say who has the copyright; templates to fill in do not.
fn copyright_lines(texts: &[String]) -> Vec<String> {
    let lines = texts.iter().flat_map(|text| text.lines()).map(str::trim);
    let lines = lines.map(|line| line.trim_start_matches(['/', '*', '#', ';', '-', ' ']));
    let is_notice = |line: &&str| {
        let lower = line.to_lowercase();
        let says =
            lower.starts_with("copyright") && (lower.contains("(c)") || line.contains('©') || has_year(line));
        let is_template = ["[yyyy]", "{yyyy}", "<year>", "free software foundation"];
        says && line.len() < 160 && !is_template.iter().any(|part| lower.contains(part))
    };
    let found: BTreeSet<&str> = lines.filter(is_notice).collect();
    found.into_iter().map(str::to_owned).collect()
}

fn has_year(line: &str) -> bool {
    line.as_bytes().windows(4).any(|four| four.iter().all(u8::is_ascii_digit))
}

/// Returns the document with the licences of everything that is linked into the program. Texts that several packages
/// share stand in it once.
#[must_use]
pub fn third_party(packages: &[(Package, Texts)]) -> String {
    let mut texts: Vec<&str> = Vec::new();
    let mut list = String::new();
    for (package, own) in packages {
        let mut numbers = Vec::new();
        for text in &own.texts {
            let at = texts.iter().position(|known| known == text).unwrap_or_else(|| {
                texts.push(text);
                texts.len() - 1
            });
            numbers.push(format!("[{}]", at + 1));
        }
        let (id, license, source, numbers) =
            (package.id(), &package.license, package.source(), numbers.join(" "));
        // Writing to a string cannot fail.
        let _ = writeln!(list, "{id}\n  Licence: {license}\n  Sources: {source}\n  Texts: {numbers}\n");
    }
    let mut document = format!("{INTRODUCTION}\n\n{list}");
    for (at, text) in texts.iter().enumerate() {
        let rule = "-".repeat(72);
        let _ = writeln!(document, "{rule}\n[{}]\n{rule}\n\n{text}\n", at + 1);
    }
    document
}

const INTRODUCTION: &str = "\
pib itself is available under the MIT licence or the Apache licence, version 2.0, at your choice.

The following packages and libraries are linked into the program, under the terms that each of
them names. The numbers refer to the texts below. Their sources are at the addresses given.";

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, license: &str, folder: Option<&Path>) -> Package {
        let folder = folder.map(Path::to_owned);
        let (name, license) = (name.to_owned(), license.to_owned());
        Package { name, version: "1.0.0".to_owned(), license, folder, ..Package::default() }
    }

    #[test]
    fn texts_are_those_of_the_sources_that_are_compiled() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "LICENSE-MIT",
            "MIT\n\nCopyright (c) 2020 Somebody\nCopyright [yyyy] [name of copyright owner]\n",
        );
        write("license.rs", "Copyright (c) 1 module");
        write("src/zlib/contrib/LICENSE", "of what is not compiled");
        write("libgit2/COPYING", "Copyright (C) the libgit2 contributors\nCopyright notices must stay\n");
        write("libgit2/deps/pcre2/LICENCE.md", "MIT\n\nCopyright (c) 2020 Somebody\n");
        let texts = Texts::of(&package("a", "MIT", Some(folder.path()))).unwrap();
        let starts: Vec<&str> = texts.texts.iter().map(|text| text.split('\n').next().unwrap()).collect();
        assert_eq!(starts, ["MIT", "Copyright (C) the libgit2 contributors", "MIT"]);
        assert_eq!(
            texts.copyright,
            ["Copyright (C) the libgit2 contributors", "Copyright (c) 2020 Somebody"]
        );
    }

    #[test]
    fn a_package_without_texts_has_the_general_ones() {
        let folder = tempfile::tempdir().unwrap();
        let own = package("a", "MIT OR Apache-2.0", Some(folder.path()));
        let texts = Texts::of(&own).unwrap();
        assert_eq!(texts.texts.len(), 2);
        assert!(texts.texts.iter().any(|text| text.contains("Apache License")), "{texts:?}");
        assert_eq!(texts.copyright, ["the authors of a"]);
    }

    #[test]
    fn the_document_has_each_text_once() {
        let texts = Texts { texts: vec!["the same terms".to_owned()], copyright: Vec::new() };
        let of = |name: &str| (package(name, "MIT", None), texts.clone());
        let document = third_party(&[of("a"), of("b")]);
        assert_eq!(document.matches("the same terms").count(), 1, "{document}");
        assert_eq!(document.matches("Texts: [1]\n").count(), 2, "{document}");
    }
}
