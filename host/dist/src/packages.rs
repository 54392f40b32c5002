//! What is linked into the program, as cargo tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;

use crate::DistError;

/// A package that is linked into the program.
#[derive(Debug, Clone, Default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its terms, as an SPDX expression.
    pub license: String,
    /// Who wrote it, as its manifest says.
    pub authors: Vec<String>,
    /// What it does.
    pub description: Option<String>,
    /// Where it is developed.
    pub repository: Option<String>,
    /// The SHA-256 of its archive in the registry; the project's own packages have none.
    pub checksum: Option<String>,
    /// The folder with its sources; a library that comes with the compiler has none.
    pub folder: Option<PathBuf>,
    /// The package URLs of the packages that it uses.
    pub uses: Vec<String>,
    /// Its package URL.
    pub url: String,
    /// Whether it is the project's own.
    pub is_own: bool,
}

impl Package {
    /// Returns its name with its version.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Returns where its sources are.
    #[must_use]
    pub fn source(&self) -> String {
        match self.url.starts_with("pkg:cargo/") {
            true => format!("https://crates.io/crates/{}/{}", self.name, self.version),
            false => self.repository.clone().unwrap_or_default(),
        }
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Listed>,
    resolve: Option<Resolve>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    repository: Option<String>,
    source: Option<String>,
    #[serde(default)]
    authors: Vec<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Returns the packages that are linked into the program, sorted by name and version.
///
/// `tree` is what `cargo tree -e normal,no-proc-macro --prefix none` prints: it knows the features of this one program.
/// `metadata` is that of the whole workspace (`cargo metadata`), and `lock` its `Cargo.lock`.
///
/// # Errors
/// When one of them cannot be read, or when they do not fit each other.
pub fn linked(tree: &str, metadata: &str, lock: &str) -> Result<Vec<Package>, DistError> {
    let metadata: Metadata =
        serde_json::from_str(metadata).map_err(|error| DistError::Cargo(format!("metadata: {error}")))?;
    let lock: Lock =
        toml::from_str(lock).map_err(|error| DistError::Cargo(format!("Cargo.lock: {error}")))?;
    let checksums: BTreeMap<(String, String), Option<String>> =
        lock.package.into_iter().map(|locked| ((locked.name, locked.version), locked.checksum)).collect();
    let listed: BTreeMap<(&str, &str), &Listed> =
        metadata.packages.iter().map(|package| ((&*package.name, &*package.version), package)).collect();
    let urls: BTreeMap<&str, String> = metadata
        .packages
        .iter()
        .map(|package| (&*package.id, url(&package.name, &package.version)))
        .collect();
    let nodes = metadata.resolve.map(|resolve| resolve.nodes).unwrap_or_default();
    let edges: BTreeMap<&str, &Node> = nodes.iter().map(|node| (&*node.id, node)).collect();
    let named: BTreeSet<(&str, &str)> = tree.lines().filter_map(name_and_version).collect();
    let linked: BTreeSet<String> = named.iter().map(|(name, version)| url(name, version)).collect();
    let mut packages = Vec::new();
    for (name, version) in named {
        let package = listed.get(&(name, version)).ok_or_else(|| {
            DistError::Cargo(format!("`cargo tree` names {name} {version}, `cargo metadata` does not"))
        })?;
        let deps = edges.get(&*package.id).map(|node| node.deps.as_slice()).unwrap_or_default();
        let normal = deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        let mut uses: Vec<String> = normal.filter_map(|dep| urls.get(&*dep.pkg).cloned()).collect();
        uses.retain(|url| linked.contains(url));
        uses.sort();
        uses.dedup();
        packages.push(Package {
            name: name.to_owned(),
            version: version.to_owned(),
            license: expression(package)?,
            authors: package.authors.clone(),
            description: package.description.as_deref().map(one_line),
            repository: package.repository.clone(),
            checksum: checksums.get(&(name.to_owned(), version.to_owned())).cloned().flatten(),
            folder: package.manifest_path.parent().map(PathBuf::from),
            uses,
            url: url(name, version),
            is_own: package.source.is_none(),
        });
    }
    Ok(packages)
}

/// Returns the terms of a package as a strict SPDX expression; old manifests write `MIT/Apache-2.0`.
fn expression(package: &Listed) -> Result<String, DistError> {
    let license = package.license.clone().unwrap_or_default();
    let strict = license.replace(" / ", " OR ").replace('/', " OR ");
    match spdx::Expression::parse(&strict) {
        Ok(_) => Ok(strict),
        Err(error) => Err(DistError::Licence {
            package: format!("{} {}", package.name, package.version),
            license,
            why: error.reason.to_string(),
        }),
    }
}

fn name_and_version(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_whitespace();
    Some((words.next()?, words.next()?.strip_prefix('v')?))
}

/// Returns the package URL of a package of the registry.
fn url(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str =
        "pib v0.1.0 (/src/host/pib)\nzstd v1.0.0\nzstd-sys v2.1.3+zstd.1.5.7\nzstd v1.0.0 (*)\n";
    const LOCK: &str = "version = 4\n[[package]]\nname = \"zstd\"\nversion = \"1.0.0\"\nchecksum = \"aa\"\n";

    fn metadata(license: &str) -> String {
        let package = |name: &str, version: &str, source: &str, license: &str| {
            format!(
                "{{\"id\": \"{name}\", \"name\": \"{name}\", \"version\": \"{version}\", \"license\": \"{license}\",
                 \"source\": {source}, \"manifest_path\": \"/src/{name}/Cargo.toml\", \"description\": \"does\\n it\"}}"
            )
        };
        let edge = |name: &str, kind: &str| {
            format!("{{\"pkg\": \"{name}\", \"dep_kinds\": [{{\"kind\": {kind}}}]}}")
        };
        format!(
            "{{\"packages\": [{}, {}, {}, {}], \"resolve\": {{\"nodes\": [
                {{\"id\": \"pib\", \"deps\": [{}, {}, {}]}}, {{\"id\": \"zstd\", \"deps\": [{}]}}]}}}}",
            package("pib", "0.1.0", "null", "MIT OR Apache-2.0"),
            package("zstd", "1.0.0", "\"registry\"", license),
            package("zstd-sys", "2.1.3+zstd.1.5.7", "\"registry\"", "MIT"),
            package("insta", "1.0.0", "\"registry\"", "MIT"),
            edge("zstd", "null"),
            edge("insta", "\"dev\""),
            edge("zstd-sys", "\"build\""),
            edge("zstd-sys", "null"),
        )
    }

    #[test]
    fn what_is_linked_is_listed_once_with_what_it_uses() {
        let packages = linked(TREE, &metadata("MIT/Apache-2.0"), LOCK).unwrap();
        let ids: Vec<String> = packages.iter().map(Package::id).collect();
        assert_eq!(ids, ["pib 0.1.0", "zstd 1.0.0", "zstd-sys 2.1.3+zstd.1.5.7"]);
        assert!(packages[0].is_own && !packages[1].is_own);
        assert_eq!(packages[0].uses, ["pkg:cargo/zstd@1.0.0"]);
        assert_eq!(packages[1].uses, ["pkg:cargo/zstd-sys@2.1.3%2Bzstd.1.5.7"]);
        assert_eq!(packages[1].license, "MIT OR Apache-2.0");
        assert_eq!(packages[1].checksum.as_deref(), Some("aa"));
        assert_eq!(packages[1].description.as_deref(), Some("does it"));
    }

    #[test]
    fn terms_that_nobody_can_read_and_unknown_packages_are_errors() {
        let error = linked(TREE, &metadata("see README"), LOCK).unwrap_err().to_string();
        assert!(error.contains("zstd 1.0.0 has the licence `see README`"), "{error}");
        let error = linked("serde v1.0.0\n", &metadata("MIT"), LOCK).unwrap_err().to_string();
        assert!(error.contains("names serde 1.0.0"), "{error}");
    }
}
