//! The copyright file of the Debian package, in Debian's machine-readable form (DEP-5).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use spdx::{Expression, LicenseItem};

use crate::licences::Texts;
use crate::packages::Package;

/// Where the project is developed.
pub(crate) const HOMEPAGE: &str = "https://github.com/pib-build/pib";

/// Licences whose texts every Debian system has, by the names of their files.
const COMMON: [(&str, &str); 7] = [
    ("Apache-2.0", "Apache-2.0"),
    ("Artistic-2.0", "Artistic"),
    ("GPL-2.0", "GPL-2"),
    ("GPL-3.0", "GPL-3"),
    ("LGPL-2.1", "LGPL-2.1"),
    ("LGPL-3.0", "LGPL-3"),
    ("MPL-2.0", "MPL-2.0"),
];

/// Returns the copyright file for the program and what is linked into it.
pub(crate) fn copyright(packages: &[(Package, Texts)]) -> String {
    let mut text = format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: pib\nSource: {HOMEPAGE}\n\
         Comment: The folders below vendor stand for the packages that are linked into the\n \
         program. Their sources and texts are listed in THIRD-PARTY-LICENSES.txt.gz.\n\n\
         Files: *\nCopyright: 2026 The pib authors\nLicense: MIT or Apache-2.0\n\n"
    );
    let mut licenses: BTreeMap<String, String> = BTreeMap::new();
    paragraphs("MIT OR Apache-2.0", &mut licenses);
    for (package, texts) in packages.iter().filter(|(package, _)| !package.is_own) {
        let holders: Vec<&str> = texts.copyright.iter().map(String::as_str).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "Files: vendor/{}-{}/*\nCopyright: {}\nLicense: {}\n",
            package.name,
            package.version,
            holders.join("\n           "),
            synopsis(&package.license)
        );
        paragraphs(&package.license, &mut licenses);
    }
    for (name, body) in licenses {
        let _ = writeln!(text, "License: {name}\n{}\n", indented(&body));
    }
    // Paragraphs have an empty line between them, not after the last.
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Returns an SPDX expression in Debian's form: its words in lower case, a comma where SPDX has parentheses.
fn synopsis(license: &str) -> String {
    let text = license.replace(" AND (", ", and ").replace(") AND ", ", and ").replace(" OR (", ", or ");
    let text = text.replace(") OR ", ", or ").replace(['(', ')'], "");
    let text = text.replace(" OR ", " or ").replace(" AND ", " and ");
    text.replace(" WITH LLVM-exception", " with LLVM exception")
        .replace(" WITH GCC-exception-2.0", " with libgit2 exception")
}

/// Adds the licences of an expression, each with its text, or with where Debian has it.
fn paragraphs(license: &str, licenses: &mut BTreeMap<String, String>) {
    let Ok(expression) = Expression::parse(license) else { return };
    for requirement in expression.requirements() {
        let LicenseItem::Spdx { id, .. } = &requirement.req.license else { continue };
        let name = synopsis(&requirement.req.to_string());
        let common = COMMON.iter().find(|(start, _)| id.name.starts_with(start));
        let mut body = match common {
            Some((_, file)) => format!(
                "On Debian systems, the text of this licence is in\n/usr/share/common-licenses/{file}."
            ),
            None => id.text().trim_end().to_owned(),
        };
        if name.contains("with") {
            body.push_str("\n\nThe text of the exception is in THIRD-PARTY-LICENSES.txt.gz.");
        }
        licenses.insert(name, body);
    }
}

/// Returns a text as the body of a field: each line indented, an empty line as a dot.
fn indented(text: &str) -> String {
    let line = |line: &str| match line.trim_end() {
        "" => " .".to_owned(),
        line => format!(" {line}"),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_written_in_debians_form() {
        for (spdx, debian) in [
            ("MIT OR Apache-2.0", "MIT or Apache-2.0"),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", "MIT or Apache-2.0, and Unicode-3.0"),
            ("MIT AND (BSD-3-Clause OR ISC)", "MIT, and BSD-3-Clause or ISC"),
            ("Apache-2.0 WITH LLVM-exception", "Apache-2.0 with LLVM exception"),
        ] {
            assert_eq!(synopsis(spdx), debian);
        }
    }

    #[test]
    fn every_licence_that_is_named_has_a_paragraph() {
        let package = |name: &str, license: &str| {
            let (name, license, version) = (name.to_owned(), license.to_owned(), "1.0.0".to_owned());
            let texts = Texts { texts: Vec::new(), copyright: vec!["A".to_owned(), "B".to_owned()] };
            (Package { name, version, license, ..Package::default() }, texts)
        };
        let packages = [
            package("a", "ISC"),
            package("b", "GPL-2.0-only WITH GCC-exception-2.0"),
            package("c", "Apache-2.0 WITH LLVM-exception OR MIT"),
        ];
        let text = copyright(&packages);
        assert!(
            text.contains("Files: vendor/a-1.0.0/*\nCopyright: A\n           B\nLicense: ISC\n"),
            "{text}"
        );
        for paragraph in [
            "\nLicense: ISC\n ",
            "\nLicense: MIT\n ",
            "\nLicense: Apache-2.0 with LLVM exception\n On Debian systems",
            "\nLicense: GPL-2.0-only with libgit2 exception\n On Debian systems",
            "/usr/share/common-licenses/GPL-2.",
        ] {
            assert!(text.contains(paragraph), "{paragraph:?} is not in {text}");
        }
        // An empty line would end a paragraph.
        for line in text.split("\n\n") {
            assert!(line.contains(':'), "{line:?} is no paragraph");
        }
    }
}
