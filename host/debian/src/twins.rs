//! Which programs may run natively: the list in `twins.toml`, and the text that the companion's `run` reads.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

/// The list, by distribution.
const LIST: &str = include_str!("twins.toml");

/// What a distribution's packages bring.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Twins {
    #[serde(default)]
    pub(super) package: Vec<Rule>,
    /// The distribution whose list and whose programs serve this one, too.
    like: Option<String>,
}

/// Which programs of one package may run natively, and when.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) name: String,
    /// For whoever reads the list.
    #[allow(dead_code)]
    reason: String,
    only: Option<Vec<String>>,
    #[serde(default)]
    foreign: BTreeMap<String, String>,
    #[serde(default)]
    first: Vec<String>,
    #[serde(default)]
    scripts: Vec<String>,
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    renamed: Vec<String>,
}

impl Twins {
    /// Returns the list of a distribution, or `None` where pib has no native tools for it.
    pub(super) fn of(os: &str) -> Result<Option<Self>, toml::de::Error> {
        let mut lists: BTreeMap<String, Self> = toml::from_str(LIST)?;
        let found = lists.remove(os);
        Ok(match found.as_ref().and_then(|list| list.like.as_deref()) {
            Some(other) => lists.remove(other),
            None => found,
        })
    }

    /// Returns the rule of a package.
    pub(super) fn rule(&self, package: &str) -> Option<&Rule> {
        self.package.iter().find(|rule| rule.name == package)
    }

    /// Returns the digest-relevant text of all lists.
    pub(super) fn text() -> &'static str {
        LIST
    }
}

impl Rule {
    /// Returns whether the program at `path` may run natively.
    pub(super) fn takes(&self, path: &str) -> bool {
        let name = last(path);
        let listed = self.only.as_ref().is_none_or(|only| only.iter().any(|item| item == name));
        listed && !self.foreign.contains_key(name)
    }

    /// Returns whether the file has the architecture's name compiled in.
    pub(super) fn renames(&self, path: &str) -> bool {
        self.renamed.iter().any(|item| item == last(path))
    }

    /// Writes a program's lines of the list that the companion's `run` reads: where it is, which package of which
    /// version brings it, how the package's checksums call it, and when it may be used.
    pub(super) fn write(&self, list: &mut String, path: &str, version: &str, listed: &str) {
        let _ = writeln!(list, "tool\t/{path}\t{}\t{}\t{listed}", self.name, version);
        let rules = [("first", &self.first), ("script", &self.scripts), ("without", &self.without)];
        for (rule, words) in rules {
            for word in words {
                let _ = writeln!(list, "{rule}\t{word}");
            }
        }
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_holds_what_it_promises() {
        let list = Twins::of("debian").unwrap().unwrap();
        assert!(Twins::of("arch").unwrap().is_none());
        assert_eq!(Twins::of("raspios").unwrap().unwrap().package.len(), list.package.len());
        assert!(list.package.iter().all(|rule| !rule.reason.is_empty()));
        let rule = |name: &str| list.rule(name).unwrap();
        assert!(rule("coreutils").takes("usr/bin/sort") && !rule("coreutils").takes("usr/bin/uname"));
        assert!(rule("kmod").takes("usr/bin/kmod") && !rule("udev").takes("usr/bin/udevadm"));
        assert!(
            !rule("libapt-pkg7.0").takes("usr/lib/x")
                && rule("libapt-pkg7.0").renames("x/libapt-pkg.so.7.0.0")
        );
        let mut text = String::new();
        rule("openssl").write(&mut text, "usr/bin/openssl", "3.5.1-1+b2", "usr/bin/openssl");
        assert!(
            text.starts_with("tool\t/usr/bin/openssl\topenssl\t3.5.1-1+b2\tusr/bin/openssl\nfirst\trehash\n")
        );
    }
}
