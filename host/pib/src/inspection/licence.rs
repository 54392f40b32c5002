//! The licences of a package, by its file `copyright`.
//!
//! Most of Debian's are in a form that programs read (<https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>).

use std::collections::BTreeSet;

/// What Debian calls a licence, and what SPDX calls it.
const NAMES: [(&str, &str); 30] = [
    ("Apache-2", "Apache-2.0"),
    ("Apache-2.0", "Apache-2.0"),
    ("Artistic", "Artistic-1.0-Perl"),
    ("Artistic-2", "Artistic-2.0"),
    ("BSD-2-clause", "BSD-2-Clause"),
    ("BSD-3-clause", "BSD-3-Clause"),
    ("BSD-4-clause", "BSD-4-Clause"),
    ("BSL-1", "BSL-1.0"),
    ("CC0-1.0", "CC0-1.0"),
    ("Expat", "MIT"),
    ("FTL", "FTL"),
    ("GFDL-1.3", "GFDL-1.3-only"),
    ("GFDL-1.3+", "GFDL-1.3-or-later"),
    ("GPL-1+", "GPL-1.0-or-later"),
    ("GPL-2", "GPL-2.0-only"),
    ("GPL-2+", "GPL-2.0-or-later"),
    ("GPL-3", "GPL-3.0-only"),
    ("GPL-3+", "GPL-3.0-or-later"),
    ("ISC", "ISC"),
    ("LGPL-2", "LGPL-2.0-only"),
    ("LGPL-2+", "LGPL-2.0-or-later"),
    ("LGPL-2.1", "LGPL-2.1-only"),
    ("LGPL-2.1+", "LGPL-2.1-or-later"),
    ("LGPL-3", "LGPL-3.0-only"),
    ("LGPL-3+", "LGPL-3.0-or-later"),
    ("MIT", "MIT"),
    ("MPL-1.1", "MPL-1.1"),
    ("MPL-2.0", "MPL-2.0"),
    ("OpenSSL", "OpenSSL"),
    ("Zlib", "Zlib"),
];
/// The most licences of a package that are noted.
const MAX: usize = 64;

/// Returns the licences that a file `copyright` names, in SPDX's names where they are known there, sorted.
pub(super) fn licences(copyright: &str) -> Vec<String> {
    if !copyright.starts_with("Format:") {
        return Vec::new();
    }
    let lines = copyright.lines().filter_map(|line| line.strip_prefix("License:"));
    let names = lines.flat_map(|line| line.split([',', '|'])).flat_map(|name| {
        name.split_whitespace().filter(|word| !matches!(*word, "and" | "or" | "with")).collect::<Vec<_>>()
    });
    let known = names.map(|name| {
        let found = NAMES.iter().find(|(debian, _)| debian.eq_ignore_ascii_case(name));
        found.map_or(name, |(_, spdx)| spdx).to_owned()
    });
    known.collect::<BTreeSet<_>>().into_iter().take(MAX).collect()
}

/// Returns whether SPDX knows a name that [`licences`] gave.
pub(super) fn is_known(name: &str) -> bool {
    NAMES.iter().any(|(_, spdx)| *spdx == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_listed_by_the_names_that_spdx_has() {
        let text =
            "Format: https://x\nFiles: *\nLicense: GPL-2+ or Expat\n text\n\nFiles: y\nLicense: odd-one\n";
        assert_eq!(licences(text), ["GPL-2.0-or-later", "MIT", "odd-one"]);
        assert!(is_known("MIT") && !is_known("odd-one"));
        assert_eq!(licences("This package was made by somebody.\nLicense: MIT"), Vec::<String>::new());
    }

    #[test]
    fn every_name_is_one_of_spdx() {
        for (_, name) in NAMES {
            assert!(spdx::license_id(name).is_some(), "{name}");
        }
    }
}
