//! Chooses the packages of a minimal system: what is essential or required, apt, what the project adds, and
//! everything that these depend on.
//!
//! The rules are those of Debian's bootstrappers rather than of a full solver: the newest version of each
//! package, the first alternative that can be had unless one is there already, no recommendations. The set is
//! small and curated by Debian, which is why this is enough; what does not add up is an error.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use pib_plan::snapshot::{ArchiveSnapshot, SnapshotPackage};

use super::package_list::{Package, Packages};
use super::version;

/// The package that says that `/usr` is merged already, as it is in every tree that pib lays out. Where it is an
/// alternative, the first one is a converter that needs half of Perl.
const MERGED_USR: &str = "usr-is-merged";

/// The packages of a system, each list in an order in which dpkg can install it.
#[derive(Debug, Default)]
pub(super) struct Selection<'a> {
    /// The essential packages and what they depend on: unpacked first, because scripts count on them.
    pub essential: Vec<&'a Package>,
    /// Everything else.
    pub rest: Vec<&'a Package>,
    /// The names of those that are there for their own sake, not because another one needs them.
    pub wanted: BTreeSet<String>,
}

impl<'a> Selection<'a> {
    /// Returns all packages, as they are kept in a lock; a package's archive is a number among `archives`.
    ///
    /// # Errors
    /// When a package has no digest or no archive.
    pub(super) fn packages(&self, archives: &[ArchiveSnapshot]) -> Result<Vec<SnapshotPackage>, String> {
        let kept = |package: &Package, essential| {
            let found = package.digest.zip(archives.get(package.archive));
            let (digest, archive) =
                found.ok_or_else(|| format!("the index has no digest of the package `{}`", package.name))?;
            Ok(SnapshotPackage {
                name: package.name.clone(),
                version: package.version.clone(),
                arch: package.architecture.clone(),
                archive: archive.name.clone(),
                path: package.filename.clone(),
                size: package.size,
                digest,
                essential,
                automatic: !self.wanted.contains(&package.name),
            })
        };
        let essential = self.essential.iter().map(|package| kept(package, true));
        essential.chain(self.rest.iter().map(|package| kept(package, false))).collect()
    }
}

/// Chooses the packages of a minimal system with `include` on top.
///
/// # Errors
/// When a package that is asked for or depended on is not available; the text says which, and by whom.
pub(super) fn minimal<'a>(packages: &'a Packages, include: &[String]) -> Result<Selection<'a>, String> {
    let mut resolver = Resolver::new(packages);
    let named = |test: &dyn Fn(&Package) -> bool| {
        let found = packages.iter().filter(|package| test(package)).map(|package| package.name.as_str());
        found.collect::<BTreeSet<_>>()
    };
    let essential = named(&|package| package.essential);
    if essential.is_empty() {
        return Err("the index has no essential packages, so it is not that of a Debian release".to_owned());
    }
    let required = named(&|package| package.priority == "required");
    // What is in anyway is known first, so that it satisfies alternatives that would pull in something else.
    let mut seeds: Vec<&str> = essential.iter().copied().chain(required).collect();
    seeds.push("apt");
    seeds.extend(include.iter().map(String::as_str));
    for name in &seeds {
        let reason = if include.iter().any(|wanted| wanted == name) {
            "the project includes it"
        } else {
            "a system needs it"
        };
        resolver.select(name, reason)?;
    }
    resolver.close()?;
    let wanted = seeds.iter().map(|name| (*name).to_owned()).collect();
    let (essential, rest) = split(&essential, &resolver);
    Ok(Selection { essential, rest, wanted })
}

/// Chooses those of `names` that the release has, and everything that they depend on, sorted by name.
///
/// # Errors
/// When a package that is depended on is not available.
pub(super) fn closure<'a>(packages: &'a Packages, names: &[&str]) -> Result<Vec<&'a Package>, String> {
    let mut resolver = Resolver::new(packages);
    for name in names.iter().filter(|name| packages.get(name).is_some()) {
        resolver.select(name, "native tools need it")?;
    }
    resolver.close()?;
    Ok(resolver.selected.into_values().collect())
}

/// Orders the chosen packages; those that the essential ones need belong to them.
fn split<'a>(essential: &BTreeSet<&str>, resolver: &Resolver<'a>) -> (Vec<&'a Package>, Vec<&'a Package>) {
    let mut order = Order { resolver, done: BTreeSet::new(), list: Vec::new() };
    // These two own the users and the folders that every other package's files refer to.
    for name in ["base-passwd", "base-files"].into_iter().chain(essential.iter().copied()) {
        order.visit(name);
    }
    let count = order.list.len();
    for name in resolver.selected.keys() {
        order.visit(name);
    }
    let rest = order.list.split_off(count);
    (order.list, rest)
}

struct Order<'r, 'a> {
    resolver: &'r Resolver<'a>,
    done: BTreeSet<&'a str>,
    list: Vec<&'a Package>,
}

impl Order<'_, '_> {
    /// Lists the package after what it depends on; a cycle is cut where it closes.
    fn visit(&mut self, name: &str) {
        let Some(package) = self.resolver.selected.get(name).copied() else { return };
        if !self.done.insert(&package.name) {
            return;
        }
        for clause in clauses(&package.pre_depends).chain(clauses(&package.depends)) {
            if let Some(other) = clause.iter().find_map(|wanted| self.resolver.chosen(wanted)) {
                self.visit(&other.name);
            }
        }
        self.list.push(package);
    }
}

struct Resolver<'a> {
    packages: &'a Packages,
    /// Who provides a virtual name, and in which version where it says so.
    providers: HashMap<&'a str, Vec<(&'a Package, Option<&'a str>)>>,
    selected: BTreeMap<&'a str, &'a Package>,
    queue: VecDeque<&'a Package>,
}

impl<'a> Resolver<'a> {
    fn new(packages: &'a Packages) -> Self {
        let mut providers: HashMap<_, Vec<_>> = HashMap::new();
        for package in packages.iter().filter(|package| !package.provides.is_empty()) {
            for provided in clauses(&package.provides).flatten() {
                providers.entry(provided.name).or_default().push((package, provided.version));
            }
        }
        let rank = |package: &Package| match package.priority.as_str() {
            "required" => 0,
            "important" => 1,
            "standard" => 2,
            _ => 3,
        };
        for list in providers.values_mut() {
            list.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name)));
        }
        Self { packages, providers, selected: BTreeMap::new(), queue: VecDeque::new() }
    }

    fn select(&mut self, name: &str, reason: &str) -> Result<(), String> {
        let package = self
            .packages
            .get(name)
            .ok_or_else(|| format!("the archive has no package `{name}` for this architecture ({reason})"))?;
        if self.selected.insert(&package.name, package).is_none() {
            self.queue.push_back(package);
        }
        Ok(())
    }

    /// Adds what the chosen packages depend on until nothing is missing.
    fn close(&mut self) -> Result<(), String> {
        while let Some(package) = self.queue.pop_front() {
            for clause in clauses(&package.pre_depends).chain(clauses(&package.depends)) {
                if clause.iter().any(|wanted| self.chosen(wanted).is_some()) {
                    continue;
                }
                let merged = clause.iter().find(|wanted| wanted.name == MERGED_USR);
                let found = merged.into_iter().chain(&clause).find_map(|wanted| self.available(wanted));
                let found = found.ok_or_else(|| {
                    let wanted: Vec<String> = clause.iter().map(ToString::to_string).collect();
                    format!(
                        "`{}` needs `{}`, which the archive does not have",
                        package.name,
                        wanted.join(" | ")
                    )
                })?;
                self.select(&found.name, &format!("`{}` needs it", package.name))?;
            }
        }
        Ok(())
    }

    /// Returns the chosen package that satisfies the relation.
    fn chosen(&self, wanted: &Relation) -> Option<&'a Package> {
        let is_chosen = |package: &&'a Package| self.selected.contains_key(package.name.as_str());
        self.candidates(wanted).find(is_chosen)
    }

    /// Returns the package that is best to satisfy the relation.
    fn available(&self, wanted: &Relation) -> Option<&'a Package> {
        self.candidates(wanted).next()
    }

    /// Returns what satisfies the relation: the package of that name, then its providers, the best first.
    fn candidates<'s>(&'s self, wanted: &'s Relation) -> impl Iterator<Item = &'a Package> + 's {
        let real = self.packages.get(wanted.name).filter(|package| wanted.accepts(Some(&package.version)));
        let providers = self.providers.get(wanted.name).into_iter().flatten();
        real.into_iter()
            .chain(providers.filter(|(_, version)| wanted.accepts(*version)).map(|(package, _)| *package))
    }
}

/// A name, with a version where one is asked for or provided.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Relation<'a> {
    name: &'a str,
    operator: &'a str,
    version: Option<&'a str>,
}

impl Relation<'_> {
    /// Returns whether the relation holds for a version; an unversioned provision satisfies only a bare name.
    fn accepts(&self, found: Option<&str>) -> bool {
        match (self.version, found) {
            (None, _) => true,
            (Some(wanted), Some(found)) => version::satisfies(found, self.operator, wanted),
            (Some(_), None) => false,
        }
    }
}

impl std::fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.version {
            Some(version) => write!(f, "{} ({} {version})", self.name, self.operator),
            None => f.write_str(self.name),
        }
    }
}

/// Reads a list of relations such as `a (>= 1) | b:any, c`: clauses of alternatives.
fn clauses(text: &str) -> impl Iterator<Item = Vec<Relation<'_>>> {
    let clauses = text.split(',').map(|clause| clause.split('|').filter_map(relation).collect::<Vec<_>>());
    clauses.filter(|clause| !clause.is_empty())
}

fn relation(text: &str) -> Option<Relation<'_>> {
    let (name, rest) = text.trim().split_once(['(', ' ']).unwrap_or((text.trim(), ""));
    // An architecture qualifier such as `:any` changes nothing in a system of one architecture.
    let name = name.split(':').next().filter(|name| !name.is_empty())?;
    let rest = rest.trim().trim_start_matches('(').split(')').next().unwrap_or_default().trim();
    let end = rest.find(|c: char| !matches!(c, '<' | '>' | '=')).unwrap_or(rest.len());
    let (operator, version) = rest.split_at(end);
    let version = Some(version.trim()).filter(|version| !version.is_empty());
    Some(Relation { name, operator, version })
}

#[cfg(test)]
#[path = "selection_tests.rs"]
mod tests;
