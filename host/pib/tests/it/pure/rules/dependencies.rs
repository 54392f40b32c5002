//! What pib is built of: where it comes from, under which terms, and that there is one of each.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;
use spdx::{Expression, ParseMode};

use super::known::{COPYLEFT, TWICE};

/// The terms that a program under `MIT OR Apache-2.0` may be made with.
const TERMS: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "CC0-1.0",
];
/// Where every package comes from that is not the project's own.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Those of other platforms need not have been downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let args = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &platform];
    let output = Command::new(cargo).args(args).current_dir(super::root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Metadata>(&output.stdout).unwrap().packages
}

#[test]
fn dependencies_come_from_one_registry() {
    let elsewhere: Vec<String> = packages()
        .into_iter()
        .filter_map(|package| Some((package.name, package.source?)))
        .filter(|(_, source)| source != SOURCE)
        .map(|(name, source)| format!("{name} from {source}"))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

#[test]
fn dependencies_have_terms_that_ours_allow() {
    let mut copyleft = BTreeSet::new();
    for package in packages() {
        let license = package.license.unwrap_or_default();
        let parsed = Expression::parse_mode(&license, ParseMode::LAX);
        let terms = parsed.unwrap_or_else(|error| panic!("{}: `{license}`: {error}", package.name));
        if !terms.evaluate(|needed| TERMS.contains(&needed.to_string().as_str())) {
            copyleft.insert(package.name);
        }
    }
    assert_eq!(copyleft, COPYLEFT.map(str::to_owned).into(), "packages with other terms");
}

#[test]
fn there_is_one_version_of_each_dependency() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        versions.entry(package.name).or_default().insert(package.version);
    }
    let twice: BTreeSet<String> =
        versions.into_iter().filter(|(_, versions)| versions.len() > 1).map(|(name, _)| name).collect();
    assert_eq!(twice, TWICE.map(str::to_owned).into(), "packages of which there are two versions");
}
