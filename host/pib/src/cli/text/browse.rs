//! What registries have.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pib_plan::id::StageName;
use pib_plan::metadata::{ConfigKey, ConfigSchema, ConfigValue};
use semver::VersionReq;

use crate::ops::browse::{Found, Info, Outdated, Version};
use crate::ui::one_line;

/// Returns found stages for people, a line each.
pub(crate) fn found_text(found: &[Found]) -> String {
    if found.is_empty() {
        return "No stage matches.".to_owned();
    }
    let width = found.iter().map(|stage| stage.name.len() + stage.version.len()).max().unwrap_or(0) + 1;
    let called = |stage: &Found| stage.called.clone().unwrap_or("bundled".to_owned());
    // Where all are from one registry, nobody needs its name.
    let several = found.iter().any(|stage| stage.called.is_some());
    let names = found.iter().map(|stage| called(stage).len()).max().unwrap_or(0);
    let line = |stage: &Found| {
        let name = format!("{} {}", stage.name, stage.version);
        let registry = if several { format!("  {:<names$}", called(stage)) } else { String::new() };
        format!("{name:<width$}{registry}  {}\n", one_line(&stage.description))
    };
    found.iter().map(line).collect()
}

/// Returns what is outdated for people, a line each; `what` says what it is.
pub(crate) fn outdated_text(list: &[Outdated], what: &str) -> String {
    if list.is_empty() {
        return format!("Every {what} has its newest version.");
    }
    let line = |stage: &Outdated| {
        let Outdated { name, locked, compatible, newest, target, yanked, yank_reason } = stage;
        let newest = match compatible == newest {
            true => String::new(),
            false => format!(" (the newest is {newest})"),
        };
        let yanked = match (yanked, yank_reason) {
            (false, _) => String::new(),
            (true, None) => " (yanked)".to_owned(),
            (true, Some(reason)) => format!(" (yanked: {})", one_line(reason)),
        };
        let target = target.as_ref().map(|target| format!(" (target `{target}`)")).unwrap_or_default();
        match locked == compatible {
            true => format!("{name} {locked}{yanked} stays{newest}{target}\n"),
            false => format!("{name} {locked}{yanked} -> {compatible}{newest}{target}\n"),
        }
    };
    list.iter().map(line).collect()
}

impl Info {
    /// Returns all of it for people.
    pub(crate) fn to_text(&self) -> String {
        let entry = &self.newest;
        let mut text = format!("{} {}", entry.name, entry.vers);
        if !entry.description.is_empty() {
            let _ = write!(text, ": {}", one_line(&entry.description));
        }
        text.push('\n');
        let mut line = |title: &str, value: String| {
            if !value.is_empty() {
                let _ = writeln!(text, "{:<12}{}", format!("{title}:"), one_line(&value));
            }
        };
        line("licence", entry.license.clone());
        line("from", self.registry.clone());
        let versions: Vec<String> = self.versions.iter().map(Version::to_text).collect();
        line("versions", versions.join(", "));
        line("os", entry.support.os.clone().unwrap_or_default().join(", "));
        let archs = entry.support.arch.iter().flatten().map(|arch| arch.as_str()).collect::<Vec<_>>();
        line("arch", archs.join(", "));
        line("boards", entry.support.boards.clone().unwrap_or_default().join(", "));
        line("pib", entry.pib.as_ref().map(ToString::to_string).unwrap_or_default());
        line("needs", requirements(&entry.deps));
        line("conflicts", requirements(&entry.conflicts));
        config_text(&mut text, &entry.config);
        text
    }
}

impl Version {
    fn to_text(&self) -> String {
        match (self.yanked, &self.unreadable) {
            (true, _) => match &self.yank_reason {
                Some(reason) => format!("{} (yanked: {reason})", self.version),
                None => format!("{} (yanked)", self.version),
            },
            (_, Some(reason)) => format!("{} ({reason})", self.version),
            _ => self.version.clone(),
        }
    }
}

fn requirements(list: &BTreeMap<StageName, VersionReq>) -> String {
    list.iter().map(|(name, wanted)| format!("{name} {wanted}")).collect::<Vec<_>>().join(", ")
}

fn config_text(text: &mut String, config: &ConfigSchema) {
    if config.is_empty() {
        return;
    }
    text.push_str("config:\n");
    for (key, schema) in config {
        let _ = writeln!(text, "  {key} ({})", one_line(&facts(schema)));
        if !schema.help.is_empty() {
            let _ = writeln!(text, "      {}", one_line(&schema.help));
        }
    }
}

/// Returns what a value may be, in a few words.
fn facts(key: &ConfigKey) -> String {
    let kind = serde_json::to_value(key.kind).ok();
    let mut facts = vec![kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default().to_owned()];
    if !key.values.is_empty() {
        facts.push(format!("one of {}", key.values.join(", ")));
    }
    match (key.min, key.max) {
        (Some(min), Some(max)) => facts.push(format!("{min} to {max}")),
        (Some(min), None) => facts.push(format!("at least {min}")),
        (None, Some(max)) => facts.push(format!("at most {max}")),
        (None, None) => {}
    }
    match &key.default {
        Some(ConfigValue::Boolean(value)) => facts.push(format!("default {value}")),
        Some(ConfigValue::Integer(value)) => facts.push(format!("default {value}")),
        Some(ConfigValue::String(value)) => facts.push(format!("default \"{value}\"")),
        Some(ConfigValue::List(values)) => facts.push(format!("default [{}]", values.join(", "))),
        None if key.required => facts.push("required".to_owned()),
        Some(ConfigValue::Table(_)) | None => {}
    }
    facts.join(", ")
}
