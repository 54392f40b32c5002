//! What a new version of a stage changes for those who use it, and whether its number may say so.

use semver::{Version, VersionReq};

use crate::index::IndexEntry;
use crate::metadata::{ConfigKey, ConfigValue};

/// One difference between two versions of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageChange {
    /// Whether a project that builds with the version before may not build with the new one.
    pub breaking: bool,
    /// What differs, for people.
    pub text: String,
}

/// Returns whether the number of the version `after` says that it may break projects that use `before`: another major
/// version, or, before 1.0.0, another minor one, as [Cargo reads them](https://doc.rust-lang.org/cargo/reference/semver.html).
pub fn may_break(before: &Version, after: &Version) -> bool {
    let compatible = VersionReq::parse(&format!("^{}.{}.{}", before.major, before.minor, before.patch));
    let number = Version::new(after.major, after.minor, after.patch);
    !compatible.is_ok_and(|range| range.matches(&number))
}

/// Returns what differs between two versions of a stage, as their index lines tell it; what may break projects comes first.
pub fn compare(before: &IndexEntry, after: &IndexEntry) -> Vec<StageChange> {
    let mut changes = Vec::new();
    config(before, after, &mut changes);
    support(before, after, &mut changes);
    relations(before, after, &mut changes);
    description(before, after, &mut changes);
    changes.sort_by_key(|change| !change.breaking);
    changes
}

fn breaking(changes: &mut Vec<StageChange>, text: String) {
    changes.push(StageChange { breaking: true, text });
}

fn compatible(changes: &mut Vec<StageChange>, text: String) {
    changes.push(StageChange { breaking: false, text });
}

/// Compares the config keys.
fn config(before: &IndexEntry, after: &IndexEntry, changes: &mut Vec<StageChange>) {
    for (name, old) in &before.config {
        match after.config.get(name) {
            None => breaking(changes, format!("the config key `{name}` is gone")),
            Some(new) => config_key(name, old, new, changes),
        }
    }
    for (name, new) in after.config.iter().filter(|(name, _)| !before.config.contains_key(*name)) {
        match new.required && new.default.is_none() {
            true => breaking(changes, format!("the new config key `{name}` is required")),
            false => compatible(changes, format!("the config key `{name}` is new")),
        }
    }
}

/// Compares what one config key takes.
fn config_key(name: &str, old: &ConfigKey, new: &ConfigKey, changes: &mut Vec<StageChange>) {
    if old.kind != new.kind {
        return breaking(changes, format!("the config key `{name}` has another type"));
    }
    if new.required && !old.required {
        breaking(changes, format!("the config key `{name}` is required now"));
    }
    let gone: Vec<&str> =
        old.values.iter().filter(|value| !new.values.contains(value)).map(String::as_str).collect();
    if !gone.is_empty() {
        breaking(
            changes,
            format!("the config key `{name}` does not take {} any more", crate::suggest::alternatives(gone)),
        );
    }
    if raised(old.min, new.min) {
        breaking(changes, format!("the config key `{name}` has a greater `min`"));
    }
    // A lower limit on top is a greater one of the negated numbers.
    if raised(old.max.map(i64::saturating_neg), new.max.map(i64::saturating_neg)) {
        breaking(changes, format!("the config key `{name}` has a lower `max`"));
    }
    if old.default != new.default {
        let [old, new] =
            [&old.default, &new.default].map(|value| value.as_ref().map_or("none".to_owned(), shown));
        compatible(changes, format!("the default of the config key `{name}` was {old} and is {new}"));
    }
}

/// Returns whether the least allowed number is greater than it was.
fn raised(old: Option<i64>, new: Option<i64>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => new > old,
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

fn shown(value: &ConfigValue) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "a value".to_owned())
}

/// Compares what the versions can be built for.
fn support(before: &IndexEntry, after: &IndexEntry, changes: &mut Vec<StageChange>) {
    let names = |list: &Option<Vec<String>>| list.clone();
    let archs = |entry: &IndexEntry| {
        entry.support.arch.as_ref().map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    narrowed("operating system", &names(&before.support.os), &names(&after.support.os), changes);
    narrowed("architecture", &archs(before), &archs(after), changes);
    narrowed("board", &names(&before.support.boards), &names(&after.support.boards), changes);
    if before.phase != after.phase {
        breaking(changes, "it is built in another phase".to_owned());
    }
    if before.pib != after.pib
        && let Some(range) = &after.pib
    {
        compatible(changes, format!("it needs pib {range}"));
    }
}

/// Compares two lists of what a stage is for; no list means everything.
fn narrowed(
    thing: &str,
    old: &Option<Vec<String>>,
    new: &Option<Vec<String>>,
    changes: &mut Vec<StageChange>,
) {
    match (old, new) {
        (None, Some(new)) => {
            let list = crate::suggest::list(new.iter().map(String::as_str));
            breaking(changes, format!("it is for every {thing} no more, only for {list}"));
        }
        (Some(old), Some(new)) => {
            let missing = |from: &[String], of: &[String]| {
                let gone: Vec<String> = of.iter().filter(|name| !from.contains(name)).cloned().collect();
                (!gone.is_empty()).then(|| crate::suggest::list(gone.iter().map(String::as_str)))
            };
            if let Some(list) = missing(new, old) {
                breaking(changes, format!("it is not for the {thing} {list} any more"));
            }
            if let Some(list) = missing(old, new) {
                compatible(changes, format!("it is for the {thing} {list}, too"));
            }
        }
        (Some(_), None) => compatible(changes, format!("it is for every {thing}")),
        (None, None) => {}
    }
}

/// Compares what the versions say of other stages.
fn relations(before: &IndexEntry, after: &IndexEntry, changes: &mut Vec<StageChange>) {
    for (name, range) in &after.deps {
        match before.deps.get(name) {
            None => compatible(changes, format!("it needs stage `{name}` {range}")),
            Some(old) if old != range => {
                compatible(changes, format!("it needs stage `{name}` {range}, before {old}"));
            }
            Some(_) => {}
        }
    }
    for name in before.deps.keys().filter(|name| !after.deps.contains_key(*name)) {
        compatible(changes, format!("it does not need stage `{name}` any more"));
    }
    for (name, range) in
        after.conflicts.iter().filter(|(name, range)| before.conflicts.get(*name) != Some(*range))
    {
        breaking(changes, format!("it cannot be with stage `{name}` {range}"));
    }
    if before.order != after.order {
        compatible(changes, "its order among other stages differs".to_owned());
    }
}

/// Compares the rest.
fn description(before: &IndexEntry, after: &IndexEntry, changes: &mut Vec<StageChange>) {
    match (&before.hook, &after.hook) {
        (None, Some(_)) => compatible(changes, "it has a hook".to_owned()),
        (Some(_), None) => compatible(changes, "it has no hook any more".to_owned()),
        (Some(old), Some(new)) if old != new => compatible(changes, "its hook differs".to_owned()),
        _ => {}
    }
    if before.license != after.license {
        compatible(changes, format!("its licence was `{}` and is `{}`", before.license, after.license));
    }
    if before.uses != after.uses {
        compatible(changes, "it reads other variables of the project".to_owned());
    }
}

#[cfg(test)]
#[path = "stage_change_tests.rs"]
mod tests;
