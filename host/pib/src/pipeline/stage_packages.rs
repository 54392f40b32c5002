//! Which stage brought which package.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pib_debian::InstalledPackage;

use super::render::Rendered;

/// What a project says of where packages come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct StagePackages {
    /// The stages in build order, as name and version, with the words of their parts.
    stages: Vec<(String, String, BTreeSet<String>)>,
    /// The packages of the base.
    base: BTreeSet<String>,
}

/// What the base is called.
const BASE: &str = "base";

impl StagePackages {
    /// Returns what a project that is resolved says.
    pub(crate) fn of(rendered: &Rendered) -> Self {
        let stage = |input: &pib_plan::assemble::StageInput| {
            // A part may name packages itself, or take them from its config.
            let texts = input.args.iter().map(|arg| &arg.value).chain([&input.part.text]);
            let words = texts
                .flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || "+.-".contains(c))));
            (input.name.to_string(), input.version.to_string(), words.map(str::to_owned).collect())
        };
        let bases = &rendered.packages.resolved.lock.bases;
        let snapshots = bases.iter().filter_map(|base| base.snapshot.as_ref());
        let base = snapshots.flat_map(|snapshot| &snapshot.packages).map(|package| package.name.clone());
        Self { stages: rendered.inputs.iter().map(stage).collect(), base: base.collect() }
    }

    /// Returns what is known by stages alone, each as `name version`.
    pub(crate) fn named(stages: &[String]) -> Self {
        let pairs = stages.iter().filter_map(|stage| stage.split_once(' '));
        let stages = pairs.map(|(name, version)| (name.to_owned(), version.to_owned(), BTreeSet::new()));
        Self { stages: stages.collect(), base: BTreeSet::new() }
    }

    /// Returns the names and versions of the stages, in build order.
    pub(crate) fn stages(&self) -> Vec<(String, String)> {
        self.stages.iter().map(|(name, version, _)| (name.clone(), version.clone())).collect()
    }

    /// Returns the stage that brought each package: the first whose part names it, or names one that needs it. What the
    /// lock has in the base is the base's.
    pub(crate) fn brought(&self, packages: &[&InstalledPackage]) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for package in packages.iter().filter(|package| self.base.contains(&package.name)) {
            found.insert(package.name.clone(), BASE.to_owned());
        }
        let mut by_name: HashMap<&str, Vec<&InstalledPackage>> = HashMap::new();
        for package in packages {
            for name in package.provides.iter().chain([&package.name]) {
                by_name.entry(name).or_default().push(package);
            }
        }
        for (stage, _, words) in &self.stages {
            let mut left: Vec<&str> = words.iter().map(String::as_str).collect();
            while let Some(name) = left.pop() {
                for package in by_name.get(name).into_iter().flatten() {
                    if !found.contains_key(&package.name) {
                        found.insert(package.name.clone(), stage.clone());
                        left.extend(package.needs.iter().map(String::as_str));
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, needs: &[&str], provides: &[&str]) -> InstalledPackage {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        InstalledPackage {
            name: name.to_owned(),
            needs: names(needs),
            provides: names(provides),
            ..InstalledPackage::default()
        }
    }

    #[test]
    fn a_package_is_of_the_first_stage_that_needs_it() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        let stages = StagePackages {
            stages: vec![
                ("one".to_owned(), "1.0.0".to_owned(), words("apt-get install ssh")),
                ("two".to_owned(), "1.0.0".to_owned(), words("apt-get install mail libc6")),
            ],
            base: BTreeSet::from(["libc6".to_owned()]),
        };
        let packages = [
            package("libc6", &[], &[]),
            package("ssh", &["libc6", "crypto"], &[]),
            package("libcrypto3", &[], &["crypto"]),
            package("mail", &["crypto", "queue"], &[]),
            package("queue", &["mail"], &[]),
            package("other", &[], &[]),
        ];
        let found = stages.brought(&packages.iter().collect::<Vec<_>>());
        let found: Vec<(&str, &str)> = found.iter().map(|(name, stage)| (&**name, &**stage)).collect();
        assert_eq!(
            found,
            [("libc6", "base"), ("libcrypto3", "one"), ("mail", "two"), ("queue", "two"), ("ssh", "one")]
        );
    }
}
